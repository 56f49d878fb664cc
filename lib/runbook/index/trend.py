"""How a figure and the verdicts went over time, as a small SVG that says in words what it shows."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from runbook.clock import human_seconds
from runbook.index.rows import Figure, Row
from runbook.model import Verdict

#: So many of the newest records are drawn; the finding counts them.
_MOST = 300
_WIDTH, _LEFT, _RIGHT = 720, 96, 700
_SPANS = tuple(
    float(span)
    for span in (1, 2, 4, 10, 20, 40, 60, 120, 240, 600, 1200, 1800, 3600, 7200, 4 * 3600, 8 * 3600, 24 * 3600, 48 * 3600,
                 4 * 86400, 10 * 86400)
)  # fmt: skip
_LANES = (Verdict.PASS, Verdict.WAITING, Verdict.INCOMPLETE, Verdict.FAIL)


@dataclass(frozen=True)
class Trend:
    """A chart. `finding` is its alternative text and stands beside it."""

    title: str
    finding: str
    svg: str


def trends(rows: Sequence[Row]) -> list[Trend]:
    """Verdicts, then RTO and RPO of each target that was measured. Rows are oldest first; two points make a trend."""
    drawn = [trend for trend in (verdict_trend(rows),) if trend is not None]
    for name in ("rto", "rpo"):
        for target in sorted({row.target for row in rows if getattr(row, name) is not None})[:6]:
            trend = figure_trend(rows, name, target)
            drawn += [trend] if trend is not None else []
    return drawn


def verdict_trend(rows: Sequence[Row]) -> Trend | None:
    """One mark for each record in the lane of its verdict."""
    shown = [row for row in rows if row.verdict in _LANES][-_MOST:]
    if len(shown) < 2:
        return None
    counted = Counter(row.verdict for row in shown)
    tally = ", ".join(f"{counted[lane]} {lane}" for lane in _LANES if counted[lane])
    last = shown[-1]
    bad = [row for row in shown if row.verdict == Verdict.FAIL]
    failed = f" The last FAIL was on {bad[-1].started_at:%Y-%m-%d}." if bad else " None failed."
    finding = f"Of the last {len(shown)} records: {tally}. The newest, of {last.started_at:%Y-%m-%d}, is {last.verdict}.{failed}"
    place = _places(shown)
    lanes = [lane for lane in _LANES if counted[lane]]
    parts = []
    for index, lane in enumerate(lanes):
        y = 16 + 24 * index
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/><text x="0" y="{y + 4}">{lane}</text>')
        marks = "".join(f"M{x} {y - 6}v12" for x, row in zip(place, shown, strict=True) if row.verdict == lane)
        parts.append(f'<path class="mark is-{lane.lower()}" d="{marks}"/>')
    bottom = 16 + 24 * len(lanes)
    return _trend("Verdicts", finding, bottom + 14, [*parts, _dates(shown, bottom + 8)])


def figure_trend(rows: Sequence[Row], name: str, target: str) -> Trend | None:
    """A line over time, with the budget beside it."""
    found: list[tuple[Row, Figure]] = []
    for row in rows:
        figure = row.rto if name == "rto" else row.rpo
        if figure is not None and row.target == target:
            found.append((row, figure))
    found = found[-_MOST:]
    if len(found) < 2:
        return None
    seconds = [figure.seconds for _, figure in found]
    finding = _figure_finding(name.upper(), found)
    budgets = [figure.budget for _, figure in found if figure.budget is not None]
    top = _nice(max([*seconds, *(budgets[-1:])]) or 1.0)
    place = _places([row for row, _ in found])
    height = 150

    def level(value: float) -> float:
        return round(10 + (height - 20) * (1 - min(value, top) / top), 1)

    parts = [
        f'<path class="grid" d="M{_LEFT} {level(value)}H{_RIGHT}"/><text x="0" y="{level(value) + 4:g}">'
        f"{human_seconds(value) if value else '0'}</text>"
        for value in (0.0, top / 2, top)
    ]
    if budgets:
        parts.append(f'<path class="budget" d="M{_LEFT} {level(budgets[-1])}H{_RIGHT}"/>')
        side = level(budgets[-1])
        parts.append(f'<text x="{_RIGHT}" y="{side - 4 if side > 20 else side + 13:g}" text-anchor="end">budget</text>')
    points = [f"{x} {level(value)}" for x, value in zip(place, seconds, strict=True)]
    parts.append(f'<path class="line" d="M{"L".join(points)}"/>')
    parts.append('<path class="dots" d="' + "".join(f"M{point}h0" for point in points) + '"/>')
    parts.append(_dates([row for row, _ in found], height + 8))
    return _trend(f"{name.upper()} of {target}", finding, height + 14, parts)


def _figure_finding(word: str, found: Sequence[tuple[Row, Figure]]) -> str:
    seconds = [figure.seconds for _, figure in found]
    row, worst = max(found, key=lambda one: one[1].seconds)
    said = (
        f"{word}: last {human_seconds(seconds[-1])}, median {human_seconds(statistics.median(seconds))}, "
        f"worst {human_seconds(worst.seconds)} on {row.started_at:%Y-%m-%d}, in {len(found)} records."
    )
    judged = [(figure.seconds, figure.budget) for _, figure in found if figure.budget is not None]
    if not judged:
        return f"{said} There is no budget to compare with."
    over = sum(value > budget for value, budget in judged)
    held = "all within their budget" if not over else f"{over} of {len(judged)} over their budget"
    return f"{said} The budget is {human_seconds(judged[-1][1])}: {held}."


def _nice(value: float) -> float:
    """The axis's end, at or above the value: a span whose half reads well too.

    >>> _nice(0.4), _nice(1700.0), _nice(86400 * 9)
    (0.4, 1800.0, 864000.0)
    """
    if value < 1 or value > 10 * 86400:
        power = 10.0 ** math.floor(math.log10(value))
        return next(round(step * power, 9) for step in (1, 2, 4, 10) if step * power >= value * 0.999999)
    return next(span for span in _SPANS if span >= value)


def _places(rows: Sequence[Row]) -> list[float]:
    """Times at their true distances."""
    times = [row.started_at.timestamp() for row in rows]
    first, span = min(times), (max(times) - min(times)) or 1.0
    return [round(_LEFT + 6 + (_RIGHT - _LEFT - 12) * (moment - first) / span, 1) for moment in times]


def _dates(rows: Sequence[Row], y: int) -> str:
    times = sorted(row.started_at for row in rows)
    return (
        f'<text x="{_LEFT}" y="{y + 2}">{times[0]:%Y-%m-%d}</text>'
        f'<text x="{_RIGHT}" y="{y + 2}" text-anchor="end">{times[-1]:%Y-%m-%d}</text>'
    )


def _trend(title: str, finding: str, height: int, parts: Sequence[str]) -> Trend:
    label = escape(f"{title}. {finding}", quote=True)
    svg = (
        f'<svg class="trend" role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {height}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
    return Trend(title, finding, svg)
