"""Positions, segments, timelines and records, as text and as numbers."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.wal import (
    PAGE,
    Timeline,
    WalRecord,
    end_of_record,
    format_lsn,
    history_problem,
    parse_commit,
    parse_history,
    parse_lsn,
    parse_record,
    read_segment_header,
    same_position,
    segment_name,
    segment_start,
)

SIZES = st.sampled_from([1 << power for power in range(20, 31)])
POSITIONS = st.integers(min_value=0, max_value=(1 << 63) - 1)


@given(POSITIONS)
def test_position_survives_its_notation(position: int) -> None:
    assert parse_lsn(format_lsn(position)) == position


@given(POSITIONS, SIZES, st.integers(min_value=1, max_value=(1 << 32) - 1))
def test_segment_holds_the_position_it_is_named_for(position: int, size: int, timeline: int) -> None:
    number, begin = segment_start(segment_name(timeline, position, size), size)
    assert number == timeline
    assert begin <= position < begin + size and begin % size == 0


@given(POSITIONS, SIZES)
def test_names_sort_as_their_positions(position: int, size: int) -> None:
    assert segment_name(1, position, size) <= segment_name(1, position + size, size)


def test_history_holds_the_lineage_oldest_first() -> None:
    text = "1\t0/5000000\tbefore 2026-01-01\n\n# a remark\n2\t0/9000000\tno recovery target specified\n"
    assert parse_history(3, text) == (
        Timeline(1, 0, 0x5000000),
        Timeline(2, 0x5000000, 0x9000000),
        Timeline(3, 0x9000000, None),
    )


def test_history_without_a_line_has_one_timeline() -> None:
    assert parse_history(7, "") == (Timeline(7, 0, None),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no timeline"),
        ("# a remark\n", "names no timeline"),
        ("garbage\n", "names no timeline and position"),
        ("1\t0/5000000\tx\n2\n", "names no timeline and position"),
        ("\u00b2\t0/5000000\tx\n", "names no timeline and position"),
        ("1\t0/zz\tx\n", "names no timeline and position"),
        ("0\t0/5000000\tx\n", "no timeline 0"),
        ("3\t0/5000000\tx\n", "cannot come from timeline 3"),
        ("7\t0/5000000\tx\n", "cannot come from timeline 7"),
        ("2\t0/5000000\tx\n1\t0/9000000\ty\n", "cannot come from timeline 2"),
        ("1\t0/5000000\tx\n1\t0/9000000\ty\n", "cannot come from timeline 1"),
        ("1\t0/9000000\tx\n2\t0/5000000\ty\n", "before it began"),
        ("1\t1/0\tx\n2\t0/FFFFFFFF\ty\n", "before it began"),
    ],
)
def test_history_that_contradicts_itself_is_refused(text: str, says: str) -> None:
    problem = history_problem(3, text)
    assert problem is not None and says in problem


@pytest.mark.parametrize(
    "text",
    [
        "1\t0/5000000\tbefore 2026-01-01\n\n# a remark\n2\t0/9000000\tno recovery target specified\n",
        "1\t0/5000000\tx\n2\t0/5000000\ty\n",
        "1\t0/5000000\n",
        "  2\tA/BCDEF01\tbefore LSN A/BCDEF01 # \n",
    ],
)
def test_history_as_a_server_writes_it_is_taken(text: str) -> None:
    assert history_problem(3, text) is None


@given(st.integers(min_value=40, max_value=16 << 20), st.integers(min_value=24, max_value=100_000))
def test_record_ends_behind_the_page_headers_inside_it(start: int, length: int) -> None:
    position = start // 8 * 8
    if position % PAGE < 40:
        position += 40
    end = end_of_record(position, length, 16 << 20)
    pages = (end - 1) // PAGE - position // PAGE
    assert end - position >= length
    assert (end - position) - (length + 7) // 8 * 8 in range(24 * pages, 24 * pages + 17)


@pytest.mark.parametrize(
    ("end", "start", "same"),
    [
        (0x4000000, 0x4000000, True),
        (0x4000000, 0x4000028, True),
        (0x4002000, 0x4002018, True),
        (0x4002000, 0x4002020, False),
        (0x4002008, 0x4002020, False),
        (0x4002018, 0x4002000, False),
    ],
)
def test_only_a_page_header_may_lie_between_two_records(end: int, start: int, same: bool) -> None:
    assert same_position(end, start) is same


LINE = "rmgr: Transaction len (rec/tot):     34/    34, tx:        741, lsn: 0/03933098, prev 0/03933058, desc: {}"


@pytest.mark.parametrize(
    ("desc", "xid"),
    [
        ("COMMIT 2026-11-23 02:25:42.068041 UTC", 741),
        ("COMMIT 2026-11-23 02:25:42.068041 UTC; inval msgs: catcache 50 catcache 49", 741),
        ("COMMIT_PREPARED 730: 2026-11-23 02:25:42.068041 UTC; gid a", 730),
        ("ABORT 2026-11-23 02:25:42.068041 UTC", None),
        ("ABORT_PREPARED 730: 2026-11-23 02:25:42.068041 UTC", None),
        ("PREPARE gid a: 2026-11-23 02:25:42.068041 UTC", None),
        ("ASSIGNMENT xtop 740: subxacts: 741", None),
    ],
)
def test_commits_are_told_from_other_ends(desc: str, xid: int | None) -> None:
    record = parse_record(LINE.format(desc))
    assert record is not None and record.lsn == 0x3933098
    commit = parse_commit(record)
    assert (commit.xid if commit else None) == xid
    if commit:
        assert commit.at.isoformat() == "2026-11-23T02:25:42.068041+00:00"


def test_commit_of_another_resource_manager_is_none() -> None:
    assert parse_commit(WalRecord("Heap", 34, 741, 1, "COMMIT 2026-11-23 02:25:42.068041 UTC")) is None


@pytest.mark.parametrize("line", ["", "first record is after 0/3000000", "pg_waldump: error: x", "rmgr: Heap"])
def test_other_lines_are_no_records(line: str) -> None:
    assert parse_record(line) is None


def segment(begin: int, *, info: int = 2, size: int = 1 << 20, system: int = 42, block: int = PAGE) -> bytes:
    return struct.pack("=HHIQIIQII", 0xD116, info, 3, begin, 0, 0, system, size, block)


def test_segment_header_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(segment(0x500000) + bytes(100))
    header = read_segment_header(path)
    assert header is not None
    assert (header.timeline, header.begin, header.system_identifier, header.size) == (3, 0x500000, "42", 1 << 20)


@pytest.mark.parametrize(
    "content",
    [b"", b"short", bytes(8192), segment(0, info=0), segment(0, block=4096), segment(0, size=3 << 20)],
    ids=["empty", "short", "zeros", "no long header", "other blocks", "odd size"],
)
def test_what_does_not_begin_as_wal_has_no_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "segment"
    path.write_bytes(content)
    assert read_segment_header(path) is None


SIZE = 1 << 20


def whole(begin: int, *, timeline: int = 1, system: int = 42) -> bytes:
    """A segment that is written to its end."""
    head = struct.pack("=HHIQIIQII", 0xD116, 2, timeline, begin, 0, 0, system, SIZE, PAGE)
    return head.ljust(SIZE, b"\1")


def make_stage(folder: Path, present: list[int], lineage: tuple[Timeline, ...], start: int = 0) -> Stage:
    archive = folder / "archive"
    archive.mkdir()
    (folder / "stage").mkdir()
    for number in present:
        begin = number * SIZE
        holding = [line for line in lineage if line.begin < begin + SIZE]
        path = archive / segment_name(holding[-1].number, begin, SIZE)
        path.write_bytes(whole(begin, timeline=next(line.number for line in reversed(holding) if line.begin <= begin)))
    params = WalArchiveParams(directory=str(archive))
    return Stage(WalArchive(params, None), folder / "stage", lineage, start, SIZE)


ONE = (Timeline(1, 0, None),)
TWO = (Timeline(1, 0, 3 * SIZE + 500), Timeline(2, 3 * SIZE + 500, None))


def test_stage_lays_links_and_never_hard_links(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, [0, 1, 2], ONE)
    assert (stage.extend(5), stage.problem) == (3, None)
    for name in stage.laid:
        assert (stage.folder / name).is_symlink()
        assert (stage.archive.directory / name).stat().st_nlink == 1


def test_stage_tells_a_gap_from_the_end(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, [0, 1, 3], ONE)
    assert stage.extend(5) == 2
    assert stage.problem is not None and stage.problem.facts["segment"] == segment_name(1, 2 * SIZE, SIZE)
    assert stage.extend(5) == 0


def test_stage_takes_the_branching_segment_from_the_newer_timeline(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, [2, 3, 4], TWO, start=2 * SIZE + 40)
    assert stage.extend(3) == 3
    assert [name[7] for name in stage.laid] == ["1", "2", "2"]


def test_stage_stops_at_a_segment_of_another_place(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, [0, 1, 2], ONE)
    assert stage.archive.directory is not None
    one, two = (stage.archive.directory / segment_name(1, number * SIZE, SIZE) for number in (1, 2))
    one.write_bytes(two.read_bytes())
    assert stage.extend(3) == 1
    assert stage.problem is not None and "another place" in stage.problem.message


def test_stage_stops_at_a_segment_of_another_system(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, [0, 1], ONE)
    stage.system_identifier = "43"
    assert stage.extend(2) == 0
    assert stage.problem is not None and "system 42" in stage.problem.message
