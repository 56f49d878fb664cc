"""Who is on duty, and when nobody is. Pure: a roster and a moment in, people and gaps out.

Hours are looked at minute by minute, as the wall clock of each person shows it then: exact in every zone, and when clocks change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from runbook.params.contacts import Person, Role, Roster

WEEK = timedelta(days=7)
_MINUTE = timedelta(minutes=1)


def on_duty(roster: Roster, role: Role, moment: datetime) -> list[Person]:
    """The people of a role who are on duty at that aware moment, in the order in which they are called."""
    return [person for person in roster.people_of(role) if person.duty.covers(moment)]


@dataclass(frozen=True)
class Gap:
    """From `begin` to before `end` (aware UTC) nobody of the role is on duty."""

    role: str
    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()

    def __str__(self) -> str:
        return f"{self.begin:%a %Y-%m-%d %H:%M} to {self.end:%a %Y-%m-%d %H:%M} UTC"


def find_gaps(roster: Roster, role: Role, begin: datetime, length: timedelta = WEEK) -> list[Gap]:
    """Every stretch of time from `begin` on, whole minutes, in which nobody of the role is on duty; oldest first."""
    people = roster.people_of(role)
    if any(person.duty.is_always for person in people):
        return []
    first = begin.astimezone(UTC).replace(second=0, microsecond=0)
    gaps: list[Gap] = []
    opened: datetime | None = None
    count = int(length / _MINUTE)
    for n in range(count):
        moment = first + n * _MINUTE
        covered = any(person.duty.covers(moment) for person in people)
        if covered and opened is not None:
            gaps.append(Gap(role.id, opened, moment))
            opened = None
        elif not covered and opened is None:
            opened = moment
    if opened is not None:
        gaps.append(Gap(role.id, opened, first + count * _MINUTE))
    return gaps


def clock_changes(zones: Iterable[ZoneInfo], begin: datetime, days: int = 366) -> list[date]:
    """The days on which clocks change in any of the zones.

    >>> clock_changes([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")], datetime(2026, 3, 1, tzinfo=UTC), 60)
    [datetime.date(2026, 3, 8), datetime.date(2026, 3, 29)]
    """
    noon = begin.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    found = set()
    for zone in set(zones):
        offsets = [(noon + timedelta(days=n)).astimezone(zone).utcoffset() for n in range(days + 1)]
        found |= {(noon + timedelta(days=n)).date() for n in range(1, days + 1) if offsets[n] != offsets[n - 1]}
    return sorted(found)


def find_later_gaps(roster: Roster, role: Role, begin: datetime) -> dict[date, list[Gap]]:
    """Gaps of a role that is covered now, in the weeks after clocks change within a year: day of the change → gaps.

    People in zones that change their clocks on different days may leave an hour between them for some weeks.
    """
    zones = [person.duty.zone for person in roster.people_of(role)]
    found = {}
    for day in clock_changes(zones, begin):
        gaps = find_gaps(roster, role, datetime(day.year, day.month, day.day, tzinfo=UTC))
        if gaps:
            found[day] = gaps
    return found
