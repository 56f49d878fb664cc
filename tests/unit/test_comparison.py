"""A restored database against its fence, and when a fence serves: pure, so every case is a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from runbook.postgres.wal import Commit, Timeline
from runbook.verification.comparison import choose_fence, compare_database, database_gone_check, no_fence_check
from runbook.verification.content import Content, SequencePosition
from runbook.verification.fencefile import DatabaseFence, Fence
from runbook.verification.snapshots import Snapshot, find_first_unseen

AT = datetime(2026, 1, 2, 12, tzinfo=UTC)
ITEM = Content("public", "item", 10, "123", 8192)
MARK = Content("public", "mark", 0, "0", 0)
NUMBERS = SequencePosition("public", "numbers", 7, True, 1, False)


def database(**changed: object) -> DatabaseFence:
    return replace(DatabaseFence("shop", "1:1:", 1, 200, "why", (ITEM, MARK), (NUMBERS,)), **changed)


def fence(lsn: int = 200, *, system: str = "42", timeline: int = 1, more: tuple[int, ...] = ()) -> Fence:
    parts = tuple(database(lsn=at, timeline=timeline) for at in (lsn, *more))
    return Fence(Path(f"{lsn}.json"), AT, "target", system, parts)


WAY = (Timeline(1, 0, 500), Timeline(2, 500, None))


def chosen(*fences: Fence, system: str | None = "42", consistent: int = 150, reached: int = 800) -> tuple[str, str]:
    found, reason = choose_fence(
        list(fences), system_identifier=system, lineage=WAY, consistent=consistent, reached=reached
    )
    return (found.path.name if found else "", reason)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([fence()], "200.json"),
        ([fence(160), fence(300), fence(250)], "300.json"),
        ([fence(150)], "150.json"),
        ([fence(700, timeline=2)], "700.json"),
        ([fence(800, timeline=2)], "800.json"),
        ([fence(900, timeline=2), fence(300)], "300.json"),
        ([fence(300, system="43"), fence(200)], "200.json"),
    ],
)
def test_newest_fence_on_the_way_is_chosen(given: list[Fence], expected: str) -> None:
    assert chosen(*given) == (expected, "")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ([], "no fence has been taken"),
        ([fence(149)], "before the backup"),
        ([fence(801, timeline=2)], "behind the point"),
        ([fence(200, more=(801,))], "behind the point"),
        ([fence(200, more=(149,))], "before the backup"),
        ([fence(200, system="43")], "another system"),
        ([fence(600, timeline=1)], "another timeline"),
        ([fence(400, timeline=2)], "another timeline"),
        ([fence(400, timeline=3)], "another timeline"),
    ],
)
def test_fence_that_cannot_serve_says_why(given: list[Fence], word: str) -> None:
    name, reason = chosen(*given)
    assert name == "" and word in reason
    check = no_fence_check(reason)
    assert (check.status, word in (check.reason or "")) == ("UNKNOWN", True)


def test_backup_that_names_no_system_takes_any_fence() -> None:
    assert chosen(fence(system="43"), system=None)[0] == "200.json"


def test_equal_rows_hashes_and_sequences_pass() -> None:
    check = compare_database(database(), [MARK, ITEM], [NUMBERS], 0.1)
    assert (check.status, check.reason, check.findings) == ("PASS", None, ())
    assert "10 rows" in check.observed


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ([MARK], "missing"),
        ([MARK, replace(ITEM, rows=9)], "rows are missing"),
        ([MARK, replace(ITEM, rows=11)], "too many"),
        ([MARK, replace(ITEM, hash="124")], "contents differ"),
        (
            [
                MARK,
                replace(
                    ITEM,
                    rows=None,
                    hash=None,
                    problem="invalid page in block 3 of relation base/5/16412 (SQLSTATE XX001)",
                ),
            ],
            "invalid page",
        ),
        ([MARK, ITEM, Content("public", "new", 0, "0", 0)], "was not there"),
        ([MARK, replace(ITEM, schema="other")], "missing"),
    ],
)
def test_any_difference_fails_and_names_the_table(seen: list[Content], word: str) -> None:
    check = compare_database(database(), seen, [NUMBERS], 0.1)
    assert check.status == "FAIL" and word in (check.reason or "") and check.next
    assert check.findings and check.findings[0].object.startswith("shop.")


@pytest.mark.parametrize(
    ("now", "status"),
    [
        (NUMBERS, "PASS"),
        (replace(NUMBERS, value=39), "PASS"),
        (replace(NUMBERS, value=6), "FAIL"),
        (replace(NUMBERS, is_called=False), "FAIL"),
        (
            replace(
                NUMBERS,
                value=None,
                problem='could not open file "base/5/16412": No such file or directory (SQLSTATE 58P01)',
            ),
            "FAIL",
        ),
        (replace(NUMBERS, value=None, problem="canceling statement due to lock timeout (SQLSTATE 55P03)"), "UNKNOWN"),
        (None, "FAIL"),
    ],
)
def test_sequences_may_run_ahead_and_never_behind(now: SequencePosition | None, status: str) -> None:
    check = compare_database(database(), [ITEM, MARK], [now] if now else [], 0.1)
    assert check.status == status


@pytest.mark.parametrize(
    ("then", "now", "behind"),
    [
        (replace(NUMBERS, increment=-1, value=-7), replace(NUMBERS, increment=-1, value=-6), True),
        (replace(NUMBERS, increment=-1, value=-7), replace(NUMBERS, increment=-1, value=-8), False),
        (replace(NUMBERS, cycles=True), replace(NUMBERS, cycles=True, value=1), False),
    ],
)
def test_direction_and_cycle_of_a_sequence_count(then: SequencePosition, now: SequencePosition, behind: bool) -> None:
    assert now.is_behind(then) is behind


def test_what_the_fence_could_not_read_is_unknown() -> None:
    blind = database(relations=(MARK, replace(ITEM, rows=None, hash=None, problem="permission denied")))
    check = compare_database(blind, [ITEM, MARK], [NUMBERS], 0.1)
    assert check.status == "UNKNOWN" and "permission denied" in (check.reason or "")


def test_a_difference_outweighs_what_is_unknown() -> None:
    blind = database(relations=(MARK, replace(ITEM, rows=None, hash=None, problem="permission denied")))
    assert compare_database(blind, [ITEM, replace(MARK, rows=1)], [NUMBERS], 0.1).status == "FAIL"


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        ('could not access file "$libdir/hstore": No such file or directory (SQLSTATE 58P01)', "extensions"),
        ("invalid memory alloc request size 1200000003 (SQLSTATE XX000)", "limit"),
        ('could not extend file "base/5/16412": wrote only 4096 of 8192 bytes at block 7 (SQLSTATE 53100)', "space"),
        ("what nobody has seen (SQLSTATE XX000)", "production"),
    ],
)
def test_what_could_not_be_read_here_is_no_lost_row(problem: str, step: str) -> None:
    check = compare_database(database(), [MARK, replace(ITEM, rows=None, hash=None, problem=problem)], [NUMBERS], 0.1)
    assert check.status == "UNKNOWN" and problem in (check.reason or "") and step in (check.next or "")


def test_database_that_is_gone_fails() -> None:
    check = database_gone_check(database())
    assert (check.id, check.status) == ("fence@shop", "FAIL") and "10 rows" in (check.reason or "")


@pytest.mark.parametrize(
    ("text", "xid", "sees"),
    [
        ("740:743:741", 739, True),
        ("740:743:741", 740, True),
        ("740:743:741", 741, False),
        ("740:743:741", 742, True),
        ("740:743:741", 743, False),
        ("740:740:", 739, True),
        # Transaction ids in WAL have 32 bits, snapshots 64: the epoch nearest to the snapshot is meant.
        (f"{(5 << 32) + 10}:{(5 << 32) + 20}:{(5 << 32) + 15}", 15, False),
        (f"{(5 << 32) + 10}:{(5 << 32) + 20}:", 19, True),
        (f"{(5 << 32) + 10}:{(5 << 32) + 20}:", 0xFFFFFFF0, True),
        (f"{(5 << 32) - 20}:{(5 << 32) - 10}:", 5, False),
    ],
)
def test_snapshot_sees_what_had_ended(text: str, xid: int, sees: bool) -> None:
    assert Snapshot.parse(text).sees(xid) is sees


def found(snapshot: str, *xids: int) -> tuple[int | None, bool]:
    commits = [Commit(xid, 1000 + number, AT) for number, xid in enumerate(xids)]
    first, committed, is_void = find_first_unseen(commits, [Snapshot.parse(snapshot)])
    assert committed == set(xids) or is_void
    return (first[0].lsn if first[0] else None), is_void


@pytest.mark.parametrize(
    ("snapshot", "xids", "expected"),
    [
        ("740:743:741", (739, 742, 741, 743, 744), (1002, False)),
        ("740:743:741", (743, 744), (1000, False)),
        ("740:743:741", (739, 740, 742), (None, False)),
        ("740:743:741", (), (None, False)),
        # A commit that the snapshot sees stands behind one that it does not: no position shows what it saw.
        ("740:743:741", (741, 742), (1000, True)),
        ("740:743:", (743, 744, 745, 742), (1000, True)),
    ],
)
def test_fence_stands_before_the_first_unseen_commit_or_is_void(
    snapshot: str, xids: tuple[int, ...], expected: tuple[int | None, bool]
) -> None:
    assert found(snapshot, *xids) == expected


def test_one_void_snapshot_voids_them_all() -> None:
    commits = [Commit(741, 1, AT), Commit(742, 2, AT)]
    snapshots = [Snapshot.parse("750:750:"), Snapshot.parse("740:743:741")]
    assert find_first_unseen(commits, snapshots)[2]
