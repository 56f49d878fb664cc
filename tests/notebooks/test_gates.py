"""A gate stops the run until other people have signed its plan, wherever the run is executed."""

from __future__ import annotations

from typing import Any

from house import CONCLUDE, House, Result

OBSERVE = (
    "from pathlib import Path\nfrom runbook.gates import Plan\n"
    'run.step("Look", lambda: Path("seen").open("a").write("x"))\n'
    'run.step("Freeze", lambda: Path("frozen").open("a").write("x"), once=True)'
)
PLAN = (
    'plan = Plan(title="Swap the restored cluster in", target=target, reversible=True,\n'
    '            actions=["Stop the server", {"what": "Move the data aside", "undo": "Move it back"}],\n'
    '            blast_radius=["all sessions end"], undo="runbook abort moves it back", facts={"point": point})'
)
GATE = PLAN + '\npassed = run.gate("Approve the swap", plan)'
ACT = 'run.step("Swap", lambda: Path("swapped").open("a").write("x"), once=True)'


def approve(house: House, run: str, *more: str, key: str = "practice-one") -> Result:
    return house.inside("approve", run, "approve-the-swap", "--key", f"var/keys/{key}", "--yes", *more)


def gate_of(house: House, result: Result) -> dict[str, Any]:
    (gate,) = house.record(result)["gates"]
    return gate


def test_headless_run_waits_is_approved_and_goes_on_without_repeating_what_happens_once(house: House) -> None:
    house.add_notebook("swap", OBSERVE, GATE, ACT, CONCLUDE)
    first = house.runbook("run", "swap")
    assert (first.code, first.last["verdict"]) == (3, "WAITING"), first.stderr
    run = first.last["run"]
    assert first.last["next"] == f"runbook approve {run} approve-the-swap --key var/keys/practice-one"
    assert not (house.home / "swapped").exists()
    approved = approve(house, run, "--comment", "looks right")
    assert (approved.code, approved.last["next"]) == (0, f"runbook resume {run}"), approved.stderr
    again = house.runbook("resume", run)
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr
