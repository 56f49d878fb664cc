"""What the verifying host lacks is INCOMPLETE with what to do about it, stops no other table, database or check, and hides no damage."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from own_cluster import OwnCluster, own_cluster, service_user
from proof import Outcome, prove
from runbook.errors import PlatformError, TargetError
from runbook.postgres.osuser import give
from shop import fill, go_on

pytestmark = [pytest.mark.server, pytest.mark.faults]

_LIBRARY = "could not access file"


def lacking(cluster: OwnCluster) -> None:
    """A database whose tables need what this host will not have, each in its own way, beside one that needs nothing."""
    extension = cluster.home / "extension"
    extension.mkdir(mode=0o755)
    source = cluster.run("pg_config", "--pkglibdir").strip()
    shutil.copy(f"{source}/hstore.so", extension)
    give(extension, service_user())
    cluster.create_database(
        "lacking",
        "CREATE TABLE plain AS SELECT i FROM generate_series(1, 500) AS i",
        # a library
        "CREATE EXTENSION hstore",
        f"UPDATE pg_proc SET probin = '{extension}/hstore' WHERE probin = '$libdir/hstore'",
        "CREATE TABLE attr (id int PRIMARY KEY, h hstore)",
        "INSERT INTO attr SELECT i, hstore('k', i::text) FROM generate_series(1, 2000) AS i",
        "CREATE INDEX attr_h ON attr USING btree (h)",
        # a file of text search
        "CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = simple, STOPWORDS = english)",
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
        "ALTER TEXT SEARCH CONFIGURATION words ALTER MAPPING FOR asciiword WITH plain_words",
        "CREATE TABLE text (t text)",
        "INSERT INTO text SELECT 'word ' || i FROM generate_series(1, 100) AS i",
        "CREATE INDEX text_words ON text (to_tsvector('public.words'::regconfig, t))",
        # a function that names another one without its schema
        "CREATE FUNCTION helper(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * 2; END'",
        "CREATE FUNCTION caller(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN helper($1); END'",
        "CREATE TABLE called (i int)",
        "INSERT INTO called SELECT generate_series(1, 100)",
    )
    # Maintenance commands have a safe search_path since 17: the index is made in the old way.
    with cluster.connect("lacking") as connection:
        connection.execute("ALTER FUNCTION caller(int) SET search_path = public")
        connection.execute("CREATE INDEX called_i ON called (caller(i))")
        connection.execute("ANALYZE")
        connection.execute("ALTER FUNCTION caller(int) RESET search_path")


def sorted_otherwise(cluster: OwnCluster, version: str | None) -> None:
    """A table whose index is out of order, as one is where its collation sorts otherwise."""
    cluster.sql(
        "CREATE COLLATION c (PROVIDER = builtin, LOCALE = 'C.UTF-8')",
        "CREATE TABLE sorted (t text COLLATE c)",
        "INSERT INTO sorted SELECT chr(65 + i) FROM generate_series(0, 25) AS i",
        "CREATE INDEX sorted_t ON sorted (t)",
        "UPDATE pg_index SET indoption = '1' WHERE indexrelid = 'sorted_t'::regclass",
        *([f"UPDATE pg_collation SET collversion = '{version}' WHERE collname = 'c'"] if version else []),
        database="lacking",
    )


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as made:
        fill(made)
        yield made


def states(outcome: Outcome) -> dict[str, str]:
    return {check.id: str(check.status) for check in outcome.checks if check.status != "PASS"}


def test_what_this_host_lacks_is_no_damage_and_stops_nothing_else(cluster: OwnCluster) -> None:
    lacking(cluster)
    sorted_otherwise(cluster, "0")
    cluster.backup("first")
    cluster.fence()
    cluster.sql(
        "UPDATE pg_ts_dict SET dictinitoption = 'stopwords = ''nowhere''' WHERE dictname = 'plain_words'",
        database="lacking",
    )
    cluster.switch()
    away = cluster.home / "extension.away"
    (cluster.home / "extension").rename(away)
    outcome = prove(cluster)
    assert (outcome.verdict, outcome.error) == ("INCOMPLETE", None), outcome.alarms
    assert set(states(outcome)) == {"fence@lacking", "read@lacking", "amcheck@lacking"}, outcome.alarms
    for words in ("Corruption", "Do not", "rows were lost", "damaged"):
        assert words not in outcome.said
    fence, read, amcheck = (outcome.check(f"{name}@lacking") for name in ("fence", "read", "amcheck"))
    assert "Install production's extensions" in (fence.next or "") and "Install production's extensions" in (
        read.next or ""
    )
    assert [item.object for item in fence.findings] == ["lacking.public.attr"]
    said = {item.object: f"{item.observed} {item.next}" for item in amcheck.findings}
    assert set(said) == {f"lacking.public.{name}" for name in ("attr_h", "text_words", "called_i", "sorted_t")}, said
    assert _LIBRARY in said["lacking.public.attr_h"]
    assert "tsearch_data" in said["lacking.public.text_words"]
    assert (
        "its structure was checked" in said["lacking.public.called_i"]
        and "schema of each name" in said["lacking.public.called_i"]
    )
    assert "had version 0" in said["lacking.public.sorted_t"]


def test_damage_is_found_beside_what_this_host_lacks(cluster: OwnCluster) -> None:
    lacking(cluster)
    sorted_otherwise(cluster, None)
    cluster.backup("first")
    cluster.fence()
    cluster.switch()
    (cluster.home / "extension").rename(cluster.home / "extension.away")
    outcome = prove(cluster)
    check = outcome.check("amcheck@lacking")
    assert (outcome.verdict, str(check.status)) == ("FAIL", "FAIL"), outcome.alarms
    assert (check.findings[0].object, check.observed) == ("lacking.public.sorted_t", "1 corruption, 2 not checked")


def test_a_database_whose_locale_is_not_here_is_named_and_the_others_are_checked(cluster: OwnCluster) -> None:
    cluster.create_database("nynorsk", "CREATE TABLE t AS SELECT generate_series(1, 100) AS i")
    cluster.backup("first")
    cluster.fence()
    cluster.sql("UPDATE pg_database SET datcollate = 'nn_XX.UTF-8', datctype = 'nn_XX.UTF-8' WHERE datname = 'nynorsk'")
    cluster.switch()
    outcome = prove(cluster)
    assert (outcome.verdict, outcome.error) == ("INCOMPLETE", None), outcome.alarms
    found = states(outcome)
    assert found["read@nynorsk"] == found["amcheck@nynorsk"] == "UNKNOWN" and "FAIL" not in found.values()
    assert all("nynorsk" in name for name in found), found
    assert "locales" in (outcome.check("read@nynorsk").next or "")


def test_a_cluster_whose_locale_is_not_here_is_no_damage(cluster: OwnCluster) -> None:
    cluster.sql(
        "UPDATE pg_database SET datcollate = 'nn_XX.UTF-8', datctype = 'nn_XX.UTF-8' WHERE datname = 'template1'"
    )
    cluster.backup("first")
    cluster.switch()
    outcome = prove(cluster)
    assert isinstance(outcome.error, PlatformError) and not isinstance(outcome.error, TargetError), outcome.alarms
    assert "locale" in outcome.error.message and "locales" in (outcome.error.next or "")


def test_a_preloaded_library_that_is_not_here_is_no_damage(cluster: OwnCluster) -> None:
    cluster.backup("first")
    cluster.switch()
    params = cluster.params(verification={"preload_libraries": ["not_installed_here"]})
    outcome = prove(cluster, params)
    assert isinstance(outcome.error, PlatformError) and not isinstance(outcome.error, TargetError), outcome.alarms
    assert "not_installed_here" in outcome.error.message and "preload_libraries" in (outcome.error.next or "")


def test_what_the_server_warns_of_is_a_limitation(cluster: OwnCluster) -> None:
    cluster.sql(
        "UPDATE pg_database SET datlocprovider = 'b', datlocale = 'C.UTF-8', datcollversion = '0' WHERE datname = 'shop'"
    )
    cluster.backup("first")
    go_on(cluster)
    outcome = prove(cluster)
    assert outcome.verdict == "PASS", outcome.alarms
    assert [text for text in outcome.limitations if 'database "shop" has a collation version mismatch' in text]


def test_catalogs_that_a_transaction_holds_at_the_point_are_read_once_it_is_promoted(cluster: OwnCluster) -> None:
    cluster.backup("first")
    cluster.fence()
    with cluster.connect("shop") as holder:
        holder.autocommit = False
        holder.execute("CREATE TABLE under_way (i int)")
        holder.execute("LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE")
        cluster.sql("CREATE TABLE other (i int)", "CHECKPOINT")
        cluster.switch()
        holder.rollback()
    outcome = prove(cluster)
    assert (outcome.verdict, outcome.error) == ("INCOMPLETE", None), outcome.alarms
    found = states(outcome)
    assert {"read@shop", "amcheck@shop", "sql/indexes_valid@shop"} <= set(found) and set(found.values()) == {"UNKNOWN"}
    assert all(name.endswith("@shop") for name in found), "the other databases are checked"
    assert "-p promote true" in (outcome.check("read@shop").next or "")
    promoted = prove(cluster, promote=True)
    assert [*promoted.alarms, promoted.verdict] == ["PASS"]
    assert [text for text in promoted.limitations if "not at the point" in text and "read@shop" in text]


def test_a_server_that_does_not_move_on_is_no_damage(cluster: OwnCluster) -> None:
    """As on a host that is too slow, or whose disk hangs."""
    cluster.backup("first")
    go_on(cluster)

    def look(proof: Any) -> None:
        proof.replay.stall_timeout = 2
        reached = proof.resolved.point.reached
        with pytest.raises(PlatformError, match="Replay stands still at"):
            proof.replay.go_to(proof.resolved.point.gate, reached + (64 << 20))

    prove(cluster, look=look)


def test_rows_above_a_gigabyte_are_compared_column_by_column(cluster: OwnCluster) -> None:
    cluster.sql(
        "CREATE TABLE large (id int PRIMARY KEY, a bytea, b text)",
        "INSERT INTO large (id, a) SELECT 1, repeat('x', 600000000)::bytea",
        "UPDATE large SET b = repeat('y', 600000000)",
        database="shop",
    )
    cluster.backup("first")
    fence = cluster.fence()
    (large,) = [item for shop in fence.databases for item in shop.relations if item.name == "large"]
    assert (large.rows, large.method, large.problem) == (1, "query by column", None)
    cluster.switch()
    outcome = prove(cluster)
    assert [*outcome.alarms, outcome.verdict] == ["PASS"]
