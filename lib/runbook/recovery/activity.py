"""What went on over time, as arguments for runbook.report's charts: rows deleted, updated, inserted a minute, the suspects marked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from runbook import clock
from runbook.recovery.forensics import WalSearch
from runbook.recovery.relnames import NameBook
from runbook.recovery.suspects import Suspect

Kind = Literal["deleted", "updated", "inserted", "commits"]
_STEPS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)


def rows_over_time(
    search: WalSearch, names: NameBook, kind: Kind, *, step: int = 60, table: str | None = None
) -> list[tuple[datetime, int]]:
    """(start of the step, rows) from the first to the last one, quiet ones too.

    Args:
        kind: rows deleted, updated or inserted by committed transactions, catalogs left out; or the commits themselves.
        step: seconds; where the search kept longer spans, theirs.
        table: a table's title as the suspects name it; None: all.
    """
    step = max(step, search.span_seconds)
    found: dict[int, int] = {}
    for span in search.spans:
        at = int(span.start.timestamp()) // step * step
        if kind == "commits":
            found[at] = found.get(at, 0) + span.commits
            continue
        for file, activity in span.relations.items():
            if table is None or names.title(file) == table:
                found[at] = found.get(at, 0) + getattr(activity.rows, kind) * names.holds_user_rows(file)
        found.setdefault(at, 0)
    if not found:
        return []
    return [(datetime.fromtimestamp(at, UTC), found.get(at, 0)) for at in range(min(found), max(found) + step, step)]


def line_arguments(
    search: WalSearch, names: NameBook, suspects: Sequence[Suspect], kind: Kind = "deleted", *, table: str | None = None
) -> dict[str, Any]:
    """Arguments for `line_chart`: one point a minute, or a longer step where there are more than 360 of them."""
    points = rows_over_time(search, names, kind, step=_step(search, 360, 60), table=table)
    return {
        "labels": [at for at, _ in points],
        "values": [float(number) for _, number in points],
        "title": _title(kind, table),
        "unit": "commits" if kind == "commits" else "rows",
        "finding": _finding(points, suspects, kind),
    }


def bar_arguments(
    search: WalSearch, names: NameBook, suspects: Sequence[Suspect], kind: Kind = "deleted", *, most: int = 30
) -> dict[str, Any]:
    """Arguments for `bar_chart`: a bar a step, those that hold a suspect's commit marked with its number."""
    step = _step(search, most, 1)
    points = rows_over_time(search, names, kind, step=step)
    step = max(step, search.span_seconds)
    marks: dict[datetime, list[str]] = {}
    for number, suspect in enumerate(suspects, 1):
        at = datetime.fromtimestamp(int(suspect.commit.at.timestamp()) // step * step, UTC)
        marks.setdefault(at, []).append(str(number))
    labels = [
        at.strftime("%m-%d %H:%M:%S") + (f"  ◀ suspect {', '.join(marks[at])}" if at in marks else "")
        for at, _ in points
    ]
    return {
        "labels": labels,
        "values": [float(number) for _, number in points],
        "title": f"{_title(kind, None)}, each {clock.human_seconds(step)}",
        "unit": "commits" if kind == "commits" else "rows",
        "finding": _finding(points, suspects, kind),
    }


def telling_kind(suspects: Sequence[Suspect]) -> Kind:
    """What to draw so that the first suspect stands out; a TRUNCATE or DROP touches no rows, so the commits are drawn."""
    first = suspects[0].kind if suspects else "delete"
    return "updated" if first == "update" else "deleted" if "delete" in first else "commits"


def _step(search: WalSearch, most: int, least: int) -> int:
    """The shortest step that gives no more than so many points."""
    if not search.spans:
        return least
    first, last = (int(search.spans[place].start.timestamp()) for place in (0, -1))
    fitting = (step for step in _STEPS if step >= least and last // step - first // step < most)
    return next(fitting, _STEPS[-1])


def _title(kind: Kind, table: str | None) -> str:
    what = "Commits" if kind == "commits" else f"Rows {kind}"
    return f"{what} over time (UTC)" + (f", {table}" if table else "")


def _finding(points: list[tuple[datetime, int]], suspects: Sequence[Suspect], kind: Kind) -> str:
    if not points:
        return "No transaction committed in the WAL that was read."
    at, most = max(points, key=lambda point: point[1])
    what = "commits" if kind == "commits" else f"rows {kind}"
    peak = f"Most {what} from {clock.stamp(at)[:19]}Z on: {most:,}."
    return peak + (f" Suspect 1: {suspects[0].sentence}." if suspects else " No transaction is suspected.")
