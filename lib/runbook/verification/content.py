"""The content of a database as exact figures: rows and a hash for each relation, a position for each sequence.

Counts and hashes read the heap itself: an index-only scan counted rows of a file that was gone. The hash is the sum of
a 64-bit hash of every row, so order does not matter; the settings a text depends on are pinned by the connection. Values are printed by
their types' output functions, never by a cast: an owner may have made one. A relation that may not be planned on (`postgres.closure`)
is read by COPY, and its rows are hashed here.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from typing import Any

from runbook import texts
from runbook.postgres import causes, closure
from runbook.postgres.causes import Cause
from runbook.postgres.connect import Connection, SqlError, copy_rows, one, quote, rows, shared_rows
from runbook.postgres.sqlfiles import load_sql

#: Begins our own words for what may neither be queried nor copied.
NO_WAY = "not read: before PostgreSQL 18 COPY reads no materialized view, and planning on this one would run "


def is_no_evidence(problem: str | None) -> bool:
    """True when something was not read, and why says nothing against the data."""
    return problem is not None and not causes.is_damage(problem)


Connect = Callable[[str], Connection]

#: How a relation's rows are hashed: by the server in a query, column by column where rows are too large for that, or here, from what COPY prints.
QUERY, BY_COLUMN, COPY = "query", "query by column", "copy"
#: Read tables from end to end; nothing else shows what is in the heap.
_HEAP_ONLY = (
    "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SET enable_tidscan = off"
)


@dataclass(frozen=True)
class Relation:
    """A relation that holds rows.

    `untrusted`: the function for which it may not be planned on, and is read by COPY. `by_column`: it is hashed column by column from the start.
    """

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    populated: bool
    is_catalog: bool
    size_bytes: int
    hashed: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    untrusted: str | None = None
    by_column: bool = False

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def column_hash(self) -> str:
        """An expression for the same that never makes one value of two columns: a value has at most 1 GB, a row may have more."""
        parts = [f"pg_catalog.hash_record_extended(ROW({name}), 0)" for name in self.hashed]
        parts += [
            f"pg_catalog.num_nulls({name}), pg_catalog.hashtextextended(pg_catalog.format('%s', {name}) COLLATE \"C\", 0)"
            for name in self.printed
        ]
        return f"pg_catalog.hash_record_extended(ROW({', '.join(parts)}), 0)"

    @property
    def row_hash(self) -> str:
        """An expression for a row r's content in 64 bits: by PostgreSQL's own hashes where they lose nothing, else by its text.

        Printing a row costs three times as much as hashing it. Catalogs have types that can only be printed.
        """
        if self.is_catalog or not self.hashed:
            return """pg_catalog.hashtextextended(pg_catalog.format('%s', r) COLLATE "C", 0)"""
        text = [f"""pg_catalog.format('%s', ROW({", ".join(self.printed)})) COLLATE "C\""""] if self.printed else []
        return f"pg_catalog.hash_record_extended(ROW({', '.join([*self.hashed, *text])}), 0)"


@dataclass(frozen=True)
class Content:
    """What one relation holds; `problem` says why it could not be read, and the figures are None then.

    `method`: how it was read; hashes of two methods say nothing about each other.
    """

    schema: str
    name: str
    rows: int | None
    hash: str | None
    size_bytes: int
    problem: str | None = None
    method: str = QUERY

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def list_databases(connection: Connection, wanted: tuple[str, ...] | None = None) -> list[str]:
    """Databases that accept connections and are no templates, narrowed to those wanted, by their names or as these are shown."""
    found = [row["name"] for row in shared_rows(connection, load_sql("fence/list_databases").text, (), "name")]
    return [name for name in found if wanted is None or name in wanted or texts.escaped(name) in wanted]


def list_relations(connection: Connection) -> list[Relation]:
    """Return every relation with rows of its own in the connection's database."""
    untrusted = closure.untrusted(connection)
    return [
        Relation(**row, untrusted=untrusted.get(int(row["oid"])))
        for row in rows(connection, load_sql("fence/list_relations").text)
    ]


def readable(relations: Iterable[Relation], in_recovery: bool) -> tuple[list[Relation], list[Relation]]:
    """The relations that can be read, and those that cannot: unlogged ones in recovery, unpopulated views."""
    can: list[Relation] = []
    cannot: list[Relation] = []
    for relation in relations:
        closed = (in_recovery and relation.persistence == "u") or not relation.populated
        (cannot if closed else can).append(relation)
    return can, cannot


def prepare(connection: Connection) -> None:
    """The session reads heaps only."""
    connection.execute(_HEAP_ONLY)


def read_content(connection: Connection, relation: Relation) -> Content:
    """Return rows and hash of one relation, read from end to end; a failure is kept with the server's words."""
    if relation.untrusted is not None:
        return _read_by_copy(connection, relation)
    if relation.by_column:
        return _read_by_query(connection, relation, relation.column_hash, BY_COLUMN)
    found = _read_by_query(connection, relation, relation.row_hash, QUERY)
    if causes.cause_of(found.problem) is Cause.LIMIT and not relation.is_catalog:
        return _read_by_query(connection, relation, relation.column_hash, BY_COLUMN)
    return found


def _read_by_query(connection: Connection, relation: Relation, row_hash: str, method: str) -> Content:
    query = (
        f"SELECT count(*) AS rows, coalesce(sum({row_hash}), 0)::text AS hash "
        f"FROM ONLY {quote(relation.schema)}.{quote(relation.name)} AS r"
    )
    name = (relation.schema, relation.name)
    try:
        with connection.transaction():  # a savepoint inside a fence's snapshot: one failure must not end it
            found = one(connection, query)
    except SqlError as problem:
        if connection.closed:
            raise
        return Content(*name, None, None, relation.size_bytes, causes.words_of(problem), method)
    return Content(*name, found["rows"], found["hash"], relation.size_bytes, None, method)


def _read_by_copy(connection: Connection, relation: Relation) -> Content:
    if relation.kind == "m" and connection.info.server_version < 180000:
        words = f"{NO_WAY}{relation.untrusted}"
        return Content(relation.schema, relation.name, None, None, relation.size_bytes, words, COPY)
    count, total = 0, 0
    try:
        with connection.transaction():
            for row in copy_rows(connection, relation.schema, relation.name):
                count += 1
                total += int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big")
    except SqlError as problem:
        if connection.closed:
            raise
        words = f"not queried, since planning on it would run {relation.untrusted}: {causes.words_of(problem)}"
        return Content(relation.schema, relation.name, None, None, relation.size_bytes, words, COPY)
    return Content(relation.schema, relation.name, count, str(total), relation.size_bytes, None, COPY)


def read_contents(
    connections: list[Connection],
    relations: list[Relation],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Content]:
    """Every relation read, largest first, over the connections given; sorted by name.

    Args:
        progress: called with bytes read and in total.
    """
    todo: SimpleQueue[Relation] = SimpleQueue()
    for relation in sorted(relations, key=lambda relation: -relation.size_bytes):
        todo.put(relation)
    total = sum(relation.size_bytes for relation in relations)
    done: list[Content] = []
    lock = threading.Lock()

    def work(connection: Connection) -> None:
        while True:
            try:
                relation = todo.get_nowait()
            except Empty:
                return
            content = read_content(connection, relation)
            with lock:
                done.append(content)
                progress(sum(item.size_bytes for item in done), total)

    with ThreadPoolExecutor(len(connections)) as pool:
        for _ in pool.map(work, connections):
            continue
    return sorted(done, key=lambda content: (content.schema, content.name))


@dataclass(frozen=True)
class SequencePosition:
    """Where a sequence stands; `problem` says why it could not be read, and the value is None then."""

    schema: str
    name: str
    value: int | None
    is_called: bool
    increment: int
    cycles: bool
    problem: str | None = None

    @property
    def title(self) -> str:
        return f"{self.schema}.{self.name}"

    def is_behind(self, then: SequencePosition) -> bool:
        """True when it would hand out values again that were handed out by `then`; a cycling one never says so."""
        if then.cycles or self.value is None or then.value is None:
            return False
        ahead = 1 if then.increment > 0 else -1
        return (ahead * self.value, self.is_called) < (ahead * then.value, then.is_called)


def read_sequences(connection: Connection, in_recovery: bool) -> list[SequencePosition]:
    """Every sequence's position; a failure is kept with the server's words."""
    found: list[SequencePosition] = []
    for row in rows(connection, load_sql("fence/list_sequences").text):
        if in_recovery and row["persistence"] == "u":
            continue
        fixed = (row["increment"], row["cycles"])
        try:
            name = f"{quote(row['schema'])}.{quote(row['name'])}"
            with connection.transaction():
                value = one(connection, f"SELECT last_value, is_called FROM {name}")
            found.append(SequencePosition(row["schema"], row["name"], value["last_value"], value["is_called"], *fixed))
        except SqlError as problem:
            if connection.closed:
                raise
            words = causes.words_of(problem)
            found.append(SequencePosition(row["schema"], row["name"], None, False, *fixed, words))
    return found
