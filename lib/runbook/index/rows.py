"""One row for each record, read from its run.json; a record that cannot be believed says so and is never a pass."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.archive.records import RUN_JSON
from runbook.archive.sums import SUMS, lines_of, sha256
from runbook.archive.tree import Tree
from runbook.errors import ParamsError
from runbook.model import Verdict
from runbook.plain import LARGEST_FILE, read_plain
from runbook.report.values import visible

#: The word for a record whose run.json is missing, damaged, altered, or not that of its folder.
UNREADABLE = "UNREADABLE"
#: So much of a text stands in a row; the report has all of it.
_LONGEST = 240
_VERDICTS = frozenset(verdict.value for verdict in Verdict)
_CONTROLS = 20
_STAMP = re.compile(r"^\d{6}-(\d{8}T\d{6})Z-")


@dataclass(frozen=True)
class Figure:
    """A measured span and its budget, in seconds."""

    seconds: float
    budget: float | None


@dataclass(frozen=True)
class Row:
    """What the pages say of one record. Texts are as people may read them: cut, without control characters."""

    number: int
    name: str
    run: str
    attempt: int
    verdict: str
    reason: str
    runbook: str
    title: str
    target: str
    environment: str
    started_at: datetime
    ended_at: datetime
    operator: str
    controls: tuple[str, ...]
    satisfies: bool
    limitations: int
    failed: int
    unknown: int
    rto: Figure | None
    rpo: Figure | None
    has_report: bool

    @property
    def month(self) -> str:
        return f"{self.started_at:%Y-%m}"

    @property
    def is_pass(self) -> bool:
        return self.verdict == Verdict.PASS

    @property
    def is_partial(self) -> bool:
        """A PASS of a dry or reduced run on a real system: it proves too little to change where things stand."""
        return self.is_pass and bool(self.controls) and not self.satisfies and self.environment != "sandbox"


def read_rows(tree: Tree) -> list[Row]:
    """A row for every record, oldest first."""
    return [read_row(number, folder) for number, folder in tree.folders()]


def read_row(number: int, folder: Path) -> Row:
    """The row of one record; one that cannot be believed becomes a row that says why.

    run.json is compared with its digest in SHA256SUMS and with the folder's name. Chain and signatures are for `archive verify`.
    """
    try:
        content = read_plain(folder / RUN_JSON, LARGEST_FILE)
        if f"{sha256(content)}  {RUN_JSON}" not in lines_of(read_plain(folder / SUMS).decode("ascii", "replace")):
            return _unreadable(number, folder, f"{RUN_JSON} is not what {SUMS} says: it was altered.")
        record = json.loads(content)
        row = _row(number, folder, record)
    except OSError as cause:
        return _unreadable(number, folder, f"It cannot be read: {cause.strerror}.")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, ParamsError) as cause:
        return _unreadable(number, folder, f"{RUN_JSON} is no run record: {type(cause).__name__} {cause}.")
    due = f"{clock.compact(row.started_at)}-{row.runbook}-{row.target}"
    if folder.name[7:] != due:
        return _unreadable(number, folder, f"{RUN_JSON} is that of another record: {due}.")
    return row


def _row(number: int, folder: Path, record: Mapping[str, Any]) -> Row:
    verdict = record["verdict"]
    if verdict not in _VERDICTS:
        raise ValueError(f"no verdict: {str(verdict)[:40]!r}")
    statuses = [check["status"] for check in record.get("checks", ())]
    measures = {measure["name"]: measure for measure in record.get("measures", ())}
    return Row(
        number=number,
        name=folder.name,
        run=cut(record["run"]),
        attempt=int(record["attempt"]),
        verdict=verdict,
        reason=cut(record["reason"]),
        runbook=str(record["runbook"]),
        title=cut(record["title"]),
        target=str(record["target"]["name"]),
        environment=cut(record["target"]["environment"]),
        started_at=clock.parse(record["started_at"]),
        ended_at=clock.parse(record["ended_at"]),
        operator=cut(record["operator"]),
        controls=tuple(dict.fromkeys(cut(one) for one in record.get("controls", ())[:_CONTROLS])),
        satisfies=record.get("satisfies_controls") is True and verdict == Verdict.PASS,
        limitations=len(record.get("limitations", ())),
        failed=statuses.count("FAIL"),
        unknown=len(statuses) - statuses.count("FAIL") - statuses.count("PASS"),
        rto=_figure(measures.get("rto")),
        rpo=_figure(measures.get("rpo")),
        has_report=(folder / "report.html").is_file(),
    )


def _figure(measure: Mapping[str, Any] | None) -> Figure | None:
    if measure is None or measure["unit"] != "s":
        return None
    budget = measure.get("budget")
    return Figure(_finite(measure["value"]), _finite(budget) if budget is not None else None)


def _finite(value: Any) -> float:
    number = float(value)
    if not 0 <= number < 1e12:
        raise ValueError(f"no span of time: {number}")
    return number


def _unreadable(number: int, folder: Path, reason: str) -> Row:
    """What the folder's name alone tells, dated by it."""
    stamp = _STAMP.match(folder.name)
    try:
        moment = datetime.strptime(stamp[1] if stamp else "", "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        moment = datetime(1970, 1, 1, tzinfo=UTC)
    return Row(
        number=number, name=folder.name, run="", attempt=0, verdict=UNREADABLE, reason=cut(reason), runbook="", title="",
        target="", environment="", started_at=moment, ended_at=moment, operator="", controls=(), satisfies=False,
        limitations=0, failed=0, unknown=0, rto=None, rpo=None, has_report=(folder / "report.html").is_file(),
    )  # fmt: skip


@functools.lru_cache(4096)
def cut(text: object, length: int = _LONGEST) -> str:
    """Text for one row: visible, on one line, and so long at most.

    >>> cut("a" * 300, 5), cut("a\\n b")
    ('aaaa…', 'a b')
    """
    line = " ".join(visible(str(text)[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"
