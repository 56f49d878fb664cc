"""What a scheduler is given runs on the due days and on no other, in the control's zone, once, with an end."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlhouse import a_control, at, write_params
from cronsim import CronSim
from runbook.cli.main import run_cli
from runbook.errors import OperatorError
from runbook.params.controls import Control
from runbook.schedule.cron import command, cron_files, cron_line
from runbook.schedule.jobs import Job, Place, plan_jobs
from runbook.schedule.kubernetes import cron_fields, cron_job, kubernetes_files
from runbook.schedule.systemd import on_calendar, systemd_files

SCHEMA = Path(__file__).parents[1] / "data" / "kubernetes" / "batch-1.34.json"

CONTROLS = {
    "first Sunday": a_control(at="03:00", time_zone="Europe/Berlin"),
    "first Monday of a quarter": a_control(every="quarter", day="first Monday", at="06:30"),
    "day 15 of a half-year": a_control(every="half-year", day="day 15", at="08:00", month=2, time_zone="America/New_York"),
    "every day": a_control(every="day", day="", at="06:15", time_zone="Europe/Berlin", grace="12 h"),
    "first Saturday of October": a_control(every="year", day="first Saturday", at="23:45", month=10, time_zone="Asia/Kathmandu"),
}  # fmt: skip
BEGIN, END = at("2026-01-01T00:00:00"), at("2028-01-01T00:00:00")


def due_times(control: Control) -> list[datetime]:
    periods = control.calendar.periods(BEGIN, END)
    return [one.due_at for one in periods if BEGIN <= one.due_at < END]


def place(tmp_path: Path, **changes: str) -> Place:
    fields = {"program": "/bin/true", "home": str(tmp_path), "user": "postgres", "environment_file": "/nonexistent/env"}
    return Place(**{**fields, **changes})


def test_first_sunday_is_what_an_independent_library_says_it_is() -> None:
    (expected,) = (list(itertools.islice(CronSim("0 3 * * 0#1", BEGIN - timedelta(days=1)), 24)),)
    assert due_times(a_control()) == [moment.astimezone(UTC) for moment in expected]


@pytest.fixture
def dated(tmp_path: Path) -> Iterator[Any]:
    """Run a shell command as of a moment: `date` in its PATH is the real one, asked for that moment."""
    shim = tmp_path / "bin" / "date"
    shim.parent.mkdir()
    real = shutil.which("date")
    shim.write_text(f'#!/bin/sh\nexec {real} -d "@$MOMENT" "$@"\n')
    shim.chmod(0o755)

    def run(line: str, moment: datetime) -> str:
        env = {"PATH": f"{shim.parent}:/usr/bin:/bin", "MOMENT": str(int(moment.timestamp())), "TZ": "Asia/Tokyo"}
        return subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, text=True, check=True).stdout

    yield run


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_cron_line_starts_at_the_due_times_and_at_no_other_time_of_two_years(
    control: Control, tmp_path: Path, dated: Any
) -> None:
    job = Job(control, "billing")
    fields, _, rest = cron_line(job, place(tmp_path, program="/bin/echo")).partition(" postgres ")
    line = re.sub(r"\\%", "%", rest)
    assert line == command(job, place(tmp_path, program="/bin/echo"))
    assert "%" not in rest.replace(r"\%", ""), "cron makes a new line of a bare %"
    expected = due_times(control)
    # Every day at the due time of day, and all ticks of the due days and of their neighbours.
    ticks = {moment + timedelta(days=day) for moment in expected[:1] for day in range(-20, 710)}
    for moment in expected[:2]:
        ticks |= {moment + timedelta(minutes=15 * step) for step in range(-48, 49)}
    candidates = sorted(moment for moment in ticks | set(expected) if BEGIN <= moment < END)
    simulated = CronSim(fields, BEGIN)
    assert {next(simulated).minute for _ in range(4)} == {moment.minute for moment in candidates} | {
        (expected[0].minute + step) % 60 for step in (0, 15, 30, 45)
    }
    fired = [moment for moment in candidates if "schedule run" in dated(line, moment)]
    assert fired == [moment for moment in candidates if moment in set(expected)]


def test_cron_line_gives_home_deadline_and_secrets_to_the_command(tmp_path: Path, dated: Any) -> None:
    secrets = tmp_path / "my env"
    secrets.write_text("DATABASE_URL=from-the-file\n")
    program = tmp_path / "the program"
    program.write_text('#!/bin/sh\necho "$RUNBOOK_HOME|$DATABASE_URL|$*"\n')
    program.chmod(0o755)
    there = place(tmp_path, program=str(program), environment_file=str(secrets), home=f"{tmp_path}/a home")
    said = dated(command(Job(a_control(), "billing"), there), at("2026-01-04T03:00:00"))
    assert said == f"{tmp_path}/a home|from-the-file|schedule run backup-verification --target billing --wait\n"


def test_cron_file_has_a_name_that_cron_reads(tmp_path: Path) -> None:
    (name,) = cron_files([Job(a_control(), "billing")], place(tmp_path))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name), "cron.d skips other names"


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip(
            "systemd-analyze is not installed: that systemd takes these units was NOT checked (apt install systemd)"
        )
    return found


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_systemd_accepts_the_units_without_a_word(control: Control, tmp_path: Path) -> None:
    program = systemd_analyze()
    home = tmp_path / "a home 100%"
    home.mkdir()
    for name, content in systemd_files(
        [Job(control, "billing")], place(home, program="/bin/true", user="root")
    ).items():
        (tmp_path / name).write_text(content)
    units = sorted(str(path) for path in tmp_path.glob("runbook-*"))
    assert len(units) == 2
    done = subprocess.run([program, "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_refuses_a_unit_that_is_wrong(tmp_path: Path) -> None:
    program = systemd_analyze()
    for name, content in systemd_files([Job(a_control(), "billing")], place(tmp_path, user="root")).items():
        (tmp_path / name).write_text(content.replace("Type=exec", "Type=oneshot"))
    units = [str(path) for path in tmp_path.glob("*.service")]
    assert subprocess.run([program, "verify", "--man=no", *units], capture_output=True).returncode != 0


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_systemd_reads_the_calendar_as_we_do(control: Control) -> None:
    expected = due_times(control)
    argv = [systemd_analyze(), "calendar", f"--iterations={len(expected)}", "--base-time=2025-12-31 23:59:59 UTC"]
    done = subprocess.run(
        [*argv, on_calendar(control.calendar)], capture_output=True, text=True, check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )  # fmt: skip
    found = re.findall(
        r"(?:Next elapse|Iter\. #\d+|Iteration #\d+): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout
    )
    zoned = re.findall(r"\(in UTC\): \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", done.stdout)
    assert [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in zoned or found] == expected


def complaints(kind: str, content: dict[str, Any]) -> list[str]:
    """What Kubernetes' own schema has against it."""
    schema = json.loads(SCHEMA.read_text())
    validator = import_module("jsonschema").Draft7Validator({**schema, "$ref": f"#/$defs/{kind}"})
    return [error.message for error in validator.iter_errors(content)]


KINDS = {"CronJob": "io.k8s.api.batch.v1.CronJob", "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim"}


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_kubernetes_objects_keep_the_official_schema(control: Control) -> None:
    files = kubernetes_files([Job(control, "billing")], "registry.example.org/runbook:1")
    loaded = [yaml.safe_load(text) for text in files.values()]
    assert sorted(one["kind"] for one in loaded) == ["CronJob", "PersistentVolumeClaim"]
    for content in loaded:
        assert complaints(KINDS[content["kind"]], content) == []


def test_schema_finds_an_unknown_field_and_a_wrong_type() -> None:
    content = cron_job(Job(a_control(), "billing"), "r/i:1")
    content["spec"]["timezone"] = "UTC"
    content["spec"]["jobTemplate"]["spec"]["backoffLimit"] = "6"
    said = " ".join(complaints(KINDS["CronJob"], content))
    assert "'timezone' was unexpected" in said
    assert "'6' is not" in said


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_kubernetes_schedule_holds_every_due_time_and_avoids_the_trap_of_two_days(control: Control) -> None:
    fields = cron_fields(control.calendar)
    assert fields.split()[4] == "*", "day of month and day of week together mean either"
    begun = (BEGIN - timedelta(seconds=1)).astimezone(control.calendar.zone)
    started = itertools.takewhile(lambda moment: moment.astimezone(UTC) < END, CronSim(fields, begun))
    assert set(due_times(control)) <= {moment.astimezone(UTC) for moment in started}


def test_kubernetes_job_is_one_at_a_time_in_its_zone_with_an_end_and_again_on_exit_5_only() -> None:
    spec = cron_job(Job(CONTROLS["first Sunday"], "billing"), "r/i:1")["spec"]
    job = spec["jobTemplate"]["spec"]
    assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Europe/Berlin", "Forbid")
    assert job["activeDeadlineSeconds"] > CONTROLS["first Sunday"].deadline
    assert job["podFailurePolicy"]["rules"][1]["onExitCodes"] == {
        "containerName": "runbook",
        "operator": "NotIn",
        "values": [5],
    }
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert "--only-on-day" in job["template"]["spec"]["containers"][0]["args"]


def test_plan_leaves_out_with_the_reason_what_no_scheduler_can_start() -> None:
    controls = [
        a_control(),
        a_control(id="by-hand", automated=False),
        a_control(id="lost", runbook="lost"),
        a_control(id="stage", environments=("staging",)),
        a_control(id="nobody", environments=()),
    ]
    plan = plan_jobs(controls, {"billing": "production", "sandbox": "sandbox"}, ["backup-verification"])
    assert [job.name for job in plan.jobs] == ["backup-verification-billing"]
    assert [reason.partition(":")[0] for reason in plan.left_out] == ["by-hand", "lost", "stage", "nobody"]
    assert "name yours under targets:" in plan.left_out[-1]


@pytest.mark.parametrize("target", ["b" * 40, "billing-"])
def test_name_that_kubernetes_refuses_is_refused_here(target: str) -> None:
    with pytest.raises(OperatorError, match="cannot name a scheduled job"):
        plan_jobs([a_control()], {target: "production"}, ["backup-verification"])


@pytest.mark.parametrize(
    "changes", [{"user": "a b"}, {"user": "root\n* * * * * root id"}, {"home": "relative"}, {"program": "/bin/x\ny"}]
)
def test_place_that_would_break_out_of_a_line_is_refused(changes: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(OperatorError):
        place(tmp_path, **changes)


def test_export_writes_the_files_once_and_never_over_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    write_params(tmp_path, "billing")
    for form, count in (("cron", 1), ("systemd", 2), ("kubernetes", 2)):
        argv = ["schedule", "export", "--format", form, "--out", str(tmp_path / form), "--user", "postgres"]
        assert run_cli([*argv, "--image", "r/i:1"]) == 0
        assert len(list((tmp_path / form).iterdir())) == count
        assert run_cli([*argv, "--image", "r/i:1"]) == 2
    assert "never overwrites" in capsys.readouterr().err
    assert run_cli(["schedule", "export", "--format", "kubernetes", "--out", str(tmp_path / "other")]) == 2
    assert "--image" in capsys.readouterr().err
