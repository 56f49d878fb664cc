"""A block of pg_waldump's lines as row changes and other records: the columns of all lines at once, with numpy.

A pattern a line costs more than pg_waldump takes to read the WAL; columns cost a quarter of that. Lines whose columns stand
elsewhere (a record of a megabyte, another version's wording) go through the pattern, so the result is the same for both.
Source: PostgreSQL 15 to 18, pg_waldump.c (XLogDumpDisplayRecord), heapdesc.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: (b"I" | b"U" | b"D" | b"M" moved to another partition | b"S" a speculative insert taken back, relation's file as text)
Key = tuple[bytes, bytes]
#: xid, position, description.
Other = tuple[int, bytes, bytes]
Array = np.ndarray[Any, Any]

#: A row's record: xid, operation, a DELETE's flags, a MULTI_INSERT's rows, the relation. Else: position, description.
RECORD = re.compile(
    rb"tx: *(\d+), lsn: (?:"
    rb"\S+ prev \S+ desc: (?:(INS|UPD|HOT_U)|DEL[^#\n]*0x(..)|MULTI_INSERT\S* (?:ntuples: )?(\d+))[^#\n]*#0: rel (\S+)"
    rb"|(\S+), prev \S+ desc: "
    rb"((?:COMMIT|ABORT|PREPARE |CREATE |LOCK xid|FPI [,b]|DROP|RUNNING_XACTS|TRUNCATE [^\n]*(?:nrelids| to 0 blocks))[^\n]*))"
)
_IS_SUPER, _IS_MOVE = 0x08, 0x10
_KINDS = (b"I", b"U", b"D", b"M", b"S")
_OF_WORD = {b"INS": 0, b"UPD": 1, b"HOT_U": 1}
#: "rmgr: %-11s len (rec/tot): %6u/%6u, tx: %10u, lsn: %X/%08X, prev %X/%08X, desc: "
_RMGR, _TX, _XID, _LSN = 6, 48, 52, 69
_WINDOW = 32
_PAD = b"\0" * 256


@dataclass
class Block:
    """What a block's lines say. `rows` are (xid, key, number) in no order, `others` in WAL's order, `position` the last line's."""

    rows: list[tuple[int, Key, int]] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    position: bytes = b""


def parse_lines(block: bytes) -> Block:
    """The block, line by line through the pattern: what `parse_block` must equal."""
    found = Block(position=_position(block))
    for xid, word, flags, count, relation, lsn, rest in RECORD.findall(block):
        if rest:
            found.others.append((int(xid), lsn, rest))
            continue
        flag = int(flags, 16) if flags else 0
        kind = _OF_WORD[word] if word else 0 if count else 4 if flag & _IS_SUPER else 3 if flag & _IS_MOVE else 2
        found.rows.append((int(xid), (_KINDS[kind], relation), int(count or 1)))
    return found


def _position(block: bytes) -> bytes:
    line = block[block.rfind(b"\n", 0, -1) + 1 :]
    return line.partition(b"lsn: ")[2].partition(b",")[0]


def _column(buffer: Array, places: Array, word: bytes) -> Array:
    """True where the word stands at the places."""
    fits: Array = buffer[places] == word[0]
    for offset, letter in enumerate(word[1:], 1):
        fits &= buffer[places + offset] == letter
    return fits


def parse_block(block: bytes) -> Block:
    """The block's row changes and other records."""
    found = Block(position=_position(block))
    if not found.position:
        return parse_lines(block)
    buffer = np.frombuffer(block + _PAD, np.uint8)
    ends = np.flatnonzero(buffer[: len(block)] == 10)
    if not len(ends) or ends[-1] != len(block) - 1:
        return parse_lines(block)
    starts = np.concatenate(([0], ends[:-1] + 1))
    # Both positions of a line have the same width but where one digit is added, once in 64 GiB.
    begin = _LSN + 2 * len(found.position) + 15
    regular = _column(buffer, starts + _TX, b"tx:") & _column(buffer, starts + begin - 6, b"desc: ")
    kinds = _kinds(buffer, starts, begin)
    rows = np.flatnonzero(regular & (kinds >= 0))
    odd = np.flatnonzero(~regular | (kinds == -2))
    others = np.flatnonzero(regular & (kinds == -3))
    if len(rows) and not _take_rows(found, buffer, starts[rows], kinds[rows]):
        return parse_lines(block)
    text_of_lsn = slice(_LSN, _LSN + len(found.position))
    if not len(odd):
        for start, end in zip(starts[others].tolist(), ends[others].tolist(), strict=True):
            line = block[start:end]
            found.others.append((int(line[_XID:62]), line[text_of_lsn], line[begin:]))
        return found
    for number in np.union1d(odd, others).tolist():
        more = parse_lines(block[starts[number] : ends[number] + 1])
        found.rows += more.rows
        found.others += more.others
    return found


def _kinds(buffer: Array, starts: Array, begin: int) -> Array:
    """A number for each line: ≥ 0 a row change (0 insert, 1 update, 2 delete), -1 of no interest, -2 for the pattern, -3 another record."""
    first, second, third = buffer[starts + begin], buffer[starts + begin + 1], buffer[starts + begin + 2]
    rmgr = buffer[starts + _RMGR]
    is_heap = rmgr == ord("H")
    kinds = np.full(len(starts), -1, np.int64)
    kinds[is_heap & (first == ord("I")) & (third == ord("S"))] = 0
    kinds[is_heap & ((first == ord("U")) | ((first == ord("H")) & (second == ord("O"))))] = 1
    kinds[is_heap & (first == ord("D"))] = 2
    kinds[is_heap & (((first == ord("M")) & (second == ord("U"))) | (first == ord("T")))] = -2
    is_end = (
        (first == ord("C"))
        | ((first == ord("A")) & (second == ord("B")))
        | ((first == ord("P")) & (second == ord("R")))
    )
    kinds[(rmgr == ord("T")) & is_end] = -3
    # CREATE, LOCK and RUNNING_XACTS, DROP, FPI; the pattern leaves out what it does not know.
    kinds[((rmgr == ord("S")) | (rmgr == ord("D"))) & ~is_heap] = -2
    kinds[(rmgr == ord("X")) & (first == ord("F")) & (buffer[starts + begin + 3] == ord(" "))] = -2
    return kinds


def _take_rows(found: Block, buffer: Array, starts: Array, kinds: Array) -> bool:
    """The lines' rows, alike ones added up; False when a line is not as expected."""
    marks = np.flatnonzero(buffer == ord("#"))
    if not len(marks):
        return False
    marks = marks[np.minimum(np.searchsorted(marks, starts), len(marks) - 1)]
    if not _column(buffer, marks, b"#0: rel ").all():
        return False
    window = buffer[(marks + 8)[:, None] + np.arange(_WINDOW)]
    lengths = (window == 32).argmax(axis=1)
    if not lengths.all():
        return False
    window = np.where(np.arange(_WINDOW) < lengths[:, None], window, 0).astype(np.uint8)
    words = window.view(np.uint64)
    mixed = words[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ words[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = mixed ^ words[:, 2] * np.uint64(0x165667B19E3779F9) ^ words[:, 3] * np.uint64(0x27D4EB2F165667C5)
    _, firsts, relation = np.unique(mixed, return_index=True, return_inverse=True)
    if not (words == words[firsts][relation]).all():
        return False
    if (kinds == 2).any() and not _tell_deletes(buffer, marks, kinds):
        return False
    digits = buffer[starts[:, None] + np.arange(_XID, _XID + 10)].astype(np.int64) - 48
    xids = np.where(digits < 0, 0, digits) @ (10 ** np.arange(9, -1, -1))
    different = len(firsts) * len(_KINDS)
    codes, counts = np.unique(xids * different + relation * len(_KINDS) + kinds, return_counts=True)
    names = [bytes(window[first]).rstrip(b"\0") for first in firsts.tolist()]
    keys = [(kind, name) for name in names for kind in _KINDS]
    which = (codes % different).tolist()
    found.rows = [
        (xid, keys[key], count)
        for xid, key, count in zip((codes // different).tolist(), which, counts.tolist(), strict=True)
    ]
    return True


def _tell_deletes(buffer: Array, marks: Array, kinds: Array) -> bool:
    """Deletes by their flags, two hexadecimal digits before ", blkref #"; False when they stand elsewhere."""
    lines = np.flatnonzero(kinds == 2)
    places = marks[lines] - 13
    if not _column(buffer, places, b"0x").all():
        return False
    high, low = buffer[places + 2].astype(np.int64), buffer[places + 3].astype(np.int64)
    is_move = _digit(high) & 1
    is_super = _digit(low) & 8
    kinds[lines] = np.where(is_super > 0, 4, np.where(is_move > 0, 3, 2))
    return True


def _digit(letters: Array) -> Array:
    digits: Array = np.where(letters < 58, letters - 48, (letters & 0x5F) - 55)
    return digits
