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

from runbook import disk, layout
from runbook.errors import NotReadable, PlatformError, StillArriving
from runbook.model import Check, Severity, Status
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster.autoconf import AUTO, HELD, hold, included, mentioned, setting_of, value_of
from runbook.platforms.cluster.beside import PAST_CONFIG, Beside
from runbook.platforms.cluster.datafolder import opened, replacing
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.sealing import original_auto, seal
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.connect import one, rows
from runbook.postgres.osuser import give
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.wal import parse_lsn, segment_name

#: What is held, and until when: the read-only start, archiving, and all that would reach out or wait for others.
READ_ONLY = {"default_transaction_read_only": "on"}
ARCHIVING = {"archive_command": "", "archive_library": ""}
#: Held for good: people decide about them (standbys must be rebuilt first, jobs of the past looked at).
FOR_PEOPLE = {"synchronous_standby_names": "", "cron.launch_active_jobs": "off"}
#: Held for good too, where the past has brought subscriptions back: they would go on from where their slots are no more.
_SUBSCRIPTIONS = {"max_logical_replication_workers": "0"}
_OURS = {**FOR_PEOPLE, **_SUBSCRIPTIONS, **ARCHIVING, **READ_ONLY}
_MAIN = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
#: Certificates and further configuration that stand in the data directory.
_CERTIFICATES = (".crt", ".key", ".pem", ".crl")
_TAKEN = (".conf", *_CERTIFICATES)
#: What a server itself keeps at the top of a data directory: never replaced by production's.
_POSTGRES = re.compile(
    r"PG_VERSION|base|global|log|pg_(commit_ts|dynshmem|log|logical|multixact|notify|replslot|serial|snapshots|stat|stat_tmp|subtrans"
    r"|tblspc|twophase|wal|xact)|postmaster\..*|(backup_label|backup_manifest|tablespace_map|current_logfiles).*|.*\.signal"
)
_POLL_SECONDS = 0.2


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
            self._take_auto()
            taken.append(AUTO)
            for name in _MAIN:
                if not self._take(name, taken):
                    (self.data / name).unlink(missing_ok=True)  # ours, of the copy's isolated life
            for path in sorted(self.aside.iterdir()):
                is_ours = path.name.startswith("pg_hba.conf.before-") or path.suffix in _TAKEN
                if is_ours and path.is_file():
                    self._take(path.name, taken)
            for path in sorted(self.data.iterdir()):
                if path.suffix in _TAKEN and path.name not in taken and path.name != AUTO:
                    self._put_away(path)  # of the past, or of what ran in the copy
            self._take_mentioned(taken)
            for signal in ("standby.signal", "recovery.signal"):
                (self.data / signal).unlink(missing_ok=True)
            self._write_auto({**self.for_people(), **ARCHIVING, **READ_ONLY})
            seal(self.aside, self.beside.run_id, self.user)
        except OSError as cause:
            raise PlatformError(
                f"Production's configuration cannot be written to {self.data}: {cause.strerror} ({cause.filename}).",
                next="Mend it, then resume.",
            ) from cause
        return taken

    def for_people(self) -> dict[str, str]:
        """What stays held after acceptance, until people have decided about it."""
        held = FOR_PEOPLE | (_SUBSCRIPTIONS if self.beside.noted("subscriptions") else {})
        needed = self.beside.noted("held for people")
        return {name: value for name, value in held.items() if needed is None or name in needed}

    def decide_held(self) -> dict[str, str]:
        """What production itself has set, or would act by itself, stays held, with production's own value; the rest is not. Asked of the
        running server. Safe again."""
        kept = self.beside.noted("held for people")
        if kept is not None:
            return dict(kept)
        file = load_sql("recovery/list_held_settings")
        names = list(FOR_PEOPLE | _SUBSCRIPTIONS)
        with self.live.connect() as connection:
            own = {row["name"]: row["value"] for row in rows(connection, file.text, file.values({"names": names}))}
            library = "SELECT pg_catalog.current_setting('shared_preload_libraries') AS value"
            libraries = re.split(r"[,\s]+", str(one(connection, library)["value"]))
        own |= {name: value_of(line) for line in self._original().splitlines() if (name := setting_of(line)) in names}
        found = {name: own.get(name) or "" for name in self.for_people()}
        needed = {
            name: value
            for name, value in found.items()
            if value or name in _SUBSCRIPTIONS or (name.startswith("cron.") and "pg_cron" in libraries)
        }
        self.beside.note(**{"held for people": needed})
        return needed

    def _take(self, name: str, taken: list[str]) -> bool:
        """The file, or folder, is as production has it today, and so is all that it includes; False when there is none.

        A link stays a link. What the past had in its place is kept with the copy's past configuration.
        """
        source, target = self.aside / name, self.data / name
        if name in taken or name == AUTO:
            return True
        if not (source.exists() or source.is_symlink()):
            self._put_away(target)  # or it would be read in place of one that production does not have
            return False
        taken.append(name)
        part = target.with_name(f".{target.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part, symlinks=True)
            for path in [part, *part.rglob("*")]:
                give(path, self.user)
            self._put_away(target)
        else:
            part.unlink(missing_ok=True)
            shutil.copy2(source, part, follow_symlinks=False)
            give(part, self.user)
            if target.is_dir() and not target.is_symlink():
                self._put_away(target)
        part.replace(target)
        files = [source] if source.is_file() else sorted(source.rglob("*.conf")) if source.is_dir() else []
        for file in files:
            if file.suffix in _CERTIFICATES:
                continue
            for other in included(file.read_text("utf-8", "replace")):
                beside = Path(os.path.relpath(file.parent / other, self.aside))
                if beside.parts[:1] not in ((), ("..",)):
                    self._take(str(beside), taken)
        return True

    def _take_mentioned(self, taken: list[str]) -> None:
        """Each file of the data directory that production's configuration names is production's of today: a file of access rules, a
        certificate, a script; what production does not have is not read in the copy either."""
        files = [self.aside / name for name in taken] + [layout.resolve(path) for path in self.cluster.config_files]
        text = self._original() + "\n".join(
            file.read_text("utf-8", "replace")
            for one in files
            for file in ([one] if one.is_file() else sorted(one.rglob("*.conf")))
            if file.is_file() and file.suffix not in _CERTIFICATES
        )
        for word in sorted(mentioned(text)):
            path = Path(os.path.normpath(self.data / word))
            if not path.is_relative_to(self.data) or path == self.data:
                continue
            name = str(path.relative_to(self.data))
            if not _POSTGRES.fullmatch(Path(name).parts[0]) and (path.is_file() or (self.aside / name).is_file()):
                self._take(name, taken)

    def _put_away(self, path: Path) -> None:
        """Configuration of the past is not read any more: files removed since would come back with it."""
        if os.path.lexists(path):
            past = self.beside.folder / PAST_CONFIG
            past.mkdir(mode=0o700, exist_ok=True)
            number = sum(1 for _ in past.iterdir())
            path.rename(past / f"{path.name}-{number}")

    def _take_auto(self) -> None:
        """postgresql.auto.conf is production's of today; what it was is kept, to put back what is held."""
        source, kept = original_auto(self.aside, self.beside.run_id), self.beside.folder / f"production-{AUTO}"
        text = source.read_text("utf-8", "surrogateescape") if source.is_file() else ""
        if not kept.exists():
            part = kept.with_name(f".{kept.name}.part")
            part.write_text(text, "utf-8", "surrogateescape")
            part.replace(kept)
        with opened(self.data.resolve()) as data, replacing(data, AUTO, self.user) as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    def _original(self) -> str:
        kept = self.beside.folder / f"production-{AUTO}"
        return kept.read_text("utf-8", "surrogateescape") if kept.is_file() else ""

    def _write_auto(self, held: dict[str, str]) -> None:
        """The file as it is now, with those settings held and all others that we held as production had them."""
        path = self.data / AUTO
        now = path.read_text("utf-8", "surrogateescape") if path.is_file() else ""
        original = {name: line for line in self._original().splitlines() if (name := setting_of(line)) in _OURS}
        base = [line for line in now.splitlines() if line != f"# {HELD}" and setting_of(line) not in _OURS]
        base += [line for name, line in original.items() if name not in held]
        with opened(self.data.resolve()) as data, replacing(data, AUTO, self.user) as file:
            file.write(hold("\n".join(base) + "\n", held).encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())

    # -- while it runs

    def open_for_writing(self) -> None:
        """The application may write. Safe again."""
        self._write_auto({**self.for_people(), **ARCHIVING})
        self._reload()

    def release_archiving(self) -> None:
        """Archiving goes on as production's configuration says. Safe again."""
        self._write_auto(self.for_people())
        self._reload()

    def _reload(self) -> None:
        with self.live.connect(read_only=False) as connection:
            one(connection, load_sql("lockdown/reload").text)

    def who_may_write(self) -> list[str]:
        """Who may write although production starts read-only; empty when a new session of the application may not.

        Asked over a session that sets nothing itself: one of ours would see its own setting, and never the server's.
        """
        with self.live.connect(read_only=None) as connection:
            default = one(connection, load_sql("recovery/read_default_read_only").text)["value"]
            found = rows(connection, load_sql("recovery/list_writing_defaults").text)
        return [*(["every session"] if default != "on" else []), *(str(row["who"]) for row in found)]

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
        while missing := self._missing(wanted, facts.segment_size):
            if time.monotonic() - began > timeout:
                return Check(
                    **common,
                    status=Status.UNKNOWN,
                    observed=f"{', '.join(missing)} not there after {timeout:.0f} s",
                    reason="The archiver has not delivered it: a recovery could not follow this timeline.",
                    next="Read the server's log about archiving, mend it, then redo this step.",
                )
            say(f"waiting for {missing[0]}")
            # The archiver has ended to load another archive_library. The postmaster starts it no sooner than ten seconds after its
            # last start, and looks when something wakes it, as a connection does: else up to a minute later.
            self.live.is_up()
            time.sleep(_POLL_SECONDS)
        return Check(
            **common, status=Status.PASS, observed=", ".join(wanted), seconds=round(time.monotonic() - began, 2)
        )

    def _missing(self, wanted: Collection[str], segment_size: int) -> list[str]:
        """Those of the files that the archive does not hold, or not whole yet."""
        archive = WalArchive(self.cluster.wal_archive, self.user)
        missing = []
        with tempfile.TemporaryDirectory(prefix="rb-", dir=disk.parent_folder()) as stage:
            Path(stage).chmod(0o755)
            for name in wanted:
                try:
                    if not archive.whole_file(name, Path(stage), segment_size):
                        missing.append(name)
                except (NotReadable, StillArriving) as cause:
                    missing.append(f"{name} ({cause.message})")
        return missing
