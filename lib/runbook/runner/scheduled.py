"""`run_scheduled`: what a scheduler starts, safe to start twice: one run for each due time, resumed when it broke off."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from runbook import clock, layout
from runbook.errors import OperatorError, ParamsError, RunbookError, TargetLocked
from runbook.model import EXIT_CODES, Verdict
from runbook.params import load_params
from runbook.params.controls import Control
from runbook.redact import scrubber
from runbook.runner.closing import read_state
from runbook.runner.dead import close_dead_runs, is_alive
from runbook.runner.execute import Outcome, execute_run, is_over, outcome_of, validate
from runbook.runner.resume import resume_run
from runbook.session.journal import read_first_event
from runbook.session.lock import read_holder
from runbook.session.request import JOURNAL, read_request
from runbook.session.state import RunState

#: How often a run that ended with exit 4 is resumed.
RESUMES = 2
VERIFICATION = "backup-verification"
#: Seconds before a broken run is resumed, and before a locked target is tried again.
PAUSE_SECONDS = 20.0
#: What was asked for by a signal is not asked for again.
_MEANT = frozenset({"stopped", "timeout"})


def run_scheduled(
    control: Control, target: str, *, wait: bool = False, only_on_day: bool = False, pause: float = PAUSE_SECONDS
) -> Outcome:
    """The control's newest due time has its run: a new one, or the one that broke off, resumed.

    Args:
        wait: try a locked target again until the control's deadline, for a scheduler that does not.
        only_on_day: do nothing on another day than the due one, for a scheduler that knows no "first Sunday".
        pause: seconds between two tries.

    Raises:
        TargetLocked: another run holds the target, or another process starts this very job.
    """
    due_at = control.calendar.latest_due(clock.now())
    zone = control.calendar.zone
    if due_at < control.begin:
        return _nothing(control, f"{control.id} is not due before {control.since}")
    if only_on_day and due_at.astimezone(zone).date() != clock.now().astimezone(zone).date():
        return _nothing(control, f"{control.id} is due on another day: {control.calendar.said()}")
    until = time.monotonic() + control.deadline
    resumed = 0
    while True:
        try:
            with _one_at_a_time(control.id, target):
                outcome = _once(control, target, due_at, until)
        except TargetLocked:
            if not wait or time.monotonic() + pause >= until:
                raise
        else:
            if not _may_resume(outcome) or resumed >= RESUMES or time.monotonic() + pause >= until:
                return outcome
            resumed += 1
        time.sleep(pause)


def _once(control: Control, target: str, due_at: datetime, until: float) -> Outcome:
    close_dead_runs()
    remaining = max(1.0, until - time.monotonic())
    state = scheduled_run(control.runbook, target, due_at)
    if state is None:
        request = validate(control.runbook, target, list(control.parameters.items()))
        _take_fence(control, target, due_at)
        return execute_run(request, timeout=remaining, scheduled_for=due_at)
    if not state.closed and is_alive(state):
        raise TargetLocked(f"The run {state.run} is still at work.", next=f"runbook status {state.run}", target=target)
    if is_over(state) or state.verdict is Verdict.FAIL:
        return outcome_of(state)
    return resume_run(state.run, timeout=remaining)


def _take_fence(control: Control, target: str, due_at: datetime) -> None:
    """A verification that a scheduler starts has a fence of its own to compare with, once for each due time: whoever takes base backups
    may have taken none. Where it cannot be had, the verification says what it lacks."""
    from runbook.postgres.connect import SqlError
    from runbook.verification.fence import take_fence  # late: most runbooks compare with none
    from runbook.verification.fencefile import list_fences

    if control.runbook != VERIFICATION:
        return
    params = load_params(target)
    if params.cluster is None or params.cluster.connection is None or read_holder(target) is not None:
        return
    if any(fence.taken_at >= due_at for fence in list_fences(params.cluster)[0]):
        return
    try:
        said = f"Fence taken: {take_fence(params).path.name}"
    except (RunbookError, SqlError, OSError) as cause:
        said = f"No fence was taken before the verification: {str(cause).strip()}"
    print(scrubber.text(said), file=sys.stderr)


def scheduled_run(runbook: str, target: str, due_at: datetime) -> RunState | None:
    """The newest run of that runbook and target for that due time."""
    root = layout.runs()
    for folder in sorted(root.iterdir(), reverse=True) if root.is_dir() else ():
        if read_first_event(folder / JOURNAL) is None:
            continue  # never opened
        try:
            request = read_request(folder)
        except ParamsError:
            continue  # `runbook doctor` names it
        said = (request.get("runbook"), request.get("target"), request.get("scheduled_for"))
        if said == (runbook, target, clock.stamp(due_at)):
            return read_state(folder)
    return None


def _may_resume(outcome: Outcome) -> bool:
    """True for exit 4, unless a person or the deadline has stopped it."""
    if outcome.exit_code != EXIT_CODES[Verdict.INCOMPLETE] or outcome.run is None:
        return False
    state = read_state(layout.run(outcome.run))
    return state.aborted is None and not any(problem.kind in _MEANT for problem in state.problems)


def _nothing(control: Control, reason: str) -> Outcome:
    return Outcome(None, "NOT DUE", f"{reason}.", None, f"runbook run {control.runbook}", 0)


@contextmanager
def _one_at_a_time(control: str, target: str) -> Iterator[None]:
    folder = layout.var() / "schedule"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{control}-{target}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TargetLocked(
                f"Another process runs {control} of {target} just now.", next="runbook runs", target=target
            ) from None
        yield
    finally:
        os.close(descriptor)


def refuse_other_target(control: Control, target: str, known: list[str]) -> None:
    """The control is due of the target.

    Raises:
        OperatorError: it is not; with the targets that it is due of.
    """
    if target not in known:
        raise OperatorError(
            f"{control.id} is not due of '{target}'.", next=f"Its targets: {', '.join(known) or 'none'}."
        )
