"""A standby that does not replay is seen from the primary and from itself, also while its measured delay stands still."""

from __future__ import annotations

import time

import pytest
from homes import at_home
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.inspection.states import Seen, State
from runbook.postgres.osuser import give
from test_health_checks import health, looked

pytestmark = pytest.mark.server
SMALL = {"replication_lag_warning_mebibytes": 1.0, "replication_lag_critical_mebibytes": 1000.0}


def standby_of(primary: OwnCluster) -> OwnCluster:
    """A streaming standby, running."""
    standby = OwnCluster(primary.home / "second", primary.tools, primary.user)
    for folder in (standby.home, standby.log.parent, standby.home / "params"):
        folder.mkdir(mode=0o755)
        give(folder, primary.user)
    way = f"host={primary.socket} port={PORT} user=postgres application_name=second"
    primary.run("pg_basebackup", "-D", str(standby.data), "-R", "-X", "stream", "-c", "fast", "-d", way)
    standby.start()
    return standby


def caught_up(primary: OwnCluster) -> None:
    deadline = time.monotonic() + 30
    behind = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
    while not primary.sql(behind)[0][0]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def lag_of(cluster: OwnCluster) -> Seen:
    return looked(cluster, "replication_lag", **SMALL).seen[0]


def test_standby_that_does_not_replay_is_seen_and_one_that_does_is_ok() -> None:
    with own_cluster() as primary:
        primary.sql("CREATE DATABASE shop")
        standby = standby_of(primary)
        try:
            caught_up(primary)
            assert (lag_of(primary).state, lag_of(standby).state) == (State.OK, State.OK)
            standby.sql("SELECT pg_wal_replay_pause()")
            primary.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 5000000))")
            time.sleep(2)  # the delay that PostgreSQL measures is gone or old by now
            seen = lag_of(primary)
            assert seen.object == "standby second at a socket" and seen.state is State.WARNING
            assert 4.5 < (seen.value or 0) < 7 and lag_of(standby).state is State.WARNING
            standby.sql("SELECT pg_wal_replay_resume()")
            caught_up(primary)
            assert lag_of(primary).state is State.OK
            primary.stop("immediate")
            time.sleep(1)
            alone = lag_of(standby)
            assert alone.state is State.NOT_MEASURED and "not connected to its primary" in alone.note
        finally:
            standby.stop("immediate")


@pytest.mark.parametrize("major", [15, 17, 18])
def test_every_check_runs_on_a_standby(major: int) -> None:
    with own_cluster(
        major=major, settings={"track_commit_timestamp": "on", "shared_preload_libraries": "pg_stat_statements"}
    ) as primary:
        primary.sql("CREATE DATABASE shop")
        primary.sql(
            "CREATE EXTENSION pgstattuple",
            "CREATE EXTENSION pg_stat_statements",
            "CREATE UNLOGGED TABLE fleeting (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text)",
            "INSERT INTO fleeting (t) SELECT repeat('x', 300) FROM generate_series(1, 9000)",
            "CREATE UNLOGGED SEQUENCE numbers",
            "CREATE TABLE kept (id serial PRIMARY KEY, t text)",
            "CREATE INDEX idle ON kept (t)",
            "INSERT INTO kept (t) SELECT repeat('x', 300) FROM generate_series(1, 9000)",
            database="shop",
        )
        standby = standby_of(primary)
        try:
            caught_up(primary)
            look = health(standby)
            with at_home(standby.home):
                look.check()
        finally:
            standby.stop("immediate")
    unseen = {one.check: one.note for place in look.looked for one in place.unmeasured}
    stores = {"backup_age", "archived_wal_age"}  # whose folders the standby's params do not name
    assert set(unseen) - stores == ({"checksum_failures"} if major < 18 else set()), unseen
    assert [one.object for place in look.looked for one in place.findings if one.check == "unused_indexes"] == [
        "public.idle"
    ]
