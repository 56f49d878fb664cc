"""The time that a server's log files span, from their first and last lines; gzipped ones too.

Source: PostgreSQL 17, log_line_prefix (%m, %t) and csvlog: a line begins with the time, in the zone of log_timezone.
"""

from __future__ import annotations

import gzip
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runbook import layout
from runbook.retention.kept import LogFile

#: So much is read at each end of a file.
_END_BYTES = 256 << 10
_TIME = re.compile(
    rb"^[^\d\n]{0,20}(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?) ?([A-Za-z_/]+|[+-]\d\d(?::?\d\d)?)?", re.M
)


def find_logs(patterns: tuple[str, ...]) -> list[Path]:
    """The files that params name; relative patterns start at the home."""
    found: set[Path] = set()
    for pattern in patterns:
        path = layout.resolve(pattern)
        fixed = Path(*path.parts[: next((i for i, part in enumerate(path.parts) if re.search(r"[*?\[]", part)), -1)])
        if fixed == Path() or not re.search(r"[*?\[]", str(path)):
            found |= {path} if path.is_file() else set()
        else:
            found |= {one for one in fixed.glob(str(path.relative_to(fixed))) if one.is_file()}
    return sorted(found)


def read_log(path: Path) -> LogFile | None:
    """What a file spans; None when no line of it has a time that can be placed, or it cannot be read."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                head = tail = packed.read(_END_BYTES)
                while chunk := packed.read(_END_BYTES):
                    tail = tail[-_END_BYTES:] + chunk
        else:
            with path.open("rb") as file:
                head = file.read(_END_BYTES)
                file.seek(max(0, path.stat().st_size - _END_BYTES))
                tail = file.read()
    except (OSError, EOFError, zlib.error):
        return None
    first = next((moment for match in _TIME.finditer(head) if (moment := _moment(match)) is not None), None)
    ends = [moment for match in _TIME.finditer(tail) if (moment := _moment(match)) is not None]
    if first is None or not ends:
        return None
    return LogFile(path.name, min(first, ends[-1]), max(first, ends[-1]))


def _moment(match: re.Match[bytes]) -> datetime | None:
    """A line's time in UTC; None when it is none. A zone that is missing, or is an abbreviation that nobody can place (CEST), is read
    as UTC: at most 14 hours wrong, where a year is measured."""
    try:
        there = datetime.fromisoformat(match[1].decode())
        zone = (match[2] or b"").decode()
        if zone in ("UTC", "GMT", "Z"):
            return there.replace(tzinfo=UTC)
        if zone[:1] in ("+", "-") and len(zone) > 1:
            return datetime.fromisoformat(there.isoformat() + (zone if len(zone) > 3 else zone + ":00")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    try:
        return there.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except (ValueError, OverflowError, ZoneInfoNotFoundError, OSError):
        return there.replace(tzinfo=UTC)
