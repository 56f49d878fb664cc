"""Times: aware UTC inside, RFC 3339 with a Z outside."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from runbook.errors import ParamsError

#: Years that every zone, clock and PostgreSQL can count in.
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
#: Of a number of days ago: 9999 days are 27 years; of seconds a billion are 31.
_DIGITS = 9


def now() -> datetime:
    """The present moment, aware, UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds.

    >>> stamp(datetime(2025, 9, 7, 14, 30, tzinfo=UTC))
    '2025-09-07T14:30:00.000000Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def compact(moment: datetime) -> str:
    """UTC for file names, whole seconds.

    >>> compact(datetime(2025, 9, 7, 14, 30, tzinfo=UTC))
    '20250907T143000Z'
    """
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def parse(text: str) -> datetime:
    """An aware time from ISO 8601 text; a naive one is refused, since tools read it in different zones.

    >>> parse("2025-09-07 14:30:00+02:00").isoformat()
    '2025-09-07T12:30:00+00:00'

    Raises:
        ParamsError: not a time, or a time without a zone.
    """
    cleaned = text.strip()
    if cleaned.upper().endswith(" UTC"):
        cleaned = cleaned[:-4] + "+00:00"
    try:
        moment = datetime.fromisoformat(cleaned)
    except ValueError as cause:
        raise ParamsError(
            f"'{text}' is not a time.", next="Write it as 2025-09-07T14:30:00Z or 2025-09-07 14:30:00+02:00."
        ) from cause
    if moment.tzinfo is None:
        raise ParamsError(
            f"The time '{text}' has no time zone: tools disagree on how to read it.",
            next=f"Write {cleaned}Z if it is UTC, or with an offset such as {cleaned}-05:00.",
        )
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ParamsError(
            f"The time '{text}' is not between the years {_FIRST_YEAR} and {_LAST_YEAR}.", next="Correct the year."
        )
    return moment.astimezone(UTC)


_AGO = re.compile(r"^\s*(\d+)\s*(second|minute|hour|day)s?\s+ago\s*$", re.IGNORECASE)


def parse_ago(text: str) -> timedelta | None:
    """The span in a phrase such as '24 hours ago'; None when the text is no such phrase.

    Raises:
        ParamsError: it reaches too far back.

    >>> parse_ago("24 hours ago")
    datetime.timedelta(days=1)
    >>> parse_ago("latest") is None
    True
    """
    match = _AGO.match(text)
    if match is None:
        return None
    if len(match[1]) > _DIGITS:
        raise ParamsError(f"'{text[:60]}' is longer ago than any backup.", next="Give a shorter time.")
    return timedelta(**{match[2].lower() + "s": int(match[1])})


def human_seconds(seconds: float) -> str:
    """A span for people.

    >>> human_seconds(0.4), human_seconds(75), human_seconds(7265), human_seconds(1200)
    ('0.4 s', '1 min 15 s', '2 h 1 min', '20 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return _two(seconds, 60, "min", 1, "s")
    if seconds < 2 * 86400:
        return _two(seconds, 3600, "h", 60, "min")
    return _two(seconds, 86400, "d", 3600, "h")


def _two(seconds: float, large: int, name: str, small: int, other: str) -> str:
    rest = int(seconds % large // small)
    return f"{int(seconds // large)} {name}" + (f" {rest} {other}" if rest else "")


def human_days(seconds: float) -> str:
    """A time of keeping, in days; never longer than it is.

    >>> human_days(30 * 86400), human_days(36 * 3600), human_days(30 * 86400 - 60)
    ('30 d', '1.5 d', '29.9 d')
    """
    return f"{math.floor(seconds / 8640) / 10:g} d"


def human_bytes(size: float) -> str:
    """A size for people, in binary units.

    >>> human_bytes(16777216), human_bytes(10)
    ('16.0 MiB', '10 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
