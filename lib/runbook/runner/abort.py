"""`abort_run`: nothing of the run is left but its record, and its target is free."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from runbook.errors import OperatorError, PlatformError
from runbook.params import load_params
from runbook.runner.closing import clean_up, close_attempt, read_state
from runbook.runner.execute import Outcome, is_over, outcome_of
from runbook.runner.resume import find_run
from runbook.runner.unopened import clear_never_opened, is_never_opened
from runbook.session import identity, lock
from runbook.session.credentials import register_secrets
from runbook.session.journal import Journal
from runbook.session.request import JOURNAL, SOURCE, start_attempt

_WAIT_SECONDS = 12.0


def pending_undos(text: str) -> dict[str, str]:
    """What the run did and nobody took back: act, and how it is undone. Aborting frees the target; it undoes nothing but
    what the run's own cleanups take back as it ends."""
    folder = find_run(text)
    return {} if is_never_opened(folder) else read_state(folder).undos


def abort_run(text: str, reason: str | None) -> Outcome:
    """The run's processes, backends and scratch are gone, it is archived as INCOMPLETE, its lock is free.

    Raises:
        OperatorError: the run is over and keeps nothing locked.
        PlatformError: its runner does not end.
    """
    folder = find_run(text)
    if is_never_opened(folder):
        return clear_never_opened(folder, reason)
    state = read_state(folder)
    register_secrets(load_params(state.target))
    if is_over(state) and state.effects is None:
        raise OperatorError(
            f"The run {state.run} is over: there is nothing to abort.", next=f"runbook status {state.run}"
        )
    journal = Journal(folder / JOURNAL)
    if state.closed or state.attempt == 0:
        start_attempt(
            journal,
            folder,
            state.attempt + 1,
            by="runbook abort",
            source=str(state.sitting.get("source", SOURCE)),
            like=state.sitting,
        )
    said = f"by {identity.operator()}" + (f": {reason}" if reason else "")
    journal.append("aborted", reason=said, **identity.at_work().facts)
    if not state.closed:
        for process in (state.sitting.get("process"), state.session and state.session["process"]):
            _end(process, folder)
    clean_up(folder)
    closed = close_attempt(folder)
    lock.free_effects(state.target, state.run)
    return outcome_of(closed)


def _end(process: dict[str, Any] | None, folder: Path) -> None:
    """The process has ended: asked, and then killed."""
    for number, seconds in ((signal.SIGTERM, _WAIT_SECONDS), (signal.SIGKILL, 2.0)):
        if process is None or process["host"] != identity.host() or not identity.is_alive(process):
            break
        if process["pid"] == os.getpid():
            return
        os.kill(process["pid"], number)
        deadline = time.monotonic() + seconds
        while identity.is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    if process is not None and identity.is_alive(process):
        raise PlatformError(
            f"The process {process['pid']} on {process['host']} works on this run and does not end.",
            next=f"On {process['host']}: kill -9 {process['pid']}, then: runbook abort {folder.name}",
        )
