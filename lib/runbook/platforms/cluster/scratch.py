"""A scratch cluster: a labelled folder with a restored copy that can reach nothing, and its server."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from runbook.errors import (
    BackupDamaged,
    CommandFailed,
    CommandTimedOut,
    PlatformError,
    RecoveryFailed,
    RecoveryRefused,
    ScratchFull,
)
from runbook.outside.commands import OsUser
from runbook.outside.namespaces import Namespaces
from runbook.platforms.cluster.copying import remove_tree
from runbook.platforms.cluster.datafolder import opened, replacing
from runbook.platforms.cluster.scratchlabel import keep, write_label
from runbook.platforms.cluster.scratchplace import has_closed_links, linked_folders
from runbook.platforms.cluster.settings import (
    buffers_for,
    render_conf,
    scratch_settings,
    session_settings,
    target_timeline,
)
from runbook.postgres import causes, server
from runbook.postgres.connect import Connection, connect, rows
from runbook.postgres.guard import TABLES_ONLY
from runbook.postgres.osuser import (
    closed_at,
    end_processes_of,
    ending_strays,
    give,
    is_unassigned,
    owner_of,
)
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, read_control

PORT = 5432


@dataclass
class Scratch:
    """One restored copy. `folder` holds `data/`, `wal/` (the stage), `tablespaces/`, `server.log` and the label.

    The folder itself and the stage belong to us: the server's user, `user`, owns only what the server writes to, and cannot put a
    link in the place of what we read or write. `owns_nothing`: the user owns nothing of production. `hidden`: production's folders.
    `limitation`: what is to be said of the user. `files_are_proven`: by the manifest, before a server started. `lender`: production's user, whose WAL the server sees as its own where it is linked.
    """

    folder: Path
    run_id: str
    tools: Tools
    user: OsUser | None
    superuser: str
    preload_libraries: tuple[str, ...] = ()
    reader_role: str = "runbook_reader"
    socket: Path | None = None
    promoted: bool = False
    owns_nothing: bool = False
    hidden: tuple[Path, ...] = ()
    limitation: str | None = None
    lender: OsUser | None = None
    not_isolated: str | None = None
    files_are_proven: bool = False

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def wal(self) -> Path:
        return self.folder / "wal"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def prepare(self) -> Scratch:
        """The scratch's folder is there, empty and labelled; one of an earlier attempt of the run is replaced. Return the scratch.

        Raises:
            ScratchFull: the location cannot be written, or the server's user cannot enter it.
        """
        location = self.folder.parent
        try:
            location.mkdir(parents=True, exist_ok=True)
            if self.folder.exists():
                self._remove_earlier()
            self.make_folders()
            self.write_label()
        except OSError as cause:
            raise ScratchFull(
                f"The scratch location {location} cannot be written: {cause.strerror}.",
                next="Make it writable, or name another place with -p scratch /path (or verification.scratch in params).",
            ) from cause
        closed = closed_at(self.folder, self.user)
        if closed is not None:
            self.remove()
            raise ScratchFull(
                f"The scratch location {location} is closed to user {self.user.name if self.user else 'this'}, who runs PostgreSQL: "
                f"{closed} cannot be entered.",
                next=f"chmod o+x {closed}, or name another place with -p scratch /path.",
            )
        return self

    def _remove_earlier(self) -> None:
        """What an earlier attempt left is gone; it may have run as another user."""
        earlier = Scratch(self.folder, self.run_id, self.tools, self.user, self.superuser)
        if self.data.exists() and not self.data.is_symlink():
            earlier.user = owner_of(self.data)
            earlier.owns_nothing = earlier.user is not None and is_unassigned(earlier.user.uid)
        earlier.remove()

    def make_folders(self) -> None:
        """The folder is there, with those for WAL and tablespaces: ours, to be entered by the server's user and listed by nobody else."""
        for path in (self.folder, self.wal, self.folder / "tablespaces"):
            path.mkdir(mode=0o700, exist_ok=True)
            if self.user is not None:
                os.chown(path, 0, 0, follow_symlinks=False)
                path.chmod(0o711)

    def write_label(self) -> None:
        """The folder says whose it is and until when, for whoever finds it after a crash."""
        socket = str(self.socket) if self.socket else None
        facts = {"path": str(self.folder), "data": str(self.data), "bin": str(self.tools.bin), "socket": socket}
        write_label(self.folder, run=self.run_id, **facts)

    def note_manifest(self, is_whole: bool) -> None:
        """Every file that was restored had the checksum of its manifest, or not, before a server touched it."""
        self.files_are_proven = is_whole

    def configure(self, timeline: int, raised: Mapping[str, int]) -> dict[str, str]:
        """Own configuration files replace the restored ones; the settings written.

        Raises:
            BackupDamaged: pg_control cannot be read.
        """
        try:
            control = self.control()
        except CommandFailed as cause:
            words = f"The restored pg_control cannot be read: {cause.message}"
            if causes.cause_of(words).is_host:
                raise PlatformError(words, next=causes.next_step(words)) from cause
            raise BackupDamaged(words, next="Take a new base backup.") from cause
        self.socket = server.make_socket_folder(self.user)
        self.write_label()
        settings = self._settings(control, raised, timeline)
        self.write_configuration(settings)
        with opened(self.data) as data:
            if self._is_standby(control, timeline):
                with replacing(data, "standby.signal", self.user):
                    pass
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink("standby.signal", dir_fd=data)
        self._lay_histories()
        return settings

    def write_configuration(self, settings: Mapping[str, str]) -> None:
        """Each configuration file that a server reads is ours, whatever one that ran before has made of it."""
        with opened(self.data) as data:
            for name, text in {
                "postgresql.conf": render_conf(settings),
                "postgresql.auto.conf": "",
                "pg_hba.conf": "local all all trust\n",  # the socket stands in a folder that only its owner enters
                "pg_ident.conf": "",
            }.items():
                with replacing(data, name, self.user) as file:
                    file.write(text.encode())

    def _is_standby(self, control: Mapping[str, str], timeline: int) -> bool:
        """Whether the server starts behind its gate; one that was promoted would not start again like that."""
        return True

    def _settings(self, control: Mapping[str, str], raised: Mapping[str, int], timeline: int) -> dict[str, str]:
        assert self.socket is not None
        return scratch_settings(
            control,
            raised,
            major=self.tools.major,
            timeline=target_timeline(timeline, self.wal),
            socket=self.socket,
            port=PORT,
            preload_libraries=self.preload_libraries,
            buffers_mib=buffers_for(psutil.virtual_memory().available),
        )

    def _lay_histories(self) -> None:
        """The lineage's history files lie in pg_wal, so that the explicit timeline is found."""
        with opened(self.data, "pg_wal") as pg_wal:
            for path in self.wal.glob("*.history"):
                with replacing(pg_wal, path.name, self.user) as file:
                    file.write(path.read_bytes())

    def start(self) -> None:
        """The server is starting; `Replay` says when it has arrived.

        Raises:
            RecoveryFailed: it refuses its data directory.
            PlatformError: this host cannot run it.
        """
        try:
            self.run_server(wait=False)
        except CommandFailed as cause:
            words = f"PostgreSQL refuses to start on the restored files: {cause.message}"
            if causes.cause_of(words).is_host:
                raise PlatformError(words, next=causes.next_step(words)) from cause
            raise RecoveryFailed(words) from cause

    def run_server(self, *, wait: bool) -> None:
        """The server starts, in namespaces of its own where this host has them.

        Raises:
            CommandFailed: it does not.
        """
        self.log.touch(mode=0o600)
        give(self.log, self.user)
        inside = self.namespaces
        self.not_isolated = inside.refusal([self.tools.path("postgres"), "--version"], self.user)
        if self.not_isolated is not None and inside.lent:
            raise PlatformError(
                f"The server cannot be shown the archived WAL any more: {self.not_isolated}.",
                next="Run again; on a host without idmapped mounts, name the archive's owner as verification.scratch_user.",
            )
        if self.not_isolated is not None:
            server.start(self.tools, self.data, log=self.log, user=self.user, wait=wait)
        else:
            server.start(self.tools, self.data, log=self.log, user=self.user, wait=wait, inside=inside)

    @property
    def namespaces(self) -> Namespaces:
        """What the server sees of the host: its own files, PostgreSQL's programs, and the WAL that it is linked to."""
        assert self.socket is not None
        is_lent = self.lender is not None and has_closed_links(self.wal, self.user)
        linked = () if is_lent else linked_folders(self.wal)
        return Namespaces(
            programs=self.tools.folders,
            hidden=self.hidden,
            readable=(*linked, self.folder),
            lent=(self.wal,) if is_lent else (),
            lender=self.lender,
            writable=(self.data, self.folder / "tablespaces", self.log, self.socket),
        )

    @property
    def limitations(self) -> list[str]:
        """What keeps the server from being alone on this host, for the top of the report; known once it was started."""
        found = [self.limitation] if self.limitation else []
        if self.not_isolated is not None:
            found.append(
                f"The restored copy's server ran without namespaces of its own ({self.not_isolated}): a program that it runs "
                f"reaches the network, and all that its user {self.user.name if self.user else 'on this host'} reaches."
            )
        return found

    @property
    def session(self) -> dict[str, str]:
        """The settings of every session that looks at the restored data."""
        return session_settings(self.tools.major)

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
        return self._require_own(
            connect(
                socket=self.socket,
                port=PORT,
                database=database,
                user=self.superuser,
                application=self.run_id,
                read_only=read_only,
                statement_timeout=statement_timeout,
                settings=self.session,
            )
        )

    def _require_own(self, connection: Connection) -> Connection:
        """The connection leads to the server of this copy: its user could put a link to production's socket in place of its own.

        Raises:
            RecoveryRefused: it leads to another.
        """
        if server.listens_in(self.data, connection.fileno()):
            return connection
        connection.close()
        raise RecoveryRefused(
            f"Another server than the copy's answers in {self.socket}: what ran in the copy has replaced its socket.",
            next="Do not use this copy; see who could run programs in it (superusers, untrusted languages).",
        )

    def as_client(self, argv: Sequence[str]) -> tuple[list[str], OsUser | None]:
        """The command of a client of this server, and who starts it: it sees no other server's socket, where the host has namespaces."""
        assert self.socket is not None
        if self.not_isolated is not None:
            return list(argv), self.user
        return Namespaces(programs=self.tools.folders, readable=(self.socket,)).wrap(argv, self.user), None

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
        return self.connect_as(self.reader, database, statement_timeout=statement_timeout)

    def connect_as(self, reader: str | None, database: str, *, statement_timeout: float = 0) -> Connection:
        """`connect_reader` for many sessions while the copy stays where it is: `reader` is looked up once."""
        if reader is None:
            return self.connect(database, statement_timeout=statement_timeout)
        return self._require_own(
            connect(
                socket=self.socket,
                port=PORT,
                database=database,
                user=reader,
                application=self.run_id,
                statement_timeout=statement_timeout,
                settings=TABLES_ONLY,
            )
        )

    def control(self) -> dict[str, str]:
        """pg_controldata of the scratch."""
        return read_control(self.tools, self.data, self.user)

    def log_tail(self) -> str:
        """The log's last lines without the polling ones."""
        lines = server.log_tail(self.log, 200).splitlines()
        return "\n".join([line for line in lines if server.POLLING_LINE not in line][-12:])

    def stop(self, mode: str = "fast") -> None:
        """The server is down, what it started too, and its socket folder gone; safe twice."""
        try:
            if self.data.exists():
                with ending_strays(self.user, self.run_id):
                    server.stop(self.tools, self.data, user=self.user, mode=mode)
        finally:
            if self.user is not None and self.owns_nothing:
                end_processes_of(self.user, self.run_id)
            if self.socket is not None:
                shutil.rmtree(self.socket, ignore_errors=True)

    def keep(self) -> None:
        """The label says that nobody removes the scratch before it expires."""
        keep(self.folder)

    def remove(self) -> None:
        """Server down, folder gone; safe twice.

        Raises:
            PlatformError: something could not be removed.
        """
        try:
            self.stop("immediate")
        except (CommandFailed, CommandTimedOut):
            # A planted file can hold pg_ctl up; the processes have been ended without it.
            if not self.owns_nothing:
                raise
        try:
            remove_tree(self.folder)
        except FileNotFoundError:
            return
        except OSError as cause:
            words = f"The scratch {self.folder} cannot be removed: {cause.strerror}."
            raise PlatformError(words, next="Remove it by hand.") from cause
