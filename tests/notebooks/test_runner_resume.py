"""What must happen once happens once, whatever dies; everything else is observed anew."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import nbformat
import pytest
from house import CONCLUDE, FAILING, OPEN, House

RESOLVE = (
    "from pathlib import Path\nimport os\n"
    'def resolve():\n    Path("resolved").open("a").write("x")\n    return {"lsn": "0/3000028"}\n'
    'point_found = run.step("Resolve the point", resolve, once=True)'
)
OBSERVE = 'def look():\n    Path("seen").open("a").write("x")\n    return point_found["lsn"]\nrun.step("Look", look)'
DIE_FIRST = (
    'def die():\n    if run.attempt == 1: os.kill(os.getpid(), 9)\n    return 1\nrun.step("Die the first time", die)'
)


def edit(house: House, name: str, old: str, new: str) -> None:
    path = house.home / "notebooks" / f"01_{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, path)


def test_resume_reuses_what_must_happen_once_and_observes_the_rest_anew(house: House) -> None:
    house.add_notebook("drill", RESOLVE, OBSERVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    assert first.code == 4, first.stderr
    again = house.runbook("resume", first.last["run"])
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr
    assert (house.home / "resolved").read_text() == "x"
    assert (house.home / "seen").read_text() == "xx"
    record = house.record(again)
    assert (record["attempt"], record["previous_record"]) == (2, first.last["record"])
    assert {step["name"]: step["reused"] for step in record["steps"]}["Resolve the point"] is True
    over = house.runbook("resume", first.last["run"])
    assert (over.code, over.last["verdict"]) == (2, "REFUSED")


def test_changed_code_refuses_to_resume_unless_a_reason_is_given(house: House) -> None:
    house.add_notebook("drill", RESOLVE, OBSERVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    edit(house, "drill", "# 01 · drill", "# 01 · drill, in better words")
    edit(house, "drill", 'run.step("Look", look)', 'run.step("Look", look); print("changed")')
    refused = house.runbook("resume", first.last["run"])
    assert refused.code == 2, refused.stderr
    assert "code cells of notebooks/01_drill.ipynb" in refused.last["reason"]
    assert "--accept-change" in refused.last["next"]
    accepted = house.runbook("resume", first.last["run"], "--accept-change", "it only prints more")
    assert accepted.code == 0, accepted.stderr
    record = house.record(accepted)
    assert any("it only prints more" in limit for limit in record["limitations"])
    assert "changed" in (house.home / accepted.last["record"] / "source.ipynb").read_text()


def test_changed_params_file_refuses_to_resume(house: House) -> None:
    house.add_notebook("drill", RESOLVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    path = house.home / "params" / "sandbox.yaml"
    path.write_text(path.read_text().replace("30 min", "60 min"))
    refused = house.runbook("resume", first.last["run"])
    assert refused.code == 2 and "params/sandbox.yaml" in refused.last["reason"]


@pytest.mark.faults
def test_prose_may_change_between_attempts(house: House) -> None:
    house.add_notebook("drill", RESOLVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    edit(house, "drill", "# 01 · drill", "# 01 · drill, in better words")
    assert house.runbook("resume", first.last["run"]).code == 0


CHANGE = (
    "from pathlib import Path\nimport os\n"
    "def change():\n"
    '    Path("done").open("a").write("x")\n'
    "    if run.attempt == 1: os.kill(os.getpid(), 9)\n"
    '    return "changed"\n'
)


def test_once_step_that_never_said_how_it_ended_wants_a_redo(house: House) -> None:
    house.add_notebook("drill", CHANGE + 'run.step("Swap it in", change, once=True)', CONCLUDE)
    first = house.runbook("run", "drill")
    stuck = house.runbook("resume", first.last["run"])
    assert stuck.code == 4, stuck.stderr
    command = f"runbook redo {first.last['run']} 'Swap it in'"
    assert stuck.last["next"] == command
    assert (house.home / "done").read_text() == "x"
    misspelt = house.runbook("redo", first.last["run"], "Swap it im")
    assert misspelt.code == 2 and "did you mean 'Swap it in'?" in misspelt.last["reason"]
    done = house.runbook("redo", first.last["run"], "Swap it in")
    assert done.code == 0, done.stderr
    assert (house.home / "done").read_text() == "xx"


def test_probe_tells_that_a_once_step_has_already_happened(house: House) -> None:
    probe = 'probe = lambda: "found done" if Path("done").exists() else None\n'
    step = 'said = run.step("Swap it in", change, once=True, probe=probe)\nrun.fact("said", said)'
    house.add_notebook("drill", CHANGE + probe + step, CONCLUDE)
    first = house.runbook("run", "drill")
    again = house.runbook("resume", first.last["run"])
    assert again.code == 0, again.stderr
    assert (house.home / "done").read_text() == "x"
    assert house.record(again)["facts"]["said"] == "found done"


@pytest.mark.faults
def test_once_step_with_other_inputs_is_another_act(house: House) -> None:
    step = 'run.step("Swap it in", lambda: Path("done").open("a").write("x"), once=True, key=run.attempt)'
    house.add_notebook("drill", "from pathlib import Path\nimport os\n" + step, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    assert house.runbook("resume", first.last["run"]).code == 0
    assert (house.home / "done").read_text() == "xx"


@pytest.mark.faults
def test_table_comes_back_with_its_types(house: House) -> None:
    house.add_notebook(
        "drill",
        "import os, pandas\n"
        'table = pandas.DataFrame({"day": pandas.to_datetime(["2026-01-01"]), "rows": [3]})\n'
        'found = run.step("Count by day", lambda: table, once=True)\n'
        'run.fact("types", [str(kind) for kind in found.dtypes])\nrun.fact("rows", int(found.rows.sum()))',
        DIE_FIRST,
        CONCLUDE,
    )
    first = house.runbook("run", "drill")
    again = house.runbook("resume", first.last["run"])
    assert again.code == 0, again.stderr
    facts = house.record(again)["facts"]
    assert facts["types"][0].startswith("datetime64") and facts["types"][1] == "int64" and facts["rows"] == 3


@pytest.mark.faults
def test_resume_after_fail_is_another_record_and_the_first_stays(house: House) -> None:
    house.add_notebook(
        "drill",
        f"if run.attempt == 1:\n    {FAILING.replace(chr(10), chr(10) + '    ')}\nelse:\n    run.limit('second look')",
        'run.step("Look", lambda: 1)',
        CONCLUDE,
    )
    first = house.runbook("run", "drill")
    assert first.code == 1, first.stderr
    again = house.runbook("resume", first.last["run"])
    assert again.code == 0, again.stderr
    assert house.record(first)["verdict"] == "FAIL"
    assert house.record(again)["previous_record"] == first.last["record"]


def add_line(path: Path, line: str) -> None:
    """Another line at the end of the last code cell but one, which comes before the conclusion."""
    notebook = nbformat.read(path, as_version=4)
    [cell for cell in notebook.cells if cell.cell_type == "code"][-2].source += f"\n{line}"
    nbformat.write(notebook, path)


def test_line_added_to_the_run_s_own_notebook_is_not_executed(house: House) -> None:
    house.add_notebook("drill", RESOLVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    folder = house.home / "var" / "runs" / first.last["run"]
    add_line(folder / "source.ipynb", 'Path("evil").touch()')
    refused = house.inside("resume", first.last["run"])
    assert refused.code == 2 and "source.ipynb (the run's own copy of its notebook)" in refused.last["reason"]
    journal = folder / "journal.jsonl"
    changed = sha256((folder / "source.ipynb").read_bytes()).hexdigest()
    known = house.journal(first.last["run"])[0]["source_sha256"]
    journal.write_text(journal.read_text().replace(known, changed))
    again = house.inside("resume", first.last["run"])
    assert again.code == 2 and "request.json do not say the same about notebook, source_sha256" in again.last["reason"]
    request = folder / "request.json"
    request.write_text(request.read_text().replace(known, changed))
    again = house.inside("resume", first.last["run"])
    assert again.code == 2 and "are not those that the record 000001-" in again.last["reason"]
    aborted = house.runbook(*again.last["next"].split()[1:])
    assert aborted.code == 4, aborted.stderr
    assert not (house.home / "evil").exists()


@pytest.mark.faults
def test_change_accepted_for_an_altered_copy_takes_the_notebook_and_not_the_copy(house: House) -> None:
    house.add_notebook("drill", RESOLVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    add_line(house.home / "var" / "runs" / first.last["run"] / "source.ipynb", 'Path("evil").touch()')
    accepted = house.runbook("resume", first.last["run"], "--accept-change", "somebody edited the copy")
    assert accepted.code == 0, accepted.stderr
    assert not (house.home / "evil").exists()
    assert any("somebody edited the copy" in limit for limit in house.record(accepted)["limitations"])


@pytest.mark.faults
def test_notebook_that_is_exchanged_while_it_runs_is_executed_as_it_was_compared(house: House) -> None:
    exchange = (
        "import os\nfrom pathlib import Path\n"
        'copy = run.dir / "source.ipynb"\n'
        'copy.write_text(copy.read_text().replace("1 + 1", "Path(\\"evil\\").touch()"))'
    )
    house.add_notebook("drill", exchange, 'run.step("Add", lambda: 1 + 1)', CONCLUDE)
    done = house.runbook("run", "drill")
    assert (done.code, (house.home / "evil").exists()) == (0, False), done.stderr
    assert any("source.ipynb is not what was executed" in text for text in house.record(done)["limitations"])


@pytest.mark.faults
def test_params_exchanged_between_runner_and_kernel_are_refused(house: House) -> None:
    exchange = 'from pathlib import Path\np = Path("params/sandbox.yaml")\np.write_text(p.read_text().replace("30 min", "90 min"))'
    opened = OPEN.format(name="drill")
    house.add_notebook("drill", exchange, opened, 'run.step("Add", lambda: 1 + 1)', CONCLUDE, opened=False)
    done = house.runbook("run", "drill")
    assert done.code == 4, done.stderr
    assert "The kernel finds another params file than the runner" in done.last["reason"]


def test_changed_sql_refuses_to_resume(house: House) -> None:
    (house.home / "sql").mkdir()
    (house.home / "sql" / "count_rows.sql").write_text("SELECT 1")
    house.add_notebook("drill", RESOLVE, DIE_FIRST, CONCLUDE)
    first = house.runbook("run", "drill")
    (house.home / "sql" / "count_rows.sql").write_text("SELECT 2")
    refused = house.inside("resume", first.last["run"])
    assert refused.code == 2 and "the SQL files in sql" in refused.last["reason"]


@pytest.mark.faults
def test_module_that_python_executes_before_the_library_is_a_limitation(house: House) -> None:
    folder = house.home / "startup"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\n")
    house.add_notebook("drill", 'run.step("Look", lambda: 1)', CONCLUDE)
    house.env["PYTHONPATH"] = str(folder)
    done = house.runbook("run", "drill")
    assert done.code == 0, done.stderr
    digest = sha256(b"import sys\n").hexdigest()
    said = f"Python executed {folder}/sitecustomize.py before the library (SHA-256 {digest})."
    assert said in house.record(done)["limitations"]
