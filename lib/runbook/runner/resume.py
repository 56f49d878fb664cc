"""`resume_run` and `redo_step`: another attempt of a run, on the same code unless a change is accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import OperatorError, ParamsError
from runbook.params import load_params
from runbook.params.loading import nearest
from runbook.redact import scrubber
from runbook.runner.closing import read_state
from runbook.runner.dead import is_alive
from runbook.runner.execute import Outcome, is_over, run_attempt
from runbook.runner.signals import Signals
from runbook.runner.tampering import refuse_tampered
from runbook.session import fingerprints, identity, notebook
from runbook.session.credentials import register_secrets
from runbook.session.deciding import refuse_other_name, type_target
from runbook.session.journal import Journal, write_atomically
from runbook.session.lock import changing, lock_of
from runbook.session.notebook import Parameter
from runbook.session.request import JOURNAL, expected_source, only_reads, source_name, source_of
from runbook.session.state import RunState


def find_run(text: str) -> Path:
    """The folder of a run, by its id or a part of it that only one run has.

    Raises:
        ParamsError: there is none, or more than one; the nearest id is given.
    """
    root = layout.runs()
    known = [folder.name for folder in sorted(root.iterdir()) if folder.is_dir()] if root.is_dir() else []
    found = [text] if text in known else [name for name in known if text and text in name]
    if len(found) == 1:
        return root / found[0]
    if found:
        raise ParamsError(f"'{text}' is part of {len(found)} run ids, such as {found[-1]}.", next="Give the whole id.")
    hint = nearest(text, known[-20:]) if known else "there is no run yet."
    raise ParamsError(f"There is no run '{text}'; {hint}", next="runbook runs")


@dataclass(frozen=True)
class Changes:
    """What differs from what the run began with, and the fingerprints as they are now."""

    what: list[str]
    now: dict[str, str]
    notebook: Path
    declared: dict[str, Parameter] = field(default_factory=dict)


def find_changes(folder: Path, state: RunState) -> Changes:
    """Changed code cells, params file, library, SQL, or the run's own copy of its notebook; prose and outputs of the notebook may change."""
    path = notebook.find_notebook(state.request["runbook"])
    content = notebook.read_notebook(path)
    source = folder / source_of(state)
    inputs = fingerprints.inputs_of(source.read_bytes(), state.target)
    now = {"code_sha256": notebook.hash_code(content), **inputs}
    began: dict[str, Any] = {
        "code_sha256": state.request["code_sha256"],
        "params_sha256": state.request["params_file"]["sha256"],
        "library_sha256": state.request["library_sha256"],
        "sql_sha256": state.request.get("sql_sha256"),
    }
    if state.accepted_changes:
        began |= state.accepted_changes[-1]["now"]
    began["source_sha256"] = expected_source(state, source.name)
    names = {
        "code_sha256": f"the code cells of {layout.short(path)}",
        "params_sha256": state.request["params_file"]["path"],
        "library_sha256": "the library",
        "sql_sha256": f"the SQL files in {layout.short(layout.sql())}",
        "source_sha256": f"{layout.short(source)} (the run's own copy of its notebook)",
    }
    what = [names[key] for key in now if now[key] != began[key]]
    return Changes(what, now, path, notebook.read_parameters(content, layout.short(path)))


def _refuse_unless_resumable(state: RunState) -> None:
    if is_alive(state) and not state.closed:
        raise OperatorError(f"The run {state.run} is still at work.", next=f"runbook status {state.run}")
    if is_over(state):
        holder = changing(state.target)
        keeps_locked = holder is not None and holder["run"] == state.run
        ending = "was aborted" if state.aborted is not None else "has ended with PASS"
        raise OperatorError(
            f"The run {state.run} {ending}: there is nothing to resume.",
            next=f"runbook abort {state.run}" if state.undos or keeps_locked else str(state.request["command"]),
        )


def resume_run(
    text: str,
    *,
    accept_change: str | None = None,
    timeout: float | None = None,
    redo: str | None = None,
    confirm_target: str | None = None,
    display: bool = True,
) -> Outcome:
    """Another attempt has been made: everything is observed anew, what must happen once is not repeated.

    Args:
        text: the run.
        accept_change: why a change of code, params or library is all right; it is recorded.
        redo: a once-only step whose journaled result is dropped first.
        confirm_target: the target's name as the operator typed it, for the gate that asks for it.

    Raises:
        OperatorError: the run is at work or over, or something changed and no reason is given.
        TargetLocked: another run holds the target.
    """
    folder = find_run(text)
    state = read_state(folder)
    _refuse_unless_resumable(state)
    refuse_tampered(folder, state)
    if redo is not None:
        _refuse_unknown_step(state, redo)
    asking = _gate_that_asks(state, confirm_target) if confirm_target is not None else None
    changes = find_changes(folder, state)
    if changes.what and accept_change is None:
        raise OperatorError(
            f"Since the run {state.run} began, this has changed: {', '.join(changes.what)}.",
            next=f'runbook resume {state.run} --accept-change "REASON"',
        )
    register_secrets(load_params(state.target))
    lock = lock_of(state.target, state.run, only_reads=only_reads(folder))
    lock.acquire()
    try:
        with Signals(timeout) as signals:
            journal = Journal(folder / JOURNAL)
            attempt = state.attempt + 1
            source = source_of(state)
            if changes.what:
                source = _accept(journal, folder, state, changes, attempt, str(accept_change))
            if redo is not None:
                journal.append("step-redo", name=redo, **identity.at_work().facts)
            if asking is not None:
                type_target(folder, asking, str(confirm_target))
            return run_attempt(folder, attempt, state.request["parameters"], signals, source=source, display=display)
    finally:
        lock.release()


def _accept(journal: Journal, folder: Path, state: RunState, changes: Changes, attempt: int, reason: str) -> str:
    """The change is on record, and the notebook as it is now is the attempt's source."""
    given: dict[str, Any] = state.request["parameters"]
    if set(given) != set(changes.declared):
        different = sorted(set(given) ^ set(changes.declared))
        raise OperatorError(
            f"The parameters of {layout.short(changes.notebook)} have changed ({', '.join(different)}): the run cannot "
            "go on with it.",
            next=f"runbook abort {state.run}",
        )
    source = scrubber.value(changes.notebook.read_bytes())
    write_atomically(folder / source_name(attempt), source)
    now = {**changes.now, "source": source_name(attempt), "source_sha256": fingerprints.sha256_of_bytes(source)}
    journal.append("change-accepted", reason=reason, what=changes.what, now=now, **identity.at_work().facts)
    return source_name(attempt)


def _gate_that_asks(state: RunState, typed: str) -> str:
    """The gate that waits for the target's name, which is what was typed."""
    refuse_other_name(state, typed)
    for gate in state.gates:
        if gate["state"] == "waiting" and gate.get("wants_target"):
            return str(gate["id"])
    raise OperatorError(
        f"No gate of the run {state.run} asks for the target's name.", next=f"runbook resume {state.run}"
    )


def _refuse_unknown_step(state: RunState, step: str) -> None:
    if step in state.once:
        return
    names = list(state.once)
    hint = nearest(step, names) if names else "it has no step that must happen once and has begun."
    raise ParamsError(
        f"The run {state.run} has no once-only step '{step}'; {hint} All other steps run anew on every resume.",
        next=f"runbook resume {state.run}",
    )
