"""Values as people read them: times in UTC, numbers grouped, sizes and spans beside the exact figure."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypeGuard

from runbook import clock
from runbook.texts import LONGEST, cut, unit_of, visible

__all__ = ["amount_text", "is_number", "number_text", "plain", "text_of", "time_text", "visible"]

#: CSI, OSC and two-byte escape sequences (ECMA-48), as tracebacks and command output carry them.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
#: Control characters that HTML 5 and XML refuse; tab, line feed and carriage return stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def plain(text: str) -> str:
    r"""Text without terminal colours and control characters; a carriage return redraws its line.

    >>> plain("\x1b[31mError\x1b[0m: 10 %\r20 %")
    '20 %'
    >>> plain("a\r\nb")
    'a\nb'
    """
    bare = _ANSI.sub("", text).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rsplit("\r", 1)[-1] for line in bare.split("\n"))
    return _CONTROL.sub("", "\n".join(lines))


def is_number(value: object) -> TypeGuard[float | Decimal]:
    """True for what stands right-aligned: a truth value is no number.

    >>> is_number(3), is_number(True), is_number("3")
    (True, False, False)
    """
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def number_text(value: float | Decimal) -> str:
    r"""A number with thousands grouped by a narrow space; fractions keep what they need and no more.

    >>> number_text(1234567), number_text(0.5), number_text(12.3456), number_text(1234.5)
    ('1\u202f234\u202f567', '0.5', '12.35', '1\u202f234.5')
    """
    if isinstance(value, int):
        text = f"{value:,}"
    elif not math.isfinite(value):
        return str(value)
    elif abs(float(value)) >= 1:
        text = f"{value:,.2f}".rstrip("0").rstrip(".")
    else:
        text = f"{value:.4g}"
    return text.replace(",", "\u202f")


def time_text(moment: datetime) -> str:
    """A moment in UTC, to the second; a naive one says so.

    >>> time_text(datetime(2025, 9, 7, 14, 30, 5, 999, tzinfo=UTC))
    '2025-09-07 14:30:05 UTC'
    """
    if moment.tzinfo is None:
        return f"{moment:%Y-%m-%d %H:%M:%S} (no zone)"
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def text_of(value: Any) -> str:
    """Any value as one piece of text, in which nothing hides; a very long one is cut and says how long it is.

    >>> text_of(None), text_of(True), text_of(["a", 1]), text_of(timedelta(seconds=75))
    ('–', 'yes', 'a, 1', '1 min 15 s')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    if is_number(value):
        return number_text(value)
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return clock.human_seconds(value.total_seconds())
    if isinstance(value, bytes):
        return _shown(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, dict):
        return _shown(json.dumps(value, default=text_of, ensure_ascii=False, sort_keys=True))
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [text_of(item) for item in value]
        return cut(", ".join(sorted(parts) if isinstance(value, (set, frozenset)) else parts), LONGEST)
    return _shown(str(value))


def _shown(text: str) -> str:
    return visible(cut(text, LONGEST))


def amount_text(value: float, unit: str) -> str:
    r"""A figure with its unit (never parted by a line's end), and the human form where the figure is hard to read.

    >>> amount_text(1800, "s"), amount_text(75.2, "s"), amount_text(3, "rows")
    ('30 min (1\u202f800\xa0s)', '1 min 15 s (75.2\xa0s)', '3\xa0rows')
    >>> amount_text(16777216, "bytes")
    '16.0 MiB (16\u202f777\u202f216\xa0bytes)'
    """
    exact = f"{number_text(value)}\u00a0{unit_of(value, unit)}"
    if unit == "s" and abs(value) >= 60:
        return f"{clock.human_seconds(value)} ({exact})"
    if unit in ("bytes", "B") and abs(value) >= 1024:
        return f"{clock.human_bytes(value)} ({exact})"
    return exact
