"""A public application's schema in a database: its SQL files as they come, and rows of our own in as many tables as take them.

The files are not part of this project: RUNBOOK_PUBLIC_SCHEMAS names a folder that has a folder for each application, whose *.sql files
are run by psql in the order of their names. What cannot be made here (an extension or a language that is missing) is left out.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from own_cluster import PORT, OwnCluster
from runbook.postgres.connect import quote

_COLUMNS = """
SELECT c.oid::regclass::text AS title, format('%I.%I', n.nspname, c.relname) AS name,
    array_agg(a.attname::text ORDER BY a.attnum) AS columns, array_agg(coalesce(b.typname, t.typname)::text ORDER BY a.attnum) AS types,
    array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) AS shown, array_agg(a.attnotnull ORDER BY a.attnum) AS needed,
    array_agg(a.atthasdef ORDER BY a.attnum) AS defaults, array_agg(t.typtype::text || t.typcategory::text ORDER BY a.attnum) AS kinds,
    array_agg(CASE WHEN t.typtype = 'e' THEN (SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder LIMIT 1) END ORDER BY a.attnum) AS labels
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
GROUP BY c.oid, n.nspname, c.relname ORDER BY 1
"""
#: By type: the value of row g. All numbers are g, so that foreign keys fit.
_VALUES = {
    "bool": "g % 2 = 0", "date": "'2024-01-01'::date + g", "timestamptz": "'2024-01-01Z'::timestamptz + g * interval '1 h'",
    "timestamp": "'2024-01-01'::timestamp + g * interval '1 h'", "time": "'12:00'::time", "interval": "g * interval '1 s'",
    "uuid": "md5(g::text)::uuid", "json": "'{}'", "jsonb": "'{}'", "bytea": "decode(md5(g::text), 'hex')", "inet": "'10.0.0.1'::inet + g",
    "xml": "'<a/>'", "tsvector": "'v' || g", "point": "point(g, g)", "hstore": "''", "cube": "NULL",
}  # fmt: skip


def load(cluster: OwnCluster, database: str, folder: Path, *before: str) -> list[str]:
    """The application's schema is in the database; what psql said against it."""
    cluster.create_database(database, *before)
    conninfo = f"host={cluster.socket} port={PORT} user='{cluster.superuser}' dbname='{database}'"
    wrong: list[str] = []
    for path in sorted(folder.glob("*.sql")):
        said = subprocess.run(
            [str(cluster.tools.path("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=0", "-v", "ON_ERROR_ROLLBACK=on", "-v", "eg_version=NULL", "-d", conninfo],
            input="\n".join(line for line in path.read_text().splitlines() if not line.startswith("\\set ON_ERROR_STOP")),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wrong += [f"{path.name}: {line}" for line in said.stderr.splitlines() if "ERROR" in line]
    return wrong


def fill(cluster: OwnCluster, database: str, rows: int) -> Counter[str]:
    """As many tables as take them have rows; by `filled` and `empty`, how many."""
    counted: Counter[str] = Counter()
    with cluster.connect(database) as connection:
        connection.execute("SET session_replication_role = replica")
        for title, name, *columns in connection.execute(_COLUMNS).fetchall():
            is_filled = any(
                _fill(connection, name, columns, number, every) for number in (rows, 1) for every in (True, False)
            )
            counted["filled" if is_filled else "empty"] += 1
            counted[title] = 0
        connection.execute("RESET session_replication_role")
        for sequence, table, column in connection.execute(
            "SELECT pg_get_serial_sequence(format('%I.%I', table_schema, table_name), column_name), format('%I.%I', table_schema, table_name), "
            "column_name FROM information_schema.columns WHERE pg_get_serial_sequence(format('%I.%I', table_schema, table_name), column_name) IS NOT NULL"
        ).fetchall():
            connection.execute(f"SELECT setval('{sequence}', greatest(1, (SELECT max({quote(column)}) FROM {table})))")
    return counted


def _fill(connection: psycopg.Connection[Any], name: str, columns: list[Any], rows: int, every: bool) -> bool:
    given = []
    for column, type_, shown, needed, default, kind, label in zip(*columns, strict=True):
        if not every and (default or not needed):
            continue
        value = _VALUES.get(type_)
        if kind.startswith("e"):
            value = "'" + str(label).replace("'", "''") + "'"
        elif value is None and kind.endswith("N"):
            value = "g"
        elif value is None and kind.endswith("S"):
            value = f"('v' || g)::{shown}" if "(" not in shown else f"left('v' || g, {shown.split('(')[1].rstrip(')')})"
        elif value is None and kind.endswith("A"):
            value = "'{}'"
        if value not in (None, "NULL"):
            given.append((quote(column), value))
    names, values = ", ".join(one for one, _ in given), ", ".join(one for _, one in given)
    try:
        connection.execute(
            f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM generate_series(1, {rows}) AS g"
            if given
            else f"INSERT INTO {name} DEFAULT VALUES"
        )
    except psycopg.Error:
        return False
    return True
