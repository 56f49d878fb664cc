"""More than one timeline: the one that was live at the point is followed, and none is guessed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from own_cluster import OwnCluster, own_cluster, write_script
from proof import ask, prove
from runbook import clock
from runbook.errors import OperatorError, TargetOutsideWindow, WalDamaged
from runbook.postgres.osuser import give
from shop import Mark, add_mark, fill

pytestmark = [pytest.mark.server, pytest.mark.faults]
NAMES = ask("SELECT array_agg(number ORDER BY number) FROM mark")


@dataclass(frozen=True)
class Forked:
    """Marks 1 and 2 before the branch, 3 and 4 given up on timeline 1, 5 and 6 on timeline 2."""

    cluster: OwnCluster
    marks: dict[int, Mark]


def recover_production(cluster: OwnCluster, lsn: str) -> None:
    """Production itself is restored from its backup to a position, and goes on along a new timeline."""
    cluster.stop()
    shutil.rmtree(cluster.data)
    subprocess.run(["cp", "-a", str(cluster.backups / "first"), str(cluster.data)], check=True)
    with (cluster.data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = 'cp {cluster.archive}/%f %p'\nrecovery_target_lsn = '{lsn}'\n")
        conf.write(
            "recovery_target_inclusive = off\nrecovery_target_action = promote\nrecovery_target_timeline = current\n"
        )
    (cluster.data / "recovery.signal").touch()
    give(cluster.data / "recovery.signal", cluster.user)
    cluster.start()
    while cluster.sql("SELECT pg_is_in_recovery()")[0][0]:
        cluster.sql("SELECT pg_sleep(0.05)")
    (cluster.data / "postgresql.auto.conf").write_text("")


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        marks = {}
        for number in (1, 2, 3, 4):
            marks[number] = add_mark(cluster, number)
            cluster.switch()
        recover_production(cluster, marks[3].before)
        for number in (5, 6):
            marks[number] = add_mark(cluster, number)
            cluster.switch()
        yield Forked(cluster, marks)


@pytest.mark.parametrize(
    ("number", "timeline", "expected"),
    [(2, 1, [1, 2]), (3, 1, [1, 2, 3]), (5, 2, [1, 2, 5])],
    ids=["before the branch", "given up", "after the branch"],
)
def test_time_chooses_the_timeline_that_was_live_then(
    forked: Forked, number: int, timeline: int, expected: list[int]
) -> None:
    outcome = prove(forked.cluster, recovery_point=clock.stamp(forked.marks[number].after_at), look=NAMES)
    assert (outcome.verdict, outcome.alarms, outcome.timeline, outcome.seen) == ("PASS", [], timeline, expected)


def test_latest_follows_the_newest_timeline(forked: Forked) -> None:
    outcome = prove(forked.cluster, look=NAMES)
    assert (outcome.verdict, outcome.alarms, outcome.timeline, outcome.seen) == ("PASS", [], 2, [1, 2, 5, 6])


@pytest.mark.parametrize(("timeline", "expected"), [("1", [1, 2, 3, 4]), ("2", [1, 2, 5, 6])])
def test_timeline_asked_for_is_followed(forked: Forked, timeline: str, expected: list[int]) -> None:
    outcome = prove(forked.cluster, timeline=timeline, look=NAMES)
    assert (outcome.verdict, outcome.timeline, outcome.seen) == ("PASS", int(timeline), expected), outcome.alarms


def test_position_on_the_timeline_asked_for(forked: Forked) -> None:
    outcome = prove(forked.cluster, timeline="1", recovery_point=forked.marks[4].before, look=NAMES)
    assert (outcome.verdict, outcome.seen) == ("PASS", [1, 2, 3]), outcome.alarms


@pytest.mark.parametrize("timeline", ["3", "99", "two", "latest", "0", "-1"])
def test_unknown_timeline_is_refused_with_those_there_are(forked: Forked, timeline: str) -> None:
    outcome = prove(forked.cluster, timeline=timeline)
    assert isinstance(outcome.error, OperatorError) and "1, 2" in outcome.said


def test_moment_without_a_live_timeline_is_refused(forked: Forked) -> None:
    """Between the last commit given up and the first on timeline 2 nothing proves where the point lies."""
    first_of_two = forked.marks[5].before_at
    outcome = prove(forked.cluster, recovery_point=clock.stamp(first_of_two))
    assert outcome.verdict != "PASS" or outcome.seen is None
    assert isinstance(outcome.error, TargetOutsideWindow), outcome.alarms


def test_missing_history_file_is_refused(forked: Forked) -> None:
    with _moved(forked.cluster, "00000002.history"):
        outcome = prove(forked.cluster)
    assert isinstance(outcome.error, WalDamaged) and "00000002.history" in outcome.said


def test_damaged_history_file_is_refused(forked: Forked) -> None:
    path = forked.cluster.archive / "00000002.history"
    text = path.read_text()
    for broken in ("", "garbage\n", text.replace("1\t", "7\t", 1)):
        path.write_text(broken)
        outcome = prove(forked.cluster)
        assert isinstance(outcome.error, WalDamaged) and "00000002.history" in outcome.said, (broken, outcome.alarms)
    path.write_text(text)


def test_history_whose_copy_is_under_way_is_no_damage(forked: Forked) -> None:
    path = forked.cluster.archive / "00000009.history"  # of a timeline without segments yet
    text = "1\t0/5000000\tno recovery target specified\n"
    try:
        for half in ("", text[:8], text[:-1]):
            path.write_text(half)
            outcome = prove(forked.cluster)
            # Nothing is recovered by it, so that it is named and keeps nobody waiting for good.
            assert (outcome.error, outcome.alarms) == (None, []), half
            assert [one for one in outcome.limitations if path.name in one], (half, outcome.limitations)
    finally:
        path.unlink()


def test_history_that_branches_elsewhere_is_found(forked: Forked) -> None:
    path = forked.cluster.archive / "00000002.history"
    text = path.read_text()
    branch = text.split()[1]
    path.write_text(text.replace(branch, forked.marks[2].before))
    outcome = prove(forked.cluster)
    path.write_text(text)
    assert outcome.verdict == "FAIL", outcome.alarms


def test_first_segment_of_the_new_timeline_missing_is_refused(forked: Forked) -> None:
    name = min(path.name for path in forked.cluster.archive.iterdir() if path.name.startswith("00000002000"))
    with _moved(forked.cluster, name):
        outcome = prove(forked.cluster)
    assert isinstance(outcome.error, WalDamaged) and name in outcome.said


@pytest.mark.parametrize("lists", [True, False])
def test_timelines_are_found_through_a_fetch_command(forked: Forked, lists: bool) -> None:
    folder = forked.cluster.archive
    archive = {"fetch_command": ["/bin/cp", f"{folder}/%f", "%p"]}
    if lists:
        archive["list_command"] = write_script(forked.cluster.home / "list", f'ls "{folder}"')
    params = forked.cluster.params(cluster={"wal_archive": archive})
    outcome = prove(forked.cluster, params, look=NAMES)
    assert (outcome.verdict, outcome.timeline, outcome.seen) == ("PASS", 2, [1, 2, 5, 6]), outcome.alarms
    early = prove(forked.cluster, params, recovery_point=clock.stamp(forked.marks[3].after_at), look=NAMES)
    assert (early.verdict, early.timeline, early.seen) == ("PASS", 1, [1, 2, 3]), early.alarms


def test_backup_of_a_later_timeline_and_promotion_of_its_scratch() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        one = add_mark(cluster, 1)
        add_mark(cluster, 2)
        cluster.switch()
        recover_production(cluster, one.after)
        cluster.backup("second")
        cluster.fence()
        add_mark(cluster, 5)
        cluster.switch()
        outcome = prove(cluster, look=NAMES, promote=True)
        assert (outcome.verdict, outcome.backup, outcome.seen) == ("PASS", "second", [1, 5]), outcome.alarms
        assert outcome.check("promoted").observed == "timeline 3"


class _moved:
    """A file of the archive is away within the block."""

    def __init__(self, cluster: OwnCluster, name: str) -> None:
        self.path = cluster.archive / name

    def __enter__(self) -> None:
        self.path.rename(self.path.with_name("away"))

    def __exit__(self, *problem: object) -> None:
        self.path.with_name("away").rename(self.path)
