"""Runs whose runner was killed: the next command finds them, ends what is left of them, and archives the truth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from runbook import layout
from runbook.errors import RunbookError
from runbook.redact import scrubber
from runbook.runner.closing import clean_up, close_attempt, read_state
from runbook.runner.execute import where_it_was
from runbook.session import identity
from runbook.session.journal import Journal, read_last_event
from runbook.session.request import JOURNAL, list_run, start_attempt
from runbook.session.state import RunState
from runbook.texts import visible


def open_runs() -> Iterator[tuple[Path, RunState]]:
    """The runs whose latest attempt has no record yet, oldest first."""
    root = layout.runs()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        last = read_last_event(folder / JOURNAL)
        if last is None and not _has_lines(folder / JOURNAL):
            continue
        if last is not None and last["event"] == "attempt-closed":
            continue
        try:
            state = read_state(folder)
        except (RunbookError, OSError) as cause:
            # One damaged journal must not stop every command of every target; its run has no record, which verify reports.
            _say(f"NOTE: {cause}")
            continue
        if not state.closed:  # people may decide on a gate after the attempt was archived
            yield folder, state


def _has_lines(journal: Path) -> bool:
    """Whether a journal holds lines, be they damaged: without one its run was never opened."""
    return journal.is_file() and b"\n" in journal.read_bytes()


def _say(text: str) -> None:
    print(visible(scrubber.text(text)), file=sys.stderr, flush=True)


def is_alive(state: RunState) -> bool:
    """True while somebody works on the run: its runner, or its kernel when it has no runner."""
    if identity.is_alive(state.sitting.get("process", state.request["process"])):
        return True
    by_runner = _by(state) == "runbook run"
    return not by_runner and state.session is not None and identity.is_alive(state.session["process"])


def close_dead_runs() -> list[RunState]:
    """Every run whose runner is gone has been ended and archived; returns them.

    A run from plain papermill or JupyterLab is left for `runbook close`: its executed notebook may still be saved.
    """
    closed = []
    for folder, state in open_runs():
        if _by(state) == "runbook run" and not is_alive(state):
            try:
                note_death(folder, state)
                clean_up(folder)
                closed.append(close_attempt(folder))
            except (RunbookError, OSError) as cause:
                # One run that cannot be archived now must not stop every command; doctor names it as not archived.
                _say(f"NOTE: The run {state.run} died and cannot be archived now: {cause}")
    return closed


def _by(state: RunState) -> str:
    return str(state.sitting.get("by", state.request["started_by"]))


def note_death(folder: Path, state: RunState) -> None:
    """The journal says that the run's processes are gone, unless it says already how the attempt ended."""
    if state.ended or state.problems or state.concluded:
        return
    process = state.sitting.get("process", state.request["process"])
    journal = Journal(folder / JOURNAL)
    if state.attempt == 0:  # it died before its first attempt, perhaps before its line in the ledger
        if state.request.get("ledger_line") is None:
            list_run(journal, state.request)
        start_attempt(journal, folder, 1, by=_by(state), process=process)
    who = "runner" if _by(state) == "runbook run" else "kernel"
    reason = f"The {who} (pid {process['pid']}) died without a word {where_it_was(state)}."
    journal.append("problem", kind="died", reason=reason)
