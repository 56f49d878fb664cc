"""One bit of a WAL record after the newest backup is flipped: without a target, recovery takes it for the end of WAL."""

from __future__ import annotations

import random
from typing import Any

from runbook.postgres import wal
from runbook.sandbox.damage import flip_bit, read_segment, segments_after_backup
from runbook.sandbox.place import Sandbox

NAME = "wal-bit-flip"
SUMMARY = "flip one bit of a WAL record after the newest backup, in the archive"
_SMALLEST = 40


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = rng.choice(segments_after_backup(sandbox))
    start = wal.segment_start(path.name, path.stat().st_size)[1]
    # The padding between records is in no checksum: the bit must lie within a record, and that within its page.
    records = [
        record
        for record in read_segment(sandbox, path)
        if record.length >= _SMALLEST and record.lsn % wal.PAGE + record.length <= wal.PAGE
    ]
    record = rng.choice(records)
    offset = record.lsn - start + rng.randrange(record.length)
    flip_bit(path, offset, rng.randint(0, 7))
    return {
        "did": f"Flipped a bit of the {record.rmgr} record at {wal.format_lsn(record.lsn)}.",
        "where": f"{path}, byte {offset}",
        "segment": path.name,
        "lsn": wal.format_lsn(record.lsn),
    }
