"""A clean-up deletes the vehicles of a model year, and their bids with them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from runbook.sandbox.change import commit_files, read_figure
from runbook.sandbox.place import Sandbox

NAME = "delete-vehicles"
SUMMARY = "delete all vehicles of a model year and their bids"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    year = datetime.now(UTC).year - rng.randint(1, 14)
    vehicles = read_figure(sandbox, "count_vehicles_of_year", "vehicles", year=year)
    bids = read_figure(sandbox, "count_bids_of_year", "bids", year=year)
    truth = commit_files(sandbox, "delete_vehicles", year=year)
    return {
        "did": f"Deleted {vehicles} vehicles of {year} and their {bids} bids.",
        "where": "public.vehicles, public.auction_data",
        "year": year,
        "rows": {"vehicles": vehicles, "auction_data": bids},
        **truth,
    }
