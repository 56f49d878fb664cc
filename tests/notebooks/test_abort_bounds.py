"""What `runbook abort` refuses, keeps and names: it never leaves a target that nobody can get free, nor frees one that is half done."""

from __future__ import annotations

from typing import Any

import pytest
from house import CONCLUDE, House
from runbook import layout
from runbook.session import lock
from runbook.session.journal import Journal
from runbook.session.request import start_attempt


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
    by_hand = house.inside("abort", run, "--by-hand", "opened it")
    assert by_hand.code == 4 and lock.changing("sandbox") is None, by_hand.stderr
    assert any("(opened it)" in one and "Nothing has proven it" in one for one in house.record(by_hand)["limitations"])


def test_run_at_work_on_another_host_is_left_as_it_was_until_somebody_says_that_the_host_is_gone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(house.home))
    run = dead_run(house)
    process = {"host": "elsewhere", "pid": 4711, "started": 1, "boot": "b"}
    start_attempt(
        Journal(layout.run(run) / "journal.jsonl"),
        layout.run(run),
        2,
        by="runbook run",
        like={"planned": []},
        process=process,
    )
    before = house.journal(run)
    refused = house.inside("abort", run)
    assert "works on this run" in refused.stderr and "elsewhere" in refused.stderr and "--by-hand" in refused.stderr
    assert house.journal(run) == before, "the run that lives there is not called aborted"
    aborted = house.inside("abort", run, "--by-hand", "host elsewhere is gone")
    assert aborted.code == 4, aborted.stderr
    assert any("was not looked for" in one for one in house.record(aborted)["limitations"])
    assert lock.changing("sandbox") is None


def test_abort_that_was_killed_before_it_freed_the_target_is_ended_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(house.home))
    run = dead_run(house)
    kept = layout.locks() / "sandbox.lock"
    text = kept.read_bytes()
    assert house.inside("abort", run).code == 4
    kept.write_bytes(text)  # as it stood when the abort was killed
    assert house.inside("resume", run).stderr.endswith(f"runbook abort {run}\n")
    assert house.inside("abort", run).code == 4 and lock.changing("sandbox") is None
    assert house.inside("abort", run).code == 2


@pytest.mark.parametrize("undo", ["by hand: params name no maintenance_off", "call the hook maintenance_off"])
def test_abort_that_takes_nothing_back_again_names_the_command_that_ends_it(
    house: House, undo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(house.home))
    run = dead_run(house)
    note(house, run, "undo-noted", act="maintenance mode is on", undo=undo)
    first = house.inside("abort", run)
    plain, by_hand = f"runbook abort {run}", f'runbook abort {run} --by-hand "WHAT WAS DONE"'
    assert first.last["next"] == (by_hand if undo.startswith("by hand") else plain)
    assert house.inside("abort", run).last["next"] == by_hand
    assert lock.way_on(lock.changing("sandbox") or {"run": ""}) == by_hand
    ended = house.inside("abort", run, "--by-hand", "turned it off")
    assert (ended.code, lock.changing("sandbox")) == (4, None), ended.stderr
