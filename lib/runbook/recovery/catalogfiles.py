"""Relation names read from the files of a base backup: from before the damage, without starting anything.

Only fixed-width columns at the head of pg_class, pg_namespace, pg_inherits and pg_database are read. Every version of a row that lies
in the pages is a fact (that file had that name), so visibility is only needed to prefer the newest name.
Source: PostgreSQL 14 to 18, pg_class.h, htup_details.h, bufpage.h, relmapper.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from runbook.recovery.relnames import RelationName
from runbook.recovery.transactions import RelFile

SOURCE = "the base backup's files"
_PAGE = 8192
_MAP_MAGIC = 0x592717
_PG_DATABASE, _PG_CLASS, _PG_NAMESPACE, _PG_INHERITS = 1262, 1259, 2615, 2611
_XMAX_INVALID, _HAS_NULL = 0x0800, 0x0001


def read_backup_names(backup: Path, major: int) -> list[RelationName]:
    """The names in a plain base backup (or a stopped data directory); empty when it is not laid out so (a tar backup).

    Args:
        major: PostgreSQL's major version, 14 to 18.
    """
    shared = _read_map(backup / "global" / "pg_filenode.map")
    names = {}
    for row, _ in _tuples(backup / "global" / str(shared.get(_PG_DATABASE, _PG_DATABASE))):
        number, name = struct.unpack_from("<I64s", row)
        names[number] = _text(name)
    found: list[RelationName] = []
    for database, name in sorted(names.items()):
        folder = backup / "base" / str(database)
        if not folder.is_dir():
            folder = next(iter(backup.glob(f"pg_tblspc/*/PG_*/{database}")), folder)
        if folder.is_dir():
            found += _read_database(folder, database, name, major)
    return found


def _read_database(folder: Path, database: int, database_name: str, major: int) -> list[RelationName]:
    mapped = _read_map(folder / "pg_filenode.map")
    in_base = folder.parent.name == "base"
    default = 1663 if in_base else int(folder.parent.parent.name)
    schemas = {
        oid: _text(name)
        for oid, name in (struct.unpack_from("<I64s", row) for row, _ in _tuples(_file(folder, mapped, _PG_NAMESPACE)))
    }
    parents = dict(struct.unpack_from("<II", row) for row, live in _tuples(_file(folder, mapped, _PG_INHERITS)) if live)
    relations = [(_Class(row, major), live) for row, live in _tuples(_file(folder, mapped, _PG_CLASS))]
    relations.sort(key=lambda pair: not pair[1])  # the newest versions first: a NameBook keeps what it hears first
    toasts = {relation.toast: relation.oid for relation, _ in relations if relation.toast}
    partitioned = {relation.oid for relation, _ in relations if relation.kind == "p"}
    return [
        RelationName(
            database=database,
            database_name=database_name,
            oid=relation.oid,
            schema=schemas.get(relation.schema, f"schema {relation.schema}"),
            name=relation.name,
            kind=relation.kind,
            file=RelFile(relation.tablespace or default, database, relation.number or mapped.get(relation.oid, 0))
            if relation.kind in "rmtiS"
            else None,
            estimated_rows=relation.estimated_rows if relation.estimated_rows >= 0 else None,
            owner_oid=toasts.get(relation.oid) if relation.kind == "t" else None,
            root_oid=_root(relation.oid, parents, partitioned),
            source=SOURCE,
            columns=relation.columns if live else None,
        )
        for relation, live in relations
        if relation.kind in "rmtiSpI" and relation.persistence != "t" and not relation.is_shared
    ]


class _Class:
    """The fixed columns of a pg_class row."""

    def __init__(self, row: bytes, major: int) -> None:
        head = struct.unpack_from("<I64s7Iif", row)
        self.oid: int = head[0]
        self.name = _text(head[1])
        self.schema: int = head[2]
        self.number: int = head[7]
        self.tablespace: int = head[8]
        self.estimated_rows: float = head[10]
        # relallvisible, from 18 on relallfrozen; then reltoastrelid, relhasindex, relisshared, relpersistence, relkind,
        # relnatts.
        at = struct.calcsize("<I64s7Iif") + (8 if major >= 18 else 4)
        self.toast, _, self.is_shared, persistence, kind, self.columns = struct.unpack_from("<I??cch", row, at)
        self.persistence, self.kind = persistence.decode("latin-1"), kind.decode("latin-1")


def _root(oid: int, parents: dict[int, int], partitioned: set[int]) -> int | None:
    """The topmost partitioned table above a relation.

    >>> _root(3, {3: 2, 2: 1}, {1, 2}), _root(3, {3: 2}, set())
    (1, None)
    """
    root, at = None, oid
    while (at := parents.get(at, 0)) in partitioned:
        root = at
    return root


def _file(folder: Path, mapped: dict[int, int], oid: int) -> Path:
    return folder / str(mapped.get(oid, oid))


def _read_map(path: Path) -> dict[int, int]:
    """Files of the catalogs that keep theirs outside pg_class."""
    if not path.is_file():
        return {}
    content = path.read_bytes()
    magic, count = struct.unpack_from("<ii", content)
    if magic != _MAP_MAGIC or not 0 <= count <= 64:
        return {}
    return dict(struct.unpack_from("<II", content, 8 + 8 * number) for number in range(count))


def _tuples(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The user data of every row version in a heap file, and whether nobody had deleted or replaced it."""
    part = 0
    while (file := path if part == 0 else path.with_name(f"{path.name}.{part}")).is_file():
        content = file.read_bytes()
        for begin in range(0, len(content) - _PAGE + 1, _PAGE):
            yield from _page_tuples(content[begin : begin + _PAGE])
        part += 1


def _page_tuples(page: bytes) -> Iterator[tuple[bytes, bool]]:
    lower = int.from_bytes(page[12:14], "little")
    for at in range(24, min(lower, _PAGE), 4):
        pointer = int.from_bytes(page[at : at + 4], "little")
        offset, state, length = pointer & 0x7FFF, pointer >> 15 & 3, pointer >> 17
        if state != 1 or length < 24 or offset + length > _PAGE:
            continue
        row = page[offset : offset + length]
        xmax, mask, header = int.from_bytes(row[4:8], "little"), int.from_bytes(row[20:22], "little"), row[22]
        data = row[header:]
        if len(data) >= 8:
            # Short rows of pg_inherits are 12 bytes; a longer column that is read stands at the head and is never null.
            yield data + b"\0" * 128, xmax == 0 or bool(mask & _XMAX_INVALID)


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
