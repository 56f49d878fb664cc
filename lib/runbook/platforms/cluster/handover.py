"""The restored cluster as production: today's configuration instead of the past's, and what is held back until it is accepted.

Files decide where it stands, so each act may be called again after a crash. What is held stands at the end of
postgresql.auto.conf, which wins over postgresql.conf; the lines that it replaces are kept in the recovery's own folder.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from runbook.errors import NotReadable, PlatformError
from runbook.model import Check, Severity, Status
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster.beside import Beside
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.connect import one
from runbook.postgres.osuser import give
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.wal import parse_lsn, segment_name

AUTO = "postgresql.auto.conf"
_HEAD = "# held back by a recovery until it is accepted"
#: What is held, and until when: the read-only start, archiving, and all that would reach out or wait for others.
READ_ONLY = {"default_transaction_read_only": "on"}
ARCHIVING = {"archive_command": "", "archive_library": ""}
#: Held for good: people decide about them (standbys must be rebuilt first, jobs of the past looked at).
FOR_PEOPLE = {"synchronous_standby_names": "", "cron.launch_active_jobs": "off"}
#: What only a recovery has, and a production that was recovered must not.
_RECOVERY = re.compile(
    r"^(recovery_\w+|restore_command|primary_conninfo|primary_slot_name|archive_cleanup_command|promote_trigger_file)$"
)
#: Certificates and further configuration that stand in the data directory.
_TAKEN = (".conf", ".crt", ".key", ".pem", ".crl")
_LINE = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*=?\s*(.*?)\s*$")
_POLL_SECONDS = 0.2


def setting_of(line: str) -> str | None:
    """The setting that a line of a configuration file is about; None for comments and includes.

    >>> setting_of("work_mem = '4MB'"), setting_of("# x = 1"), setting_of("cron.use_background_workers on")
    ('work_mem', None, 'cron.use_background_workers')
    """
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    match = _LINE.match(text)
    return match[1].lower() if match else None


def hold(text: str, held: dict[str, str]) -> str:
    """postgresql.auto.conf with those settings in place of its own, and without what only a recovery has.

    >>> print(hold("work_mem = '4MB'\\nrestore_command = 'cp'\\narchive_command = 'x'\\n", {"archive_command": ""}), end="")
    work_mem = '4MB'
    # held back by a recovery until it is accepted
    archive_command = ''
    """
    kept = [
        line
        for line in text.splitlines()
        if line != _HEAD and (name := setting_of(line) or "") not in held and not _RECOVERY.match(name)
    ]
    lines = [*kept, _HEAD, *(f"{name} = '{value}'" for name, value in held.items())]
    return "\n".join(lines) + "\n"


class Handover:
    """What a restored cluster needs to be production.

    Args:
        beside: the copy, which keeps what production's configuration was.
        data: production's data directory, where the restored files stand now.
        aside: the damaged cluster's.
    """

    def __init__(self, cluster: Cluster, beside: Beside, data: Path, aside: Path, user: OsUser | None) -> None:
        self.cluster, self.beside, self.data, self.aside, self.user = cluster, beside, data, aside, user
        self.live = LiveServer(cluster, beside.run_id)

    # -- before the first start

    def configure(self) -> list[str]:
        """Production's configuration of today stands in the restored files, with what is held; the files taken over.

        Safe again. Where production keeps its configuration elsewhere, the copy's own files are removed.

        Raises:
            PlatformError: a file cannot be written.
        """
        taken: list[str] = []
        try:
            for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", AUTO):
                self._take(name, taken)
            for path in sorted(self.aside.iterdir()):
                is_ours = path.name.startswith("pg_hba.conf.before-") or path.suffix in _TAKEN
                if is_ours and path.is_file():
                    self._take(path.name, taken)
            if (self.aside / "conf.d").is_dir():
                shutil.copytree(self.aside / "conf.d", self.data / "conf.d", symlinks=True, dirs_exist_ok=True)
                for path in [self.data / "conf.d", *(self.data / "conf.d").rglob("*")]:
                    give(path, self.user)
            for signal in ("standby.signal", "recovery.signal"):
                (self.data / signal).unlink(missing_ok=True)
            self._keep_original()
            self._write_auto({**FOR_PEOPLE, **ARCHIVING, **READ_ONLY})
        except OSError as cause:
            raise PlatformError(
                f"Production's configuration cannot be written to {self.data}: {cause.strerror} ({cause.filename}).",
                next="Mend it, then resume.",
            ) from cause
        return taken

    def _take(self, name: str, taken: list[str]) -> None:
        source, target = self.aside / name, self.data / name
        if name in taken:
            return
        if not source.is_file():
            target.unlink(missing_ok=True)  # ours, of the copy's isolated life
            return
        part = target.with_name(f".{name}.part")
        shutil.copy2(source, part)
        give(part, self.user)
        part.replace(target)
        taken.append(name)

    def _keep_original(self) -> None:
        source, kept = self.aside / AUTO, self.beside.folder / f"production-{AUTO}"
        if not kept.exists() and source.is_file():
            shutil.copy2(source, kept)

    def _original(self) -> str:
        kept = self.beside.folder / f"production-{AUTO}"
        return kept.read_text() if kept.is_file() else ""

    def _write_auto(self, held: dict[str, str]) -> None:
        """The file as it is now, with those settings held and all others that we held as production had them."""
        path = self.data / AUTO
        now = path.read_text() if path.is_file() else ""
        ours = {**FOR_PEOPLE, **ARCHIVING, **READ_ONLY}
        original = {name: line for line in self._original().splitlines() if (name := setting_of(line)) in ours}
        base = [line for line in now.splitlines() if line != _HEAD and setting_of(line) not in ours]
        base += [line for name, line in original.items() if name not in held]
        part = path.with_name(f".{AUTO}.part")
        part.write_text(hold("\n".join(base) + "\n", held))
        part.chmod(0o600)
        give(part, self.user)
        with part.open() as file:
            os.fsync(file.fileno())
        part.replace(path)

    # -- while it runs

    def open_for_writing(self) -> None:
        """The application may write. Safe again."""
        self._write_auto({**FOR_PEOPLE, **ARCHIVING})
        self._reload()

    def release_archiving(self) -> None:
        """Archiving goes on as production's configuration says. Safe again."""
        self._write_auto(dict(FOR_PEOPLE))
        self._reload()

    def _reload(self) -> None:
        with self.live.connect(read_only=False) as connection:
            one(connection, load_sql("lockdown/reload").text)

    def is_read_only(self) -> bool:
        """What a new session of the application gets."""
        with self.live.connect() as connection:
            return str(one(connection, load_sql("recovery/read_default_read_only").text)["value"]) == "on"

    def prove_history(self, timeline: int, timeout: float, say: Callable[[str], None] = lambda said: None) -> Check:
        """The new timeline's history file, and all WAL so far, are in the archive: a later recovery finds its way.

        Args:
            timeout: seconds that the archive may take.
        """
        common: dict[str, Any] = {
            "id": "recovery-history",
            "title": "The new timeline's history and its WAL are in the archive",
            "expected": f"{timeline:08X}.history and the WAL written so far",
            "severity": Severity.CRITICAL,
            "source": WalArchive(self.cluster.wal_archive, self.user).where(),
        }
        facts = self.live.facts()
        if not facts.archives:
            return Check(
                **common,
                status=Status.UNKNOWN,
                observed="production archives nothing",
                reason="archive_mode, archive_command and archive_library of production's own configuration hand WAL to nobody.",
                next="Configure archiving, then take a base backup.",
            )
        with self.live.connect(read_only=False) as connection:
            end = parse_lsn(one(connection, load_sql("lockdown/switch_wal").text)["end"])
        wanted = [f"{timeline:08X}.history", segment_name(facts.timeline, end - 1, facts.segment_size)]
        began = time.monotonic()
        while missing := self._missing(wanted):
            if time.monotonic() - began > timeout:
                return Check(
                    **common,
                    status=Status.UNKNOWN,
                    observed=f"{', '.join(missing)} not there after {timeout:.0f} s",
                    reason="The archiver has not delivered it: a recovery could not follow this timeline.",
                    next="Read the server's log about archiving, mend it, then redo this step.",
                )
            say(f"waiting for {missing[0]}")
            time.sleep(_POLL_SECONDS)
        return Check(
            **common, status=Status.PASS, observed=", ".join(wanted), seconds=round(time.monotonic() - began, 2)
        )

    def _missing(self, wanted: Collection[str]) -> list[str]:
        archive = WalArchive(self.cluster.wal_archive, self.user)
        if archive.directory is not None:
            return [name for name in wanted if not (archive.directory / name).is_file()]
        try:
            with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as stage:
                Path(stage).chmod(0o755)
                return [name for name in wanted if not archive.lay(name, Path(stage))]
        except NotReadable as cause:
            return [f"{name} ({cause.message})" for name in wanted]
