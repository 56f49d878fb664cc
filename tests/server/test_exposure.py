"""What would be lost if production died now: WAL that nobody holds any more is lost, and never an exposure of 0 s."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, segments
from runbook.params.schema import Budgets
from runbook.platforms.cluster.arrival import Archiver
from runbook.platforms.cluster.selection import Selection
from runbook.postgres.osuser import give
from runbook.postgres.wal import format_lsn
from runbook.verification import budgets
from runbook.verification import exposure as exposures
from runbook.verification.exposure import Exposure, Measurement

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as made:
        made.sql("CREATE TABLE t (a int)")
        made.switch()
        made.backup("first")
        write(made, 1)
        made.switch()
        time.sleep(0.3)
        yield made


def write(cluster: OwnCluster, number: int) -> None:
    cluster.sql(f"INSERT INTO t VALUES ({number})")


def measure(cluster: OwnCluster, folder: Path, pg_wal: Path | None = None, **changed: object) -> Exposure:
    """The archive is read to its end, as a verification does, then the exposure is measured."""
    with at_home(cluster.home):
        params = cluster.params(cluster=dict(changed)).cluster
        assert params is not None
        selection = Selection(params, cluster.user, "latest", "auto", 60)
        selection.describe()
        wal = folder / f"wal-{time.monotonic_ns()}"
        wal.mkdir()
        give(wal, cluster.user)
        selection.choose(wal)
        resolved = selection.resolve(lambda position: None)
        return Measurement(
            params,
            "test-exposure",
            live_wal=pg_wal or (cluster.data / "pg_wal" if params.data_directory else None),
            timeline=resolved.point.timeline,
            archive_end=resolved.point.reached,
            stage=resolved.stage,
            last_commit=resolved.point.before.at if resolved.point.before else None,
            tools=selection.tools,
            timeout=60,
        ).take()


def recycle(cluster: OwnCluster) -> None:
    """What pg_wal held is archived, or thought to be, and its files carry names of the future."""
    cluster.sql("CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT")


def test_nothing_behind_the_archive_is_no_exposure_on_any_way(cluster: OwnCluster, tmp_path: Path) -> None:
    recycle(cluster)
    cluster.switch()
    found = measure(cluster, tmp_path)
    assert (found.seconds, found.lost, found.unarchived, found.is_upper_bound) == (0.0, None, None, False), found
    write(cluster, 2)
    found = measure(cluster, tmp_path)
    assert found.seconds is not None and 0 <= found.seconds < 60 and "oldest commit that is not archived" in found.how
    assert (found.lost, found.unarchived) == (None, None)
    cluster.stop("immediate")  # any other stop archives the rest
    down = measure(cluster, tmp_path)
    assert "oldest commit that is not archived" in down.how and down.lost is None
    blind = measure(cluster, tmp_path, data_directory=None)  # and nobody answers
    assert blind.is_upper_bound and "age of the last archived commit" in blind.how


def test_record_that_spans_archived_and_live_segments_is_read(cluster: OwnCluster, tmp_path: Path) -> None:
    """The last archived segment is gone from pg_wal, and the next record begins in it."""
    for _ in range(3):
        cluster.sql("INSERT INTO t SELECT generate_series(1, 90000)")
    recycle(cluster)
    cluster.sql("INSERT INTO t SELECT generate_series(1, 300000)")
    time.sleep(1)
    found = measure(cluster, tmp_path)
    assert (found.lost, found.unarchived) == (None, None) and found.seconds is not None
    assert "oldest commit that is not archived" in found.how


def test_newest_segments_that_nobody_holds_are_lost_with_both_positions(cluster: OwnCluster, tmp_path: Path) -> None:
    write(cluster, 2)
    gone = cluster.switch()
    write(cluster, 3)
    last = cluster.switch()
    recycle(cluster)
    time.sleep(0.5)
    position = cluster.lsn()
    for path in segments(cluster):
        if path.name >= gone:
            path.unlink()
    found = measure(cluster, tmp_path)
    assert found.lost is not None and found.seconds != 0.0
    assert format_lsn(found.lost.position)[:-6] == position[:-6]
    (lost, archiver, *_) = budgets.measure_rpo(found, Budgets(rto=1, rpo=86400, source="test"))[1]
    assert (lost.id, lost.status) == ("wal-lost", "FAIL")
    assert budgets.check_rpo(found, Budgets(rto=1, rpo=86400, source="test")).status == "FAIL", "however long it may be"
    for one in (found.lost.start, found.lost.end, found.lost.position):
        assert format_lsn(one) in (lost.reason or "") + lost.expected
    assert (archiver.id, archiver.status) == ("archiver", "UNKNOWN") and last[:16] in (archiver.reason or "")


def test_lost_wal_is_reported_where_only_the_server_can_be_asked(cluster: OwnCluster, tmp_path: Path) -> None:
    found = measure(cluster, tmp_path, data_directory=None)
    assert (found.seconds, found.unarchived) == (0.0, None), found
    write(cluster, 2)
    waiting = measure(cluster, tmp_path, data_directory=None)
    assert waiting.is_upper_bound and waiting.unarchived is None
    gone = cluster.switch()
    time.sleep(0.5)
    (cluster.archive / gone).unlink()
    found = measure(cluster, tmp_path, data_directory=None)
    assert found.is_upper_bound and found.unarchived is not None and found.unarchived[0] == gone


def test_archiver_that_says_yes_and_archives_nothing_is_no_exposure_of_zero(
    cluster: OwnCluster, tmp_path: Path
) -> None:
    cluster.sql("ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    write(cluster, 2)
    cluster.sql("SELECT pg_switch_wal()")
    time.sleep(1)
    found = measure(cluster, tmp_path)
    assert found.unarchived is not None and found.lost is None, "pg_wal still holds it"
    assert [check.id for check in budgets.check_lost(found)] == ["archiver"]


def test_dead_servers_gap_is_lost_too(cluster: OwnCluster, tmp_path: Path) -> None:
    write(cluster, 2)
    gone = cluster.switch()
    write(cluster, 3)
    cluster.sql("SELECT pg_switch_wal()")
    time.sleep(0.5)
    write(cluster, 4)
    cluster.stop("immediate")
    for path in [*segments(cluster), *(cluster.data / "pg_wal").glob("0" * 7 + "1*")]:
        if path.name == gone:
            path.unlink()
    for path in segments(cluster):
        if path.name > gone:
            path.unlink()
    found = measure(cluster, tmp_path)
    assert found.lost is not None and found.seconds != 0.0, found


def test_another_timeline_or_system_is_not_measured(cluster: OwnCluster, tmp_path: Path) -> None:
    with own_cluster() as other:
        secret = (other.home / "connection").read_text()
        mine = (cluster.home / "connection").read_text()
        (cluster.home / "connection").write_text(secret)
        found = measure(cluster, tmp_path, data_directory=None)
        (cluster.home / "connection").write_text(mine)
    assert found.is_upper_bound and "is of system" in found.how
    with at_home(cluster.home):
        params = cluster.params().cluster
        assert params is not None
        heard = Archiver(params).word(segments(cluster)[-1].name, "42")
    assert heard.is_finished is None


def test_commit_of_the_future_is_not_measured(
    cluster: OwnCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose clock runs ahead writes commits that are not yet."""
    write(cluster, 2)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(exposures.clock, "now", lambda: past)
    found = measure(cluster, tmp_path)
    assert found.seconds is None and "2020-01-01" in found.how and "a clock is or was wrong" in found.how
    check = budgets.check_rpo(found, Budgets(rto=1, rpo=86400, source="test"))
    assert check.status == "UNKNOWN"


def test_data_directory_without_pg_wal_is_named(cluster: OwnCluster, tmp_path: Path) -> None:
    """As where the disk of production is gone."""
    write(cluster, 2)
    cluster.switch()
    time.sleep(0.5)
    write(cluster, 1)
    found = measure(cluster, tmp_path, pg_wal=tmp_path / "gone")
    assert "pg_wal cannot be read" in found.how
