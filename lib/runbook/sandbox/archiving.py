"""An archiver that fails: somebody has set another archive by ALTER SYSTEM, on a disk that is not there.

No WAL is lost by it: the server keeps every segment until it is archived.
"""

from __future__ import annotations

import time

from runbook.errors import PlatformError
from runbook.postgres import connect
from runbook.sandbox import backup
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

_PATIENCE = 90.0
#: Never made. archive_library stands in the way of archive_command: the server takes only one of them.
_NO_FOLDER = "disk-that-is-not-there"


def break_archiving(sandbox: Sandbox) -> None:
    """The archiver fails, and pg_stat_archiver counts it. Safe twice.

    Raises:
        PlatformError: it does not fail after a minute and a half.
    """
    folder = str(sandbox.folder / _NO_FOLDER).replace("%", "%%")
    command = f'cp "%p" "{folder}/%f"'
    with sandbox.connect() as connection:
        if run_file(connection, "problems/read_archive_command")[0]["command"] != command:
            for name, value in (("archive_library", ""), ("archive_command", command)):
                connection.execute(
                    connect.compose("ALTER SYSTEM SET {} = {}").format(connect.identifier(name), connect.literal(value))
                )
            run_file(connection, "problems/reload")
        # A segment of some WAL, else there is nothing to archive.
        run_file(connection, "problems/add_wal")
        run_file(connection, "switch_wal")
    _wait(sandbox, is_failing=True)


def mend_archiving(sandbox: Sandbox) -> None:
    """postgresql.conf decides again, and all that was written meanwhile is in the archive. Safe twice.

    Raises:
        PlatformError: the archiver does not deliver after a minute and a half.
    """
    with sandbox.connect() as connection:
        for name in ("archive_command", "archive_library"):
            connection.execute(connect.compose("ALTER SYSTEM RESET {}").format(connect.identifier(name)))
        run_file(connection, "problems/reload")
    _wait(sandbox, is_failing=False)
    backup.archive_tail(sandbox)


def _wait(sandbox: Sandbox, *, is_failing: bool) -> None:
    """The archiver fails under the settings it has now, or does not fail any more."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        # A new connection each time: it wakes the postmaster, which starts an archiver that has ended to load another library.
        with sandbox.connect(read_only=True) as connection:
            seen = run_file(connection, "problems/read_archiving")[0]
        if seen["is_failing"] == is_failing and (seen["is_new"] or not is_failing):
            return
        if time.monotonic() > deadline:
            state = "does not fail" if is_failing else "still fails"
            raise PlatformError(f"The archiver {state} after {_PATIENCE:.0f} s.", next=f"Read {sandbox.log}.")
        time.sleep(0.2)
