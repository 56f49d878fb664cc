"""Homes of a test's own: folders with params, reports and var that any user can enter."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from runbook import layout

#: A cluster is thousands of small files: copying one in memory takes a tenth of the time. Left out where room is short.
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30


def temporary_root() -> Path:
    """Where tests make their homes: in memory when there is room, else the usual place."""
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        return _MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that any user can enter (pytest's own are closed to PostgreSQL's user when we are root)."""
    folder = Path(tempfile.mkdtemp(prefix="runbook-test-", dir=temporary_root()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def make_home(folder: Path) -> Path:
    """An empty home with the shipped params."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    shutil.copytree(layout.CHECKOUT / "params", folder / "params")
    return folder


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    """RUNBOOK_HOME is that folder within the block."""
    before = os.environ.get("RUNBOOK_HOME")
    os.environ["RUNBOOK_HOME"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["RUNBOOK_HOME"]
        else:
            os.environ["RUNBOOK_HOME"] = before


def copy_tree(source: Path, target: Path) -> None:
    """A copy with owners and modes; WAL segments are mostly zeros, which take neither time nor room as holes."""
    subprocess.run(["cp", "-a", "--sparse=always", str(source), str(target)], check=True)


def started(home: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """The command as an operator of that home gives it, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "runbook.cli.main", *words],
        env={**os.environ, "RUNBOOK_HOME": str(home), "PYTHONFAULTHANDLER": "1", **environment},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], timeout: float = 240) -> tuple[str, str]:
    """What a command said, once it has ended.

    Raises:
        AssertionError: it hangs; with what it had said, and where each of its threads stood.
    """
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            if "python" in one.name():
                one.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
        stdout, stderr = process.communicate(timeout=30)
        raise AssertionError(f"{process.args} has not ended within {timeout} s\n{stdout}\n{stderr}") from None


def runbook(home: Path, *words: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """The command as an operator of that home gives it, ended."""
    process = started(home, *words)
    stdout, stderr = ended(process, timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def recorded(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a run, and its run.json."""
    ended = runbook(home, "run", *words)
    last = json.loads(ended.stdout.strip().splitlines()[-1])
    assert last.get("record"), ended.stderr
    return ended.returncode, json.loads((home / last["record"] / "run.json").read_text())
