"""Who and which process: so that a dead process is known as dead even when its number was given away."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from runbook.gates import operators
from runbook.gates.operators import Operator

Identity = dict[str, Any]


def at_work() -> Operator:
    """Who is at work in this process."""
    return operators.at_work()


def operator() -> str:
    """The person at work, as the kernel knows them: no variable of the environment changes that."""
    return at_work().user


def host() -> str:
    return socket.gethostname()


def boot_id() -> str:
    """Changes with every boot of this machine."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text("utf-8").strip() if path.is_file() else ""


def started_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is no such process (or it is a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def identify(pid: int) -> Identity:
    """A process as this boot of this host knows it."""
    return {"pid": pid, "started": started_ticks(pid), "boot": boot_id(), "host": host()}


def this_process() -> Identity:
    return identify(os.getpid())


def is_alive(identity: Identity | None) -> bool:
    """False only when the process is known to be gone; one on another host counts as alive."""
    if identity is None:
        return False
    if identity["host"] != host():
        return True
    if identity["boot"] != boot_id():
        return False
    started = started_ticks(int(identity["pid"]))
    return started is not None and started == identity["started"]
