"""A timeline in the archive that is not production's: left by a restored copy, by a standby, by a former primary. None is followed silently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from copies import leave_stray, standby_of, wait_for, wait_until_promoted
from own_cluster import OwnCluster, own_cluster
from proof import ask, prove
from runbook.postgres.wal import parse_lsn
from shop import Mark, add_mark, fill

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
    assert "-p timeline" in str(check.next)
    for number, expected in ((1, [1, 2, 3]), (2, [1, 2])):
        outcome = prove(production, timeline=str(number), look=NAMES)
        assert outcome.check("timeline").status == "PASS"
        assert (outcome.timeline, outcome.seen) == (number, expected), outcome.alarms


def test_old_primary_down_after_a_failover_decides_nothing(production: OwnCluster) -> None:
    """Its directory is readable and of timeline 1; following it would discard all that the new primary wrote."""
    standby = standby_of(production, production.home / "standby", recovery_target_timeline="latest")
    standby.start()
    try:
        marks(production, 1, 2)
        fork = production.lsn()
        while parse_lsn(str(standby.sql("SELECT pg_last_wal_replay_lsn()::text")[0][0])) < parse_lsn(fork):
            standby.sql("SELECT pg_sleep(0.05)")
        production.stop("immediate")
        standby.sql("SELECT pg_promote()")
        wait_until_promoted(standby)
        marks_of(standby, production, 5, 6)
        outcome = prove(production, look=NAMES)
        assert outcome.verdict == "INCOMPLETE", outcome.alarms
        assert "has reached timeline 1" in str(outcome.check("timeline").reason)
        (production.home / "connection").write_text((standby.home / "connection").read_text())
        outcome = prove(production, look=NAMES)
        assert (outcome.alarms, outcome.timeline, outcome.seen) == ([], 2, [1, 2, 5, 6])
    finally:
        standby.stop("immediate")


def marks_of(server: OwnCluster, production: OwnCluster, *numbers: int) -> None:
    """Marks written by another server, archived in production's archive."""
    for number in numbers:
        server.sql(f"INSERT INTO mark VALUES ({number})", database="shop")
        wait_for(production.archive / str(server.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0]))
