"""Who is connected to the living server, how all others are ended, and what writes without passing pg_hba.conf."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from runbook import clock
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import Connection, one, quote, rows
from runbook.postgres.sqlfiles import load_sql

_END_SECONDS = 15.0
_POLL_SECONDS = 0.1

#: Libraries whose workers write on their own, and how each is kept from it.
_WRITING_LIBRARIES = {
    "pg_cron": "ALTER SYSTEM SET cron.launch_active_jobs = off; SELECT pg_reload_conf()",
    "pg_partman_bgw": "ALTER SYSTEM SET pg_partman_bgw.interval = 31536000; SELECT pg_reload_conf()",
    "timescaledb": "SELECT timescaledb_pre_restore() in each database that has it, or _timescaledb_functions.stop_background_workers()",
    "pglogical": "SELECT pglogical.alter_subscription_disable(name, true) for each subscription",
    "bdr": "take this node out of its group",
}


@dataclass(frozen=True)
class Ended:
    """`ended` are the sessions that were there and are gone, `left` those that did not end in time."""

    ended: tuple[dict[str, Any], ...]
    left: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class OpenWay:
    """Something that pg_hba.conf does not stop, or that a recovery cuts off.

    `writes` is True for what writes by itself, None for what may. `todo` says how it is stopped or what becomes of it.
    """

    kind: str
    name: str
    database: str | None
    who: str
    writes: bool | None
    todo: str

    def row(self) -> dict[str, Any]:
        """For a table."""
        writes = {True: "yes", False: "no", None: "may"}[self.writes]
        return {
            "kind": self.kind,
            "name": self.name,
            "database": self.database or "",
            "who": self.who,
            "writes": writes,
            "to do": self.todo,
        }


def list_sessions(connection: Connection, application: str) -> list[dict[str, Any]]:
    """Client backends of everybody else."""
    query = load_sql("lockdown/list_sessions")
    return rows(connection, query.text, query.values({"application": application}))


def end_sessions(server: LiveServer, *, timeout: float = _END_SECONDS) -> Ended:
    """No client backend but ours is left, or it is named in `left`. Safe twice; close the doors first, else they come back.

    Raises:
        PlatformError: the server cannot be reached.
    """
    query = load_sql("lockdown/end_sessions")
    seen: dict[tuple[int, Any], dict[str, Any]] = {}
    deadline = time.monotonic() + timeout
    with server.connect() as connection:
        while True:
            there = list_sessions(connection, server.application)
            seen |= {(row["pid"], row["since"]): row for row in there}
            if not there or time.monotonic() > deadline:
                break
            rows(connection, query.text, query.values({"application": server.application}))
            time.sleep(_POLL_SECONDS)
    left = {(row["pid"], row["since"]) for row in there}
    return Ended(tuple(row for key, row in seen.items() if key not in left), tuple(there))


def session_words(row: dict[str, Any]) -> str:
    """A session for people, without what it runs.

    >>> session_words({"pid": 7, "role": "app", "database": "shop", "application": "web", "address": None, "kind": "client backend"})
    'pid 7: client backend, role app, database shop, application web'
    """
    parts = [row["kind"]]
    parts += [f"{name} {row[name]}" for name in ("role", "database", "application", "address") if row.get(name)]
    return f"pid {row['pid']}: {', '.join(parts)}"


def list_workers(connection: Connection) -> list[dict[str, Any]]:
    """The server's own processes that may write."""
    return rows(connection, load_sql("lockdown/list_workers").text)


def list_prepared(connection: Connection) -> list[dict[str, Any]]:
    """Prepared transactions."""
    return rows(connection, load_sql("lockdown/list_prepared").text)


def list_open_ways(connection: Connection, preload_libraries: str) -> list[OpenWay]:
    """What is not stopped by a closed pg_hba.conf, and who follows this server."""
    found: list[OpenWay] = []
    for row in list_prepared(connection):
        who = f"role {row['role']}, xid {row['xid']}, since {clock.stamp(row['since'])}"
        gid = str(row["gid"]).replace("'", "''")
        todo = f"nobody can come in to end it; a recovery to before its PREPARE forgets it. Else: ROLLBACK PREPARED '{gid}'"
        found.append(OpenWay("prepared transaction", row["gid"], row["database"], who, False, todo))
    subscribed = set()
    for row in rows(connection, load_sql("lockdown/list_subscriptions").text):
        subscribed.add(row["pid"])
        who = f"worker pid {row['pid']}" if row["pid"] else "no worker at work"
        todo = f"ALTER SUBSCRIPTION {quote(row['name'])} DISABLE (in database {row['database']})"
        if not row["enabled"]:
            who, todo = "disabled", "stays disabled; a restored copy has it as it was then"
        found.append(OpenWay("subscription", row["name"], row["database"], who, bool(row["enabled"]), todo))
    for library in (word.strip().strip('"') for word in preload_libraries.split(",")):
        if library in _WRITING_LIBRARIES and not _is_quiet(connection, library):
            found.append(
                OpenWay("scheduler", library, None, "shared_preload_libraries", True, _WRITING_LIBRARIES[library])
            )
    for row in list_workers(connection):
        if row["pid"] in subscribed or row["kind"] in ("logical replication apply worker", "autovacuum worker"):
            continue
        todo = "see what it does; the proof of quiet names it when it writes"
        found.append(OpenWay("background worker", row["kind"], row["database"], session_words(row), None, todo))
    for row in rows(connection, load_sql("lockdown/list_standbys").text):
        who = f"role {row['role']} from {row['address'] or 'this machine'}, {row['state']}, {row['sync']}"
        todo = "after the recovery: rebuild it, or pg_rewind"
        found.append(OpenWay("replication client", row["name"], None, who, False, todo))
    for row in rows(connection, load_sql("lockdown/list_slots").text):
        who = f"{'active' if row['active'] else 'idle'}, from {row['restart_lsn']}"
        todo = "the restored cluster has none: make it again there"
        found.append(OpenWay(f"{row['kind']} slot", row["name"], row["database"], who, False, todo))
    return found


def _is_quiet(connection: Connection, library: str) -> bool:
    """True when the scheduler is told to start nothing."""
    if library != "pg_cron":
        return False
    row = one(connection, load_sql("lockdown/read_setting").text, ["cron.launch_active_jobs"])
    return bool(row["setting"] == "off")
