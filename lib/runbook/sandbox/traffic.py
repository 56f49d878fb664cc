"""What the application writes: vehicles, bids, sign-ins, heartbeats; and the truth about each committed transaction.

`traffic.jsonl` has one line for each commit: its xid, its commit time as the server knows it (track_commit_timestamp is
on), and how many rows of which table it wrote. One whose end nobody can tell any more, since the server has come back on another
timeline, is `in_doubt`.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

from runbook import clock
from runbook.postgres import connect
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

_APPLICATION = "dealerscope_app"


def journal_file(sandbox: Sandbox) -> Path:
    return sandbox.folder / "traffic.jsonl"


@dataclass(frozen=True)
class Doubt:
    """A transaction that may have committed: its xid on a timeline, and its rows by table."""

    xid: str
    timeline: int
    tables: dict[str, int]


class Writer:
    """Writes transactions over one connection and journals those that committed.

    After a lost connection, `settle` with a new writer's connection tells whether the last one had committed.
    """

    def __init__(self, sandbox: Sandbox, rng: random.Random) -> None:
        self.connection = sandbox.connect(user=_APPLICATION)
        self._journal = journal_file(sandbox)
        self._rng = rng
        self.in_doubt: Doubt | None = None
        self._timeline = int(run_file(self.connection, "incidents/read_timeline")[0]["timeline"])
        ranges = run_file(self.connection, "find_ranges")[0]
        self._vehicles, self._users = (int(ranges[name] or 1) for name in ("vehicles", "users"))

    def _bid(self, vehicle: int) -> int:
        bidder = self._rng.randint(1, self._users)
        return len(run_file(self.connection, "add_bid", {"vehicle": vehicle, "bidder": bidder}))

    def _write(self) -> dict[str, int]:
        """One of the application's writes; how many rows of which table it wrote."""
        kind = self._rng.random()
        if kind < 0.5:
            unique = f"{time.time_ns()}-{self._rng.random()}"
            back = self._rng.randint(0, 9)
            added = run_file(self.connection, "add_vehicle", {"seed_text": unique, "auctions_back": back})
            if added:
                self._vehicles = int(added[0]["id"])
            return {"vehicles": len(added), "auction_data": self._bid(self._vehicles)}
        if kind < 0.8:
            vehicle = self._rng.randint(max(1, self._vehicles - 500), self._vehicles)
            return {"auction_data": self._bid(vehicle)}
        user = self._rng.randint(1, self._users)
        return {"sessions": len(run_file(self.connection, "add_session", {"user_number": user}))}

    def _beat(self) -> dict[str, int]:
        run_file(self.connection, "beat_heart")
        return {"heartbeat": 1}

    def write(self, *, heartbeat: bool = False) -> str:
        """One transaction has committed and is journaled.

        Returns:
            Its xid.

        Raises:
            SqlError: it failed, or the connection was lost; `in_doubt` then holds what may have committed.
        """
        with self.connection.transaction():
            counts = self._beat() if heartbeat else self._write()
            xid = str(run_file(self.connection, "read_xid")[0]["xid"])
            self.in_doubt = Doubt(xid, self._timeline, counts)
        self.settle(self.in_doubt)
        self.in_doubt = None
        return xid

    def settle(self, doubt: Doubt) -> None:
        """The transaction is in the journal if it committed, or if its timeline has ended and nobody can tell."""
        line: dict[str, object] = {"xid": doubt.xid}
        if doubt.timeline != self._timeline:
            line["in_doubt"] = True
        else:
            found = run_file(self.connection, "read_commit", {"xid": doubt.xid})[0]
            if found["status"] != "committed":
                return
            line["committed_at"] = clock.stamp(found["committed_at"])
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "tables": doubt.tables}) + "\n")

    def close(self) -> None:
        self.connection.close()


def write_burst(sandbox: Sandbox, transactions: int) -> None:
    """That many transactions, ending in a heartbeat, have committed and are journaled."""
    writer = Writer(sandbox, random.Random(sandbox.state.seed + transactions))  # noqa: S311 - data, no secret
    try:
        for _ in range(transactions - 1):
            writer.write()
        writer.write(heartbeat=True)
    finally:
        writer.close()


def churn(sandbox: Sandbox, wal_bytes: int) -> None:
    """Updates and inserts have made at least that much WAL (a set-based statement at a time, not journaled)."""
    with sandbox.connect() as connection:
        query = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::bigint AS position"
        goal = connect.one(connection, query)["position"] + wal_bytes
        part = 0
        while connect.one(connection, query)["position"] < goal:
            run_file(connection, "churn_prices" if part % 2 == 0 else "churn_bids", {"part": part // 2 % 16})
            part += 1
