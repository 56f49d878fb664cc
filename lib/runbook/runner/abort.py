"""`abort_run`: nothing of the run is left but its record; service is restored and its target is free, or it says what is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from runbook.errors import OperatorError, PlatformError
from runbook.params import load_params
from runbook.params.schema import Params
from runbook.runner.closing import clean_up, close_attempt, read_state
from runbook.runner.execute import Outcome, is_over, outcome_of
from runbook.runner.resume import find_run
from runbook.runner.unopened import clear_never_opened, is_never_opened
from runbook.session import identity, lock
from runbook.session.credentials import register_secrets
from runbook.session.journal import Journal
from runbook.session.request import JOURNAL, SOURCE, start_attempt
from runbook.session.state import RunState

_WAIT_SECONDS = 12.0
#: Names what a recovery's course has reached, in the run's memory.
_MOMENT = "recovery/at/"


def what_became(text: str) -> list[str]:
    """Lines for a terminal: what was looked at while the run was aborted, and what the run did that nobody took back."""
    folder = find_run(text)
    if is_never_opened(folder):
        return []
    state = read_state(folder)
    return [
        *(
            f"{check.status}: {check.title}: {check.observed}"
            for check in state.checks
            if state.sitting.get("by") == "runbook abort"
        ),
        *(f"NOT TAKEN BACK: {act}. Undo: {undo}" for act, undo in state.undos.items()),
    ]


def abort_run(text: str, reason: str | None, by_hand: str | None = None) -> Outcome:
    """The run's processes, backends and scratch are gone, what it did is taken back, it is archived as INCOMPLETE, its lock is free.

    What could not be taken back keeps the target locked; the command may be given again.

    Args:
        by_hand: what the operator says to have undone by hand; without it, what stands in no code of ours stays.

    Raises:
        OperatorError: the run is over and keeps nothing locked; or a restored copy stands in production's place, not accepted or not
            opened yet.
        PlatformError: its runner does not end, or works on another host.
    """
    folder = find_run(text)
    if is_never_opened(folder):
        return clear_never_opened(folder, reason)
    state = read_state(folder)
    params = load_params(state.target)
    register_secrets(params)
    if is_over(state) and state.effects is None and not state.undos:
        if lock.free_effects(state.target, state.run):  # an abort before was killed when all but this was done
            return outcome_of(state)
        raise OperatorError(
            f"The run {state.run} is over: there is nothing to abort.", next=f"runbook status {state.run}"
        )
    _refuse_swapped(state, by_hand)
    working = [one for one in (state.sitting.get("process"), state.session and state.session["process"]) if one]
    foreign = [] if state.closed else [one for one in working if one["host"] != identity.host()]
    if foreign and by_hand is None:
        raise _beyond_reach(foreign[0], folder)  # before a word of it is journaled: the run goes on as it was
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
    effects = state.effects
    said = f"by {identity.operator()}" + (f": {reason}" if reason else "")
    journal.append("aborted", reason=said, **identity.at_work().facts)
    if not state.closed:
        for process in working:
            if process not in foreign:
                _end(process, folder)
        if foreign:
            said = f"The process {foreign[0]['pid']} on {foreign[0]['host']} was not looked for: it is gone, as {identity.operator()} says"
            journal.append("limit", text=f"{said} ({by_hand}).")
    clean_up(folder)
    left = _take_back(folder, params, journal, by_hand)
    what = f"not taken back: {', '.join(left)}" if left else ""
    next_ = f"runbook abort {state.run}"
    if set(left) == set(state.undos) and (state.aborted is not None or _is_by_hand(left)):
        next_ += ' --by-hand "WHAT WAS DONE"'  # another abort would take back no more than this one
    if left:
        journal.append("effects", pending=True, what=what, next=next_)
    closed = close_attempt(folder)
    if left and (effects is not None or (lock.read_holder(state.target) or {}).get("run") == state.run):
        lock.keep_effects(state.target, state.run, what, next=next_)
    elif not left:
        lock.free_effects(state.target, state.run)
    return outcome_of(closed)


def _refuse_swapped(state: RunState, by_hand: str | None) -> None:
    """A copy in production's place is accepted or put back by a decision of its own."""
    from runbook.recovery.wayon import SWAPPED  # late: few runs swap anything

    if SWAPPED in state.undos and by_hand is None:
        raise OperatorError(
            "The restored copy is in production's place, and nobody has accepted it or put the damaged cluster back: resume the run and "
            f"answer accept or back. {SWAPPED}: {state.undos[SWAPPED]}. If it was put back by hand, abort with --by-hand and what was done.",
            next=f"runbook resume {state.run}",
        )
    reached = {name.removeprefix(_MOMENT) for name in state.memory if name.startswith(_MOMENT)}
    if "accepted" in reached and not reached & {"archived", "done"} and by_hand is None:
        raise OperatorError(
            "The recovery is accepted and not finished: production is the restored copy, and may be read-only with its archiving held. "
            "If writes and archiving were enabled by hand, abort with --by-hand and what was done.",
            next=f"runbook resume {state.run}",
        )


def _take_back(folder: Path, params: Params, journal: Journal, by_hand: str | None) -> dict[str, str]:
    """What the run noted as not taken back is taken back, with its proof in the journal; what is left, and how it is undone."""
    state = read_state(folder)
    if by_hand is not None:
        for act in state.undos:
            journal.append("undone", act=act)
        acts = "; ".join(state.undos) or "what it did"
        journal.append(
            "limit",
            text=f"Taken back by hand, as {identity.operator()} says ({by_hand}): {acts}. Nothing has proven it.",
        )
        return {}
    if not state.undos:
        return {}
    if params.cluster is not None:
        from runbook.recovery.callingoff import call_off  # late: few runs have locked anything down

        def recall(name: str, default: Any = None) -> Any:
            return read_state(folder).memory.get(name, default)

        def undone(act: str) -> None:
            if act in read_state(folder).undos:
                journal.append("undone", act=act)

        done = call_off(
            params,
            state.run,
            state.undos,
            remember=lambda name, value: journal.append("remembered", name=name, value=value),
            recall=recall,
            undo_first=lambda act, undo: journal.append("undo-noted", act=act, undo=undo),
            undone=undone,
        )
        for limit in done.limits:
            journal.append("limit", text=limit)
        for check in done.checks:
            journal.append("check", check=check.model_dump(mode="json"))
            if check.reason is not None:
                journal.append("limit", text=f"{check.title}: {check.reason} Next: {check.next}")
    return read_state(folder).undos


def _is_by_hand(left: dict[str, str]) -> bool:
    from runbook.recovery.lockdown import BY_HAND  # late: few runs have locked anything down

    return all(undo.startswith(BY_HAND) for undo in left.values())


def _beyond_reach(process: dict[str, Any], folder: Path) -> PlatformError:
    host, pid = process["host"], process["pid"]
    return PlatformError(
        f"The process {pid} on {host} works on this run, and nothing of that host can be ended from here.",
        next=f'On {host}: runbook abort {folder.name}; when that host is gone: runbook abort {folder.name} --by-hand "host {host} is '
        'gone, and WHAT WAS DONE"',
    )


def _end(process: dict[str, Any], folder: Path) -> None:
    """The process of this host has ended: asked, and then killed."""
    for number, seconds in ((signal.SIGTERM, _WAIT_SECONDS), (signal.SIGKILL, 2.0)):
        if not identity.is_alive(process):
            return
        if process["pid"] == os.getpid():
            return
        os.kill(process["pid"], number)
        deadline = time.monotonic() + seconds
        while identity.is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)
    if identity.is_alive(process):
        raise PlatformError(
            f"The process {process['pid']} on {process['host']} works on this run and does not end.",
            next=f"On {process['host']}: kill -9 {process['pid']}, then: runbook abort {folder.name}",
        )
