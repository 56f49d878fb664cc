"""Indexes whose functions do not find what they name, since maintenance has a safe search_path: healthy, and not to be rebuilt."""

from __future__ import annotations

import pytest
from own_cluster import own_cluster
from pages import resealed
from proof import prove
from shop import forget_manifest, read_page, write_page

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.mark.parametrize("damaged", [False, True])
def test_index_whose_function_names_no_schema_is_unknown_and_its_structure_is_checked(damaged: bool) -> None:
    """Since 17 maintenance has a safe search_path: the function of a healthy index finds its helper no more."""
    with own_cluster("--data-checksums") as cluster:
        cluster.sql("CREATE EXTENSION amcheck")
        cluster.create_database(
            "shop",
            "CREATE TABLE named (id int, name text)",
            "INSERT INTO named SELECT g, md5(g::text) FROM generate_series(1, 5000) AS g",
            "CREATE FUNCTION public.helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
            "CREATE FUNCTION public.outer_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.helper($1)'",
            "CREATE INDEX named_lower ON named (outer_one(name))",
            "VACUUM (FREEZE, ANALYZE)",
            # Replaced as an upgrade from 16 finds it: the index was made while search_path still counted.
            "CREATE OR REPLACE FUNCTION public.outer_one(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'",
        )
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        path = (
            cluster.backups
            / "first"
            / str(cluster.sql("SELECT pg_relation_filepath('named_lower')", database="shop")[0][0])
        )
        if damaged:
            write_page(path, 3, resealed(read_page(path, 4), 3))
            forget_manifest(cluster.backups / "first")
        outcome = prove(cluster)
    check = outcome.check("amcheck@shop")
    assert "named_lower" in (check.reason or ""), check
    if damaged:
        assert check.status == "FAIL", check
    else:
        assert (check.status, outcome.verdict) == ("UNKNOWN", "INCOMPLETE")
        assert "cannot be rebuilt or restored by pg_dump until its function names its schemas" in (check.reason or "")
        assert "structure was checked" in (check.reason or "") and "ALTER FUNCTION" in (check.next or "")
        assert [one for one in outcome.alarms if not one.startswith("amcheck@shop")] == []


def test_index_by_a_function_that_answers_by_settings_is_no_damage() -> None:
    """Declared IMMUTABLE, it asks for the time zone: production's, in which the index was built, is not the one of the checks."""
    with own_cluster("--data-checksums", settings={"timezone": "Asia/Tokyo"}) as cluster:
        cluster.sql("CREATE EXTENSION amcheck")
        cluster.create_database(
            "shop",
            "CREATE TABLE ev AS SELECT g AS id, '2026-01-01'::timestamptz + g * interval '1 hour' AS at FROM generate_series(1, 3000) AS g",
            "CREATE FUNCTION public.day(timestamptz) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT $1::date'",
            "CREATE INDEX ev_day ON ev (public.day(at))",
            "CREATE INDEX ev_hash ON ev USING hash (public.day(at))",
            "CREATE INDEX ev_part ON ev (id) WHERE public.day(at) > '2026-02-01'",
        )
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        outcome = prove(cluster)
    alarms = {check.id: check for check in outcome.checks if check.status == "FAIL"}
    assert alarms == {}
    check = outcome.check("amcheck@shop")
    assert (check.status, outcome.verdict) == ("UNKNOWN", "INCOMPLETE")
    assert "public.day" in (check.reason or "") and "may depend on settings" in (check.reason or "")
    (limit,) = [one for one in outcome.limitations if "functions of the application compute" in one]
    assert all(f"shop.public.{name}" in limit for name in ("ev_day", "ev_hash", "ev_part"))


def test_index_that_only_the_checks_find_consistent_is_named() -> None:
    """Built in a session of the checks' time zone on a server that has another: production's own pg_amcheck calls it corrupt."""
    with own_cluster("--data-checksums", settings={"timezone": "Asia/Tokyo"}) as cluster:
        cluster.sql("CREATE EXTENSION amcheck")
        cluster.create_database(
            "shop",
            "CREATE TABLE ev AS SELECT g AS id, '2026-01-01'::timestamptz + g * interval '1 hour' AS at FROM generate_series(1, 3000) AS g",
            "CREATE FUNCTION public.day(timestamptz) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT $1::date'",
            "SET timezone = 'UTC'; CREATE INDEX ev_day ON ev (public.day(at))",
        )
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        outcome = prove(cluster)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    assert [one for one in outcome.limitations if "functions of the application compute" in one and "ev_day" in one]
