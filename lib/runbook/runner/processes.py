"""Nothing of a run is left: its processes, its server backends, its scratch folders.

A kernel has its own session, and its children theirs, so that no process group holds them all: they are found by the
run's mark in their environment. A server that is production carries `RUNBOOK_PRODUCTION=1` and is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from runbook import clock, layout
from runbook.errors import ParamsError, PlatformError
from runbook.params.loading import resolve_secret
from runbook.params.schema import Params
from runbook.postgres.osuser import end_processes_of, is_unassigned, owner_of

SCRATCH_LABEL = "scratch.json"


def find_processes(run_id: str) -> list[psutil.Process]:
    """The living processes with the run's mark, but for servers that are production and for ourselves."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            dead = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone meanwhile, or another user's: such a process cannot have been started by this run
        if environment.get(layout.RUN_MARK) != run_id or dead:
            continue
        if environment.get(layout.PRODUCTION_MARK) != "1" and process.pid not in spared:
            found.append(process)
    return found


def end_processes(run_id: str, grace_seconds: float = 2.0) -> int:
    """No process of the run is left: asked first, killed after the grace. Returns how many there were."""
    ended: set[int] = set()
    for _ in range(5):  # a process may start another while it is being ended
        found = find_processes(run_id)
        if not found:
            break
        ended.update(process.pid for process in found)
        _each(found, "terminate")
        _, alive = psutil.wait_procs(found, timeout=grace_seconds)
        _each(alive, "kill")
        psutil.wait_procs(alive, timeout=1.0)
        grace_seconds = 0.2
    return len(ended)


def _each(processes: Iterable[psutil.Process], act: str) -> None:
    for process in processes:
        try:
            getattr(process, act)()
        except psutil.NoSuchProcess:
            continue  # it ended by itself


def end_backends(run_id: str, params: Params) -> str | None:
    """No server backend of the run is left on the target. Returns why that cannot be said, or None."""
    section = params.cluster or params.supabase
    secret = section.connection if section is not None else None
    if secret is None:
        return None
    from runbook.postgres.connect import SqlError, connect, rows
    from runbook.postgres.sqlfiles import load_sql

    try:
        conninfo = resolve_secret(secret, "connection")
    except ParamsError:
        return None  # who cannot have the secret has not connected with it
    try:
        with connect(conninfo=conninfo, application="runbook-abort", connect_timeout=2, statement_timeout=2) as link:
            statement = load_sql("session/terminate_backends")
            rows(link, statement.text, statement.values({"run": run_id[:63]}))
    except (PlatformError, SqlError) as cause:
        return f"Server backends of the run could not be looked for: {cause}"
    return None


def read_label(folder: Path) -> dict[str, Any] | None:
    """What a scratch folder's label says; None when it has none."""
    path = folder / SCRATCH_LABEL
    if folder.is_symlink() or not path.is_file():
        return None
    try:
        label = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return label if isinstance(label, dict) else None


def remove_sockets(private_folder: str | None) -> None:
    """The private socket folder of a kernel or a scratch server that was killed is gone."""
    if private_folder is None:
        return
    folder = Path(private_folder)
    if folder.name.startswith("rb-") and not folder.is_symlink() and folder.is_dir():
        for _ in range(3):  # who ends just now removes files of its own there
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
                return


def remove_scratch(run_id: str, paths: Iterable[str], kept: Iterable[str] = ()) -> list[str]:
    """The run's scratch folders are gone, but for those to keep. Returns what could not be removed, and why.

    A folder without this run's label is not touched, whatever the journal says.
    """
    problems = []
    keep = {str(path) for path in kept}
    for path in paths:
        folder = Path(path)
        label = read_label(folder)
        if path in keep or label is None or label.get("run") != run_id or label.get("keep") is True:
            continue
        try:
            owner = owner_of(folder / "data") if (folder / "data").is_dir() else None
            if owner is not None and is_unassigned(owner.uid):
                end_processes_of(owner, run_id)
            remove_sockets(label.get("socket"))
            shutil.rmtree(folder)
        except OSError as cause:
            problems.append(f"The scratch {folder} could not be removed: {cause.strerror}.")
    return problems


def orphaned_scratch(folders: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Labelled scratch folders whose time is over, below these folders."""
    found = []
    for parent in folders:
        for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
            label = read_label(folder)
            if label is not None and clock.parse(str(label["expires"])) < clock.now():
                found.append((folder, label))
    return found
