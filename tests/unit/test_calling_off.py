"""What is taken back of a recovery that is called off, and what is left alone: the rest of it needs a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from memory import Memory
from runbook.params.schema import Params
from runbook.recovery.callingoff import call_off
from runbook.recovery.done import Done

RUN = "r1"


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    return params_of(tmp_path)


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


def test_folder_of_a_copy_that_was_swapped_in_stays_and_nobody_is_told_to_remove_it(
    tmp_path: Path, params: Params
) -> None:
    folder = tmp_path / f"data.recovery-{RUN}"
    (folder / "tablespaces" / "16400").mkdir(parents=True)
    (folder / "recovery.json").write_text(json.dumps({"run": RUN, "swapped": True}))
    done = called_off(params, Memory(tmp_path / "memory"))
    assert done.checks == []
    assert (folder / "tablespaces" / "16400").is_dir()
