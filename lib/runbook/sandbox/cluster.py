"""Making, starting, stopping and removing the sandbox's cluster.

It behaves like production: data checksums, fsync, WAL archived by basic_archive (which syncs and never overwrites), its
processes outside of any run. Its only door is a socket in a private folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.errors import OperatorError, PlatformError
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.postgres import server
from runbook.postgres.osuser import give, service_user
from runbook.postgres.tools import Tools, find_tools
from runbook.sandbox import backup, data, idle_process, traffic, traffic_process
from runbook.sandbox.place import (
    MAJOR,
    PORT,
    PRODUCTION_ENV,
    Sandbox,
    Size,
    State,
    find_sandbox,
    locked,
    make_folders,
    new_state,
    remove_folders,
    state_file,
    write_file,
)

#: WAL to make after the base backup of the larger sizes, as a share of the database.
_TAIL_SHARE = 1.2
_STOP_TIMEOUT = 120.0

Say = Callable[[str], None]


def settings_text(sandbox: Sandbox, *, loading: bool = False) -> str:
    """The whole postgresql.conf. While loading, nothing is archived and WAL is minimal."""
    small = sandbox.state.size == "small"
    settings = {
        "listen_addresses": "",
        "port": str(sandbox.state.port),
        "unix_socket_directories": str(sandbox.state.socket),
        "max_connections": "60",
        "shared_buffers": "64MB" if small else "512MB",
        "dynamic_shared_memory_type": "posix",
        "shared_preload_libraries": "pg_stat_statements",
        "wal_level": "minimal" if loading else "replica",
        "max_wal_senders": "0" if loading else "5",
        "archive_mode": "off" if loading else "on",
        "archive_library": "basic_archive",
        "basic_archive.archive_directory": str(sandbox.archive),
        "archive_timeout": "60s",
        "wal_compression": "lz4",
        "min_wal_size": "80MB",
        "max_wal_size": "512MB" if small else "2GB",
        "track_commit_timestamp": "on",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "datestyle": "iso, mdy",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "default_text_search_config": "pg_catalog.english",
    }
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
    note = "# The sandbox's settings, written by `runbook sandbox up`; ALTER SYSTEM changes last, edits here do not."
    return "\n".join([note, *lines]) + "\n"


def _write_settings(sandbox: Sandbox, *, loading: bool = False) -> None:
    path = sandbox.data / "postgresql.conf"
    write_file(path, settings_text(sandbox, loading=loading), 0o600)
    give(path, sandbox.user)


def start_server(sandbox: Sandbox, *, loading: bool = False) -> Sandbox:
    """The server accepts connections and the connection file says where; safe when it already runs.

    Its socket's folder is made anew when it is gone, as after a reboot.

    Raises:
        CommandFailed: it did not start; the message ends with its log.
    """
    running = server.is_running(sandbox.tools, sandbox.data, user=sandbox.user)
    socket = sandbox.state.socket
    if socket is not None and not Path(socket).is_dir():
        # A server whose socket is gone can be reached by nobody.
        server.stop(sandbox.tools, sandbox.data, user=sandbox.user, timeout=_STOP_TIMEOUT)
        socket, running = None, False
    if running and socket is not None:
        return sandbox
    sandbox = sandbox.with_state(socket=socket or str(server.make_socket_folder(sandbox.user)))
    _write_settings(sandbox, loading=loading)
    server.start(sandbox.tools, sandbox.data, log=sandbox.log, user=sandbox.user, env=PRODUCTION_ENV)
    write_file(sandbox.connection_file, sandbox.conninfo() + "\n", 0o600)
    write_file(sandbox.reader_file, sandbox.conninfo(user=data.READER) + "\n", 0o600)
    return sandbox


def stop_server(sandbox: Sandbox) -> Sandbox:
    """The server is down, its socket's folder and the connection file are gone; safe when it already is."""
    server.stop(sandbox.tools, sandbox.data, user=sandbox.user, timeout=_STOP_TIMEOUT)
    if sandbox.state.socket is not None:
        shutil.rmtree(sandbox.state.socket, ignore_errors=True)
    sandbox.connection_file.unlink(missing_ok=True)
    sandbox.reader_file.unlink(missing_ok=True)
    return sandbox.with_state(socket=None)


def _initdb(tools: Tools, data_directory: Path, user: OsUser | None) -> None:
    commands.run(
        [
            tools.path("initdb"),
            f"--pgdata={data_directory}",
            "--username=postgres",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--auth=trust",  # the socket's folder is the lock: only the server's user and root can enter it
            "--no-sync",  # nothing is lost yet that initdb could not make again
        ],
        timeout=120,
        user=user,
    )


def up(
    size: Size = "small",
    *,
    gigabytes: float | None = None,
    seed: int = 1,
    after_backup: Callable[[Sandbox], None] | None = None,
    say: Say = print,
) -> Sandbox:
    """The sandbox runs: made if there is none, started if it was down. Safe twice.

    Args:
        gigabytes: the database's size, with `large`.
        after_backup: called once, after the first base backup and before any traffic: it takes the fence.
        say: gets one line a stage.

    Raises:
        OperatorError: another command is at it, or a sandbox of another size is there.
    """
    volume, wanted = data.volume_of(size, gigabytes)
    with locked():
        sandbox = find_sandbox()
        if sandbox is not None:
            if sandbox.state.size != size or (gigabytes is not None and sandbox.state.gigabytes != gigabytes):
                raise OperatorError(
                    f"There is a sandbox of size {sandbox.state.size} already.",
                    next=f"runbook sandbox up --size {sandbox.state.size}, or runbook sandbox down --remove first.",
                )
            return _wake(sandbox, say)
        return _make(size, wanted, volume, seed, after_backup, say)


def _wake(sandbox: Sandbox, say: Say) -> Sandbox:
    was_running = server.is_running(sandbox.tools, sandbox.data, user=sandbox.user)
    sandbox = start_server(sandbox)
    if was_running:
        say("The sandbox is up already.")
        return sandbox
    # What slept has no fresh heartbeat; the application is back, so it has one now.
    traffic.write_burst(sandbox, 5)
    say("The sandbox was down and is up again.")
    try:
        backup.archive_tail(sandbox, timeout=15)
    except PlatformError as problem:  # it is up all the same, and may have been broken on purpose
        say(str(problem))
    return sandbox


def _make(
    size: Size,
    gigabytes: float,
    volume: data.Volume,
    seed: int,
    after_backup: Callable[[Sandbox], None] | None,
    say: Say,
) -> Sandbox:
    _clear_unfinished(say)
    user = service_user()
    tools = find_tools(MAJOR, user=user)
    folder, note = make_folders(user)
    if note:
        say(note)
    sandbox = Sandbox(folder, user, tools, new_state(size, gigabytes, seed).model_copy(update={"port": PORT}))
    began = time.monotonic()
    _initdb(tools, sandbox.data, user)
    try:
        sandbox = start_server(sandbox, loading=True)
        data.create_roles(sandbox)
        data.load(sandbox, volume)
        server.stop(tools, sandbox.data, user=user, timeout=_STOP_TIMEOUT)
        sandbox = start_server(sandbox)
        say(f"PostgreSQL {tools.version} runs with {volume.vehicles} vehicles ({_since(began)}).")
        sandbox, taken = backup.take_backup(sandbox, "first")
        say(f"Base backup {layout.short(layout.sandbox() / 'backups' / taken.name)} ({_since(began)}).")
        if after_backup is not None:
            after_backup(sandbox)
        _make_tail(sandbox)
        sandbox = sandbox.with_state(finished=True)
        say(f"WAL since then is archived ({_since(began)}).")
    except BaseException:
        server.stop(tools, sandbox.data, user=user, mode="immediate")
        if sandbox.state.socket is not None:
            shutil.rmtree(sandbox.state.socket, ignore_errors=True)
        raise
    return sandbox


def _make_tail(sandbox: Sandbox) -> None:
    """Traffic after the base backup, over several archived segments; much of it in the larger sizes."""
    if sandbox.state.size != "small":
        traffic.churn(sandbox, int(sandbox.state.gigabytes * 1e9 * _TAIL_SHARE))
    for _ in range(3):
        traffic.write_burst(sandbox, 40)
        backup.archive_tail(sandbox)


def _clear_unfinished(say: Say) -> None:
    """What a cut-short `up` left is gone: it never was a sandbox."""
    folder = layout.sandbox().resolve()
    if not (folder / "data" / "PG_VERSION").exists():
        return
    user = service_user(owned=folder / "archive")
    server.stop(find_tools(MAJOR, user=user), folder / "data", user=user, mode="immediate")
    file = state_file(folder)
    socket = State.model_validate_json(file.read_text("utf-8")).socket if file.is_file() else None
    if socket is not None:
        shutil.rmtree(socket, ignore_errors=True)
    remove_folders()
    say("An earlier `runbook sandbox up` was cut short; its remains were removed.")


def down(*, remove: bool = False) -> str:
    """Traffic, a planted session and the server are stopped; with `remove` nothing of the sandbox is left. Safe twice.

    Returns:
        One line for the operator.
    """
    with locked():
        sandbox = find_sandbox()
        if sandbox is None:
            if remove:
                _clear_unfinished(lambda _: None)
                remove_folders()
            return "There is no sandbox."
        traffic_process.stop(sandbox)
        idle_process.stop(sandbox)
        stop_server(sandbox)
        if not remove:
            return "The sandbox is down; its data and backups stay."
        remove_folders()
        return "The sandbox is down and removed."


@dataclass(frozen=True)
class SandboxStatus:
    """The sandbox in figures. Sizes are bytes; the figures of a server that is down are None."""

    folder: Path
    size: Size
    running: bool
    traffic: bool
    backups: tuple[str, ...]
    archived_segments: int
    version: str | None = None
    data_bytes: int | None = None
    timeline: int | None = None
    checksums: str | None = None
    system_identifier: str | None = None
    last_archived_at: datetime | None = None
    archive_failures: int | None = None


def status() -> SandboxStatus | None:
    """How the sandbox is; None when there is none. Changes nothing."""
    sandbox = find_sandbox()
    if sandbox is None:
        return None
    base = SandboxStatus(
        folder=sandbox.folder,
        size=sandbox.state.size,
        running=server.is_running(sandbox.tools, sandbox.data, user=sandbox.user) and sandbox.state.socket is not None,
        traffic=traffic_process.is_running(sandbox),
        backups=tuple(path.name for path in sandbox.list_backups()),
        archived_segments=sum(1 for path in sandbox.archive.iterdir() if len(path.name) == 24),
    )
    if not base.running:
        return base
    with sandbox.connect("postgres", read_only=True) as connection:
        facts = data.run_file(connection, "read_status")[0]
        archiver = data.run_file(connection, "read_archiver")[0]
    return SandboxStatus(
        **{
            **base.__dict__,
            **{key: facts[key] for key in ("version", "data_bytes", "timeline", "checksums", "system_identifier")},
            "last_archived_at": archiver["last_archived_time"],
            "archive_failures": archiver["failed_count"],
        }
    )


def _since(began: float) -> str:
    return clock.human_seconds(time.monotonic() - began)
