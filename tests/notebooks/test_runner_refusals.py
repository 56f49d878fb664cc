"""What cannot be carried out is refused before a kernel starts, with file, place and the nearest valid name."""

from __future__ import annotations

import pytest
from house import CONCLUDE, PASSING, House, finish


@pytest.fixture
def fine(house: House) -> House:
    house.add_notebook("fine", PASSING, CONCLUDE)
    return house


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run", "fine", "-p", "pint", "latest"], ["01_fine.ipynb", "line 2", "did you mean 'point'?"]),
        (["run", "fine", "-p", "rows", "three"], ["line 3", "'rows'", "whole number"]),
        (["run", "fine", "-p", "rows", "0123"], ["'rows'", "whole number"]),
        (["run", "fine", "-p", "keep", "yes"], ["'keep'", "true or false"]),
        (["run", "fine", "-p", "share", "nan"], ["'share'"]),
        (["run", "fine", "--target", "sandbx"], ["sandbx", "did you mean 'sandbox'?"]),
        (["run", "fin"], ["did you mean 'fine'?"]),
        (["run", "fine", "--tagret", "sandbox"], ["--tagret", "--target"]),
        (["run", "fine", "--timeout", "soon"], ["--timeout"]),
        (["run", "fine", "--scheduled-for", "2026-01-01T00:00:00"], ["time zone"]),
        (["run", "fine", "--scheduled-for", "2999-01-01T00:00:00Z"], ["later than now", "2999-01-01"]),
        (["run", "fine", "-p", "rows"], ["-p takes a name and a value"]),
        (["rum", "fine"], ["did you mean 'run'?"]),
        (["resume", "20990101"], ["20990101"]),
    ],
)
def test_refusal_exits_2_and_nothing_has_started(fine: House, argv: list[str], says: list[str]) -> None:
    result = fine.inside(*argv)
    assert result.code == 2, result.stderr
    assert (result.last["verdict"], result.last["exit_code"], result.last["run"]) == ("REFUSED", 2, None)
    assert result.last["next"]
    for text in says:
        assert text in result.last["reason"] and text in result.stderr
    assert fine.runs() == [] and not (fine.home / "reports" / "RUNS").exists()


def test_text_that_looks_like_a_number_stays_text(fine: House) -> None:
    result = fine.runbook("run", "fine", "-p", "point", "0123")
    assert result.code == 0, result.stderr
    assert fine.record(result)["parameters"]["point"] == "0123"


def test_second_run_on_the_same_target_exits_5_and_names_the_first(house: House) -> None:
    house.add_notebook(
        "slow",
        "import time\nfrom pathlib import Path\n"
        'def wait():\n    Path("ready").touch()\n    while not Path("go").exists(): time.sleep(0.05)\n'
        'run.step("Wait", wait)',
        CONCLUDE,
    )
    house.add_notebook("fine", PASSING, CONCLUDE, number=2)
    first = house.start("run", "slow")
    house.wait_for("ready")
    second = house.runbook("run", "fine")
    (house.home / "go").touch()
    assert finish(first).code == 0
    assert (second.code, second.last["verdict"]) == (5, "LOCKED"), second.stderr
    assert house.runs()[0] in second.last["reason"]
    assert second.last["next"] == f"runbook status {house.runs()[0]}"
    assert len(house.runs()) == 1
    assert house.runbook("run", "fine").code == 0


def test_effects_of_a_dead_run_keep_the_target_locked_until_abort(house: House) -> None:
    house.add_notebook(
        "changes",
        "import os\n"
        'def change():\n    run.effects("maintenance mode is on")\n    os.kill(os.getpid(), 9)\n'
        'run.step("Change", change)',
        CONCLUDE,
    )
    house.add_notebook("fine", PASSING, CONCLUDE, number=2)
    dead = house.runbook("run", "changes")
    assert dead.code == 4, dead.stderr
    locked = house.runbook("run", "fine")
    assert (locked.code, locked.last["next"]) == (5, f"runbook resume {dead.last['run']}"), locked.stderr
    assert "maintenance mode is on" in locked.last["reason"]
    aborted = house.runbook("abort", dead.last["run"], "--reason", "mode is off again")
    assert (aborted.code, aborted.last["verdict"]) == (4, "INCOMPLETE"), aborted.stderr
    assert "mode is off again" in aborted.last["reason"]
    assert house.runbook("run", "fine").code == 0
    assert house.runbook("resume", dead.last["run"]).code == 2
