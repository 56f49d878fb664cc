"""`archive verify` believes no record about its gates: whoever has the runner's key still cannot make another person's signature."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archivehouse import House, edit, resign, resum
from gatehouse import GateHouse
from runbook import layout
from runbook.gates.decision import Kind
from runbook.runner import countersigning
from runbook.runner.closing import close_attempt
from runbook.session import deciding, opengate


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home", environment="production")


def finish(gate: GateHouse) -> None:
    gate.journal.append("step-started", name="Swap", once=False)
    gate.journal.append("step-done", name="Swap", seconds=1.0, reused=False)
    gate.journal.append("concluded")


def approved(gate: GateHouse) -> Path:
    """The record of a run that Bob has approved."""
    gate.person("olga")
    gate.gate()
    gate.approve(gate.person("bob"))
    gate.gate().look()
    finish(gate)
    return layout.resolve(close_attempt(gate.folder).records[-1])


def glass(gate: GateHouse, *, signed: bool) -> Path:
    """The newest record of a run that was passed by break-glass."""
    bob = gate.person("bob")
    gate.gate()
    deciding.decide(opengate.look_at(gate.folder, "swap-it-in"), Kind.BREAK_GLASS, key=None, comment="nobody answers")
    gate.gate().look()
    finish(gate)
    state = close_attempt(gate.folder)
    if signed:
        _, state = countersigning.countersign_run(opengate.look_at_glass(gate.folder, "swap-it-in"), key=bob)
    return layout.resolve(state.records[-1])


def said_by(gate: GateHouse) -> list[str]:
    return [str(problem) for problem in House(gate.home).verify().problems]


def rewrite(gate: GateHouse, record: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Whoever has the runner's key writes another run.json, and signs the record again."""
    content = json.loads((record / "run.json").read_text())
    change(content)
    edit(record / "run.json", lambda _: json.dumps(content))
    seal(gate, record)


def seal(gate: GateHouse, record: Path) -> None:
    resum(record)
    resign(record, House(gate.home).key)


def test_approved_and_countersigned_records_verify(gate: GateHouse) -> None:
    record = glass(gate, signed=True)
    assert json.loads((record / "run.json").read_text())["verdict"] == "PASS"
    assert said_by(gate) == []


def other_person(said: dict[str, Any]) -> None:
    said["gates"][0]["approvals"][0]["principal"] = "ann@x.example"


def other_comment(said: dict[str, Any]) -> None:
    said["gates"][0]["approvals"][0]["comment"] = "I have seen the lost rows, too"


def nobody(said: dict[str, Any]) -> None:
    said["gates"][0]["approvals"] = []


def other_plan(said: dict[str, Any]) -> None:
    said["gates"][0]["plan_sha256"] = "0" * 64


def for_two(said: dict[str, Any]) -> None:
    said["gates"][0]["needed"] = 2


def other_run(said: dict[str, Any]) -> None:
    said["run"] = "20260101T000000Z-swap-0000"


def other_code(said: dict[str, Any]) -> None:
    said["inputs_sha256"] = "0" * 64


def run_by_the_approver(said: dict[str, Any]) -> None:
    said["operators"] = ["root", "BOB@x.example"]


def still_waiting(said: dict[str, Any]) -> None:
    said["gates"][0]["state"] = "waiting"


def previewed(said: dict[str, Any]) -> None:
    said["gates"][0].update(state="previewed", approvals=[])


def skipped(said: dict[str, Any]) -> None:
    said["attempt"] = 2


def twice(said: dict[str, Any]) -> None:
    said["gates"][0]["needed"] = 2
    said["gates"][0]["approvals"] *= 2


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (other_person, "about another person"),
        (other_comment, "about another comment"),
        (nobody, "needs 1 approvals of different people, and 0 are signed"),
        (other_plan, "no plan with the hash 000000000000… is in the record"),
        (for_two, "needs 2 approvals"),
        (twice, "needs 2 approvals of different people, and 1 are signed"),
        (other_run, "about another run"),
        (other_code, "another notebook, library, params or SQL than what ran"),
        (run_by_the_approver, "by an operator of the run"),
        (previewed, "previewed, but the run was no dry run"),
        (still_waiting, "the verdict is PASS, but the gate is waiting"),
    ],
)
def test_record_that_claims_more_than_was_signed_is_told(
    gate: GateHouse, forge: Callable[[dict[str, Any]], None], why: str
) -> None:
    record = approved(gate)
    assert said_by(gate) == []
    rewrite(gate, record, forge)
    found = said_by(gate)
    assert any("the gate 'swap-it-in': " in text and why in text for text in found), found


def test_attempt_without_a_record_is_told(gate: GateHouse) -> None:
    record = approved(gate)
    rewrite(gate, record, skipped)
    assert any("is of attempt 2 of" in text and "attempt 1 is due" in text for text in said_by(gate)), said_by(gate)


def test_signed_file_that_was_taken_away_or_exchanged_is_told(gate: GateHouse) -> None:
    record = approved(gate)
    (file,) = record.glob("gate-swap-it-in-*.approval.json")
    signature = file.with_name(file.name + ".sig")
    kept = {path: path.read_bytes() for path in (file, signature)}
    signature.unlink()
    seal(gate, record)
    assert any("is not signed" in text for text in said_by(gate))
    for path, data in kept.items():
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    file.unlink()
    seal(gate, record)
    assert any("has no file" in text for text in said_by(gate))
    forged = gate.forge(gate.person("olga"), "bob")
    for name, path in ((file.name, forged), (signature.name, forged.with_name(forged.name + ".sig"))):
        (record / name).unlink(missing_ok=True)
        shutil.copy(path, record / name)
    rewrite(gate, record, lambda said: said["gates"][0]["approvals"][0].update(_like(forged)))
    assert any("does not verify" in text for text in said_by(gate)), said_by(gate)


def _like(file: Path) -> dict[str, Any]:
    said = json.loads(file.read_text())
    return {name: said[name] for name in ("key", "at", "comment")}


def test_countersignature_without_its_file_is_told(gate: GateHouse) -> None:
    record = glass(gate, signed=False)
    one = {
        "principal": "bob@x.example",
        "key": "k",
        "comment": "",
        "file": "bob-2.countersign.json",
        "record": "r",
        "at": "2026",
    }

    def forge(said: dict[str, Any]) -> None:
        said.update(verdict="PASS", exit_code=0)
        said["gates"][0].update(countersigned=[one], wants_countersigning=False)

    rewrite(gate, record, forge)
    assert any("the countersign of bob@x.example has no file" in text for text in said_by(gate))
    rewrite(gate, record, lambda said: said["gates"][0].update(countersigned=[]))
    assert any("needs 1 countersignatures" in text for text in said_by(gate))


def test_countersignature_of_another_record_is_told(gate: GateHouse) -> None:
    record = glass(gate, signed=True)
    first = House(gate.home).record(1)
    edit(first / "report.html", lambda text: text + " ")
    seal(gate, first)
    assert any("is about another 000001-" in text for text in said_by(gate))
    assert record.name.startswith("000002-")
