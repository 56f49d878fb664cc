"""The newest backup has lost pg_control: it cannot start."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.place import Sandbox

NAME = "pg-control-gone"
SUMMARY = "delete pg_control from the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = sandbox.newest_backup() / "global/pg_control"
    path.unlink()
    return {"did": "Deleted global/pg_control from the newest backup.", "where": str(path)}
