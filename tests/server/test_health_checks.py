"""The daily look: each planted problem is found with its figure, its healthy twin is not, and what is not seen is never ok."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from homes import at_home
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.health.daily import DailyHealth
from runbook.inspection.states import Looked, Seen, State
from runbook.inspection.visit import open_read_only
from runbook.model import Check, Status

pytestmark = pytest.mark.server

#: Small and young, as a test is; each test that is about a threshold sets its own.
SMALL = {
    "bloat_least_mebibytes": 1,
    "unused_index_window_days": 0,
    "unused_index_least_mebibytes": 0.01,
    "idle_transaction_warning_seconds": 0.5,
    "blocked_warning_seconds": 0.5,
    "foreign_key_least_rows": 100,
    "slow_query_milliseconds": 50,
}

PLANTED = (
    "CREATE EXTENSION pgstattuple",
    "CREATE EXTENSION pg_stat_statements",
    'CREATE SCHEMA "Odd ""schema"',
    # bloat: three of four rows are gone, and vacuumed; its twin's reserve is on purpose
    "CREATE TABLE swollen AS SELECT g AS id, repeat('x', 200) AS filler FROM generate_series(1, 20000) AS g",
    "CREATE INDEX swollen_id ON swollen (id)",
    "DELETE FROM swollen WHERE id % 4 <> 0",
    "VACUUM swollen",
    "CREATE TABLE roomy (id int, filler text) WITH (fillfactor = 50)",
    "INSERT INTO roomy SELECT g, repeat('x', 200) FROM generate_series(1, 20000) AS g",
    "VACUUM roomy",
    # a sparse index: nine keys of ten are gone, spread over all pages; its twin was built with fillfactor 30
    "CREATE TABLE keys AS SELECT g AS id FROM generate_series(1, 300000) AS g",
    "CREATE INDEX keys_sparse ON keys (id)",
    "DELETE FROM keys WHERE id % 10 <> 0",
    "VACUUM keys",
    "CREATE INDEX keys_reserve ON keys (id) WITH (fillfactor = 20)",
    "INSERT INTO keys SELECT g FROM generate_series(300001, 400000) AS g",
    # unused and duplicate, beside a primary key and a constraint that nobody scans
    'CREATE TABLE "Odd ""schema"."Tab%le" (id bigint PRIMARY KEY, a int UNIQUE, b int)',
    'INSERT INTO "Odd ""schema"."Tab%le" SELECT g, g, g FROM generate_series(1, 5000) AS g',
    'CREATE INDEX "Idx ""x" ON "Odd ""schema"."Tab%le" (b)',
    'CREATE INDEX twin_of_key ON "Odd ""schema"."Tab%le" (a)',
    'CREATE INDEX differs ON "Odd ""schema"."Tab%le" (b) WHERE a > 5',
    # int column on a bigint sequence, only by its default; a cycling one and a bigint column beside it
    "CREATE SEQUENCE wide AS bigint",
    "CREATE TABLE narrow (id int DEFAULT nextval('wide'))",
    "SELECT setval('wide', 1997159792)",
    "CREATE SEQUENCE round_and_round AS smallint CYCLE",
    "SELECT setval('round_and_round', 32767)",
    "CREATE TABLE broad (id bigserial)",
    "SELECT setval('broad_id_seq', 1997159792)",
    # a foreign key without an index, and one with its columns in another order
    "CREATE TABLE parent (a int, b int, PRIMARY KEY (a, b))",
    "CREATE TABLE bare (x int, y int, FOREIGN KEY (x, y) REFERENCES parent)",
    "CREATE TABLE served (x int, y int, FOREIGN KEY (x, y) REFERENCES parent)",
    "CREATE INDEX served_yx ON served (y, x)",
    "INSERT INTO parent SELECT g, g FROM generate_series(1, 500) AS g",
    "INSERT INTO bare SELECT g, g FROM generate_series(1, 500) AS g",
    "INSERT INTO served SELECT g, g FROM generate_series(1, 500) AS g",
    "ANALYZE bare, served",
    "ALTER TABLE bare ADD CONSTRAINT late CHECK (x > 0) NOT VALID",
    "ALTER TABLE served DISABLE TRIGGER ALL",
    # an index that a longer one begins with, in use; its twins differ in their order or predicate
    "CREATE TABLE ranged (id int PRIMARY KEY, a int, b int)",
    "INSERT INTO ranged SELECT g, g, g FROM generate_series(1, 5000) AS g",
    "CREATE INDEX ranged_a ON ranged (a)",
    "CREATE INDEX ranged_b ON ranged (b DESC)",
    "CREATE INDEX ranged_ba ON ranged (b, a) WHERE a > 5",
    "ANALYZE ranged",
    # no key, beside one whose unique columns may be NULL, and one whose unique columns may not
    "CREATE TABLE keyless AS SELECT g AS id FROM generate_series(1, 2000) AS g",
    "CREATE TABLE half_keyed AS SELECT g AS id FROM generate_series(1, 2000) AS g",
    "CREATE UNIQUE INDEX ON half_keyed (id)",
    "CREATE TABLE keyed AS SELECT g AS id FROM generate_series(1, 2000) AS g",
    "ALTER TABLE keyed ALTER id SET NOT NULL",
    "CREATE UNIQUE INDEX ON keyed (id)",
    "ANALYZE keyless, half_keyed, keyed",
    # dead rows behind a table's own threshold
    "CREATE TABLE dead (id int) WITH (autovacuum_vacuum_scale_factor = 0.1)",
    "INSERT INTO dead SELECT generate_series(1, 40000)",
    "ANALYZE dead",
    "DELETE FROM dead WHERE id % 2 = 0",
    "CREATE ROLE watcher LOGIN IN ROLE pg_monitor",
    "CREATE ROLE nobody_at_all LOGIN",
)


@pytest.fixture(scope="module")
def planted() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums", settings={"shared_preload_libraries": "pg_stat_statements"}) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql(*PLANTED, database="shop")
        with pytest.raises(psycopg.errors.UniqueViolation):
            cluster.sql("CREATE UNIQUE INDEX CONCURRENTLY half_built ON roomy ((1))", database="shop")
        for _ in range(6):
            cluster.sql("SELECT pg_sleep(0.08) AS nap", database="shop")
        cluster.sql("SELECT pg_sleep(0.3), 1 AS once", database="shop")
        yield cluster


def health(
    cluster: OwnCluster, user: str = "postgres", checks: str = "all", fail_on: str = "critical", **changed: float
) -> DailyHealth:
    """A look that has arrived, as that role."""
    secret = cluster.home / f"way-{user}"
    secret.write_text(f"host={cluster.socket} port={PORT} user='{user}' dbname=shop\n")
    secret.chmod(0o600)
    thresholds = {name: {"value": value, "source": "this test"} for name, value in {**SMALL, **changed}.items()}
    params = cluster.params(
        health={"connection": {"file": secret.name}, "databases": ["shop"], "sample": "1 s", "thresholds": thresholds}
    )
    with at_home(cluster.home):
        look = DailyHealth(params, "test-health", checks=checks, fail_on=fail_on)
        look.arrive()
    return look


def looked(cluster: OwnCluster, name: str, **given: Any) -> Looked:
    look = health(cluster, checks=name, **given)
    with at_home(cluster.home):
        checks = look.check()
    assert len(checks) == len(look.looked) == 1
    return look.looked[0]


def findings(cluster: OwnCluster, name: str, **given: Any) -> dict[str, Seen]:
    found = looked(cluster, name, **given)
    assert found.unmeasured == [], found.unmeasured
    return {one.object: one for one in found.findings}


def checked(look: DailyHealth, home: Path) -> dict[str, Check]:
    with at_home(home):
        return {check.id: check for check in look.check()}


def test_bloated_table_is_measured_and_a_fillfactor_is_no_bloat(planted: OwnCluster) -> None:
    found = findings(planted, "bloated_tables")
    assert "public.roomy" not in found
    assert 70 <= (found["public.swollen"].value or 0) <= 80
    assert found["public.swollen"].change is not None and "VACUUM (FULL, VERBOSE) public.swollen" in (
        found["public.swollen"].change
    )


def test_sparse_index_is_measured_and_a_fillfactor_is_no_bloat(planted: OwnCluster) -> None:
    found = findings(planted, "bloated_indexes")
    assert "public.keys_sparse" in found and "public.keys_reserve" not in found
    assert (found["public.keys_sparse"].value or 0) >= 50
    assert found["public.keys_sparse"].change == "REINDEX INDEX CONCURRENTLY public.keys_sparse;"


def test_tables_beyond_the_most_that_are_read_are_not_called_ok(planted: OwnCluster) -> None:
    found = looked(planted, "bloated_tables", bloat_most_relations=1)
    assert next(one.object for one in found.unmeasured).endswith("further tables")


def test_small_tables_are_left_in_peace(planted: OwnCluster) -> None:
    assert findings(planted, "bloated_tables", bloat_least_mebibytes=500) == {}


def test_unused_index_is_found_and_keys_are_not(planted: OwnCluster) -> None:
    found = findings(planted, "unused_indexes")
    names = {name for name in found if name.startswith('"Odd')}
    assert names == {'"Odd ""schema"."Idx ""x"', '"Odd ""schema".differs'}, "and twin_of_key is a duplicate, told once"
    assert "public.served_yx" not in found, "the only index behind a foreign key"
    undo = found['"Odd ""schema"."Idx ""x"'].undo
    assert undo == 'CREATE INDEX CONCURRENTLY "Idx ""x" ON "Odd ""schema"."Tab%le" USING btree (b);'


def test_young_counters_make_unused_indexes_not_measured(planted: OwnCluster) -> None:
    found = looked(planted, "unused_indexes", unused_index_window_days=30)
    assert (found.state, found.findings) == (State.NOT_MEASURED, [])
    assert "of 30" in found.unmeasured[0].note


def test_duplicate_index_is_named_once_and_the_constraint_stays(planted: OwnCluster) -> None:
    found = findings(planted, "duplicate_indexes")
    assert set(found) == {'"Odd ""schema".twin_of_key', "public.keys_reserve"}, "another fillfactor is no other index"
    assert "Tab%le_a_key" in found['"Odd ""schema".twin_of_key'].note


def test_invalid_index_is_found(planted: OwnCluster) -> None:
    found = findings(planted, "invalid_indexes")
    assert list(found) == ["public.half_built"]
    assert found["public.half_built"].change == "DROP INDEX CONCURRENTLY public.half_built;"


def test_int_column_on_a_bigint_sequence_is_at_93_percent(planted: OwnCluster) -> None:
    found = findings(planted, "sequence_exhaustion")
    assert {name: one.value for name, one in found.items()} == {"public.wide": 93.0}
    assert found["public.wide"].state is State.CRITICAL
    assert "1997159792 of 2147483647, feeds public.narrow.id (int4)" in found["public.wide"].note


def test_foreign_key_without_index_is_found_and_columns_in_another_order_serve(planted: OwnCluster) -> None:
    found = findings(planted, "foreign_keys_without_index")
    assert {name: one.value for name, one in found.items()} == {"public.bare.bare_x_y_fkey": 500}


def test_unvalidated_constraint_and_disabled_triggers_are_found(planted: OwnCluster) -> None:
    assert list(findings(planted, "unvalidated_constraints")) == ["public.bare.late"]
    assert all(name.startswith("public.served.") for name in findings(planted, "disabled_triggers"))
    assert len(findings(planted, "disabled_triggers")) == 2


def test_dead_rows_are_held_against_the_tables_own_threshold(planted: OwnCluster) -> None:
    found = findings(planted, "autovacuum_behind")
    assert found["public.dead"].value == 4.9  # 20,000 against 50 + 0.1 × 40,000


def test_slow_statement_is_found_and_a_one_off_is_not(planted: OwnCluster) -> None:
    found = findings(planted, "slow_queries")
    text = "\n".join(one.note for one in found.values())
    assert "AS nap" in text and "AS once" not in text
    nap = next(one for one in found.values() if "AS nap" in one.note)
    assert 80 <= (nap.value or 0) < 200 and "6 calls" in nap.note


def test_idle_transaction_and_root_blocker_are_found(planted: OwnCluster) -> None:
    with planted.connect("shop", application_name="holder") as holder:
        holder.autocommit = False
        name = f"session {holder.info.backend_pid} of postgres in shop"
        holder.execute("LOCK TABLE roomy IN ACCESS EXCLUSIVE MODE")
        waiter = threading.Thread(target=planted.sql, args=("SELECT count(*) FROM roomy",), kwargs={"database": "shop"})
        waiter.start()
        time.sleep(1)
        try:
            idle, blocked = findings(planted, "idle_transactions"), findings(planted, "blocked_sessions")
        finally:
            holder.rollback()
            waiter.join()
    assert list(idle) == list(blocked) == [name]
    assert "application 'holder'" in blocked[name].note and "blocks 1" in blocked[name].note
    assert findings(planted, "idle_transactions") == {}


def test_beginning_of_a_longer_index_is_redundant_and_another_order_is_not(planted: OwnCluster) -> None:
    with planted.connect("shop") as connection:
        connection.execute("SET enable_seqscan = off")
        for column in ("a", "b"):
            connection.execute(f"SELECT * FROM ranged WHERE {column} = 7")
        connection.execute("SELECT pg_stat_force_next_flush()")
    planted.sql("CREATE INDEX ranged_ab ON ranged (a, b)", database="shop")
    given = {"redundant_index_least_mebibytes": 0.01, "unused_index_window_days": 35}
    assert findings(planted, "redundant_indexes", **given) == {}, (
        "nothing reads the longer one: that is the one to drop"
    )
    with planted.connect("shop") as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SELECT a, b FROM ranged WHERE a = 7 AND b = 7")
        connection.execute("SELECT pg_stat_force_next_flush()")
    found = findings(planted, "redundant_indexes", **given)
    assert list(found) == ["public.ranged_a"] and "ranged_ab begins with" in found["public.ranged_a"].note
    assert found["public.ranged_a"].change == "DROP INDEX CONCURRENTLY public.ranged_a;"


def test_table_without_a_key_is_found_and_unique_columns_that_are_not_null_are_a_key(planted: OwnCluster) -> None:
    found = findings(planted, "tables_without_key")
    assert {"public.keyless", "public.half_keyed"} <= set(found)
    assert {"public.keyed", "public.ranged", "public.parent", '"Odd ""schema"."Tab%le"'}.isdisjoint(found)
    assert found["public.keyless"].value == 2000


def test_statements_are_ranked_by_what_they_took_in_this_look(planted: OwnCluster) -> None:
    look = health(planted)
    for _ in range(2):
        planted.sql("SELECT 7 AS since_the_first_reading, pg_sleep(0.11)", database="shop")
    with at_home(planted.home):
        first = look.statements()[0]
    assert "since_the_first_reading" in first["statement"] and first["calls"] == 2
    assert 200 <= first["ms in all"] < 1000


def slow(cluster: OwnCluster, kept: dict[str, Any] | None, alias: str, **given: Any) -> list[Seen]:
    """The finding about that statement, judged since that reading."""
    look = health(cluster, checks="slow_queries", slow_query_milliseconds=30, **given)
    look.since(kept)
    with at_home(cluster.home):
        look.check()
    return [one for one in look.looked[0].findings if alias in one.note]


def kept_now(cluster: OwnCluster) -> dict[str, Any]:
    kept = health(cluster).keep_statements()
    assert kept is not None
    return kept


def test_statement_is_judged_by_what_it_took_since_the_look_before(planted: OwnCluster) -> None:
    before = kept_now(planted)
    for _ in range(5):
        planted.sql(
            "SELECT pg_sleep(0.08), 1, 2 AS mended", "SELECT pg_sleep(0.001), 1, 2, 3 AS worse", database="shop"
        )
        planted.sql(*["SELECT pg_sleep(0.001), 1, 2, 3 AS worse"] * 3, database="shop")
    assert len(slow(planted, None, "AS mended")) == len(slow(planted, before, "AS mended")) == 1
    assert slow(planted, None, "AS worse") == []
    before = kept_now(planted)
    for _ in range(5):
        planted.sql(
            "SELECT pg_sleep(0.001), 1, 2 AS mended", "SELECT pg_sleep(0.08), 1, 2, 3 AS worse", database="shop"
        )
    assert len(slow(planted, None, "AS mended")) == 1 and slow(planted, None, "AS worse") == [], (
        "the mean since the reset errs twice"
    )
    assert slow(planted, before, "AS mended") == []
    (worse,) = slow(planted, before, "AS worse")
    assert 80 <= (worse.value or 0) < 200 and "5 calls" in worse.note


def test_statement_that_hardly_ran_since_a_look_of_minutes_ago_is_not_called_mended(planted: OwnCluster) -> None:
    for _ in range(5):
        planted.sql("SELECT pg_sleep(0.08), 1, 2, 3, 4 AS weekly", database="shop")
    before = kept_now(planted)
    assert len(slow(planted, before, "AS weekly")) == 1
    assert slow(planted, before, "AS weekly", slow_query_window_hours=0) == [], "a day later it is"
    planted.sql("SELECT pg_stat_statements_reset()", database="shop")
    for _ in range(5):
        planted.sql("SELECT pg_sleep(0.08), 1, 2, 3, 4 AS weekly", database="shop")
    assert len(slow(planted, before, "AS weekly", slow_query_window_hours=0)) == 1, "its counters began anew"


def test_healthy_server_checks_are_ok(planted: OwnCluster) -> None:
    for name in (
        "wraparound",
        "connections",
        "failing_archiver",
        "checksum_failures",
        "lost_slots",
        "collation_mismatch",
        "waiting_wal",
        "replication_lag",
    ):
        assert looked(planted, name).state is State.OK, name


def test_setting_that_gives_durability_away_is_critical(planted: OwnCluster) -> None:
    found = findings(planted, "unsafe_settings")
    assert set(found) == {"fsync", "autovacuum"}  # the tests' clusters are made so
    assert found["fsync"].change == "ALTER SYSTEM SET fsync = 'on';\nSELECT pg_catalog.pg_reload_conf();"


def test_as_pg_monitor_only_sequences_are_not_measured(planted: OwnCluster) -> None:
    found = checked(health(planted, "watcher"), planted.home)
    unknown = {name for name, check in found.items() if check.status is Status.UNKNOWN}
    assert unknown == {"health/sequence_exhaustion@shop"}
    assert "pg_read_all_data" in (found["health/sequence_exhaustion@shop"].reason or "")


def test_a_role_without_rights_calls_nothing_ok_that_it_cannot_see(planted: OwnCluster) -> None:
    found = checked(health(planted, "nobody_at_all"), planted.home)
    unknown = {name for name, check in found.items() if check.status is Status.UNKNOWN}
    blind = {"slow_queries", "connections", "idle_transactions", "long_transactions", "blocked_sessions"}
    assert {f"health/{name}" for name in blind} <= unknown
    assert {"health/bloated_tables@shop", "health/bloated_indexes@shop", "health/sequence_exhaustion@shop"} <= unknown
    assert "lacks pg_read_all_stats" in (found["health/slow_queries"].reason or "")


def test_without_extensions_their_checks_are_not_measured() -> None:
    with own_cluster() as cluster:
        cluster.sql("CREATE DATABASE shop")
        found = checked(
            health(cluster, checks="slow_queries,bloated_tables,bloated_indexes,checksum_failures"), cluster.home
        )
        assert {check.status for check in found.values()} == {Status.UNKNOWN}
        assert "CREATE EXTENSION pg_stat_statements" in (found["health/slow_queries"].reason or "")
        assert "data_checksums is off" in (found["health/checksum_failures"].reason or "")
        cluster.sql("CREATE EXTENSION pg_stat_statements", database="shop")
        found = checked(health(cluster, checks="slow_queries"), cluster.home)
        assert "shared_preload_libraries" in (found["health/slow_queries"].reason or "")


def test_database_that_cannot_be_entered_is_not_measured(planted: OwnCluster) -> None:
    look = health(planted, checks="invalid_indexes")
    look.databases = [{"name": "shop", "may": True}, {"name": "absent", "may": False}]
    found = checked(look, planted.home)
    assert found["health/invalid_indexes@absent"].status is Status.UNKNOWN


def test_failing_archiver_is_critical_until_it_archives_again() -> None:
    with own_cluster(settings={"archive_command": "false"}) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql("SELECT pg_switch_wal()")
        deadline = time.monotonic() + 30
        while not cluster.sql("SELECT failed_count FROM pg_stat_archiver")[0][0]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert findings(cluster, "failing_archiver")["archiver"].state is State.CRITICAL
        waiting = findings(cluster, "waiting_wal", waiting_wal_warning_segments=1)["archive_status"]
        assert (waiting.value, waiting.state) == (1, State.WARNING) and "0000000100000000" in waiting.note
        assert findings(cluster, "failing_archiver")["archiver"].change is None, "postgresql.conf says so itself"
        cluster.sql(
            "ALTER SYSTEM SET archive_command = 'false hunter2'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"
        )
        overruled = findings(cluster, "failing_archiver")["archiver"]
        reset = "ALTER SYSTEM RESET archive_command;\nSELECT pg_catalog.pg_reload_conf();"
        assert (overruled.change, overruled.undo) == (reset, None) and "hunter2" not in str(overruled)
        cluster.sql("ALTER SYSTEM SET archive_command = 'true'", "SELECT pg_reload_conf()", "SELECT pg_switch_wal()")
        while not cluster.sql("SELECT archived_count FROM pg_stat_archiver")[0][0]:
            assert time.monotonic() < deadline + 60
            time.sleep(0.1)
        assert findings(cluster, "failing_archiver") == {}


def test_nothing_is_written_and_each_check_is_one_query(planted: OwnCluster) -> None:
    before = planted.sql("SELECT count(*) FROM pg_class", database="shop")
    look = health(planted)
    found = checked(look, planted.home)
    with at_home(planted.home):
        look.rates()
    assert look.look.load.queries <= len(found) + 8
    assert planted.sql("SELECT count(*) FROM pg_class", database="shop") == before
    with at_home(planted.home), look._open("shop") as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("CREATE TABLE written (a int)")


def test_slow_check_ends_at_its_timeout_and_is_not_measured(planted: OwnCluster) -> None:
    look = health(planted, checks="bloated_tables")
    hasty = look.settings.model_copy(update={"statement_timeout": 0.001})
    look.look.open_ = open_read_only(look.params, "health", hasty, "test-health")
    found = checked(look, planted.home)["health/bloated_tables@shop"]
    assert found.status is Status.UNKNOWN and "statement timeout" in (found.reason or "")


def test_after_the_changes_the_next_look_says_fixed(planted: OwnCluster, tmp_path: Path) -> None:
    names = "invalid_indexes,duplicate_indexes,bloated_tables,bloated_indexes,disabled_triggers"
    first = health(planted, checks=names)
    with at_home(planted.home):
        first.check()
        files = first.write_changes(tmp_path / "changes")
        earlier = first.remember()
        assert first.findings() and len(files) == len(first.findings())
        for path in sorted((tmp_path / "changes").glob("*.sql")):
            if path.name.endswith(".undo.sql"):
                continue
            statements = [line for line in path.read_text().splitlines() if not line.startswith("--")]
            with planted.connect("shop") as connection:
                for statement in statements:
                    connection.execute(statement)
        second = health(planted, checks=names)
        second.check()
    assert second.findings() == []
    became = second.compare(earlier)
    assert {row["became"] for row in became} == {"fixed"} and len(became) == len(first.findings())


@pytest.mark.parametrize("major", [15, 18])
def test_every_check_runs_on_other_versions(major: int) -> None:
    with own_cluster(*(["--no-data-checksums"] if major == 18 else []), major=major) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql("CREATE TABLE t (id serial PRIMARY KEY, a int)", "CREATE INDEX unused ON t (a)",
                    "INSERT INTO t (a) SELECT generate_series(1, 5000)", database="shop")  # fmt: skip
        look = health(cluster)
        found = checked(look, cluster.home)
    absent = {name.partition("@")[0] for name, check in found.items() if check.status is Status.UNKNOWN}
    allowed = {"health/slow_queries", "health/bloated_tables", "health/bloated_indexes", "health/checksum_failures"}
    assert absent == allowed, [check.reason for check in found.values() if check.status is Status.UNKNOWN]
    unused = next(one for one in look.looked if one.name == "unused_indexes")
    assert [one.object for one in unused.findings] == ["public.unused"]
