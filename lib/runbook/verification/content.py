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
from runbook.postgres.batch import Batch, chunks
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
_HEAP_ONLY = "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SET enable_tidscan = off; SET jit = off"
#: Relations of at most so many bytes are read many at once: with a statement each, of thousands of small ones, most of the time is overhead.
_SMALL_BYTES, _BATCH_BYTES = 1 << 20, 8 << 20
_BATCH_RELATIONS, _BATCH_SEQUENCES = 64, 200
#: Of PostgreSQL's own hashes, of the text of the whole row, and of any expression: the first two say little about each relation.
_HASHED = "SELECT {0} AS n, count(*) AS rows, coalesce(sum(pg_catalog.hash_record_extended(ROW({1}), 0)), 0)::text AS hash FROM ONLY {2} AS r"
_PRINTED = (
    "SELECT {0} AS n, count(*) AS rows, coalesce(sum(pg_catalog.hashtextextended(pg_catalog.format('%s', r) COLLATE \"C\", 0)), 0)::text AS hash "
    "FROM ONLY {1} AS r"
)
_CONTENT = "SELECT {0} AS n, count(*) AS rows, coalesce(sum({1}), 0)::text AS hash FROM ONLY {2} AS r"
_SEQUENCE = "SELECT {0} AS n, last_value, is_called FROM {1}"


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
    def is_printed(self) -> bool:
        """True when its rows are hashed by their text: printing costs three times as much, but catalogs have types that can only be printed."""
        return self.is_catalog or not self.hashed

    @property
    def parts(self) -> tuple[str, ...]:
        """What stands in the pattern that hashes a row r in 64 bits: by PostgreSQL's own hashes where they lose nothing, else by its text."""
        name = f"{quote(self.schema)}.{quote(self.name)}"
        if self.is_printed:
            return (name,)
        text = [f"""pg_catalog.format('%s', ROW({", ".join(self.printed)})) COLLATE "C\""""] if self.printed else []
        return ", ".join([*self.hashed, *text]), name


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
    by_column = Batch(_CONTENT, ((relation.column_hash, relation.parts[-1]),))
    if relation.by_column:
        return _read_by_query(connection, relation, by_column, BY_COLUMN)
    found = _read_by_query(connection, relation, _batch([relation]), QUERY)
    if causes.cause_of(found.problem) is Cause.LIMIT and not relation.is_catalog:
        return _read_by_query(connection, relation, by_column, BY_COLUMN)
    return found


def _batch(relations: list[Relation]) -> Batch:
    """One statement for relations whose rows are hashed alike."""
    return Batch(_PRINTED if relations[0].is_printed else _HASHED, tuple(item.parts for item in relations))


def _read_by_query(connection: Connection, relation: Relation, batch: Batch, method: str) -> Content:
    name = (relation.schema, relation.name)
    try:
        with connection.transaction():  # a savepoint inside a fence's snapshot: one failure must not end it
            found = one(connection, batch)
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
    todo: SimpleQueue[list[Relation]] = SimpleQueue()
    for group in sorted(_groups(relations), key=lambda group: -sum(item.size_bytes for item in group)):
        todo.put(group)
    total = sum(relation.size_bytes for relation in relations)
    done: list[Content] = []
    seen, lock = 0, threading.Lock()

    def work(connection: Connection) -> None:
        nonlocal seen
        while True:
            try:
                group = todo.get_nowait()
            except Empty:
                return
            contents = _read_group(connection, group)
            with lock:
                done.extend(contents)
                seen += sum(item.size_bytes for item in contents)
                progress(seen, total)

    with ThreadPoolExecutor(len(connections)) as pool:
        for _ in pool.map(work, connections):
            continue
    return sorted(done, key=lambda content: (content.schema, content.name))


def _groups(relations: list[Relation]) -> list[list[Relation]]:
    """The relations as they are read: small ones together, in the order of their names, so that the same ones meet each time."""
    alone: list[list[Relation]] = []
    groups: list[list[Relation]] = []
    for relation in sorted(relations, key=lambda item: (item.is_catalog, item.is_printed, item.schema, item.name)):
        if relation.size_bytes > _SMALL_BYTES or relation.untrusted is not None or relation.by_column:
            alone.append([relation])
            continue
        last = groups[-1] if groups else []
        is_full = len(last) == _BATCH_RELATIONS or sum(item.size_bytes for item in last) > _BATCH_BYTES
        if not last or is_full or last[0].is_printed != relation.is_printed:
            groups.append(last := [])
        last.append(relation)
    return [*alone, *groups]


def _read_group(connection: Connection, group: list[Relation]) -> list[Content]:
    """Return what the relations hold, asked in one statement; one by one where that fails, so that each has its own words."""
    if len(group) > 1:
        found = _ask(connection, _batch(group))
        if found is not None:
            return [
                Content(item.schema, item.name, row["rows"], row["hash"], item.size_bytes)
                for item, row in zip(group, found, strict=True)
            ]
    return [read_content(connection, relation) for relation in group]


def _ask(connection: Connection, batch: Batch) -> list[dict[str, Any]] | None:
    """Return one row for each part; None where the statement failed, or did not answer for each.

    Raises:
        SqlError: the connection was lost.
    """
    try:
        with connection.transaction():
            return batch.answers(rows(connection, batch))
    except SqlError:
        if connection.closed:
            raise
        return None


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
    listed = rows(connection, load_sql("fence/list_sequences").text)
    open_to_us = [row for row in listed if not (in_recovery and row["persistence"] == "u")]
    for some in chunks(open_to_us, _BATCH_SEQUENCES):
        names = tuple((f"{quote(row['schema'])}.{quote(row['name'])}",) for row in some)
        values = _ask(connection, Batch(_SEQUENCE, names))
        if values is None:
            found += [_read_sequence(connection, row) for row in some]
            continue
        found += [
            SequencePosition(
                row["schema"], row["name"], value["last_value"], value["is_called"], row["increment"], row["cycles"]
            )
            for row, value in zip(some, values, strict=True)
        ]
    return found


def _read_sequence(connection: Connection, row: dict[str, Any]) -> SequencePosition:
    fixed = (row["increment"], row["cycles"])
    try:
        with connection.transaction():
            query = f"SELECT last_value, is_called FROM {quote(row['schema'])}.{quote(row['name'])}"
            value = one(connection, query)
    except SqlError as problem:
        if connection.closed:
            raise
        return SequencePosition(row["schema"], row["name"], None, False, *fixed, causes.words_of(problem))
    return SequencePosition(row["schema"], row["name"], value["last_value"], value["is_called"], *fixed)
