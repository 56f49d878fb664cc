"""Production's files on another disk, a link in their place: whole at every moment, proven, and finished after any crash."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from runbook.errors import OperatorError, PlatformError, ScratchFull
from runbook.platforms.cluster.movefirst import MoveFirst, place_of

FILES = {"PG_VERSION": b"17\n", "base/5/1234": b"rows" * 5000, "global/pg_control": b"control", "empty": b""}


def make_data(folder: Path) -> Path:
    data = folder / "production" / "data"
    for name, content in FILES.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (data / "base").chmod(0o750)
    (folder / "wal").mkdir()
    (data / "pg_wal").symlink_to("../../wal")
    return data


def is_whole(data: Path) -> bool:
    return all((data / name).read_bytes() == content for name, content in FILES.items()) and (data / "pg_wal").is_dir()


@pytest.fixture
def moving(tmp_path: Path) -> MoveFirst:
    (tmp_path / "big").mkdir()
    return MoveFirst(make_data(tmp_path), tmp_path / "big", "run", None)


def assert_moved(moving: MoveFirst) -> None:
    assert moving.is_done and moving.place.readlink() == moving.to and is_whole(moving.to) and is_whole(moving.place)
    assert sorted(path.name for path in moving.folder.iterdir()) == [moving.to.name], "nothing is left of the copying"
    assert sorted(path.name for path in moving.place.parent.iterdir()) == ["data"]


def test_files_come_out_as_they_were_and_the_place_leads_to_them(moving: MoveFirst) -> None:
    seen: list[tuple[int, int]] = []
    moving.carry_out(lambda done, total: seen.append((done, total)))
    assert_moved(moving)
    assert (moving.to / "base").stat().st_mode & 0o777 == 0o750
    assert (moving.to / "pg_wal").readlink().is_absolute(), "a relative link would lead elsewhere from its new place"
    total = sum(len(content) for content in FILES.values())
    assert seen[-1] == (total, total)
    moving.carry_out(lambda done, total: pytest.fail("nothing is copied twice"))


_CALLS = ("open", "os.rename", "os.symlink", "os.remove", "os.rmdir", "os.mkdir", "os.chown")


def dies_at(moving: MoveFirst, call: int) -> bool:
    """The move in a process that kills itself ahead of that call of the file system; False when it ended before."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left = call

    def count(event: str, args: object) -> None:
        nonlocal left
        if event not in _CALLS:
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    moving.carry_out(lambda done, total: None)
    os._exit(0)


def test_move_that_was_cut_short_anywhere_is_finished(tmp_path: Path) -> None:
    for call in itertools.count(1):
        folder = tmp_path / str(call)
        (folder / "big").mkdir(parents=True)
        moving = MoveFirst(make_data(folder), folder / "big", "run", None)
        died = dies_at(moving, call)
        moving.mend()
        assert is_whole(moving.place), f"production's files are gone after call {call}"
        moving.carry_out(lambda done, total: None)
        assert_moved(moving)
        if not died:
            break
    assert call > 30


def test_place_that_a_crash_left_empty_is_linked_before_anything_else(moving: MoveFirst) -> None:
    moving.carry_out(lambda done, total: None)
    moving.place.unlink()
    moving.to.with_name("other").mkdir()
    leaving = moving.place.with_name("data.leaving-run")
    leaving.mkdir()
    moving.mend()
    assert is_whole(moving.place)


def test_copy_that_was_never_linked_to_is_made_anew(moving: MoveFirst) -> None:
    """After a crash ahead of the link the server has run on in its place, and has written."""
    shutil.copytree(moving.place, moving.to, symlinks=True)
    shutil.copytree(moving.place, moving.folder / f"{moving.to.name}.part", symlinks=True)
    (moving.place / "base" / "5" / "1234").write_bytes(b"newer")
    (moving.place / "base" / "5" / "5678").write_bytes(b"new")
    assert not moving.is_begun and len(moving.leftovers()) == 2
    moving.carry_out(lambda done, total: None)
    assert moving.is_done and (moving.place / "base" / "5" / "1234").read_bytes() == b"newer"
    assert (moving.place / "base" / "5" / "5678").read_bytes() == b"new"
    assert moving.leftovers() == [], "what stands behind the link is no leftover"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_disk_that_fills_up_leaves_the_files_where_they_are(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        moving = MoveFirst(make_data(tmp_path), small, "run", None)
        (moving.place / "large").write_bytes(bytes(1 << 20))
        with pytest.raises(ScratchFull, match="filled up"):
            moving.carry_out(lambda done, total: None)
        assert is_whole(moving.place) and not moving.place.is_symlink() and list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_copy_that_reads_back_otherwise_is_never_linked_to(moving: MoveFirst) -> None:
    def damage(done: int, total: int) -> None:
        part = moving.folder / f"{moving.to.name}.part" / "base" / "5" / "1234"
        if part.exists():
            part.write_bytes(b"worn" * 5000)

    with pytest.raises(PlatformError, match="not to be trusted"):
        moving.carry_out(damage)
    assert not moving.place.is_symlink() and is_whole(moving.place)
    moving.carry_out(lambda done, total: None)
    assert_moved(moving)


def test_move_that_makes_no_room_is_refused(moving: MoveFirst, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="makes no room"):
        moving.refuse_impossible()
    missing = MoveFirst(moving.place, tmp_path / "unmounted", "run", None)
    with pytest.raises(OperatorError, match="not mounted"):
        missing.refuse_impossible()
    moving.carry_out(lambda done, total: None)
    again = MoveFirst(moving.place, tmp_path / "big", "another", None)
    assert again.place == moving.place, "the link that a recovery has laid is the place"
    with pytest.raises(OperatorError, match="earlier recovery"):
        again.refuse_impossible()


def test_place_is_behind_the_operators_links_and_not_behind_ours(moving: MoveFirst, tmp_path: Path) -> None:
    own = tmp_path / "etc" / "pgdata"
    own.parent.mkdir()
    own.symlink_to(moving.place.parent)
    assert place_of(own / "data") == moving.place
    (tmp_path / "direct").symlink_to("production/data")
    assert place_of(tmp_path / "direct") == moving.place
    moving.carry_out(lambda done, total: None)
    assert place_of(own / "data") == place_of(tmp_path / "direct") == moving.place
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    with pytest.raises(OperatorError, match="circle"):
        place_of(circle)
