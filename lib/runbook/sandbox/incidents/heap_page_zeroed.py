"""A page of a table in the newest backup is all zeros: checksums and amcheck take it for an empty page."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.damage import PAGE, pick_page, pick_relation, write_bytes
from runbook.sandbox.place import Sandbox

NAME = "heap-page-zeroed"
SUMMARY = "overwrite a page of a table in the newest backup with zeros"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    name, path, _ = pick_relation(sandbox, rng, "table")
    page = pick_page(rng, path)
    write_bytes(path, page * PAGE, bytes(PAGE))
    return {"did": f"Zeroed page {page} of table {name}.", "where": str(path), "relation": name, "page": page}
