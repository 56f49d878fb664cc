"""The written part of a WAL segment after the newest backup ends in zeros, as after a crash of the archive's disk."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import segments_after_backup, used_bytes, write_bytes
from runbook.sandbox.place import Sandbox

NAME = "wal-zeroed-tail"
SUMMARY = "overwrite the tail of a WAL segment after the newest backup with zeros, in the archive"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = rng.choice(segments_after_backup(sandbox))
    used = used_bytes(path)
    begin = used * rng.randint(20, 80) // 100
    write_bytes(path, begin, bytes(path.stat().st_size - begin))
    return {
        "did": f"Zeroed a WAL segment from byte {begin} on ({used - begin} bytes of WAL lost).",
        "where": f"{path}, byte {begin}",
        "segment": path.name,
        "from_byte": begin,
    }
