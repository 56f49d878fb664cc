"""A home of its own for each test, with tiny notebooks: one runner behaviour each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from runbook.cli.main import run_cli
from runbook.redact import scrubber

RUNBOOK = [sys.executable, "-m", "runbook.cli.main"]

PARAMS = """\
target: {target}
environment: {environment}
platform: cluster
cluster:
  backup_folder: backups
  wal_archive: {{directory: wal}}
{cluster}budgets: {{rto: 30 min, rpo: 5 min, source: the tests}}
{more}"""

OPEN = (
    "from runbook.model import Check, Status\nfrom runbook.session import open_run\nrun = open_run({name!r}, globals())"
)
CONCLUDE = "run.conclude()"


@dataclass(frozen=True)
class Result:
    """How a command ended; `last` is the JSON line."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> dict[str, Any]:
        return json.loads(self.stdout.strip().splitlines()[-1])


@dataclass
class House:
    """A home, and the commands in it."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def add_params(
        self, target: str = "sandbox", environment: str = "sandbox", cluster: str = "", more: str = ""
    ) -> None:
        text = PARAMS.format(target=target, environment=environment, cluster=cluster, more=more)
        (self.home / "params" / f"{target}.yaml").write_text(text)

    def add_notebook(
        self, name: str, *cells: str, number: int = 1, opened: bool = True, only_reads: bool = False
    ) -> Path:
        """A notebook with title, parameters, open_run, these code cells, and the conclusion."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        if only_reads:
            notebook.metadata["runbook"] = {"only_reads": True}
        parameters = nbformat.v4.new_code_cell(
            'target = "sandbox"  # the system this is about, name\n'
            'point = "latest"  # where to recover to\n'
            "rows = 3  # how many to look at, rows\n"
            "share = 0.5  # part of them\n"
            "keep = False  # keep the scratch",
            id="parameters",
        )
        parameters.metadata["tags"] = ["parameters"]
        sources = [*([OPEN.format(name=name.replace("_", "-"))] if opened else []), *cells]
        notebook.cells = [
            nbformat.v4.new_markdown_cell(f"# {number:02d} · {name}", id="title"),
            parameters,
            *(nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)),
        ]
        path = self.home / "notebooks" / f"{number:02d}_{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNBOOK_")}
        return {**clean, "RUNBOOK_HOME": str(self.home), **self.env}

    def start(self, *argv: str, program: list[str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*(program or RUNBOOK), *argv],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def runbook(self, *argv: str, program: list[str] | None = None) -> Result:
        return finish(self.start(*argv, program=program))

    def inside(self, *argv: str) -> Result:
        """The command in this process, for refusals: no interpreter has to start."""
        stdout, stderr = io.StringIO(), io.StringIO()
        kept, environment = dict(scrubber.__dict__), dict(os.environ)
        scrubber.__dict__.update(_forms={}, _pattern=None)
        os.environ.clear()
        os.environ.update(self.environment)
        try:
            with (
                contextlib.chdir(self.home),
                contextlib.redirect_stdout(stdout),
                contextlib.redirect_stderr(stderr),
            ):
                code = run_cli(list(argv))
        finally:
            os.environ.clear()
            os.environ.update(environment)
            scrubber.__dict__.update(kept)
        return Result(code, stdout.getvalue(), stderr.getvalue())

    def journal(self, run: str) -> list[dict[str, Any]]:
        lines = (self.home / "var" / "runs" / run / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def record(self, result: Result) -> dict[str, Any]:
        return json.loads((self.home / result.last["record"] / "run.json").read_text())

    def executed(self, result: Result) -> Any:
        return nbformat.read(self.home / result.last["record"] / "executed.ipynb", as_version=4)

    def runs(self) -> list[str]:
        folder = self.home / "var" / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def wait_for(self, name: str, seconds: float = 60) -> Path:
        """The file of that name in the home, once it is there."""
        return wait_until(lambda: (self.home / name) if (self.home / name).exists() else None, seconds)


def finish(process: subprocess.Popen[str], seconds: float = 120) -> Result:
    stdout, stderr = process.communicate(timeout=seconds)
    return Result(process.returncode, stdout, stderr)


def wait_until(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def marked(home: Path) -> list[psutil.Process]:
    """Living processes of any run of this home."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            dead = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if environment.get("RUNBOOK_HOME") == str(home) and environment.get("RUNBOOK_RUN") and not dead:
            found.append(process)
    return found


PASSING = 'run.check(Check(id="rows", title="Rows are there", status=Status.PASS, expected="3", observed=str(rows)))'
FAILING = (
    'run.check(Check(id="rows", title="Rows are there", status=Status.FAIL, expected="3", observed="2",\n'
    '                reason="2 rows in table x.", next="Restore table x."))'
)
UNKNOWN = (
    'run.check(Check(id="heap", title="Heap is whole", status=Status.UNKNOWN, expected="whole", observed="not seen",\n'
    '                reason="amcheck is not installed.", next="CREATE EXTENSION amcheck"))'
)
