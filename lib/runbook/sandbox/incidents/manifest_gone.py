"""The newest backup has lost its manifest: nothing can tell whether its files are whole."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.place import Sandbox

NAME = "manifest-gone"
SUMMARY = "delete the manifest of the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = sandbox.newest_backup() / "backup_manifest"
    path.unlink()
    return {"did": "Deleted backup_manifest from the newest backup.", "where": str(path)}
