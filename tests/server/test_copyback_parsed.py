"""A dropped table whose definition runs a lesser role's function as soon as it is read is not made again by a superuser."""

from __future__ import annotations

import pytest
from traps import function, witnesses
from undoing import damaged

pytestmark = [pytest.mark.server, pytest.mark.faults]

CONSTANT = "('(1)'::holding)::text"
MADE = (
    "CREATE ROLE app_owner NOLOGIN",
    "GRANT CREATE ON SCHEMA public TO app_owner",
    "SET ROLE app_owner",
    function("good", "int", "boolean", "true"),
    "CREATE DOMAIN checked AS int CONSTRAINT good CHECK (good(VALUE))",
    "CREATE TYPE holding AS (a checked)",
    f"CREATE TABLE by_default (id int PRIMARY KEY, a text DEFAULT {CONSTANT})",
    "INSERT INTO by_default SELECT g FROM generate_series(1, 10) AS g",
    "CREATE TABLE by_trigger (id int PRIMARY KEY, a text)",
    "INSERT INTO by_trigger SELECT g FROM generate_series(1, 10) AS g",
    "CREATE FUNCTION noting() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    f"CREATE TRIGGER armed BEFORE INSERT ON by_trigger FOR EACH ROW WHEN (NEW.a = {CONSTANT}) EXECUTE FUNCTION noting()",
    f"CREATE TABLE by_part (a int, b text DEFAULT {CONSTANT}) PARTITION BY LIST (a)",
    "CREATE TABLE plain (id int PRIMARY KEY)",
    "INSERT INTO plain SELECT g FROM generate_series(1, 10) AS g",
    f"CREATE VIEW by_view AS SELECT id, {CONSTANT} AS a FROM plain",
    "RESET ROLE",
)


def test_nothing_that_is_only_read_runs_a_function_of_a_lesser_role_as_superuser() -> None:
    damage = ("DROP TABLE by_default, by_trigger, by_part", "DROP TABLE plain CASCADE")
    with damaged(*MADE, damage=damage) as at:
        log = at.crime.cluster.log
        before = len(witnesses(log))
        result = at.apply(at.copyback().plan())
        ran = witnesses(log)[before:]
        assert [line for line in ran if "postgres" in line.partition("WITNESS")[2]] == []
        said = " ".join([*result.problems, *result.unrepaired])
        assert all(f"public.{name}" in said for name in ("by_default", "by_trigger", "by_part", "by_view")), said
        assert at.values("SELECT count(*) FROM plain") == [10], "what is harmless comes back"
