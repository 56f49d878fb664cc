"""A record claims no decision that the signed files do not bear out, whatever was written into the journal or the folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from gatehouse import GateHouse
from runbook import clock, layout
from runbook.archive.records import read_record
from runbook.errors import OperatorError
from runbook.gates.decision import Kind
from runbook.model import RunRecord
from runbook.runner import countersigning
from runbook.runner.closing import close_attempt
from runbook.runner.tampering import refuse_tampered
from runbook.session import deciding, opengate
from runbook.session.fold import fold
from runbook.session.journal import read_events
from runbook.session.proof import prove
from runbook.session.request import JOURNAL


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home", environment="production")


def finish(house: GateHouse) -> None:
    house.journal.append("step-started", name="Swap", once=False)
    house.journal.append("step-done", name="Swap", seconds=1.0, reused=False)
    house.journal.append("concluded")


def close(house: GateHouse) -> RunRecord:
    """The newest record, after the run was closed."""
    state = close_attempt(house.folder)
    return read_record(layout.resolve(state.records[-1]))


def passed_by_glass(house: GateHouse) -> None:
    house.gate()
    deciding.decide(opengate.look_at(house.folder, "swap-it-in"), Kind.BREAK_GLASS, key=None, comment="nobody answers")
    house.gate().look()
    finish(house)


def say_countersigned(house: GateHouse, file: str, who: str = "bob@x.example", **more: Any) -> None:
    """The line that a countersignature leaves in the journal."""
    said: dict[str, Any] = {
        "gate": "swap-it-in", "plan": house.plan().sha256, "principal": who, "key": "SHA256:x", "comment": "", "file": file,
        "sha256": "0" * 64, "signed_at": clock.stamp(clock.now()), "user": "bob@h1", "record": "000001-x",
    }  # fmt: skip
    house.journal.append("gate-countersigned", **said | more)


def say_passed(house: GateHouse, **more: Any) -> None:
    """The line that a passage leaves in the journal."""
    approval = {
        "principal": "bob@x.example", "key": "SHA256:x", "at": clock.stamp(clock.now()), "expires": "2099-01-01T00:00:00.000000Z",
        "comment": "", "user": "bob@h1", "file": "bob-x.example-1.approval.json",
    }  # fmt: skip
    said: dict[str, Any] = {
        "gate": "swap-it-in", "plan": house.plan().sha256, "approvals": [approval], "break_glass": None, "void": [],
        "next_command": None, "passed_at": clock.stamp(clock.now()), "reused": False, "signers_sha256": None,
        "target_typed": False,
    }  # fmt: skip
    house.journal.append("gate-passed", **said | more)


def test_countersignature_that_only_the_journal_knows_is_no_pass(house: GateHouse) -> None:
    passed_by_glass(house)
    say_countersigned(house, "bob-x.example-9.countersign.json")
    record = close(house)
    assert record.verdict == "INCOMPLETE" and "not countersigned yet" in record.reason
    assert "nobody has countersigned it" in record.limitations[0]
    assert (
        "says that bob@x.example has countersigned the gate 'Swap it in', but there is no countersignature"
        in (record.limitations[1])
    )
    assert record.gates[0]["countersigned"] == [] and record.gates[0]["wants_countersigning"] is True


def test_countersignature_by_the_operator_or_about_no_record_is_no_pass(house: GateHouse) -> None:
    olga, bob = house.person("olga"), house.person("bob")
    passed_by_glass(house)
    forged = house.forge(olga, "olga", decision=Kind.COUNTERSIGN)
    say_countersigned(house, forged.name, "olga@x.example")
    elsewhere = house.forge(bob, "bob", decision=Kind.COUNTERSIGN, record="000007-x", record_sums="0" * 64)
    say_countersigned(house, elsewhere.name)
    record = close(house)
    assert record.verdict == "INCOMPLETE" and record.gates[0]["countersigned"] == []
    assert any("an operator of this run" in text for text in record.limitations)
    assert any("about the record 000007-x, which is not in the archive" in text for text in record.limitations)


def test_countersignature_that_was_signed_counts_at_closing(house: GateHouse) -> None:
    bob = house.person("bob")
    passed_by_glass(house)
    assert close(house).verdict == "INCOMPLETE"
    opened = opengate.look_at_glass(house.folder, "swap-it-in")
    decided, state = countersigning.countersign_run(opened, key=bob)
    record = read_record(layout.resolve(state.records[-1]))
    assert (record.verdict, decided.missing) == ("PASS", 0)
    assert "countersigned by bob@x.example" in record.limitations[0]


def approved_by_nobody(house: GateHouse) -> None:
    say_passed(house)


def approved_for_another_run(house: GateHouse) -> None:
    house.forge(house.person("bob"), "bob", run="20260101T000000Z-swap-0000")
    say_passed(house)


def approved_by_the_operator(house: GateHouse) -> None:
    house.forge(house.person("olga"), "olga")
    say_passed(house)


def approved_and_altered(house: GateHouse) -> None:
    file = house.approve(house.person("bob"))
    file.write_bytes(file.read_bytes().replace(b'"comment": ""', b'"comment": "all of it"'))
    say_passed(house)


def approved_before_the_plan_was_edited(house: GateHouse) -> None:
    house.approve(house.person("bob"))
    path = house.files.path / "plan.json"
    path.write_text(path.read_text().replace("Stop the server", "Drop the server"))
    say_passed(house)


def approved_by_one_of_two(house: GateHouse) -> None:
    house.gate(needed=2)
    house.approve(house.person("bob"))
    house.journal.append(
        "gate-opened", gate="swap-it-in", title="Swap it in", plan=house.plan().sha256, needed=1, replaces=None,
        content=house.plan().model_dump(mode="json"),
    )  # fmt: skip
    say_passed(house)


def approved_for_other_code(house: GateHouse) -> None:
    house.forge(house.person("bob"), "bob", inputs="0" * 64)
    say_passed(house)


def shown_another_plan(house: GateHouse) -> None:
    house.approve(house.person("bob"))
    content = house.plan().model_dump(mode="json") | {"undo": "Nothing can go wrong."}
    house.journal.append(
        "gate-opened", gate="swap-it-in", title="Swap it in", plan=house.plan().sha256, needed=1, replaces=None, content=content
    )  # fmt: skip
    say_passed(house)


def broken_by_nobody(house: GateHouse) -> None:
    glass = {
        "principal": "olga@x.example",
        "at": clock.stamp(clock.now()),
        "comment": "?",
        "file": "olga-1.break-glass.json",
    }
    say_passed(house, approvals=[], break_glass=glass, next_command="runbook countersign")


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (approved_by_nobody, "0 of 1 approvals are borne out"),
        (approved_for_another_run, "about another run"),
        (approved_by_the_operator, "an operator of this run"),
        (approved_and_altered, "altered after it was signed"),
        (approved_before_the_plan_was_edited, "the plan's file is gone or was altered"),
        (approved_by_one_of_two, "a gate that needs 2 approvals, not 1"),
        (approved_for_other_code, "another notebook, library, params or SQL"),
        (shown_another_plan, "the journal shows another plan"),
        (broken_by_nobody, "no break-glass record"),
    ],
)
def test_passage_that_no_signed_decision_bears_out_is_no_pass(
    house: GateHouse, forge: Callable[[GateHouse], None], why: str
) -> None:
    house.gate()
    forge(house)
    finish(house)
    record = close(house)
    assert record.verdict == "INCOMPLETE" and why in record.reason, record.reason
    assert record.gates[0]["state"] == "unproven" and record.gates[0]["approvals"] == []
    assert record.limitations[0].startswith("NOT BORNE OUT: the journal")


def test_approvals_that_a_waiting_gate_names_are_those_that_were_signed(house: GateHouse) -> None:
    house.gate(needed=2)
    house.approve(house.person("ann"))
    house.gate(needed=2).look()
    (waiting,) = [one for one in read_events(house.folder / JOURNAL) if one["event"] == "gate-waiting"]
    said = {key: value for key, value in waiting.items() if key not in ("n", "at", "event")}
    two = [*said["approvals"], {**said["approvals"][0], "principal": "bob@x.example"}]
    house.journal.append("gate-waiting", **said | {"approvals": two, "reason": "It waits for the second."})
    record = close(house)
    assert [one["principal"] for one in record.gates[0]["approvals"]] == ["ann@x.example"]


def test_approved_run_passes_and_a_line_that_is_no_journal_s_is_told_with_its_number(house: GateHouse) -> None:
    house.gate()
    house.approve(house.person("bob"))
    house.gate().look()
    finish(house)
    record = close(house)
    assert (record.verdict, record.gates[0]["approvals"][0]["principal"]) == ("PASS", "bob@x.example")
    assert {"olga@x.example"} < set(record.operators), "users, and the people that these are"
    house.journal.append("gate-countersigned", gate="swap-it-in")
    said = fold(prove(house.folder, read_events(house.folder / JOURNAL))).limits[0]
    assert "no plan of that gate was passed by break-glass" in said
    house.journal.append("check", check={"id": "x"})
    with pytest.raises(Exception, match=r"line \d+ \('check'\) is none that this library writes"):
        close_attempt(house.folder)


def test_preview_and_a_step_in_the_gate_s_name_pass_no_gate(house: GateHouse) -> None:
    house.gate()
    house.journal.append("gate-previewed", gate="swap-it-in", plan=house.plan().sha256)
    finish(house)
    record = close(house)
    assert record.verdict == "INCOMPLETE" and "a gate is previewed in a dry run only" in record.reason
    house.start(2)
    house.journal.append("step-started", name="Swap it in", once=False)
    house.journal.append("step-done", name="Swap it in", seconds=1.0, reused=False)
    finish(house)
    record = close(house)
    assert record.verdict == "INCOMPLETE" and "neither a gate nor a question was opened for it" in record.reason


def test_line_that_a_living_process_has_read_cannot_be_taken_away(house: GateHouse) -> None:
    house.gate()
    house.approve(house.person("bob"))
    house.gate().look()
    check = {"id": "a", "title": "a", "status": "FAIL", "expected": "1", "observed": "2", "reason": "It is 2."}
    house.journal.append("check", check=check)
    finish(house)
    assert house.state.verdict == "FAIL"
    rewrite(house, lambda events: [one for one in events if one["event"] != "check"])
    record = close(house)
    assert record.verdict == "INCOMPLETE" and "were changed or removed while it worked" in record.reason


def test_environment_is_the_one_of_the_target_s_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    house = GateHouse.build(tmp_path / "home", environment="sandbox")
    for name in ("request.json", JOURNAL):
        path = house.folder / name
        path.write_text(path.read_text().replace('"environment": "sandbox"', '"environment": "production"'))
    assert "has the environment 'production'; params/billing.yaml says 'sandbox'" in str(close(house).limitations)


def rewrite(house: GateHouse, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """The journal as somebody without care for the past would leave it."""
    path = house.folder / JOURNAL
    events = change([json.loads(line) for line in path.read_text().splitlines()])
    numbered = [{**one, "n": number} for number, one in enumerate(events, start=1)]
    path.write_text("".join(json.dumps(one) + "\n" for one in numbered))


def test_journal_altered_before_the_newest_record_goes_no_further(house: GateHouse) -> None:
    house.gate().look()
    assert close(house).verdict == "WAITING"
    refuse_tampered(house.folder, house.state)
    rewrite(house, lambda events: [{**one, "needed": 0} if one["event"] == "gate-opened" else one for one in events])
    with pytest.raises(OperatorError, match=r"first \d+ lines are not those that the record 000001-"):
        refuse_tampered(house.folder, house.state)
    house.start(2)
    house.gate()
    house.journal.append("limit", text="forged")
    record = close(house)
    assert record.verdict == "WAITING" and "were changed" in record.limitations[0]


def test_run_that_runs_does_not_list_or_lists_otherwise_is_no_pass(house: GateHouse) -> None:
    house.journal.append("step-started", name="Look", once=False)
    other = house.folder.with_name(house.folder.name[:-4] + "beef")
    shutil.copytree(house.folder, other)
    for name in ("request.json", JOURNAL):
        (other / name).write_text((other / name).read_text().replace(house.folder.name, other.name))
    state = close_attempt(other)
    assert state.verdict == "INCOMPLETE" and "RUNS does not list the run" in state.reason
    request = house.folder / "request.json"
    request.write_text(request.read_text().replace('"production"', '"sandbox"'))
    assert "do not say the same about environment" in close(house).reason


def test_run_s_own_notebook_that_was_changed_is_told_in_the_record(house: GateHouse) -> None:
    path = house.folder / "source.ipynb"
    before = sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace("run.step", "run.stop"))
    assert any("source.ipynb is not what was executed" in text and before in text for text in close(house).limitations)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.chmod(0o664), "can be written by its group (mode 0664)"),
        (lambda path: path.chmod(0o666), "can be written by every user of this machine (mode 0666)"),
        (lambda path: path.parent.chmod(0o777), "is in the folder params, which can be written by every user"),
        (lambda path: path.rename(path.with_name("keys")) and path.symlink_to("keys"), "is a symbolic link to"),
        (lambda path: os.chown(path, 65534, -1) if os.geteuid() == 0 else path.chmod(0o666), "every user|another user"),
        (lambda path: None, "is in no git checkout"),
        (lambda path: path.write_text(path.read_text() + "# more\n"), "was changed since the run was opened"),
    ],
)
def test_signers_that_somebody_else_could_have_written_are_a_limitation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object], says: str
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    house = GateHouse.build(tmp_path / "home", environment="production")
    bob = house.person("bob")
    spoil(layout.params() / "allowed_signers")
    house.gate()
    house.approve(bob)
    house.gate().look()
    finish(house)
    record = close(house)
    assert record.verdict == "PASS"
    found = [text for text in record.limitations if text.startswith("Whose keys approve: params/allowed_signers")]
    assert any(one in text for text in found for one in says.split("|")), found
