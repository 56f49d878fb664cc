"""`runbook due` counts from the archive's own signed records; what was tampered with, or signed by nobody, counts for nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from archivehouse import House, make_key, overwrite, resign, resum
from controlhouse import a_control, add_person, add_record, at, write_params
from runbook import clock
from runbook.archive.exceptions import excepted_findings
from runbook.cli.main import run_cli
from runbook.controls.counting import count_controls
from runbook.controls.population import State
from runbook.gates.trust import archive_id
from runbook.model import Check, Finding, Severity, Status
from runbook.runner.indexing import index_archive
from runbook.session.identity import operator

NOW = at("2027-02-20T12:00:00")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Two records do two months of billing; the control began with the year 2027."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    write_params(home, "billing", controls=[a_control(since="2027-01-01")])
    add_record(home, 1, at("2027-01-03T04:00:00"))
    add_record(home, 2, at("2027-02-07T04:00:00"))
    return House(home)


@pytest.fixture
def later(house: House, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """This machine's clock says February 2027; the archive was filled before."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return NOW


def states(now: datetime = NOW) -> list[str]:
    return [str(row.state) for row in count_controls(now).rows]


def test_nothing_is_overdue_when_signed_records_do_each_month(
    house: House, later: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["due"]) == 0
    said = capsys.readouterr().out
    assert "Nothing is overdue: 2 done, 0 due, 0 missed, 0 excepted." in said
    assert "000002-" in said


def test_overdue_exits_1_and_names_the_next_command(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    assert run_cli(["due", "--target", "billing"]) == 1
    said = capsys.readouterr().out
    assert "OVERDUE: backup-verification of billing (2027-03)" in said
    assert "Next: runbook run backup-verification --target billing" in said


def test_index_pages_show_the_same_population(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    index_archive()
    reports = house.home / "reports"
    assert ">1</b> overdue" in (reports / "index.html").read_text()
    page = (reports / "index" / "control-backup-verification.html").read_text()
    assert "2 of 3 periods that are over were done, 1 missed" in page
    add_record(house.home, 3, at("2027-04-04T04:00:00"))
    monkeypatch.setattr(clock, "now", lambda: at("2027-04-05T00:00:00"))
    index_archive()
    assert ">0</b> overdue" in (reports / "index.html").read_text(), "March stays missed, and April is done"
    page = (reports / "index" / "control-backup-verification.html").read_text()
    assert "3 of 4 periods that are over were done, 1 missed" in page and "done since." in page


def test_daily_task_is_counted_by_days_by_due_and_by_the_index_page(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daily = a_control(every="day", day="", at="06:00", grace="12 h", since="2027-02-05", time_zone="Europe/Berlin")
    write_params(house.home, "billing", controls=[daily])
    monkeypatch.setattr(clock, "now", lambda: at("2027-02-07T18:00:00"))
    assert run_cli(["due"]) == 0, "the record of the 7th is there"
    assert "Nothing is overdue: 1 done, 0 due, 2 missed" in capsys.readouterr().out
    monkeypatch.setattr(clock, "now", lambda: at("2027-02-08T17:30:00"))
    assert run_cli(["due"]) == 1, "18:00 in Berlin is over"
    said = capsys.readouterr().out
    assert "OVERDUE: backup-verification of billing (2027-02-08)" in said
    index_archive()
    page = (house.home / "reports" / "index" / "control-backup-verification.html").read_text()
    assert "1 of 4 periods that are over were done, 3 missed" in page
    monkeypatch.setattr(clock, "now", lambda: at("2027-02-08T16:30:00"))
    assert run_cli(["due"]) == 0, "in its grace"


def test_json_holds_the_same_rows_and_the_same_exit_code(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    assert run_cli(["due", "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in facts["rows"]] == ["done", "done", "missed"]
    assert facts["rows"][0]["due_at"] == "2027-01-03T03:00:00.000000Z"
    assert (facts["overdue"], facts["counts"][0]["done"]) == (1, 2)


def test_unknown_target_is_refused_with_the_nearest(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["due", "--target", "biling"]) == 2
    assert "did you mean 'billing'?" in capsys.readouterr().err


def test_empty_home_has_done_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    write_params(tmp_path, "billing", controls=[a_control(since="2027-01-01")])
    assert states() == ["missed", "missed"]


@pytest.mark.parametrize(
    "attack",
    [
        lambda folder: overwrite(folder / "report.html", b"<!doctype html>better"),
        lambda folder: (folder / "report.html").unlink(),
        lambda folder: (folder / "added.txt").write_text("x"),
        lambda folder: (folder / "SHA256SUMS.sig").unlink(),
    ],
    ids=["edited", "file removed", "file added", "signature removed"],
)
def test_record_that_was_tampered_with_does_nothing(house: House, attack: Callable[[Path], object]) -> None:
    attack(house.record(2))
    assert states() == ["done", "missed"]


def test_record_signed_again_by_a_stranger_does_nothing(house: House) -> None:
    folder = house.record(2)
    overwrite(folder / "run.json", (folder / "run.json").read_text().replace('"FAIL"', '"PASS"').replace("dba", "eve"))
    resum(folder)
    resign(folder, make_key(house.home / "eve"))
    assert states() == ["done", "missed"]


def test_records_that_nobody_signed_do_nothing(house: House) -> None:
    for number in (1, 2):
        (house.record(number) / "SHA256SUMS.sig").unlink()
    assert states() == ["missed", "missed"]


def test_removing_a_record_before_it_does_not_void_the_later_one_but_the_month_is_missed(house: House) -> None:
    import shutil

    shutil.rmtree(house.record(1))
    rows = count_controls(NOW).rows
    assert rows[0].state is State.MISSED


def except_it(
    house: House, key: Path, *more: str, owner: str = "olaf@example.org", what: str = "backup-verification"
) -> int:
    return run_cli(
        ["exception", what, "--owner", owner, "--reason", "the robot is being replaced",
         "--until", "2027-04-30", "--key", str(key), *more]
    )  # fmt: skip


def test_exception_signed_by_a_second_person_counts_from_its_signing(
    house: House, later: datetime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = add_person(house)
    assert except_it(house, key) == 0
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    assert run_cli(["due"]) == 0
    assert "1 excepted" in capsys.readouterr().out
    assert run_cli(["exception"]) == 0
    assert "the robot is being replaced (owner olaf@example.org, signed by ann@example.org)" in capsys.readouterr().out
    monkeypatch.setattr(clock, "now", lambda: at("2027-05-20T00:00:00"))
    assert run_cli(["due"]) == 1, "it has expired"


def test_exception_of_one_finding_covers_it_until_its_day_and_never_the_control(
    house: House, later: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_person(house)
    assert except_it(house, key, "--finding", "superusers@/ann", what="access-audit") == 0
    assert except_it(house, key, "--finding", "amcheck") == 2, "a restore is proven, or not"
    assert except_it(house, key, "--finding", "superuser@/ann", what="access-audit") == 2
    found, problems = excepted_findings("access-audit", "billing", NOW)
    assert (list(found), problems) == (["superusers@/ann"], [])
    assert excepted_findings("backup-verification", "billing", NOW)[0] == {}
    assert excepted_findings("access-audit", "billing", at("2027-05-20T00:00:00"))[0] == {}
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    assert run_cli(["due"]) == 1, "the control itself is due as before"
    path = house.reports / "exceptions" / "access-audit-1.json"
    overwrite(path, path.read_text().replace("superusers", "row_security"))
    found, problems = excepted_findings("access-audit", "billing", NOW)
    assert found == {} and len(problems) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "sandbox"], "is not due of 'sandbox'"),
        (["--until", "2027-02-19"], "is over"),
        (["--until", "2028-12-31"], "lasts longer than a year"),
        (["--until", "soon"], "--until names its last day"),
        (["--reason", " "], "names an owner and a reason"),
        (["--owner", "ann@example.org"], "cannot answer for it and sign it too"),
        (["--owner", " Ann@Example.ORG"], "cannot answer for it and sign it too"),
        (["--owner", "ann+db@example.org."], "cannot answer for it and sign it too"),
        (["--owner", "Ann"], "cannot answer for it and sign it too"),
        (["--owner", "аnn@example.org"], "cannot answer for it and sign it too"),
        (["--owner", f"{operator()}@example.org"], "cannot answer for it and sign it too"),
    ],
)
def test_exception_that_says_too_little_is_refused(
    house: House, later: datetime, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = add_person(house)
    assert except_it(house, key, *words) == 2
    assert says in capsys.readouterr().err
    assert not (house.reports / "exceptions").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expires": date(2999, 1, 1)}, "lasts longer than a year"),
        ({"owner": "ANN@example.org"}, "cannot answer for it and sign it too"),
        ({"reason": " "}, "names no owner or no reason"),
        ({"archive": "0123456789abcdef"}, "was made for the archive 0123456789abcdef"),
    ],
)
def test_exception_that_was_signed_past_the_command_excepts_nothing(
    house: House, later: datetime, changes: dict[str, Any], says: str
) -> None:
    from runbook.archive.exceptions import AuditException
    from runbook.archive.keys import EXCEPTION
    from runbook.archive.statements import file_statement
    from runbook.gates.signing import fingerprint_of

    key = add_person(house)
    fields = {
        "control": "access-audit",
        "finding": "superusers@/ann",
        "owner": "olaf@example.org",
        "reason": "so",
        "expires": date(2027, 4, 30),
    }
    made = AuditException(**{**fields, **changes}, signer="ann@example.org", key=fingerprint_of(key), at=NOW)
    file_statement(house.reports / "exceptions", "access-audit", made, key, EXCEPTION)
    found, problems = excepted_findings("access-audit", "billing", NOW)
    assert found == {} and says in str(problems[0])
    assert house.kinds() == {"exception"}


def test_exception_without_an_end_is_none(house: House, later: datetime) -> None:
    assert except_it(house, add_person(house), "--finding", "superusers@/ann", what="access-audit") == 0
    path = house.reports / "exceptions" / "access-audit-1.json"
    content = json.loads(path.read_text())
    del content["expires"]
    overwrite(path, json.dumps(content))
    found, problems = excepted_findings("access-audit", "billing", NOW)
    assert found == {} and "is no exception" in str(problems[0])


@pytest.mark.parametrize(
    ("severity", "worst"),
    [(Severity.WARNING, "warning"), (Severity.CRITICAL, "critical"), (Severity.INFO, "not measured"), (None, None)],
)
def test_exception_keeps_how_the_newest_record_showed_the_finding(
    house: House, later: datetime, severity: Severity | None, worst: str | None
) -> None:
    key = "row_security_off@shop/public.t"
    if severity is not None:
        seen = Finding(
            id="access/row_security_off", object="shop: public.t", severity=severity, observed="1", expected="none"
        )
        check = Check(
            id="access/row_security_off@shop",
            title="t",
            status=Status.FAIL,
            expected="e",
            observed="o",
            object="shop",
            reason="r",
            findings=(seen,),
        )
        add_record(house.home, 9, NOW, runbook="access-audit", checks=(check,), controls=())
    assert except_it(house, add_person(house), "--finding", key, what="access-audit") == 0
    found, _ = excepted_findings("access-audit", "billing", NOW)
    assert found[key].worst == worst


def test_difference_is_approved_by_a_list_and_never_excepted_as_a_whole(house: House, later: datetime) -> None:
    key = add_person(house)
    assert except_it(house, key, "--finding", "differences", what="access-audit") == 2
    assert except_it(house, key, "--finding", "leavers", what="access-audit") == 2
    assert except_it(house, key, "--finding", "differences@/hba", what="access-audit") == 0


def test_exception_by_an_unlisted_key_is_refused(house: House, later: datetime) -> None:
    assert except_it(house, make_key(house.home / "eve")) == 2


@pytest.mark.parametrize(
    "attack",
    [
        lambda path: overwrite(path, path.read_text().replace("2027-04-30", "2027-12-30")),
        lambda path: overwrite(path, "{}"),
        lambda path: path.with_name(path.name + ".sig").unlink(),
        lambda path: path.rename(path.with_name("access-audit-1.json")),
    ],
    ids=["longer", "empty", "signature removed", "renamed"],
)
def test_exception_that_was_tampered_with_excepts_nothing_and_is_told(
    house: House,
    later: datetime,
    attack: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert except_it(house, add_person(house)) == 0
    assert house.kinds() == set()
    made = json.loads((house.reports / "exceptions" / "backup-verification-1.json").read_text())
    assert made["archive"] == archive_id(house.reports), "it counts in no other archive"
    attack(house.reports / "exceptions" / "backup-verification-1.json")
    assert house.kinds() == {"exception"}, "archive verify tells it too"
    monkeypatch.setattr(clock, "now", lambda: at("2027-03-20T00:00:00"))
    assert run_cli(["due"]) == 1
    assert "it excepts nothing" in capsys.readouterr().out


def test_certified_task_waits_for_the_signed_review(
    house: House, later: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(house.home, "billing", controls=[a_control(since="2027-02-01", certified=True)])
    assert run_cli(["due"]) == 1
    assert "runbook archive review 2 --key KEY --accept" in capsys.readouterr().out
    key = add_person(house)
    assert run_cli(["archive", "review", "2", "--key", str(key), "--accept"]) == 0
    assert run_cli(["due"]) == 0
    assert "accepted by ann@example.org" in capsys.readouterr().out


def test_shipped_controls_hold_the_tasks_of_the_paper_each_with_five_standards(monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook import layout
    from runbook.params.controls import load_controls

    monkeypatch.setenv("RUNBOOK_HOME", str(layout.CHECKOUT))
    controls = {one.id: one for one in load_controls().controls}
    assert {name: one.every for name, one in controls.items()} == {
        "backup-verification": "month",
        "access-audit": "quarter",
        "contacts": "quarter",
        "annual-disaster-recovery-test": "year",
        "compliance-review": "half-year",
        "daily-health": "day",
    }
    assert controls["backup-verification"].day == "first Sunday"
    # PCI DSS and HIPAA name no daily look at a database's health.
    assert set(controls.pop("daily-health").references) == {"SOC 2", "ISO 27001", "NIST SP 800-53"}
    for one in controls.values():
        assert set(one.references) == {"SOC 2", "ISO 27001", "PCI DSS 4.0", "HIPAA", "NIST SP 800-53"}
