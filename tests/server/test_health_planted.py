"""Other planted problems: what is meant to fool a check of tables, indexes, keys or sequences, in both directions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from homes import at_home
from mending import found, mend
from own_cluster import OwnCluster, own_cluster
from test_health_checks import health

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: Every check of one database that looks at what is in it.
EVERY = (
    "autovacuum_behind,bloated_indexes,bloated_tables,disabled_triggers,duplicate_indexes,foreign_keys_without_index,invalid_indexes,"
    "partitioned_not_analysed,pending_detach,redundant_indexes,sequence_exhaustion,stale_collations,tables_without_key,unused_indexes,"
    "unvalidated_constraints"
)
GIVEN = {"redundant_index_least_mebibytes": 0.0, "keyless_table_least_rows": 1, "autovacuum_least_dead_rows": 1000}


@pytest.fixture(scope="module", params=[17, 15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster(major=request.param, settings={"track_commit_timestamp": "on"}) as cluster:
        yield cluster


@pytest.fixture
def shop(server: OwnCluster) -> Iterator[OwnCluster]:
    """The server with a database of the test's own."""
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE EXTENSION pgstattuple", database="shop")
    yield server
    server.sql("DROP DATABASE shop WITH (FORCE)")


def look(cluster: OwnCluster, *checks: str, **given: Any) -> Any:
    """What gives a look that has arrived."""
    return partial(health, cluster, checks=",".join(checks), fail_on="warning", **{**GIVEN, **given})


def findings(cluster: OwnCluster, *checks: str, **given: Any) -> dict[str, Any]:
    return found(look(cluster, *checks, **given)(), cluster.home)


def plant(cluster: OwnCluster, *statements: str) -> None:
    cluster.sql(*statements, database="shop")


def use(cluster: OwnCluster, *statements: str) -> None:
    with cluster.connect("shop") as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        for statement in statements:
            connection.execute(statement)
        connection.execute("SELECT pg_stat_force_next_flush()")


ROWS = (
    "CREATE TABLE rows (id int PRIMARY KEY, a int NOT NULL, t text, v varchar(9), n int)",
    "INSERT INTO rows SELECT g, g, g::text, g::text, g FROM generate_series(1, 3000) AS g",
)


def test_indexes_that_differ_in_one_point_are_no_duplicates(shop: OwnCluster) -> None:
    plant(
        shop,
        *ROWS,
        "CREATE INDEX plain ON rows (t)",
        "CREATE INDEX by_pattern ON rows (t text_pattern_ops)",
        'CREATE INDEX by_collation ON rows (t COLLATE "POSIX")',
        "CREATE INDEX descending ON rows (t DESC)",
        "CREATE INDEX nulls_first ON rows (t NULLS FIRST)",
        "CREATE INDEX with_more ON rows (t) INCLUDE (a)",
        "CREATE INDEX of_some ON rows (t) WHERE a > 5",
        "CREATE INDEX of_others ON rows (t) WHERE a > 6",
        "CREATE INDEX hashed ON rows USING hash (t)",
        "CREATE INDEX expressed ON rows (lower(t))",
        "CREATE INDEX expressed_so ON rows (upper(t))",
        "CREATE INDEX coarse ON rows USING brin (a) WITH (pages_per_range = 128)",
        "CREATE INDEX fine ON rows USING brin (a) WITH (pages_per_range = 2)",
        "CREATE INDEX vector ON rows USING gist (to_tsvector('simple', t) tsvector_ops (siglen = 100))",
        "CREATE INDEX vector_long ON rows USING gist (to_tsvector('simple', t) tsvector_ops (siglen = 500))",
        # a deferrable key is checked at the end: it is no substitute for an index that is unique at once
        "ALTER TABLE rows ADD CONSTRAINT late UNIQUE (n) DEFERRABLE",
        "CREATE UNIQUE INDEX at_once ON rows (n)",
    )
    assert findings(shop, "duplicate_indexes") == {}
    plant(
        shop,
        "CREATE INDEX with_more_2 ON rows (t) INCLUDE (a)",
        "CREATE INDEX of_some_2 ON rows (t) WHERE a > 5",
        "CREATE INDEX expressed_2 ON rows (lower(t))",
        "CREATE INDEX fine_2 ON rows USING brin (a) WITH (pages_per_range = 2)",
        "CREATE INDEX vector_2 ON rows USING gist (to_tsvector('simple', t) tsvector_ops (siglen = 100))",
        "CREATE INDEX not_unique ON rows (n)",
        "CREATE UNIQUE INDEX key_again ON rows (id)",
    )
    names = ("with_more_2", "of_some_2", "expressed_2", "fine_2", "vector_2", "not_unique", "key_again")
    assert set(mend(shop, look(shop, "duplicate_indexes"))) == {f"public.{name}" for name in names}


def test_of_two_copies_the_one_that_is_read_stays_and_never_do_both_go(shop: OwnCluster) -> None:
    plant(shop, *ROWS, "CREATE INDEX first ON rows (a)")
    use(shop, "SELECT * FROM rows WHERE id = 7")
    plant(
        shop,
        "CREATE INDEX second ON rows (a)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'first'::regclass",
    )
    use(shop, "SELECT * FROM rows WHERE a = 7")
    plant(shop, "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'first'::regclass")
    there = findings(shop, "duplicate_indexes", "unused_indexes", "redundant_indexes")
    assert list(there) == ["public.first"] and "second is the same" in there["public.first"].note


def test_index_that_something_needs_is_neither_unused_nor_a_duplicate(shop: OwnCluster) -> None:
    plant(
        shop,
        *ROWS,
        "CREATE UNIQUE INDEX identity ON rows (a)",
        "ALTER TABLE rows REPLICA IDENTITY USING INDEX identity",
        "ALTER TABLE rows ADD UNIQUE (a)",
        "CREATE INDEX ordered ON rows (t)",
        "ALTER TABLE rows CLUSTER ON ordered",
        "CREATE INDEX ordered_too ON rows (t)",
        "CREATE TABLE refers (id int PRIMARY KEY, a int REFERENCES rows (id), r int4range, EXCLUDE USING gist (r WITH &&))",
        "INSERT INTO refers SELECT g, g, int4range(g, g + 1) FROM generate_series(1, 3000) AS g",
        "CREATE INDEX some_of_a ON refers (a) WHERE a > 9",
        "CREATE INDEX only_one_of_a ON refers (a, id)",
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM rows",
        "CREATE UNIQUE INDEX for_refresh ON seen (id)",
        "CREATE INDEX idle ON seen (a)",
    )
    there = findings(shop, "duplicate_indexes", "unused_indexes")
    assert set(there) == {"public.ordered_too", "public.some_of_a", "public.idle"}
    assert findings(shop, "foreign_keys_without_index") == {}


def test_index_that_is_younger_than_the_window_is_not_called_unused(shop: OwnCluster) -> None:
    plant(shop, *ROWS, "CREATE INDEX idle ON rows (a)")
    while (age := float(shop.sql("SELECT extract(epoch FROM now() - pg_postmaster_start_time())")[0][0])) < 12:
        shop.sql("SELECT pg_sleep(1)")
    plant(shop, "CREATE INDEX young ON rows (t)")
    shop.sql("SELECT pg_stat_reset()", database="postgres")
    young = look(shop, "unused_indexes", unused_index_window_days=age / 2 / 86400)()
    with at_home(shop.home):
        young.check()
    unseen = {seen.object: seen.note for one in young.looked for seen in one.unmeasured}
    assert "public.young" in unseen and "it has not been there for" in unseen["public.young"]
    plant(shop, "SELECT pg_stat_reset()")
    young = look(shop, "unused_indexes", unused_index_window_days=1)()
    with at_home(shop.home):
        young.check()
    assert {seen.object for one in young.looked for seen in one.unmeasured} == {"public.idle", "public.young"}
    assert young.looked[0].findings == [], "the counters were reset a moment ago"


def test_objects_of_extensions_and_of_other_sessions_are_left_in_peace(shop: OwnCluster) -> None:
    """The same problems thrice: in a table of an extension, in a temporary one of another session, in one of the shop's own."""

    def fill(name: str) -> list[str]:
        return [
            f"INSERT INTO {name} SELECT g, 1, repeat('x', 300) FROM generate_series(1, 20000) AS g",
            f"CREATE INDEX {name}_1 ON {name} (a)",
            f"CREATE INDEX {name}_2 ON {name} (a)",
            f"CREATE INDEX {name}_3 ON {name} (c)",
            f"ALTER TABLE {name} ADD CHECK (a > 0) NOT VALID",
            f"ALTER TABLE {name} DISABLE TRIGGER ALL",
            f"DELETE FROM {name} WHERE a % 10 <> 0",
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}_3'::regclass",
            f"ANALYZE {name}",
        ]

    plant(shop, "CREATE TABLE keys (id int PRIMARY KEY)", "INSERT INTO keys VALUES (1)", "ANALYZE keys")
    plant(shop, "CREATE TABLE own (a int, b int REFERENCES keys, c text)", *fill("own"))
    plant(
        shop,
        "CREATE TABLE foreign_one (a int, b int REFERENCES keys, c text)",
        *fill("foreign_one"),
        "ALTER EXTENSION pgstattuple ADD TABLE foreign_one",
    )
    plant(shop, "ALTER TABLE foreign_one DROP CONSTRAINT foreign_one_b_fkey")
    with shop.connect("shop") as other:
        other.execute("CREATE TEMP TABLE temp_keys (id int PRIMARY KEY)")
        other.execute("INSERT INTO temp_keys VALUES (1)")
        other.execute("CREATE TEMP TABLE passing (a int, b int REFERENCES temp_keys, c text)")
        for statement in fill("passing"):
            other.execute(statement)
        there = findings(shop, *EVERY.split(","))
    assert "public.foreign_one" in there and there["public.foreign_one"].check == "autovacuum_behind", (
        "dead rows are dead rows"
    )
    assert all("own" in name or "public.keys" in name for name in {*there} - {"public.foreign_one"}), list(there)
    told = {one.check for one in there.values()}
    assert {
        "duplicate_indexes",
        "invalid_indexes",
        "unvalidated_constraints",
        "disabled_triggers",
        "foreign_keys_without_index",
    } <= told


def test_index_that_only_looks_as_if_it_served_a_foreign_key_serves_none(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b))",
        "INSERT INTO pairs SELECT g, g FROM generate_series(1, 500) AS g",
        *(
            f"CREATE TABLE {name} (z int, y text, x int, CONSTRAINT k FOREIGN KEY (x, y) REFERENCES pairs)"
            for name in ("included", "collated", "ranged", "partial", "invalid", "served", "hashed")
        ),
        "CREATE INDEX ON included (x) INCLUDE (y)",
        'CREATE INDEX ON collated (x, y COLLATE "POSIX")',
        "CREATE INDEX ON ranged USING brin (x, y)",
        "CREATE INDEX ON partial (x, y) WHERE z IS NULL",
        "CREATE INDEX broken ON invalid (x, y)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "CREATE INDEX ON served (y, x, z)",
        "ALTER TABLE hashed DROP CONSTRAINT k",
        "CREATE TABLE singles (b text PRIMARY KEY)",
        "INSERT INTO singles SELECT g FROM generate_series(1, 500) AS g",
        "ALTER TABLE hashed ADD CONSTRAINT k FOREIGN KEY (y) REFERENCES singles",
        "CREATE INDEX ON hashed USING hash (y)",
        *(
            f"INSERT INTO {name} (x, y) SELECT g, g FROM generate_series(1, 500) AS g"
            for name in ("included", "collated", "ranged", "partial", "invalid", "served", "hashed")
        ),
        "ANALYZE",
    )
    bare = {f"public.{name}.k" for name in ("included", "collated", "ranged", "partial", "invalid")}
    if shop.tools.major >= 18:
        plant(
            shop,
            "CREATE TABLE ones (id int PRIMARY KEY)",
            "CREATE TABLE told (x int CONSTRAINT k REFERENCES ones NOT ENFORCED)",
            "INSERT INTO told SELECT generate_series(1, 500)",
            "ANALYZE told",
        )
    assert set(mend(shop, look(shop, "foreign_keys_without_index"))) == bare


@pytest.mark.parametrize("server", [18], indirect=True)
def test_what_18_knows_of_constraints_is_told_as_it_is(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE TABLE lax (a int, b int CHECK (b > 0) NOT ENFORCED, c int GENERATED ALWAYS AS (a + 1))",
        "INSERT INTO lax SELECT g, -g FROM generate_series(1, 2000) AS g",
        "CREATE UNIQUE INDEX ON lax (a)",
        "ALTER TABLE lax ADD CONSTRAINT given NOT NULL a NOT VALID",
        "ANALYZE",
    )
    assert list(findings(shop, "tables_without_key")) == ["public.lax"], "a NOT NULL that nobody has validated"
    assert list(mend(shop, look(shop, "unvalidated_constraints"), undo=False)) == ["public.lax.given"]
    assert findings(shop, "tables_without_key") == {}


def test_constraint_of_a_domain_and_event_trigger_are_looked_at(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE DOMAIN positive AS int",
        "ALTER DOMAIN positive ADD CONSTRAINT above CHECK (VALUE > 0) NOT VALID",
        "ALTER DOMAIN positive ADD CONSTRAINT below CHECK (VALUE < 100)",
        "CREATE FUNCTION guard() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER guards ON ddl_command_start EXECUTE FUNCTION guard()",
        "CREATE EVENT TRIGGER sleeps ON ddl_command_start EXECUTE FUNCTION guard()",
        "ALTER EVENT TRIGGER sleeps DISABLE",
    )
    assert list(mend(shop, look(shop, "unvalidated_constraints"), undo=False)) == ["domain public.positive.above"]
    assert list(mend(shop, look(shop, "disabled_triggers"))) == ["event trigger sleeps"]


def test_sequences_end_where_the_narrowest_of_all_that_they_feed_does(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE SEQUENCE wide",
        "CREATE TABLE tiny (id smallint DEFAULT nextval('wide') PRIMARY KEY, other int)",
        "CREATE TABLE tiny_too (id int DEFAULT nextval('wide'))",
        "CREATE TABLE refers (id int PRIMARY KEY, tiny smallint REFERENCES tiny)",
        "SELECT setval('wide', 30000)",
        "CREATE SEQUENCE short AS int",
        "CREATE TABLE long (id bigint DEFAULT nextval('short'))",
        "SELECT setval('short', 2000000000)",
        "CREATE TABLE counted (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)",
        "SELECT setval('counted_id_seq', 2000000000)",
        "CREATE SEQUENCE down INCREMENT -1",
        "CREATE TABLE deep (id int DEFAULT nextval('down'))",
        "SELECT setval('down', -2000000000)",
        "CREATE SEQUENCE around MAXVALUE 4000000000 CYCLE",
        "CREATE TABLE ring (id int DEFAULT nextval('around'))",
        "SELECT setval('around', 2000000000)",
        "CREATE SEQUENCE around_within MAXVALUE 100 CYCLE",
        "CREATE TABLE small_ring (id int DEFAULT nextval('around_within'))",
        "SELECT setval('around_within', 99)",
        "CREATE SEQUENCE never_used",
        "CREATE SEQUENCE texts",
        "CREATE TABLE numbered (id text DEFAULT 'n' || nextval('texts'))",
        "SELECT setval('texts', 2000000000)",
    )
    there = mend(shop, look(shop, "sequence_exhaustion"))
    assert {name.removeprefix("public."): one.value for name, one in there.items()} == {
        "wide": 91.556, "short": 93.132, "counted_id_seq": 93.132, "down": 93.132, "around": 93.132,
    }  # fmt: skip
    assert (there["public.wide"].change or "").count("TYPE bigint") == 3, (
        "both that it feeds, and the one that refers to it"
    )
    assert there["public.short"].change == "ALTER SEQUENCE public.short AS bigint;"


def test_range_that_was_narrowed_and_column_of_a_domain_have_no_ready_change(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE SEQUENCE tickets MAXVALUE 1000",
        "CREATE TABLE ticket (id int DEFAULT nextval('tickets'))",
        "SELECT setval('tickets', 950)",
        "CREATE DOMAIN inner_id AS int CHECK (VALUE > 0)",
        "CREATE DOMAIN outer_id AS inner_id",
        "CREATE SEQUENCE domained",
        "CREATE TABLE within (id outer_id DEFAULT nextval('domained'))",
        "SELECT setval('domained', 2000000000)",
    )
    there = findings(shop, "sequence_exhaustion")
    assert {name: (one.value, one.change) for name, one in there.items()} == {
        "public.tickets": (95, None),
        "public.domained": (93.132, None),
    }


def test_options_of_autovacuum_are_read_as_postgresql_reads_them(shop: OwnCluster) -> None:
    rows = "SELECT g AS id, 'x'::text AS t FROM generate_series(1, 10000) AS g"
    plant(
        shop,
        *(f"CREATE TABLE {name} AS {rows}" for name in ("eager", "lazy", "off", "tuned")),
        "ALTER TABLE eager SET (autovacuum_vacuum_scale_factor = 1e-3, autovacuum_vacuum_threshold = 100)",
        "ALTER TABLE lazy SET (autovacuum_vacuum_threshold = 90000)",
        "ALTER TABLE off SET (autovacuum_enabled = OFF)",
        "ALTER TABLE tuned SET (autovacuum_enabled = t)",
        "CREATE TABLE toasted (id int PRIMARY KEY, t text) WITH (toast.autovacuum_enabled = f)",
        "ALTER TABLE toasted ALTER t SET STORAGE EXTERNAL",
        "INSERT INTO toasted SELECT g, repeat('x', 4000) FROM generate_series(1, 2000) AS g",
        "ANALYZE",
        *(f"DELETE FROM {name} WHERE id % 2 = 0" for name in ("eager", "lazy", "tuned")),
        "DELETE FROM off",
        "DELETE FROM toasted",
    )
    there = mend(shop, look(shop, "autovacuum_behind"), undo=False)
    assert {name: one.value for name, one in there.items() if "TOAST" not in name} == {
        "public.eager": 45.5, "public.off": 4.9, "public.tuned": 2.4,
        "public.toasted": 4.4,
    }  # fmt: skip
    assert "autovacuum is off" in there["public.off"].note and "off" not in there["public.tuned"].note
    assert "RESET (toast.autovacuum_enabled)" in (there["TOAST of public.toasted"].change or "")
    assert shop.sql("SELECT count(*) FROM pg_class WHERE reloptions::text LIKE '%enabled=f%'", database="shop") == [
        (0,)
    ]


def test_empty_room_in_a_toast_table_is_told_and_full_ones_are_not(shop: OwnCluster) -> None:
    plant(
        shop,
        *(f"CREATE UNLOGGED TABLE {name} (id int PRIMARY KEY, t text)" for name in ("hollow", "full_one")),
        *(f"ALTER TABLE {name} ALTER t SET STORAGE EXTERNAL" for name in ("hollow", "full_one")),
        *(
            f"INSERT INTO {name} SELECT g, repeat('x', 7900) FROM generate_series(1, 1000) AS g"
            for name in ("hollow", "full_one")
        ),
        "DELETE FROM hollow WHERE id % 10 <> 0",
        "VACUUM hollow, full_one",
    )
    there = mend(shop, look(shop, "bloated_tables"), undo=False)
    assert list(there) == ["TOAST of public.hollow"] and 80 <= (there["TOAST of public.hollow"].value or 0) <= 95


def test_foreign_tables_and_views_raise_no_alarm(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER away FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE far (id int CHECK (id > 0)) SERVER away",
        "CREATE VIEW shown AS SELECT 1 AS n",
        "CREATE MATERIALIZED VIEW kept AS SELECT generate_series(1, 3000) AS n",
        "CREATE MATERIALIZED VIEW empty AS SELECT 1 AS n WITH NO DATA",
        "CREATE UNLOGGED TABLE fleeting (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
        "INSERT INTO fleeting SELECT FROM generate_series(1, 3000)",
        "ANALYZE",
    )
    assert findings(shop, *EVERY.split(",")) == {}


def test_large_table_that_was_never_analysed_is_not_measured_and_a_small_one_is_nothing(shop: OwnCluster) -> None:
    given = {"keyless_table_least_rows": 1000, "foreign_key_least_rows": 1000}
    plant(
        shop,
        "CREATE TABLE keys (id int PRIMARY KEY)",
        "INSERT INTO keys VALUES (1)",
        "CREATE TABLE small_one (a int REFERENCES keys)",
        "INSERT INTO small_one VALUES (1)",
        "CREATE TABLE large (a int REFERENCES keys, t text)",
        "INSERT INTO large SELECT 1, repeat('x', 900) FROM generate_series(1, 2000)",
    )
    checks = ("tables_without_key", "foreign_keys_without_index")
    young = look(shop, *checks, **given)()
    with at_home(shop.home):
        young.check()
    unseen = {seen.object: seen.note for one in young.looked for seen in one.unmeasured}
    assert set(unseen) == {"public.large", "public.large.large_a_fkey"} and "never analysed" in unseen["public.large"]
    assert all(not one.findings for one in young.looked)
    plant(shop, "ANALYZE")
    assert {name: one.value for name, one in findings(shop, *checks, **given).items()} == dict.fromkeys(unseen, 2000)
