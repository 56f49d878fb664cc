"""The exit code follows from the journal, never from how the kernel or papermill ended."""

from __future__ import annotations

from house import CONCLUDE, FAILING, PASSING, UNKNOWN, House


def test_run_whose_steps_and_checks_pass_exits_0_with_a_complete_record(house: House) -> None:
    house.add_notebook("fine", 'n = run.step("Count", lambda: rows)', PASSING, CONCLUDE)
    result = house.runbook("run", "fine", "-p", "rows", "4")
    assert (result.code, result.last["verdict"], result.last["exit_code"]) == (0, "PASS", 0), result.stderr
    record = house.record(result)
    assert record["parameters"]["rows"] == 4
    assert [(step["name"], step["state"]) for step in record["steps"]] == [("Count", "done")]
    assert record["satisfies_controls"] is False
    states = [cell.metadata["runbook"]["state"] for cell in house.executed(result).cells if cell.cell_type == "code"]
    assert set(states) == {"done"}
    ledger = (house.home / "reports" / "RUNS").read_text().split()
    assert ledger[0] == "000001" and ledger[2:5] == [result.last["run"], "fine", "sandbox"]


def test_failed_check_exits_1_and_says_what_failed_and_what_to_do(house: House) -> None:
    house.add_notebook("bad", 'n = run.step("Count", lambda: rows)', FAILING, CONCLUDE)
    result = house.runbook("run", "bad")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    assert "2 rows in table x." in result.last["reason"] and "Restore table x." in result.last["reason"]
    assert result.last["next"] == "runbook run bad --target sandbox"


def test_unknown_check_is_never_a_pass(house: House) -> None:
    house.add_notebook("unknown", PASSING, UNKNOWN, CONCLUDE)
    result = house.runbook("run", "unknown")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "amcheck is not installed." in result.last["reason"]
    assert result.last["next"] == f"runbook resume {result.last['run']}"


def test_exception_after_a_failed_check_leaves_the_fail(house: House) -> None:
    house.add_notebook("both", FAILING, 'run.step("Divide", lambda: 1 / 0)', CONCLUDE)
    result = house.runbook("run", "both")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    states = {step["name"]: step["state"] for step in house.record(result)["steps"]}
    assert states == {"Divide": "failed"}


def test_error_of_the_target_in_a_step_is_a_fail_and_cleanups_run_at_once(house: House) -> None:
    house.add_notebook(
        "damaged",
        "from runbook.errors import BackupDamaged\nfrom pathlib import Path\n"
        'run.on_cleanup("first", lambda: Path("order").open("a").write("1"))\n'
        'run.on_cleanup("second", lambda: Path("order").open("a").write("2"))\n'
        'def verify(): raise BackupDamaged("base/5/1 is missing.", next="Use an older backup.")\n'
        'run.step("Verify the backup", verify)',
        'run.step("Never reached", lambda: 1)',
        CONCLUDE,
    )
    result = house.runbook("run", "damaged")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    assert "base/5/1 is missing." in result.last["reason"]
    assert (house.home / "order").read_text() == "21"
    record = house.record(result)
    assert [check["id"] for check in record["checks"]] == ["step/verify-the-backup"]
    assert [(step["name"], step["state"]) for step in record["steps"]] == [
        ("Verify the backup", "failed"),
        ("Never reached", "not run"),
    ]
    states = [cell.metadata["runbook"]["state"] for cell in house.executed(result).cells if cell.cell_type == "code"]
    assert states[-3:] == ["failed", "not run", "not run"]


def test_statements_that_cannot_be_written_down_hide_no_failure(house: House) -> None:
    house.add_notebook(
        "noted",
        "from runbook import clock, sources\nfrom runbook.errors import BackupDamaged\nfrom pathlib import Path\n"
        '(run.dir / "statements.jsonl").mkdir()\n'
        'run.on_cleanup("tidy", lambda: Path("tidied").touch())\n'
        "def verify():\n"
        '    sources.note(sources.Asked("s", "d", "r", "SELECT 1", (), clock.now(), clock.now(), 1))\n'
        '    raise BackupDamaged("base/5/1 is missing.", next="Use an older backup.")\n'
        'run.step("Verify the backup", verify)',
        CONCLUDE,
    )
    result = house.runbook("run", "noted")
    assert (result.code, result.last["verdict"]) == (1, "FAIL"), result.stderr
    assert "base/5/1 is missing." in result.last["reason"]
    assert (house.home / "tidied").exists()


def test_what_was_asked_before_a_question_is_written_down(house: House) -> None:
    house.add_notebook(
        "asks",
        "from runbook import clock, sources\n"
        'sources.note(sources.Asked("s", "d", "r", "SELECT 1", (), clock.now(), clock.now(), 1))\n'
        'run.ask("Say why", "Why?")',
        CONCLUDE,
    )
    result = house.runbook("run", "asks")
    assert (result.code, result.last["verdict"]) == (3, "WAITING"), result.stderr
    assert '"sql": "SELECT 1"' in (house.home / result.last["record"] / "statements.jsonl").read_text()


def test_exit_0_with_cells_pending_is_incomplete(house: House) -> None:
    house.add_notebook(
        "leaves", PASSING, "exit(0)", 'run.step("Later", lambda: 1)', "import sys; sys.exit(0)", CONCLUDE
    )
    result = house.runbook("run", "leaves")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "conclude" in result.last["reason"]


def test_cell_that_fails_outside_a_step_is_named(house: House) -> None:
    house.add_notebook("broken", PASSING, "nowhere_defined + 1", CONCLUDE)
    result = house.runbook("run", "broken")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "NameError" in result.last["reason"]


def test_planned_step_that_did_not_run_is_not_passed(house: House) -> None:
    house.add_notebook("skips", 'if rows > 100:\n    run.step("Look closely", lambda: 1)', PASSING, CONCLUDE)
    result = house.runbook("run", "skips")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "Look closely" in result.last["reason"]


def test_failing_cleanup_makes_the_run_incomplete(house: House) -> None:
    house.add_notebook("untidy", PASSING, 'run.on_cleanup("drop", lambda: 1 / 0)', CONCLUDE)
    result = house.runbook("run", "untidy")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "'drop' failed" in result.last["reason"]
