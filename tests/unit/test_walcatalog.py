"""A page of a catalog that could not be read in WAL is not known any more: the base backup's state of it names no wrong relation."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from runbook.postgres.tools import Tools
from runbook.postgres.wal import PAGE
from runbook.postgres.walrecord import HEADER
from runbook.recovery.catalogrows import PG_CLASS
from runbook.recovery.transactions import CatalogStep, RelFile
from runbook.recovery.walcatalog import WalCatalog

FILE = RelFile(1663, 5, PG_CLASS)
HEAP2, HEAP, DELETE, UPDATE, INSERT = 9, 10, 0x10, 0x20, 0x00
SEGMENT = 1 << 24
LINE = b"rmgr: Heap len (rec/tot): 1/ 1, tx: 700, lsn: %X/%08X, prev 0/00000000, desc: X blkref #0: rel 1663/5/1259 blk 0\n"


def row(name: str, oid: int = 16384) -> bytes:
    """A row of pg_class from t_infomask2 on, as a record holds it."""
    head = struct.pack("=I64s7Iif", oid, name.encode(), 2200, 0, 0, 10, 2, oid, 0, 1, 9000.0)
    tail = struct.pack("=II??cch", 0, 0, False, False, b"p", b"r", 3)
    return struct.pack("=HHB", 3, 0x0800, 24) + b"\0" + head + tail


def seeded(file: RelFile, number: int) -> bytes | None:
    """The base backup's page: public.orders at line 1."""
    if (file, number) != (FILE, 0):
        return None
    content = bytes(18) + row("orders")
    at = PAGE - len(content)
    head = struct.pack("=II2H3HHI", 0, 0x100, 0, 0, 28, at, PAGE, PAGE | 4, 0)
    page = bytearray(PAGE)
    page[:24], page[24:28] = head, struct.pack("=I", at | 1 << 15 | len(content) << 17)
    page[at:] = content
    return bytes(page)


def record(rmgr: int, info: int, data: bytes = b"", block: bytes = b"", *, packed: bool = False) -> bytes:
    """A record with one block of pg_class; `packed`: with an image that is compressed by zstd."""
    image = bytes(200) if packed else b""
    flags = (0x10 if packed else 0) | (0x20 if block else 0)
    body = bytes([0, flags]) + struct.pack("=H", len(block))
    body += struct.pack("=HHB", len(image), 0, 0x10 | 0x02) if packed else b""
    body += struct.pack("=III", *FILE) + struct.pack("=I", 0)
    body += bytes([0xFF, len(data)]) + image + block + data
    return HEADER.pack(HEADER.size + len(body), 700, 0, info, rmgr, 0, 0) + body


IMAGE = record(HEAP2, 0x10, packed=True)
UNREAD = bytes(HEADER.size)
REMOVED = record(HEAP, DELETE, struct.pack("=IHBB", 700, 1, 0, 0))
#: The new row has all but the name's first letters in common with the old one.
CHANGED = record(HEAP, UPDATE, struct.pack("=IHBBIH", 700, 1, 0, 0x40, 0, 2),
                 struct.pack("=H", 100) + row("orders_old")[:-100])  # fmt: skip


def steps(folder: Path, *records: bytes) -> tuple[list[CatalogStep], int]:
    """What the records did, and how many were not read."""
    segment, lines, at = bytearray(1 << 16), b"", 0x100
    for one in records:
        segment[at : at + len(one)] = one
        lines += LINE % (0, SEGMENT + at)
        at += 0x400
    with (folder / "000000010000000000000001").open("wb") as file:
        file.write(segment)
        file.truncate(SEGMENT)
    catalog = WalCatalog(Tools(Path("/nowhere"), 15), None, seeded)
    catalog.open(folder, 1)
    try:
        return [step for _, step in catalog.steps(lines)], catalog.names.unread
    finally:
        catalog.close()


def test_row_of_the_base_backup_is_known_while_nothing_was_missed(tmp_path: Path) -> None:
    (step,), unread = steps(tmp_path, REMOVED)
    assert step.old is not None and (step.old.name, unread) == ("orders", 0)
    (step,), unread = steps(tmp_path, CHANGED)
    assert step.new is not None and (step.new.name, unread) == ("orders_old", 0)


@pytest.mark.parametrize("missed", [IMAGE, UNREAD], ids=["packed image", "unread record"])
def test_page_that_was_missed_is_not_taken_from_the_base_backup(tmp_path: Path, missed: bytes) -> None:
    (removed, changed), unread = steps(tmp_path, missed, REMOVED, CHANGED)
    assert (removed.old, changed.old, changed.new, unread) == (None, None, None, 3)


def test_page_that_was_read_before_is_not_known_after_an_unread_record(tmp_path: Path) -> None:
    made = record(HEAP, INSERT, struct.pack("=HB", 5, 0), row("staging", 16400))
    again = record(HEAP, DELETE, struct.pack("=IHBB", 700, 5, 0, 0))
    (_, seen), _ = steps(tmp_path, made, again)
    assert seen.old is not None and seen.old.name == "staging"
    (_, seen), _ = steps(tmp_path, made, UNREAD, again)
    assert seen.old is None
