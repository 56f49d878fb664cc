"""Tables for people: every value escaped, numbers aligned, status said in words and not by colour alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from html import escape
from typing import TYPE_CHECKING, Any

from runbook import sources
from runbook.redact import scrubber
from runbook.report.values import is_number, text_of, time_text

if TYPE_CHECKING:
    from runbook.model import Check

#: A sign beside each status word; the word alone is enough, the sign helps the eye.
SIGNS = {
    "PASS": "✓", "FAIL": "✗", "UNKNOWN": "?", "WAITING": "…", "INCOMPLETE": "!",
}  # fmt: skip

#: From so many characters on a cell is a sentence, and gets a column wide enough to read.
_LONG_TEXT = 60

#: What would break a line of a terminal; the narrow spaces inside numbers stay.
_BREAKS = re.compile(r"[ \t\r\n]+")

#: For JupyterLab only: the archived report has its own, and its allow-list drops style elements.
_STYLE = (
    "<style>.rb-scroll{overflow-x:auto;max-width:100%}.rb-table{border-collapse:collapse;text-align:left}"
    ".rb-table caption{text-align:left;font-weight:600;padding:.3em 0;caption-side:top}"
    ".rb-table th,.rb-table td{padding:.3em .7em;text-align:left;vertical-align:top;white-space:normal;"
    "border-bottom:1px solid #8884}.rb-table .rb-num{text-align:right;font-variant-numeric:tabular-nums}"
    ".rb-table .rb-long{min-width:18em}.rb-status{font-weight:700;white-space:nowrap}.rb-pass{color:#2e7d4f}.rb-fail{color:#c62f2f}"
    ".rb-unknown{color:#9a6700}.rb-note{opacity:.75}</style>"
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One value of a table: its text, whether it is a number, and the CSS class of a status."""

    text: str
    number: bool = False
    status: str | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to display: HTML in JupyterLab and in the report, aligned text in a terminal.

    `origin` says in words what the rows come from; None outside a run.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    origin: str | None = None

    @property
    def sha256(self) -> str:
        """Of the rows as shown, without secrets: their texts as a JSON list of lists without spaces, in UTF-8."""
        texts = scrubber.value([[cell.text for cell in row] for row in self.rows])
        return hashlib.sha256(json.dumps(texts, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()

    def _is_numeric(self, index: int) -> bool:
        filled = [row[index] for row in self.rows if row[index].text != "–"]
        return bool(filled) and all(cell.number for cell in filled)

    def to_html(self) -> str:
        """The table without a style of its own."""
        numeric = [self._is_numeric(index) for index in range(len(self.columns))]
        head = "".join(
            f'<th scope="col"{_class("rb-num" if number else "")}>{escape(name)}</th>'
            for name, number in zip(self.columns, numeric, strict=True)
        )
        body = "".join(
            "<tr>" + "".join(_cell_html(*pair) for pair in zip(row, numeric, strict=True)) + "</tr>"
            for row in self.rows
        )
        if not self.rows:
            body = f'<tr><td colspan="{max(1, len(self.columns))}">No rows.</td></tr>'
        label = escape(self.caption, quote=True)
        # Focusable, so that a keyboard can scroll a wide table (WCAG 2.1.1).
        return (
            f'<div class="rb-scroll" role="group" tabindex="0" aria-label="{label}"><table class="rb-table">'
            f"<caption>{escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _repr_html_(self) -> str:
        return _STYLE + self.to_html() + self._origin_html()

    def _origin_html(self) -> str:
        if self.origin is None:
            return ""
        rows = f"{len(self.rows)} {'row' if len(self.rows) == 1 else 'rows'}"
        return (
            f'<p class="rb-note">{rows} as shown, SHA-256 <code>{self.sha256}</code>: {escape(self.origin)} '
            '<a href="#statements">What was asked</a></p>'
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": str(self)}

    def __str__(self) -> str:
        """The table for a terminal: columns aligned, one line a row."""
        texts = [[_BREAKS.sub(" ", cell.text) for cell in row] for row in self.rows]
        widths = [max([len(name), *(len(row[index]) for row in texts)]) for index, name in enumerate(self.columns)]
        numeric = [self._is_numeric(index) for index in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            padded = (
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(cells, widths, numeric, strict=True)
            )
            return "  ".join(padded).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.caption, line(self.columns), rule, *(map(line, texts) if texts else ["No rows."])])

    __repr__ = __str__


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cell_html(cell: Cell, numeric: bool) -> str:
    text = escape(cell.text).replace("\n", "<br>")
    if cell.status is not None:
        sign = SIGNS.get(cell.text, "")
        text = f'<span class="rb-status rb-{cell.status}"><span aria-hidden="true">{sign}</span> {text}</span>'
    kind = "rb-num" if numeric else "rb-long" if len(cell.text) > _LONG_TEXT else ""
    return f"<td{_class(kind)}>{text}</td>"


def _fields(row: object) -> dict[str, Any]:
    """A row's values by name.

    Raises:
        TypeError: not a dict, a dataclass or a pydantic model.
    """
    if isinstance(row, Mapping):
        return {str(key): value for key, value in row.items()}
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    names = getattr(type(row), "model_fields", None)
    if isinstance(names, Mapping):
        return {name: getattr(row, name) for name in names}
    raise TypeError(f"a row of a table is a dict, a dataclass or a model, not {type(row).__name__}")


def _cell(value: Any) -> Cell:
    if isinstance(value, Enum) and value.value in SIGNS:
        return Cell(value.value, status=value.value.lower())
    return Cell(text_of(value), number=is_number(value))


def table(rows: Iterable[object], columns: Sequence[str] | Mapping[str, str] | None = None, *, caption: str) -> Table:
    """A table of rows.

    Args:
        rows: dicts, dataclasses or pydantic models.
        columns: names in the order they stand, or name → heading with the unit (`{"size_bytes": "Size, bytes"}`);
            by default all names, in the order they first appear. A row without a name shows a dash.
        caption: what the table shows, in a few words.

    Raises:
        TypeError: a row of another kind.
        KeyError: a column that no row has: a misspelt name would show an empty column.
    """
    rows = rows if isinstance(rows, Sequence) else list(rows)
    fields = [_fields(row) for row in rows]
    found = list(dict.fromkeys(name for row in fields for name in row))
    headings = dict(columns) if isinstance(columns, Mapping) else {name: name for name in columns or found}
    unknown = [name for name in headings if fields and name not in found]
    if unknown:
        raise KeyError(f"no row has the column '{unknown[0]}'; they have: {', '.join(found)}")
    cells = tuple(tuple(_cell(row.get(name)) for name in headings) for row in fields)
    pretty = tuple(
        heading.replace("_", " ").capitalize() if heading == name and heading.islower() else heading
        for name, heading in headings.items()
    )
    return Table(caption, pretty, cells, origin_text(rows))


def origin_text(rows: object) -> str | None:
    """What the rows come from, in a sentence: step, statements, snapshot, servers. None outside a run."""
    step, asked = sources.origin_of(rows)
    if step is None:
        return "before the first step, from files and parameters." if sources.is_noting() else None
    if not asked:
        return f"step «{step.step}», {time_text(step.at)}. No server had been asked: from files and parameters."
    if step.first and sources.is_result(rows):
        before = max((one.last for one in asked if one.last < step.first), default=0)
        more = f" What was asked before it was at hand too: {_numbers(1, before)}." if before else ""
        return f"{_numbers(step.first, step.last)} of {_place(step)}{more}{_elsewhere(1 if before else step.first)}"
    newest = max(asked, key=lambda one: one.last)
    first = min(one.first for one in asked)
    numbers = f"{_numbers(first, newest.last)}, the newest of {_place(newest)}{_elsewhere(first)}"
    return f"worked out after step «{step.step}», from what had been asked by then: {numbers}"


def _place(origin: sources.Origin) -> str:
    at, until = time_text(origin.at), time_text(origin.until)
    when = f"snapshot {at}" if at == until else f"snapshots {at} to {until}"
    return f"step «{origin.step}», {when}, {'; '.join(origin.servers)}."


def _elsewhere(first: int) -> str:
    """A record holds the statements of its own attempt."""
    before = sources.last_of_earlier_attempts()
    if not before or first > before:
        return ""
    return f" Up to statement {before} they stand in the records of earlier attempts."


def _numbers(first: int, last: int) -> str:
    return f"statement {first}" if first == last else f"statements {first} to {last}"


def checks_table(checks: Check | Iterable[Check], *, caption: str = "Checks") -> Table:
    """Checks with what was expected beside what was observed; a reason and the next action where there is one."""
    from runbook.model import Check as CheckModel  # pydantic: not needed for plain tables

    listed = [checks] if isinstance(checks, CheckModel) else list(checks)
    full: list[tuple[str, list[Cell]]] = [
        ("Status", [_cell(check.status) for check in listed]),
        ("Check", [Cell(text_of(check.title)) for check in listed]),
        ("Expected", [Cell(_with_unit(check.expected, check.unit)) for check in listed]),
        ("Observed", [Cell(_with_unit(check.observed, check.unit)) for check in listed]),
        ("Object", [Cell(text_of(check.object)) for check in listed]),
        ("Reason and next", [Cell(_reason(check)) for check in listed]),
    ]
    # A column of dashes only pushes the others out of sight.
    optional = ("Object", "Reason and next")
    kept = [(name, cells) for name, cells in full if name not in optional or any(cell.text != "–" for cell in cells)]
    names = tuple(name for name, _ in kept)
    return Table(caption, names, tuple(zip(*(cells for _, cells in kept), strict=True)), origin_text(checks))


def _with_unit(text: str, unit: str | None) -> str:
    return text_of(f"{text} {unit}" if unit else text)


def _reason(check: Check) -> str:
    said = [check.reason, f"Next: {check.next}" if check.next else None]
    return "\n".join(text_of(part) for part in said if part) or "–"
