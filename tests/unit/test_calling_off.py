"""What is taken back of a recovery that is called off, and what is left alone: the rest of it needs a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from homes import open_folder
from memory import Memory
from runbook.params.schema import Params
from runbook.recovery.callingoff import call_off
from runbook.recovery.done import Done
from runbook.recovery.lockdown import MAINTENANCE
from runbook.recovery.room import MOVED_FIRST

RUN = "r1"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with open_folder() as folder:
        monkeypatch.setenv("RUNBOOK_HOME", str(folder))
        (folder / "data").mkdir()
        (folder / "data" / "PG_VERSION").write_text("17\n")
        yield folder


@pytest.fixture
def params(home: Path) -> Params:
    return params_of(home)


def params_of(home: Path, **recovery: object) -> Params:
    return Params.model_validate(
        {
            "target": "sandbox",
            "environment": "sandbox",
            "platform": "cluster",
            "cluster": {
                "data_directory": str(home / "data"),
                "backup_folder": str(home / "backups"),
                "wal_archive": {"directory": str(home / "wal")},
                "service": {"start": ("touch", str(home / "started")), "stop": ("true",), "status": ("true",)},
            },
            "budgets": {"rto": "30 min", "rpo": "5 min", "source": "the tests"},
            "recovery": recovery,
        }
    )


def called_off(params: Params, memory: Memory) -> Done:
    return call_off(
        params,
        RUN,
        memory.undos,
        remember=memory.remember,
        recall=memory.recall,
        undo_first=memory.undo_first,
        undone=memory.undone,
    )


def test_folder_of_a_copy_that_was_swapped_in_stays_and_nobody_is_told_to_remove_it(home: Path, params: Params) -> None:
    folder = home / f"data.recovery-{RUN}"
    (folder / "tablespaces" / "16400").mkdir(parents=True)
    (folder / "recovery.json").write_text(json.dumps({"run": RUN, "swapped": True}))
    done = called_off(params, Memory(home / "memory"))
    assert done.checks == []
    assert (folder / "tablespaces" / "16400").is_dir()


def moved(home: Path, memory: Memory, *, stopped: bool) -> Params:
    """A move that was killed between its two renames: the files were copied, and nothing stands in their place."""
    (home / "big").mkdir()
    data = (home / "data").resolve()
    shutil.copytree(data, home / "big" / f"data.moved-{RUN}")
    data.rename(data.with_name(f"data.leaving-{RUN}"))
    memory.undo_first(MOVED_FIRST, "cp -a")
    memory.remember("recovery/stopped to be moved", stopped)
    return params_of(home, move_first_to=str(home / "big"))


def test_move_that_was_cut_short_is_ended_and_said(home: Path, params: Params) -> None:
    memory = Memory(home / "memory")
    done = called_off(moved(home, memory, stopped=False), memory)
    assert done.checks == [] and memory.undos == {}
    assert (home / "data").readlink() == home / "big" / f"data.moved-{RUN}"
    assert not (home / f"data.leaving-{RUN}").exists()
    assert len(done.limits) == 1 and "were moved to another disk" in done.limits[0] and "cp -a" in done.limits[0]


def test_server_that_was_stopped_to_be_moved_is_started_or_the_move_stays_noted(home: Path, params: Params) -> None:
    memory = Memory(home / "memory")
    params = moved(home, memory, stopped=True)
    assert params.cluster is not None
    broken = params.cluster.service.model_copy(update={"start": ("false",)})
    params = params.model_copy(update={"cluster": params.cluster.model_copy(update={"service": broken})})
    done = called_off(params, memory)
    assert [check.id for check in done.checks] == ["called-off-room"] and MOVED_FIRST in memory.undos
    assert "command to start" in str(done.checks[0].reason)


def test_copying_that_never_got_its_link_is_gone(home: Path, params: Params) -> None:
    memory = Memory(home / "memory")
    (home / "big" / f"data.moved-{RUN}.part").mkdir(parents=True)
    memory.undo_first(MOVED_FIRST, "cp -a")
    done = called_off(params_of(home, move_first_to=str(home / "big")), memory)
    assert (done.checks, done.limits, memory.undos) == ([], [], {})
    assert list((home / "big").iterdir()) == [] and (home / "data" / "PG_VERSION").is_file()


@pytest.mark.parametrize("is_done", [False, True])
def test_copy_that_may_be_the_only_place_of_rows_is_kept_and_said(home: Path, params: Params, is_done: bool) -> None:
    memory = Memory(home / "memory")
    folder = home / f"data.recovery-{RUN}"
    folder.mkdir()
    memory.remember("recovery/copy-back transactions", {"shop": 815, "shop 2": 816})
    if is_done:
        account = {"problems": [], "needs a decision": ["shop: public.nokey: 3 rows in conflict"]}
        memory.remember("recovery/copied back", {"facts": {"account": account}})
    [said] = called_off(params, memory).limits
    assert folder.is_dir() and str(folder) in said
    assert ("3 rows in conflict" if is_done else "shop 2: SELECT pg_xact_status('816')") in said


def test_copy_is_removed_when_every_row_is_back(home: Path, params: Params) -> None:
    memory = Memory(home / "memory")
    folder = home / f"data.recovery-{RUN}"
    folder.mkdir()
    memory.remember("recovery/copy-back transactions", {"shop": 815})
    account = {"problems": [], "needs a decision": []}
    memory.remember("recovery/copied back", {"facts": {"account": account}})
    done = called_off(params, memory)
    assert (done.checks, done.limits, folder.exists()) == ([], [], False)


def test_production_that_was_down_before_is_for_its_service_manager_and_no_other_command(
    home: Path, params: Params
) -> None:
    memory = Memory(home / "memory")
    memory.undo_first(MAINTENANCE, "by hand")
    [answers] = [check for check in called_off(params, memory).checks if check.id == "called-off-answers"]
    assert answers.next == "Start it with its service manager."
