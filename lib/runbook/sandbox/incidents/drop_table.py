"""The table of all bids is dropped."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.change import commit_files, read_figure
from runbook.sandbox.place import Sandbox

NAME = "drop-table"
SUMMARY = "drop the table auction_data with all bids"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    bids = read_figure(sandbox, "count_bids", "bids")
    truth = commit_files(sandbox, "drop_bids")
    return {
        "did": f"Dropped auction_data with {bids} bids.",
        "where": "public.auction_data",
        "rows": {"auction_data": bids},
        **truth,
    }
