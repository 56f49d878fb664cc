"""Which pages there are and what stands on each: by month, runbook, target and control, none of them too large to open."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from runbook.index.rows import UNREADABLE, Figure, Row
from runbook.index.standing import Standing
from runbook.report.tables import SIGNS
from runbook.report.values import amount_text, time_text

#: A page ends after so many rows or so many bytes of them, whichever comes first: 500 kB with room to spare.
MOST_ROWS, MOST_BYTES = 400, 330_000
#: A collection with more records than a page holds shows its newest, and a page for each month.
NEWEST = 50
_SIGNS = {**SIGNS, "done": "✓", "missed": "✗", "unproven": "✗", "expired": "✗", "due": "…"}
_TONES = {"PASS": "pass", "FAIL": "fail", "WAITING": "waiting", "INCOMPLETE": "incomplete", UNREADABLE: "fail"}


@dataclass(frozen=True)
class Line:
    """A record's row as it stands on a page below `index/`."""

    row: Row
    html: str


@dataclass(frozen=True)
class Part:
    """A page with some of a collection's rows."""

    address: str
    label: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Collection:
    """All records of one month, runbook, target or control; newest first. `address` is its page without the ending."""

    kind: str
    name: str
    address: str
    lines: tuple[Line, ...]

    @property
    def is_paged(self) -> bool:
        return not fits(self.lines)

    def parts(self) -> list[Part]:
        """The further pages, when one cannot hold all; newest first."""
        if not self.is_paged:
            return []
        found = []
        for month, lines in _by_month(self.lines):
            base = f"{self.address}.{month}" if self.kind != "Month" else f"{self.address}.part"
            pieces = list(_pieces(lines))
            for number, piece in enumerate(pieces, start=1):
                several = len(pieces) > 1
                label = f"{month}, part {number} of {len(pieces)}" if several else month
                found.append(Part(f"{base}-{number}" if several else base, label, piece))
        return found


def fits(lines: Sequence[Line]) -> bool:
    """True when one page holds them."""
    return len(lines) <= MOST_ROWS and sum(len(line.html) for line in lines) <= MOST_BYTES


def _by_month(lines: Iterable[Line]) -> Iterator[tuple[str, list[Line]]]:
    months: dict[str, list[Line]] = {}
    for line in lines:
        months.setdefault(line.row.month, []).append(line)
    yield from sorted(months.items(), reverse=True)


def _pieces(lines: Sequence[Line]) -> Iterator[list[Line]]:
    piece: list[Line] = []
    size = 0
    for line in lines:
        if piece and (len(piece) == MOST_ROWS or size + len(line.html) > MOST_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += len(line.html)
    if piece:
        yield piece


def collections(rows: Sequence[Row], controls: Iterable[str]) -> list[Collection]:
    """Every collection, each newest first.

    Args:
        rows: all records, oldest first.
        controls: ids that have a page though no record may name them.
    """
    lines = [Line(row, row_html(row, "../")) for row in reversed(rows)]
    groups: dict[tuple[str, str], list[Line]] = {("Control", control): [] for control in controls}
    for line in lines:
        row = line.row
        keys = [("Month", row.month)]
        if row.verdict != UNREADABLE:
            keys += [("Runbook", row.runbook), ("Target", row.target), *(("Control", one) for one in row.controls)]
        for key in keys:
            groups.setdefault(key, []).append(line)
    return [
        Collection(kind, name, address_of(kind, name), tuple(found)) for (kind, name), found in sorted(groups.items())
    ]


def address_of(kind: str, name: str) -> str:
    """The name of a page, without its ending: plain, and another one for every name.

    >>> address_of("Runbook", "daily-health"), address_of("Control", "SOC 2 A1.2")
    ('runbook-daily-health', 'control-soc-2-a1-2-53570b82')
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
    if slug == name:
        return f"{kind.lower()}-{name}"
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{kind.lower()}-{slug}-{digest}" if slug else f"{kind.lower()}-{digest}"


def status_html(word: str, tone: str | None = None) -> Markup:
    """A status in words, with its sign and colour."""
    sign = _SIGNS.get(word, "!")
    return Markup(  # noqa: S704 - escaped
        f'<span class="status is-{tone or _TONES.get(word, "unknown")}"><span aria-hidden="true">{sign}</span> {escape(word)}</span>'
    )


def record_link(row: Row, base: str) -> Markup:
    """The way to a record's report; a pruned one has its tombstone."""
    label = f"{row.number:06d}"
    if row.has_report:
        return Markup(  # noqa: S704 - the folder's name is plain
            f'<a href="{base}records/{row.name}/report.html" aria-label="Report of record {label}">{label}</a>'
        )
    return Markup(f'{label}<span class="remark">no report is kept</span>')  # noqa: S704 - a number


def row_html(row: Row, base: str) -> str:
    """A record as a row of a table. `base` leads from the page to the archive's folder."""
    proof = "yes" if row.satisfies else "no"
    if row.verdict == UNREADABLE:
        return (
            f"<tr><td>{status_html(row.verdict)}</td><th scope=row>{record_link(row, base)}</th><td class=when>{time_text(row.started_at)[:16]}</td>"
            f'<td class="mono" colspan=2>{row.name[24:]}</td><td class=num>–</td><td class=num>–</td><td>no</td><td>{escape(row.reason)}</td></tr>\n'
        )
    remarks = [f"{row.limitations} limitation{'s' if row.limitations > 1 else ''}"] if row.limitations else []
    return (
        f"<tr><td>{status_html(row.verdict)}</td><th scope=row>{record_link(row, base)}</th><td class=when>{time_text(row.started_at)[:16]}</td>"
        f"<td>{row.runbook}</td><td>{row.target}<span class=remark>{escape(row.environment)}</span></td>"
        f"<td class=num>{figure_html(row.rto)}</td><td class=num>{figure_html(row.rpo)}</td><td>{proof}</td>"
        f"<td>{escape(row.reason)}{''.join(f'<span class=remark>{one}</span>' for one in remarks)}</td></tr>\n"
    )


def figure_html(figure: Figure | None) -> str:
    """A span, and whether it is over its budget, in words."""
    if figure is None:
        return "–"
    over = figure.budget is not None and figure.seconds > figure.budget
    text = amount_text(figure.seconds, "s").split(" (")[0]
    return f'{text}<span class="remark over">over budget</span>' if over else text


def standing_since(one: Standing) -> str:
    """Since when it stands like that, in words."""
    word = "PASS" if one.latest.is_pass else "no PASS"
    runs = "1 run" if one.in_a_row == 1 else f"{one.in_a_row} runs"
    return f"{word} since {one.since.started_at:%Y-%m-%d}, {runs}"
