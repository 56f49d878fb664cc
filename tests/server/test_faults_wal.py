"""Damage to archived WAL, with and without a point behind it: PostgreSQL would promote silently behind some of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from own_cluster import own_cluster
from proof import Outcome, ask, prove
from runbook import clock
from runbook.errors import NotReadable, StillArriving, WalDamaged
from shop import SEGMENT, Shop, flip, used_bytes

pytest_plugins = ("shop_fixtures",)
pytestmark = [pytest.mark.server, pytest.mark.faults]


def zero_tail(path: Path, keep: int) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(keep)
        file.truncate(size)


def assert_damaged(outcome: Outcome, *words: str) -> None:
    assert isinstance(outcome.error, WalDamaged), outcome.alarms
    for word in words:
        assert word in outcome.said
    assert "copy of" in outcome.said


DAMAGE: dict[str, Callable[[Path], None]] = {
    "bit flipped early": lambda path: flip(path, 3000),
    "bit flipped in the middle": lambda path: flip(path, used_bytes(path) // 2),
    "bit flipped in the last record": lambda path: flip(path, used_bytes(path) - 10),
    "zeroed tail": lambda path: zero_tail(path, used_bytes(path) // 2),
    "zeroed wholly": lambda path: zero_tail(path, 0),
    "bad header": lambda path: flip(path, 1),
    "bad page header": lambda path: flip(path, 8192),
    "truncated": lambda path: truncate(path, used_bytes(path) // 2),
    "truncated to nothing": lambda path: truncate(path, 0),
    "truncated by one page": lambda path: truncate(path, SEGMENT - 8192),
}


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("point", ["latest", "time", "position"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_segment_before_the_point_is_named(shop: Shop, damage: str, point: str) -> None:
    path, behind = shop.segment_of(shop.mark(2)), shop.mark(3)
    DAMAGE[damage](path)
    asked = {"latest": "latest", "time": clock.stamp(behind.before_at), "position": behind.before}[point]
    assert_damaged(prove(shop.cluster, recovery_point=asked), path.name)


#: What a copy that has not ended looks like, too: while nobody can be asked, this proves no damage of the last segment.
UNFINISHED = ("zeroed tail", "zeroed wholly", "truncated", "truncated to nothing", "truncated by one page")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_last_segment_is_named_though_no_later_one_shows_it(shop: Shop, damage: str) -> None:
    path = shop.segment_of(shop.mark(4))
    DAMAGE[damage](path)
    outcome = prove(shop.cluster)
    if damage not in UNFINISHED:
        return assert_damaged(outcome, path.name)
    assert isinstance(outcome.error, StillArriving) and outcome.verdict == "INCOMPLETE", outcome.alarms
    assert path.name in outcome.said and "Nothing proves that this is damage" in outcome.said
    return None


@pytest.mark.parametrize("point", ["time", "position"])
@pytest.mark.parametrize("damage", [*DAMAGE, "deleted"])
def test_damage_in_a_segment_behind_the_point_does_no_harm(shop: Shop, damage: str, point: str) -> None:
    path, before = shop.segment_of(shop.mark(3)), shop.mark(2)
    if damage == "deleted":
        path.unlink()
    else:
        DAMAGE[damage](path)
    # The first commit behind mark 2 lies in its own segment, so nothing of the next one is needed.
    asked = {"time": clock.stamp(before.after_at), "position": before.after}[point]
    outcome = prove(shop.cluster, recovery_point=asked, look=ask("SELECT count(*) FROM mark"))
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 2)


def test_swapped_segments_are_found(shop: Shop) -> None:
    one, two = shop.segment_of(shop.mark(2)), shop.segment_of(shop.mark(3))
    content = one.read_bytes()
    shutil.copyfile(two, one)
    two.write_bytes(content)
    assert_damaged(prove(shop.cluster), one.name)


def test_segment_that_repeats_another_is_found(shop: Shop) -> None:
    one, two = shop.segment_of(shop.mark(2)), shop.segment_of(shop.mark(3))
    shutil.copyfile(one, two)
    assert_damaged(prove(shop.cluster), two.name)


def test_segment_of_another_system_is_found(shop: Shop) -> None:
    target = shop.segment_of(shop.mark(3))
    with own_cluster() as other:
        while not (other.archive / target.name).exists():
            other.sql("CREATE TABLE IF NOT EXISTS t (a int)", "INSERT INTO t SELECT generate_series(1, 100)")
            other.switch()
        shutil.copyfile(other.archive / target.name, target)
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and target.name in outcome.said


def test_first_segment_of_the_backup_missing_is_found(shop: Shop) -> None:
    label = (shop.backup / "backup_label").read_text()
    start = label.partition("(file ")[2].partition(")")[0]
    (shop.cluster.archive / start).unlink()
    assert_damaged(prove(shop.cluster), start, "backup")


def test_newest_segments_missing_are_found_by_the_fence(shop: Shop) -> None:
    """Nothing in the archive shows that it once was longer; the fence has seen it."""
    for path in shop.segments[-(4 + 1) :]:
        path.unlink()
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL"
    assert "archive" in outcome.said and "gone" in outcome.said


def test_newest_segments_missing_are_found_in_production_wal(pristine: Shop) -> None:
    """The fence lies before what is missing; production's own pg_wal says that more was committed."""
    with own_cluster() as cluster:
        cluster.sql("CREATE EXTENSION amcheck", "CREATE TABLE t (a int)")
        cluster.backup("first")
        cluster.fence()
        cluster.sql("INSERT INTO t VALUES (1)")
        last = cluster.switch()
        cluster.sql("SELECT pg_sleep(1.1)")
        (cluster.archive / last).unlink()
        params = cluster.params(budgets={"rpo": "1 s"})
        outcome = prove(cluster, params)
    check = outcome.check("rpo")
    assert (outcome.verdict, check.status) == ("FAIL", "FAIL")
    assert "not archived" in (check.reason or "") and "pg_stat_archiver" in (check.next or "")


def test_missing_archive_folder_says_so(shop: Shop) -> None:
    outcome = prove(shop.cluster, shop.cluster.params(cluster={"wal_archive": {"directory": "nowhere"}}))
    assert isinstance(outcome.error, NotReadable) and "nowhere" in outcome.said and outcome.verdict == "INCOMPLETE"


def test_empty_archive_never_passes(shop: Shop) -> None:
    for path in shop.cluster.archive.iterdir():
        path.unlink()
    assert_damaged(prove(shop.cluster), "is not in")


def test_empty_archive_never_passes_though_the_backup_brings_its_own_wal() -> None:
    with own_cluster() as cluster:
        cluster.sql("CREATE EXTENSION amcheck", "CREATE TABLE t (a int)")
        cluster.backup("first", "-Xstream")
        cluster.fence()
        cluster.stop()
        for path in cluster.archive.iterdir():
            path.unlink()
        outcome = prove(cluster)
    assert outcome.verdict != "PASS"
    assert "archive" in outcome.check("archive").title and outcome.check("archive").status != "PASS"


def test_first_segment_taken_from_the_backup_itself_is_a_fault_of_the_archive() -> None:
    with own_cluster() as cluster:
        cluster.sql("CREATE EXTENSION amcheck", "CREATE TABLE t (a int)")
        cluster.switch()
        backup = cluster.backup("first", "-Xstream")
        cluster.fence()
        cluster.switch()
        name = min(path.name for path in (backup / "pg_wal").iterdir() if len(path.name) == 24)
        (cluster.archive / name).unlink()
        outcome = prove(cluster)
    check = outcome.check("archive")
    assert (outcome.verdict, check.status) == ("FAIL", "FAIL") and name in (check.reason or "")
    assert outcome.check("reached").status == "PASS", "the backup's own copy serves the restore"


def test_compressed_segments_in_a_directory_are_explained(shop: Shop) -> None:
    path = shop.segment_of(shop.mark(2))
    path.rename(path.with_name(path.name + ".gz"))
    outcome = prove(shop.cluster, look=ask("SELECT count(*) FROM mark"))
    assert outcome.verdict != "PASS"
    assert path.name + ".gz" in outcome.said and "fetch_command" in outcome.said
