"""When a task is due: every day, or a day of every month, quarter, half-year or year, and a time on that day in a zone.

A period is a whole day (month, quarter, …) in that zone, a day of 23 or 25 hours too. A time that the change of clocks skips or doubles is refused beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAILY = "day"
MONTHS = {"month": 1, "quarter": 3, "half-year": 6, "year": 12}

_DAY = re.compile(r"(?:day (\d{1,2})|first (" + "|".join(WEEKDAYS) + "))")
_AT = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
#: So many years ahead no due time may fall into a change of clocks.
_YEARS = 10


@dataclass(frozen=True)
class Period:
    """A stretch of the calendar in which a task is due once; the end is not included. All aware UTC."""

    name: str
    begin: datetime
    end: datetime
    due_at: datetime


@dataclass(frozen=True)
class Calendar:
    """`day` of the `month`-th month of every period, or each day, at `at` in `zone`; see `read_calendar`."""

    every: str
    month: int
    weekday: int | None
    day: int | None
    at: time
    zone: ZoneInfo

    @property
    def is_daily(self) -> bool:
        return self.every == DAILY

    @property
    def months(self) -> list[int]:
        """The months of a year in which the task is due.

        >>> read_calendar("quarter", "first Monday", "03:00", 1, "UTC").months
        [1, 4, 7, 10]
        """
        return list(range(self.month, 13, MONTHS.get(self.every, 1)))

    def said(self) -> str:
        """The calendar for people.

        >>> read_calendar("month", "first Sunday", "03:00", 1, "UTC").said()
        'every month, first Sunday, 03:00 UTC'
        """
        if self.is_daily:
            return f"every day, {self.at:%H:%M} {self.zone.key}"
        day = f"day {self.day}" if self.weekday is None else f"first {WEEKDAYS[self.weekday]}"
        month = "" if self.every == "month" else f" of its month {self.month}"
        return f"every {self.every}, {day}{month}, {self.at:%H:%M} {self.zone.key}"

    def day_in(self, year: int, month: int) -> date:
        """The due day of a month, of a task that has one."""
        if self.weekday is None:
            assert self.day is not None
            return date(year, month, self.day)
        return date(year, month, 1 + (self.weekday - date(year, month, 1).weekday()) % 7)

    def period_of(self, moment: datetime) -> Period:
        """The period that holds the moment."""
        there = moment.astimezone(self.zone)
        if self.is_daily:
            today = there.date()
            return Period(
                today.isoformat(),
                self._utc(today, time()),
                self._utc(today + timedelta(days=1), time()),
                self._utc(today, self.at),
            )
        length = MONTHS[self.every]
        first = (there.month - 1) // length * length + 1
        year, following = there.year, first + length
        day = self.day_in(year, first + self.month - 1)
        return Period(
            _name(self.every, year, first),
            self._utc(date(year, first, 1), time()),
            self._utc(date(year + (following > 12), (following - 1) % 12 + 1, 1), time()),
            self._utc(day, self.at),
        )

    def periods(self, begin: datetime, end: datetime) -> Iterator[Period]:
        """Every period from the one that holds `begin` to the one that holds `end`, oldest first."""
        one = self.period_of(begin)
        while one.begin <= end:
            yield one
            one = self.period_of(one.end)

    def latest_due(self, moment: datetime) -> datetime:
        """The newest due time that is not after the moment."""
        one = self.period_of(moment)
        return one.due_at if one.due_at <= moment else self.period_of(one.begin - timedelta(hours=1)).due_at

    def _utc(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)

    def clock_change(self, begin: date) -> date | None:
        """The first due day in the years to come on which the time is skipped or comes twice; None when there is none."""
        for year in range(begin.year, begin.year + _YEARS):
            for day in self._due_days(year):
                there = datetime.combine(day, self.at, self.zone)
                if there.utcoffset() != there.replace(fold=1).utcoffset():
                    return day
        return None

    def _due_days(self, year: int) -> list[date]:
        if self.is_daily:
            first = date(year, 1, 1)
            return [first + timedelta(days=number) for number in range((date(year + 1, 1, 1) - first).days)]
        return [self.day_in(year, month) for month in self.months]


def _name(every: str, year: int, first: int) -> str:
    part = (first - 1) // MONTHS[every] + 1
    return {"month": f"{year}-{first:02d}", "quarter": f"{year}-Q{part}", "half-year": f"{year}-H{part}"}.get(
        every, str(year)
    )


def _read_day(text: str) -> tuple[int | None, int | None]:
    """The weekday whose first one is meant, or the day of the month."""
    named = _DAY.fullmatch(text)
    if named is None or (named[1] is not None and not 1 <= int(named[1]) <= 28):
        raise ValueError(f"'{text}' is no day: write 'first Sunday', or 'day 15' (1 to 28, which every month has)")
    return (WEEKDAYS.index(named[2]), None) if named[2] is not None else (None, int(named[1]))


def read_calendar(every: str, day: str, at: str, month: int, zone: str) -> Calendar:
    """The calendar that these words name.

    >>> read_calendar("month", "first Sunday", "03:00", 1, "UTC").period_of(datetime(2026, 11, 24, tzinfo=UTC)).due_at.isoformat()
    '2026-11-01T03:00:00+00:00'

    Args:
        every: day, month, quarter, half-year or year.
        day: 'first Sunday', or 'day 15' (1 to 28: every month has it); empty for every day.
        at: HH:MM in the zone.
        month: which month of the period, from 1; 1 for every day.
        zone: an IANA name, such as Europe/Berlin.

    Raises:
        ValueError: one of them cannot be read, or the change of clocks would skip or double a due time.
    """
    weekday, number = (None, None) if every == DAILY else _read_day(day)
    clocked = _AT.fullmatch(at)
    if every == DAILY and (day or month != 1):
        raise ValueError("what is due every day has no 'day' and no 'month': leave them out")
    if clocked is None:
        raise ValueError(f"'{at}' is no time of day: write it as 03:00")
    if every != DAILY and (every not in MONTHS or not 1 <= month <= MONTHS[every]):
        raise ValueError(f"a {every} has no month {month}: give 1 to {MONTHS.get(every, 1)}")
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone '{zone}': write an IANA name, such as Europe/Berlin or UTC") from None
    found = Calendar(
        every,
        month,
        weekday,
        number,
        time(int(clocked[1]), int(clocked[2])),
        place,
    )
    changed = found.clock_change(date(2025, 1, 1))
    if changed is not None:
        raise ValueError(
            f"{at} in {zone} is skipped or comes twice on {changed}, when clocks change: choose another time"
        )
    return found
