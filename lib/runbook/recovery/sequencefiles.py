"""The last value of a sequence, read from the file of a server that is down.

A sequence is one page with one row. The file holds the last value only after a clean stop: a server that crashed may have written less than it
gave out, so nothing is read then.

Source: PostgreSQL 17, src/include/commands/sequence.h, src/backend/commands/sequence.c, src/include/storage/bufpage.h.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from runbook.recovery.sequences import Sequences

#: pg_controldata's word for a server that was stopped in order.
_CLEAN = "shut down"
_MAGIC = 0x1717
_HEADER = 24


def value_in_page(page: bytes) -> int | None:
    """Return a sequence's last value from its page; None when it was never used.

    Raises:
        ValueError: the page is no sequence's.
    """
    if len(page) < 1024:
        raise ValueError("it is shorter than a page")
    (special,) = struct.unpack_from("=H", page, 16)
    if special + 4 > len(page) or struct.unpack_from("=I", page, special)[0] != _MAGIC:
        raise ValueError("it is no sequence's file")
    (item,) = struct.unpack_from("=I", page, _HEADER)
    # A line pointer is bit fields: offset, flags, length, from the lowest bit where the least significant byte is first.
    offset = item & 0x7FFF if sys.byteorder == "little" else item >> 17
    start = offset + page[offset + 22]  # t_hoff
    if not _HEADER < offset < start < special - 17:
        raise ValueError("its row is not where it should be")
    last, _, is_called = struct.unpack_from("=qq?", page, start)
    return int(last) if is_called else None


def read_from_files(data: Path, control: Mapping[str, str], restored: Sequences) -> tuple[Sequences, list[str]]:
    """Return the sequences as the files of a stopped server have them, and what could not be read.

    Args:
        data: the data directory. control: `read_control` of it.
        restored: the sequences of the copy, with their files: a sequence that got another file since is not known.
    """
    state = control.get("Database cluster state", "not known")
    if state != _CLEAN:
        return {}, [
            f"Sequences of the damaged cluster: its server does not answer and was not stopped in order ({state}), so its files say too little"
        ]
    found: Sequences = {}
    unread = []
    size = int(control["Database block size"])
    for key, sequence in restored.items():
        try:
            content = (data / sequence.file).read_bytes()
            if len(content) != size:
                raise ValueError(f"it has {len(content):,} bytes")
            found[key] = replace(sequence, last_value=value_in_page(content))
        except (OSError, ValueError) as cause:
            said = cause.strerror if isinstance(cause, OSError) else str(cause)
            unread.append(f"{key[0]}: {key[1]}.{key[2]} ({sequence.file}: {said})")
    more = f" and {len(unread) - 5:,} more" if len(unread) > 5 else ""
    return found, [
        f"Sequences whose last value is in no file of the damaged cluster: {', '.join(unread[:5])}{more}"
    ] if unread else []
