"""Each table of a report names its statements, snapshot, server, rows and hash: in every runbook, on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from homes import runbook
from origins import check_origins
from runbook.session.notebook import find_notebooks

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: A table of each runbook, and how its origin begins; the recovery has a test with its own.
TABLES = {
    "architecture": ("Measured", "statements 1 to "),
    "backup-verification": (
        "The recovery point",
        "worked out after step «Resolve the recovery point», from what had been asked by then: statement 1",
    ),
    "daily-health": (
        "Findings",
        "worked out after step «Rank the findings», from what had been asked by then: statements 1 to ",
    ),
    "escalation": ("On call now", "step «Show who is on call now», "),
    "compliance": ("What must be kept", "step «Name the rules», "),
    "access-audit": ("Who looks at what", "statements 1 to 2 of step «Say who looks», snapshot"),
}


def test_each_table_of_each_runbook_says_what_its_rows_come_from(live_home: Path) -> None:
    assert {*TABLES, "point-in-time-recovery"} == set(find_notebooks()), "a new runbook needs its line here"
    for name, (caption, begins) in TABLES.items():
        said = json.loads(runbook(live_home, "run", name, "--target", "sandbox").stdout.splitlines()[-1])
        tables = check_origins(live_home / said["record"])
        assert tables[caption].startswith(begins), tables
