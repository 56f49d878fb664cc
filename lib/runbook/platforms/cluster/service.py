"""Starting and stopping production through its service manager: it belongs to that one and is never a run's child."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runbook import environment, layout
from runbook.errors import CommandFailed, OperatorError, PlatformError
from runbook.outside import commands
from runbook.params.schema import Cluster
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres import server

START_TIMEOUT = 300.0
STOP_TIMEOUT = 300.0
_STATUS_TIMEOUT = 30.0
_POLL_SECONDS = 0.2
#: What a status command says of a service that does not run (LSB: dead, dead with a lock, not running); 4 and more: not known.
_NOT_RUNNING = (1, 2, 3)


def service_argv(words: tuple[str, ...]) -> list[str]:
    """The command as params have it; the word `runbook` at its start is this very program.

    >>> service_argv(("systemctl", "start", "postgresql@17-main"))
    ['systemctl', 'start', 'postgresql@17-main']
    >>> service_argv(("runbook", "sandbox", "server", "start"))[3:]
    ['-m', 'runbook.cli.main', 'sandbox', 'server', 'start']
    """
    if words[0] == "runbook":
        return environment.python_argv("runbook.cli.main", *words[1:])
    return list(words)


def _command(cluster: Cluster, name: str) -> tuple[str, ...]:
    words: tuple[str, ...] | None = getattr(cluster.service, name)
    if words is None:
        raise OperatorError(
            f"The params file does not say how to {name} the server: it belongs to a service manager, not to this run.",
            next=f"Add cluster.service.{name}, such as [systemctl, {name}, postgresql@17-main], and resume.",
        )
    return words


def require_service(cluster: Cluster) -> None:
    """Params say how to start and stop the server, so that a recovery does not find out half-way.

    Raises:
        OperatorError: one of them is missing.
    """
    for name in ("start", "stop"):
        _command(cluster, name)


def _run(cluster: Cluster, words: tuple[str, ...], timeout: float) -> commands.Result:
    named = environment.named(cluster.service.env, "cluster.service")
    env = {**named, **layout.PRODUCTION_ENV, "RUNBOOK_HOME": str(layout.home())}
    return commands.run_and_leave(service_argv(words), timeout=timeout, env=env)


def is_running(cluster: Cluster) -> bool:
    """True when a postmaster of the data directory is alive; where its files are out of reach, the service manager is asked.

    The files come first: a unit may be "active" without a server (Debian's postgresql.service always is), and a server may
    run that nobody's unit has started.

    Raises:
        OperatorError: neither can be asked.
        CommandFailed: who was asked cannot tell.
    """
    live = LiveServer(cluster, "service")
    data = live.data
    if data is not None and _can_look_at(data):
        if not (data / "PG_VERSION").exists():
            return False  # nothing stands there: a swap is under way
        return server.is_running(live.tools(), data, user=live.user)
    words = _command(cluster, "status")
    result = _run(cluster, words, _STATUS_TIMEOUT)
    if result.code != 0 and result.code not in _NOT_RUNNING:
        raise CommandFailed(
            f"cluster.service.status cannot tell whether the server runs: it ended with code {result.code}: {result.said}",
            next="Correct cluster.service.status in params: it ends with 0 while the server runs and with 3 while it does not.",
            code=result.code,
        )
    return result.code == 0


def _can_look_at(data: Path) -> bool:
    try:
        data.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.access(data, os.R_OK | os.X_OK)


def start(cluster: Cluster, *, timeout: float = START_TIMEOUT) -> None:
    """The server runs and, where params name a connection, accepts connections; safe when it already does.

    Raises:
        OperatorError: params do not say how.
        CommandFailed, CommandTimedOut: the service manager could not.
        PlatformError: it said yes, and no server is there in time.
    """
    live = LiveServer(cluster, "service")
    began = time.monotonic()
    if not is_running(cluster):
        _must(cluster, "start", timeout)
    while not (is_running(cluster) and (cluster.connection is None or live.is_up())):
        if time.monotonic() - began > timeout:
            raise PlatformError(
                f"The start command ended well, and after {timeout:.0f} s no server "
                f"{'accepts connections' if is_running(cluster) else 'runs'} on {cluster.data_directory or 'the target'}.",
                next="Read the server's log; then resume.",
            )
        time.sleep(_POLL_SECONDS)


def stop(cluster: Cluster, *, timeout: float = STOP_TIMEOUT) -> None:
    """No server runs; safe when none does.

    The command is given even when no postmaster is seen: a service manager that thinks the server should run would start it.

    Raises:
        OperatorError: params do not say how.
        CommandFailed, CommandTimedOut: the service manager could not.
        PlatformError: it said yes, and the server still runs.
    """
    began = time.monotonic()
    _must(cluster, "stop", timeout)
    while is_running(cluster):
        if time.monotonic() - began > timeout:
            raise PlatformError(
                f"The stop command ended well, and after {timeout:.0f} s a server still runs on "
                f"{cluster.data_directory or 'the target'}.",
                next="See who starts it (an HA manager, a watchdog, a person); stop that, then resume.",
            )
        time.sleep(_POLL_SECONDS)


def _must(cluster: Cluster, name: str, timeout: float) -> None:
    result = _run(cluster, _command(cluster, name), timeout)
    if result.code != 0:
        raise CommandFailed(
            f"The service manager's command to {name} the server ended with code {result.code}: "
            f"{result.said or 'it said nothing'}",
            next=f"Run it by hand and see: {' '.join(result.argv)}; then resume.",
            code=result.code,
        )
