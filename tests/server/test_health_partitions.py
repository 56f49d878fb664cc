"""The daily look at partitioned tables: a problem of the whole is told once, at the top, with a change that works, and its undo."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from homes import at_home
from mending import found, mend, run_file
from own_cluster import OwnCluster, own_cluster
from test_health_checks import health

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: By range, below it by list and by hash, with a default partition; a row a day.
SALES = (
    "CREATE TABLE sales (id int NOT NULL, at date NOT NULL, kind int, note text) PARTITION BY RANGE (at)",
    "CREATE TABLE sales_20 PARTITION OF sales FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE sales_21 PARTITION OF sales FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (kind)",
    "CREATE TABLE sales_21_odd PARTITION OF sales_21 FOR VALUES IN (1) PARTITION BY HASH (id)",
    "CREATE TABLE sales_21_odd_a PARTITION OF sales_21_odd FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE sales_21_odd_b PARTITION OF sales_21_odd FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "CREATE TABLE sales_21_rest PARTITION OF sales_21 DEFAULT",
    "CREATE TABLE sales_rest PARTITION OF sales DEFAULT",
    "INSERT INTO sales SELECT g, date '2020-01-01' + g % 1000, g % 3, 'n' FROM generate_series(1, 6000) AS g",
    "ANALYZE sales",
)
LEAVES = ("sales_20", "sales_21_odd_a", "sales_21_odd_b", "sales_21_rest", "sales_rest")


@pytest.fixture(scope="module", params=[17, 15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster(major=request.param) as cluster:
        yield cluster


@pytest.fixture
def shop(server: OwnCluster) -> Iterator[OwnCluster]:
    """The server with an empty database of the test's own."""
    server.sql("CREATE DATABASE shop")
    yield server
    server.sql("DROP DATABASE shop WITH (FORCE)")


def look(cluster: OwnCluster, *checks: str, **given: Any) -> Any:
    """What gives a look that has arrived."""
    return partial(health, cluster, checks=",".join(checks), fail_on="warning", **given)


def plant(cluster: OwnCluster, *statements: str) -> None:
    cluster.sql(*SALES, *statements, database="shop")


def findings(cluster: OwnCluster, *checks: str, **given: Any) -> dict[str, Any]:
    return found(look(cluster, *checks, **given)(), cluster.home)


def use(cluster: OwnCluster, *statements: str) -> None:
    """The statements have used indexes, and the counters know."""
    with cluster.connect("shop") as connection:
        connection.execute("SET enable_seqscan = off")
        for statement in statements:
            connection.execute(statement)
        connection.execute("SELECT pg_stat_force_next_flush()")


def test_invalid_index_of_a_partitioned_table_is_built_where_it_lacks(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE INDEX whole ON sales (id, lower(note)) WHERE id > 5",
        "CREATE INDEX parts ON ONLY sales (id, lower(note) text_pattern_ops DESC) INCLUDE (kind) WHERE id > 5",
        "CREATE INDEX one_of_them ON sales_20 (id, lower(note) text_pattern_ops DESC) INCLUDE (kind) WHERE id > 5",
        "ALTER INDEX parts ATTACH PARTITION one_of_them",
    )
    there = mend(shop, look(shop, "invalid_indexes"), undo=False)
    assert list(there) == ["public.parts"] and "4 of its partitions" in there["public.parts"].note
    count = "SELECT count(*) FROM pg_partition_tree('parts'), pg_index WHERE indexrelid = relid AND indisvalid"
    assert shop.sql(count, database="shop") == [(8,)]


def test_invalid_key_of_a_partitioned_table_is_built_where_it_lacks(shop: OwnCluster) -> None:
    plant(
        shop,
        "ALTER TABLE sales ALTER kind SET NOT NULL",
        "ALTER TABLE ONLY sales ADD CONSTRAINT sales_key UNIQUE (id, at, kind) DEFERRABLE INITIALLY DEFERRED",
    )
    there = mend(shop, look(shop, "invalid_indexes"), undo=False)
    assert list(there) == ["public.sales_key"] and ", unique" in there["public.sales_key"].note
    with pytest.raises(Exception, match="duplicate key"):
        shop.sql("INSERT INTO sales SELECT * FROM sales LIMIT 1", database="shop")


@pytest.mark.parametrize("what", ["index", "key", "foreign key"])
def test_change_that_was_cut_short_anywhere_is_ended_by_the_next_one(shop: OwnCluster, what: str) -> None:
    plant(shop, "CREATE TABLE kinds (kind int PRIMARY KEY)", "INSERT INTO kinds VALUES (0), (1), (2)")
    made = {
        "index": "CREATE INDEX parts ON ONLY sales (id DESC)",
        "key": "ALTER TABLE ONLY sales ADD CONSTRAINT parts UNIQUE (id, at, kind)",
        "foreign key": "ALTER TABLE sales ADD CONSTRAINT parts FOREIGN KEY (kind) REFERENCES kinds",
    }[what]
    checks = ("invalid_indexes", "foreign_keys_without_index", "duplicate_indexes")
    at = 0
    while True:
        shop.sql(made, database="shop")
        ((_, seen),) = findings(shop, *checks).items()
        statements = (seen.change or "").splitlines()
        run_file(shop, "\n".join(statements[:at]) + "\n")
        for _ in range(2):
            for one in findings(shop, *checks).values():
                run_file(shop, one.change or "")
        assert findings(shop, *checks) == {}, statements[at : at + 1]
        shop.sql("ALTER TABLE sales DROP CONSTRAINT IF EXISTS parts", "DROP INDEX IF EXISTS parts", database="shop")
        for (name,) in shop.sql(
            "SELECT oid::regclass::text FROM pg_class WHERE relname ~ '^(part|fk)_' AND relkind = 'I' AND NOT relispartition",
            database="shop",
        ):
            shop.sql(f"DROP INDEX {name}", database="shop")
        assert shop.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^(part|fk)_'", database="shop") == [(0,)], (
            "nothing is left"
        )
        if at >= len(statements):
            break
        at += 1


def test_invalid_index_with_nothing_lacking_is_built_beside_itself(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE INDEX parts ON ONLY sales (id)",
        "CREATE INDEX lone ON sales_20 (id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'lone'::regclass",
        "ALTER INDEX parts ATTACH PARTITION lone",
    )
    assert list(mend(shop, look(shop, "invalid_indexes"), undo=False)) == ["public.parts"]
    shop.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'parts'::regclass", database="shop")
    there = mend(shop, look(shop, "invalid_indexes"), undo=False)
    assert "has not become valid" in there["public.parts"].note
    assert shop.sql(
        "SELECT count(*) FROM pg_class WHERE relkind IN ('i', 'I')  AND relname !~ '^pg_'", database="shop"
    ) == [(8,)]


def test_invalid_index_beside_a_foreign_partition_is_built_anew(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER away FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE sales_30 PARTITION OF sales FOR VALUES FROM ('2030-01-01') TO ('2031-01-01') SERVER away",
        "CREATE INDEX whole ON sales (at)",
    )
    assert findings(shop, "invalid_indexes") == {}
    shop.sql("CREATE INDEX parts ON ONLY sales (id)", database="shop")
    assert list(mend(shop, look(shop, "invalid_indexes"), undo=False)) == ["public.parts"]


def test_index_that_is_built_right_now_is_not_told(shop: OwnCluster) -> None:
    plant(shop, "CREATE INDEX parts ON ONLY sales (id)")

    def build() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            shop.sql("CREATE INDEX CONCURRENTLY built ON sales_20 (id)", database="shop")

    with shop.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("INSERT INTO sales VALUES (1, '2020-01-01')")
        building = threading.Thread(target=build)
        building.start()
        while not shop.sql("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('built')", database="shop"):
            time.sleep(0.05)
        try:
            assert findings(shop, "invalid_indexes") == {}, "neither it nor the one that waits for it"
        finally:
            shop.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
            building.join()
            holder.rollback()
    assert set(findings(shop, "invalid_indexes")) == {"public.parts", "public.built"}


def test_unused_index_of_a_partitioned_table_is_the_sum_of_its_parts(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE INDEX whole ON sales (id)",
        "CREATE INDEX used_once ON sales (kind)",
        "CREATE INDEX alone ON sales_20 (note)",
    )
    use(shop, "SELECT * FROM sales_21_odd_b WHERE kind = 1")
    with at_home(shop.home):
        young = look(shop, "unused_indexes", unused_index_window_days=1)()
        young.check()
    unseen = {seen.object for one in young.looked for seen in one.unmeasured}
    assert unseen == {"public.whole", "public.alone"}, "no attached one, and none of which a part is read"
    shop.sql("DROP INDEX used_once", database="shop")
    there = mend(shop, look(shop, "unused_indexes"))
    assert set(there) == unseen
    assert "and its partitions" in there["public.whole"].note and (there["public.whole"].value or 0) > 0


def test_only_index_behind_a_key_of_a_partitioned_table_is_not_unused(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE TABLE kinds (kind int PRIMARY KEY)",
        "INSERT INTO kinds VALUES (0), (1), (2)",
        "ALTER TABLE sales ADD FOREIGN KEY (kind) REFERENCES kinds",
        "CREATE INDEX serves ON sales (kind)",
        "CREATE INDEX serves_too ON sales (kind, id)",
        "CREATE INDEX late ON sales_20 (kind) WHERE id > 7",
        "CREATE TABLE notes (note text PRIMARY KEY)",
        "INSERT INTO notes VALUES ('n')",
        "ALTER TABLE sales_rest ADD FOREIGN KEY (note) REFERENCES notes",
        "CREATE INDEX noted ON sales (note)",
    )
    there = mend(shop, look(shop, "unused_indexes"))
    assert set(there) == {"public.serves_too", "public.late"}, "one of two stays; a partial one serves no key"


def test_duplicate_index_of_a_partitioned_table_is_told_once(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE INDEX whole ON sales (id)",
        "CREATE INDEX again ON sales (id)",
        "CREATE INDEX alone ON sales_20 (id)",
    )
    there = mend(shop, look(shop, "duplicate_indexes"))
    assert set(there) == {"public.again", "public.alone"}
    shop.sql("DROP INDEX again, alone", database="shop")
    shop.sql("CREATE INDEX elsewhere ON sales_21 (id)", database="shop")
    assert set(mend(shop, look(shop, "duplicate_indexes"))) == {"public.elsewhere"}


def test_redundant_index_of_a_partitioned_table_is_told_once(shop: OwnCluster) -> None:
    plant(shop, "CREATE INDEX short ON sales (id)", "CREATE INDEX short_alone ON sales_20 (id) WITH (fillfactor = 80)")
    shop.sql("DROP INDEX short_alone", database="shop")
    use(shop, "SELECT * FROM sales WHERE id = 7")
    shop.sql("CREATE INDEX long ON sales (id, at)", database="shop")
    given = {"redundant_index_least_mebibytes": 0.01, "unused_index_window_days": 35}
    assert findings(shop, "redundant_indexes", **given) == {}, (
        "the longer one is read by nobody: dropping both would leave none"
    )
    use(
        shop,
        *["SELECT id, at FROM sales WHERE id = 7 AND at > '2020-02-02'"] * 3,
        "SELECT id, at FROM sales ORDER BY id, at",
    )
    assert set(mend(shop, look(shop, "redundant_indexes", **given), again=False)) == {"public.short"}


def test_table_without_a_key_is_told_once_with_the_rows_of_its_partitions(shop: OwnCluster) -> None:
    plant(shop)
    there = findings(shop, "tables_without_key")
    assert {name: one.value for name, one in there.items()} == {"public.sales": 6000}
    assert "so are 5 of its partitions" in there["public.sales"].note
    for leaf in LEAVES[1:]:
        shop.sql(f"ALTER TABLE {leaf} ADD PRIMARY KEY (id)", database="shop")
    there = findings(shop, "tables_without_key", keyless_table_least_rows=10)
    rows = shop.sql("SELECT count(*) FROM sales_20", database="shop")[0][0]
    assert {name: one.value for name, one in there.items()} == {"public.sales": rows}, "those that have one are keyed"
    shop.sql("ALTER TABLE sales_20 ADD PRIMARY KEY (id)", database="shop")
    assert findings(shop, "tables_without_key", keyless_table_least_rows=10) == {}


def test_key_of_the_whole_is_a_key_of_its_partitions(shop: OwnCluster) -> None:
    plant(shop, "ALTER TABLE sales ADD PRIMARY KEY (id, at, kind)")
    assert findings(shop, "tables_without_key", keyless_table_least_rows=1) == {}


REFERRED = (
    "CREATE TABLE kinds (kind int PRIMARY KEY)",
    "INSERT INTO kinds VALUES (0), (1), (2)",
    "ALTER TABLE sales ADD CONSTRAINT of_kind FOREIGN KEY (kind) REFERENCES kinds",
)


def test_foreign_key_of_a_partitioned_table_is_told_once_and_its_index_is_built_concurrently(shop: OwnCluster) -> None:
    plant(shop, *REFERRED, "ALTER TABLE sales ADD CONSTRAINT of_kind_too FOREIGN KEY (kind) REFERENCES kinds")
    names = [f"public.sales.{name}" for name in ("of_kind", "of_kind_too")]
    there = findings(shop, "foreign_keys_without_index")
    assert {name: one.value for name, one in there.items()} == dict.fromkeys(names, 6000)
    assert there[names[1]].change is None and "will serve it" in there[names[1]].note, "one index serves both"
    shop.sql("ALTER TABLE sales DROP CONSTRAINT of_kind_too", database="shop")
    there = mend(shop, look(shop, "foreign_keys_without_index"))
    assert list(there) == ["public.sales.of_kind"] and "5 of its partitions" in there["public.sales.of_kind"].note
    shop.sql("CREATE INDEX whole ON sales (kind, at)", database="shop")
    assert findings(shop, "foreign_keys_without_index", foreign_key_least_rows=0) == {}, "an index of the whole counts"


def test_partitions_with_an_index_of_their_own_are_served(shop: OwnCluster) -> None:
    plant(shop, *REFERRED, *(f"CREATE INDEX ON {leaf} (kind)" for leaf in LEAVES[1:]))
    there = findings(shop, "foreign_keys_without_index", foreign_key_least_rows=1)
    rows = shop.sql("SELECT count(*) FROM sales_20", database="shop")[0][0]
    assert {name: one.value for name, one in there.items()} == {"public.sales.of_kind": rows}
    mend(shop, look(shop, "foreign_keys_without_index", foreign_key_least_rows=1))
    shop.sql("CREATE INDEX ON sales_20 (kind)", database="shop")
    assert findings(shop, "foreign_keys_without_index", foreign_key_least_rows=1) == {}


def test_foreign_key_to_a_partitioned_table_is_told_once_and_so_is_one_of_a_partition(shop: OwnCluster) -> None:
    plant(
        shop,
        "ALTER TABLE sales ADD PRIMARY KEY (id, at, kind)",
        "CREATE TABLE lines (id int, at date, kind int, FOREIGN KEY (id, at, kind) REFERENCES sales)",
        "INSERT INTO lines SELECT id, at, kind FROM sales LIMIT 500",
        "CREATE TABLE notes (note text PRIMARY KEY)",
        "INSERT INTO notes VALUES ('n')",
        "ALTER TABLE sales_20 ADD CONSTRAINT noted FOREIGN KEY (note) REFERENCES notes",
        "ANALYZE",
    )
    there = mend(shop, look(shop, "foreign_keys_without_index"))
    assert set(there) == {"public.lines.lines_id_at_kind_fkey", "public.sales_20.noted"}
    assert there["public.lines.lines_id_at_kind_fkey"].value == 500


def test_foreign_key_of_a_part_of_a_partitioned_table_is_told_there(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE TABLE kinds (kind int PRIMARY KEY)",
        "INSERT INTO kinds VALUES (0), (1), (2)",
        "ALTER TABLE sales_21 ADD CONSTRAINT of_kind FOREIGN KEY (kind) REFERENCES kinds",
    )
    assert list(mend(shop, look(shop, "foreign_keys_without_index"))) == ["public.sales_21.of_kind"], (
        "a part of it alone"
    )


def test_constraint_that_partitions_inherit_is_told_once_and_validated_below(shop: OwnCluster) -> None:
    plant(
        shop,
        "ALTER TABLE sales ADD CONSTRAINT known CHECK (kind IS NOT NULL) NOT VALID",
        "ALTER TABLE sales_20 ADD CONSTRAINT own CHECK (id > 0) NOT VALID",
        "CREATE TABLE above (a int)",
        "CREATE TABLE below () INHERITS (above)",
        "ALTER TABLE above ADD CONSTRAINT positive CHECK (a > 0) NOT VALID",
    )
    names = {"public.sales.known", "public.sales_20.own", "public.above.positive"}
    if shop.tools.major >= 18:
        shop.sql("ALTER TABLE sales ADD CONSTRAINT said NOT NULL note NOT VALID", database="shop")
        names.add("public.sales.said")
        shop.sql(*REFERRED[:2], f"{REFERRED[2]} NOT VALID", database="shop")
        names.add("public.sales.of_kind")
    assert set(mend(shop, look(shop, "unvalidated_constraints"), undo=False)) == names
    assert shop.sql("SELECT count(*) FROM pg_constraint WHERE NOT convalidated", database="shop") == [(0,)]


def test_foreign_key_to_a_partitioned_table_that_was_not_validated_is_told_once(shop: OwnCluster) -> None:
    plant(
        shop,
        "ALTER TABLE sales ADD PRIMARY KEY (id, at, kind)",
        "CREATE TABLE lines (id int, at date, kind int)",
        "ALTER TABLE lines ADD CONSTRAINT of_sale FOREIGN KEY (id, at, kind) REFERENCES sales NOT VALID",
    )
    assert list(mend(shop, look(shop, "unvalidated_constraints"), undo=False)) == ["public.lines.of_sale"]


def test_trigger_that_is_off_on_the_whole_is_told_once_and_on_a_partition_there(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        *(
            f"CREATE TRIGGER {name} AFTER INSERT ON sales FOR EACH ROW EXECUTE FUNCTION quiet()"
            for name in ("ever", "off", "half", "top")
        ),
        "CREATE TRIGGER each AFTER INSERT ON sales FOR EACH STATEMENT EXECUTE FUNCTION quiet()",
        "ALTER TABLE sales DISABLE TRIGGER off",
        "ALTER TABLE sales DISABLE TRIGGER each",
        "ALTER TABLE ONLY sales DISABLE TRIGGER top",
        "ALTER TABLE ONLY sales_21_odd_a DISABLE TRIGGER half",
    )
    there = mend(shop, look(shop, "disabled_triggers"))
    assert set(there) == {"public.sales.off", "public.sales.each", "public.sales.top", "public.sales_21_odd_a.half"}
    assert (there["public.sales.off"].undo or "").count("DISABLE") == 8, "wherever it was off"


def test_constraint_triggers_of_a_partitioned_table_are_told_at_the_top(shop: OwnCluster) -> None:
    plant(shop, *REFERRED, "ALTER TABLE sales DISABLE TRIGGER ALL")
    there = mend(shop, look(shop, "disabled_triggers"))
    assert {name.rpartition(".")[0] for name in there} == {"public.sales"} and len(there) == 2


def test_sequence_that_feeds_a_partitioned_table_is_told_with_a_change_at_the_top(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE TABLE fed (id serial, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE fed_20 PARTITION OF fed FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "CREATE SEQUENCE own",
        "CREATE TABLE fed_21 PARTITION OF fed (id DEFAULT nextval('own')) FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        "SELECT setval('own', 2000000000)",
        "SELECT setval('fed_id_seq', 2000000000)",
    )
    names = {"public.fed_id_seq", "public.own"}
    there = found(look(shop, "sequence_exhaustion")(), shop.home)
    assert set(there) == names and {one.value for one in there.values()} == {93.132}
    assert there["public.own"].change == "ALTER TABLE public.fed ALTER COLUMN id TYPE bigint;"
    shop.sql("ALTER TABLE fed_21 ALTER id DROP DEFAULT", "DROP SEQUENCE own", database="shop")
    if shop.tools.major >= 17:
        shop.sql(
            "CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY, at date) PARTITION BY RANGE (at)",
            "CREATE TABLE counted_20 PARTITION OF counted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
            "SELECT setval('counted_id_seq', 2000000000)",
            database="shop",
        )
        names.add("public.counted_id_seq")
    assert set(mend(shop, look(shop, "sequence_exhaustion"))) == names - {"public.own"}


def test_partitioned_table_that_was_never_analysed_is_told_and_its_partitions_do_not_help(shop: OwnCluster) -> None:
    plant(shop)
    given = {"partitioned_least_rows": 1000}
    assert findings(shop, "partitioned_not_analysed", **given) == {}
    shop.sql(
        "INSERT INTO sales SELECT g, '2020-02-02', 1 FROM generate_series(1, 9000) AS g",
        "ANALYZE sales_20",
        database="shop",
    )
    there = mend(shop, look(shop, "partitioned_not_analysed", **given), undo=False)
    assert {name: one.value for name, one in there.items()} == {"public.sales": 60}
    shop.sql(
        "CREATE TABLE fresh (a int) PARTITION BY LIST (a)",
        "CREATE TABLE fresh_1 PARTITION OF fresh FOR VALUES IN (1)",
        "INSERT INTO fresh SELECT 1 FROM generate_series(1, 2000)",
        "ANALYZE fresh_1",
        database="shop",
    )
    there = mend(shop, look(shop, "partitioned_not_analysed", **given), undo=False)
    assert {name: one.value for name, one in there.items()} == {"public.fresh": 100}


def test_detach_that_was_cut_short_is_told_and_one_that_still_runs_is_not(shop: OwnCluster) -> None:
    plant(shop)
    shop.sql("DROP TABLE sales_rest", "DROP TABLE sales_21", database="shop")

    def detach() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            shop.sql("ALTER TABLE sales DETACH PARTITION sales_20 CONCURRENTLY", database="shop")

    with shop.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("SELECT count(*) FROM sales")
        detaching = threading.Thread(target=detach)
        detaching.start()
        while not shop.sql("SELECT 1 FROM pg_inherits WHERE inhdetachpending", database="shop"):
            time.sleep(0.05)
        try:
            assert findings(shop, "pending_detach") == {}
        finally:
            shop.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE sales DETACH%'")
            detaching.join()
            holder.rollback()
    there = findings(shop, "pending_detach")
    assert list(there) == ["public.sales_20"]
    mend(shop, look(shop, "pending_detach"), undo=False)
    run_file(shop, there["public.sales_20"].undo or "")
    assert shop.sql("SELECT count(*) FROM pg_inherits WHERE inhrelid = 'sales_20'::regclass", database="shop") == [(1,)]


def test_bloat_is_that_of_each_partition_and_its_change_works(shop: OwnCluster) -> None:
    plant(
        shop,
        "CREATE EXTENSION pgstattuple",
        "CREATE INDEX whole ON sales (id)",
        "INSERT INTO sales SELECT g, '2020-02-02', 1, repeat('x', 200) FROM generate_series(1, 60000) AS g",
        "DELETE FROM sales WHERE id % 5 <> 0",
        "VACUUM sales",
    )
    there = mend(shop, look(shop, "bloated_tables", "bloated_indexes"), undo=False)
    assert set(there) == {"public.sales_20", "public.sales_20_id_idx"}


def test_rows_that_are_dead_in_a_partition_are_told_there(shop: OwnCluster) -> None:
    plant(
        shop, "INSERT INTO sales SELECT g, '2020-02-02', 1 FROM generate_series(1, 20000) AS g", "DELETE FROM sales_20"
    )
    there = mend(shop, look(shop, "autovacuum_behind"), undo=False)
    assert list(there) == ["public.sales_20"]
