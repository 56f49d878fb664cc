"""A price correction hits far too many vehicles: their price is 0."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from runbook.sandbox.change import commit_files
from runbook.sandbox.place import Sandbox

NAME = "bad-update"
SUMMARY = "set the price of many vehicles to 0"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    year = datetime.now(UTC).year - rng.randint(4, 12)
    truth = commit_files(sandbox, "update_prices", year=year)
    return {
        "did": f"Set the price of all vehicles since {year} to 0.",
        "where": "public.vehicles",
        "year": year,
        **truth,
    }
