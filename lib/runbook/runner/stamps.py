"""The executed notebook as a truthful file: what ran, what did not, nothing secret in it.

papermill stamps every cell that never ran as completed after a dead kernel, a timeout or Ctrl-C. Here the state of a
cell follows from what the kernel answered: no start → not run; no execute reply → failed or interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from runbook.redact import scrubber
from runbook.session.journal import write_atomically
from runbook.texts import escaped

NOT_RUN, RUNNING, DONE, FAILED, INTERRUPTED = "not run", "running", "done", "failed", "interrupted"

_PAPERMILL = {NOT_RUN: "pending", RUNNING: "running", DONE: "completed", FAILED: "failed", INTERRUPTED: "failed"}


def state_of(cell: Any, *, over: bool, interrupted: bool) -> str:
    """The state of a code cell.

    Args:
        over: the run of the notebook has ended, so that nothing can be running.
        interrupted: it was ended from outside.
    """
    papermill = cell.metadata.get("papermill", {})
    execution = cell.metadata.get("execution", {})
    if not papermill and not execution:  # JupyterLab keeps no times: there a count says that the cell has run
        failed = any(output.output_type == "error" for output in cell.outputs)
        return NOT_RUN if cell.execution_count is None else FAILED if failed else DONE
    if papermill and not papermill.get("start_time"):
        return NOT_RUN
    if "shell.execute_reply" not in execution:
        if not over:
            return RUNNING
        return INTERRUPTED if interrupted else FAILED
    if any(output.output_type == "error" for output in cell.outputs) or papermill.get("exception") is True:
        return FAILED
    return DONE


def stamp_cell(cell: Any, *, over: bool, interrupted: bool) -> None:
    """`metadata.runbook` says the state and the seconds; papermill's own status is corrected to agree."""
    if cell.cell_type != "code" or not cell.source.strip():
        return
    state = state_of(cell, over=over, interrupted=interrupted)
    papermill = cell.metadata.setdefault("papermill", {})
    papermill["status"] = _PAPERMILL[state]
    if state == NOT_RUN:
        papermill["end_time"] = papermill["duration"] = None
    cell.metadata["runbook"] = {"state": state, "seconds": papermill.get("duration")}


def stamp_notebook(notebook: Any, *, over: bool, interrupted: bool = False) -> None:
    """Every code cell is stamped."""
    for cell in notebook.cells:
        stamp_cell(cell, over=over, interrupted=interrupted)


def join_streams(notebook: Any) -> None:
    """Adjacent pieces of one stream are one output: a secret split over two messages becomes visible to the scrubber."""
    for cell in notebook.cells:
        if "outputs" not in cell:
            continue
        joined: list[Any] = []
        texts: list[
            list[str]
        ] = []  # joined once at the end: a text that grows piece by piece is copied with each of them
        for output in cell.outputs:
            last = joined[-1] if joined else None
            if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
                texts[-1].append(output.text)
            else:
                joined.append(output)
                texts.append([output.text] if output.output_type == "stream" else [])
        for output, pieces in zip(joined, texts, strict=True):
            if len(pieces) > 1:
                output.text = "".join(pieces)
        cell.outputs = joined


def clean_copy(notebook: Any) -> Any:
    """The notebook with joined streams and without secrets, also those whose parts are shown one after the other."""
    join_streams(notebook)
    clean = nbformat.from_dict(_escaped(scrubber.value(notebook)))  # type: ignore[no-untyped-call]  # nbformat is untyped
    for track, is_html in _tracks(clean):
        texts = scrubber.texts([holder[key] for holder, key in track], is_html=is_html)
        for (holder, key), text in zip(track, texts, strict=True):
            holder[key] = text
    return clean


def _escaped(value: Any) -> Any:
    """The structure with names that are not UTF-8 shown with escapes: neither a file nor a page can hold them."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, (list, tuple)) else value


def _tracks(notebook: Any) -> Iterator[tuple[list[tuple[Any, Any]], bool]]:
    """Texts that a reader, or whoever joins the outputs of one kind, sees one after the other over all cells; and whether as HTML."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    for name in ("stdout", "stderr"):
        yield [(one, "text") for one in outputs if one.output_type == "stream" and one.name == name], False
    yield [place for one in outputs for place in _shown(one)], False
    displayed = [one.data for one in outputs if "data" in one]
    for kind in ("text/html", "text/markdown", "text/latex"):
        yield [(data, kind) for data in displayed if isinstance(data.get(kind), str)], True


def _shown(output: Any) -> list[tuple[Any, Any]]:
    if output.output_type == "stream":
        return [(output, "text")]
    if output.output_type == "error":
        return [(output, "evalue"), *((output.traceback, number) for number in range(len(output.traceback)))]
    return [(output.data, "text/plain")] if isinstance(output.data.get("text/plain"), str) else []


def notebook_bytes(notebook: Any) -> bytes:
    """The notebook as its file, without validation (which would cost more than the writing)."""
    text: str = nbformat.v4.writes(clean_copy(notebook))  # type: ignore[no-untyped-call]  # nbformat is untyped
    return (text + "\n").encode()


def save_notebook(notebook: Any, path: Path) -> None:
    """The file is the whole notebook or what it was before."""
    write_atomically(path, notebook_bytes(notebook), sync=False)


def read_executed(path: Path) -> Any:
    """A notebook from a file, upgraded to version 4, scrubbed. A secret in the file itself, which others have saved, is scrubbed there."""
    notebook = _read(path.read_bytes())
    clean = clean_copy(notebook)
    if clean != notebook:
        save_notebook(clean, path)
    return clean


def read_source_text(data: bytes) -> Any:
    """A notebook in these bytes, upgraded to version 4, scrubbed; one without cells when there is none."""
    return clean_copy(_read(data))


def _read(data: bytes) -> Any:
    if not data:
        return nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]  # nbformat is untyped
    return nbformat.reads(data.decode("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
