"""Texts that a role may write into WAL and that pg_waldump prints as they are.

The prefix of pg_logical_emit_message, which everybody may call, and the name of a prepared transaction may hold line breaks: what follows
one can look like a record of its own, such as a commit that never was. The record itself, read from its segment, says how many lines of
its print begin like that; they are left out.

Source: PostgreSQL 17, logicalmsgdesc.c, xactdesc.c, xlogrecord.h, message.h.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from runbook.postgres.wal import parse_lsn
from runbook.postgres.walrecord import RecordFile

_LINE = b"\nrmgr: "
_WITH_TEXT = re.compile(
    rb"rmgr: (LogicalMessage|Transaction)\s+len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]+/[0-9A-F]+), "
    rb"prev [0-9A-F]+/[0-9A-F]+, desc: (?:MESSAGE|PREPARE) "
)
#: What such a record's line holds, and begins with: all other lines, millions of them, are let through at once.
_HINTS = b"desc: PREPARE ", b"rmgr: LogicalMessage"
_HEADER, _SHORT, _LONG, _ORIGIN, _TOP_XID = 24, 0xFF, 0xFE, 0xFD, 0xFC
#: xl_logical_message ahead of its text: database, transactional, padding, the prefix's size with its end, the message's.
_MESSAGE = struct.Struct("=IIQQ")
_CHUNK = 1 << 20


class FalseLines:
    """Takes the lines that only look like records out of pg_waldump's output, line by line or block by block.

    Args:
        folder: holds the segments under their plain names, as pg_waldump was given it.
    """

    def __init__(self, folder: Path, timeline: int) -> None:
        self._folder, self._timeline = folder, timeline
        self._left = 0

    def without(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the other lines."""
        for line in lines:
            may_be = self._left or _HINTS[0].decode() in line or line.startswith(_HINTS[1].decode())
            if not may_be or not self._is_false(line.encode("utf-8", "replace")):
                yield line

    def cleaned(self, block: bytes) -> bytes:
        """Return a block of whole lines without them; one without any such text is returned as it is."""
        if not self._left and not any(hint in block for hint in _HINTS):
            return block
        return b"".join(line for line in io.BytesIO(block) if not self._is_false(line))

    def _is_false(self, line: bytes) -> bool:
        if not line.startswith(b"rmgr: "):
            return False
        if self._left:
            self._left -= 1
            return True
        match = _WITH_TEXT.match(line)
        if match is not None:
            self._left = self._count(match[1] == b"LogicalMessage", parse_lsn(match[3].decode()), int(match[2]))
        return False

    def _count(self, is_message: bool, lsn: int, length: int) -> int:
        count, kept = 0, b""
        with closing(RecordFile(self._folder, self._timeline)) as file:
            parts = file.parts(lsn, length)
            for part in _prefix(parts) if is_message else parts:
                part = kept + part
                count += part.count(_LINE)
                kept = part[-len(_LINE) + 1 :]
        return count


def _prefix(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The prefix of a logical message; its payload is printed in hexadecimal, where no line breaks are."""
    head = b""
    for part in parts:
        head += part
        if len(head) >= _HEADER + 16 + _MESSAGE.size:
            break
    at = _HEADER
    while at < len(head) and head[at] in (_ORIGIN, _TOP_XID):
        at += 3 if head[at] == _ORIGIN else 5
    at += 2 if at < len(head) and head[at] == _SHORT else 5
    if len(head) < at + _MESSAGE.size:
        return
    left = int(_MESSAGE.unpack_from(head, at)[2])
    for part in _chain(head[at + _MESSAGE.size :], parts):
        yield part[:left]
        left -= len(part)
        if left <= 0:
            return


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
