"""A segment whose copy is under way is told from one that is damaged, by its content, two looks and the archiver's word."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runbook.errors import StillArriving, TargetOutsideWindow, WalDamaged
from runbook.outside.commands import OsUser
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.platforms.cluster import arrival
from runbook.platforms.cluster.arrival import Ending, Word, wait_for_whole
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.segmentfile import crc32c, look_at
from runbook.postgres.wal import PAGE, Timeline, segment_name

SIZE = 1 << 20
ONE = (Timeline(1, 0, None),)
NAME = segment_name(1, SIZE, SIZE)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in earnest takes a fraction of one here."""
    monkeypatch.setattr(arrival, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(arrival, "_PAUSE", 0.05)


def head(number: int, *, system: int = 42) -> bytes:
    return struct.pack("=HHIQIIQII", 0xD116, 2, 1, number * SIZE, 0, 0, system, SIZE, PAGE)


def full(number: int) -> bytes:
    return head(number).ljust(SIZE, b"\1")


def switched(number: int, before: int) -> bytes:
    """A segment that a switch has closed after so many bytes of records; pages have their headers up to there."""
    record = struct.pack("=IIQBBH", 24, 0, 7, 0x40, 0, 0)
    record += struct.pack("=I", crc32c(record))
    content, left = head(number), b"\1" * before + record
    while left:
        room = PAGE - len(content) % PAGE
        content, left = content + left[:room], left[room:]
        if left:
            content += struct.pack("=HHIQII", 0xD116, 1, 1, number * SIZE + len(content), 24, 0)
    return content.ljust(SIZE, b"\0")


#: Up to and across the ends of pages: the record lies on one page, or its header on two.
BEFORE = [0, 8, 4000, PAGE - 40 - 24, PAGE - 40 - 16, PAGE - 40 - 8, PAGE - 40, 2 * PAGE - 64 - 16, 100_000]


@pytest.mark.parametrize("before", BEFORE)
def test_segment_that_a_switch_has_closed_is_whole(tmp_path: Path, before: int) -> None:
    path = tmp_path / NAME
    content = switched(1, before)
    path.write_bytes(content)
    assert look_at(path).is_whole(SIZE)
    used = len(content.rstrip(b"\0"))
    for cut in (used - 1, used - 5, used - 23, used - 30, used // 2):
        path.write_bytes(content[:cut].ljust(SIZE, b"\0"))
        found = look_at(path)
        assert not found.is_whole(SIZE) and not found.is_contradictory, cut
    flipped = bytearray(content)
    flipped[used - 1] ^= 4
    path.write_bytes(flipped)
    assert look_at(path).is_contradictory


@pytest.mark.parametrize(
    "content", [b"", b"x", full(1)[:-1], full(1)[: SIZE // 2], bytes(SIZE), head(1).ljust(SIZE, b"\0")]
)
def test_short_and_empty_files_are_not_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    assert not look_at(path).is_whole(SIZE)


def test_full_segment_is_whole(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(full(1))
    assert look_at(path).is_whole(SIZE)


FINISHED, WRITING, NOBODY = Word(True, "it says so"), Word(False, "not yet"), Word(None, "nobody")


def wait(path: Path, word: Callable[[], Word], seconds: float = 0.6) -> tuple[Ending, str]:
    look = lambda: look_at(path) if path.exists() else None  # noqa: E731
    return wait_for_whole(look, word, segment_size=SIZE, seconds=seconds, settle=0.3)


@pytest.mark.parametrize(
    ("word", "ending"),
    [(FINISHED, Ending.DAMAGED), (WRITING, Ending.UNDECIDED), (NOBODY, Ending.UNDECIDED)],
)
@pytest.mark.parametrize("content", [None, full(1)[:5000], head(1).ljust(SIZE, b"\0")])
def test_only_what_the_archiver_has_finished_is_damage(
    tmp_path: Path, content: bytes | None, word: Word, ending: Ending
) -> None:
    path = tmp_path / NAME
    if content is not None:
        path.write_bytes(content)
    assert wait(path, lambda: word)[0] is ending


@pytest.mark.parametrize("word", [FINISHED, WRITING, NOBODY])
def test_file_that_grows_is_waited_for_whoever_says_what(tmp_path: Path, word: Word) -> None:
    path = tmp_path / NAME
    path.write_bytes(full(1)[:1000])

    def grow() -> None:
        for number in range(1, 9):
            time.sleep(0.1)
            path.write_bytes(full(1)[: SIZE * number // 8])

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert wait(path, lambda: word, seconds=20)[0] is Ending.WHOLE
    finally:
        writer.join()


def test_waiting_has_an_end_though_the_file_changes_for_ever(tmp_path: Path) -> None:
    path = tmp_path / NAME
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.05):
            path.write_bytes(full(1)[: 5000 + time.monotonic_ns() % 1000])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        began = time.monotonic()
        assert wait(path, lambda: FINISHED, seconds=1)[0] is Ending.UNDECIDED
        assert time.monotonic() - began < 6
    finally:
        stop.set()
        writer.join()


def test_archiver_that_finishes_between_two_looks_is_no_damage(tmp_path: Path) -> None:
    """The copy ends, and the archiver says so, just after the file was looked at."""
    path = tmp_path / NAME
    path.write_bytes(full(1)[:5000])
    began = time.monotonic()

    def word() -> Word:
        if time.monotonic() - began < 0.5:
            return WRITING
        path.write_bytes(full(1))
        return FINISHED

    assert wait(path, word, seconds=10)[0] is Ending.WHOLE


class Told:
    """An archiver that says the same of every segment."""

    def __init__(self, word: Word) -> None:
        self._word = word

    def word(self, name: str, system: str | None) -> Word:
        return self._word


def make_stage(folder: Path, contents: dict[int, bytes], word: Word | None = None) -> Stage:
    archive = folder / "archive"
    archive.mkdir()
    (folder / "stage").mkdir()
    for number, content in contents.items():
        (archive / segment_name(1, number * SIZE, SIZE)).write_bytes(content)
    user: OsUser | None = None
    stage = Stage(WalArchive(WalArchiveParams(directory=str(archive)), user), folder / "stage", ONE, 0, SIZE)
    stage.archiver = Told(word) if word is not None else None  # type: ignore[assignment]
    stage.patience = 0.4
    return stage


@pytest.mark.parametrize(
    ("later", "word", "error"),
    [
        (False, None, StillArriving),
        (True, None, WalDamaged),
        (True, WRITING, StillArriving),
        (False, FINISHED, WalDamaged),
    ],
)
@pytest.mark.parametrize("content", [full(1)[:5000], head(1).ljust(SIZE, b"\0")])
def test_stage_calls_half_a_segment_damaged_only_where_that_is_proven(
    tmp_path: Path, content: bytes, later: bool, word: Word | None, error: type[Exception]
) -> None:
    stage = make_stage(tmp_path, {0: full(0), 1: content, **({2: full(2)} if later else {})}, word)
    if word is FINISHED:
        stage.patience = 10
    assert stage.extend(5) == 1 and stage.problem is not None
    assert not (stage.folder / NAME).exists(), "pg_waldump would take the size of segments from it"
    with pytest.raises(error, match=NAME):
        stage.settle()


def test_stage_goes_on_once_the_segment_is_whole(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, {0: full(0), 1: full(1)[:5000], 2: full(2)}, WRITING)
    stage.patience = 10
    assert stage.extend(5) == 1
    path = tmp_path / "archive" / NAME
    timer = threading.Timer(0.4, lambda: path.write_bytes(full(1)))
    timer.start()
    stage.settle()
    timer.join()
    assert (stage.problem, stage.extend(5), stage.problem) == (None, 2, None)


@pytest.mark.parametrize("word", [None, WRITING, FINISHED])
def test_absent_first_segment_is_waited_for_only_where_it_may_come(tmp_path: Path, word: Word | None) -> None:
    stage = make_stage(tmp_path, {}, word)
    if word is FINISHED:
        stage.patience = 10
    assert stage.extend(5) == 0
    with pytest.raises(StillArriving if word is WRITING else WalDamaged, match="the first that the backup needs"):
        stage.settle()


@pytest.mark.parametrize("position", [3 * SIZE + 1, 0xFFFFFFFF00000000, (1 << 64) - 1])
def test_position_after_the_archives_end_is_refused_at_once(tmp_path: Path, position: int) -> None:
    stage = make_stage(tmp_path, {0: full(0), 1: full(1), 2: full(2)})
    began = time.monotonic()
    with pytest.raises(TargetOutsideWindow, match="lies after the end"):
        stage.require_reach(position)
    assert time.monotonic() - began < 1
    for reached in (0, 1, SIZE, 3 * SIZE):
        stage.require_reach(reached)


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_entry_of_the_archive_that_is_no_file_is_no_damage(tmp_path: Path, kind: str) -> None:
    stage = make_stage(tmp_path, {0: full(0), 2: full(2)})
    path = tmp_path / "archive" / NAME
    path.mkdir() if kind == "folder" else path.symlink_to("/nowhere/at/all")
    assert stage.extend(5) == 1
    with pytest.raises(Exception, match="is no file that can be read"):
        stage.settle()
