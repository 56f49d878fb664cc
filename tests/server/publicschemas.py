"""A public application's schema in a database: its SQL files as they come, and rows of our own in as many tables as take them.

The files are not part of this project: RUNBOOK_PUBLIC_SCHEMAS names a folder that has a folder for each application, whose *.sql files
are run by psql in the order of their names. What cannot be made here (an extension or a language that is missing) is left out.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
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


# -- incidents: the statements of the damage, whose objects the catalog names -------------------------------

_REFERENCED = (
    "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid <> conrelid AND conparentid = 0 "
    "GROUP BY 1 ORDER BY count(*) DESC, 1 OFFSET {} LIMIT 1"
)


def _value(cluster: OwnCluster, database: str, query: str) -> str:
    return str(cluster.sql(query, database=database)[0][0])


def _referenced(cluster: OwnCluster, database: str, place: int = 0) -> str:
    """The table that the most foreign keys refer to, or one of the next."""
    return _value(cluster, database, _REFERENCED.format(place))


def _drop_table(cluster: OwnCluster, database: str) -> list[str]:
    return [f"DROP TABLE {_referenced(cluster, database, 1)} CASCADE"]


def _truncate(cluster: OwnCluster, database: str) -> list[str]:
    return [f"TRUNCATE {_referenced(cluster, database)} CASCADE"]


def _delete_behind_keys(cluster: OwnCluster, database: str) -> list[str]:
    """The foreign keys in the way are dropped, then the rows are deleted."""
    table = _referenced(cluster, database, 2)
    keys = cluster.sql(
        f"SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint "
        f"WHERE contype = 'f' AND confrelid = '{table}'::regclass AND conparentid = 0",
        database=database,
    )
    return [*(row[0] for row in keys), f"DELETE FROM {table}"]


def _update(cluster: OwnCluster, database: str) -> list[str]:
    """A text column of a table with triggers, or of any, without a WHERE."""
    found = cluster.sql(
        "SELECT format('UPDATE %s SET %I = ''lost''', c.oid::regclass, a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
        "LEFT JOIN (SELECT tgrelid, count(*) AS n FROM pg_trigger WHERE NOT tgisinternal GROUP BY 1) t ON t.tgrelid = c.oid "
        "WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text !~ '^pg_|information_schema' AND a.attnum > 0 AND NOT a.attisdropped "
        "AND a.atttypid IN ('text'::regtype, 'varchar'::regtype) AND (a.atttypmod < 0 OR a.atttypmod > 20) AND a.attgenerated = '' "
        "AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND (a.attnum = ANY (i.indkey) OR 0 = ANY (i.indkey))) "
        "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND a.attnum = ANY (k.conkey)) "
        "ORDER BY coalesce(t.n, 0) DESC, c.oid::regclass::text, a.attnum LIMIT 60",
        database=database,
    )
    for (statement,) in found:
        with cluster.connect(database) as connection:
            connection.autocommit = False
            try:
                number = connection.execute(statement).rowcount
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                if number >= 20:
                    return [statement]
            except psycopg.Error:
                pass
            finally:
                connection.rollback()
    raise LookupError("no table can be updated")


def _drop_schema(cluster: OwnCluster, database: str) -> list[str]:
    """The smallest schema with at least three tables, or one table where there is but one schema."""
    found = cluster.sql(
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^pg_|information_schema|^public$' "
        "GROUP BY 1 HAVING count(*) BETWEEN 3 AND 100 ORDER BY count(*), 1 LIMIT 1",
        database=database,
    )
    return (
        [f"DROP SCHEMA {found[0][0]} CASCADE"] if found else [f"DROP TABLE {_referenced(cluster, database, 4)} CASCADE"]
    )


def _delete_cascade(cluster: OwnCluster, database: str) -> list[str]:
    """A tenth of a table whose foreign keys cascade; else of one that nobody refers to."""
    found = cluster.sql(
        "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confdeltype = 'c' AND confrelid <> conrelid "
        "GROUP BY 1 ORDER BY count(*) DESC, 1",
        database=database,
    ) + cluster.sql(
        "SELECT oid::regclass::text FROM pg_class c WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^pg_|information_schema' "
        "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.confrelid = c.oid) ORDER BY 1",
        database=database,
    )
    for (table,) in found:
        with cluster.connect(database) as connection:
            connection.autocommit = False
            try:
                number = connection.execute(f"DELETE FROM {table}").rowcount
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                if number >= 20:
                    return [f"DELETE FROM {table}"]
            except psycopg.Error:
                pass
            finally:
                connection.rollback()
    raise LookupError("nothing can be deleted")


#: By name; those that begin with "promote" are recovered by a swap.
INCIDENTS: dict[str, Callable[[OwnCluster, str], list[str]]] = {
    "delete with cascade": _delete_cascade,
    "truncate cascade": _truncate,
    "drop table cascade": _drop_table,
    "update without where": _update,
    "delete behind dropped keys": _delete_behind_keys,
    "drop schema cascade": _drop_schema,
    "promote after truncate": _truncate,
}
