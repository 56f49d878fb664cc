"""Two pages of a table in the newest backup have changed places: each is sound, at the wrong address."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import PAGE, pick_relation, read_bytes, write_bytes
from runbook.sandbox.place import Sandbox

NAME = "heap-pages-swapped"
SUMMARY = "swap two pages of a table in the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    name, path, facts = pick_relation(sandbox, rng, "table", pages=3)
    first, second = sorted(rng.sample(range(path.stat().st_size // PAGE), 2))
    contents = [read_bytes(path, page * PAGE, PAGE) for page in (first, second)]
    write_bytes(path, first * PAGE, contents[1])
    write_bytes(path, second * PAGE, contents[0])
    return {
        "did": f"Swapped pages {first} and {second} of table {name} ({facts.pages} pages).",
        "where": str(path),
        "relation": name,
        "swapped": [first, second],
    }
