"""`close_attempt`: an attempt that is over gets its record in the archive, whoever finds that it is over.

Called by the runner, by `runbook close`, and by the next command that finds a dead run. Safe twice, and safe when two
commands find the same run: one closes it, the other sees that it is closed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.archive.records import archived_folder, commit_record
from runbook.errors import ParamsError, PlatformError
from runbook.gates.folder import gate_files
from runbook.params import load_params
from runbook.redact import scrubber
from runbook.runner.notifying import notify
from runbook.runner.processes import end_backends, end_processes, remove_scratch, remove_sockets
from runbook.runner.record import record_of
from runbook.session.credentials import register_secrets
from runbook.session.fold import fold
from runbook.session.journal import Event, Journal, read_events
from runbook.session.request import JOURNAL, SOURCE, executed_name
from runbook.session.state import RunState
from runbook.session.statements import STATEMENTS, read_statements

NO_OUTPUTS = "The executed notebook was not at hand when the run was archived: its outputs are missing."


def read_state(folder: Path) -> RunState:
    """A run's state from its journal."""
    return fold(read_events(folder / JOURNAL))


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
    remove_sockets(state.sitting.get("kernel_folder"))
    end_processes(state.run, grace_seconds)
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
    for problem in problems:
        journal.append("problem", kind="cleanup", reason=problem, next_step="runbook doctor")


def close_attempt(folder: Path, executed: Path | None = None) -> RunState:
    """The run's attempts are all archived, and the state says where.

    Args:
        folder: the run's folder.
        executed: the executed notebook of the latest attempt; default: the runner's own.

    Raises:
        PlatformError: the archive could not be written; the command can be given again.
        ParamsError: `executed` is no notebook.
    """
    with _closing(folder):
        events = read_events(folder / JOURNAL)
        journal = Journal(folder / JOURNAL)
        before = len(fold(events).records)
        for upto in _unclosed(events):
            state = fold(events[:upto])
            latest = upto == len(events)
            if latest and not state.ended:
                journal.append("attempt-ended", attempt=state.attempt)
                state = fold(journal.events())
            if latest and not state.closed and _archived(state) is None:
                notify(journal, state)
                state = fold(journal.events())
            record = _archived(state) or _archive(folder, state, executed if latest else None)
            journal.append("attempt-closed", attempt=state.attempt, record=record)
        closed = read_state(folder)
    if len(closed.records) > before:
        from runbook.runner.indexing import refresh_index  # late: as the report

        refresh_index()
    return closed


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


def _archive(folder: Path, state: RunState, executed: Path | None) -> str:
    from runbook.report.render import render_report  # late: it is not needed to find out that nothing is to be closed
    from runbook.runner.stamps import notebook_bytes

    source = folder / str(state.sitting.get("source", SOURCE))
    notebook, limitations = _executed_notebook(folder, state, executed, source)
    record = record_of(state, limitations)
    # Once more: a secret may have become known after a statement was written down.
    statements = scrubber.value([line for line in read_statements(folder) if line["attempt"] <= state.attempt])
    path = commit_record(
        {
            "report.html": scrubber.text(render_report(record, notebook, statements)).encode(),
            STATEMENTS: "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in statements).encode(),
            "executed.ipynb": notebook_bytes(notebook),
            "source.ipynb": scrubber.value(source.read_bytes()),
            **gate_files(folder),  # as they were signed: they were found free of secrets before that
        },
        record,
    )
    return layout.short(path)


def _executed_notebook(folder: Path, state: RunState, given: Path | None, source: Path) -> tuple[Any, tuple[str, ...]]:
    from runbook.runner.stamps import read_executed, stamp_notebook

    own = folder / executed_name(state.sitting.get("executed_attempt", state.attempt))
    said = Path(state.executed_at) if state.executed_at is not None else None
    path = given or next((place for place in (own, said) if place is not None and place.is_file()), None)
    if path is not None:
        try:
            notebook = read_executed(path)
        except (OSError, ValueError) as cause:
            raise ParamsError(
                f"{layout.short(path)} cannot be read as a notebook: {cause}", next=f"runbook close {state.run}"
            ) from cause
        stamp_notebook(notebook, over=True, interrupted=any(problem.kind == "stopped" for problem in state.problems))
        return notebook, ()
    return read_executed(source), (NO_OUTPUTS,)  # not stamped: whether its cells ran, only the journal knows


def archive_problems() -> list[str]:
    """What is wrong with the archive's files and chain, without a look at each signature."""
    from runbook.archive.verify import verify_archive

    if not layout.records().is_dir():
        return []
    try:
        return [str(problem) for problem in verify_archive(signatures=False).problems]
    except PlatformError as cause:
        return [cause.message]
