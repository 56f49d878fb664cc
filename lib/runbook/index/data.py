"""The rows of a page for machines: CSV for a spreadsheet, JSON for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from runbook import clock
from runbook.index.population import Due
from runbook.index.rows import Figure, Row
from runbook.report.values import visible

COLUMNS = (
    "record", "verdict", "runbook", "target", "environment", "started_at", "ended_at", "operator", "run", "attempt",
    "satisfies_controls", "controls", "checks_failed", "checks_unknown", "limitations", "rto_seconds", "rto_budget_seconds",
    "rpo_seconds", "rpo_budget_seconds", "payload", "reason",
)  # fmt: skip
DUE_COLUMNS = ("target", "begin", "end", "due_at", "state", "record", "remark")


def fields_of(row: Row) -> dict[str, Any]:
    """A row by the names of its columns."""
    values: tuple[Any, ...] = (
        row.name, row.verdict, row.runbook, row.target, row.environment, clock.stamp(row.started_at),
        clock.stamp(row.ended_at), row.operator, row.run, row.attempt, row.satisfies, list(row.controls), row.failed,
        row.unknown, row.limitations, *_pair(row.rto), *_pair(row.rpo), "kept" if row.has_report else "deleted", row.reason,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def _pair(figure: Figure | None) -> tuple[float | None, float | None]:
    return (figure.seconds, figure.budget) if figure is not None else (None, None)


def fields_of_due(due: Due) -> dict[str, Any]:
    """A period by the names of its columns."""
    values = (
        due.target, due.begin.isoformat(), due.end.isoformat(), clock.stamp(due.due_at), due.state, due.record, due.remark,
    )  # fmt: skip
    return dict(zip(DUE_COLUMNS, values, strict=True))


def json_line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=True)


def json_list(lines: Sequence[str]) -> bytes:
    """A JSON array, one object a line."""
    return ("[\n" + ",\n".join(lines) + "\n]\n").encode("ascii")


def csv_line(fields: dict[str, Any]) -> str:
    """One line of CSV; no cell is a formula to a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([_cell(value) for value in fields.values()])
    return text.getvalue()


def csv_table(columns: Sequence[str], lines: Sequence[str]) -> bytes:
    return (",".join(columns) + "\n" + "".join(lines)).encode()


def _cell(value: Any) -> str:
    """A value for one cell.

    >>> _cell("=1+1"), _cell(None), _cell(True), _cell(["a", "b"]), _cell(1.5)
    ("'=1+1", '', 'yes', 'a; b', '1.5')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = visible("; ".join(value) if isinstance(value, list) else str(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
