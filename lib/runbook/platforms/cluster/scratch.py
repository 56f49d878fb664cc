"""A scratch cluster: a base backup restored where it can reach nothing, and moved through WAL gate by gate.

It runs as a standby without a target: it replays what lies in its pg_wal and then waits. The segment that holds
the wanted position is laid there cut off at it, zeros behind: WAL physically ends at the gate, so the server can
neither pass it nor promote. Laying the whole segment lets it go on. See docs/decisions/0002-wal-gate.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from runbook import clock
from runbook.errors import BackupDamaged, CommandFailed, PlatformError, RecoveryFailed, RecoveryRefused, ScratchFull
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.copying import Progress, copy_tree, require_room, tree_size, unpack_tar
from runbook.platforms.cluster.walarchive import Stage
from runbook.postgres import server
from runbook.postgres.connect import Connection, connect, one
from runbook.postgres.osuser import closed_at, give
from runbook.postgres.tools import Tools, read_control
from runbook.postgres.wal import format_lsn, parse_lsn, same_position, segment_start

LABEL = "scratch.json"
_KEEP_HOURS = 24
_SOCKET_PORT = 5432

#: Settings that a standby must not have below the primary's, by pg_controldata's and pg_waldump's names.
_AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


@dataclass
class Scratch:
    """One restored copy. `folder` holds `data/`, `wal/` (the stage), `tablespaces/`, `server.log` and the label."""

    folder: Path
    run_id: str
    tools: Tools
    user: OsUser | None
    superuser: str
    preload_libraries: tuple[str, ...] = ()
    socket: Path | None = None
    promoted: bool = False
    _in_place: set[str] = field(default_factory=set)
    _gate_segment: str | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    # -- making and removing -------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        location: Path,
        *,
        run_id: str,
        tools: Tools,
        user: OsUser | None,
        superuser: str,
        preload_libraries: tuple[str, ...] = (),
        keep_hours: float = _KEEP_HOURS,
    ) -> Scratch:
        """An empty, labelled scratch folder below `location`.

        Raises:
            ScratchFull: the location cannot be written, or the server's user cannot enter it.
        """
        folder = location / f"scratch-{run_id}"
        try:
            location.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            for name in ("wal", "tablespaces"):
                give(folder / name, None) if (folder / name).exists() else (folder / name).mkdir(mode=0o700)
                give(folder / name, user)
            label = {
                "run": run_id,
                "pid": os.getpid(),
                "created": clock.stamp(clock.now()),
                "expires": clock.stamp(clock.now() + timedelta(hours=keep_hours)),
                "path": str(folder),
                "data": str(folder / "data"),
                "bin": str(tools.bin),
            }
            (folder / LABEL).write_text(json.dumps(label, indent=1) + "\n")
        except OSError as cause:
            raise ScratchFull(
                f"The scratch location {location} cannot be written: {cause.strerror}.",
                next="Make it writable, or name another place with -p scratch /path (or verification.scratch in params).",
            ) from cause
        give(folder, user)
        closed = closed_at(folder, user)
        if closed is not None:
            raise ScratchFull(
                f"The scratch location {location} is closed to user {user.name if user else 'this'}, who runs PostgreSQL: "
                f"{closed} cannot be entered.",
                next=f"chmod o+x {closed}, or name another place with -p scratch /path.",
            )
        return cls(folder, run_id, tools, user, superuser, preload_libraries)

    def remove(self) -> None:
        """Server down, folder and socket folder gone; safe twice.

        Raises:
            PlatformError: something could not be removed.
        """
        self.stop("immediate")
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as cause:
            raise PlatformError(
                f"The scratch {self.folder} cannot be removed: {cause.strerror}.", next="Remove it."
            ) from cause

    # -- restoring -------------------------------------------------------------------------------------

    def restore(self, backup: Backup, live: tuple[Path, ...], progress: Progress, timeout: float) -> int:
        """The backup's files stand in the scratch, its tablespaces inside it too; bytes on disk.

        Args:
            live: folders of the running cluster; a tablespace link into one of them is refused.

        Raises:
            RecoveryRefused, BackupDamaged, ScratchFull.
        """
        if backup.layout == "tar":
            require_room(self.folder, 4 * tree_size(backup.path))
            return self._unpack(backup, progress, timeout)
        links = _tablespace_links(backup.path, live)
        size = tree_size(backup.path) + sum(tree_size(target) for target in links.values())
        require_room(self.folder, size)
        wal_link = (backup.path / "pg_wal").is_symlink()
        done = copy_tree(backup.path, self.data, self.user, skip=frozenset({"pg_wal"}), progress=progress)
        if not (self.data / "pg_wal").exists() or wal_link:
            (self.data / "pg_wal").mkdir(mode=0o700, exist_ok=True)
            give(self.data / "pg_wal", self.user)
        for oid, target in links.items():
            own = self.folder / "tablespaces" / oid
            done += copy_tree(target, own, self.user, skip=frozenset(), progress=progress)
            (self.data / "pg_tblspc").mkdir(mode=0o700, exist_ok=True)
            give(self.data / "pg_tblspc", self.user)
            (self.data / "pg_tblspc" / oid).symlink_to(own)
        return done

    def _unpack(self, backup: Backup, progress: Progress, timeout: float) -> int:
        archives = sorted(path for path in backup.path.iterdir() if ".tar" in path.name)
        total = sum(path.stat().st_size for path in archives)
        done = 0
        for archive in archives:
            stem = archive.name.split(".tar")[0]
            if stem == "base":
                unpack_tar(archive, self.data, self.user, timeout)
            elif stem == "pg_wal":
                unpack_tar(archive, self.folder / "backup_wal", self.user, timeout)
            else:
                unpack_tar(archive, self.folder / "tablespaces" / stem, self.user, timeout)
            done += archive.stat().st_size
            progress(done, total)
        manifest = backup.path / "backup_manifest"
        if manifest.exists():
            shutil.copyfile(manifest, self.data / "backup_manifest")
            give(self.data / "backup_manifest", self.user)
        (self.data / "pg_wal").mkdir(mode=0o700, exist_ok=True)
        give(self.data / "pg_wal", self.user)
        for own in (self.folder / "tablespaces").iterdir():
            link = self.data / "pg_tblspc" / own.name
            if link.is_symlink():
                link.unlink()
            link.parent.mkdir(mode=0o700, exist_ok=True)
            give(link.parent, self.user)
            link.symlink_to(own)
        return tree_size(self.data)

    def assert_closed(self) -> None:
        """Every tablespace link and map line leads inside the scratch; files of another cluster's life are gone.

        Raises:
            RecoveryRefused: one leads elsewhere.
        """
        tablespace_map = self.data / "tablespace_map"
        if tablespace_map.exists():
            lines = []
            for line in tablespace_map.read_text().splitlines():
                oid = line.split(" ", 1)[0]
                if oid.isdigit():
                    own = self.folder / "tablespaces" / oid
                    own.mkdir(mode=0o700, exist_ok=True)
                    give(own, self.user)
                    lines.append(f"{oid} {own}\n")
            tablespace_map.write_text("".join(lines))
        inside = self.folder.resolve()
        for path in (self.data / "pg_tblspc").glob("*"):
            if not path.resolve().is_relative_to(inside):
                raise RecoveryRefused(f"The tablespace link {path.name} leads out of the scratch, to {path.resolve()}.")
        for name in ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"):
            (self.data / name).unlink(missing_ok=True)

    # -- configuring and starting --------------------------------------------------------------------------

    def configure(self, timeline: int, raised: Mapping[str, int]) -> dict[str, str]:
        """Own configuration files replace the restored ones; the settings written.

        Nothing of the production's configuration is used: inherited targets, commands, libraries and addresses
        are the traps. Only what a standby must not have below its primary is taken, from pg_control and WAL.

        Args:
            timeline: the one to follow, explicitly: `latest` would follow a later recovery.
            raised: highest values that WAL sets on the way, by setting name.

        Raises:
            BackupDamaged: pg_control cannot be read.
        """
        try:
            control = read_control(self.tools, self.data)
        except CommandFailed as cause:
            raise BackupDamaged(
                f"The restored pg_control cannot be read: {cause.message}", next="Take a new backup."
            ) from cause
        floors = {name: int(control.get(key, "0")) for key, name in _AT_LEAST.items()}
        floors = {name: max(value, raised.get(name, 0)) for name, value in floors.items()}
        floors["max_connections"] = max(floors["max_connections"], 20)
        self.socket = server.make_socket_folder(self.user)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket),
            "port": str(_SOCKET_PORT),
            "hot_standby": "on",
            "recovery_target_timeline": str(timeline),
            "restore_command": "",
            "primary_conninfo": "",
            "primary_slot_name": "",
            "archive_cleanup_command": "",
            "recovery_end_command": "",
            # Off, not merely held: this cluster never becomes production, and its history must not reach the archive.
            "archive_mode": "off",
            "shared_preload_libraries": ",".join(self.preload_libraries),
            "session_preload_libraries": "",
            "local_preload_libraries": "",
            "max_logical_replication_workers": "0",
            "synchronous_standby_names": "",
            "autovacuum": "off",
            "ssl": "off",
            # Durability is not wanted here: a crashed scratch is thrown away.
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "wal_recycle": "off",
            "wal_init_zero": "off",
            "wal_retrieve_retry_interval": "100ms",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "1h",
            "shared_buffers": "256MB",
            "max_standby_archive_delay": "-1",
            "max_standby_streaming_delay": "-1",
            "jit": "off",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_timezone": "UTC",
            "timezone": "UTC",
            "lc_messages": "C",
            **{name: str(value) for name, value in floors.items()},
        }
        if self.tools.major >= 17:
            settings |= {"event_triggers": "off", "summarize_wal": "off"}
        quoted = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        self._write("postgresql.conf", quoted)
        self._write("postgresql.auto.conf", "")
        self._write("pg_hba.conf", "local all all trust\n")  # the socket stands in a folder only its owner enters
        self._write("pg_ident.conf", "")
        self._write("standby.signal", "")
        return settings

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        give(path, self.user)

    def lay_histories(self) -> None:
        """The lineage's history files lie in pg_wal, so that an explicit timeline is found."""
        for path in self.wal.glob("*.history"):
            target = self.data / "pg_wal" / path.name
            if not target.exists():
                shutil.copyfile(path, target)
                give(target, self.user)

    def open_gate(self, stage: Stage, position: int | None) -> None:
        """WAL up to `position` lies in pg_wal and ends there; None: all that is laid in the stage."""
        pg_wal = self.data / "pg_wal"
        for name in stage.laid:
            _, begin = segment_start(name, stage.segment_size)
            if position is not None and begin >= position:
                break
            if position is not None and position < begin + stage.segment_size:
                self._lay_cut(stage.folder / name, pg_wal / name, position - begin, stage.segment_size)
                self._gate_segment = name
                break
            if name in self._in_place:
                continue
            new = pg_wal / f"{name}.new"
            new.symlink_to(stage.folder / name)
            new.replace(pg_wal / name)
            self._in_place.add(name)

    def _lay_cut(self, source: Path, target: Path, keep: int, size: int) -> None:
        new = target.with_name(target.name + ".new")
        with source.open("rb") as reading, new.open("wb") as writing:
            left = keep
            while left:
                chunk = reading.read(min(left, 1 << 20))
                writing.write(chunk)
                left -= len(chunk)
            writing.truncate(size)
        new.chmod(0o600)
        give(new, self.user)
        new.replace(target)

    def start(self) -> None:
        """The server is starting; `wait_for` says when it has arrived.

        Raises:
            RecoveryFailed: it refuses its data directory.
        """
        try:
            server.start(self.tools, self.data, log=give_log(self.log, self.user), user=self.user, wait=False)
        except CommandFailed as cause:
            raise RecoveryFailed(f"PostgreSQL refuses to start on the restored files: {cause.message}") from cause

    def stop(self, mode: str = "fast") -> None:
        """The server is down and its socket folder gone; safe twice."""
        if self.data.exists():
            server.stop(self.tools, self.data, user=self.user, mode=mode)
        if self.socket is not None:
            shutil.rmtree(self.socket, ignore_errors=True)

    # -- watching ----------------------------------------------------------------------------------------

    def connect(self, database: str, *, read_only: bool = True, statement_timeout: float = 0) -> Connection:
        """A superuser's connection to the scratch, sequential reading preferred by the callers' settings."""
        return connect(
            socket=self.socket,
            port=_SOCKET_PORT,
            database=database,
            user=self.superuser,
            application=self.run_id,
            read_only=read_only,
            statement_timeout=statement_timeout,
            settings={"row_security": "off"},
        )

    def wait_for(
        self, expected: int, *, stall_timeout: float, progress: Callable[[int], None], poll: float = 0.05
    ) -> dict[str, Any]:
        """The scratch stands at `expected`, still in recovery, readable; what it says of itself.

        The position that it reports decides; a state alone never does.

        Args:
            expected: the end of the last record to replay.
            stall_timeout: seconds without any progress before it counts as failed.
            progress: called with the position replayed so far.

        Raises:
            RecoveryFailed: it stopped, promoted, paused early, or stands still before the position.
        """
        connection: Connection | None = None
        last, moved_at, tries = -1, time.monotonic(), 0
        try:
            while True:
                tries += 1
                position = None
                if connection is None and (tries < 20 or tries % 5 == 0):
                    connection = self._try_connect()
                if connection is not None:
                    seen = one(
                        connection,
                        "select pg_is_in_recovery() as recovering, pg_last_wal_replay_lsn()::text as lsn, "
                        "case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() end as pause, "
                        "pg_last_xact_replay_timestamp() as last_commit",
                    )
                    if not seen["recovering"]:
                        raise RecoveryFailed(
                            "The scratch promoted itself, which nobody asked for.", next=f"Read {self.log}."
                        )
                    position = parse_lsn(seen["lsn"])
                    if same_position(position, expected) or position == expected:
                        return seen
                    if position > expected:
                        raise RecoveryFailed(
                            f"The scratch replayed to {format_lsn(position)}, past the point {format_lsn(expected)}."
                        )
                    if seen["pause"] == "paused":
                        raise RecoveryFailed(
                            f"Replay paused at {format_lsn(position)}, before the point {format_lsn(expected)}: a setting is "
                            f"lower than the primary's. The log ends:\n{self.log_tail()}"
                        )
                else:
                    position = self._segment_being_replayed()
                if position is not None and position != last:
                    last, moved_at = position, time.monotonic()
                    progress(position)
                if not self._alive():
                    raise RecoveryFailed(f"The scratch stopped before the point. Its log ends:\n{self.log_tail()}")
                if connection is None and self._snapshot_is_missing():
                    raise PlatformError(
                        f"The scratch stands at {format_lsn(expected)} and cannot be read there: a transaction with more "
                        "than 64 open subtransactions leaves a standby without a snapshot until it ends.",
                        next="Choose a point after that transaction's end, or run again with -p promote true.",
                    )
                if time.monotonic() - moved_at > stall_timeout:
                    raise RecoveryFailed(
                        f"Replay stands still at {format_lsn(max(last, 0))} for {stall_timeout:.0f} s, before the point "
                        f"{format_lsn(expected)}. The log ends:\n{self.log_tail()}"
                    )
                time.sleep(poll)
        finally:
            if connection is not None:
                connection.close()

    def _try_connect(self) -> Connection | None:
        """A connection, or None while the server does not accept any; the caller looks at process and log."""
        try:
            return self.connect("template1", statement_timeout=30)
        except PlatformError:
            return None

    def _postmaster(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self.data / "postmaster.pid").read_text().split()[0]))
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def _alive(self) -> bool:
        # The pid file appears a moment after pg_ctl returns; a log without an end line means it is starting.
        if self._postmaster() is not None:
            return True
        return not re.search(r"FATAL|PANIC|database system is shut down", server.log_tail(self.log, 60)) and not (
            time.time() - self.log.stat().st_mtime > 10
        )

    def _segment_being_replayed(self) -> int | None:
        """The start of the segment named in the startup process's title, before connections are possible."""
        postmaster = self._postmaster()
        if postmaster is None:
            return None
        try:
            for child in postmaster.children():
                found = re.search(r"(?:recovering|waiting for) ([0-9A-F]{24})", " ".join(child.cmdline()))
                if found:
                    size = int(read_control(self.tools, self.data)["Bytes per WAL segment"])
                    return segment_start(found[1], size)[1]
        except (psutil.Error, CommandFailed, KeyError):
            return None
        return None

    def _snapshot_is_missing(self) -> bool:
        tail = server.log_tail(self.log, 60)
        return (
            "consistent recovery state reached" in self.log.read_text(errors="replace")
            and "ready to accept read-only connections" not in self.log.read_text(errors="replace")
            and "waiting for WAL to become available" in tail
            and tail.count("waiting for WAL to become available") > 10
        )

    def promote(self, timeout: float = 120) -> int:
        """The scratch is a writable server on a timeline of its own; the timeline's number.

        Raises:
            RecoveryFailed: it did not promote.
        """
        with self.connect("template1", read_only=False, statement_timeout=timeout) as connection:
            done = one(connection, "select pg_promote(true, $1) as done", [int(timeout)])["done"]
            if not done:
                raise RecoveryFailed(f"The scratch did not promote within {timeout:.0f} s.", next=f"Read {self.log}.")
            self.promoted = True
            connection.execute("checkpoint")
            return int(one(connection, "select timeline_id from pg_control_checkpoint()")["timeline_id"])

    def control(self) -> dict[str, str]:
        """pg_controldata of the scratch."""
        return read_control(self.tools, self.data)

    def log_tail(self) -> str:
        """The log's last lines without the polling ones."""
        lines = server.log_tail(self.log, 200).splitlines()
        return "\n".join([line for line in lines if "waiting for WAL to become available" not in line][-12:])


def give_log(log: Path, user: OsUser | None) -> Path:
    """The log file exists and belongs to the server's user."""
    log.touch(mode=0o600)
    return give(log, user)


def _tablespace_links(backup: Path, live: tuple[Path, ...]) -> dict[str, Path]:
    links: dict[str, Path] = {}
    for path in sorted((backup / "pg_tblspc").glob("*")):
        if not path.is_symlink():
            continue
        target = path.resolve()
        for folder in live:
            if target == folder.resolve() or target.is_relative_to(folder.resolve()):
                raise RecoveryRefused(
                    f"The backup's tablespace {path.name} is a link to the live tablespace {target}: the backup does not hold it.",
                    next="Take the backup with pg_basebackup --tablespace-mapping, or in tar format.",
                )
        if not target.is_dir():
            raise BackupDamaged(
                f"The backup's tablespace {path.name} leads to {target}, which is not there.",
                next="Take a new base backup.",
            )
        links[path.name] = target
    return links


def read_label(folder: Path) -> dict[str, Any] | None:
    """What a scratch folder says of itself; None when it carries no label."""
    try:
        label = json.loads((folder / LABEL).read_text())
    except (OSError, ValueError):
        return None
    return label if isinstance(label, dict) else None


def expired(label: Mapping[str, Any], moment: datetime) -> bool:
    """True when the scratch may be reaped."""
    return clock.parse(str(label["expires"])) < moment
