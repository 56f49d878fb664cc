"""Homes with a sandbox: one that runs for all tests of a worker, and fresh copies of it to damage."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from runbook import layout
from runbook.params import load_params
from runbook.sandbox import cluster
from runbook.verification.fence import take_fence

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


@dataclass(frozen=True)
class SharedSandbox:
    """A home whose sandbox runs, and `stopped`: a copy of var/sandbox from while it was down."""

    home: Path
    stopped: Path


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SharedSandbox]:
    """One sandbox for a worker's whole session, with a fence."""
    with open_folder() as folder:
        home = make_home(folder / "home")
        shared = SharedSandbox(home, folder / "stopped")
        with at_home(home):
            cluster.up("small", after_backup=lambda _: take_fence(load_params("sandbox")) and None)
            try:
                cluster.down()
                copy_tree(layout.sandbox(), shared.stopped)
                cluster.up("small")
            except BaseException:
                cluster.down(remove=True)
                raise
        yield shared
        with at_home(home):
            cluster.down(remove=True)


@pytest.fixture
def sandbox_home(shared_sandbox: SharedSandbox) -> Iterator[Path]:
    """RUNBOOK_HOME with a small sandbox that runs, without traffic. Shared: leave it as it is."""
    with at_home(shared_sandbox.home):
        yield shared_sandbox.home


@pytest.fixture
def damaged_home(shared_sandbox: SharedSandbox) -> Iterator[Path]:
    """RUNBOOK_HOME with the sandbox's backups, fence and archive, to damage; its connection leads to the shared sandbox.

    It has no data directory and no server of its own.
    """
    with open_folder() as folder:
        home = make_home(folder / "home")
        target = home / "var" / "sandbox"
        target.mkdir(parents=True)
        for name in ("archive", "backups", "tablespace-backups", "state.json", "traffic.jsonl"):
            copy_tree(shared_sandbox.stopped / name, target / name)
        shutil.copy2(shared_sandbox.home / "var" / "sandbox" / "connection", target / "connection")
        with at_home(home):
            yield home


@pytest.fixture
def live_home(shared_sandbox: SharedSandbox) -> Iterator[Path]:
    """RUNBOOK_HOME with a running copy of the sandbox, to damage while it lives."""
    with open_folder() as folder:
        home = make_home(folder / "home")
        (home / "var").mkdir(mode=0o755)
        copy_tree(shared_sandbox.stopped, home / "var" / "sandbox")
        with at_home(home):
            cluster.up("small")
            try:
                yield home
            finally:
                cluster.down(remove=True)
