"""A dead kernel, a timeout, a signal, a killed runner: nothing is left, and the record says the truth."""

from __future__ import annotations

import os
import signal
import time

import pytest
from house import CONCLUDE, PASSING, House, finish, marked, wait_until

pytestmark = pytest.mark.faults

WAIT = (
    "import subprocess, time\nfrom pathlib import Path\n"
    'run.on_cleanup("tidy", lambda: Path("tidied").touch())\n'
    "def wait():\n"
    '    subprocess.Popen(["sleep", "600"], start_new_session=True)\n'
    '    Path("ready").touch()\n'
    "    time.sleep(600)\n"
    'run.step("Restore", wait)'
)


@pytest.fixture
def waiting(house: House) -> House:
    house.add_notebook("waits", 'run.step("Prepare", lambda: 1)', WAIT, 'run.step("Compare", lambda: 1)', CONCLUDE)
    return house


def cell_states(house: House, result: object) -> list[str]:
    cells = house.executed(result).cells  # type: ignore[arg-type]
    return [cell.metadata["runbook"]["state"] for cell in cells if cell.cell_type == "code"]


def test_dead_kernel_is_incomplete_and_later_cells_are_stamped_not_run(house: House) -> None:
    house.add_notebook("dies", PASSING, 'import os\nrun.step("Crash", lambda: os.kill(os.getpid(), 9))', "1", CONCLUDE)
    result = house.runbook("run", "dies")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "SIGKILL" in result.last["reason"] and "'Crash'" in result.last["reason"]
    assert result.last["next"] == f"runbook resume {result.last['run']}"
    assert cell_states(house, result)[-3:] == ["failed", "not run", "not run"]
    statuses = [c.metadata.papermill["status"] for c in house.executed(result).cells if c.cell_type == "code"]
    assert statuses[-3:] == ["failed", "pending", "pending"]
    status = house.runbook("status", result.last["run"])
    assert status.code == 0 and "INCOMPLETE" in status.stdout


def test_timeout_ends_the_run_with_all_it_started(waiting: House) -> None:
    began = time.monotonic()
    result = waiting.runbook("run", "waits", "--timeout", "8 s")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "timeout of 8 s" in result.last["reason"] and "'Restore'" in result.last["reason"]
    assert time.monotonic() - began < 8 + 15
    assert marked(waiting.home) == []


@pytest.mark.parametrize(("number", "named"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_signal_ends_everything_within_ten_seconds(waiting: House, number: signal.Signals, named: str) -> None:
    process = waiting.start("run", "waits")
    waiting.wait_for("ready")
    assert len(marked(waiting.home)) == 2  # the kernel and its child
    began = time.monotonic()
    process.send_signal(number)
    result = finish(process)
    assert time.monotonic() - began < 10
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert f"stopped by {named} at step 'Restore'" in result.last["reason"]
    assert marked(waiting.home) == []
    assert (waiting.home / "tidied").exists()
    assert cell_states(waiting, result)[-3:] == ["interrupted", "not run", "not run"]
    states = [step["state"] for step in waiting.record(result)["steps"]]
    assert states == ["done", "failed", "not run"]


def test_killed_runner_is_found_by_the_next_command_and_archived_truthfully(waiting: House) -> None:
    process = waiting.start("run", "waits")
    waiting.wait_for("ready")
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    result = waiting.runbook("status")
    assert result.code == 0, result.stderr
    assert "died without a word at step 'Restore'" in result.stdout
    assert marked(waiting.home) == []
    run = waiting.runs()[0]
    closed = waiting.runbook("close", run)
    assert (closed.code, closed.last["verdict"]) == (4, "INCOMPLETE"), closed.stderr
    assert waiting.runbook("close", run).last == closed.last
    assert len(list((waiting.home / "reports" / "records").iterdir())) == 1
    assert cell_states(waiting, closed)[-3:] == ["failed", "not run", "not run"]


def test_abort_of_a_run_at_work_ends_it_and_frees_the_target(waiting: House) -> None:
    process = waiting.start("run", "waits")
    waiting.wait_for("ready")
    aborted = waiting.runbook("abort", waiting.runs()[0], "--reason", "wrong backup")
    assert (aborted.code, aborted.last["verdict"]) == (4, "INCOMPLETE"), aborted.stderr
    assert "wrong backup" in aborted.last["reason"]
    assert finish(process).code == 4
    assert marked(waiting.home) == []
    assert len(list((waiting.home / "reports" / "records").iterdir())) == 1


def test_status_says_step_and_progress_while_the_run_works(house: House) -> None:
    house.add_notebook(
        "copies",
        "import time\nfrom pathlib import Path\n"
        "def copy():\n"
        '    run.progress("copied", 50 * 2**20, 100 * 2**20, "bytes")\n    Path("ready").touch()\n'
        '    while not Path("go").exists(): time.sleep(0.05)\n'
        'run.step("Copy", copy)',
        CONCLUDE,
    )
    process = house.start("run", "copies")
    house.wait_for("ready")
    status = house.runbook("status")
    (house.home / "go").touch()
    assert "running" in status.stdout and "copied 50.0 MiB of 100.0 MiB (50 %)" in status.stdout
    finished = finish(process)
    assert finished.code == 0, finished.stderr
    assert "step 1/1 Copy" in finished.stderr


def test_scratch_of_a_killed_run_is_removed_and_that_of_others_is_not(house: House) -> None:
    house.add_notebook(
        "leaves",
        "import json, os\nfrom pathlib import Path\n"
        'for name, owner in (("mine", run.id), ("other", "somebody-else")):\n'
        '    folder = Path("scratch") / name\n    folder.mkdir(parents=True)\n'
        '    label = {"run": owner, "expires": "2030-01-01T00:00:00Z"}\n'
        '    (folder / "scratch.json").write_text(json.dumps(label))\n'
        'run.fact("scratch", [str(Path("scratch/mine").absolute()), str(Path("scratch/other").absolute())])',
        'run.step("Crash", lambda: os.kill(os.getpid(), 9))',
        CONCLUDE,
    )
    assert house.runbook("run", "leaves").code == 4
    assert wait_until(lambda: sorted(path.name for path in (house.home / "scratch").iterdir())) == ["other"]


def test_production_server_survives_the_run_that_started_it(house: House) -> None:
    house.add_notebook(
        "starts",
        "import os, subprocess\nfrom pathlib import Path\n"
        'environment = {**os.environ, "RUNBOOK_PRODUCTION": "1"}\n'
        'server = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)\n'
        'Path("server").write_text(str(server.pid))\n'
        'run.step("Crash", lambda: os.kill(os.getpid(), 9))',
        CONCLUDE,
    )
    assert house.runbook("run", "starts").code == 4
    pid = int((house.home / "server").read_text())
    try:
        os.kill(pid, 0)  # raises when it is gone
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not marked(house.home))
