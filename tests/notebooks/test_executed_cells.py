"""Each code cell counts, under `runbook run` and plain papermill: what failed or was not reached is no PASS, and outputs are the run's own."""

from __future__ import annotations

import shutil
import sys
import time

import nbformat
import pytest
from house import CONCLUDE, FAILING, PASSING, House, Result

pytestmark = pytest.mark.faults

PAPERMILL = [sys.executable, "-m", "papermill"]


def executed_by(house: House, how: str, name: str, *argv: str) -> Result:
    """The run's end under `runbook run`, or of plain papermill and `runbook close`."""
    if how == "run":
        return house.runbook("run", name, *argv)
    house.runbook(*argv, f"notebooks/01_{name}.ipynb", "out.ipynb", program=PAPERMILL)
    return house.runbook("close", house.runs()[-1])


def tag(house: House, name: str, cell: int, text: str) -> None:
    path = house.home / "notebooks" / f"01_{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[cell].metadata["tags"] = [text]
    nbformat.write(notebook, path)


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_cell_that_fails_after_the_conclusion_is_no_pass(house: House, how: str) -> None:
    house.add_notebook("late", PASSING, CONCLUDE, 'raise ValueError("after")')
    result = executed_by(house, how, "late")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "Code cell 5 of 5" in result.last["reason"]
    assert "failed after the run had concluded: ValueError: after" in result.last["reason"]


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_failure_that_a_tag_allows_is_no_pass_and_the_tag_is_a_limitation(house: House, how: str) -> None:
    house.add_notebook("lenient", PASSING, 'raise ValueError("allowed")', CONCLUDE)
    tag(house, "lenient", 4, "raises-exception")
    result = executed_by(house, how, "lenient")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "failed: ValueError: allowed" in result.last["reason"]
    assert any("tag raises-exception" in limit for limit in house.record(result)["limitations"])


def test_tag_that_allows_a_failure_limits_a_pass(house: House) -> None:
    house.add_notebook("lenient", PASSING, "1", CONCLUDE)
    tag(house, "lenient", 4, "raises-exception")
    result = house.runbook("run", "lenient")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    assert any("tag raises-exception" in limit for limit in house.record(result)["limitations"])


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_cell_that_was_not_reached_is_no_pass(house: House, how: str) -> None:
    house.add_notebook("skipping", PASSING, "print('never')", CONCLUDE)
    tag(house, "skipping", 4, "skip-execution")
    result = executed_by(house, how, "skipping")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "print('never')" in result.last["reason"] and "was not executed" in result.last["reason"]


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_cell_that_exits_is_named(house: House, how: str) -> None:
    house.add_notebook("leaves", PASSING, "import sys\nsys.exit(0)", CONCLUDE)
    result = executed_by(house, how, "leaves")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "Code cell 4 of 5 (import sys, id cell-2) failed: SystemExit: 0" in result.last["reason"]


def test_fail_stays_fail_when_a_later_cell_breaks(house: House) -> None:
    house.add_notebook("both", FAILING, 'raise ValueError("more")', CONCLUDE)
    result = house.runbook("run", "both")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr


def test_outputs_of_another_run_are_not_archived(house: House) -> None:
    house.add_notebook("rows", 'print("rows are", rows)', PASSING, CONCLUDE)
    for rows in ("3", "7"):
        ran = house.runbook("-p", "rows", rows, "notebooks/01_rows.ipynb", "out.ipynb", program=PAPERMILL)
        assert ran.code == 0, ran.stderr
    first, second = sorted(house.runs(), key=lambda run: house.journal(run)[0]["parameters"]["rows"])
    refused = house.runbook("close", first, "--notebook", "out.ipynb")
    assert refused.code == 2 and second in refused.stderr
    closed = house.runbook("close", first)
    assert (closed.code, closed.last["verdict"]) == (0, "PASS"), closed.stderr
    text = (house.home / closed.last["record"] / "executed.ipynb").read_text()
    assert "rows are 3" in text and "rows are 7" not in text
    assert any(second in limit and "not used" in limit for limit in house.record(closed)["limitations"])
    closed = house.runbook("close", second)
    assert (house.record(closed)["limitations"], closed.code) == ([], 0)
    assert "rows are 7" in (house.home / closed.last["record"] / "executed.ipynb").read_text()


def test_file_in_the_place_of_the_runners_own_is_not_archived(house: House) -> None:
    house.add_notebook("task", 'print("rows are", rows)', PASSING, CONCLUDE)
    first, second = house.runbook("run", "task", "-p", "rows", "7"), house.runbook("run", "task", "--timeout", "0.5")
    assert (first.code, second.code) == (0, 4), first.stderr + second.stderr
    runs = house.home / "var" / "runs"
    theirs = (runs / first.last["run"] / "executed-1.ipynb").read_bytes()
    run = runs / second.last["run"]
    (run / "executed-1.ipynb").write_bytes(theirs)
    journal = run / "journal.jsonl"  # as if the runner had died before it archived
    lines = [line for line in journal.read_text().splitlines() if '"attempt-closed"' not in line]
    journal.write_text("\n".join(lines) + "\n")
    shutil.rmtree(house.home / second.last["record"])
    closed = house.runbook("close", run.name)
    assert closed.code == 4, closed.stderr
    assert "rows are 7" not in (house.home / closed.last["record"] / "executed.ipynb").read_text()
    assert any("is not what the runner of this attempt wrote" in one for one in house.record(closed)["limitations"])


@pytest.mark.parametrize("opened", [True, False])
def test_endless_output_is_cut_and_the_timeout_holds(house: House, opened: bool) -> None:
    flood = "import subprocess\nsubprocess.run('yes warning: skipping', shell=True)"
    house.add_notebook("floods", *([PASSING] if opened else []), flood, CONCLUDE, opened=opened)
    began = time.monotonic()
    result = house.runbook("run", "floods", "--timeout", "25")
    assert time.monotonic() - began < 25 + 20
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "timeout of 25 s" in result.last["reason"]
    assert any(
        "written more than 2.0 MiB" in one or "wrote more than" in one for one in house.record(result)["limitations"]
    )
    assert (house.home / result.last["record"] / "executed.ipynb").stat().st_size < 8 << 20


def test_long_output_under_papermill_is_cut_with_a_limitation(house: House) -> None:
    house.add_notebook("long", 'for n in range(100): print("x" * 50_000, flush=True)', PASSING, CONCLUDE)
    ran = house.runbook("notebooks/01_long.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code == 0, ran.stderr
    assert (house.home / "out.ipynb").stat().st_size < 3 << 20
    closed = house.runbook("close", house.runs()[0])
    assert (closed.code, closed.last["verdict"]) == (0, "PASS"), closed.stderr
    assert any("wrote more than 2.0 MiB" in limit for limit in house.record(closed)["limitations"])


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_name_that_is_not_utf8_keeps_the_fail_and_is_shown_escaped(house: House, how: str) -> None:
    failing = (
        "import os\nname = os.fsdecode(b'caf\\xe9.csv')\nprint('seen', name)\nrun.limit(name)\n"
        'run.check(Check(id="rows", title="Rows", status=Status.FAIL, expected="3", observed=name, reason=name))'
    )
    house.add_notebook("bytes", failing, CONCLUDE)
    result = executed_by(house, how, "bytes")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    check = house.record(result)["checks"][0]
    assert check["observed"] == "caf\\xe9.csv"
    assert "caf\\xe9.csv" in result.last["reason"]


@pytest.mark.parametrize("how", ["run", "papermill"])
def test_figure_that_is_none_is_named_and_no_pass(house: House, how: str) -> None:
    measure = 'run.fact("share", {"seen": [float("inf")]})\nrun.measure("lag", "Replication lag", float("nan"), "s")'
    house.add_notebook("figures", PASSING, measure, CONCLUDE)
    result = executed_by(house, how, "figures")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "The measure 'lag' (Replication lag) is nan s" in result.last["reason"]
    assert house.record(result)["facts"]["share"] == {"seen": ["inf"]}


def test_two_parameters_cells_are_refused_by_all(house: House) -> None:
    path = house.add_notebook("twice", "rows = 3", PASSING, CONCLUDE)
    tag(house, "twice", 3, "parameters")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2], notebook.cells[3] = notebook.cells[3], notebook.cells[2]
    nbformat.write(notebook, path)
    refused = house.inside("run", "twice", "-p", "rows", "7")
    assert refused.code == 2 and "2 cells with the tag 'parameters' (cells 2 and 3)" in refused.stderr
    ran = house.runbook("-p", "rows", "7", "notebooks/01_twice.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0 and "2 cells with the tag 'parameters'" in ran.stderr
    assert house.runs() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", "nan"),
        ("share", "1e999"),
        ("rows", "9" * 5000),
        ("point", b"caf\xe9".decode("utf-8", "surrogateescape")),
    ],
)
def test_value_that_no_run_can_have_is_refused_before_anything_starts(house: House, name: str, value: str) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    refused = house.runbook("run", "fine", "-p", name, value)
    assert refused.code == 2, refused.stderr
    assert f"'{name}'" in refused.last["reason"] and refused.last["next"].startswith(f"-p {name} ")
    assert house.runs() == []


@pytest.mark.parametrize("value", ["nan", "inf", "9" * 5000])
def test_number_that_is_none_is_refused_under_papermill(house: House, value: str) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    ran = house.runbook("-p", "share", value, "notebooks/01_fine.ipynb", "out.ipynb", program=PAPERMILL)
    assert ran.code != 0 and "'share' is not a finite number" in ran.stderr
    assert house.runs() == []
    assert house.runbook("runs").code == 0
