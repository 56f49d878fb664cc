"""Recoveries under trouble: signals, a second one at once, hooks that fail, hang or half succeed, and timelines of an earlier recovery."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from recovering import ANSWERS, Recovering, Said, figure, processes, suffer
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]

VEHICLES = "SELECT count(*) FROM public.vehicles"


def change_params(home: Path, **sections: dict[str, Any]) -> None:
    path = home / "params" / "sandbox.yaml"
    text = yaml.safe_load(path.read_text())
    for name, values in sections.items():
        text[name] = {**text.get(name, {}), **values}
    path.write_text(yaml.safe_dump(text))


def wait_for_step(recovery: Recovering, process: subprocess.Popen[str], step: str, times: int = 1) -> None:
    """The step has begun, as often as that over all attempts."""
    deadline = time.monotonic() + 120
    while sum(event["event"] == "step-started" and event["name"] == step for event in recovery.journal()) < times:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the run never came to {step}: {process.communicate()}")
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_during_the_restore_is_a_stop_and_resume_finishes(live_home: Path, number: int) -> None:
    sandbox, truth = suffer()
    damaged = figure(sandbox, VEHICLES)
    recovery = Recovering()
    assert recovery.start().code == 3
    assert recovery.approve("approve-the-recovery").code == 0
    process = recovery.command("resume", recovery.run)
    wait_for_step(recovery, process, "Restore the backup beside production")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    stopped = Said(process.returncode, stdout, stderr)
    assert (stopped.code, stopped.last["verdict"]) == (4, "INCOMPLETE"), stdout + stderr
    assert any("NOT TAKEN BACK" in limit for limit in stopped.record["limitations"]), (
        "the database is closed, and it says so"
    )
    assert processes(recovery.run) == [], "nothing of the run goes on by itself"
    assert figure(sandbox, VEHICLES) == damaged
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert str(last.record["facts"]["damage"]["first_left_out"]) == truth["xid"]


def test_second_recovery_at_the_same_moment_is_locked_out(live_home: Path) -> None:
    suffer()
    both = [Recovering(), Recovering()]
    started = [one.command(*one.start_words()) for one in both]
    said = []
    for process in started:
        stdout, stderr = process.communicate(timeout=240)
        said.append(Said(process.returncode, stdout, stderr))
    assert sorted(one.code for one in said) == [3, 5], [one.stdout + one.stderr for one in said]
    winner = next(one for one in said if one.code == 3)
    locked = next(one for one in said if one.code == 5)
    assert winner.last["run"] in locked.stdout + locked.stderr, "it says who holds the target"
    recovery = both[said.index(winner)]
    recovery.run = winner.last["run"]
    last = recovery.go_on(winner)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr


def test_recovery_after_a_recovery_and_to_the_timeline_that_was_left(live_home: Path) -> None:
    """The second recovery follows the new timeline; the third wants a point that only the timeline before has."""
    _, truth = suffer()
    first = Recovering()
    last = first.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    left = last.record["facts"]["loss"]["last"]["lsn"]
    sandbox, later = suffer("bad-update", seed=8)
    second = Recovering()
    last = second.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert str(last.record["facts"]["damage"]["first_left_out"]) == later["xid"]
    assert last.record["facts"]["recovery_point"]["timeline"] == 2
    assert sorted(path.name for path in sandbox.archive.glob("*.history")) == ["00000002.history", "00000003.history"]
    third = Recovering({**ANSWERS, "recovery_point": left, "timeline": "1", "suspects": ""})
    last = third.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert last.record["facts"]["recovery_point"]["timeline"] == 1
    assert figure(sandbox, "SELECT timeline_id FROM pg_control_checkpoint()") == 4
    gone = figure(sandbox, f"SELECT count(*) FROM public.vehicles WHERE year = {truth['year']}")
    assert gone == 0, "the first damage is back: its timeline was asked for"
    assert {path.name for path in sandbox.archive.glob("*.history")} == {
        f"0000000{number}.history" for number in (2, 3, 4)
    }


def test_failed_smoke_test_is_never_accepted_by_an_answer_given_before(live_home: Path, tmp_path: Path) -> None:
    """Hooks fail, hang and half succeed; each is said, and the recovery goes on as far as it is safe."""
    tmp_path.chmod(0o755)
    calls, well = tmp_path / "calls", tmp_path / "well"

    def hook(name: str, then: str, **more: Any) -> dict[str, Any]:
        return {"command": ["sh", "-c", f"echo {name} >> {calls}; {then}"], **more}

    change_params(
        live_home,
        hooks={
            "maintenance_on": hook("maintenance_on", "sleep 60", timeout="1 s"),
            "maintenance_off": hook("maintenance_off", "true"),
            "expiry_freeze": hook("expiry_freeze", "echo half; exit 3"),
            "expiry_thaw": hook("expiry_thaw", "true"),
            "smoke_tests": [hook("smoke-one", "true"), hook("smoke-two", f"test -f {well}")],
            "status_page": {"http": {"url": "http://127.0.0.1:9/status"}, "timeout": "2 s"},
        },
    )
    sandbox, _ = suffer()
    recovery = Recovering()
    waiting = recovery.go_on(recovery.start())
    assert (waiting.code, waiting.last["verdict"]) == (3, "WAITING"), waiting.stdout + waiting.stderr
    assert "choose-the-way-on" in waiting.last["next"] and "What was given is not taken" in waiting.last["reason"]
    assert recovery.say("answer", recovery.run, "choose-the-way-on", "promote", "--reason", "looked").code == 0
    waiting = recovery.go_on(recovery.resume())
    assert "accept-the-recovery" in waiting.last["next"], "a smoke test that failed is not accepted"
    opened = [event["name"] for event in recovery.journal() if event["event"] == "step-started"]
    assert "Open production" not in opened
    with need_sandbox().connect(user="dealerscope_app", settings={}, read_only=None) as application:
        assert next(iter(application.execute("SHOW default_transaction_read_only").fetchone().values())) == "on"
    states = {check["id"]: check["status"] for check in waiting.record["checks"]}
    assert states["recovery-smoke-test-1"] == "PASS" and states["recovery-smoke-test-2"] == "UNKNOWN"
    well.touch()
    waiting = recovery.go_on(recovery.resume())
    states = {check["id"]: check["status"] for check in waiting.record["checks"]}
    assert states["recovery-smoke-test-2"] == "PASS"
    assert recovery.say("answer", recovery.run, "accept-the-recovery", "accept", "--reason", "looked").code == 0
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (4, "INCOMPLETE"), "the status page still says that the service is down"
    states = {check["id"]: check["status"] for check in last.record["checks"]}
    assert states["recovery-status-page"] == "UNKNOWN"
    called = calls.read_text().split()
    assert called.count("smoke-one") == 1 and called.count("smoke-two") == 2
    assert called.count("maintenance_off") == 1 and called.count("expiry_thaw") == 1
    assert figure(sandbox, "SHOW default_transaction_read_only", user="dealerscope_app") == "off"
