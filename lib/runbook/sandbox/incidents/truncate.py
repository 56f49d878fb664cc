"""All sign-ins are truncated away."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox.change import commit_files, read_figure
from runbook.sandbox.place import Sandbox

NAME = "truncate"
SUMMARY = "truncate the table sessions"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    rows = read_figure(sandbox, "count_sessions", "sessions")
    truth = commit_files(sandbox, "truncate_sessions")
    return {
        "did": f"Truncated sessions ({rows} rows).",
        "where": "public.sessions",
        "rows": {"sessions": rows},
        **truth,
    }
