"""Under plain papermill the same parameters are refused, the same verdict is reached, and `runbook close` archives."""

from __future__ import annotations

import sys

import nbformat
from house import CONCLUDE, FAILING, PASSING, House

PAPERMILL = [sys.executable, "-m", "papermill"]


def test_plain_papermill_passes_and_close_archives_with_its_outputs(house: House) -> None:
    house.add_notebook("fine", 'print("seen", run.step("Count", lambda: rows))', PASSING, CONCLUDE)
    ran = house.runbook("-p", "rows", "7", "notebooks/01_fine.ipynb", "out/x.ipynb", program=make_out(house))
    assert ran.code == 0, ran.stderr
    closed = house.runbook("close", house.runs()[0])
    assert (closed.code, closed.last["verdict"]) == (0, "PASS"), closed.stderr
    record = house.record(closed)
    assert (record["started_by"], record["parameters"]["rows"], record["limitations"]) == ("papermill", 7, [])
    assert "seen 7" in (house.home / closed.last["record"] / "executed.ipynb").read_text()


def make_out(house: House) -> list[str]:
    (house.home / "out").mkdir()
    return PAPERMILL


def test_plain_papermill_exits_non_zero_on_a_failed_check(house: House) -> None:
    house.add_notebook("bad", FAILING, CONCLUDE)
    ran = house.runbook("notebooks/01_bad.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0 and "RunFailed" in ran.stderr
    assert "File " not in ran.stderr.partition("Exception encountered")[2].partition("papermill/")[0]
    closed = house.runbook("close", house.runs()[0])
    assert (closed.code, closed.last["verdict"]) == (1, "FAIL")


def test_plain_papermill_refuses_a_misspelt_parameter(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    ran = house.runbook("-p", "pont", "x", "notebooks/01_fine.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0
    assert "there is no parameter 'pont'; did you mean 'point'?" in ran.stderr
    assert house.runs() == []


def test_plain_papermill_refuses_a_value_whose_type_it_guessed_wrong(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    ran = house.runbook("-p", "point", "0123", "notebooks/01_fine.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0 and "'point' must be str, but it is int" in ran.stderr
    raw = house.runbook("-r", "point", "0123", "notebooks/01_fine.ipynb", "out.ipynb", program=PAPERMILL)
    assert raw.code == 0, raw.stderr


def test_record_needs_no_file_that_papermill_saved(house: House) -> None:
    house.add_notebook("fine", 'print("seen", rows)', PASSING, CONCLUDE)
    assert house.runbook("notebooks/01_fine.ipynb", "out.ipynb", program=PAPERMILL).code == 0
    (house.home / "out.ipynb").unlink()
    closed = house.runbook("close", house.runs()[0])
    assert closed.code == 0, closed.stderr
    assert house.record(closed)["limitations"] == []
    assert "seen 3" in (house.home / closed.last["record"] / "executed.ipynb").read_text()


def test_papermill_engine_of_ours_stamps_the_truth_too(house: House) -> None:
    house.add_notebook("dies", PASSING, "import os; os.kill(os.getpid(), 9)", "1", CONCLUDE)
    ran = house.runbook("--engine", "runbook", "notebooks/01_dies.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0
    cells = [c for c in nbformat.read(house.home / "out.ipynb", as_version=4).cells if c.cell_type == "code"]
    assert [cell.metadata["runbook"]["state"] for cell in cells] == ["done"] * 3 + ["failed", "not run", "not run"]
    closed = house.runbook("close", house.runs()[0])
    assert (closed.code, closed.last["verdict"]) == (4, "INCOMPLETE"), closed.stderr
    assert "kernel" in closed.last["reason"] and "died" in closed.last["reason"]
