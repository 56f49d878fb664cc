"""Homes with a sandbox: one that runs for all tests of a worker, and fresh copies of it to damage."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from homes import at_home, copy_tree, make_home, open_folder
from runbook import layout, sources
from runbook.params import load_params
from runbook.sandbox import cluster
from runbook.verification.fence import take_fence

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class SharedSandbox:
    """A home whose sandbox runs, and `stopped`: a copy of var/sandbox from while it was down."""

    home: Path
    stopped: Path


@pytest.fixture(autouse=True)
def no_run_of_another_test() -> Iterator[None]:
    """A run that a test opened in this process would tell the next one's tables where their rows come from."""
    yield
    sources.end()


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
        for name in ("backups", "tablespace-backups", "state.json", "traffic.jsonl"):
            copy_tree(shared_sandbox.stopped / name, target / name)
        # As the running server has filled it since: an older one would be a copy that lags.
        copy_tree(shared_sandbox.home / "var" / "sandbox" / "archive", target / "archive")
        for name in ("connection", "reader"):
            shutil.copy2(shared_sandbox.home / "var" / "sandbox" / name, target / name)
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of the campaign that repeats on another major version what it proves on 17 belongs to `make versions`."""
    by_version: dict[str, dict[int, list[pytest.Item]]] = {}
    for item in items:
        given = getattr(item, "callspec", None)
        major = next((one for one in given.params.values() if one in (15, 16, 17, 18)), None) if given else None
        if major is not None and item.get_closest_marker("faults") is not None:
            name = f"{item.path}::{getattr(item, 'originalname', item.name)}"
            by_version.setdefault(name, {}).setdefault(int(major), []).append(item)
    for found in by_version.values():
        for item in (one for major, some in found.items() if major != 17 and 17 in found for one in some):
            item.add_marker("versions")
