"""Two WAL segments after the newest backup have each other's names."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import segments_after_backup
from runbook.sandbox.place import Sandbox

NAME = "wal-swapped"
SUMMARY = "swap the contents of two WAL segments after the newest backup, in the archive"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    first, second = rng.sample(segments_after_backup(sandbox, at_least=2), 2)
    aside = first.with_name(f"{first.name}.aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return {
        "did": "Swapped two archived WAL segments.",
        "where": f"{first} and {second.name}",
        "segments": sorted((first.name, second.name)),
    }
