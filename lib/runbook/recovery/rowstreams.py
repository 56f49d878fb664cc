"""Rows as text, streamed from a server, and two ordered streams matched by key."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

from runbook import clock
from runbook.postgres.connect import Connection, SqlError, note_statement

Row = tuple[str | None, ...]
Key = tuple[str, ...]
Item = TypeVar("Item")
_BATCH = 1000


def copy_rows(connection: Connection, query: str) -> Iterator[Row]:
    """Yield the query's rows as text, streamed; the connection is busy until the last one."""
    return copied(connection, f"COPY ({query}) TO STDOUT", query)


def copied(connection: Connection, statement: str, noted: str | None = None) -> Iterator[Row]:
    """Yield the rows that a COPY … TO STDOUT prints, as text; `noted` is what the evidence shows of it."""
    is_left = False
    try:
        began = clock.now()
        with connection.cursor() as cursor, cursor.copy(connection.encoded(statement)) as copy:
            note_statement(connection, noted or statement, (), began, None)
            try:
                yield from copy.rows()
            except GeneratorExit:
                is_left = True
                raise
    except SqlError:
        # Left in the middle, after its connection was closed: nobody waits for the rest.
        if not is_left:
            raise


def key_of(row: Row) -> Key:
    return tuple(cell or "" for cell in row[:-1])


def _order_of(row: Row) -> tuple[bytes, ...]:
    """Return the key as bytes, in whose order the server sends the rows: half characters stand elsewhere in the order of texts."""
    return tuple((cell or "").encode("utf-8", "surrogateescape") for cell in row[:-1])


def side_by_side(one_side: Iterator[Row], other: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Two streams in the order of their keys, matched: rows of the same key together, else alone."""
    here, there = next(one_side, None), next(other, None)
    while here is not None or there is not None:
        if there is None or (here is not None and _order_of(here) < _order_of(there)):
            yield here, None
            here = next(one_side, None)
        elif here is None or _order_of(there) < _order_of(here):
            yield None, there
            there = next(other, None)
        else:
            yield here, there
            here, there = next(one_side, None), next(other, None)


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Lists of up to a thousand."""
    iterator = iter(items)
    while part := list(itertools.islice(iterator, _BATCH)):
        yield part
