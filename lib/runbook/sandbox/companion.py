"""Processes beside the sandbox: the application, not a part of any run. They carry production's mark.

A process notes its id and the moment it began in a file of the sandbox's folder; it is ended by its id, and only while that id is
still the same process.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from runbook import environment, layout
from runbook.errors import PlatformError
from runbook.outside import commands
from runbook.sandbox.place import PRODUCTION_ENV, Sandbox, write_file

_PATIENCE = 20.0


def _note(sandbox: Sandbox, name: str) -> Path:
    return sandbox.folder / f"{name}.json"


def note_this_process(sandbox: Sandbox, name: str) -> None:
    """From now on this process is the one of that name."""
    mine = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    write_file(_note(sandbox, name), json.dumps(mine), 0o644)


def find_process(sandbox: Sandbox, name: str) -> psutil.Process | None:
    """The running process of that name; None when there is none, or another process has its id now."""
    try:
        noted = json.loads(_note(sandbox, name).read_text("utf-8"))
    except FileNotFoundError:
        return None
    commands.reap(noted["pid"])
    try:
        process = psutil.Process(noted["pid"])
        alive = process.create_time() == noted["created"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def start_process(sandbox: Sandbox, name: str, module: str, arguments: Sequence[str] = ()) -> int:
    """The process runs and has noted itself; one that runs already is left as it is. Returns its id.

    Raises:
        PlatformError: it did not begin.
    """
    running = find_process(sandbox, name)
    if running is not None:
        return running.pid
    log = sandbox.folder / "log" / f"{name}.log"
    argv = environment.python_argv(module, *arguments)
    pid = commands.detach(argv, log=log, env={**PRODUCTION_ENV, "RUNBOOK_HOME": str(layout.home())})
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        begun = find_process(sandbox, name)
        if begun is not None:
            return begun.pid
        commands.reap(pid)
        if not psutil.pid_exists(pid):
            break
        time.sleep(0.05)
    raise PlatformError(f"The process '{name}' of the sandbox did not start.", next=f"Read {log}.")


def stop_process(sandbox: Sandbox, name: str) -> bool:
    """The process has ended, after what it has in hand; False when there was none."""
    process = find_process(sandbox, name)
    if process is None:
        return False
    for end in (process.terminate, process.kill):
        with contextlib.suppress(psutil.NoSuchProcess):
            end()
        deadline = time.monotonic() + 10
        while find_process(sandbox, name) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if find_process(sandbox, name) is None:
            break
    _note(sandbox, name).unlink(missing_ok=True)
    return True
