"""A scheduler may start a task twice, in the middle of another, or after a crash: each due time gets one run, and an end."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from controlhouse import a_control
from house import CONCLUDE, FAILING, PASSING, House, wait_until

pytestmark = pytest.mark.faults

SLOW = 'import pathlib, time\npathlib.Path("started").touch()\nwhile not pathlib.Path("go").exists(): time.sleep(0.1)'
BROKEN_ONCE = 'import pathlib\nseen = pathlib.Path("seen")\nif not seen.exists():\n    seen.touch()\n    raise OSError("disk is away")'
RUN = ("schedule", "run", "task", "--target", "billing")


@pytest.fixture
def due(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A task of billing that was due today at 00:00 UTC or on the first of this month, whichever is the later."""
    house.add_params("billing", "production")
    write_control(house)
    return house


def write_control(house: House, **changes: object) -> None:
    day = min(datetime.now(UTC).day, 28)
    fields = {"id": "task", "runbook": "task", "day": f"day {day}", "at": "00:00", "since": "2026-01-01", **changes}
    control = a_control(**fields)
    listed = yaml.safe_dump({"controls": [control.model_dump(mode="json")]})
    (house.home / "params" / "controls.yaml").write_text(listed)


def test_due_time_gets_one_run_and_its_record_says_how_late_it_was(due: House) -> None:
    due.add_notebook("task", PASSING, CONCLUDE)
    first = due.runbook(*RUN)
    assert (first.code, first.last["verdict"]) == (0, "PASS"), first.stderr
    record = due.record(first)
    scheduled = datetime.fromisoformat(record["scheduled_for"])
    assert scheduled.time().isoformat() == "00:00:00"
    (lateness,) = [one for one in record["measures"] if one["name"] == "lateness"]
    assert lateness["unit"] == "s"
    late = (datetime.fromisoformat(record["started_at"]) - scheduled).total_seconds()
    assert lateness["value"] == pytest.approx(late, abs=5)
    again = due.runbook(*RUN)
    assert (again.code, again.last["run"]) == (0, first.last["run"])
    assert len(due.runs()) == 1


def test_daily_task_has_one_run_a_day(due: House) -> None:
    write_control(due, every="day", day="")
    due.add_notebook("task", PASSING, CONCLUDE)
    first = due.runbook(*RUN, "--only-on-day")
    assert (first.code, first.last["verdict"]) == (0, "PASS"), first.stderr
    scheduled = datetime.fromisoformat(due.record(first)["scheduled_for"])
    assert scheduled.date() == datetime.fromisoformat(due.record(first)["started_at"]).date()
    assert due.runbook(*RUN, "--only-on-day").last["run"] == first.last["run"]
    assert len(due.runs()) == 1


def test_scheduled_for_of_a_run_by_hand_is_recorded_with_its_lateness(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    due_at = datetime.now(UTC) - timedelta(hours=2)
    result = house.runbook("run", "fine", "--scheduled-for", due_at.isoformat())
    (lateness,) = [one for one in house.record(result)["measures"] if one["name"] == "lateness"]
    assert lateness["value"] == pytest.approx(7200, abs=60)
    report = (house.home / result.last["record"] / "report.html").read_text()
    assert "Opened after it was due" in report


def test_run_that_broke_off_is_resumed_until_it_passes(due: House) -> None:
    due.add_notebook("task", BROKEN_ONCE, PASSING, CONCLUDE)
    first = due.start(*RUN)
    stdout, stderr = first.communicate(timeout=120)
    assert first.returncode == 0, stderr
    assert len(due.runs()) == 1
    assert len(list((due.home / "reports" / "records").iterdir())) == 2
    assert json.loads(stdout.splitlines()[-1])["verdict"] == "PASS"


def test_run_that_failed_is_not_repeated(due: House) -> None:
    due.add_notebook("task", FAILING, CONCLUDE)
    assert [due.runbook(*RUN).code for _ in range(2)] == [1, 1]
    assert len(due.runs()) == 1


def test_run_that_was_stopped_by_a_signal_is_not_resumed_by_itself(due: House) -> None:
    due.add_notebook("task", SLOW, PASSING, CONCLUDE)
    process = due.start(*RUN)
    due.wait_for("started")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 4
    assert len(list((due.home / "reports" / "records").iterdir())) == 1


def test_deadline_ends_the_run_as_incomplete(due: House) -> None:
    write_control(due, deadline="4 s")
    due.add_notebook("task", SLOW, PASSING, CONCLUDE)
    result = due.runbook(*RUN)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "timeout" in result.last["reason"]


def test_second_start_is_told_that_one_is_at_work_and_a_waiting_one_goes_on_after_it(due: House) -> None:
    due.add_notebook("task", SLOW, PASSING, CONCLUDE)
    first = due.start(*RUN)
    due.wait_for("started")
    second = due.runbook(*RUN)
    assert second.code == 5, second.stdout
    waiting = due.start(*RUN, "--wait")
    (due.home / "go").touch()
    first.communicate(timeout=60)
    _, stderr = waiting.communicate(timeout=90)
    assert (first.returncode, waiting.returncode) == (0, 0), stderr
    assert len(due.runs()) == 1, "the due time had its run already"


def test_locked_target_exits_5_and_is_run_when_the_lock_is_free(due: House) -> None:
    due.add_notebook("task", PASSING, CONCLUDE)
    due.add_notebook("other", SLOW, PASSING, CONCLUDE, number=2)
    other = due.start("run", "other", "--target", "billing")
    due.wait_for("started")
    assert due.runbook(*RUN).code == 5
    (due.home / "go").touch()
    other.communicate(timeout=60)
    assert due.runbook(*RUN).code == 0


def test_run_whose_runner_was_killed_is_resumed_by_the_next_start(due: House) -> None:
    due.add_notebook("task", SLOW, PASSING, CONCLUDE)
    process = due.start(*RUN)
    due.wait_for("started")
    process.kill()
    process.communicate(timeout=30)
    (due.home / "go").touch()
    wait_until(lambda: process.poll() is not None)
    result = due.runbook(*RUN)
    assert result.code == 0, result.stderr
    assert len(due.runs()) == 1
    assert due.record(result)["attempt"] == 2


def test_other_day_and_other_target_start_nothing(due: House) -> None:
    due.add_notebook("task", PASSING, CONCLUDE)
    other = (datetime.now(UTC).day + 9) % 28 + 1
    write_control(due, day=f"day {other}")
    result = due.runbook(*RUN, "--only-on-day")
    assert (result.code, result.last["verdict"], due.runs()) == (0, "NOT DUE", [])
    write_control(due, since=f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}")
    assert due.runbook(*RUN).last["verdict"] == "NOT DUE"
    refused = due.runbook("schedule", "run", "task", "--target", "sandbox")
    assert (refused.code, due.runs()) == (2, [])
    assert "is not due of 'sandbox'" in refused.last["reason"]


def test_parameters_of_the_control_are_those_of_the_run(due: House, tmp_path: Path) -> None:
    write_control(due, parameters={"rows": "7"})
    due.add_notebook("task", PASSING, CONCLUDE)
    assert due.record(due.runbook(*RUN))["parameters"]["rows"] == 7
