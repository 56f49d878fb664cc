"""A gate stops the run until other people have signed its plan, wherever the run is executed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from homes import at_home
from house import CONCLUDE, House, Result, finish
from runbook.gates import signers, signing

pytestmark = pytest.mark.faults

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
    assert (house.home / "frozen").read_text() == (house.home / "swapped").read_text() == "x"
    assert (house.home / "seen").read_text() == "xx", "what is observed is observed anew"
    gate = gate_of(house, again)
    (said,) = gate["approvals"]
    assert (gate["state"], said["principal"], said["comment"]) == ("passed", "practice-one@sandbox", "looks right")
    folder = house.home / again.last["record"]
    names = {path.name for path in folder.iterdir()}
    assert {"gate-approve-the-swap-plan.json", f"gate-approve-the-swap-{said['file']}.sig"} <= names
    subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    plan = hashlib.sha256((folder / "gate-approve-the-swap-plan.json").read_bytes()).hexdigest()
    assert plan == gate["plan_sha256"] and plan in (folder / "report.html").read_text()
    assert house.record(first)["gates"][0]["plan_sha256"] == plan, "the record before the approval dates the plan"
    done = house.inside("approve", run, "approve-the-swap", "--key", "var/keys/practice-two", "--yes")
    assert (done.code, done.last["reason"]) == (2, "The gate 'approve-the-swap' has passed already.")


def test_two_practice_people_plan_rejected_and_listed(house: House) -> None:
    house.add_notebook("swap", OBSERVE, GATE.replace("plan)", "plan, needed=2)"), ACT, CONCLUDE)
    first = house.runbook("run", "swap")
    run = first.last["run"]
    listed = house.inside("gates")
    assert (listed.code, listed.last["verdict"]) == (0, "WAITING")
    assert f"{run}  approve-the-swap  waiting, 0 of 2 approvals" in listed.stdout
    asked = house.inside("approve", run, "approve-the-swap", "--key", "var/keys/practice-one")
    assert asked.code == 2 and "no terminal to ask at" in asked.last["reason"]
    assert all(part in asked.stdout for part in ("Stop the server", "all sessions end", "SHA-256")), asked.stdout
    one = approve(house, run)
    assert one.last["next"] == f"runbook approve {run} approve-the-swap --key var/keys/practice-two"
    twice = approve(house, run)
    assert twice.code == 2 and "one person counts once" in twice.last["reason"]
    rejected = approve(house, run, "--reject", "--reason", "not at noon", key="practice-two")
    assert (rejected.code, rejected.last["verdict"]) == (0, "REJECTED"), rejected.stderr
    again = house.runbook("resume", run)
    assert (again.code, again.last["verdict"]) == (4, "INCOMPLETE"), again.stderr
    assert "was rejected by practice-two@sandbox: not at noon" in again.last["reason"]
    assert again.last["next"] == f"runbook abort {run}" and not (house.home / "swapped").exists()
    assert house.runbook("abort", run, "--reason", "as asked").code == 4
    assert house.inside("gates").last["verdict"] == "NONE WAITING"


def test_lock_stays_with_a_waiting_run_that_has_effects_and_only_with_such_a_one(house: House) -> None:
    house.add_notebook("swap", OBSERVE, GATE, ACT, CONCLUDE)
    house.add_notebook(
        "lock", 'run.effects("maintenance is on")', OBSERVE, GATE, ACT, "run.effects(None)", CONCLUDE, number=2
    )
    free = house.runbook("run", "swap")
    held = house.runbook("run", "lock")
    assert (free.code, held.code) == (3, 3), "a run that waits without effects locks nobody out"
    other = house.inside("run", "swap")
    assert (other.code, other.last["verdict"]) == (5, "LOCKED") and held.last["run"] in other.last["reason"]
    assert house.inside("resume", free.last["run"]).code == 5
    assert approve(house, held.last["run"]).code == 0, "an approval takes no lock"
    again = house.runbook("resume", held.last["run"])
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr


def test_break_glass_is_archived_incomplete_and_again_as_pass_when_countersigned(house: House) -> None:
    house.add_notebook("swap", OBSERVE, GATE, ACT, CONCLUDE)
    run = house.runbook("run", "swap").last["run"]
    silent = house.inside("approve", run, "approve-the-swap", "--break-glass", "--yes")
    assert silent.code == 2 and "wants a reason" in silent.last["reason"]
    glass = house.inside("approve", run, "approve-the-swap", "--break-glass", "--reason", "nobody answers", "--yes")
    assert (glass.code, glass.last["verdict"]) == (0, "BREAK-GLASS"), glass.stderr
    alone = house.runbook("resume", run)
    assert (alone.code, alone.last["verdict"]) == (4, "INCOMPLETE"), alone.stderr
    assert (house.home / "swapped").read_text() == "x"
    assert house.record(alone)["limitations"][0].startswith("BREAK-GLASS")
    assert alone.last["next"] == f"runbook countersign {run} approve-the-swap --key var/keys/practice-one"
    before = (house.home / alone.last["record"] / "SHA256SUMS").read_bytes()
    signed = house.inside("countersign", run, "approve-the-swap", "--key", "var/keys/practice-one", "--yes")
    assert (signed.code, signed.last["verdict"]) == (0, "COUNTERSIGNED"), signed.stderr
    record = house.record(signed)
    assert (record["verdict"], record["attempt"]) == ("PASS", 3)
    assert record["previous_record"] == alone.last["record"] != signed.last["record"]
    assert "countersigned by practice-one@sandbox" in record["limitations"][0]
    assert (house.home / alone.last["record"] / "SHA256SUMS").read_bytes() == before
    states = [cell.metadata["runbook"]["state"] for cell in house.executed(signed).cells if cell.cell_type == "code"]
    assert states[-2:] == ["done", "failed"], "the notebook as it ran: its last cell said INCOMPLETE then"
    (file,) = (house.home / signed.last["record"]).glob("gate-approve-the-swap-*.countersign.json")
    about = json.loads(file.read_text())
    assert about["record_sums"] == hashlib.sha256(before).hexdigest()
    assert house.inside("resume", run).code == 2, "it is over"


def test_changed_plan_waits_again_and_accepted_change_voids(house: House) -> None:
    changing = GATE.replace('"point": point', '"point": Path("point").read_text()')
    house.add_notebook("swap", OBSERVE, changing, ACT, CONCLUDE)
    (house.home / "point").write_text("0/1")
    run = house.runbook("run", "swap").last["run"]
    assert approve(house, run).code == 0
    (house.home / "point").write_text("0/2")
    again = house.runbook("resume", run)
    assert again.code == 3 and "the plan has changed since" in again.last["reason"], again.stderr
    assert approve(house, run).code == 0
    path = house.home / "params" / "sandbox.yaml"
    path.write_text(path.read_text().replace("30 min", "31 min"))
    accepted = house.runbook("resume", run, "--accept-change", "a better budget")
    assert accepted.code == 3 and "was accepted, which voids it" in accepted.last["reason"], accepted.stderr
    assert not (house.home / "swapped").exists()


def test_dry_run_previews_its_gates_and_never_waits(house: House) -> None:
    path = house.add_notebook("swap", OBSERVE, GATE, ACT.replace("run.step", "passed and run.step"), CONCLUDE)
    path.write_text(path.read_text().replace("keep = False", "dry_run = True  # change nothing\\nkeep = False"))
    result = house.runbook("run", "swap")
    assert result.code == 4 and gate_of(house, result)["state"] == "previewed", result.stderr
    assert not (house.home / "swapped").exists()
    assert "Swap the restored cluster in" in str(house.executed(result).cells)


def test_production_gate_wants_the_name_typed_and_counts_no_practice_key(house: House) -> None:
    house.add_params("live", "production")
    house.add_notebook("swap", OBSERVE, GATE.replace("plan)", 'plan, typed="")'), ACT, CONCLUDE)
    key = house.home / "ann"
    with at_home(house.home):
        signing.make_key(key, "ann")
        practice = signers.make_practice_keys()[0]
    assert house.inside("keys", "add", "ann@x.example", f"{key}.pub", "--target", "live").code == 0
    assert house.inside("keys", "add", "eve@x.example", f"{practice}.pub", "--target", "live").code == 0
    run = house.runbook("run", "swap", "--target", "live").last["run"]
    fake = house.inside("approve", run, "approve-the-swap", "--key", str(practice), "--yes")
    assert fake.code == 2 and "a practice key of the sandbox" in fake.last["reason"]
    assert house.inside("approve", run, "approve-the-swap", "--key", str(key), "--yes").code == 0
    untyped = house.runbook("resume", run)
    assert untyped.code == 3 and untyped.last["next"] == f"runbook resume {run} --confirm-target NAME", untyped.stderr
    wrong = house.inside("resume", run, "--confirm-target", "life")
    assert wrong.code == 2 and "You typed 'life'" in wrong.last["reason"]
    typed = house.runbook("resume", run, "--confirm-target", "live")
    assert (typed.code, typed.last["verdict"]) == (0, "PASS"), typed.stderr
    assert any("approvals.operators does not say who" in limit for limit in house.record(typed)["limitations"])


def test_plain_papermill_stops_at_the_gate_and_the_run_goes_on_by_resume(house: House) -> None:
    path = house.add_notebook("swap", OBSERVE, GATE, ACT, CONCLUDE)
    stopped = house.runbook(str(path), "out.ipynb", program=[sys.executable, "-m", "papermill"])
    assert stopped.code != 0 and "RunWaiting" in stopped.stderr
    (run,) = house.runs()
    closed = house.runbook("close", run)
    assert (closed.code, closed.last["verdict"]) == (3, "WAITING"), closed.stderr
    assert approve(house, run).code == 0
    again = house.runbook("resume", run)
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr
    assert (house.home / "frozen").read_text() == "x"


def test_killed_after_the_gate_finishes_on_the_same_approval(house: House) -> None:
    die = (
        "import os\ndef swap():\n"
        "    if run.attempt == 2: os.kill(os.getpid(), 9)\n"
        '    Path("swapped").open("a").write("x")\n'
        'run.step("Swap", swap, once=True, probe=lambda: "done" if Path("swapped").exists() else None)'
    )
    house.add_notebook("swap", OBSERVE, GATE, die, CONCLUDE)
    run = house.runbook("run", "swap").last["run"]
    assert approve(house, run).code == 0
    killed = house.runbook("resume", run)
    assert killed.code == 4 and "was killed" in killed.last["reason"], killed.stderr
    again = house.runbook("resume", run)
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr
    assert (house.home / "swapped").read_text() == "x" and gate_of(house, again)["reused"] is True


def test_plain_papermill_of_another_copy_says_that_its_cells_are_not_the_notebook_s(house: House) -> None:
    path = house.add_notebook("swap", 'run.step("Look", lambda: 1)', CONCLUDE)
    honest = house.runbook(str(path), "out.ipynb", "-p", "rows", "4", program=[sys.executable, "-m", "papermill"])
    assert honest.code == 0, honest.stderr
    copy = house.home / "copy.ipynb"
    copy.write_text(path.read_text().replace('run.step(\\"Look\\", lambda: 1)', 'run.step(\\"Look\\", lambda: 2)'))
    assert copy.read_text() != path.read_text()
    other = house.runbook(str(copy), "out2.ipynb", program=[sys.executable, "-m", "papermill"])
    assert other.code == 0, other.stderr
    limits = [house.record(house.runbook("close", run))["limitations"] for run in house.runs()]
    assert limits[0] == []
    assert limits[1] == [
        '1 executed cell is not in the notebook that was asked for; the first: run.step("Look", lambda: 2)'
    ]


def test_countersignature_written_into_the_journal_after_the_runner_was_killed_is_no_pass(house: House) -> None:
    linger = 'import time\ndef swap():\n    Path("ready").touch()\n    time.sleep(600)\nrun.step("Swap", swap)'
    house.add_notebook("swap", OBSERVE, GATE, linger, CONCLUDE)
    run = house.runbook("run", "swap").last["run"]
    glass = house.inside("approve", run, "approve-the-swap", "--break-glass", "--reason", "nobody answers", "--yes")
    assert glass.code == 0, glass.stderr
    process = house.start("resume", run)
    house.wait_for("ready")
    process.kill()
    finish(process)
    plan = next(one["plan"] for one in house.journal(run) if one["event"] == "gate-passed")
    forge(
        house, run,
        {"event": "step-done", "name": "Swap", "seconds": 1.0, "reused": False},
        {"event": "gate-countersigned", "gate": "approve-the-swap", "plan": plan, "principal": "practice-two@sandbox",
         "key": "SHA256:x", "comment": "", "file": "practice-two-sandbox-9.countersign.json", "sha256": "0" * 64,
         "signed_at": "2026-01-01T00:00:00.000000Z", "user": "x@h", "record": "000001-x"},
        {"event": "concluded"},
    )  # fmt: skip
    closed = house.runbook("close", run)
    assert (closed.code, closed.last["verdict"]) == (4, "INCOMPLETE"), closed.stderr
    record = house.record(closed)
    assert "nobody has countersigned it" in record["limitations"][0]
    assert any("says that practice-two@sandbox has countersigned" in text for text in record["limitations"])
    assert house.inside("archive", "verify").code == 0


def test_attempt_whose_runner_was_killed_is_no_pass_by_its_journal_alone(house: House) -> None:
    linger = 'import time\nfrom pathlib import Path\nPath("ready").touch()\ntime.sleep(600)'
    house.add_notebook("swap", 'run.step("Look", lambda: 1)', linger, CONCLUDE)
    for more in (
        [],
        [{"event": "attempt-started", "attempt": 2, "continues": True, "by": "runbook run", "process": None}],
    ):
        (house.home / "ready").unlink(missing_ok=True)
        process = house.start("run", "swap")
        house.wait_for("ready")
        process.kill()
        finish(process)
        run = house.runs()[-1]
        forge(house, run, {"event": "concluded"}, *more)
        closed = house.runbook("close", run)
        assert (closed.code, closed.last["verdict"]) == (4, "INCOMPLETE"), closed.stderr
        assert closed.last["reason"].startswith("The runner died before it had archived this attempt")
        assert closed.last["next"] == f"runbook resume {run}"
        records = [json.loads(path.read_text()) for path in (house.home / "reports" / "records").glob("*/run.json")]
        assert {record["verdict"] for record in records} == {"INCOMPLETE"}


def forge(house: House, run: str, *events: dict[str, Any]) -> None:
    """Lines at the end of a run's journal, by somebody with an editor."""
    path = house.home / "var" / "runs" / run / "journal.jsonl"
    count = len(path.read_text().splitlines())
    with path.open("a") as file:
        for number, event in enumerate(events, start=count + 1):
            file.write(json.dumps({"n": number, "at": "2026-11-30T09:00:00.000000Z", **event}) + "\n")


def test_approval_that_is_killed_while_it_is_judged_leaves_no_decision_behind(house: House) -> None:
    house.add_notebook("swap", OBSERVE, GATE, ACT, CONCLUDE)
    run = house.runbook("run", "swap").last["run"]
    tools, temporary = house.home / "tools", house.home / "temporary"
    for folder in (tools, temporary):
        folder.mkdir()
    program = tools / "ssh-keygen"
    program.write_text(
        f'#!/bin/sh\ncase $* in *check-novalidate*) kill -9 $PPID ;; esac\nexec "{signing.program()}" "$@"\n'
    )
    program.chmod(0o755)
    house.env.update(PATH=f"{tools}:{house.environment['PATH']}", TMPDIR=str(temporary))
    argv = ["approve", run, "approve-the-swap", "--key", "var/keys/practice-one", "--yes"]
    assert house.runbook(*argv).code == -9
    assert list(temporary.iterdir()) == []
    left = sorted(path.name for path in (house.home / "var" / "runs" / run / "gates" / "approve-the-swap").iterdir())
    assert left == ["plan.json", "plan.md"]
