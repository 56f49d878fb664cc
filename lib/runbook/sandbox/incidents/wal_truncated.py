"""A WAL segment after the newest backup is too short, as after a copy that was cut off."""

from __future__ import annotations

import os
import random
from typing import Any

from runbook.sandbox.damage import segments_after_backup
from runbook.sandbox.place import Sandbox

NAME = "wal-truncated"
SUMMARY = "cut a WAL segment after the newest backup short, in the archive"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = rng.choice(segments_after_backup(sandbox))
    size = path.stat().st_size
    left = rng.randrange(1, size)
    os.truncate(path, left)
    return {
        "did": f"Cut a WAL segment to {left} of {size} bytes.",
        "where": str(path),
        "segment": path.name,
        "left": left,
    }
