"""A table's file is gone from the newest backup: replay silently makes a new, shorter one."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import pick_relation
from runbook.sandbox.place import Sandbox

NAME = "heap-file-missing"
SUMMARY = "delete a table's file from the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    name, path, facts = pick_relation(sandbox, rng, "table")
    path.unlink()
    return {
        "did": f"Deleted the file of table {name} ({facts.pages} pages).",
        "where": str(path),
        "relation": name,
        "pages": facts.pages,
    }
