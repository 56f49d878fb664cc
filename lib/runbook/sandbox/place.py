"""The sandbox as it stands on disk: its folders, what was recorded about it, and a connection to it.

var/sandbox/data          the cluster's files          var/sandbox/archive     archived WAL
var/sandbox/backups/UTC   base backups                 var/sandbox/tablespaces tablespaces of its own
var/sandbox/connection    the operator's connection (0600)
var/sandbox/reader        the connection of the role that reads tables (0600)
var/sandbox/state.json    what is known about it

A home that the server's user cannot enter gets `var/sandbox` as a symbolic link to an open folder outside it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from runbook import clock, layout
from runbook.errors import NotReadable, OperatorError
from runbook.model import Frozen
from runbook.outside.commands import OsUser
from runbook.postgres import connect
from runbook.postgres.osuser import closed_at, give, service_user
from runbook.postgres.tools import Tools, find_tools, shared_folder

MAJOR = 17
DATABASE = "dealerscope"
PORT = 5432
_BACKUP_NAME = re.compile(r"^\d{8}T\d{6}Z$")
Size = Literal["small", "medium", "large"]

PRODUCTION_ENV = layout.PRODUCTION_ENV


class RelationFile(Frozen):
    """Where a relation's main fork lay when a backup was taken. `path` is relative to the data directory."""

    path: str
    kind: Literal["table", "index"]
    pages: int


class BackupFacts(Frozen):
    """What incidents need to know of a backup: its WAL and its relations, by name."""

    first_segment: str
    last_segment: str
    relations: dict[str, RelationFile]


class Damage(Frozen):
    """An incident that the sandbox has suffered. `timeline` is the server's then; None: it was down."""

    kind: str
    at: datetime
    timeline: int | None


class State(Frozen):
    """`state.json`. `socket` is the socket's folder while the server is meant to run; `finished` once `up` succeeded."""

    size: Size
    gigabytes: float
    seed: int
    created_at: datetime
    port: int = PORT
    socket: str | None = None
    finished: bool = False
    backups: dict[str, BackupFacts] = Field(default_factory=dict)
    damages: tuple[Damage, ...] = ()


@dataclass(frozen=True)
class Sandbox:
    """A sandbox: where it is, who runs it, with which programs, and its state."""

    folder: Path
    user: OsUser | None
    tools: Tools
    state: State

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def tablespaces(self) -> Path:
        return self.folder / "tablespaces"

    @property
    def tablespace_backups(self) -> Path:
        """Beside the backups: a link into a `.part` folder would break when that is renamed."""
        return self.folder / "tablespace-backups"

    @property
    def log(self) -> Path:
        return self.folder / "log" / "postgresql.log"

    @property
    def connection_file(self) -> Path:
        return self.folder / "connection"

    @property
    def reader_file(self) -> Path:
        return self.folder / "reader"

    def conninfo(self, database: str = DATABASE, user: str = "postgres") -> str:
        """How the operator reaches it.

        Raises:
            OperatorError: it is down.
        """
        if self.state.socket is None:
            raise OperatorError("The sandbox is down.", next="runbook sandbox up")
        return f"host={self.state.socket} port={self.state.port} user={user} dbname={database}"

    def connect(
        self,
        database: str = DATABASE,
        *,
        user: str = "postgres",
        read_only: bool | None = False,
        settings: Mapping[str, str] | None = None,
    ) -> connect.Connection:
        """Return a connection without a statement timeout: loads take their time."""
        return connect.connect(
            conninfo=self.conninfo(database, user),
            application="runbook-sandbox",
            read_only=read_only,
            statement_timeout=0,
            lock_timeout=30,
            settings=settings,
        )

    def newest_backup(self) -> Path:
        """The newest finished base backup.

        Raises:
            OperatorError: there is none.
        """
        found = self.list_backups()
        if not found:
            raise OperatorError(f"{layout.short(self.backups)} holds no backup.", next="runbook sandbox backup")
        return found[-1]

    def list_backups(self) -> list[Path]:
        """The finished base backups, oldest first; fences lie beside them and are none."""
        return sorted(path for path in self.backups.iterdir() if _BACKUP_NAME.match(path.name))

    def with_state(self, **changes: object) -> Sandbox:
        """The same sandbox with its state changed, on disk too."""
        changed = replace(self, state=self.state.model_copy(update=changes))
        write_state(changed)
        return changed


def state_file(folder: Path) -> Path:
    return folder / "state.json"


def write_file(path: Path, text: str, mode: int) -> None:
    """The file holds the text, wholly or not at all, and survives a crash."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.chmod(mode)
    part.rename(path)


def write_state(sandbox: Sandbox) -> None:
    """state.json says what the sandbox's state says."""
    write_file(state_file(sandbox.folder), sandbox.state.model_dump_json(indent=1) + "\n", 0o644)


def find_sandbox() -> Sandbox | None:
    """The home's sandbox; None when there is none, or one whose making was cut short."""
    folder = layout.sandbox().resolve()
    file = state_file(folder)
    if not file.is_file():
        return None
    state = State.model_validate_json(file.read_text("utf-8"))
    if not state.finished:
        return None
    user = service_user(owned=folder / "archive")
    return Sandbox(folder, user, find_tools(MAJOR, user=user), state)


def need_sandbox() -> Sandbox:
    """The home's sandbox.

    Raises:
        OperatorError: there is none.
    """
    sandbox = find_sandbox()
    if sandbox is None:
        raise OperatorError("There is no sandbox in this home.", next="runbook sandbox up")
    return sandbox


def _make_open(folder: Path) -> None:
    """The folder exists and anybody may enter it, whatever the umask; one that existed keeps its mode."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o755)


def make_folders(user: OsUser | None) -> tuple[Path, str | None]:
    """The sandbox's empty folders, within reach of the user who runs PostgreSQL.

    Returns:
        The real folder, and one line for the operator when it is outside the home.

    Raises:
        NotReadable: var/sandbox is a folder of its own and closed to that user.
    """
    link = layout.sandbox()
    _make_open(layout.var())
    closed = closed_at(layout.var(), user)
    note = None
    if link.is_symlink():
        folder = link.resolve()
        if folder.parent == layout.shared():
            shared_folder()
    elif closed is None:
        folder = link
    elif link.exists():
        raise NotReadable(
            f"{link} cannot be entered by user {user.name if user else 'of this process'}: {closed} is closed.",
            next=f"chmod o+x {closed}, or remove {link} so that it is made outside the home.",
        )
    else:
        folder = shared_folder() / "sandbox"
        link.symlink_to(folder)
        note = f"{closed} is closed to user {user.name if user else '?'}: the sandbox is in {folder}."
    _make_open(folder)
    for name in ("data", "archive", "backups", "tablespaces", "tablespace-backups", "log"):
        path = folder / name
        path.mkdir(exist_ok=True)
        path.chmod(0o700)
        give(path, user)
    return folder.resolve(), note


def remove_folders() -> None:
    """Nothing of the sandbox is left; safe when there is none. The server must be down."""
    link = layout.sandbox()
    folder = link.resolve()
    if folder.is_dir():
        shutil.rmtree(folder)
    link.unlink(missing_ok=True)
    if layout.shared().is_dir() and not any(layout.shared().iterdir()):
        layout.shared().rmdir()


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else makes, starts, stops or breaks this home's sandbox meanwhile.

    Raises:
        OperatorError: somebody does.
    """
    _make_open(layout.var())
    with (layout.var() / "sandbox.lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(
                "Another command is changing the sandbox just now.", next="Wait for it, then try again."
            ) from None
        yield


def new_state(size: Size, gigabytes: float, seed: int) -> State:
    """The state of a sandbox that begins now."""
    return State(size=size, gigabytes=gigabytes, seed=seed, created_at=clock.now())
