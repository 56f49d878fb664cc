"""A lock-down amid traffic ends all writes and proves it; whoever writes past it is found in WAL and named."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from homes import at_home
from memory import Memory, lockdown_of
from own_cluster import OwnCluster, own_cluster
from runbook.model import Check, Status
from runbook.params import load_params
from runbook.platforms.cluster import service
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.quiet import prove_quiet
from runbook.platforms.cluster.sessions import end_sessions, list_open_ways
from runbook.recovery.lockdown import AUTOVACUUM, DOORS, LockDown
from runbook.sandbox import traffic_process
from runbook.sandbox.place import Sandbox, need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def vehicles(sandbox: Sandbox) -> int:
    with psycopg.connect(sandbox.conninfo()) as connection:
        row = connection.execute("SELECT max(id) FROM vehicles").fetchone()
        assert row is not None
        return int(row[0])


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.id: check.status.value for check in checks}


def test_lock_down_amid_traffic_ends_all_writes_and_is_proven(live_home: Path, tmp_path: Path) -> None:
    sandbox = need_sandbox()
    hba = sandbox.data / "pg_hba.conf"
    before, mark = hba.read_bytes(), hba.stat().st_mtime_ns
    memory = Memory(tmp_path / "memory")
    lockdown = lockdown_of(load_params("sandbox"), memory, tmp_path / "tail")
    traffic_process.start(sandbox, seconds=120, rate=60)
    idle = psycopg.connect(sandbox.conninfo(user="dealerscope_app"))
    idle.execute("SELECT 1")  # a transaction left open
    try:
        time.sleep(1)
        noisy = prove_quiet(lockdown.server, seconds=1.0)
        assert noisy.status is Status.FAIL, "traffic is no quiet"
        done = lockdown.close()
        assert statuses(done.checks) == {
            "lockdown-doors": "PASS",
            "lockdown-sessions": "PASS",
            "lockdown-autovacuum": "PASS",
        }
        assert any(row["what"] == "session" and "dealerscope_app" in row["detail"] for row in done.rows)
        assert statuses(lockdown.list_open().checks) == {"lockdown-bypass": "PASS"}
        tail = lockdown.secure_tail()
        assert statuses(tail.checks) == {"lockdown-tail": "PASS"}
        assert lockdown.tail is not None and lockdown.tail.folder is None
        assert (sandbox.archive / lockdown.tail.segment).is_file()
        assert statuses(lockdown.prove_quiet().checks) == {"lockdown-quiet": "PASS"}
        count = vehicles(sandbox)
        time.sleep(1.5)
        assert traffic_process.is_running(sandbox), "the application still tries"
        assert vehicles(sandbox) == count
        assert set(memory.undos) == {DOORS, AUTOVACUUM}
        assert all(check.status is Status.PASS for check in lockdown.lift().checks)
        assert (hba.read_bytes(), hba.stat().st_mtime_ns) == (before, mark) and memory.undos == {}
        assert "autovacuum" not in (sandbox.data / "postgresql.auto.conf").read_text()
        deadline = time.monotonic() + 20
        while vehicles(sandbox) == count:
            assert time.monotonic() < deadline, "the application does not come back"
            time.sleep(0.2)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("SELECT 1")
    finally:
        idle.close()
        traffic_process.stop(sandbox)


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster(settings={"wal_level": "logical", "autovacuum": "on"}) as cluster:
        cluster.create_database("shop", "CREATE TABLE item (id int PRIMARY KEY)")
        yield cluster


@pytest.fixture
def lockdown(cluster: OwnCluster, tmp_path: Path) -> Iterator[LockDown]:
    with at_home(cluster.home):
        lockdown = lockdown_of(cluster.params(), Memory(tmp_path / "memory"), tmp_path / "tail")
        yield lockdown
        lockdown.lift()


@contextmanager
def meanwhile(act: object) -> Iterator[None]:
    """The act happens shortly after the block has begun."""
    timer = threading.Timer(0.7, act)  # type: ignore[arg-type]
    timer.start()
    yield
    timer.join()


def prove(lockdown: LockDown, seconds: float = 1.8) -> Check:
    return prove_quiet(lockdown.server, seconds=seconds)


def test_superusers_session_past_the_lock_down_is_found_and_named(cluster: OwnCluster, lockdown: LockDown) -> None:
    lockdown.close()
    with cluster.connect("shop", application_name="nightly-job") as other:

        def write() -> None:
            with other.transaction():
                other.execute("INSERT INTO item VALUES (1)")
                time.sleep(0.3)

        with meanwhile(write):
            check = prove(lockdown)
        xid = other.execute("SELECT xmin::text FROM item WHERE id = 1").fetchone()
    assert check.status is Status.FAIL and len(check.findings) == 1
    assert xid is not None and check.findings[0].object == f"xid {xid[0]}"
    assert "application nightly-job" in (check.reason or "") and "role postgres" in (check.reason or "")


def test_commit_without_waiting_for_the_disk_is_found(cluster: OwnCluster, lockdown: LockDown) -> None:
    with (
        cluster.connect("shop", options="-c synchronous_commit=off") as other,
        meanwhile(lambda: other.execute("INSERT INTO item VALUES (2)")),
    ):
        check = prove(lockdown)
    assert check.status is Status.FAIL and len(check.findings) == 1


def test_segment_that_has_just_been_begun_is_not_waited_for(cluster: OwnCluster, lockdown: LockDown) -> None:
    """Securing the end of WAL finishes the segment: the next one is empty, and nothing of it comes to the disk by itself."""
    cluster.switch()
    began = time.monotonic()
    assert prove(lockdown, 0.5).status is Status.PASS
    with cluster.connect("shop") as other:

        def write_and_switch() -> None:
            other.execute("INSERT INTO item VALUES (1001)")
            other.execute("SELECT pg_switch_wal()")

        with meanwhile(write_and_switch):
            check = prove(lockdown)
    assert check.status is Status.FAIL and len(check.findings) == 1
    assert time.monotonic() - began < 10


def test_prepared_transaction_is_listed_and_named_when_it_is_committed(cluster: OwnCluster, lockdown: LockDown) -> None:
    with cluster.connect("shop") as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO item VALUES (3)")
        other.execute("PREPARE TRANSACTION 'order ''7'''")
    lockdown.close()
    rows = [row for row in lockdown.list_open().rows if row["kind"] == "prepared transaction"]
    assert [(row["name"], row["database"]) for row in rows] == [("order '7'", "shop")]
    assert "ROLLBACK PREPARED 'order ''7'''" in rows[0]["to do"]
    assert prove(lockdown, 0.5).status is Status.PASS, "one that rests is no write"
    with cluster.connect("shop") as other, meanwhile(lambda: other.execute("COMMIT PREPARED 'order ''7'''")):
        check = prove(lockdown)
    assert check.status is Status.FAIL
    assert "prepared transaction 'order '7'' of role postgres in database shop" in (check.reason or "")


def test_rollbacks_and_reads_are_quiet(cluster: OwnCluster, lockdown: LockDown) -> None:
    def no_write() -> None:
        with cluster.connect("shop") as other:
            other.execute("BEGIN")
            other.execute("INSERT INTO item VALUES (99)")
            other.execute("ROLLBACK")
            other.execute("SELECT * FROM item")

    with meanwhile(no_write):
        assert prove(lockdown).status is Status.PASS


def test_own_commits_are_explained_by_their_numbers(cluster: OwnCluster, lockdown: LockDown) -> None:
    with lockdown.server.connect("shop", read_only=False) as own:
        row = own.execute("SELECT pg_current_xact_id()::text AS xid").fetchone()
        assert row is not None
        following = {int(row["xid"]) + 1}
        with meanwhile(lambda: own.execute("INSERT INTO public.item VALUES (5)")):
            assert prove_quiet(lockdown.server, seconds=1.8, own_xids=following).status is Status.PASS


def test_subscription_is_listed_and_its_writes_are_found(
    cluster: OwnCluster, lockdown: LockDown, tmp_path: Path
) -> None:
    with own_cluster(settings={"wal_level": "logical"}) as publisher:
        publisher.create_database(
            "shop", "CREATE TABLE item (id int PRIMARY KEY)", "CREATE PUBLICATION p FOR TABLE item"
        )
        way = f"host={publisher.socket} user=postgres dbname=shop"
        cluster.sql(f"CREATE SUBSCRIPTION s CONNECTION '{way}' PUBLICATION p", database="shop")
        try:
            time.sleep(2)
            lockdown.close()
            opened = lockdown.list_open()
            row = next(row for row in opened.rows if row["kind"] == "subscription")
            assert (row["name"], row["writes"]) == ("s", "yes") and row["to do"].startswith(
                'ALTER SUBSCRIPTION "s" DISABLE'
            )
            assert opened.checks[0].status is Status.UNKNOWN and "DISABLE" in (opened.checks[0].next or "")
            assert "dbname" not in str(opened), "the publisher's connection string may hold a password"
            with meanwhile(lambda: publisher.sql("INSERT INTO item VALUES (1000)", database="shop")):
                check = prove(lockdown, 4)
            assert check.status is Status.FAIL and "logical replication apply worker" in (check.reason or "")
            cluster.sql('ALTER SUBSCRIPTION "s" DISABLE', database="shop")
            assert lockdown.list_open().checks[0].status is Status.PASS
        finally:
            cluster.sql(
                "ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s",
                database="shop",
            )  # fmt: skip


def test_standbys_and_slots_are_listed(cluster: OwnCluster, lockdown: LockDown) -> None:
    cluster.sql("SELECT pg_create_physical_replication_slot('standby1', true)")
    cluster.sql("SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')", database="shop")
    try:
        with lockdown.server.connect() as connection:
            found = {(way.kind, way.name, way.writes) for way in list_open_ways(connection, "")}
            assert found == {("physical slot", "standby1", False), ("logical slot", "cdc", False)}
            assert {way.name for way in list_open_ways(connection, "pg_stat_statements, pg_cron")} >= {"pg_cron"}
    finally:
        cluster.sql("SELECT pg_drop_replication_slot('standby1')", "SELECT pg_drop_replication_slot('cdc')")


def test_autovacuum_goes_back_to_what_alter_system_had_set(cluster: OwnCluster, lockdown: LockDown) -> None:
    auto = cluster.data / "postgresql.auto.conf"
    cluster.sql("ALTER SYSTEM SET autovacuum = on")
    try:
        lockdown.close()
        assert "autovacuum = 'off'" in auto.read_text() and lockdown.server.facts().autovacuum == "off"
        lockdown.lift()
        assert "autovacuum = 'on'" in auto.read_text()
    finally:
        cluster.sql("ALTER SYSTEM RESET autovacuum", "SELECT pg_reload_conf()")


def test_sessions_of_ours_stay(cluster: OwnCluster, lockdown: LockDown) -> None:
    with lockdown.server.connect("shop") as own, cluster.connect("shop") as other:
        ended = end_sessions(lockdown.server)
        assert [row["database"] for row in ended.ended] == ["shop"] and ended.left == ()
        own.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_quiet_of_a_server_that_is_down_is_proven_by_its_files_only(cluster: OwnCluster, tmp_path: Path) -> None:
    with at_home(cluster.home):
        live = LiveServer(cluster.params().cluster, "r1")  # type: ignore[arg-type]
        out_of_reach = LiveServer(
            cluster.params(cluster={"data_directory": None, "connection": {"file": "gone"}}).cluster,  # type: ignore[arg-type]
            "r1",
        )
        assert prove_quiet(out_of_reach, seconds=1).status is Status.UNKNOWN
        params = cluster.params()
        assert params.cluster is not None and service.is_running(params.cluster)
        (cluster.home / "connection").rename(cluster.home / "hidden")
        try:
            assert prove_quiet(live, seconds=1).status is Status.UNKNOWN, "it runs, and cannot be asked"
        finally:
            (cluster.home / "hidden").rename(cluster.home / "connection")
        cluster.stop("immediate")
        try:
            assert prove_quiet(live, seconds=1).status is Status.PASS
        finally:
            cluster.start()
