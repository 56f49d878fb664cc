"""A session of the application that has read a row and forgotten to commit: one process of its own, which does nothing else.

It goes when its session is ended, by `runbook sandbox plant --remove`, by `runbook sandbox down`, or with the server.
"""

from __future__ import annotations

import select
import signal
import sys
from types import FrameType

from runbook.postgres.connect import Connection
from runbook.sandbox import companion
from runbook.sandbox.data import run_file
from runbook.sandbox.place import DATABASE, Sandbox, find_sandbox

APPLICATION = "dealerscope_app"
_NAME = "idle"
#: It never comes back by itself, and is not forgotten for good.
_LONGEST_SECONDS = 24 * 3600.0


def start(sandbox: Sandbox) -> str:
    """The session is open and idle in its transaction; one that is, is left as it is. Returns its name as the daily look gives it."""
    companion.start_process(sandbox, _NAME, "runbook.sandbox.idle_process")
    with sandbox.connect(read_only=True) as connection:
        found = run_file(connection, "problems/find_idle_session", {"role": APPLICATION, "database": DATABASE})
    return f"session {found[0]['pid']} of {APPLICATION} in {DATABASE}"


def stop(sandbox: Sandbox) -> bool:
    """Process and session are gone; False when there was none."""
    return companion.stop_process(sandbox, _NAME)


def _wait(connection: Connection) -> None:
    """Until the server ends the session (its socket can then be read), or a day is over."""
    select.select([connection.fileno()], [], [], _LONGEST_SECONDS)


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """The process: `python -m runbook.sandbox.idle_process`."""
    sandbox = find_sandbox()
    if sandbox is None:
        sys.exit("There is no sandbox.")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with sandbox.connect(user=APPLICATION) as connection:
        connection.execute("BEGIN")
        run_file(connection, "problems/read_heartbeat")
        companion.note_this_process(sandbox, _NAME)
        _wait(connection)


if __name__ == "__main__":
    main()
