"""A scratch cluster: a labelled folder with a restored copy that can reach nothing, and its server."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from runbook import clock, layout
from runbook.errors import BackupDamaged, CommandFailed, OperatorError, PlatformError, RecoveryFailed, ScratchFull
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.copying import remove_tree
from runbook.platforms.cluster.settings import buffers_for, render_conf, scratch_settings
from runbook.postgres import server
from runbook.postgres.connect import Connection, connect, rows
from runbook.postgres.guard import TABLES_ONLY
from runbook.postgres.osuser import closed_at, give
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, read_control, shared_folder

#: What ALTER ROLE or ALTER DATABASE may have set in the restored cluster, and must not be so in a superuser's session of ours, beside
#: what every session pins: it would hide damage, load libraries, speak another language, or not be possible in recovery.
SESSION = {
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
    "session_preload_libraries": "",
    "temp_file_limit": "-1",
    "lc_messages": "C",
}
SESSION_17 = {"transaction_timeout": "0", "event_triggers": "off"}
LABEL = "scratch.json"
PORT = 5432
_KEEP_HOURS = 24
_POLLING_LINE = "waiting for WAL to become available"


def folder_for(location: Path, run_id: str) -> Path:
    """Where the scratch of a run stands."""
    return location / f"scratch-{run_id}"


def default_location(user: OsUser | None) -> Path:
    """Where scratches stand unless told otherwise: in the home, or outside it when it is closed to the server's user."""
    layout.var().mkdir(parents=True, exist_ok=True)
    return layout.scratch() if closed_at(layout.var(), user) is None else shared_folder() / "scratch"


def require_apart(location: Path, folders: Iterable[Path]) -> None:
    """The location lies in none of these folders: a scratch there would become part of them.

    Raises:
        OperatorError: it lies in one.
    """
    real = location.resolve()
    for folder in folders:
        if real.is_relative_to(folder.resolve()):
            raise OperatorError(
                f"The scratch location {location} lies in {folder}, which a restore must not touch.",
                next="Name another place with -p scratch /path (or verification.scratch in params).",
            )


@dataclass
class Scratch:
    """One restored copy. `folder` holds `data/`, `wal/` (the stage), `tablespaces/`, `server.log` and the label."""

    folder: Path
    run_id: str
    tools: Tools
    user: OsUser | None
    superuser: str
    preload_libraries: tuple[str, ...] = ()
    reader_role: str = "runbook_reader"
    socket: Path | None = None
    promoted: bool = False

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

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
        reader_role: str = "runbook_reader",
    ) -> Scratch:
        """An empty, labelled scratch folder below `location`; one of an earlier attempt of the run is replaced.

        Raises:
            ScratchFull: the location cannot be written, or the server's user cannot enter it.
        """
        folder = folder_for(location, run_id)
        scratch = cls(folder, run_id, tools, user, superuser, preload_libraries, reader_role)
        try:
            location.mkdir(parents=True, exist_ok=True)
            if folder.exists():
                scratch.remove()
            folder.mkdir(mode=0o700)
            scratch.make_folders()
            scratch.write_label()
            give(folder, user)
        except OSError as cause:
            raise ScratchFull(
                f"The scratch location {location} cannot be written: {cause.strerror}.",
                next="Make it writable, or name another place with -p scratch /path (or verification.scratch in params).",
            ) from cause
        closed = closed_at(folder, user)
        if closed is not None:
            scratch.remove()
            raise ScratchFull(
                f"The scratch location {location} is closed to user {user.name if user else 'this'}, who runs PostgreSQL: "
                f"{closed} cannot be entered.",
                next=f"chmod o+x {closed}, or name another place with -p scratch /path.",
            )
        return scratch

    def make_folders(self) -> None:
        """The folders for WAL and tablespaces are there."""
        for name in ("wal", "tablespaces"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            give(self.folder / name, self.user)

    def write_label(self) -> None:
        """The folder says whose it is and until when, for whoever finds it after a crash."""
        label = {
            "run": self.run_id,
            "pid": os.getpid(),
            "created": clock.stamp(clock.now()),
            "expires": clock.stamp(clock.now() + timedelta(hours=_KEEP_HOURS)),
            "path": str(self.folder),
            "data": str(self.data),
            "bin": str(self.tools.bin),
            "socket": str(self.socket) if self.socket else None,
        }
        (self.folder / LABEL).write_text(json.dumps(label, indent=1) + "\n", "utf-8")

    def configure(self, timeline: int, raised: Mapping[str, int]) -> dict[str, str]:
        """Own configuration files replace the restored ones; the settings written.

        Raises:
            BackupDamaged: pg_control cannot be read.
        """
        try:
            control = self.control()
        except CommandFailed as cause:
            raise BackupDamaged(
                f"The restored pg_control cannot be read: {cause.message}", next="Take a new base backup."
            ) from cause
        self.socket = server.make_socket_folder(self.user)
        self.write_label()
        settings = self._settings(control, raised, timeline)
        for name, text in {
            "postgresql.conf": render_conf(settings),
            "postgresql.auto.conf": "",
            "pg_hba.conf": "local all all trust\n",  # the socket stands in a folder that only its owner enters
            "pg_ident.conf": "",
            **({"standby.signal": ""} if self._is_standby(control, timeline) else {}),
        }.items():
            path = self.data / name
            path.unlink(missing_ok=True)
            path.write_text(text, "utf-8")
            path.chmod(0o600)
            give(path, self.user)
        self._lay_histories()
        return settings

    def _is_standby(self, control: Mapping[str, str], timeline: int) -> bool:
        """Whether the server starts behind its gate; one that was promoted would not start again like that."""
        return True

    def _settings(self, control: Mapping[str, str], raised: Mapping[str, int], timeline: int) -> dict[str, str]:
        assert self.socket is not None
        return scratch_settings(
            control,
            raised,
            major=self.tools.major,
            timeline=timeline,
            socket=self.socket,
            port=PORT,
            preload_libraries=self.preload_libraries,
            buffers_mib=buffers_for(psutil.virtual_memory().available),
        )

    def _lay_histories(self) -> None:
        """The lineage's history files lie in pg_wal, so that the explicit timeline is found."""
        for path in self.wal.glob("*.history"):
            shutil.copyfile(path, self.data / "pg_wal" / path.name)
            give(self.data / "pg_wal" / path.name, self.user)

    def start(self) -> None:
        """The server is starting; `Replay` says when it has arrived.

        Raises:
            RecoveryFailed: it refuses its data directory.
        """
        self.log.touch(mode=0o600)
        give(self.log, self.user)
        try:
            server.start(self.tools, self.data, log=self.log, user=self.user, wait=False)
        except CommandFailed as cause:
            raise RecoveryFailed(f"PostgreSQL refuses to start on the restored files: {cause.message}") from cause

    @property
    def session(self) -> dict[str, str]:
        """The settings of every session that looks at the restored data."""
        return SESSION | (SESSION_17 if self.tools.major >= 17 else {})

    def connect(self, database: str, *, read_only: bool = True, statement_timeout: float = 0) -> Connection:
        """A superuser's connection to the scratch, which sees every row.

        Raises:
            PlatformError: the server accepts none, or nobody has told its socket in this process.
        """
        if self.socket is None:  # the driver would look for some other server, production before all
            raise PlatformError(
                f"The copy in {self.folder} was not started by this attempt: its socket is not known.",
                next=f"runbook resume {self.run_id}",
            )
        return connect(
            socket=self.socket,
            port=PORT,
            database=database,
            user=self.superuser,
            application=self.run_id,
            read_only=read_only,
            statement_timeout=statement_timeout,
            settings=self.session,
        )

    @property
    def reader(self) -> str | None:
        """The role of production's that reads tables here: it may log in, sees all rows, and is no superuser; None: there is none.

        Raises:
            PlatformError: the server accepts no connection.
        """
        with self.connect("template1") as connection:
            found = rows(connection, load_sql("reader/find_reader").text, [self.reader_role])
        return str(found[0]["name"]) if found else None

    def connect_reader(self, database: str, *, statement_timeout: float = 0) -> Connection:
        """Return a read-only connection that reads tables: of the reader, or of the superuser where the copy has no reader.

        Raises:
            PlatformError: the server accepts none, or no socket is known in this process.
        """
        reader = self.reader
        if reader is None:
            return self.connect(database, statement_timeout=statement_timeout)
        return connect(
            socket=self.socket,
            port=PORT,
            database=database,
            user=reader,
            application=self.run_id,
            statement_timeout=statement_timeout,
            settings=TABLES_ONLY,
        )

    def control(self) -> dict[str, str]:
        """pg_controldata of the scratch."""
        return read_control(self.tools, self.data)

    def log_tail(self) -> str:
        """The log's last lines without the polling ones."""
        lines = server.log_tail(self.log, 200).splitlines()
        return "\n".join([line for line in lines if _POLLING_LINE not in line][-12:])

    def stop(self, mode: str = "fast") -> None:
        """The server is down and its socket folder gone; safe twice."""
        if self.data.exists():
            server.stop(self.tools, self.data, user=self.user, mode=mode)
        if self.socket is not None:
            shutil.rmtree(self.socket, ignore_errors=True)

    def keep(self) -> None:
        """The label says that nobody removes the scratch before it expires."""
        label = json.loads((self.folder / LABEL).read_text("utf-8"))
        (self.folder / LABEL).write_text(json.dumps({**label, "keep": True}, indent=1) + "\n", "utf-8")

    def remove(self) -> None:
        """Server down, folder gone; safe twice.

        Raises:
            PlatformError: something could not be removed.
        """
        self.stop("immediate")
        try:
            remove_tree(self.folder)
        except FileNotFoundError:
            return
        except OSError as cause:
            raise PlatformError(
                f"The scratch {self.folder} cannot be removed: {cause.strerror}.", next="Remove it by hand."
            ) from cause
