"""Room for the copy is looked for before anybody approves, and what is decided then stays decided."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from homes import open_folder
from memory import Memory
from runbook.errors import OperatorError, PlatformError, ScratchFull
from runbook.params.schema import Cluster, WalArchive
from runbook.recovery.course import Course
from runbook.recovery.execution import Execution
from runbook.recovery.room import Room


def make_room(folder: Path, elsewhere: Path | None) -> Room:
    data = folder / "data"
    data.mkdir(exist_ok=True)
    (data / "file").write_bytes(b"x" * 4096)
    cluster = Cluster(data_directory=str(data), backup_folder="b", wal_archive=WalArchive(directory="w"))
    course = Course(Memory(folder / "memory"))
    return Room(
        cluster, course, folder / "data.recovery-run", str(elsewhere) if elsewhere else None, "run", lambda a, u: None
    )


def test_room_that_is_there_moves_nothing(tmp_path: Path) -> None:
    room = make_room(tmp_path, tmp_path)
    assert room.decide("backup", lambda: 1000).rows[0]["production's files"] == "stay where they are"
    assert room.moved_to is None
    room.make(lambda done, total: pytest.fail("nothing is moved"))
    assert not (tmp_path / "data").is_symlink()


def test_lack_of_room_names_the_figures_and_the_way_out(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(ScratchFull, match="free, and the restored copy needs") as caught:
        make_room(tmp_path, None).decide("backup", lambda: free)
    assert "recovery.move_first_to" in str(caught.value.next)
    with pytest.raises(OperatorError, match="makes no room"):
        make_room(tmp_path, tmp_path).decide("backup", lambda: free)


def test_what_was_decided_stays_once_the_copy_stands(tmp_path: Path) -> None:
    room = make_room(tmp_path, None)
    room.decide("backup", lambda: 1000)
    room.course.reach("restored")
    huge = shutil.disk_usage(tmp_path).free
    assert room.decide("backup", lambda: huge).rows[0]["production's files"] == "stay where they are"
    with pytest.raises(ScratchFull):
        room.decide("another backup", lambda: huge)


def test_nothing_moves_while_an_ha_manager_may_start_the_server(tmp_path: Path) -> None:
    def refuse() -> None:
        raise PlatformError("The HA manager was not paused.")

    one = object.__new__(Execution)
    one.course = Course(Memory(tmp_path / "memory"))
    room = SimpleNamespace(moved_to="/elsewhere", make=lambda show: pytest.fail("files were moved"))
    one.recovery = cast(
        "Any", SimpleNamespace(dry_run=False, room=room, lockdown=SimpleNamespace(require_ha_paused=refuse))
    )
    with pytest.raises(PlatformError, match="HA manager"):
        one.make_room()


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size, which nobody else writes to."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_disk_elsewhere_must_hold_productions_files() -> None:
    with open_folder() as folder, disk(folder / "own", "64m") as own, disk(folder / "other", "8k") as other:
        room = make_room(own, other)
        (own / "data" / "large").write_bytes(bytes(32 << 20))
        with pytest.raises(ScratchFull, match="production's files need"):
            room.decide("backup", lambda: 40 << 20)
