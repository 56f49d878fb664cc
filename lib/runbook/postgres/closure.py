"""Which relations a statement may be planned on: planning alone runs functions that a table's owner wrote.

`SELECT count(*) FROM t` folds constant calls in the expressions of t's indexes, statistics, partition keys and checks, with the rights of
whoever asks; so does EXPLAIN. `COPY t TO STDOUT` plans nothing and prints by output functions. Hence a relation whose closure reaches a
function that is not trusted is read by COPY, or not at all.

Source: tried on PostgreSQL 15, 17 and 18.
"""

from __future__ import annotations

from runbook.postgres.connect import Connection, rows
from runbook.postgres.sqlfiles import load_sql


def untrusted(connection: Connection) -> dict[int, str]:
    """Return the relations of the connection's database that may not be planned on, each with the function that it reaches.

    Returns:
        OID of the relation (tables, partitioned tables, materialized views, views, foreign tables) to the function's name,
        quoted, with its schema.

    Raises:
        SqlError: the catalogs cannot be read.
    """
    return {int(row["oid"]): str(row["reason"]) for row in rows(connection, load_sql("closure/list_untrusted").text)}
