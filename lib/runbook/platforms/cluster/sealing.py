"""The damaged cluster, once it was moved aside: whoever starts it for salvage starts it where it can do no harm.

It has production's system identifier, archive, address and jobs. Its postgresql.auto.conf is kept beside the sealed one and put back by the
way back.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from runbook.outside.commands import OsUser
from runbook.platforms.cluster.autoconf import AUTO, hold
from runbook.postgres.osuser import give

#: Nothing archived, nobody let in over a network, no write by default, nothing applied, no job.
_SEALED = {
    "archive_command": "",
    "archive_library": "",
    "listen_addresses": "",
    "default_transaction_read_only": "on",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "cron.launch_active_jobs": "off",
}


def kept_auto(data: Path, run_id: str) -> Path:
    """Where the file as it was is kept while its cluster is sealed."""
    return data / f"{AUTO}.before-{run_id}"


def original_auto(data: Path, run_id: str) -> Path:
    """The cluster's own postgresql.auto.conf, sealed or not."""
    kept = kept_auto(data, run_id)
    return kept if kept.is_file() else data / AUTO


def seal(data: Path, run_id: str, user: OsUser | None) -> None:
    """A server started on these files archives nothing and is alone. Safe again after a crash."""
    auto, kept = data / AUTO, kept_auto(data, run_id)
    text = (
        original_auto(data, run_id).read_text("utf-8", "surrogateescape")
        if original_auto(data, run_id).is_file()
        else ""
    )
    if not kept.is_file():
        part = kept.with_name(f".{kept.name}.part")
        if auto.is_file():
            shutil.copy2(auto, part)
        else:
            part.touch(mode=0o600)
        give(part, user)
        part.replace(kept)
    part = auto.with_name(f".{AUTO}.part")
    with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(hold(text, _SEALED, "sealed: this cluster was moved aside by a recovery"))
        file.flush()
        os.fsync(file.fileno())
    part.chmod(0o600)
    give(part, user)
    part.replace(auto)


def unseal(data: Path, run_id: str) -> None:
    """The file is as it was; nothing happens where none was sealed."""
    kept = kept_auto(data, run_id)
    if kept.is_file():
        kept.replace(data / AUTO)
