"""The role that reads tables: is it on the living server as it should be, in each database, and since when.

A role that production has is in every base backup that was taken since, and so in a paused copy, where none can be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runbook.params.schema import Cluster
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import Connection, SqlError, rows, shared_rows
from runbook.postgres.sqlfiles import load_sql

#: New databases are copies of it, so that the grants are there from their first day.
TEMPLATE = "template1"


@dataclass(frozen=True)
class ReaderState:
    """The reader on one server.

    `missing`: by database, in the order in which they are run, the statements that do not hold yet. `unseen`: databases that could not be asked, with the reason. `since`: when it was last
    changed, None when the server cannot tell.
    """

    role: str
    missing: dict[str, tuple[str, ...]]
    unseen: dict[str, str]
    since: datetime | None

    @property
    def is_complete(self) -> bool:
        return not self.missing and not self.unseen


def grants(connection: Connection, role: str, *, with_shared: bool = True) -> list[str]:
    """Return the statements that are still needed for the reader in the connection's database, in their order.

    Args:
        with_shared: those of the whole server, too.

    Raises:
        SqlError: the catalogs cannot be read.
    """
    return [
        str(row["statement"])
        for row in rows(connection, load_sql("reader/list_grants").text, [role])
        if not row["holds"] and (with_shared or not row["is_shared"])
    ]


def inspect_reader(cluster: Cluster, application: str) -> ReaderState:
    """Return how the reader stands on the living server.

    Raises:
        PlatformError: the server cannot be reached.
        OperatorError: params name no connection.
        ParamsError: the connection's secret is not there.
    """
    live, role = LiveServer(cluster, application), cluster.reader_role
    missing: dict[str, tuple[str, ...]] = {}
    unseen: dict[str, str] = {}
    with live.connect(statement_timeout=10) as first:
        names = [str(row["name"]) for row in shared_rows(first, load_sql("fence/list_databases").text, (), "name")]
        found = rows(first, load_sql("reader/read_since").text, [role])
    for name in dict.fromkeys([TEMPLATE, *names]):
        try:
            with live.connect(name, statement_timeout=10) as connection:
                needed = grants(connection, role, with_shared=name == TEMPLATE)
        except SqlError as problem:
            unseen[name] = str(problem).strip().splitlines()[0]
            continue
        if needed:
            missing[name] = tuple(needed)
    return ReaderState(role, missing, unseen, found[0]["since"] if found else None)
