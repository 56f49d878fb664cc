"""What is kept is judged by the oldest that is found, what is missing is named, and what nobody can tell is no pass."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from runbook.compliance.logs import find_logs, read_log
from runbook.model import Status
from runbook.platforms.cluster.backups import Backup
from runbook.postgres.wal import Timeline, segment_name
from runbook.retention.kept import (
    Duty,
    Gap,
    LogFile,
    check_backups,
    check_logs,
    check_wal_age,
    check_wal_gaps,
    silences,
)
from runbook.retention.segments import missing_runs, neighbours

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SIZE = 16 << 20
OLD = NOW - timedelta(days=400)


def duty(keep_days: float, began: datetime | None = OLD) -> Duty:
    return Duty("x", keep_days * 86400, "section 7", began, NOW)


def backup(age_days: float | None, *, incremental: bool = False) -> Backup:
    at = NOW - timedelta(days=age_days) if age_days is not None else None
    return Backup(Path("/b"), "b", "plain", 17, "1", 1, 0, 0, at, True, incremental)


def seg(number: int, timeline: int = 1) -> str:
    return segment_name(timeline, number * SIZE, SIZE)


def test_seven_days_of_backups_fail_thirty_with_the_action() -> None:
    check = check_backups(duty(30), [backup(7), backup(1)], [])
    assert check.status is Status.FAIL
    assert check.reason is not None and check.next is not None
    assert "7 d old" in check.reason and "30 d" in check.reason and "section 7" in check.reason
    assert "Raise the retention of base backups to 30 d" in check.next


@pytest.mark.parametrize(
    ("ages", "began_days", "status"),
    [
        ([30.1, 1], 400, Status.PASS),
        ([29.9], 400, Status.FAIL),
        ([4.5], 5, Status.PASS),
        ([3.5], 5, Status.FAIL),
        ([0.1], 0.5, Status.PASS),
        ([], 400, Status.FAIL),
        ([None], 400, Status.UNKNOWN),
    ],
    ids=[
        "kept",
        "a little short",
        "young, from its first day",
        "young, first day missing",
        "born today",
        "none",
        "undated",
    ],
)
def test_oldest_backup_decides_and_a_young_system_is_asked_for_its_own_life(
    ages: list[float | None], began_days: float, status: Status
) -> None:
    check = check_backups(duty(30, NOW - timedelta(days=began_days)), [backup(age) for age in ages], [])
    assert check.status is status


def test_incremental_backup_alone_keeps_nothing() -> None:
    assert check_backups(duty(30), [backup(31, incremental=True), backup(2)], []).status is Status.FAIL


def test_system_of_unknown_age_is_asked_for_all() -> None:
    assert check_backups(duty(30, None), [backup(29)], []).status is Status.FAIL


def test_wal_is_as_old_as_its_oldest_commit_and_unknown_without_any() -> None:
    said = {"from_the_first": False, "how": "the first commit"}
    assert check_wal_age(duty(90), seg(9), NOW - timedelta(days=91), **said).status is Status.PASS  # type: ignore[arg-type]
    short = check_wal_age(duty(90), seg(9), NOW - timedelta(days=7), **said)  # type: ignore[arg-type]
    assert short.status is Status.FAIL and seg(9) in str(short.reason)
    assert check_wal_age(duty(90), seg(9), None, **said).status is Status.UNKNOWN  # type: ignore[arg-type]
    assert check_wal_age(duty(90), None, None, **said).status is Status.FAIL  # type: ignore[arg-type]
    assert check_wal_age(duty(90), seg(1), None, from_the_first=True, how="").status is Status.PASS


def test_gap_is_named_to_the_segment_and_the_day() -> None:
    gap = Gap(seg(4), seg(5), 2, datetime(2026, 11, 3, 4, tzinfo=UTC), datetime(2026, 11, 4, 5, tzinfo=UTC))
    check = check_wal_gaps([gap], 20, "/archive")
    assert check.status is Status.FAIL
    assert f"{seg(4)} to {seg(5)} from 2026-11-03 to 2026-11-04" in str(check.reason)
    assert check.findings[0].object == f"{seg(4)} to {seg(5)}"
    assert check_wal_gaps([], 20, "/archive").status is Status.PASS


ONE = {1: (Timeline(1, 0, None),)}
FORK = {**ONE, 2: (Timeline(1, 0, 5 * SIZE + 100), Timeline(2, 5 * SIZE + 100, None))}


@pytest.mark.parametrize(
    ("names", "lineages", "expected"),
    [
        ([seg(n) for n in (3, 4, 5)], ONE, []),
        ([seg(n) for n in (3, 5, 8)], ONE, [(seg(4), seg(4), 1), (seg(6), seg(7), 2)]),
        ([seg(3), seg(4), seg(5, 2), seg(6, 2)], FORK, []),
        ([seg(3), seg(5, 2), seg(6, 2)], FORK, [(seg(4), seg(4), 1)]),
        ([seg(3), seg(4), seg(6, 2)], FORK, [(seg(5, 2), seg(5, 2), 1)]),
        ([seg(3), seg(4), seg(5), seg(6), seg(5, 2)], FORK, []),
        ([seg(3), seg(4), seg(6), seg(5, 2)], FORK, [(seg(5), seg(5), 1)]),
        ([seg(255), seg(257)], ONE, [(seg(256), seg(256), 1)]),
    ],
    ids=[
        "whole",
        "two gaps",
        "fork",
        "before the fork",
        "at the fork",
        "both lives",
        "the other life",
        "a new log file",
    ],
)
def test_missing_segments_are_found_along_each_timeline(
    names: list[str], lineages: dict[int, tuple[Timeline, ...]], expected: list[tuple[str, str, int]]
) -> None:
    assert missing_runs(names, lineages, SIZE) == expected
    for first, last, _ in expected:
        before, after = neighbours(names, first, last)
        assert before in names and after in names


def test_log_reaches_as_far_as_its_first_line_and_a_silence_is_named() -> None:
    def log(first: float, last: float) -> LogFile:
        return LogFile("x", NOW - timedelta(days=first), NOW - timedelta(days=last))

    whole = [log(370, 100), log(100, 0)]
    assert check_logs(duty(365), whole, [], "l").status is Status.PASS
    assert check_logs(duty(365), [log(360, 0)], [], "l").status is Status.FAIL
    quiet = check_logs(duty(365), [log(370, 100), log(97, 0)], [], "l")
    assert quiet.status is Status.FAIL
    assert quiet.findings[0].object == f"{NOW - timedelta(days=100):%Y-%m-%d} to {NOW - timedelta(days=97):%Y-%m-%d}"
    assert check_logs(duty(365), [log(370, 3)], [], "l").status is Status.FAIL, "it has stopped"
    assert check_logs(duty(365), None, [], "").status is Status.UNKNOWN
    assert check_logs(duty(365), [], ["a.log"], "l").status is Status.UNKNOWN
    assert silences([log(9, 1), log(8, 7)], NOW) == []
    before = [log(400, 390), log(380, 0)]
    assert check_logs(duty(365), before, [], "l").status is Status.PASS, "a silence before what must be kept"


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ("2026-11-01 01:02:03.456 UTC [1] LOG:  x\n", datetime(2026, 11, 1, 1, 2, 3, 456000, UTC)),
        ("2026-11-01 01:02:03 Europe/Berlin [1] LOG:  x\n", datetime(2026, 11, 1, 0, 2, 3, 0, UTC)),
        ("<2026-11-01 01:02:03 CEST> LOG:  x\n", datetime(2026, 11, 1, 1, 2, 3, 0, UTC)),
        ("\tcontinued\n2026-11-01 01:02:03.456 +02 x\n", datetime(2026, 10, 31, 23, 2, 3, 456000, UTC)),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_log_file_is_read_at_both_ends_also_packed(lines: str, first: datetime, packed: bool, tmp_path: Path) -> None:
    text = (lines + "padding without a time\n" * 60000 + "2026-11-20 00:00:00 UTC [1] LOG:  end\n").encode()
    path = tmp_path / ("a.log.gz" if packed else "a.log")
    path.write_bytes(gzip.compress(text) if packed else text)
    assert read_log(path) == LogFile(path.name, first, datetime(2026, 11, 20, tzinfo=UTC))


def test_log_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for name, content in (
        ("a.log", b"no time at all\n"),
        ("b.log.gz", b"\x1f\x8bcut"),
        ("c.log", b"2026-99-99 00:00:00 x\n"),
    ):
        (tmp_path / name).write_bytes(content)
        assert read_log(tmp_path / name) is None


def test_logs_are_found_by_name_and_pattern_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.log", "a.log.1.gz", "b.txt", "deep/c.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [one.name for one in find_logs((f"{tmp_path}/*.log*",))] == ["a.log", "a.log.1.gz"]
    assert [one.name for one in find_logs((f"{tmp_path}/**/*.log",))] == ["a.log", "c.log"]
    assert [one.name for one in find_logs((f"{tmp_path}/b.txt", f"{tmp_path}/none"))] == ["b.txt"]


def test_backup_and_wal_of_the_future_prove_no_keeping() -> None:
    alone = check_backups(duty(30), [backup(-200)], [])
    assert alone.status is Status.UNKNOWN and "a clock was wrong" in alone.findings[0].observed
    beside = check_backups(duty(30), [backup(-200), backup(40)], [])
    assert beside.status is Status.PASS and len(beside.findings) == 1
    wal = check_wal_age(duty(30), seg(2), NOW + timedelta(days=200), from_the_first=False, how="the file")
    assert wal.status is Status.UNKNOWN and "a clock is or was wrong" in (wal.reason or "")
