"""When somebody is on duty: weekly hours on the wall clock of a place, so that a change of clocks moves them as it moves people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from runbook.params.calendar import WEEKDAYS
from runbook.params.loading import nearest

ALWAYS = "24x7"

#: What zone databases hold beside places: the machine's own zone, which is another one elsewhere, and none at all.
_NO_PLACES = ("localtime", "posixrules", "Factory")
_DAY = "|".join(WEEKDAYS)
_SHIFT = re.compile(rf"({_DAY})(?:-({_DAY}))? ([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True)
class Shift:
    """Minutes of the day from `begin` to before `end`, on each of `days` (Monday 0); an end that is not later lies on the next day."""

    days: frozenset[int]
    begin: int
    end: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether this minute of this weekday is in it."""
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        return (weekday in self.days and minute >= self.begin) or ((weekday - 1) % 7 in self.days and minute < self.end)


def read_shift(text: str) -> Shift | None:
    """The shift that these words name; None for 24x7.

    >>> read_shift("Friday-Monday 22:00-06:00").holds(1, 5 * 60)
    True
    >>> read_shift("24x7") is None
    True

    Raises:
        ValueError: they name none.
    """
    if text == ALWAYS:
        return None
    found = _SHIFT.fullmatch(text)
    if found is None or (found[5] == "24" and found[6] != "00"):
        raise ValueError(f"'{text}' are no hours: write '24x7', 'Monday-Friday 09:00-17:30' or 'Sunday 22:00-06:00'")
    first = WEEKDAYS.index(found[1])
    count = (WEEKDAYS.index(found[2] or found[1]) - first) % 7 + 1
    begin, end = int(found[3]) * 60 + int(found[4]), int(found[5]) * 60 + int(found[6])
    if begin == end:
        raise ValueError(f"'{text}' has no length: write 00:00-24:00 for a whole day")
    return Shift(frozenset((first + n) % 7 for n in range(count)), begin, end)


def read_zone(name: str) -> ZoneInfo:
    """The place's clock.

    Raises:
        ValueError: nobody knows that name; the nearest is given.
    """
    try:
        if name in _NO_PLACES:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = nearest(name, [zone for zone in available_timezones() if "/" in zone] + ["UTC"])
        hint = hint if hint.startswith("did you") else "write an IANA name, such as Europe/Berlin or UTC"
        raise ValueError(f"there is no time zone '{name}'; {hint}") from None


@dataclass(frozen=True)
class Hours:
    """Somebody's weekly hours on the clock of a zone; None among the shifts means always."""

    shifts: tuple[Shift | None, ...]
    zone: ZoneInfo

    @cached_property
    def is_always(self) -> bool:
        return None in self.shifts

    def covers(self, moment: datetime) -> bool:
        """Whether the aware moment lies in them: what the wall clock there says then decides.

        >>> from datetime import UTC
        >>> berlin = read_hours(["Monday-Friday 09:00-17:00"], "Europe/Berlin")
        >>> [berlin.covers(datetime(2026, month, 2, 7, 30, tzinfo=UTC)) for month in (3, 6)]  # 08:30 and 09:30 there
        [False, True]
        """
        if self.is_always:
            return True
        there = moment.astimezone(self.zone)
        weekday, minute = there.weekday(), there.hour * 60 + there.minute
        return any(shift is not None and shift.holds(weekday, minute) for shift in self.shifts)


def read_hours(texts: Sequence[str], zone: str) -> Hours:
    """The hours that these words name.

    Raises:
        ValueError: one of them, or the zone, cannot be read.
    """
    return Hours(tuple(read_shift(text) for text in texts), read_zone(zone))
