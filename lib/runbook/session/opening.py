"""`open_run`: the first thing a notebook does. It checks the parameters, and opens the run or joins the one that the
runner opened."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import OperatorError, ParamsError
from runbook.params import Params, load_params
from runbook.session import fingerprints, identity, notebook, values
from runbook.session.credentials import register_secrets
from runbook.session.executions import record_executions
from runbook.session.fold import fold
from runbook.session.journal import Journal
from runbook.session.lock import RunLock, lock_of
from runbook.session.mark import mark_of, show_mark
from runbook.session.notebook import Parameter
from runbook.session.redaction import guard_kernel
from runbook.session.request import (
    JOURNAL,
    REQUEST,
    SOURCE,
    create_run,
    new_run_id,
    only_reads,
    read_request,
    read_source,
    start_attempt,
)
from runbook.session.run import Run, shorten_traceback
from runbook.session.state import RunState
from runbook.session.surroundings import Surroundings, executed_inputs, look_around

#: The lock that this kernel holds, when no runner holds it.
_own_lock: RunLock | None = None


def open_run(name: str, namespace: Mapping[str, Any]) -> Run:
    """The run is open: its parameters are checked, its target is locked, its line is in the ledger.

    Args:
        name: the runbook's name, as `runbook list` shows it.
        namespace: the notebook's `globals()`.

    Raises:
        ParamsError: a parameter is unknown, mistyped or a secret, or the params file is wrong.
        TargetLocked: another run holds the target, and this one may change it.
    """
    try:
        return _open(name, namespace)
    except Exception as cause:
        shorten_traceback(cause)
        raise


def _open(name: str, namespace: Mapping[str, Any]) -> Run:
    guard_kernel()
    record_executions()
    joined = _marked_run(name)
    if joined is not None:
        source, where = _source_of(joined), read_request(joined)["notebook"]["path"]
    else:
        source = notebook.find_notebook(name)
        where = layout.short(source)
    declared = notebook.read_parameters(notebook.read_notebook(source), where)
    values.refuse_unknown(values.misspelt_names(executed_inputs(), declared), declared, where)
    given = values.values_from_namespace(namespace, declared, where)
    if look_around().started_by == "papermill":
        values.refuse_set_back(executed_inputs(), given, where)
    params = load_params(given["target"])
    register_secrets(params)
    values.refuse_secrets(given, where)
    if joined is not None:
        return _join(joined, params, given)
    return _create(source, params, given, declared)


def _marked_run(name: str) -> Path | None:
    """The folder of the run that this process belongs to, when it is one of this runbook and not over."""
    run_id = os.environ.get(layout.RUN_MARK)
    if not run_id or not (layout.run(run_id) / REQUEST).is_file():
        return None
    folder = layout.run(run_id)
    if read_request(folder)["runbook"] != notebook.slug_of(Path(name)):
        return None
    state = _state(folder)
    if not _has_runner(state) and (state.concluded or state.closed):
        return None
    return folder


def _state(folder: Path) -> RunState:
    return fold(Journal(folder / JOURNAL).events())


def _source_of(folder: Path) -> Path:
    return folder / str(_state(folder).sitting.get("source", SOURCE))


def _has_runner(state: RunState) -> bool:
    """True while a runner watches over the latest attempt (and holds the lock)."""
    return state.sitting.get("by") == "runbook run" and identity.is_alive(state.sitting["process"])


def _join(folder: Path, params: Params, given: dict[str, Any]) -> Run:
    """This kernel works on a run that is open already: the runner's, or its own from an earlier sitting."""
    request = read_request(folder)
    if json.loads(json.dumps(given)) != request["parameters"]:
        changed = [name for name in given if given[name] != request["parameters"].get(name)]
        raise ParamsError(
            f"The run {request['run']} was opened with other values of {', '.join(changed)}; the parameters of a run do "
            "not change.",
            next=f"Restart the kernel for a new run, or start one: {request['command']}",
        )
    journal = Journal(folder / JOURNAL)
    state = fold(journal.events())
    watched = _has_runner(state)
    surroundings = look_around()
    if not watched:
        _lock(params.target, request["run"], only_reads(folder))
    source = str(state.sitting.get("source", SOURCE))
    executes = read_source(folder, state, source)
    if watched:
        _refuse_other_inputs(state, fingerprints.inputs_of(executes, params.target))
    if state.session is not None or state.closed or not watched:
        start_attempt(
            journal,
            folder,
            state.attempt + 1,
            by=state.sitting.get("by", "") if watched else surroundings.started_by,
            source=source,
            executes=executes,
            process=state.sitting["process"] if watched else None,
        )
    return _enter(journal, folder, params, given, surroundings, watched=watched)


def _refuse_other_inputs(state: RunState, here: Mapping[str, str]) -> None:
    """This kernel imports and reads what the runner has compared and journaled.

    Raises:
        OperatorError: something was replaced since, or the kernel finds another library than the runner.
    """
    names = {
        "source_sha256": "notebook",
        "library_sha256": f"library ({fingerprints.library()})",
        "sql_sha256": "SQL files",
        "params_sha256": "params file",
    }
    other = [said for name, said in names.items() if here[name] != state.sitting.get(name)]
    if other:
        raise OperatorError(
            f"The kernel finds another {' and another '.join(other)} than the runner of {state.run} found when this attempt began.",
            next=f"Find out what was replaced, then: runbook resume {state.run}",
        )


def _create(path: Path, params: Params, given: dict[str, Any], declared: Mapping[str, Parameter]) -> Run:
    """A run that no runner started: under plain papermill or in JupyterLab."""
    surroundings = look_around()
    run_id = new_run_id(notebook.slug_of(path))
    _lock(params.target, run_id, notebook.only_reads(notebook.read_notebook(path)))
    folder = create_run(run_id, path, given, declared, params, started_by=surroundings.started_by)
    journal = Journal(folder / JOURNAL)
    start_attempt(journal, folder, 1, by=surroundings.started_by)
    # What this kernel starts from now on belongs to the run, and can be found when the kernel is gone.
    os.environ[layout.RUN_MARK] = run_id
    return _enter(journal, folder, params, given, surroundings, watched=False)


def _lock(target: str, run_id: str, is_reading: bool) -> None:
    global _own_lock
    if _own_lock is not None and _own_lock.held:
        if _own_lock.target == target and _own_lock.run_id == run_id:
            return
        _own_lock.release()  # this kernel left an earlier run behind
    lock = lock_of(target, run_id, only_reads=is_reading)
    lock.acquire()
    _own_lock = lock


def _unlock() -> None:
    if _own_lock is not None:
        _own_lock.release()


def _enter(
    journal: Journal, folder: Path, params: Params, given: dict[str, Any], surroundings: Surroundings, *, watched: bool
) -> Run:
    recorder = record_executions()
    journal.append(
        "session-opened",
        process=identity.this_process(),
        parent=identity.identify(os.getppid()),
        startup=fingerprints.startup_files(),
        records_cells=recorder is not None,
    )
    if recorder is not None:
        recorder.attach(journal, folder, list(fold(journal.events()).planned_cells))
    if surroundings.executed is not None and not watched:
        journal.append("notebook-at", path=str(surroundings.executed))
    if given.get("dry_run") is True:
        journal.append("limit", text="A dry run: nothing was changed.", reduces_scope=True)
    state = fold(journal.events())
    interactive = surroundings.started_by == "jupyterlab"
    if not watched or interactive:
        show_mark(mark_of(state))
    run = Run(
        state.run, folder, params, given, state, on_end=_unlock, archived_by_runner=watched, interactive=interactive
    )
    run.note_changing()
    return run
