"""A healthy backup raises no alarm, however its cluster was made and its backup taken: params alone describe it."""

from __future__ import annotations

import shlex

import pytest
from homes import at_home, copy_tree, recorded
from own_cluster import OwnCluster, own_cluster
from proof import ask, assert_passes, prove
from runbook import clock
from shop import add_mark, fill, go_on
from strange import change_everything, fill_everything, set_everything, set_late

pytestmark = [pytest.mark.server, pytest.mark.faults]
MARKS = ask("SELECT count(*) FROM mark")


def test_settings_of_roles_and_databases_do_no_harm() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill_everything(cluster)
        set_everything(cluster)
        backup_despite_settings(cluster)
        cluster.fence()
        with cluster.connect("template1", options=OPEN) as connection:
            set_late(connection)
            connection.execute("SELECT pg_switch_wal()")
        outcome = prove(cluster, promote=True, look=ask("SHOW lc_messages", "everything"))
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    assert outcome.seen == "C", "what pg_amcheck says is known by its words"


OPEN = (
    "-c transaction_timeout=0 -c statement_timeout=0 -c idle_session_timeout=0 -c lock_timeout=0 -c role=none -c default_transaction_read_only=off "
    "-c session_preload_libraries= -c local_preload_libraries= -c default_transaction_isolation=read\\ committed"
)


def backup_despite_settings(cluster: OwnCluster) -> None:
    """pg_basebackup suffers from the settings as any other session does."""
    conninfo = f"host={cluster.socket} user=postgres options='{OPEN}'".replace("\\", "\\\\")
    cluster.run("pg_basebackup", "-d", conninfo, "-D", str(cluster.backups / "first"), "-c", "fast", "-Xnone")


def test_cluster_without_checksums_passes() -> None:
    with own_cluster() as cluster:
        fill(cluster)
        cluster.backup("first")
        go_on(cluster)
        assert_passes(prove(cluster, look=MARKS))


@pytest.mark.parametrize("layout", ["plain", "tar"])
def test_postgresql_15_passes(layout: str) -> None:
    with own_cluster("--data-checksums", major=15) as cluster:
        fill(cluster)
        cluster.backup("first", *(["-Ft", "-z"] if layout == "tar" else []))
        go_on(cluster)
        outcome = prove(cluster, look=MARKS)
        assert_passes(outcome)
        assert outcome.check("fence@shop").status == "PASS"


def test_everything_strange_passes_on_postgresql_15() -> None:
    with own_cluster("--data-checksums", major=15, superuser="Big Boss") as cluster:
        fill_everything(cluster)
        cluster.backup("first")
        change_everything(cluster)
        cluster.fence()
        cluster.switch()
        assert_passes(prove(cluster, look=ask("SELECT count(*) FROM typed", "everything")), 500)


@pytest.mark.parametrize("megabytes", [1, 64])
@pytest.mark.parametrize("layout", ["plain", "tar"])
@pytest.mark.parametrize("point", ["latest", "time"])
def test_other_segment_sizes_pass(megabytes: int, layout: str, point: str) -> None:
    with own_cluster("--data-checksums", f"--wal-segsize={megabytes}", settings={"max_wal_size": "1GB"}) as cluster:
        fill(cluster)
        cluster.backup("first", *(["-Ft"] if layout == "tar" else []))
        cluster.fence()
        one = add_mark(cluster, 1)
        cluster.switch()
        add_mark(cluster, 2)
        cluster.switch()
        cluster.changed["cluster"] = {"data_directory": None}
        asked = "latest" if point == "latest" else clock.stamp(one.after_at)
        assert_passes(prove(cluster, look=MARKS, recovery_point=asked), 2 if point == "latest" else 1)


def test_stock_cluster_without_amcheck_passes_with_the_advice_that_its_run_gives() -> None:
    with own_cluster("--data-checksums") as cluster, at_home(cluster.home):
        fill(cluster)
        for name in ("postgres", "shop"):
            cluster.sql("DROP EXTENSION amcheck", database=name)
        cluster.backup("first")
        go_on(cluster)
        cluster.params()
        code, record = recorded(cluster.home, "backup-verification", "--target", "own")
        unknown = [check for check in record["checks"] if check["status"] != "PASS"]
        assert (code, record["verdict"]) == (4, "INCOMPLETE")
        assert [check["id"] for check in unknown] == ["amcheck@postgres", "amcheck@shop"]
        assert "paused at its point cannot be given it" in unknown[0]["reason"]
        command, *words = shlex.split(unknown[0]["next"])
        assert (command, words[0]) == ("runbook", "run")
        code, record = recorded(cluster.home, *words[1:])
        assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
        states = {check["id"]: check["status"] for check in record["checks"]}
        assert states["amcheck@shop"] == states["amcheck-parent@shop"] == "PASS"
        (said,) = [text for text in record["limitations"] if "not at the point" in text]
        assert "amcheck@postgres" in said and "amcheck@shop" in said


def test_amcheck_is_added_in_a_schema_that_nobody_has_prepared() -> None:
    """pg_amcheck's own schema for it is pg_catalog, where whoever may create there could put a function that is chosen before amcheck's."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("DROP EXTENSION amcheck")
        cluster.sql(
            "DROP EXTENSION amcheck",
            "CREATE FUNCTION pg_catalog.bt_index_parent_check(index oid, heapallindexed boolean, rootdescend boolean, checkunique boolean) RETURNS void LANGUAGE plpgsql AS 'BEGIN RETURN; END'",
            "UPDATE pg_index SET indoption = '1' WHERE indexrelid = 'item_name'::regclass",
            database="shop",
        )
        cluster.backup("first")
        go_on(cluster)
        outcome = prove(cluster, promote=True)
        assert (outcome.verdict, str(outcome.check("amcheck@shop").status)) == ("FAIL", "FAIL"), outcome.alarms
        assert "item_name" in (outcome.check("amcheck-parent@shop").reason or "")


def test_other_encodings_and_closed_databases_pass() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql(
            "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
            "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0",
            "CREATE DATABASE mould IS_TEMPLATE true",
            "CREATE DATABASE shut ALLOW_CONNECTIONS false",
            "CREATE DATABASE lonely CONNECTION LIMIT 0",
            "CREATE DATABASE half_dropped",
            "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'",
        )
        for name in ("latin", "ascii", "lonely", "mould"):
            cluster.sql("CREATE EXTENSION amcheck", "CREATE TABLE t (a text)", database=name)
            cluster.sql("INSERT INTO t SELECT chr(g) FROM generate_series(160, 255) AS g", database=name)
        cluster.backup("first")
        go_on(cluster)
        outcome = prove(cluster, look=MARKS)
        assert_passes(outcome)
        assert "shut" in " ".join(outcome.limitations) and "half_dropped" in " ".join(outcome.limitations)


def test_cluster_whose_postgres_database_was_dropped_passes() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("DROP DATABASE postgres", database="shop")
        secret = cluster.home / "connection"
        secret.write_text(secret.read_text().replace("dbname=postgres", "dbname=shop"))
        conninfo = secret.read_text().strip()
        cluster.run("pg_basebackup", "-d", conninfo, "-D", str(cluster.backups / "first"), "-c", "fast", "-Xnone")
        cluster.fence()
        cluster.sql("INSERT INTO mark VALUES (1)", "SELECT pg_switch_wal()", database="shop")
        assert_passes(prove(cluster, look=ask("SELECT 2")))


def test_named_databases_alone_are_looked_at() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("DROP EXTENSION amcheck")
        cluster.changed["cluster"] = {"databases": ["shop"]}
        cluster.backup("first")
        go_on(cluster)
        outcome = prove(cluster, look=MARKS)
        assert_passes(outcome)
        (said,) = [one for one in outcome.limitations if "cluster.databases in params leaves them out" in one]
        assert "postgres" in said and "shop" not in said


def test_zones_of_the_server_do_no_harm() -> None:
    zone = {"log_timezone": "Asia/Kathmandu", "timezone": "America/St_Johns"}
    with own_cluster("--data-checksums", settings=zone) as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        one = add_mark(cluster, 1)
        add_mark(cluster, 2)
        cluster.switch()
        assert_passes(prove(cluster, look=MARKS, recovery_point=one.after_at.isoformat()), 1)


def test_logical_slots_and_replication_settings_do_no_harm() -> None:
    settings = {
        "wal_level": "logical",
        "wal_compression": "on",
        "track_commit_timestamp": "on",
        "max_wal_senders": "30",
    }
    with own_cluster("--data-checksums", settings=settings) as cluster:
        fill(cluster)
        cluster.sql(
            "SELECT pg_create_logical_replication_slot('logical', 'pgoutput')",
            "SELECT pg_create_physical_replication_slot('physical', true)",
            "CREATE PUBLICATION all_of_it FOR ALL TABLES",
        )
        cluster.sql(
            "SET client_min_messages = error",
            "CREATE SUBSCRIPTION sub CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)",
            database="shop",
        )
        cluster.backup("first")
        go_on(cluster)
        with at_home(cluster.home):
            assert_passes(prove(cluster, look=MARKS))


def test_library_that_this_machine_lacks_is_unknown_and_no_damage() -> None:
    """Production has an extension; the programs that verify come without its library."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql(
            "CREATE EXTENSION hstore",
            "CREATE TABLE pairs (id int PRIMARY KEY, kv hstore)",
            "INSERT INTO pairs SELECT g, hstore('a', g::text) FROM generate_series(1, 500) AS g",
            "CREATE INDEX ON pairs (kv)",
            database="shop",
        )
        cluster.backup("first")
        go_on(cluster)
        assert_passes(prove(cluster, look=MARKS))
        # Libraries are found by where the program itself lies, so links would lead back to the complete installation.
        copy = cluster.home / "programs"
        copy_tree(cluster.tools.bin.resolve().parent, copy)
        lacking = list(copy.rglob("hstore.so"))
        assert lacking
        for path in lacking:
            path.unlink()
        outcome = prove(cluster, cluster.params(cluster={"bin_directory": str(copy / "bin")}))
        alarms = {item.split(":")[0]: item for item in outcome.alarms}
        assert outcome.verdict == "INCOMPLETE" and alarms.keys() == {"fence@shop", "read@shop", "amcheck@shop"}, alarms
        assert all("hstore" in item for item in alarms.values())
        assert "bin_directory" in (outcome.check("read@shop").next or "")


@pytest.mark.parametrize("megabytes", [1, 16])
def test_records_larger_than_a_segment_and_points_around_them(megabytes: int) -> None:
    with own_cluster("--data-checksums", f"--wal-segsize={megabytes}", settings={"max_wal_size": "1GB"}) as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        one = add_mark(cluster, 1)
        before = cluster.lsn()
        cluster.sql("SELECT pg_logical_emit_message(false, 'large', repeat('y', 40 * 1024 * 1024))")
        behind = cluster.lsn()
        two = add_mark(cluster, 2)
        cluster.switch()
        for point, seen in ((before, 1), (behind, 1), (one.after, 1), (two.before, 1), (two.after, 2), ("latest", 2)):
            assert_passes(prove(cluster, look=MARKS, recovery_point=point), seen)


def test_login_triggers_of_a_restored_database_do_not_fire() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        with cluster.connect("shop") as connection:
            connection.execute("INSERT INTO mark VALUES (1), (2)")
            connection.execute(
                "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"
            )
            connection.execute("CREATE EVENT TRIGGER door ON login EXECUTE FUNCTION refuse()")
            connection.execute("ALTER EVENT TRIGGER door ENABLE ALWAYS")
            connection.execute("ALTER DATABASE shop SET event_triggers = on")
        cluster.switch()
        assert_passes(prove(cluster, look=MARKS, promote=True))
