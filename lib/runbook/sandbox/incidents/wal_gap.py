"""A WAL segment after the newest backup is gone, and later ones are there."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import segments_after_backup
from runbook.sandbox.place import Sandbox

NAME = "wal-gap"
SUMMARY = "delete a WAL segment after the newest backup from the archive, not the last"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = rng.choice(segments_after_backup(sandbox, at_least=2)[:-1])
    path.unlink()
    return {"did": "Deleted an archived WAL segment; later ones are there.", "where": str(path), "segment": path.name}
