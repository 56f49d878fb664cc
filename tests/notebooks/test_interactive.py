"""JupyterLab on a run: what the kernel executed is in the record, whatever the browser has saved, however the server ended."""

from __future__ import annotations

import signal

import pytest
from house import CONCLUDE, PASSING, House, finish, marked, wait_until
from labhouse import start_lab

pytestmark = pytest.mark.faults


def test_cells_that_no_browser_saved_are_in_the_record_of_a_server_that_was_shut_down(house: House) -> None:
    seen = [f'print("seen {n}", run.step("Count {n}", lambda: {n}))' for n in range(13)]
    house.add_notebook("steps", *seen, PASSING, CONCLUDE)
    lab = start_lab(house, "steps", "-p", "rows", "7")
    cells = lab.open_notebook()
    assert len(cells) == 18  # parameters, those given, open_run, 13 steps, a check, the conclusion
    assert [lab.execute(cell.source, cell.id) for cell in cells] == ["ok"] * 18
    lab.shut_down()
    result = finish(lab.process)
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    executed = [cell for cell in house.executed(result).cells if cell.cell_type == "code"]
    assert [cell.metadata["runbook"]["state"] for cell in executed] == ["done"] * 18
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in executed]
    assert [text.strip() for text in texts[3:16]] == [f"seen {n} {n}" for n in range(13)]
    assert "PASS: 13 steps ran" in texts[-1]
    assert house.record(result)["limitations"] == []
    assert marked(house.home) == []


def test_cell_that_fails_after_the_conclusion_in_jupyterlab_is_no_pass(house: House) -> None:
    house.add_notebook("late", PASSING, CONCLUDE, 'raise ValueError("after")')
    lab = start_lab(house, "late")
    statuses = [lab.execute(cell.source, cell.id) for cell in lab.open_notebook()]
    assert statuses == ["ok"] * 5 + ["error"]
    lab.shut_down()
    result = finish(lab.process)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "failed after the run had concluded: ValueError: after" in result.last["reason"]


def test_cell_that_was_not_executed_in_jupyterlab_is_named(house: House) -> None:
    house.add_notebook("part", PASSING, "print('the second look')", CONCLUDE)
    lab = start_lab(house, "part")
    for cell in lab.open_notebook():
        if "second look" not in cell.source:
            assert lab.execute(cell.source, cell.id) == ("error" if "conclude" in cell.source else "ok")
    lab.shut_down()
    result = finish(lab.process)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "the second look" in result.last["reason"] and "was not executed" in result.last["reason"]


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_in_the_terminal_archives_the_run(house: House, busy: bool) -> None:
    # A kernel of JupyterLab works in the notebook's folder.
    place = f'from pathlib import Path\nplace = Path("{house.home}")\n'
    wait = 'import time\n(place / "ready").touch()\ntime.sleep(600)'
    tidy = place + 'run.on_cleanup("tidy", lambda: (place / "tidied").touch())'
    house.add_notebook("waits", PASSING, tidy, wait, CONCLUDE)
    lab = start_lab(house, "waits")
    cells = lab.open_notebook()
    for cell in cells[:3]:
        assert lab.execute(cell.source, cell.id) == "ok"
    if busy:
        assert lab.execute(cells[4].source, cells[4].id) == "ok"
        lab.ask(cells[5].source, cells[5].id)
        house.wait_for("ready")
    lab.leave()
    lab.process.send_signal(signal.SIGINT)
    result = finish(lab.process, 25)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "Traceback" not in result.stderr
    assert len(list((house.home / "reports" / "records").iterdir())) == 1
    assert marked(house.home) == []
    assert (house.home / "tidied").exists() is busy
    executed = [cell for cell in house.executed(result).cells if cell.cell_type == "code"]
    assert [cell.metadata["runbook"]["state"] for cell in executed[:3]] == ["done"] * 3


def test_endless_output_in_jupyterlab_is_cut_and_ends_with_the_server(house: House) -> None:
    flood = 'while True: print("warning: skipping" * 100)'
    house.add_notebook("floods", PASSING, flood, CONCLUDE)
    lab = start_lab(house, "floods")
    cells = lab.open_notebook()
    for cell in cells[:4]:
        assert lab.execute(cell.source, cell.id) == "ok"
    lab.ask(cells[4].source, cells[4].id)
    run = house.runs()[0]
    wait_until(lambda: "cell-cut" in [event["event"] for event in house.journal(run)], 120)
    lab.leave()
    lab.process.send_signal(signal.SIGTERM)
    result = finish(lab.process, 25)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert any("wrote more than 2.0 MiB" in limit for limit in house.record(result)["limitations"])
    assert (house.home / result.last["record"] / "executed.ipynb").stat().st_size < 8 << 20
    assert marked(house.home) == []
