"""The gravest faults, each in a moment: no damaged backup or WAL passes, and the message says what, where, what next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from proof import Outcome, ask, prove
from runbook import clock
from runbook.errors import ParamsError, TargetOutsideWindow, WalDamaged
from shop import ITEMS, MARKS, PAGE, Shop, flip, used_bytes, write_page

pytest_plugins = ("shop_fixtures",)
pytestmark = pytest.mark.server


def assert_manifest_fails(outcome: Outcome, *words: str) -> None:
    check = outcome.check("manifest")
    assert (outcome.verdict, check.status) == ("FAIL", "FAIL")
    for word in words:
        assert word in outcome.said
    assert "new base backup" in (check.next or "")
    assert "No server is started" in str(outcome.error)


def test_healthy_backup_passes_every_check(shop: Shop) -> None:
    outcome = prove(shop.cluster, look=ask("SELECT count(*) FROM mark"))
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], MARKS)
    assert outcome.check("fence@shop").observed == f"{2 * ITEMS + 1000:,} rows in 4 relations, hashes equal"


def test_missing_heap_file_is_named(shop: Shop) -> None:
    shop.file("quiet").unlink()
    assert_manifest_fails(prove(shop.cluster), shop.files["quiet"], "not on disk", "first")


def test_zeroed_heap_page_is_found_before_the_start(shop: Shop) -> None:
    write_page(shop.file("quiet"), 3, bytes(PAGE))
    assert_manifest_fails(prove(shop.cluster), shop.files["quiet"], "checksum mismatch")


@pytest.mark.parametrize("relation", ["quiet", "item_name"])
def test_bit_flip_in_heap_or_index_is_found_before_the_start(shop: Shop, relation: str) -> None:
    flip(shop.file(relation), 5 * PAGE + 7000)
    assert_manifest_fails(prove(shop.cluster), shop.files[relation], "checksum mismatch")


@pytest.mark.parametrize("name", ["backup_label", "global/pg_control"])
def test_missing_label_or_control_file_is_named(shop: Shop, name: str) -> None:
    (shop.backup / name).unlink()
    assert_manifest_fails(prove(shop.cluster), name, "not on disk")


def test_backup_without_manifest_never_passes(shop: Shop) -> None:
    (shop.backup / "backup_manifest").unlink()
    outcome = prove(shop.cluster)
    check = outcome.check("manifest")
    assert (outcome.verdict, check.status) == ("INCOMPLETE", "UNKNOWN")
    assert "no backup_manifest" in (check.reason or "")
    assert outcome.check("fence@shop").status == "PASS"


@pytest.mark.parametrize("point", ["latest", "after"])
def test_wal_gap_is_refused_with_and_without_a_target(shop: Shop, point: str) -> None:
    gone = shop.segment_of(shop.mark(2))
    gone.unlink()
    asked = "latest" if point == "latest" else clock.stamp(shop.mark(3).after_at)
    outcome = prove(shop.cluster, recovery_point=asked)
    assert isinstance(outcome.error, WalDamaged)
    assert gone.name in outcome.said and "missing" in outcome.said and "standby" in outcome.said


def test_wal_bit_flip_without_a_target_is_refused(shop: Shop) -> None:
    path = shop.segment_of(shop.mark(3))
    flip(path, used_bytes(path) // 2)
    outcome = prove(shop.cluster)
    assert isinstance(outcome.error, WalDamaged)
    assert path.name in outcome.said and "take a new base backup" in outcome.said


def test_wal_bit_flip_behind_the_point_does_no_harm(shop: Shop) -> None:
    path = shop.segment_of(shop.mark(3))
    flip(path, used_bytes(path) - 100)
    outcome = prove(
        shop.cluster, recovery_point=clock.stamp(shop.mark(2).before_at), look=ask("SELECT count(*) FROM mark")
    )
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 1)


def test_point_in_the_future_is_refused_before_anything_starts(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point=clock.stamp(clock.now() + timedelta(hours=1)))
    assert isinstance(outcome.error, ParamsError) and "future" in outcome.said
    assert outcome.checks == []


def test_naive_time_is_refused_with_both_readings(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point="2026-01-02 03:04:05")
    assert isinstance(outcome.error, ParamsError)
    assert "no time zone" in outcome.said and "2026-01-02 03:04:05Z" in outcome.said


def test_point_before_the_oldest_backup_is_refused_on_an_idle_server(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point=clock.stamp(shop.began_at - timedelta(seconds=5)))
    assert isinstance(outcome.error, TargetOutsideWindow)
    assert "first" in outcome.said and "oldest" in outcome.said


Look = Callable[[Shop], str]


@pytest.mark.parametrize(
    ("point", "marks"),
    [
        (lambda shop: clock.stamp(shop.mark(2).after_at), 2),
        (lambda shop: clock.stamp(shop.mark(3).before_at), 2),
        (lambda shop: shop.mark(3).before, 2),
        (lambda shop: shop.mark(3).after, 3),
    ],
    ids=["time behind a commit", "time before a commit", "position before a commit", "position behind a commit"],
)
def test_point_is_met_to_the_transaction(shop: Shop, point: Look, marks: int) -> None:
    outcome = prove(shop.cluster, recovery_point=point(shop), look=ask("SELECT count(*) FROM mark"))
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], marks)
