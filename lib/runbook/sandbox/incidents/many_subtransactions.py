"""A transaction with many open subtransactions spans the start of a new backup.

A server that recovers from that backup cannot serve readers before the transaction ends: at a target before that end it
cannot pause, and promotes (facts of PostgreSQL 17.10).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runbook import clock
from runbook.postgres import connect
from runbook.sandbox import backup, traffic
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

NAME = "many-subtransactions"
SUMMARY = "hold more than 64 subtransactions open while a new backup is taken"
_SUBTRANSACTIONS = 80


@contextmanager
def held_open(sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    """Within the block the new backup is there, its WAL is archived, and the transaction is still open."""
    with sandbox.connect() as connection:
        connection.execute("BEGIN")
        for number in range(_SUBTRANSACTIONS):
            connection.execute(connect.compose("SAVEPOINT {}").format(connect.identifier(f"s{number}")))
            run_file(connection, "incidents/add_marker", {"name": f"subtransaction {clock.now().timestamp()} {number}"})
        xid = str(run_file(connection, "read_xid")[0]["xid"])
        sandbox, taken = backup.take_backup(sandbox, "many-subtransactions")
        traffic.write_burst(sandbox, 20)
        # Another connection: reading within ours would be of no harm, but is not what an operator would do.
        with sandbox.connect(read_only=True) as other:
            position = run_file(other, "incidents/read_position")[0]
        traffic.write_burst(sandbox, 5)
        backup.archive_tail(sandbox)
        yield {
            "did": f"Held {_SUBTRANSACTIONS} subtransactions of transaction {xid} open while backup {taken.name} was taken.",
            "where": str(taken),
            "backup": taken.name,
            "xid": xid,
            "subtransactions": _SUBTRANSACTIONS,
            "open_at_lsn": position["lsn"],
            "open_at": clock.stamp(position["at"]),
        }
        connection.execute("COMMIT")


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    """The transaction ends after the WAL that is archived so far: `latest` still lies before its end for a minute."""
    with held_open(sandbox) as truth:
        return truth
