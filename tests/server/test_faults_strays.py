"""A timeline in the archive that is not production's: left by a restored copy, by a standby, by a former primary. None is followed silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from copies import leave_stray, standby_of, wait_for, wait_until_promoted
from homes import at_home
from own_cluster import OwnCluster, own_cluster
from proof import ask, prove
from runbook.errors import NotMeasured, TargetOutsideWindow
from runbook.platforms.cluster.archivedtimelines import find_later
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.tail import secure_tail
from runbook.postgres.wal import format_lsn, history_problem, parse_history, parse_lsn, segment_name
from runbook.verification.backup import BackupVerification
from shop import SEGMENT, Mark, add_mark, fill
from test_faults_timelines import recover_production

pytestmark = [pytest.mark.server, pytest.mark.faults]
NAMES = ask("SELECT array_agg(number ORDER BY number) FROM mark")


@pytest.fixture
def production() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        yield cluster


def marks(cluster: OwnCluster, *numbers: int) -> dict[int, Mark]:
    found = {}
    for number in numbers:
        found[number] = add_mark(cluster, number)
        cluster.switch()
    return found


@pytest.mark.parametrize("segments", [0, 2], ids=["history alone", "with segments"])
def test_stray_timeline_is_reported_and_production_is_verified(production: OwnCluster, segments: int) -> None:
    """The archive's newest timeline was followed: marks 3 and 4 were missing, PASS, without a word."""
    first = marks(production, 1, 2)
    leave_stray(production, production.home / "copy", segments=segments, recovery_target_lsn=first[2].after)
    marks(production, 3, 4)
    outcome = prove(production, look=NAMES)
    assert (outcome.verdict, outcome.alarms, outcome.timeline, outcome.seen) == ("PASS", [], 1, [1, 2, 3, 4])
    with at_home(production.home):
        own = production.params().cluster
        assert own is not None
        number, later = find_later(own, "test")
    assert (number, list(later)) == (1, [2]), "runbook doctor says it before anybody restores"
    said = [one for one in outcome.limitations if "Timeline 2" in one]
    assert len(said) == 1 and f"{segments or 'no'}" in said[0] and "running server writes timeline 1" in said[0]


def test_stray_is_a_question_when_the_server_is_gone(production: OwnCluster) -> None:
    first = marks(production, 1, 2)
    leave_stray(production, production.home / "copy", segments=2, recovery_target_lsn=first[2].after)
    marks(production, 3)
    production.stop()
    outcome = prove(production, look=NAMES)
    assert (outcome.verdict, outcome.timeline, outcome.seen) == ("INCOMPLETE", 1, [1, 2, 3]), outcome.alarms
    check = outcome.check("timeline")
    assert "timeline 2: left timeline 1" in str(check.reason) and "2 own segments" in str(check.reason)
    assert "runbook run backup-verification --target own -p timeline 1" in str(check.next)
    for number, expected in ((1, [1, 2, 3]), (2, [1, 2])):
        outcome = prove(production, timeline=str(number), look=NAMES)
        assert outcome.check("timeline").status == "PASS"
        assert (outcome.timeline, outcome.seen) == (number, expected), outcome.alarms


def test_old_primary_down_after_a_failover_decides_nothing(production: OwnCluster, tmp_path: Path) -> None:
    """Its directory is readable and of timeline 1; following it would discard all that the new primary wrote."""
    standby = standby_of(production, production.home / "standby", recovery_target_timeline="latest")
    standby.start()
    try:
        marks(production, 1, 2)
        wait_until_replayed(standby, production.lsn())
        production.stop("immediate")
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        following = select(production, tmp_path)
        assert (following.server.number, following.number) == (None, 1) and "a standby" in following.server.why
        (production.home / "connection").write_text("host=/nowhere user=postgres\n")
        standby.sql("SELECT pg_promote()")
        wait_until_promoted(standby)
        marks_of(standby, production, 5, 6)
        outcome = prove(production, look=NAMES)
        assert outcome.verdict == "INCOMPLETE", outcome.alarms
        assert "has reached timeline 1" in str(outcome.check("timeline").reason)
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        outcome = prove(production, look=NAMES)
        assert (outcome.timeline, outcome.seen) == (2, [1, 2, 5, 6]), outcome.alarms
    finally:
        standby.stop("immediate")


def test_promoted_server_that_has_archived_nothing_yet_is_no_damage(production: OwnCluster, tmp_path: Path) -> None:
    """Its history is not there: not measured. Once it is, and no segment, the point lies before the fork, which is reported."""
    standby = standby_of(production, production.home / "standby", archive_mode="off")
    standby.start()
    try:
        marks(production, 1, 2)
        wait_until_replayed(standby, production.lsn())
        production.stop("immediate")
        standby.sql("SELECT pg_promote()")
        wait_until_promoted(standby)
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        outcome = prove(production, look=NAMES)
        assert isinstance(outcome.error, NotMeasured) and "writes timeline 2" in outcome.said
        history = standby.data / "pg_wal" / "00000002.history"
        (production.archive / history.name).write_bytes(history.read_bytes())
        outcome = prove(production, look=NAMES)
        assert (outcome.seen, outcome.point["timeline"]) == ([1, 2], 1)
        assert [one.partition(" ")[2][:7] for one in outcome.alarms] == ["UNKNOWN"] and "rpo" in outcome.alarms[0]
        assert [one for one in outcome.limitations if "holds no WAL of timeline 2" in one]
    finally:
        standby.stop("immediate")


def test_fence_soon_after_a_promotion_is_of_the_timeline_that_is_written(production: OwnCluster) -> None:
    """pg_control has the old timeline until the first checkpoint ends, which takes its time: the fence waited for a segment that never came."""
    standby = standby_of(production, production.home / "standby", checkpoint_completion_target="0.99")
    standby.start()
    try:
        production.sql("UPDATE item SET id = id WHERE id % 7 = 0", database="shop")
        marks(production, 1)
        wait_until_replayed(standby, production.lsn())
        production.stop("immediate")
        standby.sql("SELECT pg_promote()")
        wait_until_promoted(standby)
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        lags = standby.sql("SELECT timeline_id FROM pg_control_checkpoint()")[0][0]
        fence = production.fence()
        assert (lags, {item.timeline for item in fence.databases}) == (1, {2}), "the WAL file decides, pg_control lags"
        marks_of(standby, production, 7)
        outcome = prove(production, look=NAMES)
        assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], [1, 7])
        assert f"fence at {format_lsn(max(item.lsn for item in fence.databases if item.database == 'shop'))}" in str(
            outcome.check("fence@shop").source
        )
    finally:
        standby.stop("immediate")


@pytest.mark.parametrize("kept", ["the new timeline's", "the partial", "neither"])
def test_point_in_the_segment_of_the_fork_is_reached_on_the_old_timeline(production: OwnCluster, kept: str) -> None:
    """The old timeline has that segment as `.partial` alone, which recovery never asks for; the new one's holds the same WAL up to the fork."""
    marks(production, 1, 2)
    standby = standby_of(production, production.home / "standby", recovery_target_timeline="latest")
    standby.start()
    try:
        last = add_mark(production, 3)
        after = add_mark(production, 4)
        wait_until_replayed(standby, production.lsn())
        production.stop("immediate")
        standby.sql("SELECT pg_promote()")
        wait_until_promoted(standby)
        marks_of(standby, production, 5)
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        name, newer = (segment_name(number, parse_lsn(last.before), SEGMENT) for number in (1, 2))
        wait_for(production.archive / f"{name}.partial")
        if kept != "the new timeline's":
            (production.archive / newer).unlink()
        if kept != "the partial":
            (production.archive / f"{name}.partial").unlink()
        outcome = prove(production, timeline="1", recovery_point=after.before, look=NAMES)
        if kept == "neither":
            assert isinstance(outcome.error, TargetOutsideWindow), outcome.alarms
            return
        assert (outcome.verdict, outcome.seen, outcome.point["timeline"]) == ("PASS", [1, 2, 3], 1), outcome.alarms
        wanted = f"{name}.partial" if kept == "the partial" else newer
        assert [one for one in outcome.limitations if wanted in one], outcome.limitations
    finally:
        standby.stop("immediate")


def test_copy_promoted_before_a_fork_writes_a_history_in_order(production: OwnCluster) -> None:
    """Told the later timeline, PostgreSQL wrote that timeline 2 ended before it began."""
    first = marks(production, 1, 2, 3)
    recover_production(production, first[3].before)
    marks(production, 5)
    seen: dict[str, str] = {}

    def before(proof: BackupVerification, step: str) -> None:
        if step == "measure" and proof.scratch is not None:
            seen.update({path.name: path.read_text() for path in (proof.scratch.data / "pg_wal").glob("*.history")})

    outcome = prove(production, recovery_point=first[2].before, promote=True, before=before, look=NAMES)
    assert (outcome.verdict, outcome.seen, outcome.point["timeline"]) == ("PASS", [1], 1), outcome.alarms
    assert sorted(seen) == ["00000002.history", "00000003.history"]
    assert history_problem(3, seen["00000003.history"]) is None, seen
    assert [one.number for one in parse_history(3, seen["00000003.history"])] == [1, 3]


def test_backup_of_a_later_timeline_whose_history_is_gone_is_followed_and_reported(production: OwnCluster) -> None:
    first = marks(production, 1, 2)
    recover_production(production, first[2].before)
    production.backup("second")
    production.fence()
    marks(production, 5)
    (production.archive / "00000002.history").unlink()
    outcome = prove(production, look=NAMES)
    assert (outcome.verdict, outcome.backup, outcome.timeline, outcome.seen) == ("PASS", "second", 2, [1, 5]), (
        outcome.alarms
    )
    assert [one for one in outcome.limitations if "00000002.history is missing" in one]


def test_promoted_and_killed_before_its_first_checkpoint_is_a_question(production: OwnCluster, tmp_path: Path) -> None:
    """pg_control's checkpoint is of timeline 1; what was written on timeline 2 is in its pg_wal alone."""
    marks(production, 1)
    standby = standby_of(production, production.home / "standby", archive_mode="off")
    standby.start()
    wait_until_replayed(standby, production.lsn())
    standby.sql("SELECT pg_promote()")
    wait_until_promoted(standby)
    standby.sql("INSERT INTO mark VALUES (9)", database="shop")
    standby.stop("immediate")
    production.stop("immediate")
    params = production.params(cluster={"data_directory": "standby/data"})
    assert params.cluster is not None
    tmp_path.chmod(0o755)
    with at_home(production.home):
        tail = secure_tail(LiveServer(params.cluster, "test"), tmp_path / "tail", timeout=10)
        assert (tail.timeline, (tmp_path / "tail" / "00000002.history").exists()) == (2, True)
    selection = select(production, tmp_path, extra=tail.folder, cluster={"data_directory": "standby/data"})
    with at_home(production.home):
        asked = selection.timeline_question()
    assert selection.choice.is_open and asked is not None
    assert "has reached timeline 2, its last checkpoint timeline 1" in asked and "last commit" in asked
    assert [one.number for one in selection.choice.rivals] == [2]


def select(production: OwnCluster, place: Path, extra: Path | None = None, **changed: dict[str, Any]) -> Selection:
    """What a recovery to the latest point would start from."""
    place.chmod(0o755)
    with at_home(production.home):
        own = production.params(**changed).cluster
        assert own is not None
        (place / "stage").mkdir(mode=0o755)
        selection = Selection(own, production.user, "latest", "auto", 60, extra=extra)
        selection.describe()
        selection.choose(place / "stage")
    return selection


def wait_until_replayed(standby: OwnCluster, position: str) -> None:
    while parse_lsn(str(standby.sql("SELECT pg_last_wal_replay_lsn()::text")[0][0])) < parse_lsn(position):
        standby.sql("SELECT pg_sleep(0.05)")


def marks_of(server: OwnCluster, production: OwnCluster, *numbers: int) -> None:
    """Marks written by another server, archived in production's archive."""
    for number in numbers:
        server.sql(f"INSERT INTO mark VALUES ({number})", database="shop")
        wait_for(production.archive / str(server.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0]))
