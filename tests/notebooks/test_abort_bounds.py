"""What `runbook abort` refuses, keeps and names: it never leaves a target that nobody can get free, nor frees one that is half done."""

from __future__ import annotations

from typing import Any

import pytest
from house import CONCLUDE, House
from runbook.session import lock
from runbook.session.journal import Journal


def dead_run(house: House, **remembered: Any) -> str:
    """A run that has changed its target, and died."""
    cell = (
        "import os\n"
        'def change():\n    run.effects("the database is locked down")\n'
        + "".join(f"    run.remember({name!r}, {value!r})\n" for name, value in remembered.items())
        + '    os.kill(os.getpid(), 9)\nrun.step("Change", change)'
    )
    house.add_notebook("changes", cell, CONCLUDE)
    dead = house.runbook("run", "changes")
    assert dead.code == 4, dead.stderr
    return str(dead.last["run"])


def note(house: House, run: str, event: str, **facts: Any) -> None:
    """A line of the run's journal, as an attempt that got further has written it."""
    Journal(house.home / "var" / "runs" / run / "journal.jsonl").append(event, **facts)


@pytest.mark.parametrize("reached", [("accepted",), ("accepted", "open"), ("accepted", "archived")])
def test_accepted_recovery_is_not_called_off_before_production_is_open_and_archives(
    house: House, reached: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(house.home))
    run = dead_run(house, **{f"recovery/at/{name}": {"at": "2026-01-01T00:00:00Z", "of": None} for name in reached})
    aborted = house.inside("abort", run)
    if "archived" in reached:
        assert aborted.code == 4 and lock.changing("sandbox") is None, aborted.stderr
        return
    assert aborted.code == 2 and "accepted and not finished" in aborted.stderr, aborted.stdout
    assert f"runbook resume {run}" in aborted.stderr
    assert lock.changing("sandbox") is not None, "it keeps its target"
    assert house.inside("abort", run, "--by-hand", "opened it").code == 4
    assert lock.changing("sandbox") is None
