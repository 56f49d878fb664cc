"""Charts are the same bytes each time, describe themselves, and survive any label."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest
from runbook.report import bar_chart, line_chart
from sample_report import size_chart, volume_chart

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("chart", [size_chart, volume_chart])
def test_chart_is_an_image_whose_alternative_text_states_the_finding(chart) -> None:
    drawn = chart()
    root = ElementTree.fromstring(drawn.svg)  # noqa: S314 - our own
    assert (root.tag, root.get("role")) == (f"{SVG}svg", "img")
    assert root.get("aria-label") == f"{drawn.title}. {drawn.finding}"
    assert root.find(f"{SVG}title").text == f"{drawn.title}. {drawn.finding}"
    assert set(drawn._repr_mimebundle_()) == {"image/svg+xml", "text/plain"}


def test_chart_has_no_background_no_date_and_no_address_outside() -> None:
    svg = volume_chart().svg
    assert "dc:date" not in svg
    assert "fill: #ffffff" not in svg
    assert "Matplotlib" not in svg
    assert 'href="http' not in svg


def test_same_values_give_the_same_bytes_in_another_process() -> None:
    code = "from sample_report import *; print(size_chart().svg + volume_chart().svg)"
    tests = str(Path(__file__).parent.parent)
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONPATH": tests, "PYTHONHASHSEED": seed, "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1] == size_chart().svg + volume_chart().svg + "\n"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [bar_chart, line_chart])
@pytest.mark.parametrize("label", ["<script>", "$x^{2", "a" * 300, "日本語", "", '"&'])
def test_any_label_is_drawn_as_text(draw, label: str) -> None:
    chart = draw([label, "b"], [1, 2], title=label, unit="$rows", finding=f"{label} & co")
    root = ElementTree.fromstring(chart.svg)  # noqa: S314 - our own
    assert root.get("aria-label") == f"{label}. {label} & co"
    assert "<script" not in chart.svg
    assert label in str(chart)


@pytest.mark.parametrize("draw", [bar_chart, line_chart])
def test_empty_chart_says_so(draw) -> None:
    assert "No values." in draw([], [], title="t", unit="rows", finding="nothing").svg


@pytest.mark.parametrize("draw", [bar_chart, line_chart])
def test_gaps_are_refused_instead_of_being_drawn_as_something(draw) -> None:
    with pytest.raises(ValueError, match="finite values only"):
        draw(["a"], [float("nan")], title="t", unit="rows", finding="f")
    with pytest.raises(ValueError, match="2 labels, 1 values"):
        draw(["a", "b"], [1], title="t", unit="rows", finding="f")


@pytest.mark.parametrize("draw", [bar_chart, line_chart])
def test_numeric_of_postgresql_is_drawn_like_any_number(draw) -> None:
    drawn = [
        draw(["a", "b"], [kind("1.5"), kind("2")], title="t", unit="u", finding="f").svg for kind in (Decimal, float)
    ]
    assert drawn[0] == drawn[1]


def test_terminal_gets_title_finding_and_values() -> None:
    lines = str(size_chart()).splitlines()
    assert lines[:2] == ["Table sizes", "public.auction_data holds 57 % of the restored data."]
    assert lines[2].split() == ["public.auction_data", "811", "MiB"]
