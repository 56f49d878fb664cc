"""A WAL segment as a file: whether it is whole, or still being written by whoever copies it.

A copy under way is short, or has its full size already (some tools preallocate) and zeros where nothing was written yet. The
rest of a segment that `pg_switch_wal()` or archive_timeout has closed is zeros by design: it is whole. Source: PostgreSQL 17,
xlogrecord.h (XLogRecord), CopyXLogRecordToWAL in xlog.c.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runbook.postgres.wal import PAGE, SegmentHeader, parse_segment_header

_ZEROS = bytes(PAGE)
#: xl_tot_len, xl_xid, xl_prev, xl_info, xl_rmid, padding, xl_crc; in the byte order of the machine that wrote them.
_RECORD = struct.Struct("=IIQBBHI")
_SHORT_PAGE_HEADER, _LONG_PAGE_HEADER = 24, 40
_SWITCH_INFO, _XLOG_RMGR = 0x40, 0
_LARGEST = 1 << 30


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli), as WAL records carry it.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@dataclass(frozen=True)
class SegmentFile:
    """A segment file at one moment.

    `zero_from`: where the zero pages begin that fill it to its end; None when its last page holds something. `is_switched`: the last
    record before them is an intact SWITCH record. `is_contradictory`: it is a whole SWITCH record with a wrong checksum, so that nothing
    that is still to come makes it right. `digest`: of its content, where it may be unfinished; "" for others.
    """

    size: int
    header: SegmentHeader | None
    zero_from: int | None
    is_switched: bool
    is_contradictory: bool
    digest: str

    def is_whole(self, segment_size: int) -> bool:
        """Return True when nothing is missing at its end."""
        return self.size == segment_size and (self.zero_from is None or self.is_switched)

    def lack(self, segment_size: int) -> str:
        """Say what is missing, for a message."""
        if self.size != segment_size:
            return f"has {self.size} bytes; a segment has {segment_size}: it is truncated, or its copy is not finished"
        return (
            f"holds nothing but zeros from byte {self.zero_from} on, and no segment switch stands before them: its tail is "
            "missing, or its copy is not finished"
        )


def look_at(path: Path) -> SegmentFile:
    """Return what the file is now. Of a whole one a dozen pages are read.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        header = parse_segment_header(_read(file, 0, _LONG_PAGE_HEADER))
        zero_from = _zero_from(file, size)
        switch = _switch_at_end(file, zero_from) if zero_from is not None else None
        is_switched = switch is not None and crc32c(switch[:20]) == _RECORD.unpack(switch)[-1]
        is_finished = header is not None and size == header.size and (zero_from is None or is_switched)
        # What is larger than any segment is not read: it may have no end.
        digest = "" if is_finished or size > _LARGEST else _digest(file)
    # A copy that ends inside the record leaves zeros at its end.
    is_contradictory = switch is not None and not is_switched and switch[-1] != 0
    return SegmentFile(size, header, zero_from, is_switched, is_contradictory, digest)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    found = hashlib.blake2b(digest_size=16)
    while block := file.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def _zero_from(file: BinaryIO, size: int) -> int | None:
    """Find the first of the zero pages at the end: each page before it holds a header, so halving finds it."""
    pages = size // PAGE
    if pages == 0 or _read(file, (pages - 1) * PAGE, PAGE) != _ZEROS:
        return None
    low, high = 0, pages - 1  # `high` is a zero page
    while low < high:
        middle = (low + high) // 2
        if _read(file, middle * PAGE, PAGE) == _ZEROS:
            high = middle
        else:
            low = middle + 1
    return high * PAGE


def _switch_at_end(file: BinaryIO, zero_from: int) -> bytes | None:
    """Return the record that ends where the zeros begin, if it says that it is a SWITCH record."""
    page = zero_from - PAGE
    if page < 0:
        return None
    content = _read(file, page, PAGE)
    end = -(-len(content.rstrip(b"\0")) // 8) * 8  # records are aligned to 8 bytes
    first = _LONG_PAGE_HEADER if page == 0 else _SHORT_PAGE_HEADER
    record = content[max(first, end - _RECORD.size) : end]
    missing = _RECORD.size - len(record)
    if missing and page:  # it begins on the page before
        record = _read(file, page - missing, missing) + record
    if len(record) != _RECORD.size:
        return None
    length, _, _, info, rmgr, _, _ = _RECORD.unpack(record)
    return record if length == _RECORD.size and (info & 0xF0, rmgr) == (_SWITCH_INFO, _XLOG_RMGR) else None
