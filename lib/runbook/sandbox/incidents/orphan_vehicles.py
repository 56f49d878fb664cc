"""Vehicles name auctions that are not there, and the constraint that forbade it is gone."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.change import commit_files
from runbook.sandbox.place import Sandbox

NAME = "orphan-vehicles"
SUMMARY = "drop the foreign key to auctions and orphan some vehicles"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    part = rng.randrange(1, 100, 2)  # one vehicle in eight has no auction: those with an even number
    truth = commit_files(sandbox, "drop_auction_key", "orphan_vehicles", part=part)
    return {
        "did": "Dropped vehicles_auction_id_fkey and gave one vehicle in a hundred an auction that does not exist.",
        "where": "public.vehicles",
        "part": part,
        **truth,
    }
