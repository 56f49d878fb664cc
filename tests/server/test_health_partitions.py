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
from mending import found, mend
from own_cluster import OwnCluster, own_cluster
from test_health_checks import health

pytestmark = pytest.mark.server

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
