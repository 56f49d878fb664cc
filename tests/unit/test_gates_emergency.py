"""Break-glass, the typed name, the dry run and the panel: what an operator may do alone, and what that is worth."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from gatehouse import GateHouse
from runbook import clock
from runbook.errors import OperatorError, RunWaiting
from runbook.gates.decision import Kind
from runbook.gates.folder import gate_files
from runbook.model import StepState
from runbook.session import deciding, opengate, panel
from runbook.session.gate import Passage, Stop, pass_gate
from runbook.session.run import Run


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home", environment="production")


def break_glass(house: GateHouse, reason: str = "nobody answers, data is being lost", key: Path | None = None) -> None:
    opened = opengate.look_at(house.folder, "swap-it-in")
    deciding.decide(opened, Kind.BREAK_GLASS, key=key, comment=reason)


def countersign(house: GateHouse, key: Path) -> None:
    opened = opengate.look_at_glass(house.folder, "swap-it-in")
    deciding.decide(opened, Kind.COUNTERSIGN, key=key, record=("000001-x", "0" * 64))


def finish(house: GateHouse) -> None:
    for event in (
        {"event": "step-started", "name": "Swap", "once": False},
        {"event": "step-done", "name": "Swap", "seconds": 1.0, "reused": False},
        {"event": "concluded"},
    ):
        house.journal.append(**event)


def test_break_glass_lets_the_run_go_on_loudly_and_is_no_pass_until_countersigned(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    break_glass(house)
    found = house.gate().look()
    assert isinstance(found, Passage) and found.break_glass and found.approved_by == ()
    finish(house)
    state = house.state
    assert state.verdict == "INCOMPLETE" and "Break-glass: olga@x.example passed" in state.reason
    assert state.next_command == f"runbook countersign {state.run} swap-it-in --key KEY"
    assert state.limits[0].startswith("BREAK-GLASS: olga@x.example passed the gate 'Swap it in' alone")
    assert "nobody answers, data is being lost; nobody has countersigned it" in state.limits[0]
    countersign(house, key)
    assert house.state.verdict == "PASS"
    assert "countersigned by ann@x.example" in house.state.limits[0]


def test_break_glass_of_a_gate_for_two_wants_two_countersignatures(house: GateHouse) -> None:
    ann, bob = house.person("ann"), house.person("bob")
    house.gate(needed=2)
    break_glass(house)
    house.gate(needed=2).look()
    finish(house)
    countersign(house, ann)
    assert house.state.verdict == "INCOMPLETE"
    with pytest.raises(OperatorError, match="one person counts once"):
        countersign(house, ann)
    countersign(house, bob)
    assert house.state.verdict == "PASS"


def test_operator_cannot_countersign(house: GateHouse) -> None:
    olga = house.person("olga")
    house.gate()
    break_glass(house, key=olga)
    house.gate().look()
    with pytest.raises(OperatorError, match="an operator of this run"):
        countersign(house, olga)
    house.forge(olga, "olga", decision=Kind.COUNTERSIGN)
    assert house.state.gates[0]["wants_countersigning"] is True


def test_whoever_broke_the_glass_is_an_operator(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    path = house.home / "params" / "billing.yaml"
    path.write_text(path.read_text().replace("operators: {", "operators: {ann: ann@x.example, "))
    ann = house.person("ann")
    house.gate()
    monkeypatch.setenv("SUDO_USER", "ann")
    break_glass(house)
    house.gate().look()
    with pytest.raises(OperatorError, match=r"ann@x\.example is an operator"):
        countersign(house, ann)


def test_break_glass_file_that_the_journal_does_not_know_is_void(house: GateHouse) -> None:
    house.gate()
    break_glass(house)
    (filed,) = house.files.decisions()
    content = json.loads(filed.data) | {"comment": "another reason"}
    filed.path.write_text(json.dumps(content))
    found = house.gate().look()
    assert isinstance(found, Stop) and "the journal does not know it" in found.reason


def test_break_glass_can_be_switched_off_and_expires(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house.gate()
    break_glass(house)
    present = clock.now
    monkeypatch.setattr(clock, "now", lambda: present() + timedelta(hours=5))
    found = house.gate().look()
    assert isinstance(found, Stop) and "expired at" in found.reason
    monkeypatch.setattr(clock, "now", present)
    house.params = house.tolerant(break_glass=False).params
    found = house.gate().look()
    assert isinstance(found, Stop) and "switched off" in found.reason


def test_approval_that_came_in_time_makes_the_break_glass_unneeded(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    break_glass(house)
    house.approve(key)
    found = house.gate().look()
    assert isinstance(found, Passage) and not found.break_glass
    assert not any("BREAK-GLASS" in limit for limit in house.state.limits)


def test_break_glass_that_was_used_stays_open_when_an_approval_follows(house: GateHouse) -> None:
    ann, bob = house.person("ann"), house.person("bob")
    house.gate()
    break_glass(house)
    house.gate().look()
    house.start(2)
    house.gate(lsn="0/4000028")
    house.approve(bob)
    found = house.gate(lsn="0/4000028").look()
    assert isinstance(found, Passage) and found.approved_by == ("bob@x.example",)
    finish(house)
    assert house.state.verdict == "INCOMPLETE" and "not countersigned yet" in house.state.reason
    assert house.state.limits[0].startswith("BREAK-GLASS")
    countersign(house, ann)
    (glass,) = house.state.glasses
    assert (glass.plan, glass.is_open) == (house.plan().sha256, False), (
        "the plan that was passed alone, not the last one"
    )
    assert house.state.verdict == "PASS"


def test_accepted_change_lets_nobody_countersign_twice(house: GateHouse) -> None:
    ann = house.person("ann")
    house.gate(needed=2)
    break_glass(house)
    house.gate(needed=2).look()
    countersign(house, ann)
    house.journal.append("change-accepted", reason="a typo", what=["the library"], now={}, operator="olga")
    with pytest.raises(OperatorError, match="one person counts once"):
        countersign(house, ann)


def test_countersigning_what_was_approved_is_refused(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    house.gate().look()
    with pytest.raises(OperatorError, match="nothing to countersign"):
        countersign(house, key)


def test_destructive_production_plan_wants_the_name_of_the_target_typed(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate(typed="")
    house.approve(key)
    found = house.gate(typed="").look()
    assert isinstance(found, Stop) and "has to type the target's name" in found.reason
    assert found.next_command == f"runbook resume {house.folder.name} --confirm-target NAME"
    wrong = house.gate(typed="biling").look()
    assert isinstance(wrong, Stop) and "you typed 'biling'" in wrong.reason.lower()
    with pytest.raises(OperatorError, match="You typed 'biling'"):
        deciding.type_target(house.folder, "swap-it-in", "biling")
    deciding.type_target(house.folder, "swap-it-in", "billing")
    assert isinstance(house.gate(typed="").look(), Passage)
    again = house.gate(typed="", lsn="0/4000028").look()
    assert isinstance(again, Stop) and "has to type" in again.reason, "another plan is typed for anew"


def test_typed_name_alone_opens_nothing(house: GateHouse) -> None:
    found = house.gate(typed="billing").look()
    assert isinstance(found, Stop) and "waits for 1 approval" in found.reason


def test_dry_run_previews_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "dry"))
    house = GateHouse.build(tmp_path / "dry", environment="production", dry_run=True)
    gate = house.gate()
    passage = pass_gate(gate, dry_run=True, interactive=False)
    assert isinstance(passage, Passage) and not passage and passage.state == "previewed"
    assert gate.plan.sha256 in capsys.readouterr().out
    state = house.state
    assert state.gates[0]["state"] == "previewed" and state.verdict == "INCOMPLETE"
    with pytest.raises(OperatorError, match="only previewed"):
        house.approve(house.person("ann"))


def run_of(house: GateHouse, *, interactive: bool = True) -> Run:
    return Run(house.folder.name, house.folder, house.params, {}, house.state, interactive=interactive)


def test_no_step_runs_before_the_gate_that_stands_before_it(house: GateHouse) -> None:
    run = run_of(house)
    with pytest.raises(RunWaiting, match="'Swap' stands behind 'Swap it in'"):
        run.step("Swap", lambda: 1)
    key = house.person("ann")
    house.gate()
    house.approve(key)
    assert run.gate("Swap it in", house.plan())
    assert run.step("Swap", lambda: 1) == 1
    with pytest.raises(RunWaiting, match="waits for 1 approval"):
        run_of(house, interactive=False).gate("Swap it in", house.plan(lsn="0/4000028"))


def test_state_of_a_waiting_gate_is_that_of_its_step(house: GateHouse) -> None:
    house.gate().look()
    steps = {step.name: step.state for step in house.state.steps}
    assert steps == {"Swap it in": StepState.WAITING, "Swap": StepState.NOT_RUN}
    assert (house.state.verdict, house.state.exit_code) == ("WAITING", 3)


def test_panel_writes_the_same_record_and_follows_what_others_file(
    house: GateHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = house.person("ann"), house.person("bob")
    shown = panel.Panel(house.gate(needed=2), house.folder)
    shown.refresh()
    assert f"runbook approve {house.folder.name} swap-it-in --key KEY" in shown.status.value
    shown.approve.click()
    assert "Name your key" in shown.status.value
    shown.key.value, shown.comment.value = str(ann), "from the panel"
    shown.approve.click()
    (filed,) = house.files.decisions()
    assert filed.decision is not None and filed.decision.comment == "from the panel"
    assert "1 more approval of 2" in shown.status.value and not shown.over
    monkeypatch.setattr(panel, "_POLL_SECONDS", 0.01)

    async def watch() -> None:
        task = asyncio.create_task(shown.watch())
        await asyncio.sleep(0.05)
        house.approve(bob)
        await asyncio.wait_for(task, 20)

    asyncio.run(watch())
    assert shown.over and "Run its cell again" in shown.status.value
    assert house.state.gates[0]["state"] == "waiting", "the cell journals the passage, not the panel"
    assert isinstance(house.gate(needed=2).look(), Passage)


def test_panel_takes_the_typed_name_and_a_rejection(house: GateHouse) -> None:
    ann = house.person("ann")
    shown = panel.Panel(house.gate(typed=""), house.folder)
    shown.name.value = "prod"
    shown.confirm.click()
    assert "You typed" in shown.status.value
    shown.name.value = "billing"
    shown.confirm.click()
    assert house.state.gate_book["swap-it-in"].typed
    shown.key.value, shown.comment.value = str(ann), "not at noon"
    shown.reject.click()
    assert shown.over and "rejected by ann@x.example: not at noon" in shown.status.value


def test_archive_gets_every_file_of_the_gate_under_a_plain_name(house: GateHouse) -> None:
    key = house.person("ann")
    house.gate()
    house.approve(key)
    house.gate().look()
    names = set(gate_files(house.folder))
    assert names == {
        "gate-swap-it-in-plan.json",
        "gate-swap-it-in-plan.md",
        "gate-swap-it-in-allowed_signers",
        "gate-swap-it-in-ann-x.example-1.approval.json",
        "gate-swap-it-in-ann-x.example-1.approval.json.sig",
    }
