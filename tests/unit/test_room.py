"""Room for the copy is looked for before anybody approves, and what is decided then stays decided."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from memory import Memory
from runbook.errors import OperatorError, ScratchFull
from runbook.params.schema import Cluster, WalArchive
from runbook.recovery.course import Course
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
