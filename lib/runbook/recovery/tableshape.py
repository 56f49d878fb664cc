"""A table as one server has it: its columns, what identifies a row, and the queries that read rows as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.postgres.connect import Connection, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.relnames import RelationName
from runbook.recovery.rowstreams import Key, Row

#: Ahead of a row's own columns: who wrote it, where it lies, in which file.
PLACE = 3


@dataclass(frozen=True)
class TableShape:
    """One table on one server. `types` are of the columns, `key` the columns that identify a row (empty: none do), `generated` those that
    the server computes, `always` identity columns that no UPDATE may set."""

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[str, ...]
    types: dict[str, str]
    key: tuple[str, ...]
    generated: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()

    @property
    def source(self) -> str:
        """For a FROM clause: a partitioned table with its partitions, another one without its heirs."""
        return f"{'' if self.kind == 'p' else 'ONLY '}{quote(self.schema)}.{quote(self.name)} AS t"


def find_shape(connection: Connection, wanted: RelationName) -> TableShape | None:
    """The table as this server has it; None when it has none of that oid or name."""
    file = load_sql("recovery/find_table")
    found = rows(connection, file.text, file.values({"oid": wanted.oid, "schema": wanted.schema, "name": wanted.name}))
    if not found:
        return None
    table = found[0]
    file = load_sql("recovery/list_table_columns")
    columns = rows(connection, file.text, file.values({"oid": table["oid"]}))
    in_key = sorted((row for row in columns if row["key_position"] is not None), key=lambda row: row["key_position"])
    return TableShape(
        oid=table["oid"],
        schema=table["schema"],
        name=table["name"],
        kind=table["kind"],
        columns=tuple(row["name"] for row in columns),
        types={row["name"]: row["type"] for row in columns},
        key=tuple(row["name"] for row in in_key),
        generated=frozenset(row["name"] for row in columns if row["is_generated"]),
        always=frozenset(row["name"] for row in columns if row["is_always"]),
    )


def is_empty(connection: Connection, shape: TableShape) -> bool:
    """True when the table has no row."""
    return not one(connection, f"SELECT EXISTS (SELECT FROM {shape.source}) AS found")["found"]


def order_of(expressions: Sequence[str], encoding: str) -> list[str]:
    """Texts as expressions whose order is that of their bytes, which is Python's order of strings too."""
    if encoding in ("UTF8", "SQL_ASCII"):
        return [f'{text} COLLATE "C"' for text in expressions]
    return [f"pg_catalog.convert_to({text}, 'UTF8')" for text in expressions]


def key_query(shape: TableShape, key: Sequence[str], encoding: str, where: str = "true", *, in_order: bool) -> str:
    """Each row's key and xmin."""
    texts = [f"t.{quote(name)}::text" for name in key]
    order = f" ORDER BY {', '.join(order_of(texts, encoding))}" if in_order else ""
    return f"SELECT {', '.join(texts)}, t.xmin::text FROM {shape.source} WHERE {where}{order}"


def row_columns(shape: TableShape) -> str:
    """xmin, ctid, file and all columns as text."""
    own = "".join(f", t.{quote(name)}::text" for name in shape.columns)
    return f"t.xmin::text, t.ctid::text, pg_catalog.pg_relation_filenode(t.tableoid)::text{own}"


def rows_query(shape: TableShape, where: str = "true") -> str:
    """Rows with their places."""
    return f"SELECT {row_columns(shape)} FROM {shape.source} WHERE {where}"


def fetch_by_key(connection: Connection, shape: TableShape, key: Sequence[str], keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows of these keys; those that are not there are left out. Keys are found by the key's index."""
    names = [f"k{number}" for number in range(len(key))]
    arrays = ", ".join(f"pg_catalog.unnest(${number}::text[])" for number in range(1, len(key) + 1))
    equal = " AND ".join(
        f"t.{quote(column)} = k.{name}::{shape.types[column]}" for column, name in zip(key, names, strict=True)
    )
    query = (
        f"SELECT {', '.join(f'k.{name} AS {name}' for name in names)}, ARRAY[{row_columns(shape)}] AS cells "
        f"FROM ROWS FROM ({arrays}) AS k ({', '.join(names)}) JOIN {shape.source} ON {equal}"
    )
    found = rows(connection, query, [list(column) for column in zip(*keys, strict=True)])
    return {tuple(row[name] for name in names): tuple(row["cells"]) for row in found}


def content_hash(columns: Sequence[str]) -> str:
    """A row's content over these columns, as a hash's text: for tables without a key."""
    cells = ", ".join(f"t.{quote(name)}::text" for name in columns)
    return (
        f"pg_catalog.md5(pg_catalog.array_to_json(ARRAY[{cells}]::text[])::text)" if columns else "pg_catalog.md5('')"
    )


def hash_query(shape: TableShape, columns: Sequence[str]) -> str:
    """How often each content stands in the table, in order."""
    text = content_hash(columns)
    return f'SELECT {text}, count(*)::text FROM {shape.source} GROUP BY 1 ORDER BY {text} COLLATE "C"'
