"""A table as one server has it: its columns, what identifies a row, and the queries that read rows as text.

A value becomes text by its type's output function, never by a cast: a cast may be a function of the table's owner. Operators are named
for types of PostgreSQL's own only. A table that must not be planned on (`postgres.closure`) is read by COPY alone.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from runbook.postgres.connect import Connection, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.relnames import RelationName
from runbook.recovery.rowstreams import Key, Row, copied

#: Ahead of a row's own columns: who wrote it, where it lies, in which file.
PLACE = 3


@dataclass(frozen=True)
class TableShape:
    """One table on one server. `types` are of the columns, `key` the columns that identify a row (empty: none do), `generated` those that
    the server computes, `always` identity columns that no UPDATE may set, `builtin` those whose type is PostgreSQL's own.

    `untrusted`: the function for which it may not be planned on. `parts` are its relations with rows, by schema and name.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[str, ...]
    types: dict[str, str]
    key: tuple[str, ...]
    generated: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()
    builtin: frozenset[str] = frozenset()
    untrusted: str | None = None
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def source(self) -> str:
        """For a FROM clause: a partitioned table with its partitions, another one without its heirs."""
        return f"{'' if self.kind == 'p' else 'ONLY '}{quote(self.schema)}.{quote(self.name)} AS t"

    def may_compare(self, columns: Sequence[str]) -> bool:
        """True when the columns may be compared by operators, and a statement with the table be planned."""
        return self.untrusted is None and set(columns) <= self.builtin


def find_shape(
    connection: Connection, wanted: RelationName, untrusted: Mapping[int, str] | None = None
) -> TableShape | None:
    """Return the table as this server has it; None when it has none of that oid or name.

    Args:
        untrusted: relations that may not be planned on, as `closure.untrusted` lists them; None: this session may plan on all.
    """
    file = load_sql("recovery/find_table")
    found = rows(connection, file.text, file.values({"oid": wanted.oid, "schema": wanted.schema, "name": wanted.name}))
    if not found:
        return None
    table = found[0]
    file = load_sql("recovery/list_table_columns")
    columns = rows(connection, file.text, file.values({"oid": table["oid"]}))
    file = load_sql("recovery/list_table_tree")
    tree = rows(connection, file.text, file.values({"oid": table["oid"]}))
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
        builtin=frozenset(row["name"] for row in columns if row["is_builtin"]),
        untrusted=next((untrusted[part["oid"]] for part in tree if part["oid"] in untrusted), None)
        if untrusted
        else None,
        parts=tuple((part["schema"], part["name"]) for part in tree if part["kind"] == "r"),
    )


def is_empty(connection: Connection, shape: TableShape) -> bool:
    """Return True when the table has no row."""
    if shape.untrusted is not None:
        # A COPY that is left in the middle is cancelled, and would end the snapshot.
        with connection.transaction(force_rollback=True), closing(all_rows(connection, shape)) as found:
            return next(found, None) is None
    return not one(connection, f"SELECT EXISTS (SELECT FROM {shape.source}) AS found")["found"]


def text_of(expression: str) -> str:
    """Return the expression's value as text, by its type's output function; NULL stays NULL.

    A composite value whose fields are all NULL is no NULL; `IS NULL` would call it one.
    """
    return f"CASE WHEN pg_catalog.num_nulls({expression}) = 0 THEN pg_catalog.format('%s', {expression}) END"


def order_of(expressions: Sequence[str], encoding: str) -> list[str]:
    """Return texts as expressions whose order is that of their bytes, which is Python's order of strings too."""
    if encoding in ("UTF8", "SQL_ASCII"):
        return [f'({text}) COLLATE "C"' for text in expressions]
    return [f"pg_catalog.convert_to({text}, 'UTF8')" for text in expressions]


def key_query(shape: TableShape, key: Sequence[str], encoding: str, where: str = "true", *, in_order: bool) -> str:
    """Return the query for each row's key and xmin, to be copied out."""
    cells = [f"t.{quote(name)}" for name in key]
    order = f" ORDER BY {', '.join(order_of([text_of(cell) for cell in cells], encoding))}" if in_order else ""
    return f"SELECT {', '.join(cells)}, t.xmin FROM {shape.source} WHERE {where}{order}"


def row_columns(shape: TableShape, *, as_text: bool = False) -> str:
    """Return xmin, ctid, file and all columns, as COPY prints them or `as_text`."""
    cells = [f"t.{quote(name)}" for name in shape.columns]
    own = "".join(f", {text_of(cell) if as_text else cell}" for cell in cells)
    return f"t.xmin::text, t.ctid::text, pg_catalog.pg_relation_filenode(t.tableoid)::text{own}"


def rows_query(shape: TableShape, where: str = "true") -> str:
    """Return the query for rows with their places, to be copied out."""
    return f"SELECT {row_columns(shape)} FROM {shape.source} WHERE {where}"


def all_rows(connection: Connection, shape: TableShape) -> Generator[Row]:
    """Yield every row, without its place, by COPY: nothing is planned. Generated columns are NULL there: COPY leaves them out.

    Raises:
        SqlError: what the server said.
    """
    plain = [name for name in shape.columns if name not in shape.generated]
    places = [plain.index(name) if name in plain else None for name in shape.columns]
    named = f" ({', '.join(map(quote, plain))})" if plain else ""
    for schema, name in shape.parts:
        for row in copied(connection, f"COPY {quote(schema)}.{quote(name)}{named} TO STDOUT"):
            yield (None,) * PLACE + tuple(None if place is None else row[place] for place in places)


def fetch_by_key(connection: Connection, shape: TableShape, key: Sequence[str], keys: Sequence[Key]) -> dict[Key, Row]:
    """Return the rows of these keys, found by the key's index; those that are not there are left out.

    The key's columns are such that `shape.may_compare` allows. Of several rows of one key (it need not be unique) one is returned.
    """
    names = [f"k{number}" for number in range(len(key))]
    arrays = "".join(f", pg_catalog.unnest(${number}::{shape.types[column]}[])" for number, column in enumerate(key, 2))
    equal = " AND ".join(
        f"t.{quote(column)} OPERATOR(pg_catalog.=) k.{name}" for column, name in zip(key, names, strict=True)
    )
    query = (
        f"SELECT k.n, ARRAY[{row_columns(shape, as_text=True)}] AS cells "
        f"FROM ROWS FROM (pg_catalog.unnest($1::int4[]){arrays}) AS k (n, {', '.join(names)}) JOIN {shape.source} ON {equal}"
    )
    values = [list(range(len(keys))), *(list(column) for column in zip(*keys, strict=True))]
    return {keys[row["n"]]: tuple(row["cells"]) for row in rows(connection, query, values)}


def content_hash(columns: Sequence[str]) -> str:
    """Return a row's content over these columns, as a hash's text: for tables without a key. A row's text is made by output functions."""
    cells = ", ".join(f"t.{quote(name)}" for name in columns)
    return f"pg_catalog.md5(ROW({cells})::text)" if columns else "pg_catalog.md5('')"


def hash_query(shape: TableShape, columns: Sequence[str]) -> str:
    """Return the query for how often each content stands in the table, in order."""
    text = content_hash(columns)
    return f'SELECT {text}, count(*)::text FROM {shape.source} GROUP BY 1 ORDER BY {text} COLLATE "C"'
