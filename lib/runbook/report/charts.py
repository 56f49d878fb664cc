"""Charts as SVG: the finding stands in the picture and in its alternative text; readable on light and dark.

Drawn with matplotlib's SVG backend without pyplot: no window system, no global state, the same bytes each time.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import math
import re
import textwrap
import threading
import warnings
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from runbook.report.values import number_text, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Mid-tones with at least 4.5:1 (text) and 3:1 (marks) on white and on near-black, since the reader picks the theme.
INK = "#767676"
GRID = "#8a8a8a"
MARK = "#3f83c4"
#: Longer labels are cut in the picture; the text form keeps them whole.
LABEL_LENGTH = 34

_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "runbook",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.alpha": 0.28,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
}


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart to display: SVG where pictures are shown, title, finding and values elsewhere."""

    title: str
    finding: str
    unit: str
    points: tuple[tuple[str, float], ...]
    svg: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": str(self)}

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.points), default=0)
        lines = [f"{label.ljust(width)}  {number_text(value)} {self.unit}" for label, value in self.points]
        return "\n".join([self.title, self.finding, *lines])

    __repr__ = __str__


@functools.cache
def load_beside() -> threading.Thread:
    """matplotlib is being imported while the caller goes on."""
    thread = threading.Thread(target=_load, name="load matplotlib", daemon=True)
    thread.start()
    return thread


def _load() -> None:
    for name in ("backends.backend_svg", "figure", "ticker", "dates"):
        importlib.import_module(f"matplotlib.{name}")


def bar_chart(labels: Sequence[object], values: Sequence[float], *, title: str, unit: str, finding: str) -> Chart:
    """Horizontal bars, one a label, each with its value.

    Args:
        labels: names or times, one a value; at most about 40 stay legible.
        values: finite figures in `unit`.
        title: what is shown. finding: what it says, one sentence; both are the alternative text.

    Raises:
        ValueError: labels and values differ in number, or a value is not finite.
    """
    names, values = _checked(labels, values)
    with _settings():
        figure, axes = _canvas(height=0.75 + 0.27 * max(1, len(names)))
        places = range(len(names))
        bars = axes.barh(list(places), values, height=0.62, color=MARK, linewidth=0)
        axes.bar_label(bars, labels=_bar_labels(values), padding=4, color=INK, fontsize=9)
        axes.set_yticks(list(places), [_cut(name) for name in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(bool(values) and min(values) < 0)
        axes.margins(x=0.12)
        return _finished(figure, axes, names, values, title, unit, finding, value_axis=axes.xaxis)


def _bar_labels(values: Sequence[float]) -> list[str]:
    """Values with as many decimals as the largest deserves.

    >>> _bar_labels([3.128, 0.0859, 0.0001, 0])
    ['3.13', '0.09', '< 0.01', '0']
    """
    if max(map(abs, values), default=0) < 1:
        return [number_text(value) for value in values]
    return ["< 0.01" if 0 < value < 0.005 else number_text(round(value, 2)) for value in values]


def line_chart(labels: Sequence[object], values: Sequence[float], *, title: str, unit: str, finding: str) -> Chart:
    """One line over labels in their order (times stand at their true distances).

    Args and Raises: as `bar_chart`.
    """
    names, values = _checked(labels, values)
    timed = bool(labels) and all(isinstance(label, datetime) for label in labels)
    with _settings():
        figure, axes = _canvas(height=2.9)
        places: Sequence[Any] = list(labels) if timed else list(range(len(names)))
        axes.plot(places, values, color=MARK, linewidth=1.8, marker="o", markersize=3.5)
        axes.fill_between(places, values, color=MARK, alpha=0.14, linewidth=0)
        axes.set_ylim(bottom=min(0.0, *values) if values else 0.0)
        if timed:
            _date_axis(axes)
        else:
            step = max(1, math.ceil(len(names) / 8))
            axes.set_xticks(list(places)[::step], [_cut(name, 14) for name in names[::step]])
        axes.grid(visible=False, axis="x")
        return _finished(figure, axes, names, values, title, unit, finding, value_axis=axes.yaxis)


def _checked(labels: Sequence[object], given: Sequence[float]) -> tuple[list[str], list[float]]:
    values = [float(value) for value in given]  # PostgreSQL's numeric arrives as Decimal
    if len(labels) != len(values):
        raise ValueError(f"a chart has one label a value: {len(labels)} labels, {len(values)} values")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a chart shows finite values only; leave out what was not measured, and say so")
    return [text_of(label) for label in labels], values


def _settings() -> Any:
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def _canvas(height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    return figure, axes


def _date_axis(axes: Axes) -> None:
    from datetime import UTC

    from matplotlib import dates

    untyped: Any = dates
    locator = untyped.AutoDateLocator(maxticks=7, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator, tz=UTC))


def _cut(name: str, length: int = LABEL_LENGTH) -> str:
    """A label short enough for the picture; `$` would start mathtext.

    >>> _cut("a" * 40, 5), _cut("$x")
    ('aaaa…', '\\\\$x')
    """
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")


def _finished(
    figure: Figure,
    axes: Axes,
    names: list[str],
    values: Sequence[float],
    title: str,
    unit: str,
    finding: str,
    *,
    value_axis: Any,
) -> Chart:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    whole = all(float(value).is_integer() for value in values)
    value_axis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
    value_axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(round(value, 10))))
    value_axis.set_label_text(_cut(unit))
    _head(figure, _cut(title, 70), textwrap.wrap(_cut(finding, 300), 92))
    if not values:
        axes.text(0.5, 0.5, "No values.", transform=axes.transAxes, ha="center")
    drawn = io.StringIO()
    with warnings.catch_warnings():
        # Text stays text: the reader's fonts draw it, whatever matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    points = tuple(zip(names, values, strict=True))
    return Chart(title, finding, unit, points, _described(drawn.getvalue(), title, finding))


def _head(figure: Figure, title: str, said: list[str]) -> None:
    """Title and finding at the top left; the figure grows by their height, so that nothing lies under them."""
    inches = 0.36 + 0.19 * len(said)
    width, height = figure.get_size_inches()
    full = height + inches
    figure.set_size_inches(width, full)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, height / full))  # type: ignore[call-arg]
    figure.text(0.012, 1 - 0.06 / full, title, va="top", fontsize=12, fontweight="bold")
    for index, line in enumerate(said):
        figure.text(0.012, 1 - (0.31 + 0.19 * index) / full, line, va="top", fontsize=10)


def _described(svg: str, title: str, finding: str) -> str:
    """matplotlib's SVG as an element with a role and alternative text, without the XML prologue."""
    element = re.sub(r"\s*<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    label = escape(f"{title}. {finding}", quote=True)
    # The system's own sans serif looks native; matplotlib's list starts with a font few readers have.
    family = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
    start = element.index(">")
    return (
        f'<svg role="img" aria-label="{label}" class="rb-chart"{element[4:start]}>'
        f"<title>{label}</title><style>text{{font-family:{escape(family, quote=False)}!important}}</style>"
        f"{element[start + 1 :]}"
    ).strip()
