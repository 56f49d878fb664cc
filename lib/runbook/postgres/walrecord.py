"""A record of WAL as bytes: read from its segment, and taken apart into the blocks that it changed, their page images and its own data.

pg_waldump says what a record did, and prints no row. Where rows of catalogs are needed (which file a relation got), they are taken from
here. Source: PostgreSQL 15 to 18, xlogrecord.h, xlogreader.c (DecodeXLogRecord, RestoreBlockImage), pg_lzcompress.c.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runbook.postgres.wal import PAGE, SEGMENT_NAME, page_header, segment_name

#: xl_tot_len, xl_xid, xl_prev, xl_info, xl_rmid, padding, xl_crc; in the byte order of the machine that wrote them.
HEADER = struct.Struct("=IIQBBHI")
_SHORT, _LONG, _ORIGIN, _TOP_XID, _MOST_BLOCKS = 0xFF, 0xFE, 0xFD, 0xFC, 32
_FORK, _HAS_IMAGE, _HAS_DATA, _WILL_INIT, _SAME_RELATION = 0x0F, 0x10, 0x20, 0x40, 0x80
_HAS_HOLE, _PGLZ, _LZ4, _ZSTD = 0x01, 0x04, 0x08, 0x10
_COMPRESSED = _PGLZ | _LZ4 | _ZSTD


class WalBlock(NamedTuple):
    """A block that a record changed. `file` is (tablespace, database, number); `fork` 0 is the main one.

    `image` is the page as the record left it, None where the record holds none. `is_packed`: it holds one that cannot be unpacked here.
    """

    file: tuple[int, int, int]
    fork: int
    number: int
    image: bytes | None
    is_packed: bool
    data: bytes


class RecordParts(NamedTuple):
    """A record taken apart. `blocks` by their numbers in the record."""

    rmgr: int
    info: int
    xid: int
    blocks: dict[int, WalBlock]
    data: bytes


class RecordFile:
    """Reads records by position out of a folder of segments.

    Args:
        folder: holds the segments under their plain names.
    """

    def __init__(self, folder: Path, timeline: int) -> None:
        self._folder, self._timeline = folder, timeline
        self._size = 0
        self._open: tuple[str, int] | None = None

    def close(self) -> None:
        """Close the segment that was read last. Safe twice."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def read(self, lsn: int) -> bytes | None:
        """Return the whole record that starts there; None where its segments are gone since."""
        head = b"".join(self.parts(lsn, HEADER.size))
        if len(head) < HEADER.size:
            return None
        length = int(HEADER.unpack(head)[0])
        record = b"".join(self.parts(lsn, length)) if length >= HEADER.size else b""
        return record if record and len(record) == length else None

    def parts(self, lsn: int, length: int) -> Iterator[bytes]:
        """Yield the bytes of a record as they stand between the headers of pages; fewer where its segment is gone since."""
        if not self._size:
            sizes = (path.stat().st_size for path in self._folder.iterdir() if SEGMENT_NAME.match(path.name))
            self._size = max(sizes, default=PAGE)
        at = lsn
        while length > 0:
            if at % PAGE == 0:
                at += page_header(at, self._size)
            take = min(PAGE - at % PAGE, length)
            file = self._segment(at)
            if file is None:
                return
            yield os.pread(file, take, at % self._size)
            at, length = at + take, length - take

    def _segment(self, at: int) -> int | None:
        name = segment_name(self._timeline, at // self._size * self._size, self._size)
        if self._open is not None and self._open[0] == name:
            return self._open[1]
        self.close()
        try:
            self._open = (name, os.open(self._folder / name, os.O_RDONLY))
        except FileNotFoundError:
            return None
        return self._open[1]


def take_apart(record: bytes, major: int = 17) -> RecordParts:
    """Return the record's blocks and data.

    Raises:
        ValueError: these bytes are no record.
    """
    try:
        return _take_apart(record, major)
    except (struct.error, IndexError) as cause:
        raise ValueError(f"no WAL record: {cause}") from cause


def _take_apart(record: bytes, major: int) -> RecordParts:
    total, xid, _, info, rmgr, _, _ = HEADER.unpack_from(record)
    if total != len(record):
        raise ValueError(f"a record of {total} bytes has {len(record)}")
    at, payload, main = HEADER.size, 0, 0
    headers: list[tuple[int, tuple[int, int, int], int, int, int, tuple[int, int, int, int] | None]] = []
    file: tuple[int, int, int] | None = None
    while len(record) - at > payload:
        mark = record[at]
        at += 1
        if mark in (_SHORT, _LONG):
            main = record[at] if mark == _SHORT else struct.unpack_from("=I", record, at)[0]
            at += 1 if mark == _SHORT else 4
            payload += main
            break
        if mark in (_ORIGIN, _TOP_XID):
            at += 2 if mark == _ORIGIN else 4
            continue
        if mark > _MOST_BLOCKS:
            raise ValueError(f"a block reference {mark}")
        flags, length = struct.unpack_from("=BH", record, at)
        at += 3
        payload += length
        image = None
        if flags & _HAS_IMAGE:
            size, hole, how = struct.unpack_from("=HHB", record, at)
            at += 5
            how = how if major >= 15 else _HAS_HOLE * (how & 1) + _PGLZ * (how >> 1 & 1)
            missing = 0
            if how & _HAS_HOLE:
                missing = PAGE - size
                if how & _COMPRESSED:
                    missing = struct.unpack_from("=H", record, at)[0]
                    at += 2
            image = (size, hole, missing, how)
            payload += size
        if not flags & _SAME_RELATION:
            file = struct.unpack_from("=III", record, at)
            at += 12
        if file is None:
            raise ValueError("a block of no relation")
        headers.append((mark, file, flags, struct.unpack_from("=I", record, at)[0], length, image))
        at += 4
    if len(record) - at != payload:
        raise ValueError(f"its parts have {payload} bytes, and {len(record) - at} are there")
    blocks = {}
    for mark, place, flags, number, length, image in headers:
        page, is_packed = None, False
        if image is not None:
            page = _unpacked(record[at : at + image[0]], *image[1:])
            is_packed = page is None
            at += image[0]
        blocks[mark] = WalBlock(place, flags & _FORK, number, page, is_packed, record[at : at + length])
        at += length
    return RecordParts(rmgr, info, xid, blocks, record[at : at + main])


def _unpacked(image: bytes, hole: int, missing: int, how: int) -> bytes | None:
    """The page of an image; None when it is compressed in a way that is not read here."""
    if how & _ZSTD:
        return None
    if how & _COMPRESSED:
        image = (unpack_pglz if how & _PGLZ else unpack_lz4)(image, PAGE - missing)
    page = image[:hole] + bytes(missing) + image[hole:]
    return page if len(page) == PAGE else None


def unpack_pglz(packed: bytes, size: int) -> bytes:
    """Return what PostgreSQL's own compression has packed (pglz_decompress).

    >>> unpack_pglz(bytes([0b00001000]) + b"abc" + bytes([0x03, 3]), 9)
    b'abcabcabc'
    """
    found, at = bytearray(), 0
    while at < len(packed) and len(found) < size:
        control = packed[at]
        at += 1
        for bit in range(8):
            if at >= len(packed) or len(found) >= size:
                break
            if not control >> bit & 1:
                found.append(packed[at])
                at += 1
                continue
            length, back = (packed[at] & 0x0F) + 3, (packed[at] & 0xF0) << 4 | packed[at + 1]
            at += 2
            if length == 18:
                length += packed[at]
                at += 1
            _repeat(found, back, min(length, size - len(found)))
    return bytes(found)


def unpack_lz4(packed: bytes, size: int) -> bytes:
    """Return what an LZ4 block holds.

    >>> unpack_lz4(bytes([0x32]) + b"abc" + bytes([3, 0, 0x00]), 9)
    b'abcabcabc'
    """
    found, at = bytearray(), 0
    while at < len(packed) and len(found) < size:
        token = packed[at]
        literals, at = _lz4_length(packed, at + 1, token >> 4)
        found += packed[at : at + literals]
        at += literals
        if at >= len(packed):
            break
        back = packed[at] | packed[at + 1] << 8
        length, at = _lz4_length(packed, at + 2, token & 15)
        _repeat(found, back, length + 4)
    return bytes(found)


def _lz4_length(packed: bytes, at: int, length: int) -> tuple[int, int]:
    more = 255 if length == 15 else 0
    while more == 255:
        more = packed[at]
        length += more
        at += 1
    return length, at


def _repeat(found: bytearray, back: int, length: int) -> None:
    if not 0 < back <= len(found):
        raise ValueError("packed bytes refer to what lies before them")
    for _ in range(length):
        found.append(found[-back])
