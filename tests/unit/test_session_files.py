"""Lock, ledger, notebook and values: what the session keeps in files and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runbook import layout
from runbook.errors import ParamsError, TargetLocked
from runbook.session import identity, ledger, lock, notebook, values
from runbook.session.notebook import Parameter


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def cells(*sources: str) -> dict[str, Any]:
    content = [{"cell_type": "code", "id": str(n), "metadata": {}, "source": s} for n, s in enumerate(sources)]
    return {"cells": content}


HOLD = "import sys, time\nfrom runbook.session.lock import TargetLock\nTargetLock('db', 'r1').acquire()\nprint('held', flush=True)\ntime.sleep(60)"


def test_lock_is_held_against_another_process_and_ends_with_its_holder(home: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(TargetLocked, match=f"by the run r1 \\(pid {holder.pid}"):
        lock.TargetLock("db", "r2").acquire()
    lock.TargetLock("other", "r2").acquire()
    holder.kill()
    holder.communicate()
    mine = lock.TargetLock("db", "r2")
    mine.acquire()
    mine.release()
    mine.release()
    assert lock.read_holder("db") is None


def test_pending_effects_outlive_the_holder_for_all_but_its_own_run(home: Path) -> None:
    first = lock.TargetLock("db", "r1")
    first.acquire()
    lock.note_effects("db", "r1", True, "data directory swapped")
    first.release()
    with pytest.raises(TargetLocked, match="data directory swapped") as refusal:
        lock.TargetLock("db", "r2").acquire()
    assert refusal.value.next == "runbook resume r1"
    again = lock.TargetLock("db", "r1")
    again.acquire()
    again.release()
    with pytest.raises(TargetLocked):
        lock.TargetLock("db", "r2").acquire()
    assert lock.free_effects("db", "r1") is True
    lock.TargetLock("db", "r2").acquire()


def test_target_is_freed_though_somebody_looks_at_its_lock_just_then(home: Path) -> None:
    first = lock.TargetLock("db", "r1")
    first.acquire()
    lock.note_effects("db", "r1", True, "data directory swapped")
    first.release()
    looking = "import fcntl, sys, time\nfile = open(sys.argv[1])\nfcntl.flock(file, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(0.3)"
    other = subprocess.Popen(
        [sys.executable, "-c", looking, str(layout.locks() / "db.lock")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    assert lock.free_effects("db", "r1") is True
    other.communicate()


def test_run_cannot_note_effects_on_a_target_that_another_holds(home: Path) -> None:
    held = lock.TargetLock("db", "r1")
    held.acquire()
    with pytest.raises(TargetLocked):
        lock.note_effects("db", "r2", True, "x")
    held.release()


BROKEN = [
    b'{"run": "r1", "eff',
    b'{"effects": true}',
    b"[" * 60000,
    b"null",
    b"\xff\xfe",
    b'{"run": 7}',
    b'{}{"run": "r1"}',
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_lock_file_that_cannot_be_read_keeps_the_target_and_raises_nothing_raw(home: Path, text: bytes) -> None:
    path = layout.locks() / "db.lock"
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    with pytest.raises(TargetLocked, match="cannot be read") as refusal:
        lock.TargetLock("db", "r2").acquire()
    assert refusal.value.next == "runbook doctor" and path.read_bytes() == text
    with pytest.raises(TargetLocked):
        lock.note_effects("db", "r2", False, "")
    assert lock.free_effects("db", "r2") is False
    assert "is not known" in str(lock.changing_words("db", "r2"))
    [holder] = lock.read_holders()
    assert lock.way_on(holder) == lock.look_at(holder) == "runbook doctor"


def test_lock_file_that_says_only_whose_it_is_raises_nothing_raw(home: Path) -> None:
    path = layout.locks() / "db.lock"
    path.parent.mkdir(parents=True)
    path.write_text('{"run": "r1", "effects": true}')
    with pytest.raises(TargetLocked, match="it does not say what") as refusal:
        lock.TargetLock("db", "r2").acquire()
    assert refusal.value.next == "runbook resume r1"
    assert not identity.is_alive(lock.read_holders()[0])


def test_effects_are_known_when_a_shorter_text_was_written_and_its_writer_killed(home: Path) -> None:
    first = lock.TargetLock("db", "r1")
    first.acquire()
    lock.note_effects("db", "r1", True, "x" * 300)
    killed = (
        "import os, signal\nfrom runbook.session import lock\n"
        "os.ftruncate = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\nlock.note_effects('db', 'r1', True, 'short')"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    first.release()
    with pytest.raises(TargetLocked, match=r"is not finished \(short\)"):
        lock.TargetLock("db", "r2").acquire()


def test_two_processes_do_not_go_on_with_one_reading_run(home: Path) -> None:
    (home / "var" / "runs" / "r1").mkdir(parents=True)
    first, second = (lock.lock_of("db", "r1", only_reads=True) for _ in range(2))
    first.acquire()
    with pytest.raises(TargetLocked, match="r1"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_ledger_numbers_lines_and_is_not_broken_by_a_torn_one(home: Path) -> None:
    assert ledger.append_line("r1", "drill", "db", "ann") == 1
    with layout.ledger().open("a") as file:
        file.write("000002 2026-01-01T00:00:00Z r2 dri")
    assert ledger.append_line("r3", "drill", "db", "ann lee") == 2
    assert [(line.number, line.run, line.operator) for line in ledger.read_lines()] == [
        (1, "r1", "ann"),
        (2, "r3", "ann_lee"),
    ]
    assert "r2 dri\n" in layout.ledger().read_text()


def test_process_whose_number_was_given_away_is_dead() -> None:
    me = identity.this_process()
    assert identity.is_alive(me)
    assert not identity.is_alive({**me, "started": 1})
    assert not identity.is_alive({**me, "boot": "another"})
    assert identity.is_alive({**me, "host": "elsewhere", "started": 1})
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert not identity.is_alive({**identity.identify(ended.pid)})


def test_planned_steps_are_the_literals_in_order_once_each() -> None:
    content = cells(
        '%matplotlib inline\nrun.step("B", lambda: 1)\nx = [run.step("A", f)]',
        'other.step("no")\nrun.step(name, f)\nif x:\n    run.step("C", f, once=True)\nrun.step("B", f)',
        "this is ( no python",
    )
    assert notebook.planned_steps(content) == ["B", "A", "C"]


def parameters(source: str) -> dict[str, Parameter]:
    content = cells(source)
    content["cells"][0]["metadata"]["tags"] = ["parameters"]
    return notebook.read_parameters(content, "notebooks/01_x.ipynb")


def test_parameters_cell_gives_names_defaults_help_unit_and_line() -> None:
    found = parameters('target = "sandbox"  # the system, name\nhours: float = 1.5  # how long, hours\nn = -1  # rows')
    assert found["target"] == Parameter("target", "sandbox", "the system", "name", 1)
    assert found["hours"] == Parameter("hours", 1.5, "how long", "hours", 2)
    assert (found["n"].default, found["n"].help, found["n"].unit) == (-1, "rows", None)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("target = 'x'\nuntil = now()", "line 2.*'until' is no literal"),
        ("target = 'x'\nuntil = None", "'until' is no literal"),
        ("rows = 1", "has no 'target'"),
    ],
)
def test_parameter_without_a_typed_literal_is_refused(source: str, says: str) -> None:
    with pytest.raises(ParamsError, match=says):
        parameters(source)


DECLARED = parameters('target = "sandbox"\nn = 3\nx = 0.5\nkeep = True\nnames = ["a"]')
WHERE = "notebooks/01_x.ipynb"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("target", "0123", "0123"),
        ("target", "true", "true"),
        ("n", "12", 12),
        ("n", "-3", -3),
        ("x", "1", 1.0),
        ("x", "1e3", 1000.0),
        ("keep", "false", False),
    ],
)
def test_text_becomes_the_type_of_the_default(name: str, text: str, value: object) -> None:
    taken = values.values_from_text([(name, text)], DECLARED, WHERE)[name]
    assert (taken, type(taken)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n", "1.0"), ("n", "0x10"), ("n", "1_000"), ("n", " 1"), ("n", "007"), ("n", "true"), ("n", "٣"),
        ("x", "inf"), ("x", "1,5"), ("x", ""), ("keep", "True"), ("keep", "1"), ("names", "['b']"),
    ],
)  # fmt: skip
def test_text_of_another_type_is_refused_not_guessed(name: str, text: str) -> None:
    with pytest.raises(ParamsError, match=f"'{name}' takes"):
        values.values_from_text([(name, text)], DECLARED, WHERE)


@pytest.mark.parametrize(("name", "value"), [("n", True), ("n", 1.0), ("target", 3), ("keep", 0), ("names", "a")])
def test_value_of_another_type_in_the_kernel_is_refused(name: str, value: object) -> None:
    namespace = {parameter.name: parameter.default for parameter in DECLARED.values()} | {name: value}
    with pytest.raises(ParamsError, match=f"'{name}' must be"):
        values.values_from_namespace(namespace, DECLARED, WHERE)


def test_same_parameter_given_twice_differently_is_refused() -> None:
    with pytest.raises(ParamsError, match="'n' is given twice"):
        values.values_from_text([("n", "1"), ("n", "2")], DECLARED, WHERE)


@pytest.mark.parametrize(
    ("inputs", "strays"),
    [
        (["# Parameters\ntarget = 'x'\nnn = 4"], ["nn"]),
        (["# Parameters\nnn = 4"], ["nn"]),
        (["target = 'sandbox'\nn = 3\nkeeep = True"], ["keeep"]),  # edited in JupyterLab
        (["import os\nn = 3\nother = 1"], []),  # a cell that does more than assign is no parameters cell
        (["scratchpad = 1"], []),
        (["def broken("], []),
    ],
)
def test_misspelt_names_are_found_in_the_executed_cells(inputs: list[str], strays: list[str]) -> None:
    assert values.misspelt_names(inputs, DECLARED) == strays


def test_secret_value_is_refused_without_repeating_it() -> None:
    secret = "postgres://app:hunter2hunter2@db/x"
    with pytest.raises(ParamsError) as refusal:
        values.values_from_text([("target", secret)], DECLARED, WHERE)
    assert "hunter2" not in str(refusal.value) and "'target'" in str(refusal.value)


def test_fingerprint_of_code_changes_with_code_and_tags_and_not_with_prose() -> None:
    code = cells("a = 1")
    prose = {"cells": [*code["cells"], {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "words"}]}
    tagged = json.loads(json.dumps(code))
    tagged["cells"][0]["metadata"]["tags"] = ["parameters"]
    assert notebook.hash_code(code) == notebook.hash_code(prose)
    assert len({notebook.hash_code(one) for one in (code, tagged, cells("a = 2"))}) == 3


def test_runbook_is_found_by_name_number_or_file(home: Path) -> None:
    path = home / "notebooks" / "04_backup_verification.ipynb"
    path.write_text("{}")
    for name in ("backup-verification", "04", "04_backup_verification.ipynb", str(path), "backup_verification"):
        assert notebook.find_notebook(name) == path
    with pytest.raises(ParamsError, match="did you mean 'backup-verification'"):
        notebook.find_notebook("backup-verfication")


def test_home_without_an_own_folder_is_the_only_one_written_to(home: Path) -> None:
    ledger.append_line("r1", "drill", "db", "ann")
    assert sorted(path.name for path in home.iterdir()) == ["notebooks", "reports"]
