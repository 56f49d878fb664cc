"""RUNS against the records: each record holds the digest of RUNS as it was, and each opened run is due a record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.records import RUN_JSON
from runbook.archive.sums import lines_of
from runbook.errors import ParamsError
from runbook.plain import LARGEST_FILE, read_plain

#: A run that has no record may still be at work for so long.
AT_WORK = timedelta(hours=24)
_NUMBER = re.compile(r"[0-9]{1,12}")


def ledger_problems(data: bytes, looked: Sequence[Looked]) -> Iterator[Problem]:
    """Whether RUNS begins with what each record saw of it; the first difference is told, the rest follows from it."""
    running, done, lines = hashlib.sha256(), 0, 0
    for one in looked:
        said = one.archived
        if said is None:
            continue
        if said.size < done:
            yield Problem("runs-cut", one.name, f"saw {said.lines} lines of RUNS, fewer than the record before it")
            return
        if said.size > len(data):
            yield Problem(
                "runs-cut",
                "RUNS",
                f"has {len(data)} bytes, but had {said.size} ({said.lines} lines) when {one.name} was archived: lines were removed",
            )
            return
        part = data[done : said.size]
        running.update(part)
        if running.hexdigest() != said.digest or lines + part.count(b"\n") != said.lines:
            yield Problem(
                "runs-rewritten",
                "RUNS",
                f"lines {min(lines + 1, said.lines)} to {said.lines} are not what {one.name} saw: they were rewritten",
            )
            return
        done, lines = said.size, said.lines


def opened_runs(data: bytes) -> dict[str, tuple[int, str]]:
    """Run id → line number and time of opening; torn lines are left out."""
    runs = {}
    for line in lines_of(data.decode("utf-8", "replace")):
        fields = line.split(" ")
        if len(fields) == 6 and _NUMBER.fullmatch(fields[0]):
            runs[fields[2]] = (int(fields[0]), fields[1])
    return runs


def run_of(folder: Path) -> tuple[str, int | None, int] | None:
    """The run id, the ledger line and the attempt that a record names; None when it cannot be read."""
    try:
        said = json.loads(read_plain(folder / RUN_JSON, LARGEST_FILE))
        return str(said["run"]), said.get("ledger_line"), int(said["attempt"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def population(data: bytes, looked: Sequence[Looked], *, complete: bool) -> tuple[list[Problem], list[str]]:
    """Runs without a record, and records of runs that RUNS does not list. Returns problems, and notes.

    Args:
        complete: false for an export, whose records do not all say which run they are of.
    """
    opened, problems, notes = opened_runs(data), [], []
    archived: set[str] = set()
    attempts: dict[str, int] = {}
    for one in looked:
        named = run_of(one.folder) if RUN_JSON in one.plain else None
        if named is None:
            continue
        archived.add(named[0])
        if complete and (wrong := _attempt_problem(one, attempts, *named)) is not None:
            problems.append(wrong)
        if named[1] is not None and named[0] not in opened:
            problems.append(Problem("run-unlisted", one.name, f"is of the run {named[0]}, which RUNS does not list"))
    head = next((one.archived.at for one in reversed(looked) if one.archived is not None), None)
    head = (
        min(head, clock.now()) if head is not None else None
    )  # one that is dated ahead says nothing about runs at work
    for run, (number, when) in opened.items() if complete else ():
        if run in archived:
            continue
        if head is not None and _was_before(when, head - AT_WORK):
            problems.append(
                Problem(
                    "run-missing",
                    f"RUNS, line {number}",
                    f"the run {run} was opened and has no record, though later ones have: it was thrown away, or never "
                    f"closed (runbook close {run})",
                )
            )
        else:
            notes.append(f"The run {run} (RUNS, line {number}) has no record: it is at work, or was thrown away.")
    return problems, notes


def _attempt_problem(one: Looked, attempts: dict[str, int], run: str, line: int | None, attempt: int) -> Problem | None:
    """What is wrong with the attempt's number: each has a record of its own, in their order."""
    due = attempts.get(run, 0) + 1
    attempts[run] = attempt
    if attempt == due or line is None:
        return None
    text = f"is of attempt {attempt} of {run}, and attempt {due} is due: an attempt has no record"
    return Problem("attempt-missing", one.name, text)


def _was_before(text: str, moment: datetime) -> bool:
    try:
        return clock.parse(text) < moment
    except ParamsError:
        return False
