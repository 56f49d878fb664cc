"""The population: every time that a control was due of a target, and what came of it. Pure: no file is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from runbook import clock
from runbook.archive.exceptions import AuditException
from runbook.controls.evidence import Evidence, shortfall
from runbook.params.calendar import Period
from runbook.params.controls import Control


class State(StrEnum):
    """What came of one due task."""

    DONE = "done"
    MISSED = "missed"
    DUE = "due"
    EXCEPTED = "excepted"


@dataclass(frozen=True)
class Row:
    """One control, one target, one period.

    `deadline` is `due_at` plus the control's grace, within the period: what is not done by then is missed, also while the period still lasts.
    `is_late`: done, but after the deadline. `is_overdue`: missed, and nothing has been done since: it has to be done now. `record` is the folder
    of the record that did it, `said` why it is not done, or by what it is excepted. Times are aware UTC.
    """

    control: str
    title: str
    target: str
    period: str
    begin: datetime
    end: datetime
    due_at: datetime
    deadline: datetime
    state: State
    is_late: bool = False
    is_overdue: bool = False
    record: str | None = None
    done_at: datetime | None = None
    certified_by: str | None = None
    exception: AuditException | None = None
    said: str = ""


def population(
    controls: Sequence[Control],
    evidence: Sequence[Evidence],
    targets: Mapping[str, str],
    now: datetime,
    exceptions: Sequence[AuditException] = (),
) -> list[Row]:
    """Every row from each control's `since` to the period that holds `now`, by control, target and period.

    A period counts once, for the first record that did it. A record counts for the period in which its run ended, whatever it was
    scheduled for; one that says it ended after `now` counts for nothing.

    Args:
        evidence: as `read_evidence` gives it.
        targets: name → environment.
        exceptions: those whose signatures count.
    """
    rows: list[Row] = []
    for control in controls:
        every = [one for one in evidence if control.id in one.record.controls]
        for target in targets_of(control, targets):
            mine = [one for one in every if one.record.target.name == target]
            about = _by_period(control, [one for one in mine if one.record.ended_at <= now])
            excepted = [one for one in exceptions if one.control == control.id and one.target in (target, None)]
            periods = [
                period for period in control.calendar.periods(control.begin, now) if period.due_at >= control.begin
            ]
            lines = [_row(control, target, period, about.get(period.begin, []), excepted, now) for period in periods]
            rows += _mark_overdue([_note_future(line, mine, now) for line in lines])
    return rows


def _note_future(row: Row, evidence: Iterable[Evidence], now: datetime) -> Row:
    """A row without a record says which records claim to have ended in the future: a clock was wrong when they were made."""
    later = [one for one in evidence if one.record.ended_at > now]
    if row.state not in (State.DUE, State.MISSED) or not later or row.end <= now:
        return row
    first = min(later, key=lambda one: one.number)
    said = (
        f"{first.folder} says that it ended at {clock.stamp(first.record.ended_at)}, and the clock of this host says "
        f"{clock.stamp(now)}: a clock was wrong, so it does not count"
    )
    return replace(row, said=f"{row.said}; {said}")


def targets_of(control: Control, targets: Mapping[str, str]) -> list[str]:
    """Of which targets the control is due: the ones that it names, else all of its environments; never a sandbox."""
    named = control.targets or tuple(name for name, where in targets.items() if where in control.environments)
    return sorted(name for name in named if targets.get(name) != "sandbox")


def _by_period(control: Control, about: Iterable[Evidence]) -> dict[datetime, list[Evidence]]:
    """The evidence by the beginning of the period in which its run ended: some years of days are too many to look through for each."""
    found: dict[datetime, list[Evidence]] = {}
    for one in about:
        found.setdefault(control.calendar.period_of(one.record.ended_at).begin, []).append(one)
    return found


def _row(
    control: Control,
    target: str,
    period: Period,
    within: Iterable[Evidence],
    exceptions: Iterable[AuditException],
    now: datetime,
) -> Row:
    deadline = min(period.due_at + timedelta(seconds=control.grace), period.end)
    row = Row(
        control.id, control.title, target, period.name, period.begin, period.end, period.due_at, deadline, State.DUE
    )
    lacking = ""
    for one in sorted(within, key=lambda one: (one.record.ended_at, one.number)):
        lack = shortfall(one) or _uncertified(control, one)
        if lack is None:
            at = one.record.ended_at
            return replace(
                row,
                state=State.DONE,
                record=one.folder,
                done_at=at,
                is_late=at > deadline,
                certified_by=one.certified_by,
            )
        lacking = f"{one.folder} does not count: {lack}"
    for exception in exceptions:
        if exception.covers(deadline, period.end, now):
            said = (
                f"{exception.reason} (owner {exception.owner}, signed by {exception.signer}, until {exception.expires})"
            )
            return replace(row, state=State.EXCEPTED, exception=exception, said=said)
    said = lacking or "no record of it"
    return replace(row, state=State.MISSED if now > deadline else State.DUE, said=said)


def _uncertified(control: Control, evidence: Evidence) -> str | None:
    if not control.certified or evidence.certified_by is not None:
        return None
    if evidence.review is not None:
        return f"{evidence.review.reviewer} has rejected it in a signed review"
    return f"it waits for a second person: runbook archive review {evidence.number} --key KEY --accept"


def _mark_overdue(rows: list[Row]) -> list[Row]:
    """The newest missed row is overdue, unless something was done, or excepted, after it. Rows are of one control and target."""
    for index in range(len(rows) - 1, -1, -1):
        if rows[index].state is State.MISSED:
            return [*rows[:index], replace(rows[index], is_overdue=True), *rows[index + 1 :]]
        if rows[index].state in (State.DONE, State.EXCEPTED):
            break
    return rows


@dataclass(frozen=True)
class Count:
    """Completeness of one control for one target: `periods` past or present, of which so many are done, …"""

    control: str
    target: str
    periods: int
    done: int
    late: int
    missed: int
    due: int
    excepted: int
    overdue: int


def completeness(rows: Sequence[Row]) -> list[Count]:
    """One count a control and target, in the order of the rows."""
    keys = dict.fromkeys((row.control, row.target) for row in rows)
    counts = []
    for control, target in keys:
        mine = [row for row in rows if (row.control, row.target) == (control, target)]
        by_state = {state: sum(row.state is state for row in mine) for state in State}
        counts.append(
            Count(
                control,
                target,
                len(mine),
                by_state[State.DONE],
                sum(row.is_late for row in mine),
                by_state[State.MISSED],
                by_state[State.DUE],
                by_state[State.EXCEPTED],
                sum(row.is_overdue for row in mine),
            )
        )
    return counts
