"""Contacts are right or refused with their line; who is on duty follows the wall clock of each person; a hole in the week is found."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from runbook import layout
from runbook.errors import ParamsError
from runbook.escalation.entries import (
    check_confirmed,
    check_cover,
    check_deputies,
    check_leavers,
    check_placeholders,
    check_roles,
)
from runbook.escalation.oncall import find_gaps, find_later_gaps, on_duty
from runbook.model import Status
from runbook.params.contacts import Contacts, Roster, load_contacts
from runbook.params.loading import parse_as
from runbook.params.schema import Leaver

TEXT = """\
confirmation: {within: 90 d, source: the rule}
rosters:
  - environments: [production]
    people:
      - id: ann
        name: Ann Lee
        phone: "+49 30 901820"
        channels: [{id: mail, address: {env: ANN_MAIL}, shown: ann@corp.net}]
        hours: ["Monday-Friday 09:00-17:00"]
        time_zone: Europe/Berlin
        confirmed: 2026-11-01
      - id: bob
        name: Bob Ray
        phone: "+1 212 736 5000"
        hours: ["Monday-Friday 11:00-03:00"]
        time_zone: America/New_York
        confirmed: 2026-08-26
    roles:
      - {id: dba, title: DBA, person: ann, deputies: [bob]}
"""
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC)


def roster(text: str = TEXT) -> Roster:
    return parse_as(Contacts, text, "params/contacts.yaml").rosters[0]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def names(moment: datetime) -> list[str]:
    one = roster()
    return [person.id for person in on_duty(one, one.role("dba"), moment)]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ('        phone: "+49', '        phon: "+49', 7, "did you mean 'phone'?"),
        ("Europe/Berlin", "Europe/Berln", 5, "did you mean 'Europe/Berlin'?"),
        ("Monday-Friday 09:00-17:00", "weekdays", 5, "are no hours"),
        ('"+49 30 901820"', "4930901820", 7, "string"),
        ("shown: ann@corp.net", "shown: 'json://h/x'", 8, "travels by name"),
        ("address: {env: ANN_MAIL}", "address: 'mailto://a:hunter2hunter2@h'", 8, "looks like a secret"),
        ("deputies: [bob]", "deputies: [bop]", 3, "did you mean 'bob'?"),
        ("2026-11-01", "2026-13-01", 5, "month"),
        (
            "        confirmed: 2026-11-01\n",
            "        confirmed: 2026-01-01\n        confirmed: 2026-11-01\n",
            12,
            "stands twice",
        ),
        ("id: bob", "id: ann", 3, "stands twice"),
    ],
)
def test_wrong_file_is_refused_with_its_line(old: str, new: str, line: int, says: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(ParamsError) as caught:
        roster(TEXT.replace(old, new))
    assert f"params/contacts.yaml:{line}:" in str(caught.value) and says in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_practice_people_answer_for_the_sandbox_alone() -> None:
    text = TEXT.replace('        phone: "+1 212 736 5000"', "        practice: true")
    with pytest.raises(ParamsError, match="sandbox alone"):
        roster(text)


def test_shipped_file_practises_on_the_sandbox_and_fails_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNBOOK_HOME", raising=False)
    contacts = load_contacts()
    practice, real = contacts.roster_of("sandbox"), contacts.roster_of("production")
    good = [check_roles(practice), *check_placeholders(practice), *check_cover(practice, at(2026, 11, 24))]
    assert {check.status for check in good} == {Status.PASS}
    assert check_confirmed(practice, contacts.confirmation, TODAY) == []
    assert check_roles(real).status is Status.PASS
    assert {check.status for check in check_placeholders(real)} == {Status.FAIL}
    assert {check.status for check in check_confirmed(real, contacts.confirmation, TODAY)} == {Status.FAIL}


def test_missing_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params").mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    with pytest.raises(ParamsError, match="does not exist"):
        load_contacts()
    assert layout.home() == tmp_path


def test_first_in_hours_then_deputy_then_nobody() -> None:
    assert names(at(2026, 11, 24, 9, 0)) == ["ann"]
    assert names(at(2026, 11, 24, 16, 0)) == ["bob"], "17:00 in Berlin is over"
    assert names(at(2026, 11, 24, 15, 59)) == ["ann"], "10:59 in New York has not begun"
    assert names(at(2026, 11, 28, 10, 0)) == [], "Saturday"


def test_night_hours_belong_to_the_day_on_which_they_begin() -> None:
    assert names(at(2026, 11, 28, 7, 59)) == ["bob"], "Friday's night ends on Saturday 03:00 in New York"
    assert names(at(2026, 11, 28, 8, 0)) == []
    assert names(at(2026, 11, 30, 6, 0)) == [], "Sunday has no night"


def test_hours_move_with_the_clocks() -> None:
    assert names(at(2026, 3, 27, 7, 30)) == [], "08:30 in Berlin before the change; 03:30 in New York"
    assert names(at(2026, 3, 30, 7, 30)) == ["ann"], "09:30 after it"


def test_gaps_of_a_week_are_exact() -> None:
    one = roster()
    gaps = find_gaps(one, one.role("dba"), at(2026, 11, 24, 9, 0))
    assert [(gap.begin, gap.end) for gap in gaps] == [
        (at(2026, 11, 28, 8, 0), at(2026, 11, 30, 8, 0)),
    ]
    check = check_cover(one, at(2026, 11, 24, 9, 0))[0]
    assert (check.status, len(check.findings)) == (Status.FAIL, 1)
    assert "Sat 2026-11-28 08:00" in (check.reason or "")


def test_gap_that_opens_when_clocks_change_on_different_days_is_found() -> None:
    text = TEXT.replace("Monday-Friday 09:00-17:00", "Monday-Sunday 09:00-17:00").replace(
        "Monday-Friday 11:00-03:00", "Monday-Sunday 11:00-03:00"
    )
    one = roster(text)
    now = at(2026, 11, 24)
    assert find_gaps(one, one.role("dba"), now) == []
    later = find_later_gaps(one, one.role("dba"), now)
    assert later, "between 14 and 28 March New York has moved and Berlin has not"
    assert min(later) == date(2027, 3, 14)
    check = check_cover(one, now)[0]
    assert check.status is Status.FAIL and "after clocks change on 2027-03-14" in check.observed


def test_accepted_gap_passes_and_is_still_listed() -> None:
    one = roster(TEXT.replace("deputies: [bob]}", "deputies: [bob], gaps_accepted: weekends are free}"))
    check = check_cover(one, at(2026, 11, 24))[0]
    assert check.status is Status.PASS and check.findings and "weekends are free" in check.observed


def test_entry_is_stale_on_the_ninety_first_day() -> None:
    rule = parse_as(Contacts, TEXT, "x").confirmation
    by_name = {check.object: check for check in check_confirmed(roster(), rule, TODAY)}
    assert (by_name["ann"].status, by_name["bob"].status) == (Status.PASS, Status.PASS)
    (bob,) = [c for c in check_confirmed(roster(), rule, TODAY + timedelta(days=1)) if c.object == "bob"]
    assert bob.status is Status.FAIL and "91 d ago" in (bob.reason or "") and "90 d" in (bob.reason or "")


def test_confirmation_in_the_future_or_missing_fails() -> None:
    rule = parse_as(Contacts, TEXT, "x").confirmation
    for text in (TEXT.replace("2026-11-01", "2027-01-01"), TEXT.replace("        confirmed: 2026-11-01\n", "")):
        assert check_confirmed(roster(text), rule, TODAY)[0].status is Status.FAIL


def test_confirmation_counts_by_the_calendar_where_the_person_is() -> None:
    rule = parse_as(Contacts, TEXT, "x").confirmation
    text = TEXT.replace("Europe/Berlin", "Pacific/Kiritimati").replace("2026-11-01", "2026-11-25")
    assert check_confirmed(roster(text), rule, at(2026, 11, 24, 12))[0].status is Status.PASS, "it is the 25th there"
    assert check_confirmed(roster(text), rule, at(2026, 11, 24, 9))[0].status is Status.FAIL, "not yet"


@pytest.mark.parametrize("zone", ["localtime", "Factory", "", "Europe/../Europe/Berlin", "CET+1", "/etc/localtime"])
def test_zone_that_is_another_one_on_another_machine_or_none_is_refused(zone: str) -> None:
    with pytest.raises(ParamsError, match="no time zone"):
        roster(TEXT.replace("time_zone: Europe/Berlin", f'time_zone: "{zone}"'))


def test_entry_is_believed_for_a_year_at_most() -> None:
    with pytest.raises(ParamsError, match="a year"):
        parse_as(Contacts, TEXT.replace("within: 90 d", "within: 9999 d"), "x")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("name: Bob Ray", "name: ann  LEE", Status.FAIL),
        ('phone: "+1 212 736 5000"', 'phone: "+49 (30) 90-1820"', Status.FAIL),
        ('phone: "+1 212 736 5000"', "channels: [{id: sms, address: {env: ANN_MAIL}, shown: bob}]", Status.FAIL),
        ("name: Bob Ray", "name: Anna Lee", Status.PASS),
    ],
)
def test_deputy_who_is_the_same_person_under_another_id_fails(old: str, new: str, status: Status) -> None:
    assert TEXT.count(old) == 1
    (check,) = check_deputies(roster(TEXT.replace(old, new)))
    assert check.status is status, check
    assert (status is Status.PASS) == (check.next is None)


def test_two_who_stand_in_for_each_other_leave_no_hour_unseen() -> None:
    both_away = TEXT.replace(
        "deputies: [bob]}", "deputies: [bob]}\n      - {id: devops-lead, title: DevOps, person: bob, deputies: [ann]}"
    )
    one = roster(both_away)
    assert [check.status for check in check_cover(one, at(2026, 11, 24, 9, 0))] == [Status.FAIL, Status.FAIL], (
        "weekends"
    )


@pytest.mark.parametrize(
    ("person", "status"),
    [("LEE, Ann", Status.FAIL), ("ann lee", Status.FAIL), ("Ann", Status.FAIL), ("Eve", Status.PASS)],
)
def test_person_who_has_left_and_is_still_called_fails(person: str, status: Status) -> None:
    (check,) = check_leavers(roster(), [Leaver(person=person, left="2026-09-30", roles=("x",))])
    assert check.status is status


@pytest.mark.parametrize(
    "value", ["[DBA Email]", "TBD", "xxx", "dba@example.com", "<name>", "dba@corp.example", "555-0123"]
)
def test_placeholder_is_named_with_its_entry(value: str) -> None:
    check = check_placeholders(roster(TEXT.replace('"+49 30 901820"', f'"{value}"')))[0]
    assert check.status is Status.FAIL
    assert check.reason is not None and f"ann: phone is still '{value}'" in check.reason


def test_role_of_the_paper_that_is_missing_fails() -> None:
    check = check_roles(roster())
    assert check.status is Status.FAIL and "no incident-commander" in (check.reason or "")
