"""A disk that takes no more ends a run with the file's name, what is kept and the next command, and is no fault of ours."""

from __future__ import annotations

import sys

from house import CONCLUDE, PASSING, House


def test_file_that_may_not_grow_ends_the_run_in_words(house: House) -> None:
    house.add_notebook("task", PASSING, 'print("x" * 500_000)', CONCLUDE)
    limited = ["/bin/sh", "-c", 'ulimit -f 300; exec "$0" -m runbook.cli.main "$@"', sys.executable]
    result = house.runbook("run", "task", program=limited)
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stderr
    assert "Traceback" not in result.stderr and "fault of ours" not in result.stdout
    run = result.last["run"]
    assert (
        f"{house.home}/var/runs/{run}/executed-1.ipynb could not be read or written: the file may not grow"
        in (result.last["reason"])
    )
    assert "What was journaled and archived before is kept." in result.last["reason"]
    assert [check["status"] for check in house.record(result)["checks"]] == ["PASS"]
    assert house.runbook("runs").code == 0
