"""Recovery points: resolved to the transaction, refused when nothing reaches them, never met by something later."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from homes import at_home
from own_cluster import own_cluster
from proof import ask, prove, verify
from runbook import clock
from runbook.errors import ParamsError, TargetOutsideWindow
from runbook.postgres.wal import format_lsn, parse_lsn
from runbook.verification.backup import BackupVerification
from shop import Shop, add_mark, fill, forget_manifest

pytest_plugins = ("shop_fixtures",)
pytestmark = [pytest.mark.server, pytest.mark.faults]
MARKS = ask("SELECT count(*) FROM mark")


def test_time_after_the_end_of_the_archive_is_refused_with_the_nearest_ones(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point=clock.stamp(shop.mark(4).after_at + timedelta(milliseconds=200)))
    assert isinstance(outcome.error, TargetOutsideWindow)
    assert "ends at" in outcome.said and "latest" in outcome.said and "a time before" in outcome.said


def test_nearest_time_that_a_refusal_names_can_be_had(shop: Shop) -> None:
    refused = prove(shop.cluster, recovery_point=clock.stamp(shop.mark(4).after_at + timedelta(milliseconds=200)))
    named = str(refused.error).partition("a time before ")[2].split(". ")[0]
    just_before = clock.parse(named) - timedelta(microseconds=1)
    outcome = prove(shop.cluster, recovery_point=clock.stamp(just_before), look=MARKS)
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 4)


def test_position_behind_the_end_of_the_archive_is_refused(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point="F/0")
    assert isinstance(outcome.error, TargetOutsideWindow) and "F/0" in outcome.said


def test_position_before_the_backup_is_refused(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point="0/1000028")
    assert isinstance(outcome.error, TargetOutsideWindow) and "first" in outcome.said


@pytest.mark.parametrize("has_manifest", [True, False])
@pytest.mark.parametrize("zone", ["UTC", "CET"])
def test_point_between_start_and_end_of_the_backup_is_refused(shop: Shop, has_manifest: bool, zone: str) -> None:
    """Consistent only behind its end: PostgreSQL says FATAL, or, when idle, promotes at a later state."""
    label = shop.backup / "backup_label"
    text = label.read_text()
    start = next(line.split()[3] for line in text.splitlines() if line.startswith("START WAL LOCATION"))
    label.write_text(text.replace(" UTC", f" {zone}"))
    forget_manifest(shop.backup)
    if not has_manifest:
        (shop.backup / "backup_manifest").unlink()
    outcome = prove(shop.cluster, recovery_point=format_lsn(parse_lsn(start) + 8))
    assert isinstance(outcome.error, TargetOutsideWindow), outcome.alarms


def test_idle_server_whose_backup_says_no_time_refuses_an_early_point(shop: Shop) -> None:
    """Without a manifest and with a label in an ambiguous zone, only a commit proves that a point lies behind it."""
    label = shop.backup / "backup_label"
    label.write_text(label.read_text().replace(" UTC", " CET"))
    (shop.backup / "backup_manifest").unlink()
    outcome = prove(shop.cluster, recovery_point=clock.stamp(shop.began_at - timedelta(hours=3)))
    assert isinstance(outcome.error, TargetOutsideWindow), outcome.alarms
    served = prove(shop.cluster, recovery_point=clock.stamp(shop.mark(2).after_at), look=MARKS)
    assert served.seen == 2 and [item.split(":")[0] for item in served.alarms] == ["manifest"]


@pytest.mark.parametrize("text", ["2026-01-02", "yesterday", "24 hours", "now", "", "0/", "1 hour hence", "latest-ish"])
def test_what_is_no_point_is_refused_before_anything_starts(shop: Shop, text: str) -> None:
    outcome = prove(shop.cluster, recovery_point=text)
    assert isinstance(outcome.error, ParamsError) and outcome.checks == []


def test_hours_ago_before_the_oldest_backup_are_refused(shop: Shop) -> None:
    outcome = prove(shop.cluster, recovery_point="24 hours ago")
    assert isinstance(outcome.error, TargetOutsideWindow) and "24 hours ago" in outcome.said


@pytest.fixture
def busy_second() -> Any:
    """A cluster in which one second held several commits; their times as production recorded them."""
    with own_cluster("--data-checksums", settings={"track_commit_timestamp": "on"}) as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        cluster.sql(
            "SELECT pg_sleep((1.1 - mod(extract(microseconds FROM clock_timestamp()), 1000000) / 1000000)::float8)"
        )
        for number in range(1, 21):
            cluster.sql(f"INSERT INTO mark VALUES ({number})", "SELECT pg_sleep(0.1)", database="shop")
        times = [
            row[0]
            for row in cluster.sql("SELECT pg_xact_commit_timestamp(xmin) FROM mark ORDER BY number", database="shop")
        ]
        cluster.switch()
        yield cluster, times


def test_whole_second_includes_exactly_the_commits_up_to_it(busy_second: tuple[Any, list[datetime]]) -> None:
    cluster, times = busy_second
    second = times[0].replace(microsecond=0) + timedelta(seconds=1)
    expected = sum(1 for at in times if at <= second)
    assert 0 < expected < len(times)
    outcome = prove(cluster, recovery_point=clock.stamp(second), look=MARKS)
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], expected)


@pytest.mark.parametrize(("offset", "count"), [(0, 7), (-1, 6)])
def test_time_of_a_commit_includes_it_and_a_microsecond_less_does_not(
    busy_second: tuple[Any, list[datetime]], offset: int, count: int
) -> None:
    cluster, times = busy_second
    asked = clock.stamp(times[6] + timedelta(microseconds=offset))
    outcome = prove(cluster, recovery_point=asked, look=MARKS)
    assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], count)


def test_latest_stays_where_it_was_resolved_though_the_archive_grows() -> None:
    """A run that was interrupted goes on to the position written down, not to what is latest by then."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        add_mark(cluster, 1)
        cluster.switch()
        params = cluster.params()
        with at_home(cluster.home):
            first = BackupVerification(params, "test-interrupted", lambda *progress: None)
            first.choose()
            written = first.resolve()
            first.clean_up()
            add_mark(cluster, 2)
            cluster.switch()
            second = BackupVerification(params, "test-interrupted", lambda *progress: None)
            try:
                second.choose()
                second.check_wal(written)
                second.restore()
                second.check_manifest()
                second.isolate()
                facts, _ = second.recover(False)
                assert MARKS(second) == 1
                assert parse_lsn(facts["reached"]) == parse_lsn(written["reached"])
            finally:
                second.clean_up()
            assert verify(params, look=MARKS).seen == 2


def test_several_databases_and_points_between_their_commits() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.create_database("other", "CREATE TABLE mark (number int)")
        cluster.backup("first")
        cluster.fence()
        cluster.sql("INSERT INTO mark VALUES (1)", database="other")
        between = cluster.lsn()
        add_mark(cluster, 1)
        cluster.switch()
        look = ask("SELECT count(*) FROM mark", "other")
        outcome = prove(cluster, recovery_point=between, look=lambda proof: (look(proof), MARKS(proof)))
        assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], (1, 0))
