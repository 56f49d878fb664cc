"""The write-ahead log as text and numbers: positions, segment names, timelines, and pg_waldump's lines.

Positions (LSN) are ints in bytes. Source: PostgreSQL 17, xlog_internal.h, pg_waldump, "Continuous Archiving".
"""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock

PAGE = 8192
_PAGE_HEADERS = (24, 40)  # short, and the long one at a segment's start
RECORD_HEADER = 24

SEGMENT_NAME = re.compile(r"^[0-9A-F]{24}$")
PARTIAL_NAME = re.compile(r"^[0-9A-F]{24}\.partial$")
HISTORY_NAME = re.compile(r"^([0-9A-F]{8})\.history$")


def parse_lsn(text: str) -> int:
    """Bytes from PostgreSQL's notation.

    >>> parse_lsn("0/3933098")
    59977880
    """
    high, _, low = text.strip().partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_range(start: int, end: int) -> str:
    """A stretch of WAL in words; one without a record is none, also where a new segment's header stands behind its last one.

    >>> format_range(0x3000060, 0x4000000), format_range(0x22000028, 0x22000000)
    ('WAL 0/3000060 to 0/4000000', 'no WAL was written behind 0/22000000')
    """
    if end <= start:
        return f"no WAL was written behind {format_lsn(end)}"
    return f"WAL {format_lsn(start)} to {format_lsn(end)}"


def format_lsn(lsn: int) -> str:
    """PostgreSQL's notation.

    >>> format_lsn(59977880)
    '0/3933098'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def segment_name(timeline: int, lsn: int, size: int) -> str:
    """The segment file that holds the byte at `lsn`.

    >>> segment_name(1, 59977880, 16 << 20)
    '000000010000000000000003'
    """
    number = lsn // size
    per_id = (1 << 32) // size
    return f"{timeline:08X}{number // per_id:08X}{number % per_id:08X}"


def segment_start(name: str, size: int) -> tuple[int, int]:
    """Timeline and first byte of a segment file.

    >>> segment_start("000000010000000000000003", 16 << 20)
    (1, 50331648)
    """
    per_id = (1 << 32) // size
    return int(name[:8], 16), (int(name[8:16], 16) * per_id + int(name[16:24], 16)) * size


def same_position(end: int, start: int) -> bool:
    """True when a record that ends at `end` is followed by one that starts at `start`: a page header may lie between.

    >>> same_position(0x4000000, 0x4000028), same_position(0x3933098, 0x3933098), same_position(0x3933090, 0x3933098)
    (True, True, False)
    """
    return end == start or (end % PAGE == 0 and start - end in _PAGE_HEADERS)


@dataclass(frozen=True)
class Timeline:
    """One timeline of a lineage: it holds `begin <= lsn < end` (end None: still open)."""

    number: int
    begin: int
    end: int | None


#: A timeline, where it ended, and why: the fields of a line that PostgreSQL writes (timeline.c).
_HISTORY_LINE = re.compile(r"[ \t]*([0-9]{1,10})[ \t]+([0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8})(?:[ \t]+(.*))?$")


def _history_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def parse_history(number: int, text: str) -> tuple[Timeline, ...]:
    """The lineage that a history file describes, oldest first, the timeline itself last.

    >>> parse_history(2, "1\\t0/3000000\\tno recovery target specified\\n")
    (Timeline(number=1, begin=0, end=50331648), Timeline(number=2, begin=50331648, end=None))
    """
    lineage: list[Timeline] = []
    begin = 0
    for line in _history_lines(text):
        match = _HISTORY_LINE.match(line)
        if match is not None:
            switch = parse_lsn(match[2])
            lineage.append(Timeline(int(match[1]), begin, switch))
            begin = switch
    return (*lineage, Timeline(number, begin, None))


def history_problem(number: int, text: str) -> str | None:
    """Return why a file cannot be the history of that timeline; None when it can.

    PostgreSQL refuses timelines that do not rise. It accepts positions that go backward, which no server can have written in
    that order, and would then read WAL that was never on the way.

    >>> history_problem(3, "1\\t0/9000000\\tx\\n2\\t0/5000000\\ty\\n")
    'timeline 2 ends at 0/5000000, before it began (0/9000000)'
    >>> history_problem(3, "1\\t0/5000000\\tx\\n2\\t0/9000000\\ty\\n")
    """
    for line in _history_lines(text):
        if _HISTORY_LINE.match(line) is None:
            return f"a line names no timeline and position: {line.strip()[:60]!r}"
    lineage = parse_history(number, text)
    if len(lineage) < 2:
        return "it names no timeline that this one comes from"
    for before, after in itertools.pairwise(lineage):
        if before.number >= after.number:
            return f"timeline {after.number} cannot come from timeline {before.number}"
    for one in lineage:
        if one.end is not None and one.end < one.begin:
            return f"timeline {one.number} ends at {format_lsn(one.end)}, before it began ({format_lsn(one.begin)})"
    return None if lineage[0].number > 0 else "there is no timeline 0"


def history_reason(text: str) -> str:
    """Return why the timeline left the one before, as the server that forked it wrote it down.

    >>> history_reason("1\\t0/3000000\\tno recovery target specified\\n")
    'no recovery target specified'
    """
    found = [match for line in _history_lines(text) if (match := _HISTORY_LINE.match(line)) is not None]
    return (found[-1][3] or "").strip() if found else ""


@dataclass(frozen=True)
class WalRecord:
    """One line of pg_waldump. `length` is the record's total in bytes, `xid` 0 when it has none."""

    rmgr: str
    length: int
    xid: int
    lsn: int
    desc: str

    @property
    def end(self) -> int:
        """Where the next record starts, page headers between them not counted (records are 8-byte aligned).

        Exact only for a record that lies within one page; across pages the headers add to it.
        """
        return self.lsn + (self.length + 7) // 8 * 8


_RECORD = re.compile(
    r"^rmgr: (\S+)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*(\d+), lsn: ([0-9A-F]+/[0-9A-F]+), "
    r"prev [0-9A-F]+/[0-9A-F]+, desc: (.*)$"
)
_COMMIT = re.compile(
    r"^(COMMIT|COMMIT_PREPARED|ABORT|ABORT_PREPARED)\s+(?:(\d+): )?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) (\S+)"
)


def parse_record(line: str) -> WalRecord | None:
    """The record in a line of pg_waldump; None for other lines.

    >>> parse_record("rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/03F52290, prev 0/03F52268,"
    ...              " desc: SWITCH ").desc
    'SWITCH '
    """
    match = _RECORD.match(line.rstrip("\n"))
    if match is None:
        return None
    return WalRecord(match[1], int(match[2]), int(match[3]), parse_lsn(match[4]), match[5])


@dataclass(frozen=True)
class Commit:
    """A transaction's end as WAL tells it; `at` is aware UTC (pg_waldump must run with TZ=UTC)."""

    xid: int
    lsn: int
    at: datetime


def parse_commit(record: WalRecord) -> Commit | None:
    """The commit that a record is; None for aborts and other records.

    >>> parse_commit(WalRecord("Transaction", 34, 741, 59977880, "COMMIT 2026-11-23 02:25:42.068041 UTC")).xid
    741
    """
    if record.rmgr != "Transaction":
        return None
    match = _COMMIT.match(record.desc)
    if match is None or not match[1].startswith("COMMIT"):
        return None
    return Commit(int(match[2] or record.xid), record.lsn, clock.parse(match[3] + "+00:00"))


@dataclass(frozen=True)
class SegmentHeader:
    """The long header at a segment's start. `begin` is the position of its first byte, `size` in bytes."""

    timeline: int
    begin: int
    system_identifier: str
    size: int


#: xlp_magic, xlp_info, xlp_tli, xlp_pageaddr, xlp_rem_len, padding, xlp_sysid, xlp_seg_size, xlp_xlog_blcksz: the same
#: in all versions since 11 (xlog_internal.h), in the byte order of the machine that wrote them.
_LONG_HEADER = struct.Struct("=HHIQIIQII")


def read_segment_header(path: Path) -> SegmentHeader | None:
    """What a segment says of itself; None when it does not begin as WAL does."""
    with path.open("rb") as file:
        return parse_segment_header(file.read(_LONG_HEADER.size))


def parse_segment_header(head: bytes) -> SegmentHeader | None:
    """Return what the first bytes of a segment say; None when they are not those of WAL.

    >>> parse_segment_header(_LONG_HEADER.pack(0xD116, 2, 1, 16 << 20, 0, 0, 742, 16 << 20, PAGE) + b"more").system_identifier
    '742'
    >>> parse_segment_header(bytes(64)) is None
    True
    """
    if len(head) < _LONG_HEADER.size:
        return None
    _, info, timeline, begin, _, _, system, size, block = _LONG_HEADER.unpack_from(head)
    has_long_header = info & 0x0002
    if not has_long_header or block != PAGE or size & (size - 1) or not 1 << 20 <= size <= 1 << 30:
        return None
    return SegmentHeader(timeline, begin, str(system), size)


def page_header(position: int, segment_size: int) -> int:
    """Return the bytes of the header at the start of the page that begins there."""
    return _PAGE_HEADERS[1] if position % segment_size == 0 else _PAGE_HEADERS[0]


def end_of_record(lsn: int, length: int, segment_size: int) -> int:
    """Where the record that starts at `lsn` ends, page headers inside it counted.

    >>> format_lsn(end_of_record(parse_lsn("0/3933098"), 34, 16 << 20))
    '0/39330C0'
    >>> format_lsn(end_of_record(parse_lsn("0/3004A28"), 8241, 16 << 20))
    '0/3006A78'
    """
    left = (length + 7) // 8 * 8
    position = lsn
    while left:
        room = PAGE - position % PAGE
        if left < room or (left == room):
            return position + left
        left -= room
        position += room
        position += page_header(position, segment_size)
    return position
