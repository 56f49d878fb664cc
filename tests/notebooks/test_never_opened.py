"""A run that could not be opened leaves nothing behind, or is listed as never opened, and stops no command."""

from __future__ import annotations

import json
import sys

import pytest
from house import CONCLUDE, PASSING, House

pytestmark = pytest.mark.faults


def break_opening(house: House, *, listed: bool) -> str:
    """A run's folder as a crash in the middle of its opening leaves it. Older versions had listed the run by then."""
    house.add_notebook("fine", PASSING, CONCLUDE)
    done = house.runbook("run", "fine")
    assert done.code == 0, done.stderr
    run = done.last["run"].replace("-fine-", "-fine-0")
    folder = house.home / "var" / "runs" / run
    folder.mkdir()
    request = json.loads((house.home / "var" / "runs" / done.last["run"] / "request.json").read_text())
    text = json.dumps({**request, "run": run}).replace('"share": 0.5', '"share": NaN')
    (folder / "request.json").write_text(text)
    source = (house.home / "var" / "runs" / done.last["run"] / "source.ipynb").read_bytes()
    (folder / "source.ipynb").write_bytes(source)
    (folder / "journal.jsonl").touch()
    if listed:
        with (house.home / "reports" / "RUNS").open("a") as ledger:
            ledger.write(f"000002 {request['opened']} {run} fine sandbox {request['operator']}\n")
    return run


@pytest.mark.parametrize("listed", [True, False])
def test_run_that_was_never_opened_is_listed_as_such_and_stops_no_command(house: House, listed: bool) -> None:
    run = break_opening(house, listed=listed)
    shown = house.inside("runs")
    assert shown.code == 0, shown.stderr
    assert "never opened" in shown.stdout and f"runbook abort {run}" in shown.stdout
    status = house.inside("status", run)
    assert status.code == 4 and "was never opened" in status.stderr and f"runbook abort {run}" in status.stderr
    assert house.inside("gates").code == 0
    assert house.runbook("run", "fine").code == 0


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("command", ["abort", "doctor"])
def test_run_that_was_never_opened_is_cleared(house: House, listed: bool, command: str) -> None:
    run = break_opening(house, listed=listed)
    said = house.inside("abort", run) if command == "abort" else house.inside("doctor")
    assert "ever opened" in said.stdout and run in said.stdout, said.stderr
    shown = house.inside("runs")
    assert "never opened" not in shown.stdout and shown.code == 0
    records = [path for path in (house.home / "reports" / "records").iterdir() if path.is_dir()]
    if listed:
        assert len(records) == 2
        record = json.loads((sorted(records)[1] / "run.json").read_text())
        assert (record["run"], record["verdict"], record["ledger_line"]) == (run, "INCOMPLETE", 2)
        assert "never opened" in record["reason"]
    else:
        assert len(records) == 1 and not (house.home / "var" / "runs" / run).exists()
    assert house.inside("archive", "verify").code == 0


def test_disk_that_is_full_while_a_run_opens_leaves_nothing_of_it(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    limited = ["/bin/sh", "-c", 'ulimit -f 1; exec "$0" -m runbook.cli.main "$@"', sys.executable]
    result = house.runbook("run", "fine", program=limited)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "the file may not grow" in result.last["reason"]
    assert house.runs() == []
    assert not (house.home / "reports" / "RUNS").exists()
    assert house.inside("runs").code == 0


def test_damaged_run_stops_no_listing_and_no_other_run(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    assert house.runbook("run", "fine").code == 0
    run = house.runs()[0]
    folder = house.home / "var" / "runs" / run
    first = (folder / "journal.jsonl").read_text().splitlines()[0]
    for damage in (
        '{"n": 1}\n',
        f'{first}\n{{"n": 2, "at": "yesterday", "event": "concluded"}}\n',
        '{"n": 1, "event": "x"}\nx\n\n',
        "",  # the run has done something, so it was opened
    ):
        (folder / "journal.jsonl").write_text(damage)
        (folder / "gates").mkdir(exist_ok=True)
        for command in ("runs", "gates", "doctor", "due"):
            said = house.inside(command)
            assert "fault of ours" not in said.stderr, (command, damage)
        assert house.inside("runs").code == 0
        assert "its journal is damaged" in house.inside("runs").stdout
    assert house.runbook("run", "fine").code == 0
