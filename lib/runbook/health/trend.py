"""What has changed since an earlier look: new, worse, better, the same, fixed; and when a resource will be used up. Pure.

The earlier look is what `remember` made of it, kept among the facts of its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.inspection.states import Looked, in_order

#: A figure that moved less than this share is called the same.
_SAME = 0.05
_DAY = 86400.0


def remember(looked: Iterable[Looked], at: datetime) -> dict[str, Any]:
    """This look as JSON, for later ones to compare with."""
    looked = list(looked)
    return {
        "at": clock.stamp(at),
        "measured": sorted({f"{one.name}@{one.database or ''}" for one in looked if one.is_whole}),
        "findings": {
            seen.key: {"state": str(seen.state), "value": seen.value, "unit": seen.unit}
            for one in looked
            for seen in one.everything
            if seen.is_finding
        },
        "figures": {
            seen.key: seen.value
            for one in looked
            if one.exhausts is not None
            for seen in one.everything
            if seen.value is not None
        },
    }


def compare(looked: Iterable[Looked], earlier: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A row a finding of this look or the earlier one: what became of it."""
    looked = list(looked)
    known: Mapping[str, Any] = earlier["findings"] if earlier else {}
    rows, present = [], set()
    for seen in in_order(seen for one in looked for seen in one.everything):
        present.add(seen.key)
        place = f"{seen.check}@{seen.database or ''}"
        before = known.get(seen.key)
        was_measured = earlier is not None and place in earlier["measured"]
        became = (
            _became(before, str(seen.state), seen.value)
            if before
            else ("new" if was_measured else "seen for the first time")
        )
        rows.append(_row(seen.check, seen.database, seen.object, became, before, seen.observed))
    measured = {f"{one.name}@{one.database or ''}" for one in looked if one.is_whole}
    for key, before in known.items():
        if key in present:
            continue
        place, _, name = key.partition("/")
        check, _, database = place.partition("@")
        became, observed = ("fixed", "gone") if place in measured else ("not measured now", "–")
        rows.append(_row(check, database or None, name, became, before, observed))
    return rows


def _became(before: Mapping[str, Any], state: str, value: float | None) -> str:
    if state != before["state"]:
        return "worse" if state == "critical" else "better"
    if value is None or before["value"] is None:
        return "the same"
    moved = value - float(before["value"])
    if abs(moved) <= _SAME * max(abs(float(before["value"])), abs(value)):
        return "the same"
    return "worse" if moved > 0 else "better"


def _row(
    check: str, database: str | None, name: str, became: str, before: Mapping[str, Any] | None, now: str
) -> dict[str, Any]:
    was = "–"
    if before:
        was = f"{before['value']:g} {before['unit']}" if before["value"] is not None else str(before["state"])
    return {"became": became, "check": check, "database": database or "–", "object": name, "before": was, "now": now}


def exhaustion(looked: Iterable[Looked], earlier: Mapping[str, Any] | None, at: datetime) -> list[dict[str, Any]]:
    """Days until each resource is used up, nearest first: a straight line through two looks, and nothing better.

    `days` is None where there is no line: no earlier figure, or one that does not rise.
    """
    rows = []
    days_between = (at - clock.parse(earlier["at"])).total_seconds() / _DAY if earlier else 0.0
    for one in looked:
        for seen in one.everything:
            if one.exhausts is None or seen.value is None:
                continue
            before = earlier["figures"].get(seen.key) if earlier else None
            days = None
            if before is not None and days_between > 0 and seen.value > before:
                days = (one.exhausts - seen.value) / ((seen.value - before) / days_between)
            rows.append(
                {
                    "resource": f"{seen.database}: {seen.object}" if seen.database else seen.object,
                    "check": seen.check,
                    "used_percent": seen.value,
                    "days": None if days is None else round(days, 1),
                    "how": f"straight line through two looks, {days_between:.2g} days apart"
                    if days is not None
                    else ("no earlier figure" if before is None else "does not rise"),
                }
            )
    return sorted(rows, key=lambda row: (row["days"] is None, row["days"] or 0, -float(str(row["used_percent"]))))
