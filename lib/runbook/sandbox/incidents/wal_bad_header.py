"""A WAL segment after the newest backup begins with another magic number: it is of no PostgreSQL."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import flip_bit, segments_after_backup
from runbook.sandbox.place import Sandbox

NAME = "wal-bad-header"
SUMMARY = "spoil the header of a WAL segment after the newest backup, in the archive"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = rng.choice(segments_after_backup(sandbox))
    flip_bit(path, 0, rng.randint(0, 7))
    return {"did": "Spoilt the first page header of a WAL segment.", "where": f"{path}, byte 0", "segment": path.name}
