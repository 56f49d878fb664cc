"""An auditor's look at a record: each table of the notebook says what its rows come from, and that is so."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from runbook.model import RunRecord
from runbook.report.render import render_report

_SAID = re.compile(r"^(\d+) rows? as shown, SHA-256 ([0-9a-f]{64}): (.+) What was asked$", re.DOTALL)
_NUMBERS = re.compile(
    r"statements? (\d+)(?: to (\d+))?(?:, the newest)? of step «(.+?)», snapshots? (\S+ \S+) UTC(?: to (\S+ \S+) UTC)?"
)


def texts_of(table: Tag) -> list[list[str]]:
    """The rows as a person reads them."""
    for sign in table.select(".rb-status > span"):
        sign.decompose()
    for line_break in table.find_all("br"):
        line_break.replace_with("\n")
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in table.select("tbody tr")]
    return [] if rows == [["No rows."]] else [[text.removeprefix(" ") for text in row] for row in rows]


def check_origins(record: Path) -> dict[str, str]:
    """What each table says of itself, by its caption, after it was found to be so; and the report renders again to the same bytes."""
    lines = [json.loads(line) for line in (record / "statements.jsonl").read_text().splitlines()]
    # A record holds the statements of its own attempt: those of earlier ones stand in theirs.
    by_number = {line["n"]: line for line in lines}
    assert sorted(by_number) == list(range(min(by_number, default=1), min(by_number, default=1) + len(lines)))
    html = (record / "report.html").read_text()
    run = RunRecord.model_validate_json((record / "run.json").read_text())
    assert render_report(run, nbformat.reads((record / "executed.ipynb").read_text(), 4), lines) == html
    said: dict[str, str] = {}
    for table in BeautifulSoup(html, "html.parser").select(".notebook table.rb-table"):
        caption = table.caption.get_text() if table.caption else ""
        note = next((one for one in table.find_all_next(["p", "table"]) if isinstance(one, Tag)), None)
        found = _SAID.match(" ".join(note.get_text().split())) if isinstance(note, Tag) else None
        assert found, f"{caption}: says nothing of where its rows come from"
        rows = texts_of(table)
        content = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
        assert (int(found[1]), found[2]) == (len(rows), hashlib.sha256(content).hexdigest()), caption
        for first, last, step, snapshot, until in _NUMBERS.findall(found[3]):
            named = [by_number[n] for n in range(int(first), int(last or first) + 1) if n in by_number]
            if not named:
                assert "attempt" in found[3], f"{caption}: {found[3]}"
                continue
            blocks = [list(own) for _, own in itertools.groupby(named, lambda line: (line["attempt"], line["step"]))]
            own = blocks[-1]
            assert own[-1]["step"] == step and all(line["sql"].strip() for line in named), caption
            assert own == named or "worked out" in found[3], caption
            assert min(line["snapshot"] for line in own)[:19].replace("T", " ") == snapshot, caption
            assert max(line["last_snapshot"] for line in own)[:19].replace("T", " ") == (until or snapshot), caption
        assert caption not in said or said[caption] == found[3] or caption == "Checks", caption
        said[caption] = found[3]
    return said
