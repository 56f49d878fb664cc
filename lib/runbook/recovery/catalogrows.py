"""Rows of the catalogs that name relations, as bytes of a page or of a WAL record.

Only fixed-width columns at the head of pg_class, pg_namespace, pg_inherits and pg_database are read.
Source: PostgreSQL 14 to 18, pg_class.h, pg_namespace.h, pg_inherits.h, pg_database.h, htup_details.h, bufpage.h, relmapper.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from runbook.postgres.wal import PAGE
from runbook.recovery.transactions import ChildRow, ClassRow, NamedRow, RelFile

PG_CLASS, PG_NAMESPACE, PG_INHERITS, PG_DATABASE = 1259, 2615, 2611, 1262
#: The catalogs that are read, by oid.
NAMING = (PG_CLASS, PG_NAMESPACE, PG_INHERITS, PG_DATABASE)
#: Kinds of relations that have files; an index and a partitioned table may be parents.
STORED, NAMED = "rmtiS", "rmtiSpI"
#: How PostgreSQL names the relation that holds a table's new file while the table is rewritten.
TRANSIENT = "pg_temp_"
TUPLE_HEADER = 23
_XMIN_COMMITTED, _XMIN_INVALID, _XMAX_INVALID = 0x0100, 0x0200, 0x0800
_MAP_MAGIC, _MOST_MAPPED = 0x592717, 64
_CLASS = struct.Struct("=I64s7Iif")


class Version(NamedTuple):
    """A row version: its bytes from the header on. `is_dead`: hint bits say that it was rolled back; `is_live`: nobody has deleted it."""

    content: bytes
    is_dead: bool
    is_live: bool

    @property
    def row(self) -> bytes:
        """Its columns; padded, since a short row may end where a longer one goes on."""
        return self.content[self.content[22] :] + b"\0" * 128


def page_versions(page: bytes) -> Iterator[tuple[int, Version]]:
    """Yield line number and version of each row in a heap page."""
    lower = int.from_bytes(page[12:14], "little")
    for line, at in enumerate(range(24, min(lower, PAGE) - 3, 4), 1):
        pointer = int.from_bytes(page[at : at + 4], "little")
        offset, state, length = pointer & 0x7FFF, pointer >> 15 & 3, pointer >> 17
        if state == 1 and length > TUPLE_HEADER and offset + length <= PAGE:
            yield line, version_of(page[offset : offset + length])


def version_of(content: bytes) -> Version:
    """Return a version from its bytes."""
    xmax, mask = int.from_bytes(content[4:8], "little"), int.from_bytes(content[20:22], "little")
    is_dead = mask & (_XMIN_COMMITTED | _XMIN_INVALID) == _XMIN_INVALID
    return Version(content, is_dead, xmax == 0 or bool(mask & _XMAX_INVALID))


def page_position(page: bytes) -> int:
    """Return the position of the last record that changed the page."""
    high, low = struct.unpack_from("=II", page)
    return int(high << 32 | low)


def class_row(row: bytes, major: int, tablespace: int, database: int, mapped: dict[int, int] | None = None) -> ClassRow:
    """Return a row of pg_class.

    Args:
        tablespace, database: where the database's pg_class lies: what names no tablespace, lies there too.
        mapped: files of the catalogs that keep theirs outside pg_class.
    """
    head = _CLASS.unpack_from(row)
    # relallvisible, from 18 on relallfrozen; then reltoastrelid, relhasindex, relisshared, relpersistence, relkind, relnatts.
    at = _CLASS.size + (8 if major >= 18 else 4)
    toast, _, is_shared, persistence, kind, columns = struct.unpack_from("=I??cch", row, at)
    number = head[7] or (mapped or {}).get(head[0], 0)
    letter = kind.decode("latin-1")
    return ClassRow(
        database=database,
        oid=head[0],
        name=text_of(head[1]),
        schema=head[2],
        kind=letter,
        persistence=persistence.decode("latin-1"),
        file=RelFile(head[8] or tablespace, database, number)
        if number and letter in STORED and not is_shared
        else None,
        estimated_rows=head[10] if head[10] >= 0 else None,
        toast=toast,
        columns=columns,
        is_shared=is_shared,
    )


def named_row(row: bytes) -> NamedRow:
    """Return a row of pg_namespace or pg_database.

    >>> named_row(struct.pack("=I64s", 2200, b"public"))
    NamedRow(oid=2200, name='public')
    """
    number, name = struct.unpack_from("=I64s", row)
    return NamedRow(number, text_of(name))


def inherits_row(row: bytes) -> ChildRow:
    """Return a row of pg_inherits."""
    return ChildRow(*struct.unpack_from("=II", row))


def read_map(content: bytes) -> dict[int, int]:
    """Return the files of the catalogs that keep theirs outside pg_class, from a pg_filenode.map; empty when it is none."""
    if len(content) < 8:
        return {}
    magic, count = struct.unpack_from("=ii", content)
    if magic != _MAP_MAGIC or not 0 <= count <= _MOST_MAPPED or len(content) < 8 + 8 * count:
        return {}
    return dict(struct.unpack_from("=II", content, 8 + 8 * number) for number in range(count))


def text_of(name: bytes) -> str:
    """Return a column of type name as text."""
    return name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def root_of(oid: int, parents: dict[int, int], partitioned: set[int]) -> int | None:
    """Return the topmost partitioned table above a relation.

    >>> root_of(3, {3: 2, 2: 1}, {1, 2}), root_of(3, {3: 2}, set())
    (1, None)
    """
    root, at, seen = None, oid, {oid}
    while (at := parents.get(at, 0)) in partitioned and at not in seen:
        seen.add(at)
        root = at
    return root
