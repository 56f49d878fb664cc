"""Whoever must know hears of WAITING, of FAIL and of every end; a hook that fails changes no verdict, and the record says so."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from house import CONCLUDE, FAILING, PASSING, UNKNOWN, House

pytestmark = pytest.mark.faults

GATE = 'run.ask("Choose the way", "Which?", {"left": "there", "right": "here"})'


def hook(name: str, *command: str, timeout: str = "20 s") -> str:
    return f"  {name}: {{command: {json.dumps(list(command))}, timeout: {timeout}}}\n"


@pytest.fixture
def listening(house: House) -> House:
    """Each hook writes down what it was told."""
    house.add_params(
        more="hooks:\n" + "".join(teller(house.home, name) for name in ("on_waiting", "on_fail", "on_finish"))
    )
    return house


def teller(home: Path, name: str) -> str:
    script = home / f"{name}.sh"
    script.write_text(
        f'#!/bin/sh\necho "$RUNBOOK_VERDICT $RUNBOOK_EXIT_CODE $RUNBOOK_TARGET $RUNBOOK_RUN" >> {home}/{name}.txt\n'
    )
    script.chmod(0o755)
    return hook(name, str(script))


def told(house: House, name: str) -> list[str]:
    path = house.home / f"{name}.txt"
    return [line.rsplit(" ", 1)[0] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.parametrize(
    ("cells", "waiting", "fail", "finish"),
    [
        ((PASSING, CONCLUDE), [], [], ["PASS 0 sandbox"]),
        ((FAILING, CONCLUDE), [], ["FAIL 1 sandbox"], ["FAIL 1 sandbox"]),
        ((UNKNOWN, CONCLUDE), [], [], ["INCOMPLETE 4 sandbox"]),
        ((GATE, PASSING, CONCLUDE), ["WAITING 3 sandbox"], [], ["WAITING 3 sandbox"]),
    ],
    ids=["pass", "fail", "unknown", "waiting"],
)
def test_each_end_calls_its_hooks_once(
    listening: House, cells: tuple[str, ...], waiting: list[str], fail: list[str], finish: list[str]
) -> None:
    listening.add_notebook("task", *cells)
    result = listening.runbook("run", "task")
    assert [told(listening, name) for name in ("on_waiting", "on_fail", "on_finish")] == [waiting, fail, finish], (
        result.stdout + result.stderr
    )
    record = listening.record(result)
    assert [one["ok"] for one in record["facts"]["notified"]] == [True] * len([*waiting, *fail, *finish])
    assert record["limitations"] == []


@pytest.mark.parametrize(
    ("command", "timeout", "says"),
    [
        (["/bin/sh", "-c", "echo no route; exit 7"], "20 s", "code 7: no route"),
        (["/nonexistent/pager"], "20 s", "/nonexistent/pager"),
        (["/bin/sleep", "60"], "1 s", "sleep"),
    ],
    ids=["fails", "is not there", "hangs"],
)
def test_hook_that_fails_changes_no_verdict_and_stands_in_the_record(
    house: House, command: list[str], timeout: str, says: str
) -> None:
    house.add_params(more="hooks:\n" + hook("on_finish", *command, timeout=timeout))
    house.add_notebook("task", PASSING, CONCLUDE)
    result = house.runbook("run", "task")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    record = house.record(result)
    (limit,) = record["limitations"]
    assert limit.startswith("The hook on_finish (")
    assert says in limit
    assert "The hook on_finish" in (house.home / result.last["record"] / "report.html").read_text()


def test_hook_that_the_system_cannot_start_blocks_no_command(house: House) -> None:
    script = house.home / "hook"
    script.write_text("echo a shell would start it\n")
    script.chmod(0o755)
    house.add_params(more="hooks:\n" + hook("on_finish", str(script)))
    house.add_notebook("task", PASSING, CONCLUDE)
    result = house.runbook("run", "task")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    (limit,) = house.record(result)["limitations"]
    assert "cannot be started: it is no program, and no script that begins with a line such as #!/bin/sh" in limit
    assert [house.inside(*words).code for words in (["runs"], ["run", "task"])] == [0, 0]


HUGE = (
    'text = "CHECK (" + ",".join(map(str, range(150000))) + ")"\n'
    'check = Check(id="rows", title="Rows are there", status=Status.FAIL, expected="3", observed="2", reason=text)\n'
    "run.check(check)"
)
SHOWN = (
    "from runbook.report.tables import checks_table, table\nchecks_table([check])",
    'table([{"note": text, "more": [text], "facts": {"a": text}}], caption="Notes")',
)


def test_text_of_a_megabyte_keeps_no_hook_from_its_call_and_is_kept_once(listening: House) -> None:
    listening.add_notebook("task", HUGE, *SHOWN, CONCLUDE)
    result = listening.runbook("run", "task")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr[-2000:]
    assert told(listening, "on_fail") == ["FAIL 1 sandbox"]
    assert len(result.stdout) < 20_000 and "… (916.9 KiB)" in result.last["reason"]
    record = listening.home / result.last["record"]
    sizes = {path.name: path.stat().st_size for path in record.iterdir()}
    assert sizes.pop("run.json") < 1_100_000, "the whole text, once"
    assert max(sizes.values()) < 200_000, sizes
    assert listening.inside("runs").code == 0


def test_time_of_a_hook_is_not_the_run_s(house: House) -> None:
    house.add_params(more="hooks:\n" + hook("on_finish", "/bin/sleep", "3"))
    house.add_notebook("task", PASSING, CONCLUDE)
    begun = time.monotonic()
    record = house.record(house.runbook("run", "task"))
    assert record["seconds"] < time.monotonic() - begun - 2.5


def test_killed_runner_is_told_of_when_it_is_found(listening: House) -> None:
    listening.add_notebook("task", 'import pathlib, time\npathlib.Path("started").touch()\ntime.sleep(60)', CONCLUDE)
    process = listening.start("run", "task")
    listening.wait_for("started")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert told(listening, "on_finish") == []
    assert listening.runbook("runs").code == 0
    assert told(listening, "on_finish") == ["INCOMPLETE 4 sandbox"]
    assert listening.runbook("runs").code == 0
    assert len(told(listening, "on_finish")) == 1


def test_hook_that_hangs_does_not_keep_a_stopped_run(house: House) -> None:
    house.add_params(more="hooks:\n" + hook("on_finish", "/bin/sleep", "60", timeout="60 s"))
    house.add_notebook("task", 'import pathlib, time\npathlib.Path("started").touch()\ntime.sleep(60)', CONCLUDE)
    process = house.start("run", "task")
    house.wait_for("started")
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 4
    assert time.monotonic() - begun < 10
