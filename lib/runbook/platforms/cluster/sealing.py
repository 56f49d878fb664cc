"""The damaged cluster, once it was moved aside: whoever starts it for salvage starts it where it can do no harm.

It has production's system identifier, archive, address and jobs. Its postgresql.auto.conf is kept beside the sealed one and put back by the
way back.
"""

from __future__ import annotations

import os
from pathlib import Path

from runbook.outside.commands import OsUser
from runbook.platforms.cluster.autoconf import AUTO, hold
from runbook.platforms.cluster.datafolder import opened, replacing

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
    original = original_auto(data, run_id)
    text = original.read_text("utf-8", "surrogateescape") if original.is_file() else ""
    with opened(data.resolve()) as folder:  # the place may be a link of ours to another disk
        if not kept.is_file():
            with replacing(folder, kept.name, user) as file:
                file.write(auto.read_bytes() if auto.is_file() else b"")
        with replacing(folder, auto.name, user) as file:
            held = hold(text, _SEALED, "sealed: this cluster was moved aside by a recovery")
            file.write(held.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())


def unseal(data: Path, run_id: str) -> None:
    """The file is as it was; nothing happens where none was sealed."""
    kept = kept_auto(data, run_id)
    if kept.is_file():
        kept.replace(data / AUTO)
