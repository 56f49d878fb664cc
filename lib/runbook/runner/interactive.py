"""`runbook run … --interactive`: JupyterLab on the run's own notebook, on loopback, its kernels over Unix sockets."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from runbook import environment
from runbook.disk import make_folder
from runbook.params.variables import target_variables
from runbook.runner.closing import clean_up, close_attempt, read_state
from runbook.runner.execute import Outcome, Request, outcome_of
from runbook.runner.kernel import kernel_argv
from runbook.runner.processes import end_processes
from runbook.runner.signals import Signals, Stopped
from runbook.runner.stamps import save_notebook
from runbook.session import identity
from runbook.session.journal import Journal
from runbook.session.lock import lock_of
from runbook.session.request import (
    JOURNAL,
    SOURCE,
    create_run,
    executed_name,
    new_run_id,
    start_attempt,
)

#: JupyterLab's time to end by itself: all of a stopped run must be gone within ten seconds.
_LAB_SECONDS = 4.0
#: Before that, the time of a cell that was interrupted: its cleanups run, and the kernel journals its end.
_CELL_SECONDS = 2.0


def lab_argv(notebook: Path, browser: bool) -> list[str]:
    """JupyterLab's command line."""
    return [
        *environment.python_argv("jupyterlab", str(notebook)),
        f"--ServerApp.root_dir={notebook.parent}",
        "--ServerApp.ip=127.0.0.1",
        "--KernelManager.transport=ipc",
        *([] if browser else ["--no-browser"]),
        *(["--allow-root"] if os.geteuid() == 0 else []),
    ]


def _write_kernelspec(folder: Path) -> None:
    """JupyterLab starts our kernel program, which opens no TCP port."""
    spec = folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    content = {"argv": kernel_argv(Path("{connection_file}")), "display_name": "Runbook", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content), "utf-8")


def prepare_notebook(source: Path, executed: Path, values: dict[str, object]) -> None:
    """The notebook with the run's parameters in it, ready to be stepped through."""
    import nbformat
    from papermill.parameterize import parameterize_notebook

    notebook = nbformat.reads(source.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]  # nbformat is untyped
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    notebook.metadata.setdefault("papermill", {})
    notebook = parameterize_notebook(notebook, values, kernel_name="python3", language="python")
    del notebook.metadata["papermill"]
    save_notebook(notebook, executed)


def _end_lab(lab: subprocess.Popen[bytes], folder: Path) -> None:
    """JupyterLab and its kernels have ended: a cell that runs is interrupted first, so that its cleanups run and it is journaled."""
    session = read_state(folder).session
    process = session["process"] if session is not None else None
    if lab.poll() is None and process is not None and identity.is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process["pid"], signal.SIGINT)
        deadline = time.monotonic() + _CELL_SECONDS
        while time.monotonic() < deadline and any(one.status is None for one in read_state(folder).executions):
            time.sleep(0.05)
    lab.terminate()
    try:
        lab.wait(_LAB_SECONDS)
    except subprocess.TimeoutExpired:
        end_processes(folder.name, 0.2)
        lab.kill()
        lab.wait()


def run_interactively(request: Request, *, timeout: float | None) -> Outcome:
    """JupyterLab has been open on the run; when it was closed, the run was archived.

    Raises:
        TargetLocked: another run holds the target, and this one may change it; nothing was started.
    """
    run_id = new_run_id(request.runbook)
    lock = lock_of(request.params.target, run_id, only_reads=request.only_reads)
    lock.acquire()
    sockets = make_folder()
    try:
        with Signals(timeout) as signals:
            folder = create_run(
                run_id, request.path, request.values, request.declared, request.params, started_by="jupyterlab"
            )
            journal = Journal(folder / JOURNAL)
            start_attempt(journal, folder, 1, by="runbook run", kernel_folder=str(sockets), interactive=True)
            executed = folder / executed_name(1)
            journal.append("notebook-at", path=str(executed))
            prepare_notebook(folder / SOURCE, executed, request.values)
            _write_kernelspec(sockets)
            surroundings = {
                **environment.for_kernel(str(sockets), run_id, target_variables(request.params.target)),
                **{name: value for name, value in environment.for_desktop().items() if value is not None},
                "JUPYTER_PATH": str(sockets),
            }
            browser = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
            lab = subprocess.Popen(lab_argv(executed, browser), env=surroundings, start_new_session=True)
            try:
                signals.arm()
                print(f"Run {run_id}. Close JupyterLab (or press Ctrl-C here) to archive it.", file=sys.stderr)
                lab.wait()
            except Stopped as stop:
                if stop.kind == "timeout":
                    journal.append("problem", kind="timeout", reason=f"The run was {stop.reason}.")
            signals.disarm()
            _end_lab(lab, folder)
            clean_up(folder)
            return outcome_of(close_attempt(folder))
    finally:
        lock.release()
        shutil.rmtree(sockets, ignore_errors=True)
