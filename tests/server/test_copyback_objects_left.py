"""Objects that a superuser must not make again are named, and the statements that are offered for them work."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from runbook.recovery.copybackplan import CopyBackPlan
from runbook.recovery.takenplan import write_statements
from traps import function, witnesses
from undoing import Undoing, damaged

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE ROLE app_owner NOLOGIN",
    "CREATE ROLE staff NOLOGIN",
    "GRANT staff TO app_owner",
    "GRANT CREATE ON SCHEMA public TO app_owner",
    "CREATE TABLE plain (id int PRIMARY KEY, note text)",
    "INSERT INTO plain SELECT i, 'n' FROM generate_series(1, 20) AS i",
    "SET ROLE app_owner",
    function("good", "int", "boolean", "true"),
    function("folded", "int", "int", "$1"),
    "CREATE TABLE trap (id int PRIMARY KEY, n int CONSTRAINT ok CHECK (good(n)), m int)",
    "INSERT INTO trap SELECT i, i, i FROM generate_series(1, 20) AS i",
    "CREATE INDEX trap_n ON trap ((n + folded(2)))",
    "CREATE INDEX trap_m ON trap (m)",
    "CREATE TABLE child (id int PRIMARY KEY, trap int REFERENCES trap)",
    "INSERT INTO child SELECT i, i FROM generate_series(1, 20) AS i",
    "CREATE DOMAIN checked AS int CONSTRAINT good CHECK (good(VALUE))",
    "CREATE TYPE holding AS (a checked)",
    "CREATE VIEW spring AS SELECT '(1)'::holding AS h",
    r"""CREATE VIEW "odd
name" AS SELECT 1 AS one, E'a\nb; -- \\ $x$' AS "t""w", '(2)'::holding AS h""",
    "CREATE MATERIALIZED VIEW kept AS SELECT '(3)'::holding AS h, 1 AS one",
    "CREATE INDEX kept_one ON kept (one)",
    "GRANT SELECT, UPDATE (h) ON spring TO staff",
    "RESET ROLE",
    "CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int)",
    "COMMENT ON AGGREGATE total (int) IS 'a sum'",
    "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
    "CREATE FUNCTION told() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE EVENT TRIGGER telling ON ddl_command_end EXECUTE FUNCTION told()",
    "CREATE TABLE lacking (id int PRIMARY KEY, gone numeric(5, 2))",
    "CREATE TABLE named (id int, c int)",
    "CREATE INDEX named_id ON named (id)",
    "ALTER ROLE staff IN DATABASE shop SET search_path = public, pg_catalog",
    "CREATE ROLE sly NOLOGIN",
    "SET ROLE sly",
    "SELECT set_config('search_path', 'x;ALTER/**/ROLE/**/sly/**/SUPERUSER', false)",
    "ALTER ROLE sly IN DATABASE shop SET search_path FROM CURRENT",
    "RESET search_path",
    "RESET ROLE",
    "CREATE TABLE granted (id int)",
    "GRANT SELECT ON granted TO app_owner WITH GRANT OPTION",
    "SET ROLE app_owner",
    "GRANT SELECT ON granted TO staff",
    "RESET ROLE",
    "CREATE TABLE misfit (id int PRIMARY KEY, n int CONSTRAINT positive CHECK (n > 0), plain int CONSTRAINT to_plain REFERENCES plain)",
)  # fmt: skip
DAMAGE = (
    "DELETE FROM plain WHERE id > 10",
    "ALTER TABLE child DROP CONSTRAINT child_trap_fkey",
    "ALTER TABLE trap DROP CONSTRAINT ok",
    "DROP INDEX trap_n, trap_m",
    "DROP MATERIALIZED VIEW kept",
    'DROP VIEW spring, "odd\nname"',
    "DROP AGGREGATE total (int)",
    "DROP OPERATOR === (int, int)",
    "DROP EVENT TRIGGER telling",
    "REVOKE staff FROM app_owner",
    "ALTER TABLE lacking DROP COLUMN gone",
    "REVOKE SELECT ON granted FROM app_owner CASCADE",
    "ALTER TABLE misfit DROP CONSTRAINT positive, DROP CONSTRAINT to_plain",
    "ALTER TABLE named RENAME TO renamed",
    "ALTER TABLE renamed RENAME c TO d",
    "ALTER INDEX named_id RENAME TO renamed_id",
    "ALTER ROLE staff IN DATABASE shop RESET search_path",
    "ALTER ROLE sly IN DATABASE shop RESET search_path",
    "CREATE TABLE made_by_it (id int)",
)
AFTER = ("INSERT INTO misfit VALUES (1, -1, 1000)",)
LEFT = (
    "aggregate public.total(integer) (gone)",
    "event trigger telling (gone)",
    "materialized view public.kept (gone)",
    "index public.trap_m (gone)",
    "index public.trap_n (gone)",
    "table public.named (changed: relname)",
    "table column public.named.c (changed: attname)",
    "index public.named_id (changed: relname)",
    "pg_db_role_setting of shop / sly (gone)",
    "pg_db_role_setting of shop / staff (gone)",
    "operator public.===(integer,integer) (gone)",
    "role membership membership of role app_owner in role staff (gone)",
    "table column public.lacking.gone (gone)",
    "table constraint child_trap_fkey on public.child (gone)",
    "table constraint ok on public.trap (gone)",
    "table constraint positive on public.misfit (changed: convalidated, conbin)",
    "table constraint to_plain on public.misfit (changed: convalidated, conbin)",
    "table public.granted (changed: relacl)",
    'view public."odd␊name" (gone)',
    "view public.spring (gone)",
)


@dataclass
class Done:
    at: Undoing
    plan: CopyBackPlan
    result: CopyBackPlan
    ran: list[str]


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with damaged(*MADE, damage=DAMAGE, after=AFTER) as at:
        log = at.crime.cluster.log
        before = len(witnesses(log))
        plan = at.copyback().plan()
        result = at.apply(plan)
        yield Done(at, plan, result, witnesses(log)[before:])


def test_each_is_named_with_the_reason_and_nothing_passes(done: Done) -> None:
    left = [one for one in done.result.objects if one.is_left]
    assert sorted(f"{one.words.removeprefix('shop: ').partition('): ')[0]})" for one in left) == sorted(LEFT)
    assert all(one.why and one.statements for one in left)
    assert all(one.words in done.result.unrepaired for one in left)
    assert [one.name for one in done.result.objects if one.change == "made"] == ["table public.made_by_it"]


def test_plan_named_them_before_the_gate(done: Done) -> None:
    late = {
        "table constraint positive on public.misfit",
        "table constraint to_plain on public.misfit",
    }  # known when it is tried
    planned = {one.name for one in done.plan.objects if one.is_left}
    assert planned == {one.name for one in done.result.objects if one.is_left} - late


def test_no_function_of_a_lesser_role_ran_as_superuser(done: Done) -> None:
    assert [line for line in done.ran if "postgres" in line.partition("WITNESS")[2]] == []


def test_statements_that_are_offered_work_in_their_order(done: Done, tmp_path: Path) -> None:
    done.at.sql("UPDATE misfit SET n = 1, plain = 1")
    file = write_statements(tmp_path, done.result.objects)
    assert file is not None and file.stat().st_mode & 0o777 == 0o600
    cluster = done.at.crime.cluster
    argv = [
        cluster.tools.path("psql"),
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
        "-h",
        str(cluster.socket),
        "-U",
        "postgres",
        "-d",
        "shop",
        "-f",
        str(file),
    ]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert done.at.values("SELECT rolsuper FROM pg_roles WHERE rolname = 'sly'") == [False]
    again = [one.name for one in done.at.copyback().plan().objects if one.is_left]
    assert again == ["pg_db_role_setting of shop / sly"], "the same names, which the server quotes now"
