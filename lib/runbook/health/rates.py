"""Rates from two readings of the server's counters. A figure to look at, never to pass or fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook import clock

#: What a record keeps of statements: those that have taken most time. One that is not among them is judged since the counters' reset.
_MOST_KEPT = 200

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


def statement_rates(first: list[dict[str, Any]], second: list[dict[str, Any]], most: int = 10) -> list[dict[str, Any]]:
    """The statements that took most time between two readings, a row each; one whose counters began anew is left out."""
    before = {row["key"]: row for row in first}
    taken = []
    for row in second:
        earlier = before.get(row["key"], {"calls": 0, "milliseconds": 0.0})
        calls = row["calls"] - earlier["calls"]
        if calls > 0 and row["milliseconds"] >= earlier["milliseconds"]:
            taken.append((row["milliseconds"] - earlier["milliseconds"], calls, row["text"]))
    whole = sum(milliseconds for milliseconds, _, _ in taken)
    return [
        {
            "statement": text,
            "calls": calls,
            "ms in all": round(milliseconds, 1),
            "ms a call": round(milliseconds / calls, 2),
            "share of the time, %": round(100 * milliseconds / whole, 1) if whole else 0.0,
        }
        for milliseconds, calls, text in sorted(taken, key=lambda one: -one[0])[:most]
    ]


def keep_statements(taken: list[dict[str, Any]], at: datetime) -> dict[str, Any]:
    """A reading as JSON, for the next look: calls and milliseconds by statement, without its text."""
    most = sorted(taken, key=lambda row: -row["milliseconds"])[:_MOST_KEPT]
    # Not rounded: a figure above what the server has would look like counters that went back.
    kept = {row["key"]: [row["calls"], row["milliseconds"]] for row in most}
    return {"at": clock.stamp(at), "taken": kept}


def given_statements(kept: Mapping[str, Any] | None) -> dict[str, object]:
    """What the check of slow statements is given of an earlier reading; None: there is none."""
    if kept is None:
        return {"statements_before": None, "statements_at": None}
    return {"statements_before": json.dumps(kept["taken"]), "statements_at": clock.parse(kept["at"])}


def _rate(before: float | None, after: float | None, factor: float, seconds: float) -> float | None:
    if before is None or after is None or after < before or seconds <= 0:
        return None
    return round((after - before) * factor / seconds, 3)
