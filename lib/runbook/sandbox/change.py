"""Destructive statements on the live sandbox, with the truth about them. What incidents have in common."""

from __future__ import annotations

from typing import Any

from runbook import clock
from runbook.errors import PlatformError
from runbook.postgres import connect
from runbook.sandbox import backup
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

_TRIES = 5
_DEADLOCK = "40P01"


def commit_files(sandbox: Sandbox, *files: str, **values: object) -> dict[str, Any]:
    """The statements of `sql/sandbox/incidents/<file>.sql` have committed as one transaction, and its WAL is archived.

    Returns:
        xid; committed_at as the server recorded it; before_lsn and before_at: nothing of it lies before them.
    """
    with sandbox.connect() as connection:
        before = run_file(connection, "incidents/read_position")[0]
        xid = _commit(connection, files, values)
        committed_at = run_file(connection, "read_commit", {"xid": xid})[0]["committed_at"]
    backup.archive_tail(sandbox)
    return {
        "xid": xid,
        "committed_at": clock.stamp(committed_at),
        "before_lsn": before["lsn"],
        "before_at": clock.stamp(before["at"]),
    }


def _commit(connection: connect.Connection, files: tuple[str, ...], values: dict[str, object]) -> str:
    """One transaction; its xid. The traffic's transactions lock several tables too: the server may end ours to resolve a deadlock."""
    for _ in range(_TRIES):
        try:
            with connection.transaction():
                for file in files:
                    run_file(connection, f"incidents/{file}", values)
                return str(run_file(connection, "read_xid")[0]["xid"])
        except connect.SqlError as problem:
            if problem.sqlstate != _DEADLOCK:
                raise
    raise PlatformError(f"The incident met a deadlock with the traffic {_TRIES} times.", next="Try it again.")


def read_figure(sandbox: Sandbox, file: str, column: str, **values: object) -> Any:
    """One figure from `sql/sandbox/incidents/<file>.sql`."""
    with sandbox.connect(read_only=True) as connection:
        return run_file(connection, f"incidents/{file}", values)[0][column]
