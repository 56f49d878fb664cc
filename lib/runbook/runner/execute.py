"""`execute_run`: a request becomes a run, and the run a record and an exit code."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, disk, layout
from runbook.errors import ParamsError
from runbook.model import StepState, Verdict
from runbook.params import Params, load_params
from runbook.params.variables import target_variables
from runbook.redact import scrubber
from runbook.runner.closing import clean_up, close_attempt, read_state
from runbook.runner.kernel import Kernel
from runbook.runner.progress import Display
from runbook.runner.signals import Signals, Stopped
from runbook.session import notebook, values
from runbook.session.credentials import register_all_secrets, register_secrets
from runbook.session.journal import Journal
from runbook.session.lock import lock_of
from runbook.session.mark import mark_of
from runbook.session.notebook import Parameter
from runbook.session.outputs import MOST
from runbook.session.request import (
    JOURNAL,
    SOURCE,
    create_run,
    executed_name,
    new_run_id,
    read_request,
    read_source,
    start_attempt,
)
from runbook.session.state import RunState
from runbook.texts import visible

#: Seconds that a stopped kernel has for its cleanups: all of a stopped run must be gone within ten.
_CLEANUP_SECONDS = 3.5


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: the last line on standard output."""

    run: str | None
    verdict: str
    reason: str
    record: str | None
    next: str
    exit_code: int


def outcome_of(state: RunState) -> Outcome:
    """The outcome of an archived attempt."""
    return Outcome(
        run=state.run,
        verdict=str(state.verdict),
        reason=state.reason,
        record=state.records[-1] if state.records else None,
        next=state.next_command,
        exit_code=state.exit_code,
    )


@dataclass(frozen=True)
class Request:
    """A request that was found in order: nothing has started yet."""

    path: Path
    declared: dict[str, Parameter]
    values: dict[str, Any]
    params: Params
    only_reads: bool

    @property
    def runbook(self) -> str:
        return notebook.slug_of(self.path)


def validate(name: str, target: str | None, given: Iterable[tuple[str, str]]) -> Request:
    """The request names a runbook, a target and parameters that exist, with values of their types.

    Args:
        given: names and texts from the command line.

    Raises:
        ParamsError: it does not; nothing was started.
    """
    path = notebook.find_notebook(name)
    where = layout.short(path)
    content = notebook.read_notebook(path)
    declared = notebook.read_parameters(content, where)
    register_all_secrets()  # any of them may have been pasted as a value
    asked = [*given, *([("target", target)] if target is not None else [])]
    taken = values.values_from_text(asked, declared, where)
    params = load_params(taken["target"])
    register_secrets(params)
    values.refuse_secrets(taken, where)
    _check_meaning(content, params, taken)
    return Request(path, declared, taken, params, notebook.only_reads(content))


def _check_meaning(content: dict[str, Any], params: Params, taken: dict[str, Any]) -> None:
    """What the notebook's own subject refuses (a naive time, a broken check file) is refused before a kernel starts.

    The notebook names a function of the library in `metadata.runbook.preflight`, as `module:function`; it takes the
    params and the notebook's values, starts nothing, and raises OperatorError.
    """
    named = content.get("metadata", {}).get("runbook", {}).get("preflight")
    if named:
        module, _, function = str(named).partition(":")
        # The runner has the operator's whole environment: a notebook names functions of the library here, and nothing else.
        check = getattr(importlib.import_module(module), function, None) if module.startswith("runbook.") else None
        if check is None:
            raise ParamsError(
                f"The notebook's metadata.runbook.preflight names '{named}', which is not a function of the library.",
                next="Correct it, or take it out of the notebook's metadata.",
            )
        check(params, taken)


def execute_run(
    request: Request, *, timeout: float | None, scheduled_for: datetime | None, display: bool = True
) -> Outcome:
    """The run has been executed, archived, and has its verdict.

    Raises:
        TargetLocked: another run holds the target, and this one may change it; nothing was started.
    """
    run_id = new_run_id(request.runbook)
    lock = lock_of(request.params.target, run_id, only_reads=request.only_reads)
    lock.acquire()
    try:
        with Signals(timeout) as signals:
            folder = create_run(
                run_id,
                request.path,
                request.values,
                request.declared,
                request.params,
                started_by="runbook run",
                scheduled_for=scheduled_for,
            )
            return run_attempt(folder, 1, request.values, signals, display=display)
    finally:
        lock.release()


def run_attempt(
    folder: Path,
    attempt: int,
    parameters: dict[str, Any],
    signals: Signals,
    *,
    source: str = SOURCE,
    display: bool = True,
) -> Outcome:
    """One attempt of an opened run has been executed and archived. The caller holds the lock and the signals."""
    journal = Journal(folder / JOURNAL)
    executes = read_source(folder, read_state(folder), source)
    kernel = Kernel(folder.name, target_variables(read_request(folder)["target"]))
    stood: list[str] = []
    kernel.before_interrupt = lambda: stood.append(where_it_was(read_state(folder)))
    try:
        start_attempt(
            journal,
            folder,
            attempt,
            by="runbook run",
            source=source,
            executes=executes,
            kernel_folder=str(kernel.folder),
        )
        shown: AbstractContextManager[object] = Display(folder) if display else nullcontext()
        with shown:
            try:
                signals.arm()
                mark = mark_of(read_state(folder))
                _execute(executes, folder / executed_name(attempt), parameters, kernel, mark)
            except BaseException as cause:  # noqa: BLE001 - whatever it is, the attempt is journaled and archived
                signals.disarm()
                _note(journal, folder, kernel, cause, next(iter(stood), None))
            signals.disarm()
            if kernel.cut_cells:
                journal.append("limit", text=_cut_text(kernel.cut_cells))
            kernel.ask_to_end()
            import runbook.report.render  # noqa: F401 - loaded while the kernel ends

            kernel.end(_CLEANUP_SECONDS)
    finally:
        kernel.end(0)
    clean_up(folder)
    return outcome_of(close_attempt(folder))


def _cut_text(cells: int) -> str:
    what = (
        "1 cell, executed before the run was opened, has"
        if cells == 1
        else f"{cells} cells, executed before the run was opened, have"
    )
    return f"{what} written more than {clock.human_bytes(MOST)}: what followed was not kept."


def _execute(source: bytes, executed: Path, parameters: dict[str, Any], kernel: Kernel, mark: dict[str, Any]) -> None:
    """The kernel has executed exactly these bytes, which were compared and journaled: the file is not read again.

    Args:
        mark: says in the executed notebook which run this is.
    """
    import nbformat
    import papermill

    for name in ("papermill", "asyncio"):  # what they would say is said by the journal, scrubbed
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    notebook = nbformat.reads(source.decode("utf-8"), as_version=4)  # type: ignore[no-untyped-call]  # nbformat is untyped
    notebook.metadata["runbook"] = {**notebook.metadata.get("runbook", {}), **mark}
    papermill.execute_notebook(
        notebook,
        None,
        parameters=parameters,
        engine_name="runbook",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        save_to=executed,
        kernel=kernel,
    )


def where_it_was(state: RunState) -> str:
    """Where a run stands, for a reason."""
    step = state.current_step
    if step is None:
        return "before its first step"
    return f"{'at' if step.state is StepState.RUNNING else 'after'} step '{step.name}'"


def _note(journal: Journal, folder: Path, kernel: Kernel, cause: BaseException, stood: str | None) -> None:
    """The journal says why the notebook did not run to its end, unless it already does.

    Args:
        stood: where the run was when its kernel was interrupted; None: it was not.
    """
    state = read_state(folder)
    where = stood or where_it_was(state)
    if isinstance(cause, Stopped):
        journal.append("problem", kind=cause.kind, reason=f"The run was {cause.reason} {where}.")
        kernel.interrupt()
        return
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(cause, PapermillExecutionError):
        stopped = (StepState.FAILED, StepState.WAITING)
        explained = state.concluded or any(step.state in stopped for step in state.steps)
        if not explained:
            reason = f"Cell {cause.exec_count} failed {where}: {cause.ename}: {_first_line(cause.evalue)}"
            journal.append("problem", kind="cell-error", reason=reason)
    elif isinstance(cause, DeadKernelError) or kernel.process.poll() is not None:
        journal.append("problem", kind="dead-kernel", reason=f"The kernel {_how_it_ended(kernel)} {where}.")
    elif isinstance(cause, CellTimeoutError):
        journal.append("problem", kind="timeout", reason=f"A cell did not end in its time {where}.")
        kernel.interrupt()
    elif isinstance(cause, OSError) and disk.is_surroundings(cause):
        refusal = disk.refusal(cause)
        journal.append("problem", kind="runner", reason=f"{refusal.message} That was {where}.", next_step=refusal.next)
        kernel.interrupt()
    else:
        print(visible(scrubber.text("".join(traceback.format_exception(cause)))), file=sys.stderr)
        reason = f"The runner failed {where}: {type(cause).__name__}: {_first_line(str(cause))}"
        journal.append("problem", kind="runner", reason=reason, next_step="See the traceback above.")
        kernel.interrupt()


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:500]


def _how_it_ended(kernel: Kernel) -> str:
    kernel.wait(2)
    code = kernel.process.returncode
    words = kernel.last_words()
    said = f" (it last wrote: {words.splitlines()[-1][:300]})" if words else ""
    if code is None:
        return f"stopped answering{said}"
    if code < 0:
        return f"was killed by signal {-code} ({signal.Signals(-code).name}){said}"
    return f"ended with code {code}{said}"


def is_over(state: RunState) -> bool:
    """True when nothing is left to resume."""
    return state.closed and (state.verdict is Verdict.PASS or state.aborted is not None)
