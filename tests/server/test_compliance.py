"""The compliance review on a real cluster's backups, archive and log; and its way to a control that is done."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from archivehouse import FILES, a_record, make_key, open_run
from controlhouse import a_control, target_facts
from runbook.archive.records import commit_record
from runbook.cli.main import run_cli
from runbook.compliance.retention import RetentionReview
from runbook.errors import NotMeasured
from runbook.model import Check, Status
from runbook.params import load_params

pytestmark = [pytest.mark.server, pytest.mark.faults]

YEAR_AGO = f"{datetime.now(UTC) - timedelta(days=400):%Y-%m-%d}"


def change(home: Path, target: str = "sandbox", **parts: dict[str, object]) -> None:
    """These keys of the params file's sections are other ones."""
    path = home / "params" / f"{target}.yaml"
    content = yaml.safe_load(path.read_text())
    for part, values in parts.items():
        content[part] = {**content[part], **values}
    path.write_text(yaml.safe_dump(content))


def review(target: str = "sandbox") -> dict[str, Check]:
    """The checks of backups, WAL and logs, by id."""
    found = RetentionReview(load_params(target))
    try:
        found.rules()
        return {check.id: check for check in (*found.backups(), *found.wal(), *found.logs())}
    finally:
        found.clean_up()


def segments(home: Path) -> list[Path]:
    return sorted(path for path in (home / "var/sandbox/archive").iterdir() if re.fullmatch(r"[0-9A-F]{24}", path.name))


def test_young_sandbox_keeps_all_of_its_life_and_nothing_is_left_behind(sandbox_home: Path) -> None:
    found = RetentionReview(load_params("sandbox"))
    rows = found.rules()
    assert found.born is not None
    assert timedelta() < datetime.now(UTC) - found.born < timedelta(days=1)
    assert {row["kept for"] for row in rows} == {"30 d", "90 d", "365 d"}
    checks = [*found.backups(), *found.wal(), *found.logs()]
    assert [(check.id, check.status) for check in checks] == [
        ("retention-backups", Status.PASS),
        ("retention-wal", Status.PASS),
        ("wal-complete", Status.PASS),
        ("retention-logs", Status.PASS),
    ]
    stage = found.stage
    found.clean_up()
    assert not stage.exists()


def test_the_paper_s_own_seven_days_fail_its_thirty(damaged_home: Path) -> None:
    change(damaged_home, retention={"since": YEAR_AGO})
    week_ago = f"{datetime.now(UTC) - timedelta(days=7):%Y-%m-%d %H:%M:%S} UTC"
    for label in (damaged_home / "var/sandbox/backups").glob("*/backup_label"):
        label.write_text(re.sub(r"START TIME: .*", f"START TIME: {week_ago}", label.read_text()))
    check = review()["retention-backups"]
    assert check.status is Status.FAIL
    assert "The oldest base backup is 7 d old, and 30 d" in str(check.reason)
    assert "section 7" in str(check.reason)
    assert "Raise the retention of base backups to 30 d" in str(check.next)


def test_wal_is_dated_by_its_oldest_commit_and_short_of_ninety_days(damaged_home: Path) -> None:
    change(damaged_home, retention={"since": YEAR_AGO})
    segments(damaged_home)[0].unlink()
    check = review()["retention-wal"]
    assert check.status is Status.FAIL
    assert "90 d" in check.expected
    assert "the first commit in 0000" in check.observed


@pytest.mark.parametrize("count", [1, 2])
def test_missing_segment_is_named_with_its_day(damaged_home: Path, count: int) -> None:
    lost = segments(damaged_home)[1 : 1 + count]
    assert len(lost) == count and lost[-1] != segments(damaged_home)[-1]
    for path in lost:
        path.unlink()
    check = review()["wal-complete"]
    assert check.status is Status.FAIL
    name = lost[0].name if count == 1 else f"{lost[0].name} to {lost[-1].name}"
    (finding,) = check.findings
    assert finding.object == name
    assert re.search(r"(on|from|before|after) \d{4}-\d\d-\d\d", finding.observed), finding.observed
    assert name in str(check.reason)


def test_archive_behind_commands_is_measured_the_same_and_unknown_without_a_list(damaged_home: Path) -> None:
    archive = damaged_home / "var/sandbox/archive"
    fetch = ["/bin/cp", f"{archive}/%f", "%p"]
    segments(damaged_home)[1].unlink()
    before = review()
    change(damaged_home, cluster={"wal_archive": {"fetch_command": fetch, "list_command": ["/bin/ls", str(archive)]}})
    after = review()
    assert after["wal-complete"].findings == before["wal-complete"].findings != ()
    change(damaged_home, cluster={"wal_archive": {"fetch_command": fetch}})
    with pytest.raises(NotMeasured, match="one file at a time"):
        review()


def test_backups_of_another_system_do_not_count(damaged_home: Path) -> None:
    for manifest in (damaged_home / "var/sandbox/backups").glob("*/backup_manifest"):
        stranger = manifest.parent.with_name("00000000T000000Z")
        stranger.mkdir()
        text = re.sub(r'"System-Identifier": \d+', '"System-Identifier": 7', manifest.read_text())
        (stranger / "backup_manifest").write_text(text)
        (stranger / "PG_VERSION").write_text("17\n")
        label = (manifest.parent / "backup_label").read_text()
        (stranger / "backup_label").write_text(re.sub(r"START TIME: .*", "START TIME: 2020-01-01 00:00:00 UTC", label))
    change(damaged_home, retention={"since": YEAR_AGO})
    check = review()["retention-backups"]
    assert check.status is Status.FAIL
    assert "2020" not in check.observed


def run_review(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    run_cli(["run", "compliance", *words])
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def test_run_without_logs_to_look_at_is_incomplete(damaged_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(damaged_home, cluster={"log_files": []})
    said = run_review(capsys)
    assert (said["exit_code"], said["verdict"]) == (4, "INCOMPLETE")
    assert "cluster.log_files" in str(said["reason"])


@pytest.mark.parametrize("words", [["-p", "population", "some"], []], ids=["parameter", "no rules"])
def test_run_that_means_nothing_is_refused(
    damaged_home: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    if not words:
        path = damaged_home / "params" / "sandbox.yaml"
        content = yaml.safe_load(path.read_text())
        del content["retention"]
        path.write_text(yaml.safe_dump(content))
    assert run_review(capsys, *words)["exit_code"] == 2
    assert not (damaged_home / "reports").exists()


@pytest.fixture
def billing(damaged_home: Path) -> Path:
    """A production target with the sandbox's files, a log, and two controls: the monthly verification and the review."""
    params = damaged_home / "params"
    content = yaml.safe_load((params / "sandbox.yaml").read_text())
    content |= {"target": "billing", "environment": "production"}
    for part in ("data_directory", "connection", "service"):
        content["cluster"].pop(part)
    (params / "billing.yaml").write_text(yaml.safe_dump(content))
    for other in ("production", "staging"):
        (params / f"{other}.yaml").unlink()
    log = damaged_home / "var/sandbox/log/postgresql.log"
    log.parent.mkdir()
    log.write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC [1] LOG:  ready\n")
    monthly = a_control(
        every="month", day="day 1", at="00:00", grace="1 s", since=f"{datetime.now(UTC) - timedelta(days=62):%Y-%m-%d}"
    )
    own = a_control(
        id="compliance-review", title="Review", runbook="compliance", every="year", day="day 1", at="00:00",
        since="2026-01-01", certified=True,
    )  # fmt: skip
    listed = [one.model_dump(mode="json") for one in (monthly, own)]
    (params / "controls.yaml").write_text(yaml.safe_dump({"controls": listed}))
    return damaged_home


def verified(home: Path, number: int) -> Path:
    """A verification of billing has passed just now, as run number so and so."""
    ended = datetime.now(UTC)
    open_run(home, number)
    return commit_record(
        FILES, a_record(number, started_at=ended - timedelta(seconds=30), ended_at=ended, target=target_facts())
    )


def test_overdue_task_fails_the_review_which_is_done_once_it_was_made_up_for_and_a_second_person_has_signed(
    billing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_review(capsys, "--target", "billing")
    assert (said["exit_code"], said["verdict"]) == (1, "FAIL")
    assert "Monthly backup verification of billing is not overdue" in str(said["reason"])

    verified(billing, 2)
    said = run_review(capsys, "--target", "billing")
    assert (said["exit_code"], said["verdict"]) == (0, "PASS"), said["reason"]
    record = json.loads((billing / str(said["record"]) / "run.json").read_text())
    assert record["satisfies_controls"] is True
    assert any("Missed, and made up for by a later run" in one for one in record["limitations"])
    (counts,) = [check for check in record["checks"] if check["id"] == "population-backup-verification-billing"]
    assert re.match(r"1 of \d done, [1-9] missed, 0 not yet, 0 excepted", counts["observed"])

    number = int(str(said["record"]).rpartition("/")[2][:6])
    assert run_cli(["due", "--target", "billing"]) == 1, "nobody has certified it"
    assert f"runbook archive review {number} --key KEY --accept" in capsys.readouterr().out
    key = make_key(billing / "ann")
    assert run_cli(["keys", "add", "ann@example.org", f"{key}.pub", "--witness"]) == 0
    assert run_cli(["archive", "review", str(number), "--key", str(key), "--accept", "--comment", "read it"]) == 0
    assert run_cli(["due", "--target", "billing"]) == 0
    assert "accepted by ann@example.org" in capsys.readouterr().out


def test_corrective_action_past_its_day_fails_the_review(billing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verified(billing, 1)
    key = make_key(billing / "ann")
    assert run_cli(["keys", "add", "ann@example.org", f"{key}.pub", "--witness"]) == 0
    action = ["--action", "raise the retention", "--owner", "olaf", "--due", "2026-01-31"]
    assert run_cli(["archive", "review", "1", "--key", str(key), "--accept", *action]) == 0
    capsys.readouterr()
    said = run_review(capsys, "--target", "billing")
    assert said["verdict"] == "FAIL"
    assert "'raise the retention' (olaf) was due on 2026-01-31" in str(said["reason"])
    assert run_cli(["archive", "review", "1", "--key", str(key), "--accept", "--comment", "done"]) == 0
    capsys.readouterr()
    assert run_review(capsys, "--target", "billing")["verdict"] == "PASS"


def test_tampered_record_that_claims_a_control_fails_the_review(
    billing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = verified(billing, 1)
    (folder / "report.html").write_text("better")
    said = run_review(capsys, "--target", "billing")
    assert said["verdict"] == "FAIL"
    record = json.loads((billing / str(said["record"]) / "run.json").read_text())
    (check,) = [check for check in record["checks"] if check["id"] == "population-evidence"]
    assert check["status"] == "FAIL" and "report.html" in check["reason"]
