"""The newest backup has lost backup_label: recovery would begin at the wrong checkpoint."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.place import Sandbox

NAME = "backup-label-gone"
SUMMARY = "delete backup_label from the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = sandbox.newest_backup() / "backup_label"
    path.unlink()
    return {"did": "Deleted backup_label from the newest backup.", "where": str(path)}
