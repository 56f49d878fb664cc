"""Whatever happens to a command's streams, its exit code is the verdict's; 1 is a journaled FAIL and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from house import CONCLUDE, FAILING, PASSING, House

pytestmark = pytest.mark.faults

STREAMS = ["> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


def ended(house: House, words: str) -> int:
    command = f'"$0" -m runbook.cli.main {words}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        env=house.environment,
        cwd=house.home,
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("redirection", STREAMS)
def test_streams_that_take_nothing_change_no_verdict(house: House, redirection: str) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE, number=1)
    house.add_notebook("bad", FAILING, CONCLUDE, number=2)
    assert ended(house, f"run fine {redirection}") == 0
    assert ended(house, f"run bad {redirection}") == 1


def test_reader_that_has_gone_changes_no_verdict(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    for stream in ("stdout", "stderr"):
        reading, writing = os.pipe()
        os.close(reading)
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writing}
        said = subprocess.run(
            [sys.executable, "-m", "runbook.cli.main", "run", "fine"],
            env=house.environment,
            cwd=house.home,
            check=False,
            **streams,
        )
        os.close(writing)
        assert said.returncode == 0, stream


def test_working_directory_that_was_deleted_is_named(house: House, tmp_path: Path) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    (tmp_path / "gone").mkdir()
    command = f'cd {tmp_path}/gone; rmdir ../gone; "$0" -m runbook.cli.main run fine'
    said = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], env=house.environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 2, said.stderr
    assert f"{tmp_path}/gone, was deleted" in said.stderr
    assert house.runs() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_temporary_folder_that_is_read_only_gives_way_to_tmpdir(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    own = Path("/var/tmp") / f"rb-test-{os.getpid()}"
    own.mkdir()
    try:
        mounts = f"mount --bind {house.home} {own} && mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp"
        command = f'{mounts} && ! touch /tmp/x 2>&- && cd / && RUNBOOK_HOME={own} TMPDIR=/dev/shm exec "$0" -m runbook.cli.main run fine'
        said = subprocess.run(
            ["unshare", "-m", "/bin/sh", "-c", command, sys.executable],
            env=house.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
    finally:
        own.rmdir()
