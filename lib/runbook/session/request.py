"""What was asked for: `request.json` and `source.ipynb` of a run, written once, before anything is done."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import ParamsError
from runbook.params.schema import Params
from runbook.redact import scrubber
from runbook.session import fingerprints, identity, ledger, notebook
from runbook.session.journal import Journal, write_atomically
from runbook.session.notebook import Parameter

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
    """The run is opened: its folder, its request, its copy of the notebook, its line in the ledger, its journal.

    Args:
        path: the notebook.
        values: every parameter of the run.

    Returns:
        The run's folder.
    """
    runbook = notebook.slug_of(path)
    folder = layout.run(run_id)
    folder.mkdir(parents=True, mode=0o700)
    source = path.read_bytes()
    content = notebook.read_notebook(path)
    write_atomically(folder / SOURCE, scrubber.value(source))
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
            "operator": identity.operator(),
            "host": identity.host(),
            "started_by": started_by,
            "scheduled_for": clock.stamp(scheduled_for) if scheduled_for else None,
            "controls": notebook.controls_of(content),
            "opened": clock.stamp(clock.now()),
            "notebook": {"path": layout.short(path), "sha256": fingerprints.sha256_of(path)},
            "params_file": {"path": layout.short(params_path), "sha256": fingerprints.sha256_of(params_path)},
            "code_sha256": notebook.hash_code(content),
            "library_sha256": fingerprints.library_sha256(),
            "commit": fingerprints.commit(),
            "tools": fingerprints.tools(),
        }
    )
    write_atomically(folder / REQUEST, json.dumps(request, indent=1, ensure_ascii=False).encode())
    line = ledger.append_line(run_id, runbook, params.target, identity.operator())
    Journal(folder / JOURNAL).append("run-opened", **request, ledger_line=line, process=identity.this_process())
    return folder


def read_request(folder: Path) -> dict[str, Any]:
    """What was asked for.

    Raises:
        ParamsError: the folder is no run's.
    """
    path = folder / REQUEST
    if not path.is_file():
        raise ParamsError(f"There is no run in {layout.short(folder)}.", next="runbook runs")
    content = json.loads(path.read_bytes())
    assert isinstance(content, dict)
    return content


def source_name(attempt: int) -> str:
    """The file with an attempt's notebook, when it is another than the one the run began with."""
    return f"source-{attempt}.ipynb"


def executed_name(attempt: int) -> str:
    return f"executed-{attempt}.ipynb"


def start_attempt(
    journal: Journal,
    folder: Path,
    attempt: int,
    *,
    by: str,
    source: str = SOURCE,
    process: identity.Identity | None = None,
    **facts: Any,
) -> None:
    """A sitting of the run begins, watched over by `process` (default: this one); its planned steps are those of its notebook."""
    content = notebook.read_notebook(folder / source)
    journal.append(
        "attempt-started",
        attempt=attempt,
        by=by,
        source=source,
        source_sha256=fingerprints.sha256_of(folder / source),
        planned=notebook.planned_steps(content),
        planned_gates=notebook.planned_gates(content),
        process=process or identity.this_process(),
        library_sha256=fingerprints.library_sha256(),
        operator=identity.operator(),
        **facts,
    )
