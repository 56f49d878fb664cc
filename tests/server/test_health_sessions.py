"""The daily look at what runs and waits, and at the whole server: other planted problems, each beside what only looks like one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from homes import at_home
from mending import found, mend, run_file
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.inspection.states import State
from test_health_checks import findings, health, looked

pytestmark = [pytest.mark.server, pytest.mark.faults]

EVIL = ('db"; DROP TABLE b; --', "ro'le\n; x", "per %I cent")


@pytest.fixture(scope="module", params=[17, 15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    settings = {
        "wal_level": "logical",
        "deadlock_timeout": "100s",
        "autovacuum_naptime": "1s",
        "autovacuum_vacuum_cost_delay": "100ms",
        "autovacuum_vacuum_cost_limit": "1",
    }
    with own_cluster(major=request.param, settings=settings) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql(
            "CREATE TABLE one (a int)", "CREATE TABLE two (a int)", "INSERT INTO one VALUES (1)", database="shop"
        )
        yield cluster


@contextmanager
def background(cluster: OwnCluster, *statements: str, error: type[Exception] | None = None) -> Iterator[None]:
    """A session that runs these meanwhile, in one transaction, and has ended afterwards."""

    def run() -> None:
        with cluster.connect("shop") as connection:
            connection.execute("; ".join(("BEGIN", *statements, "ROLLBACK")))

    def refused() -> None:
        with pytest.raises(error or Exception):
            run()

    thread = threading.Thread(target=refused if error else run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def wait_for(cluster: OwnCluster, query: str) -> None:
    deadline = time.monotonic() + 30
    while not cluster.sql(query, database="shop")[0][0]:
        assert time.monotonic() < deadline, query
        time.sleep(0.05)


WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart IS NOT NULL"


def test_statement_that_has_just_begun_to_wait_is_not_blocked_for_as_long_as_it_runs(server: OwnCluster) -> None:
    with server.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE one")
        with background(server, "SELECT pg_sleep(4)", "LOCK TABLE one"):
            try:
                wait_for(server, WAITS)
                there = findings(server, "blocked_sessions", blocked_warning_seconds=3)
                time.sleep(3)
                later = findings(server, "blocked_sessions", blocked_warning_seconds=3)
            finally:
                holder.rollback()
    assert (there, len(later)) == ({}, 1)


def test_prepared_transaction_that_blocks_is_named_and_told_as_a_long_one(server: OwnCluster) -> None:
    with server.connect("shop") as connection:
        connection.execute("BEGIN; LOCK TABLE one; PREPARE TRANSACTION 'for''gotten'")
    try:
        with background(server, "LOCK TABLE one", error=psycopg.errors.QueryCanceled):
            wait_for(server, WAITS)
            there = findings(server, "blocked_sessions", blocked_warning_seconds=0)
            server.sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted")
        assert list(there) == ["a prepared transaction"]
        assert "'for''gotten' in shop" in there["a prepared transaction"].note
        long = findings(server, "long_transactions", long_transaction_warning_seconds=0)
        assert [one for one in long if one.startswith("prepared")] == [
            "prepared transaction 'for''gotten' of postgres in shop"
        ]
        assert "prepared transaction 'for''gotten'" in looked(server, "wraparound").seen[0].note
    finally:
        server.sql("ROLLBACK PREPARED 'for''gotten'", database="shop")
    assert "prepared" not in looked(server, "wraparound").seen[0].note


def test_worker_of_a_parallel_query_waits_for_its_leaders_sake(server: OwnCluster) -> None:
    server.sql(
        "CREATE OR REPLACE FUNCTION reach() RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN count(*) FROM two; END'",
        database="shop",
    )
    forced = "force_parallel_mode" if server.tools.major < 16 else "debug_parallel_query"
    with server.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE two")
        name = f"session {holder.info.backend_pid} of postgres in shop"
        with background(server, f"SET {forced} = on", "SELECT reach() FROM one"):
            wait_for(server, WAITS)
            with background(server, "LOCK TABLE one"):
                try:
                    wait_for(server, WAITS.replace("count(*)", "count(*) = 2"))
                    workers = server.sql(
                        "SELECT count(*) FROM pg_stat_activity WHERE leader_pid IS NOT NULL AND wait_event_type = 'Lock'"
                    )
                    there = findings(server, "blocked_sessions", blocked_warning_seconds=0)
                finally:
                    holder.rollback()
    assert workers == [(1,)], "it is the worker that waits"
    assert list(there) == [name] and "blocks 2" in there[name].note


def test_autovacuum_that_runs_and_blocks_is_told_and_holds_nothing_back(server: OwnCluster) -> None:
    server.sql(
        "CREATE TABLE large (a int, b text) WITH (autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0)",
        "INSERT INTO large SELECT g, repeat('x', 500) FROM generate_series(1, 20000) AS g",
        "DELETE FROM large WHERE a % 2 = 0",
        "ALTER SYSTEM SET autovacuum = on",
        "SELECT pg_reload_conf()",
        database="shop",
    )
    try:
        vacuumed = "SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'large'::regclass"
        wait_for(server, vacuumed)
        pid = server.sql("SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'large'::regclass", database="shop")[0][
            0
        ]
        held = looked(server, "wraparound")
        assert held.unmeasured == [] and f"session {pid} " not in str([one.note for one in held.seen])
        with background(server, "LOCK TABLE large", error=psycopg.errors.QueryCanceled):
            wait_for(server, WAITS)
            there = findings(server, "blocked_sessions", blocked_warning_seconds=0)
            server.sql("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE NOT granted")
        assert len(there) == 1 and "(autovacuum worker) in shop" in next(iter(there))
    finally:
        server.sql("ALTER SYSTEM RESET autovacuum", "SELECT pg_reload_conf()")
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'")
        server.sql("DROP TABLE large", database="shop")


def test_walsender_in_a_transaction_is_no_long_or_idle_one(server: OwnCluster) -> None:
    given = {"idle_transaction_warning_seconds": 0, "long_transaction_warning_seconds": 0}
    way = f"host={server.socket} port={PORT} user=postgres dbname=shop replication=database"
    with psycopg.connect(way, autocommit=True, cursor_factory=psycopg.ClientCursor) as sender:
        sender.execute("BEGIN")
        kinds = server.sql("SELECT state FROM pg_stat_activity WHERE backend_type = 'walsender'")
        there = found(health(server, checks="idle_transactions,long_transactions", **given), server.home)
        sender.execute("ROLLBACK")
    assert kinds == [("idle in transaction",)] and there == {}


def test_ready_change_ends_the_transaction_that_was_seen_and_no_later_one(server: OwnCluster) -> None:
    with server.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("SELECT 1")
        look = health(server, checks="idle_transactions", idle_transaction_warning_seconds=0)
        ((_, seen),) = found(look, server.home).items()
        holder.rollback()
        holder.execute("SELECT 2")
        run_file(server, seen.change or "")
        holder.execute("SELECT 3")
        look = health(server, checks="idle_transactions", idle_transaction_warning_seconds=0)
        ((_, seen),) = found(look, server.home).items()
        run_file(server, seen.change or "")
        with pytest.raises(psycopg.errors.AdminShutdown):
            holder.execute("SELECT 4")


def test_limits_of_roles_and_databases_are_judged_but_not_those_of_superusers(server: OwnCluster) -> None:
    server.sql("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1", "ALTER ROLE postgres CONNECTION LIMIT 1")
    server.sql("ALTER DATABASE shop CONNECTION LIMIT 2")
    try:
        with psycopg.connect(host=str(server.socket), port=PORT, user="narrow", dbname="shop"), server.connect("shop"):
            there = findings(server, "connections")
    finally:
        server.sql(
            "ALTER ROLE postgres CONNECTION LIMIT -1", "ALTER DATABASE shop CONNECTION LIMIT -1", "DROP ROLE narrow"
        )
    assert {name: one.value for name, one in there.items()} == {"role narrow": 100, "database shop": 100}


def test_reserved_connections_are_not_for_clients(server: OwnCluster) -> None:
    (server_row,) = [one for one in looked(server, "connections").seen if one.object == "server"]
    reserved = (
        "superuser_reserved_connections"
        if server.tools.major < 16
        else "superuser_reserved_connections,reserved_connections"
    )
    most = server.sql(
        "SELECT current_setting('max_connections')::int - (SELECT sum(setting::int) FROM pg_settings WHERE name = ANY (%s))".replace(
            "%s", "string_to_array('" + reserved + "', ',')"
        )
    )
    assert f"of {most[0][0]};" in server_row.note


def test_database_that_was_dropped_by_half_is_told_once_and_blinds_no_check(server: OwnCluster) -> None:
    name = EVIL[0].replace('"', '""')
    server.sql(f'CREATE DATABASE "{name}"', "CREATE DATABASE closed ALLOW_CONNECTIONS false")
    server.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname LIKE 'db%'")
    try:
        look = health(server, checks="invalid_databases,invalid_indexes,wraparound", wraparound_warning_percent=0)
        with at_home(server.home):
            look.databases = look.look.databases(None)
        there = found(look, server.home)
        assert {one.object for one in there.values() if one.check == "invalid_databases"} == {f'database "{name}"'}
        ages = {one.object: one for one in there.values() if one.check == "wraparound"}
        assert {"database closed", "database shop"} <= set(ages) and f'database "{name}"' not in ages
        assert ages["database closed"].change is None and ages["database shop"].run_in == "shop"
        assert list(mend(server, lambda: health(server, checks="invalid_databases"), undo=False)) == [
            f'database "{name}"'
        ]
    finally:
        server.sql("DROP DATABASE closed")


def test_setting_of_a_role_or_a_database_that_gives_data_away_is_told_with_a_change_that_reaches_it(
    server: OwnCluster,
) -> None:
    database, role, both = ('"' + one.replace('"', '""') + '"' for one in EVIL)
    server.sql(f"CREATE DATABASE {database}", f"CREATE ROLE {role}", f"CREATE ROLE {both}")
    server.sql(
        f"ALTER DATABASE {database} SET zero_damaged_pages = yes",
        f"ALTER ROLE {role} SET ignore_checksum_failure = on",
        f"ALTER ROLE {both} IN DATABASE {database} SET zero_damaged_pages = 1",
        "ALTER ROLE ALL SET zero_damaged_pages = on",
        f"ALTER ROLE {both} SET track_counts = on",
        f"ALTER ROLE {both} SET search_path = 'zero_damaged_pages=on'",
    )
    try:
        first = health(server, checks="unsafe_settings")
        there = {name: one for name, one in found(first, server.home).items() if " of " in name}
        assert set(there) == {
            f"zero_damaged_pages of database {database}",
            f"ignore_checksum_failure of role {role}",
            f"zero_damaged_pages of role {both} in database {database}",
            "zero_damaged_pages of all roles",
        }
        before = server.sql("SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2")
        for one in there.values():
            run_file(server, one.change or "")
        left = found(health(server, checks="unsafe_settings"), server.home)
        assert set(left) == {"fsync", "autovacuum"}  # the tests' clusters are made so
        for one in there.values():
            run_file(server, one.undo or "")
        put_back = server.sql("SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2")
        assert [(a, b, sorted(c)) for a, b, c in put_back] == [(a, b, sorted(c)) for a, b, c in before]
    finally:
        server.sql(f"DROP DATABASE {database}", f"DROP ROLE {role}", f"DROP ROLE {both}", "ALTER ROLE ALL RESET ALL")


def test_setting_of_the_command_line_has_no_change_and_the_undo_puts_back_what_was(server: OwnCluster) -> None:
    there = findings(server, "unsafe_settings")
    assert there["fsync"].undo == "ALTER SYSTEM RESET fsync;\nSELECT pg_catalog.pg_reload_conf();", (
        "postgresql.conf says so"
    )
    server.sql("ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    there = findings(server, "unsafe_settings")
    assert "SET full_page_writes = 'off'" in (there["full_page_writes"].undo or "")
    run_file(server, there["full_page_writes"].change or "")
    server.sql("SELECT pg_sleep(0.3)")
    assert "full_page_writes" not in findings(server, "unsafe_settings")
    server.sql("ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()")


def test_archiving_that_nobody_has_said_how_to_do_is_critical_though_nothing_fails(server: OwnCluster) -> None:
    assert looked(server, "failing_archiver").state is State.OK
    server.sql("ALTER SYSTEM SET archive_command = ''", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    try:
        seen = findings(server, "failing_archiver")["archiver"]
        assert seen.state is State.CRITICAL and "says how to archive" in seen.note
        run_file(server, seen.change or "")
        server.sql("SELECT pg_sleep(0.3)")
        assert looked(server, "failing_archiver").state is State.OK
    finally:
        server.sql("ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")


def test_slot_that_nobody_reads_is_told_with_what_it_keeps_and_holds_dead_rows(server: OwnCluster) -> None:
    server.sql("SELECT pg_create_physical_replication_slot('standby', true)")
    server.sql("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')", database="shop")
    server.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))")
    kept = (
        "SELECT (pg_current_wal_lsn() - restart_lsn) / 1048576.0 FROM pg_replication_slots WHERE slot_name = 'standby'"
    )
    least = float(server.sql(kept)[0][0])
    there = findings(server, "replication_slots", slot_warning_mebibytes=2)
    most = float(server.sql(kept)[0][0])
    assert set(there) == {"slot standby", "slot reader"}
    assert round(least, 1) <= (there["slot standby"].value or 0) <= round(most, 1)
    mend(server, lambda: health(server, checks="replication_slots", slot_warning_mebibytes=2), undo=False)
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]


def test_slot_that_holds_the_oldest_transaction_is_named_by_wraparound(server: OwnCluster) -> None:
    server.sql("SELECT pg_create_logical_replication_slot('reader', 'test_decoding')", database="shop")
    try:
        for _ in range(3):
            server.sql("SELECT pg_current_xact_id()")
        assert "replication slot reader, age" in looked(server, "wraparound").seen[0].note
    finally:
        server.sql("SELECT pg_drop_replication_slot('reader')")


def test_database_whose_collation_has_changed_is_told_with_a_change_for_that_database(server: OwnCluster) -> None:
    if server.tools.major == 15:
        kind, version = "LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'", "0"
    else:
        kind, version = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'", "0"
    name = '"' + EVIL[0].replace('"', '""') + '"'
    server.sql(f"CREATE DATABASE {name} TEMPLATE template0 {kind}")
    try:
        assert looked(server, "collation_mismatch").state is State.OK
        server.sql(f"UPDATE pg_database SET datcollversion = '{version}' WHERE datname LIKE 'db%'")
        seen = findings(server, "collation_mismatch")[f"database {name}"]
        assert seen.run_in == EVIL[0]
        run_file(server, seen.change or "", EVIL[0].replace("'", "\\'"))
        assert looked(server, "collation_mismatch").state is State.OK
    finally:
        server.sql(f"DROP DATABASE {name}")


def test_collation_of_a_column_that_has_changed_is_told_when_an_index_sorts_by_it(server: OwnCluster) -> None:
    said = "PROVIDER = icu, LOCALE = 'und'" if server.tools.major == 15 else "PROVIDER = builtin, LOCALE = 'C.UTF-8'"
    server.sql(
        f"CREATE COLLATION sorted ({said})",
        f"CREATE COLLATION idle ({said})",
        "CREATE TABLE texts (a text COLLATE sorted PRIMARY KEY, b text COLLATE idle)",
        "CREATE TABLE cut (a text COLLATE sorted) PARTITION BY RANGE (a)",
        database="shop",
    )
    try:
        assert looked(server, "stale_collations").state is State.OK
        server.sql("UPDATE pg_collation SET collversion = '0' WHERE collname IN ('sorted', 'idle')", database="shop")
        there = mend(server, lambda: health(server, checks="stale_collations"), undo=False)
        assert {name: one.value for name, one in there.items()} == {"collation public.sorted": 1}
        assert "partitioned by it: public.cut" in there["collation public.sorted"].note
    finally:
        server.sql("DROP TABLE texts, cut", "DROP COLLATION sorted", "DROP COLLATION idle", database="shop")


def test_slot_whose_wal_is_gone_is_critical_and_one_that_keeps_it_is_not(server: OwnCluster) -> None:
    server.sql("SELECT pg_create_physical_replication_slot('gone', true)")
    server.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    try:
        assert looked(server, "lost_slots").state is State.OK
        for _ in range(4):
            server.sql("SELECT pg_logical_emit_message(true, 'test', 'x')", "SELECT pg_switch_wal()")
        server.sql("CHECKPOINT", "SELECT pg_create_physical_replication_slot('kept', true)")
        there = findings(server, "lost_slots")
        assert {name: one.state for name, one in there.items()} == {"slot gone": State.CRITICAL}
        run_file(server, there["slot gone"].change or "")
        assert server.sql("SELECT slot_name FROM pg_replication_slots") == [("kept",)]
    finally:
        server.sql("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
        server.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_server_that_archives_nothing_is_not_called_well() -> None:
    with own_cluster(settings={"archive_mode": "off"}) as cluster:
        cluster.sql("CREATE DATABASE shop")
        seen = looked(cluster, "failing_archiver")
        assert seen.state is State.NOT_MEASURED and "archive_mode is off" in seen.unmeasured[0].note
