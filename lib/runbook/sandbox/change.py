"""Destructive statements on the live sandbox, with the truth about them. What incidents have in common."""

from __future__ import annotations

from typing import Any

from runbook import clock
from runbook.sandbox import backup
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox


def commit_files(sandbox: Sandbox, *files: str, **values: object) -> dict[str, Any]:
    """The statements of `sql/sandbox/incidents/<file>.sql` have committed as one transaction, and its WAL is archived.

    Returns:
        xid; committed_at as the server recorded it; before_lsn and before_at: nothing of it lies before them.
    """
    with sandbox.connect() as connection:
        before = run_file(connection, "incidents/read_position")[0]
        with connection.transaction():
            for file in files:
                run_file(connection, f"incidents/{file}", values)
            xid = str(run_file(connection, "read_xid")[0]["xid"])
        committed_at = run_file(connection, "read_commit", {"xid": xid})[0]["committed_at"]
    backup.archive_tail(sandbox)
    return {
        "xid": xid,
        "committed_at": clock.stamp(committed_at),
        "before_lsn": before["lsn"],
        "before_at": clock.stamp(before["at"]),
    }


def read_figure(sandbox: Sandbox, file: str, column: str, **values: object) -> Any:
    """One figure from `sql/sandbox/incidents/<file>.sql`."""
    with sandbox.connect(read_only=True) as connection:
        return run_file(connection, f"incidents/{file}", values)[0][column]
