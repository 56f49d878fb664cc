"""`close_attempt`: an attempt that is over gets its record in the archive, whoever finds that it is over.

Called by the runner, by `runbook close`, and by the next command that finds a dead run. Safe twice, and safe when two
commands find the same run: one closes it, the other sees that it is closed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.archive.records import archived_folder, commit_record
from runbook.errors import ParamsError, PlatformError, RunbookError
from runbook.gates.folder import gate_files
from runbook.model import RunRecord, Verdict
from runbook.params import load_params
from runbook.params.schema import Params
from runbook.redact import scrubber
from runbook.runner.notifying import notify
from runbook.runner.processes import end_backends, end_processes, remove_scratch, remove_sockets
from runbook.runner.record import record_of
from runbook.runner.tampering import find_tampering, journal_facts, records_of
from runbook.session import identity
from runbook.session.credentials import register_secrets
from runbook.session.executions import OUTPUTS
from runbook.session.fold import fold
from runbook.session.journal import Event, Journal, read_events
from runbook.session.opengate import operators_of
from runbook.session.proof import prove
from runbook.session.request import JOURNAL, SOURCE, is_blank
from runbook.session.state import RunState
from runbook.session.statements import STATEMENTS, read_statements

ARCHIVED_LATE = (
    "The runner died before it had archived this attempt: another command made this record from the journal, and a journal without "
    "its runner does not prove a PASS."
)


def read_state(folder: Path) -> RunState:
    """A run's state from its journal, as far as signed files bear out what it says that people decided."""
    events = read_events(folder / JOURNAL)
    if not events and is_blank(folder):
        raise PlatformError(
            f"The run {folder.name} was never opened: its journal has no first line, and nothing was done.",
            next=f"runbook abort {folder.name}",
        )
    try:
        return _state(folder, events)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as cause:
        raise PlatformError(
            f"{layout.short(folder / JOURNAL)} is none that this library writes: {cause!r}. Somebody or the disk changed it.",
            next="Restore the file from a backup of the run's folder.",
        ) from cause


def _state(folder: Path, events: list[Event]) -> RunState:
    return fold(prove(folder, events, layout.records()))


@contextmanager
def _closing(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "closing.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def clean_up(folder: Path, grace_seconds: float = 2.0) -> None:
    """No process, no server backend and no scratch folder of the run is left; what is, is journaled as a problem."""
    state = read_state(folder)
    journal = Journal(folder / JOURNAL)
    end_processes(state.run, grace_seconds)  # first: a server that ends removes files of its own from that folder
    remove_sockets(state.sitting.get("kernel_folder"))
    problems = remove_scratch(state.run, state.scratch, state.kept_scratch)
    try:
        params = load_params(state.target)
    except ParamsError as cause:
        problems.append(f"Server backends of the run could not be looked for: {cause.message}")
    else:
        register_secrets(params)
        # A run that concluded has closed its connections; the target is not bothered again.
        unseen = end_backends(state.run, params) if not state.concluded else None
        if unseen is not None:
            journal.append("limit", text=unseen)
        problems += _drop_writer(state, params, journal)
    for problem in problems:
        journal.append("problem", kind="cleanup", reason=problem, next_step="runbook doctor")


def _drop_writer(state: RunState, params: Params, journal: Journal) -> list[str]:
    """No role that a copy-back has made is left on the target; or why that is not so."""
    from runbook.postgres.connect import SqlError
    from runbook.recovery.copydoor import drop_left  # late: few runs have one
    from runbook.recovery.writers import WRITER

    if WRITER not in state.undos:
        return []

    def recall(name: str, default: Any = None) -> Any:
        return state.memory.get(name, default)

    try:
        drop_left(params, state.run, recall, lambda act: journal.append("undone", act=act))
    except (RunbookError, SqlError) as cause:
        return [f"The role that the copy-back made may be left on the target: {cause}"]
    return []


def close_attempt(folder: Path, executed: Path | None = None) -> RunState:
    """The run's attempts are all archived, and the state says where.

    Args:
        folder: the run's folder.
        executed: a notebook that the operator says is the latest attempt's; its secrets are scrubbed, it is no evidence.

    Raises:
        PlatformError: the archive could not be written; the command can be given again.
        ParamsError: `executed` is no notebook, or another run's.
    """
    with _closing(folder):
        events = read_events(folder / JOURNAL)
        journal = Journal(folder / JOURNAL)
        before = len(_state(folder, events).records)
        for upto in _unclosed(events):
            latest = upto == len(events)
            if latest:
                upto = _end_attempt(folder, journal)
            state = _state(folder, journal.events()[:upto])
            if not latest:  # its part of the journal is over: what is doubtful is said in the record alone
                state = _state(folder, [*events[:upto], *_doubts(folder, state, events[upto - 1])])
            record = _archived(state) or _archive(folder, state, executed if latest else None, upto)
            journal.append("attempt-closed", attempt=state.attempt, record=record)
            if latest:
                shutil.rmtree(folder / OUTPUTS, ignore_errors=True)  # they are in the record, scrubbed as a whole
        closed = read_state(folder)
    if len(closed.records) > before:
        from runbook.runner.indexing import refresh_index  # late: as the report

        refresh_index()
    return closed


def _end_attempt(folder: Path, journal: Journal) -> int:
    """The journal says that the latest attempt has ended, and what is doubtful about it. Returns how many events there are."""
    state = _state(folder, journal.events())
    if not state.ended:
        journal.append("attempt-ended", attempt=state.attempt)
    if not state.closed and _archived(state) is None:
        known = {problem.reason for problem in state.problems}
        for text in find_tampering(folder, state):
            if text not in known:
                journal.append("problem", kind="unproven", reason=text, afterwards=True)
        if _is_archived_late(state) and state.verdict is Verdict.PASS:
            journal.append("problem", kind="died", reason=ARCHIVED_LATE)
        notify(journal, _state(folder, journal.events()))
    return len(journal.events())


def _is_archived_late(state: RunState) -> bool:
    """True when the attempt's runner is not the process that archives it.

    One that only continues an attempt observes nothing: it is not late when the attempt that it continues is in the archive, whose
    record holds the digest of the journal up to there.
    """
    if state.sitting.get("by") != "runbook run" or state.sitting.get("process") == identity.this_process():
        return False
    if not state.sitting.get("continues"):
        return True
    before = [record for _, record in records_of(state) if record.attempt == state.attempt - 1]
    return not before or ARCHIVED_LATE in before[-1].reason


def _doubts(folder: Path, state: RunState, last: Event) -> list[Event]:
    """What is doubtful about an attempt that another one has followed, as events at its end."""
    said = [("unproven", text) for text in find_tampering(folder, state)]
    said += [("died", ARCHIVED_LATE)] if _is_archived_late(state) else []
    event = {"n": last["n"], "at": last["at"], "event": "problem", "afterwards": True}
    return [{**event, "kind": kind, "reason": text} for kind, text in said]


def _unclosed(events: list[Event]) -> list[int]:
    """For every attempt without a record, how many events there are up to its end."""
    starts = [index for index, event in enumerate(events) if event["event"] == "attempt-started"]
    closed = {event["attempt"] for event in events if event["event"] == "attempt-closed"}
    ends = [*starts[1:], len(events)]
    return [end for start, end in zip(starts, ends, strict=True) if events[start]["attempt"] not in closed]


def _archived(state: RunState) -> str | None:
    """The record that a closing which died between archive and journal has left."""
    folder = archived_folder(record_of(state))
    return layout.short(folder) if folder is not None else None


def _archive(folder: Path, state: RunState, executed: Path | None, upto: int) -> str:
    from runbook.report.render import render_report  # late: it is not needed to find out that nothing is to be closed
    from runbook.runner.executed import executed_notebook
    from runbook.runner.stamps import notebook_bytes

    source, changed = _source_bytes(folder, state)
    notebook, limitations = executed_notebook(folder, state, executed, source)
    # Once more: a secret may have become known after it was written down, or may stand in the whole that no part of it shows.
    record = _without_secrets(
        record_of(state, (*changed, *limitations), operators=_people(state), journal=journal_facts(folder, upto))
    )
    statements = scrubber.value(read_statements(folder, state.attempt))
    lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in statements)
    (page,) = scrubber.texts([scrubber.text(render_report(record, notebook, statements))], is_html=True)
    path = commit_record(
        {
            "report.html": page.encode(),
            STATEMENTS: scrubber.text(lines).encode(),
            "executed.ipynb": notebook_bytes(notebook),
            "source.ipynb": scrubber.value(source),
            **gate_files(folder),  # as they were signed: they were found free of secrets before that
        },
        record,
    )
    return layout.short(path)


def _without_secrets(record: RunRecord) -> RunRecord:
    said = json.loads(record.model_dump_json(by_alias=True))
    clean = scrubber.value(said)
    return record if clean == said else RunRecord.model_validate_json(json.dumps(clean))


def _people(state: RunState) -> frozenset[str]:
    """The operators' names, also as the people that these users are."""
    try:
        return operators_of(state, load_params(state.target))
    except ParamsError:
        return frozenset()  # clean_up has reported it


def _source_bytes(folder: Path, state: RunState) -> tuple[bytes, tuple[str, ...]]:
    """The notebook that the attempt executed, as far as it is still there."""
    path = folder / str(state.sitting.get("source", SOURCE))
    data = path.read_bytes() if path.is_file() else b""
    executed = state.sitting.get("source_sha256")
    if executed is None or sha256(data).hexdigest() == executed:
        return data, ()
    what = "was changed" if data else "is gone"
    return data, (
        f"source.ipynb is not what was executed: {layout.short(path)} {what} after the attempt began. The SHA-256 of what was "
        f"executed is {executed}.",
    )


def archive_problems() -> list[str]:
    """What is wrong with the archive's files and chain, without a look at each signature."""
    from runbook.archive.verify import verify_archive

    if not layout.records().is_dir():
        return []
    try:
        return [str(problem) for problem in verify_archive(signatures=False).problems]
    except PlatformError as cause:
        return [cause.message]
