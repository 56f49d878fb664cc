"""The mark that an executed notebook carries: which run wrote it, from which code.

The runner writes it into the notebook's metadata. Under papermill and JupyterLab others write the file, so the cell that opens the run
puts it out as a display that nothing shows.
"""

from __future__ import annotations

import sys
from typing import Any

from runbook.session.state import RunState

MIME = "application/vnd.runbook.run+json"


def mark_of(state: RunState) -> dict[str, Any]:
    """The mark of a run's latest attempt."""
    return {
        "run": state.run,
        "attempt": state.sitting.get("executed_attempt", state.attempt),
        "source_sha256": state.sitting.get("source_sha256"),
    }


def show_mark(mark: dict[str, Any]) -> None:
    """The cell that is being executed puts out the mark, when this process is a kernel."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    from IPython.display import display

    display({MIME: mark}, raw=True)  # type: ignore[no-untyped-call]  # IPython is untyped


def marked_run(notebook: Any) -> dict[str, Any] | None:
    """The mark in a notebook: the last one that a cell put out, or that of its metadata."""
    marks = [notebook.metadata.get("runbook")]
    for cell in notebook.cells:
        marks += [output.get("data", {}).get(MIME) for output in cell.get("outputs", [])]
    found = [mark for mark in marks if isinstance(mark, dict) and {"run", "attempt", "source_sha256"} <= set(mark)]
    return {name: found[-1][name] for name in ("run", "attempt", "source_sha256")} if found else None
