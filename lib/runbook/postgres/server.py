"""Starting and stopping a server of ours: a scratch or the sandbox, through pg_ctl, as its own user."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from runbook import texts
from runbook.disk import make_folder
from runbook.errors import CommandFailed
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.outside.namespaces import Namespaces
from runbook.postgres.osuser import give
from runbook.postgres.tools import Tools

#: What a standby logs each time when it finds no more WAL.
POLLING_LINE = "waiting for WAL to become available"

#: pg_ctl status: no server runs there.
_NOT_RUNNING = 3
_STATUS_TRIES = 5


def make_socket_folder(user: OsUser | None) -> Path:
    """A short private folder for Unix sockets: their paths may not exceed about 100 characters."""
    return give(make_folder(), user)


def start(
    tools: Tools,
    data: Path,
    *,
    log: Path,
    user: OsUser | None,
    wait: bool = True,
    timeout: float = 60,
    env: Mapping[str, str | None] | None = None,
    inside: Namespaces | None = None,
) -> None:
    """The server runs (with `wait`: accepts connections).

    Args:
        inside: the namespaces that it runs in; None: the host's.

    Raises:
        CommandFailed: it did not start; the message ends with its log's last lines.
    """
    argv = [
        tools.path("pg_ctl"),
        "-D",
        str(data),
        "-l",
        str(log),
        "-t",
        str(int(timeout)),
        "-w" if wait else "-W",
        "start",
    ]
    try:
        if inside is None:
            commands.run(argv, timeout=timeout + 10, user=user, env=env)
        else:  # it becomes that user once it has entered them
            commands.run(inside.wrap(argv, user), timeout=timeout + 10, env=env)
    except CommandFailed as cause:
        raise CommandFailed(
            f"The server in {data} did not start. Its log ends:\n{log_tail(log)}", next=f"Read {log}."
        ) from cause


def stop(tools: Tools, data: Path, *, user: OsUser | None, mode: str = "fast", timeout: float = 60) -> None:
    """The server is down; safe when it already is.

    Raises:
        CommandFailed: it is still up after the time.
    """
    if not is_running(tools, data, user=user):
        return
    argv = [tools.path("pg_ctl"), "-D", str(data), "-m", mode, "-t", str(int(timeout)), "-w", "stop"]
    try:
        commands.run(argv, timeout=timeout + 10, user=user)
    except CommandFailed:
        # It may have ended between the two looks.
        if is_running(tools, data, user=user):
            raise


def is_running(tools: Tools, data: Path, *, user: OsUser | None) -> bool:
    """True when a postmaster of this data directory is alive.

    Raises:
        CommandFailed: pg_ctl could not tell: only its code 3 says that none runs.
    """
    if not (data / "PG_VERSION").exists():
        return False
    for _ in range(_STATUS_TRIES):  # the pid file is empty for a moment while a server starts
        result = commands.run([tools.path("pg_ctl"), "-D", str(data), "status"], timeout=20, user=user, check=False)
        if result.code in (0, _NOT_RUNNING):
            break
        time.sleep(0.2)
    else:
        if not (data / "PG_VERSION").exists():
            return False  # it was moved away meanwhile
        raise CommandFailed(
            f"pg_ctl cannot tell whether a server runs in {data}: it ended with code {result.code}: {result.said}",
            next=f"Run as a user who can read {data}; look whether it is mounted.",
            code=result.code,
        )
    return result.code == 0


def listens_in(data: Path, connection: int) -> bool:
    """True when the other end of an open Unix socket belongs to the postmaster that runs in this data directory.

    The kernel says which process listens; its working folder is its data directory, or, where that is closed to us, its user owns the
    directory and its number stands in it. True where the system does not say who listens.
    """
    peer = getattr(socket, "SO_PEERCRED", None)
    if peer is None:
        return True
    with socket.socket(fileno=os.dup(connection)) as opened:
        pid, uid, _ = struct.unpack("3i", opened.getsockopt(socket.SOL_SOCKET, peer, struct.calcsize("3i")))
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except PermissionError:  # root in a container without CAP_SYS_PTRACE
        return bool(
            uid == data.stat().st_uid and (data / "postmaster.pid").read_text("utf-8", "replace").split()[0] == str(pid)
        )
    except OSError:
        return False


def log_tail(log: Path, lines: int = 15) -> str:
    """The log's last lines, for a message."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        with contextlib.suppress(OSError):
            file.seek(-20000, os.SEEK_END)
        return "\n".join(texts.visible(file.read().decode(errors="backslashreplace")).splitlines()[-lines:])


def read_log(log: Path) -> str:
    """Return the log, as far as it can be read: names may have any bytes."""
    return log.read_bytes().decode(errors="backslashreplace") if log.exists() else ""
