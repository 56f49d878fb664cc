"""One bit of an index in the newest backup is flipped: nothing notices until the page is read."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import flip_in_page, pick_relation
from runbook.sandbox.place import Sandbox

NAME = "index-bit-flip"
SUMMARY = "flip one bit of an index in the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    name, path, _ = pick_relation(sandbox, rng, "index")
    page, offset = flip_in_page(rng, path)
    return {
        "did": f"Flipped a bit of index {name}, page {page}.",
        "where": f"{path}, byte {offset}",
        "relation": name,
        "page": page,
    }
