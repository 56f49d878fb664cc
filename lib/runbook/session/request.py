"""What was asked for: `request.json` and `source.ipynb` of a run, written once, before anything is done."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import OperatorError, ParamsError
from runbook.params.schema import Params
from runbook.redact import scrubber
from runbook.session import checkout, fingerprints, identity, ledger, notebook, signersfile
from runbook.session.cellbook import describe_cells
from runbook.session.journal import Journal, write_atomically
from runbook.session.notebook import Parameter
from runbook.session.state import RunState
from runbook.texts import escaped_json

REQUEST = "request.json"
SOURCE = "source.ipynb"
JOURNAL = "journal.jsonl"
PROGRESS = "progress.json"


def new_run_id(runbook: str) -> str:
    """`<utc>-<runbook>-<4 hex>`."""
    return f"{clock.compact(clock.now())}-{runbook}-{secrets.token_hex(2)}"


def command_line(runbook: str, values: Mapping[str, Any], declared: Mapping[str, Parameter]) -> str:
    """The command that asks for the same again."""
    words = ["runbook", "run", runbook, "--target", str(values["target"])]
    for name, value in values.items():
        if name != "target" and value != declared[name].default:
            words += ["-p", name, str(value).lower() if isinstance(value, bool) else str(value)]
    return shlex.join(words)


def create_run(
    run_id: str,
    path: Path,
    values: Mapping[str, Any],
    declared: Mapping[str, Parameter],
    params: Params,
    *,
    started_by: str,
    scheduled_for: datetime | None = None,
) -> Path:
    """The run is opened: its folder, its copy of the notebook, its request, its journal, its line in the ledger.

    Args:
        path: the notebook.
        values: every parameter of the run.

    Returns:
        The run's folder.

    Raises:
        OSError: the disk does not take it; nothing was opened, and nothing of it is left.
    """
    folder = layout.run(run_id)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _write_request(folder, run_id, path, values, declared, params, started_by, scheduled_for)
    except BaseException:
        if all(line.run != run_id for line in ledger.read_lines()):
            shutil.rmtree(
                folder, ignore_errors=True
            )  # nothing was opened; what cannot be removed is listed as never opened
        raise
    return folder


def _write_request(
    folder: Path,
    run_id: str,
    path: Path,
    values: Mapping[str, Any],
    declared: Mapping[str, Parameter],
    params: Params,
    started_by: str,
    scheduled_for: datetime | None,
) -> None:
    runbook = notebook.slug_of(path)
    data = path.read_bytes()  # once: what is described is what is kept
    content = notebook.parse_notebook(data, layout.short(path))
    source = scrubber.value(data)
    write_atomically(folder / SOURCE, source)
    params_path = layout.params() / f"{params.target}.yaml"
    request = scrubber.value(
        {
            "run": run_id,
            "runbook": runbook,
            "title": notebook.title_of(content),
            "target": params.target,
            "environment": params.environment,
            "platform": params.platform,
            "parameters": dict(values),
            "command": command_line(runbook, values, declared),
            **identity.at_work().facts,
            "host": identity.host(),
            "started_by": started_by,
            "scheduled_for": clock.stamp(scheduled_for) if scheduled_for else None,
            "controls": notebook.controls_of(content),
            "opened": clock.stamp(clock.now()),
            "notebook": {"path": layout.short(path), "sha256": fingerprints.sha256_of_bytes(data)},
            "params_file": {"path": layout.short(params_path), "sha256": fingerprints.sha256_of(params_path)},
            "code_sha256": notebook.hash_code(content),
            **fingerprints.inputs_of(source, params.target),
            "signers": signersfile.facts(params),
            "commit": fingerprints.commit(),
            "checkout": checkout.describe(),
            "tools": fingerprints.tools(),
        }
    )
    text = json.dumps(request, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / REQUEST, escaped_json(text).encode())
    open_journal(folder, request)


def open_journal(folder: Path, request: Mapping[str, Any]) -> None:
    """The run is open: its journal says so first, then the ledger lists it, then the journal has the ledger's line."""
    journal = Journal(folder / JOURNAL)
    journal.append("run-opened", **request, process=identity.this_process())
    list_run(journal, request)


def list_run(journal: Journal, request: Mapping[str, Any]) -> None:
    """The ledger lists the run, once, and the journal has the number of its line."""
    run = str(request["run"])
    listed = next((one.number for one in ledger.read_lines() if one.run == run), None)
    line = listed or ledger.append_line(run, str(request["runbook"]), str(request["target"]), identity.operator())
    journal.append("run-listed", line=line)


def is_blank(folder: Path) -> bool:
    """True for a run's folder that holds what was asked for and nothing that was done: its journal has no whole first line."""
    journal = folder / JOURNAL
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if not names <= {REQUEST, SOURCE, JOURNAL, "closing.lock"}:
        return False
    return not journal.exists() or (journal.is_file() and b"\n" not in journal.read_bytes())


def read_request(folder: Path) -> dict[str, Any]:
    """What was asked for.

    Raises:
        ParamsError: the folder is no run's.
    """
    path = folder / REQUEST
    if not path.is_file():
        raise ParamsError(f"There is no run in {layout.short(folder)}.", next="runbook runs")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as cause:
        raise ParamsError(f"{layout.short(path)} is damaged: {cause}.", next=f"runbook abort {folder.name}") from cause
    assert isinstance(content, dict)
    return content


def only_reads(folder: Path) -> bool:
    """True when the run's own copy of its notebook says that it changes nothing on its target."""
    return notebook.only_reads(notebook.read_notebook(folder / SOURCE))


def read_source(folder: Path, state: RunState, name: str) -> bytes:
    """The run's own copy of its notebook, as it was when the run was opened or the change to it accepted.

    Raises:
        OperatorError: the run's own copy was changed since.
    """
    data = (folder / name).read_bytes()
    if fingerprints.sha256_of_bytes(data) != expected_source(state, name):
        raise OperatorError(
            f"{layout.short(folder / name)}, the run's own copy of its notebook, was changed since it was written: it is not what "
            "was asked for and approved.",
            next=f'runbook resume {state.run} --accept-change "REASON"',
        )
    return data


def source_of(state: RunState) -> str:
    """The file with the notebook that the next attempt executes: that of the last accepted change, else of the latest attempt."""
    accepted = [change["now"]["source"] for change in state.accepted_changes if change["now"].get("source")]
    return str(accepted[-1]) if accepted else str(state.sitting.get("source", SOURCE))


def expected_source(state: RunState, name: str) -> str | None:
    """The digest of the run's copy of its notebook, as journaled when the copy was written; None: it never was."""
    accepted = [change["now"] for change in state.accepted_changes if change["now"].get("source") == name]
    found = accepted[-1].get("source_sha256") if accepted else state.request.get("source_sha256")
    return str(found) if found else None


def source_name(attempt: int) -> str:
    """The file with an attempt's notebook, when it is another than the one the run began with."""
    return f"source-{attempt}.ipynb"


def executed_name(attempt: int) -> str:
    return f"executed-{attempt}.ipynb"


#: What a sitting says of the notebook, library, params and SQL that it executes.
_OF_NOTEBOOK = (
    "source_sha256", "library_sha256", "sql_sha256", "params_sha256", "inputs_sha256", "planned", "planned_gates", "checkout",
    "cells",
)  # fmt: skip


def _describe(data: bytes, where: str, target: str) -> dict[str, Any]:
    content = notebook.parse_notebook(data, where)
    inputs = fingerprints.inputs_of(data, target)
    return {
        **inputs,
        "inputs_sha256": fingerprints.inputs_sha256(inputs),
        "planned": notebook.planned_steps(content),
        "planned_gates": notebook.planned_gates(content),
        "cells": describe_cells(content["cells"]),
        "checkout": checkout.describe(),
    }


def start_attempt(
    journal: Journal,
    folder: Path,
    attempt: int,
    *,
    by: str,
    source: str = SOURCE,
    process: identity.Identity | None = None,
    executes: bytes | None = None,
    like: Mapping[str, Any] | None = None,
    **facts: Any,
) -> None:
    """A sitting of the run begins, watched over by `process` (default: this one); its planned steps are those of its notebook.

    Args:
        executes: the notebook's bytes that are handed to the kernel; default: those of the file.
        like: the sitting before, when this one executes nothing: what was executed is what that one says.
    """
    if like:
        described = {name: like[name] for name in _OF_NOTEBOOK if name in like}
    else:
        data = executes if executes is not None else (folder / source).read_bytes()
        described = _describe(data, layout.short(folder / source), read_request(folder)["target"])
    journal.append(
        "attempt-started",
        attempt=attempt,
        by=by,
        source=source,
        **described,
        process=process or identity.this_process(),
        startup=fingerprints.startup_files(),
        foreign_bytecode=list(fingerprints.foreign_bytecode()),
        **identity.at_work().facts,
        **facts,
    )
