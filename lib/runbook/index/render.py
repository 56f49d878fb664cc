"""The HTML of the index pages: one look with the report, no script, no request."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from runbook.index.pages import (
    NEWEST,
    Collection,
    Line,
    Part,
    address_of,
    fits,
    record_link,
    row_html,
    standing_since,
    status_html,
)
from runbook.index.population import DUE, MISSED, UNPROVEN, Control, Due, completeness
from runbook.index.rows import UNREADABLE, Row
from runbook.index.standing import standings
from runbook.index.trend import trends
from runbook.report.notebook import TEMPLATES as REPORT
from runbook.report.render import POLICY
from runbook.report.values import time_text, visible

_TEMPLATES = Path(__file__).parent / "templates"
#: So many lines of a kind stand on the first page; the rest is counted, and on the pages behind it.
_FRONT = 100
#: So many periods stand on a control's page; all are in its CSV and JSON.
_PERIODS = 300
_STATES = {"done": "pass", MISSED: "fail", UNPROVEN: "fail", DUE: "waiting", "excepted": "warning"}


@dataclass(frozen=True)
class Archive:
    """What all pages are made of. `as_of` is the moment that what is due was counted at; None when nobody counted."""

    rows: Sequence[Row]
    controls: Sequence[tuple[Control, Sequence[Due]]]
    as_of: datetime | None
    collections: Sequence[Collection]

    @property
    def upto(self) -> str:
        """Which records the pages tell of."""
        if not self.rows:
            return "No record yet."
        last = self.rows[-1]
        return f"{len(self.rows)} records, up to {last.number:06d} of {time_text(last.ended_at)}."


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    made.filters["time"] = time_text
    made.globals.update(
        policy=POLICY,
        # Our own files; they hold no `<`.
        styles=Markup((REPORT / "page" / "report.css").read_text("utf-8") + (_TEMPLATES / "index.css").read_text("utf-8")),  # noqa: S704
        status=status_html, link=record_link, since=standing_since, address=address_of, tones=_STATES,
    )  # fmt: skip
    return made


def _template(name: str) -> Template:
    return _environment().get_template(name)


def _joined(lines: Sequence[Line]) -> Markup:
    return Markup("".join(line.html for line in lines))  # noqa: S704 - escaped by row_html


def front_page(archive: Archive) -> str:
    """`index.html`: what is overdue, what failed, what is green, since when; then the way to all the rest."""
    standing = standings(archive.rows)
    overdue = [
        (control, due)
        for control, rows in archive.controls
        for due in rows
        if due.state in (MISSED, UNPROVEN) and not due.made_up
    ]
    overdue.sort(key=lambda one: (one[1].due_at, one[0].id, one[1].target))
    newest = [Line(row, row_html(row, "")) for row in reversed(archive.rows[-30:])]
    return _template("front.html.j2").render(
        archive=archive,
        base="",
        most=_FRONT,
        overdue=overdue,
        bad=[one for one in standing if not one.is_green],
        green=[one for one in standing if one.is_green],
        real=any(one.is_green and one.latest.environment != "sandbox" for one in standing),
        unreadable=[row for row in archive.rows if row.verdict == UNREADABLE],
        newest=_joined(newest),
        kinds=[
            (kind, [one for one in archive.collections if one.kind == kind])
            for kind in ("Control", "Target", "Runbook", "Month")
        ],
        known={control.id: (control, completeness(rows)) for control, rows in archive.controls},
    )


def collection_page(archive: Archive, one: Collection) -> str:
    """The page of a month, a runbook, a target or a control."""
    rows = [line.row for line in reversed(one.lines)]
    control, due = next(
        (found for found in archive.controls if one.kind == "Control" and found[0].id == one.name), (None, ())
    )
    # A month says nothing of how things stand now, and a control counts what satisfies it.
    standing = standings(rows) if one.kind in ("Runbook", "Target") else []
    shown: Sequence[Line] = one.lines[:NEWEST] if one.is_paged else one.lines
    if not fits(shown):
        shown = one.parts()[0].lines
    return _template("collection.html.j2").render(
        archive=archive, base="../", one=one, control=control, due=due[:_PERIODS], due_total=len(due),
        completeness=completeness(due), standing=standing[:_FRONT], standing_total=len(standing),
        trends=[(trend, Markup(trend.svg)) for trend in trends(rows)] if one.kind != "Month" else [],  # noqa: S704
        parts=[(part, _tally(part.lines)) for part in one.parts()], lines=_joined(shown), shown=len(shown),
    )  # fmt: skip


def part_page(archive: Archive, one: Collection, part: Part) -> str:
    """A further page of a collection that one page cannot hold."""
    return _template("part.html.j2").render(
        archive=archive, base="../", one=one, part=part, lines=_joined(part.lines), tally=_tally(part.lines)
    )


def _tally(lines: Sequence[Line]) -> str:
    counted: dict[str, int] = {}
    for line in lines:
        counted[line.row.verdict] = counted.get(line.row.verdict, 0) + 1
    return ", ".join(f"{counted[word]} {word}" for word in sorted(counted))
