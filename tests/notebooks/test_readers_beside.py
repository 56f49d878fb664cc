"""What only reads runs beside a run that changes the target, and its record says so."""

from __future__ import annotations

import json
from pathlib import Path

from house import CONCLUDE, PASSING, House, finish
from runbook.session import lock, notebook

CHANGES = (
    "import os\n"
    'def change():\n    run.effects("the database is locked down")\n    os.kill(os.getpid(), 9)\n'
    'run.step("Change", change)'
)
ROOT = Path(__file__).parents[2]


def test_reader_runs_beside_a_run_that_changes_the_target_and_says_so(house: House) -> None:
    house.add_notebook("changes", CHANGES, CONCLUDE)
    house.add_notebook("reads", PASSING, CONCLUDE, number=2, only_reads=True)
    house.add_notebook("verifies", PASSING, CONCLUDE, number=3)
    dead = house.runbook("run", "changes")
    assert dead.code == 4, dead.stderr
    read = house.runbook("run", "reads")
    assert (read.code, read.last["verdict"]) == (0, "PASS"), read.stdout + read.stderr
    said = [one for one in house.record(read)["limitations"] if dead.last["run"] in one]
    assert len(said) == 1 and "the database is locked down" in said[0], house.record(read)["limitations"]
    assert house.runbook("run", "verifies").code == 5, "what may change the target still waits"
    holder = json.loads((house.home / "var" / "locks" / "sandbox.lock").read_text())
    assert holder["run"] == dead.last["run"] and holder["effects"], "the reader has left the lock alone"


def test_reader_does_not_keep_a_recovery_out_and_sees_that_it_began(house: House) -> None:
    house.add_notebook(
        "reads",
        "import time\nfrom pathlib import Path\n"
        'def wait():\n    Path("ready").touch()\n    while not Path("go").exists(): time.sleep(0.05)\n'
        'run.step("Wait", wait)',
        CONCLUDE,
        only_reads=True,
    )
    house.add_notebook("changes", CHANGES, CONCLUDE, number=2)
    reader = house.start("run", "reads")
    house.wait_for("ready")
    dead = house.runbook("run", "changes")
    assert dead.code == 4, dead.stderr
    (house.home / "go").touch()
    read = finish(reader)
    assert read.code == 0, read.stderr
    assert [one for one in house.record(read)["limitations"] if dead.last["run"] in one]


def test_change_that_began_and_ended_while_it_read_is_said_too(house: House) -> None:
    wait = (
        "import time\nfrom pathlib import Path\n"
        'def wait():\n    Path("ready").touch()\n    while not Path("go").exists(): time.sleep(0.05)\n'
        'run.step("Wait", wait)'
    )
    brief = 'def change():\n    run.effects("the database is locked down")\n    run.effects(None)\nrun.step("Change", change)'
    house.add_notebook("reads", wait, CONCLUDE, only_reads=True)
    house.add_notebook("changes", brief, CONCLUDE, number=2)
    house.add_notebook("later", PASSING, CONCLUDE, number=3, only_reads=True)
    reader = house.start("run", "reads")
    house.wait_for("ready")
    changed = house.runbook("run", "changes")
    (house.home / "go").touch()
    read = finish(reader)
    assert read.code == 0, read.stdout + read.stderr
    said = [one for one in house.record(read)["limitations"] if changed.last["run"] in one]
    assert len(said) == 1 and "the database is locked down" in said[0], house.record(read)["limitations"]
    later = house.runbook("run", "later")
    assert not [one for one in house.record(later)["limitations"] if changed.last["run"] in one], "it began after that"


def test_runbook_that_says_it_only_reads_cannot_change_the_target(house: House) -> None:
    house.add_notebook("reads", 'run.effects("maintenance mode is on")', CONCLUDE, only_reads=True)
    result = house.runbook("run", "reads")
    assert (result.code, result.last["verdict"]) == (4, "INCOMPLETE"), result.stdout
    assert "does not hold the lock" in result.last["reason"]
    assert lock.changing("sandbox") is None


def test_runbooks_that_are_wanted_in_an_incident_only_read() -> None:
    reading = {
        path.name[:2]: notebook.only_reads(notebook.read_notebook(path))
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    }
    assert {number for number, reads in reading.items() if reads} == {"01", "05", "06", "07", "08"}
