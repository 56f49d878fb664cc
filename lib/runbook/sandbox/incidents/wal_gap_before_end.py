"""The WAL that makes the newest backup consistent is gone: it can never be restored."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import newest_facts
from runbook.sandbox.place import Sandbox

NAME = "wal-gap-before-end"
SUMMARY = "delete the newest backup's own first WAL segment from the archive"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    path = sandbox.archive / newest_facts(sandbox)[1].first_segment
    path.unlink()
    return {"did": "Deleted the backup's own first WAL segment.", "where": str(path), "segment": path.name}
