"""What is due is counted by the calendar of the control's zone, once a period, and only for runs that prove it."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from controlhouse import SHORT, a_control, at, done, target_facts
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from runbook.archive.exceptions import AuditException
from runbook.archive.review import Review
from runbook.controls.evidence import Evidence
from runbook.controls.population import Row, State, completeness, population, targets_of
from runbook.model import RunRecord, Verdict
from runbook.params.calendar import WEEKDAYS, read_calendar
from runbook.params.controls import load_controls

TARGETS = {"billing": "production", "sandbox": "sandbox", "stage": "staging"}


def proof(record: RunRecord, number: int = 1, **more: object) -> Evidence:
    return Evidence(number, f"{number:06d}-20260105T020000Z-backup-verification-billing", record, **more)  # type: ignore[arg-type]


def rows_of(evidence: list[Evidence], now: str, **changes: object) -> list[Row]:
    return population([a_control(**changes)], evidence, TARGETS, at(now))


def states(rows: list[Row]) -> list[str]:
    return [str(row.state) for row in rows]


def an_exception(**changes: object) -> AuditException:
    fields = {
        "control": "backup-verification",
        "owner": "olaf",
        "reason": "the tape robot is being replaced",
        "expires": date(2026, 3, 31),
        "signer": "ann",
        "key": "SHA256:x",
        "at": at("2026-02-01T00:00:00"),
    }
    return AuditException.model_validate({**fields, **changes})


def test_first_sunday_is_the_first_sunday_of_every_month_and_quarter() -> None:
    rows = rows_of([], "2026-04-01T00:00:00")
    assert [row.due_at.isoformat()[:16] for row in rows] == [
        "2026-01-04T03:00",
        "2026-02-01T03:00",
        "2026-03-01T03:00",
        "2026-04-05T03:00",
    ]
    quarters = rows_of([], "2026-12-31T00:00:00", every="quarter", day="day 15", month=2)
    assert [(row.period, row.due_at.date().isoformat()) for row in quarters] == [
        ("2026-Q1", "2026-02-15"),
        ("2026-Q2", "2026-05-15"),
        ("2026-Q3", "2026-08-15"),
        ("2026-Q4", "2026-11-15"),
    ]


@given(
    st.sampled_from(["day", "month", "quarter", "half-year", "year"]),
    st.sampled_from([*(f"first {name}" for name in WEEKDAYS), "day 1", "day 28"]),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Havana", "Africa/Cairo"]
    ),
    st.datetimes(at("2025-01-01").replace(tzinfo=None), at("2035-12-31").replace(tzinfo=None)),
)
def test_every_moment_is_in_one_period_that_is_due_once_within_it(every, day, zone, moment) -> None:  # type: ignore[no-untyped-def]
    calendar = read_calendar(every, "" if every == "day" else day, "12:00", 1, zone)
    moment = moment.replace(tzinfo=at("2026-01-01").tzinfo)
    one = calendar.period_of(moment)
    assert one.begin <= moment < one.end
    assert one.begin <= one.due_at < one.end
    assert calendar.period_of(one.end).begin == one.end
    assert calendar.period_of(one.end - timedelta(seconds=1)) == one
    assert calendar.latest_due(one.due_at) == one.due_at


def test_every_day_is_due_once_also_on_days_of_23_and_25_hours() -> None:
    daily = {"every": "day", "day": "", "at": "06:00", "time_zone": "Europe/Berlin", "grace": "2 h"}
    rows = rows_of([], "2026-10-26T12:00:00", **daily, since="2026-03-28")
    assert len(rows) == 213 and len({row.period for row in rows}) == 213
    by_day = {row.period: row for row in rows}
    assert [by_day[f"2026-03-{day}"].due_at.isoformat()[11:16] for day in (28, 29, 30)] == ["05:00", "04:00", "04:00"]
    hours = {day: (by_day[day].end - by_day[day].begin).total_seconds() / 3600 for day in by_day}
    assert {day: found for day, found in hours.items() if found != 24} == {"2026-03-29": 23, "2026-10-25": 25}


def test_day_without_a_look_is_missed_and_overdue_until_the_next_look() -> None:
    daily = {"every": "day", "day": "", "at": "06:00", "grace": "12 h", "since": "2026-03-01"}
    first = proof(done(1, at("2026-03-01T23:59:00")))
    rows = rows_of([first], "2026-03-03T07:00:00", **daily)
    assert [(row.period, str(row.state), row.is_late) for row in rows] == [
        ("2026-03-01", "done", True), ("2026-03-02", "missed", False), ("2026-03-03", "due", False),
    ]  # fmt: skip
    assert [row.is_overdue for row in rows] == [False, True, False]
    again = proof(done(2, at("2026-03-03T08:00:00")), 2)
    rows = rows_of([first, again], "2026-03-03T09:00:00", **daily)
    assert states(rows) == ["done", "missed", "done"] and not any(row.is_overdue for row in rows)
    (count,) = completeness(rows)
    assert (count.periods, count.done, count.late, count.missed, count.overdue) == (3, 2, 1, 1, 0)


def test_control_without_targets_and_environments_is_due_of_nothing() -> None:
    assert targets_of(a_control(targets=(), environments=()), TARGETS) == []
    assert rows_of([], "2026-04-01T00:00:00", environments=()) == []


def test_daily_look_makes_no_untouched_checkout_overdue_and_is_due_where_it_is_asked_for() -> None:
    (shipped,) = [one for one in load_controls().controls if one.id == "daily-health"]
    assert (shipped.every, shipped.calendar.said()) == ("day", "every day, 06:00 UTC")
    assert population([shipped], [], TARGETS, at("2027-01-10T00:00:00")) == []
    asked = shipped.model_copy(update={"targets": ("billing",)})
    rows = population([asked], [], TARGETS, at("2026-12-03T00:00:00"))
    assert states(rows) == ["missed", "missed", "due"]


def test_the_zone_decides_in_which_month_a_run_ended() -> None:
    ended = proof(done(1, at("2026-01-31T23:30:00")))
    assert states(rows_of([ended], "2026-02-09T00:00:00")) == ["done", "missed"]
    assert states(rows_of([ended], "2026-02-09T00:00:00", time_zone="Europe/Berlin")) == ["missed", "done"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"at": "02:30", "time_zone": "America/New_York"}, "when clocks change"),
        ({"at": "01:30", "day": "first Sunday", "time_zone": "America/New_York"}, "2025-11-02"),
        ({"day": "first Sonntag"}, "is no day"),
        ({"day": "day 31"}, "which every month has"),
        ({"at": "25:00"}, "is no time of day"),
        ({"month": 2}, "has no month 2"),
        ({"time_zone": "Berlin"}, "no time zone 'Berlin'"),
        ({"time_zone": "../../etc/passwd"}, "no time zone"),
        ({"since": "2026-02-30"}, "day is out of range"),
        ({"references": {}}, "at least 1"),
        ({"every": "day"}, "leave them out"),
        ({"every": "day", "day": "", "month": 2}, "leave them out"),
        ({"every": "day", "day": "", "at": "02:30", "time_zone": "Europe/Berlin"}, "2025-03-30, when clocks change"),
        ({"day": ""}, "is no day"),
    ],
)
def test_calendar_that_cannot_be_kept_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        a_control(**{"day": "day 8", **changes} if "02:30" in str(changes) else changes)


def test_missed_comes_after_the_grace_and_stays_when_the_period_is_over() -> None:
    assert states(rows_of([], "2026-01-11T03:00:00")) == ["due"]
    assert states(rows_of([], "2026-01-11T03:00:01")) == ["missed"]
    late = proof(done(1, at("2026-02-20T00:00:00")))
    rows = rows_of([late], "2026-03-01T00:00:00")
    assert states(rows) == ["missed", "done", "due"]
    assert [row.is_late for row in rows] == [False, True, False]
    assert not any(row.is_overdue for row in rows), "what came after has been done"


def test_overdue_is_the_newest_missed_while_nothing_was_done_since() -> None:
    rows = rows_of([proof(done(1, at("2026-01-05T00:00:00")))], "2026-04-02T00:00:00")
    assert states(rows) == ["done", "missed", "missed", "due"]
    assert [row.is_overdue for row in rows] == [False, False, True, False]


def test_grace_never_reaches_into_the_next_period() -> None:
    rows = rows_of([], "2026-02-01T12:00:00", day="day 28", grace="20 d")
    assert rows[0].deadline == rows[0].end
    assert states(rows) == ["missed", "due"]


@pytest.mark.parametrize(("changes", "says"), SHORT.values(), ids=SHORT)
def test_run_that_proves_nothing_leaves_the_task_missed_and_says_why(changes: dict[str, object], says: str) -> None:
    (row,) = rows_of([proof(done(1, at("2026-01-05T00:00:00"), **changes))], "2026-01-20T00:00:00")
    assert (row.state, row.record) == (State.MISSED, None)
    assert says in row.said


def test_record_that_does_not_verify_does_nothing() -> None:
    (row,) = rows_of(
        [proof(done(1, at("2026-01-05T00:00:00")), doubt="report.html was altered")], "2026-01-20T00:00:00"
    )
    assert row.state is State.MISSED
    assert "report.html was altered" in row.said


def test_record_of_another_target_or_control_or_from_the_future_does_nothing() -> None:
    others = [
        proof(done(1, at("2026-01-05T00:00:00"), target=target_facts("stage", "staging"))),
        proof(done(2, at("2026-01-05T00:00:00"), controls=("access-audit",))),
        proof(done(3, at("2026-01-25T00:00:00"))),
    ]
    assert states(rows_of(others, "2026-01-20T00:00:00")) == ["missed"]


def test_one_record_never_does_two_periods_and_later_ones_do_not_count_twice() -> None:
    twice = [proof(done(n, at(f"2026-01-{4 + n:02d}T00:00:00")), n) for n in (1, 2)]
    rows = rows_of(twice, "2026-02-20T00:00:00")
    assert states(rows) == ["done", "missed"]
    assert rows[0].record is not None
    assert rows[0].record.startswith("000001")


def test_failed_run_before_the_good_one_does_not_spoil_it() -> None:
    tried = proof(done(1, at("2026-01-04T00:00:00"), verdict=Verdict.FAIL, satisfies_controls=False), 1)
    assert states(rows_of([tried, proof(done(2, at("2026-01-05T00:00:00")), 2)], "2026-01-20T00:00:00")) == ["done"]


def test_certified_control_is_done_only_when_a_second_person_accepts() -> None:
    record = done(1, at("2026-01-05T00:00:00"))
    said = {"record": "r", "record_sums": "0" * 64, "verdict": "PASS", "reviewer": "ann", "key": "k"}
    accepted = Review.model_validate({**said, "accepted": True, "at": at("2026-01-06T00:00:00")})
    rejected = Review.model_validate({**said, "accepted": False, "at": at("2026-01-06T00:00:00")})
    found = {
        review.accepted if review else None: rows_of(
            [proof(record, review=review)], "2026-01-09T00:00:00", certified=True
        )[0]
        for review in (None, accepted, rejected)
    }
    assert (found[True].state, found[True].certified_by) == (State.DONE, "ann")
    assert (found[None].state, found[False].state) == (State.DUE, State.DUE)
    assert "runbook archive review 1 " in found[None].said
    assert "ann has rejected it" in found[False].said


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ({}, "2026-03-20T00:00:00", ["missed", "excepted", "excepted"]),
        ({"expires": date(2026, 2, 20)}, "2026-02-20T23:00:00", ["missed", "excepted"]),
        ({"expires": date(2026, 2, 20)}, "2026-02-21T00:00:00", ["missed", "missed"]),
        ({"expires": date(2026, 2, 28)}, "2026-03-01T00:00:00", ["missed", "excepted", "due"]),
        ({"at": at("2026-02-08T03:00:01")}, "2026-02-20T00:00:00", ["missed", "missed"]),
        ({"target": "stage"}, "2026-02-20T00:00:00", ["missed", "missed"]),
        ({"control": "access-audit"}, "2026-02-20T00:00:00", ["missed", "missed"]),
    ],
)
def test_exception_defers_what_falls_due_in_it_and_forgives_nothing_before(
    changes: dict[str, object], now: str, expected: list[str]
) -> None:
    rows = population([a_control()], [], TARGETS, at(now), [an_exception(**changes)])
    assert states(rows) == expected


def test_excepted_task_that_was_done_all_the_same_is_done() -> None:
    evidence = [proof(done(1, at("2026-02-05T00:00:00")))]
    rows = population([a_control(since="2026-02-01")], evidence, TARGETS, at("2026-02-20T00:00:00"), [an_exception()])
    assert states(rows) == ["done"]


def test_sandbox_is_never_a_target_even_when_named() -> None:
    assert targets_of(a_control(), TARGETS) == ["billing"]
    assert targets_of(a_control(environments=("staging",)), TARGETS) == ["stage"]
    assert targets_of(a_control(targets=("sandbox", "stage")), TARGETS) == ["stage"]


def test_counts_add_up_to_the_population() -> None:
    rows = rows_of([proof(done(1, at("2026-02-20T00:00:00")))], "2026-04-20T00:00:00")
    (count,) = completeness(rows)
    assert count.periods == 4 == count.done + count.missed + count.due + count.excepted
    assert (count.done, count.late, count.missed, count.overdue) == (1, 1, 3, 1)


def test_record_of_the_future_does_not_count_and_is_named_with_both_clocks() -> None:
    record = done(1, at("2026-08-09T03:10:00"))
    (row,) = rows_of([proof(record)], "2026-01-10T00:00:00")
    assert row.state in (State.DUE, State.MISSED)
    for words in ("000001-", "2026-08-09", "2026-01-10", "a clock was wrong"):
        assert words in row.said
