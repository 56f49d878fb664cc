"""The executed notebook of an attempt, as it is archived.

Under `runbook run` it is the file that the runner itself has written. Under papermill and JupyterLab, and wherever the runner's file is
not at hand, it is the run's own copy of the notebook with what the kernel journaled laid over it: a file that others saved may be older
than what was executed, or another run's, so it is never evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import ParamsError
from runbook.runner.stamps import (
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_RUN,
    clean_copy,
    read_executed,
    read_source_text,
    stamp_notebook,
)
from runbook.session.cellbook import Execution
from runbook.session.executions import read_outputs
from runbook.session.mark import MIME, mark_of, marked_run
from runbook.session.notebook import INJECTED
from runbook.session.request import executed_name
from runbook.session.state import RunState

NO_OUTPUTS = "The executed notebook was not at hand when the run was archived: its outputs are missing."


def executed_notebook(folder: Path, state: RunState, given: Path | None, source: bytes) -> tuple[Any, tuple[str, ...]]:
    """The executed notebook, and what limits it.

    Args:
        folder: the run's.
        given: the file that the operator named; it must be this run's.
        source: the notebook that the attempt executed.

    Raises:
        ParamsError: `given` is no notebook, or another run's.
    """
    limits = _look_at_saved(state, given)
    before = _archived_before(state)
    if before is not None:
        return before, limits
    own = folder / executed_name(state.sitting.get("executed_attempt", state.attempt))
    if state.sitting.get("by") == "runbook run" and not state.sitting.get("interactive") and own.is_file():
        try:
            notebook = read_executed(own)
        except ValueError as cause:
            limits += (f"{layout.short(own)}, which the runner wrote, cannot be read: {cause}.",)
        else:
            if marked_run(notebook) == mark_of(state):
                stamp_notebook(notebook, over=True, interrupted=_was_stopped(state))
                return notebook, limits
            limits += (f"{layout.short(own)} is not what the runner of this attempt wrote: it was not used.",)
    notebook = read_source_text(source)
    if not state.executions:
        return notebook, (*limits, NO_OUTPUTS)  # not stamped: whether its cells ran, only the journal knows
    limits += tuple(_lay_over(notebook, folder, state))
    notebook.metadata["runbook"] = {**notebook.metadata.get("runbook", {}), **mark_of(state)}
    return clean_copy(notebook), limits  # a secret may be split over the outputs of two cells


def _archived_before(state: RunState) -> Any:
    """The notebook in the record that this attempt only continues: nothing was executed since."""
    if not state.sitting.get("continues") or not state.records:
        return None
    path = layout.resolve(state.records[-1]) / "executed.ipynb"
    notebook = read_source_text(path.read_bytes()) if path.is_file() else None
    said = marked_run(notebook) if notebook is not None else None
    return notebook if said is not None and said["run"] == state.run else None


def _look_at_saved(state: RunState, given: Path | None) -> tuple[str, ...]:
    """The file that papermill or a browser has saved: secrets in it are scrubbed, and another run's is named."""
    path = given or (Path(state.executed_at) if state.executed_at is not None else None)
    if path is None or not path.is_file():
        return ()
    try:
        notebook = read_source_text(path.read_bytes())
    except (OSError, ValueError) as cause:
        if given is None:
            return ()
        raise ParamsError(
            f"{layout.short(path)} cannot be read as a notebook: {cause}", next=f"runbook close {state.run}"
        ) from cause
    said = marked_run(notebook)
    if said is not None and said["run"] != state.run:
        text = f"{layout.short(path)} holds the outputs of the run {said['run']}"
        if given is not None:
            raise ParamsError(f"{text}, not those of {state.run}.", next=f"runbook close {state.run}")
        return (f"{text}: it was not used. The outputs in this record are those that this run's kernel journaled.",)
    if said is not None and said != mark_of(state):
        return (f"{layout.short(path)} was executed from other code than the run {state.run}: it was not used.",)
    read_executed(path)  # secrets in it are scrubbed in the file itself
    return ()


def _was_stopped(state: RunState) -> bool:
    return any(problem.kind == "stopped" for problem in state.problems)


def _lay_over(notebook: Any, folder: Path, state: RunState) -> Iterable[str]:
    """Each code cell gets what the kernel journaled of its last execution; cells that the notebook lacks are put in where they ran."""
    planned = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if len(planned) != len(state.planned_cells):
        planned = []  # the copy was changed; that is reported: what was executed is appended
    missing = 0
    last: dict[int, Execution] = {}
    for one in state.executions:
        if one.place is not None and one.place < len(planned):
            last[one.place] = one
    for place, cell in enumerate(planned):
        done = last.get(place)
        if done is None:
            cell.metadata["runbook"] = {"state": NOT_RUN, "seconds": None}
            continue
        cell.source = done.code
        missing += not _fill(cell, done, folder, state)
    after: Any = None
    for one in state.executions:
        if one.place is not None and one.place < len(planned):
            after = planned[one.place]
            continue
        cell = _new_cell(one)
        missing += not _fill(cell, one, folder, state)
        index = notebook.cells.index(after) + 1 if after is not None else _first_code(notebook)
        notebook.cells.insert(index, cell)
        after = cell
    if missing:
        yield f"The outputs of {missing} executed cell{'s' if missing > 1 else ''} are gone or were changed since the kernel wrote them."


def _first_code(notebook: Any) -> int:
    return next((n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))


def _new_cell(one: Execution) -> Any:
    import nbformat

    cell = nbformat.v4.new_code_cell(one.code, id=f"executed-{one.n}")  # type: ignore[no-untyped-call]  # nbformat is untyped
    cell.metadata["tags"] = ["injected-parameters" if one.code.startswith(INJECTED) else "not-in-the-notebook"]
    return cell


def _fill(cell: Any, one: Execution, folder: Path, state: RunState) -> bool:
    """The cell says what the kernel journaled. False: its outputs are not at hand."""
    import nbformat

    words = {"ok": DONE, "error": FAILED}
    unknown = INTERRUPTED if _was_stopped(state) else FAILED
    cell.metadata["runbook"] = {"state": words.get(one.status or "", unknown), "seconds": one.seconds}
    cell.execution_count = one.count
    outputs = read_outputs(folder, one.outputs)
    shown = [output for output in outputs or () if MIME not in output.get("data", {})]
    cell.outputs = json.loads(json.dumps(shown), object_hook=nbformat.NotebookNode)
    return outputs is not None
