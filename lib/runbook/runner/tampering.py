"""Whether a run's folder still says what it said: against its request, RUNS, and the records that were made of it.

The journal is a file that the run's own user can write. What is already in the archive is signed there with the journal's digest,
so that a line before the newest record of the run cannot be added, removed or altered unseen.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from runbook import clock, layout
from runbook.archive.records import read_record
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, ParamsError, PlatformError
from runbook.model import JournalFacts, RunRecord
from runbook.params import load_params
from runbook.session import ledger
from runbook.session.journal import is_rewritten
from runbook.session.request import JOURNAL, read_request
from runbook.session.state import RunState


def journal_facts(folder: Path, lines: int) -> JournalFacts:
    """The journal's first lines as a record keeps them."""
    part = b"".join((folder / JOURNAL).read_bytes().splitlines(keepends=True)[:lines])
    return JournalFacts(lines=lines, size_bytes=len(part), sha256=hashlib.sha256(part).hexdigest())


def find_tampering(folder: Path, state: RunState) -> list[str]:
    """What was changed in the run's folder since it was written; empty when nothing is known to be."""
    return [
        *_against_request(folder, state),
        *_against_params(state),
        *_against_ledger(state),
        *_against_records(folder, state),
        *_against_memory(folder),
    ]


def refuse_tampered(folder: Path, state: RunState) -> None:
    """The run's folder says what it said.

    Raises:
        OperatorError: it does not.
    """
    found = find_tampering(folder, state)
    if found:
        raise OperatorError(
            f"The run {state.run} cannot go on: {found[0]}",
            next=f"runbook abort {state.run}",
        )


def _against_memory(folder: Path) -> list[str]:
    if not is_rewritten(folder / JOURNAL):
        return []
    return ["Lines of the journal that this process had read were changed or removed while it worked."]


def _against_params(state: RunState) -> list[str]:
    """The run is of the environment and the platform that its target's params file names."""
    try:
        params = load_params(state.target)
    except ParamsError:
        return []  # the run's cleanup has reported it
    said = {"environment": params.environment, "platform": params.platform}
    return [
        f"The journal says that {state.target} has the {name} '{state.request[name]}'; params/{state.target}.yaml says '{real}'."
        for name, real in said.items()
        if state.request[name] != real
    ]


def _against_request(folder: Path, state: RunState) -> list[str]:
    try:
        asked = read_request(folder)
    except (ParamsError, ValueError, AssertionError):
        return [f"{layout.short(folder)}/request.json is gone or damaged."]
    other = sorted(name for name in asked if asked[name] != state.request.get(name))
    if not other:
        return []
    return [f"The journal's first line and request.json do not say the same about {', '.join(other)}: one was changed."]


def _against_ledger(state: RunState) -> list[str]:
    line = next((one for one in ledger.read_lines() if one.run == state.run), None)
    if line is None:
        return [f"reports/RUNS does not list the run {state.run}, which every opened run is listed in."]
    said = (line.runbook, line.target, line.operator)
    if said != (state.request["runbook"], state.target, str(state.request["operator"]).replace(" ", "_")):
        return [
            f"reports/RUNS says that {state.run} is {' of '.join(said[:2])}, opened by {said[2]}; its journal says otherwise."
        ]
    return []


def _against_records(folder: Path, state: RunState) -> list[str]:
    """The journal begins with what each record of this run has seen of it."""
    for name, record in records_of(state):
        seen = record.journal
        if seen is not None and journal_facts(folder, seen.lines) != seen:
            return [
                f"The journal's first {seen.lines} lines are not those that the record {name} was made of: they were changed."
            ]
    return []


def records_of(state: RunState) -> list[tuple[str, RunRecord]]:
    """The archive's records of this run, whatever its journal says of them. Reads no record of another runbook or target."""
    tail, since = f"-{state.request['runbook']}-{state.target}", clock.compact(clock.parse(state.request["opened"]))
    found = []
    for _, folder in Tree.own().folders() if layout.records().is_dir() else ():
        if folder.name.endswith(tail) and folder.name[7:] >= since:
            try:
                record = read_record(folder)
            except PlatformError:
                continue  # `runbook archive verify` reports it; it says nothing about this run
            if record.run == state.run:
                found.append((folder.name, record))
    return found
