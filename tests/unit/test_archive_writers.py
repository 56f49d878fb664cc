"""Several processes write records at random, some are killed at random: the archive has no gap, no half record, one chain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from archivehouse import House, fill, run_id
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runbook.archive.records import list_records
from runbook.archive.verify import verify_archive

pytestmark = pytest.mark.faults

#: A process of its own, so that a kill is a kill: it opens its runs and archives them, one after the other.
_WRITER = "import sys; from pathlib import Path; from archivehouse import fill; fill(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))"


def start(home: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", _WRITER, str(home), str(first), str(last)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "RUNBOOK_HOME": str(home)}
    return subprocess.Popen(argv, env=env, start_new_session=True)


#: For each writer: how many records it wants, and after how long it is killed (None: it may finish).
writer = st.tuples(st.integers(1, 4), st.none() | st.floats(0.2, 1.2))


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(writer, min_size=2, max_size=4))
def test_writers_at_once_some_of_them_killed_leave_a_whole_archive(writers: list[tuple[int, float | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.monotonic()
        live = [(start(home, 10 * n + 1, 10 * n + count), kill) for n, (count, kill) in enumerate(writers)]
        for process, kill in sorted(live, key=lambda one: one[1] or 99.0):
            if kill is not None:
                time.sleep(max(0.0, kill - (time.monotonic() - began)))
                os.killpg(process.pid, signal.SIGKILL)  # ssh-keygen dies with it
        codes = [process.wait(120) for process, _ in live]
        whole = {
            run_id(10 * n + 1 + i) for n, (count, kill) in enumerate(writers) if kill is None for i in range(count)
        }
        assert [code for code, (_, kill) in zip(codes, live, strict=True) if kill is None and code != 0] == []

        house = House(home)
        if (house.reports / "records").is_dir():
            house_is_whole(house, whole)
        # Whoever comes next goes on, for the dead ones too.
        for n, (count, _) in enumerate(writers):
            fill(home, 10 * n + 1, 10 * n + count)
        house_is_whole(house, {run_id(10 * n + 1 + i) for n, (count, _) in enumerate(writers) for i in range(count)})
        assert list((house.reports / ".staging").iterdir()) == []


def house_is_whole(house: House, runs: set[str]) -> None:
    """Numbers without a gap, all signed by one key, and these runs among them, each once."""
    os.environ["RUNBOOK_HOME"] = str(house.home)
    try:
        found = verify_archive()
        assert found.problems == []
        assert [one.number for one in found.looked] == list(range(1, len(found.looked) + 1))
        assert len(found.signed) == len(found.looked)
        archived = [listed.record.run for listed in list_records()]
        assert len(archived) == len(set(archived))
        assert runs <= set(archived)
        assert house.stock().returncode == (0 if found.looked else 1)
    finally:
        del os.environ["RUNBOOK_HOME"]
