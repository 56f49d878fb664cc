"""How the operator and the reader come in, as the server sees it or as params say."""

from __future__ import annotations

from runbook.errors import PlatformError
from runbook.platforms.cluster.hbalines import Way
from runbook.platforms.cluster.live import LiveFacts, LiveServer
from runbook.postgres.connect import Connection, one, rows
from runbook.postgres.sqlfiles import load_sql


def way_of(connection: Connection, facts: LiveFacts) -> Way:
    """How we came in over this connection, as the server sees it."""
    groups = frozenset(str(row["name"]) for row in rows(connection, load_sql("lockdown/list_own_groups").text))
    return Way(facts.role, facts.address is None, facts.address, facts.ssl, groups)


def reader_way(server: LiveServer) -> tuple[list[Way], list[str]]:
    """Return how the reader comes in, as the server sees it, when params name one of its own; and why that is not known."""
    if server.cluster.reader is None:
        return [], []
    try:
        with server.connect_reader() as connection:
            row = one(connection, load_sql("lockdown/read_way").text)
            groups = frozenset(str(own["name"]) for own in rows(connection, load_sql("lockdown/list_own_groups").text))
    except PlatformError as cause:
        return [], [f"the reader (cluster.reader) does not come in: {cause.message}"]
    return [Way(row["role"], row["address"] is None, row["address"], row["ssl"], groups)], []


def way_from_params(server: LiveServer) -> Way:
    """How we would come in, when no server can be asked."""
    host, role = server.way_in()
    return Way(role, host is None)
