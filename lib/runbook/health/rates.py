"""Rates from two readings of the server's counters. A figure to look at, never to pass or fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = {
    "transactions": ("Transactions", 1.0, "a second"),
    "rows_changed": ("Rows changed", 1.0, "a second"),
    "blocks_read": ("Blocks read from outside shared_buffers", 1.0, "a second"),
    "wal_bytes": ("WAL", 1 / 1048576, "MiB a second"),
    "temporary_bytes": ("Temporary files", 1 / 1048576, "MiB a second"),
    "deadlocks": ("Deadlocks", 1.0, "a second"),
}


def rates(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a rate; a counter that went back was reset in between, and its rate is not measured."""
    seconds = (second["at"] - first["at"]).total_seconds()
    rows: list[dict[str, Any]] = []
    for name, (title, factor, unit) in _UNITS.items():
        rows.append({"what": title, "value": _rate(first[name], second[name], factor, seconds), "unit": unit})
    hit, read = (_rate(first[name], second[name], 1.0, seconds) for name in ("blocks_hit", "blocks_read"))
    share = None if hit is None or read is None or hit + read == 0 else round(100 * hit / (hit + read), 2)
    rows.append({"what": "Blocks found in shared_buffers", "value": share, "unit": "% (no verdict: it says little)"})
    return rows


def _rate(before: float | None, after: float | None, factor: float, seconds: float) -> float | None:
    if before is None or after is None or after < before or seconds <= 0:
        return None
    return round((after - before) * factor / seconds, 3)
