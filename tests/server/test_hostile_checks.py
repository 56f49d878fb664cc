"""Check files and schemas of ill will: nothing of a lesser role runs unless a header names it, and no answer that it shaped is believed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from own_cluster import OwnCluster, own_cluster
from runbook.errors import ParamsError
from runbook.inspection.checkfiles import load_files
from runbook.inspection.looking import Look, Rights
from runbook.inventory.reading import load_kinds
from runbook.model import Check
from runbook.postgres import checksession
from runbook.postgres.allowlist import Runner
from runbook.postgres.checksession import Way
from runbook.postgres.connect import Connection, connect
from runbook.verification.sqlchecks import load_checks, run_check

pytestmark = pytest.mark.server

DATABASE, OWNER, READER = "shop", "app_owner", "reader"
LOOP = "LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP"


def witness(name: str, arguments: str, returns: str, body: str = "RETURN 1", more: str = "IMMUTABLE") -> str:
    """A function of the owner's that says in the log who ran it."""
    return (
        f"CREATE FUNCTION {name}({arguments}) RETURNS {returns} LANGUAGE plpgsql {more} AS "
        f"$f$ BEGIN RAISE LOG 'WITNESS {name} as %', current_user; {body}; END $f$"
    )


PREPARED = [
    f"GRANT CREATE ON SCHEMA public TO {OWNER}",
    "CREATE FOREIGN DATA WRAPPER nowhere",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
    f"GRANT USAGE ON FOREIGN SERVER elsewhere TO {OWNER}",
]
HOSTILE = [
    f"SET SESSION AUTHORIZATION {OWNER}",
    "CREATE TABLE public.vehicles AS SELECT i AS id, i AS auction_id FROM generate_series(1, 3) AS i",
    "CREATE TABLE public.auctions AS SELECT 1 AS id",
    witness("public.shadow_step", "bigint", "bigint", "RETURN 0"),
    "CREATE AGGREGATE public.count(*) (SFUNC = public.shadow_step, STYPE = bigint, INITCOND = '0')",
    "CREATE AGGREGATE public.count(bigint) (SFUNC = public.shadow_step, STYPE = bigint, INITCOND = '0')".replace(
        "count(bigint)", "count_all(*)"
    ),
    witness("public.same", "integer, integer", "boolean", "RETURN true"),
    "CREATE OPERATOR public.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = public.same)",
    witness("public.of_anything", "", "integer"),
    "CREATE VIEW public.looks_like_a_table AS SELECT public.of_anything() AS n",
    "CREATE TYPE public.colour AS ENUM ('red', 'blue')",
    witness("public.say", "public.colour", "text", "RETURN 'blue'", "STABLE"),
    "CREATE CAST (public.colour AS text) WITH FUNCTION public.say(public.colour) AS IMPLICIT",
    "CREATE TABLE public.cars AS SELECT 'red'::public.colour AS colour",
    witness("public.judge", "integer", "boolean", "RETURN true"),
    "CREATE DOMAIN public.checked AS integer CHECK (public.judge(VALUE))",
    witness("public.double", "integer", "integer", "RETURN 2 * $1"),
    witness("public.fold", "integer", "integer"),
    "CREATE TABLE public.planned AS SELECT generate_series(1, 3) AS i",
    "CREATE INDEX ON public.planned (i) WHERE i > public.fold(7) - 100",
    "CREATE TABLE public.parent (i integer)",
    "CREATE TABLE public.child () INHERITS (public.parent)",
    "CREATE INDEX ON public.child ((i + public.fold(8)))",
    "CREATE FUNCTION public.setting(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM set_config('datestyle', 'German', false); RETURN 1; END $$",
    "CREATE TABLE public.changes AS SELECT 1 AS i",
    "CREATE INDEX ON public.changes (i) WHERE i > public.setting(7) - 100",
    "CREATE SEQUENCE public.numbers",
    "CREATE TABLE public.split (i integer) PARTITION BY RANGE (i)",
    "CREATE TABLE public.near PARTITION OF public.split FOR VALUES FROM (1) TO (5)",
    "CREATE FOREIGN TABLE public.far PARTITION OF public.split FOR VALUES FROM (5) TO (9) SERVER elsewhere",
    "CREATE TABLE public.words AS SELECT 'a'::text AS system, 'b'::text AS name",
    "CREATE TYPE public.span AS RANGE (subtype = integer)",
    "CREATE TABLE public.spans AS SELECT '[1,2]'::public.span AS span",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as made:
        made.sql(
            f"CREATE ROLE {OWNER} LOGIN",
            f"CREATE ROLE {READER} LOGIN BYPASSRLS IN ROLE pg_read_all_data, pg_monitor",
            f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
        )
        made.sql(*PREPARED, *HOSTILE, database=DATABASE)
        made.log.write_text("")
        yield made


def way_to(cluster: OwnCluster, runner: Runner = Runner.READER, seconds: float = 5, database: str = DATABASE) -> Way:
    user = "postgres" if runner is Runner.SUPERUSER else READER

    def open_() -> Connection:
        return connect(
            socket=cluster.socket, user=user, database=database, application="test", statement_timeout=seconds
        )

    return Way(open_, runner, seconds)


def judge(folder: Path, way: Way, text: str, header: str = "", **given: object) -> Check:
    (folder / "mine.sql").write_text(f"-- expect: n = 0\n{header}{text}\n")
    return run_check(load_checks(folder)[0], way, DATABASE, dict(given))


def witnesses(cluster: OwnCluster) -> list[str]:
    return [line for line in cluster.log.read_text().splitlines() if "WITNESS" in line]


@pytest.mark.parametrize("runner", list(Runner))
def test_count_is_postgresqls_own_whatever_stands_in_public(
    cluster: OwnCluster, tmp_path: Path, runner: Runner
) -> None:
    text = (
        "SELECT count(*) AS n, count(*) AS orphaned_vehicles FROM public.vehicles AS v "
        "LEFT JOIN public.auctions AS a ON a.id = v.auction_id WHERE a.id IS NULL"
    )
    check = judge(tmp_path, way_to(cluster, runner), text)
    assert (check.status, check.observed) == ("FAIL", "n = 2"), check
    assert witnesses(cluster) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT public.count(*) AS n FROM public.vehicles", "public.count()"),
        ('SELECT U&"\\0070ublic".count_all(*) AS n FROM public.vehicles', "public.count_all()"),
        ("SELECT count(*) AS n FROM public.vehicles WHERE id OPERATOR(public.=) 7", "public.=(integer, integer)"),
        ("SELECT count(*) AS n FROM public.vehicles WHERE id OPERATOR(public.=) ANY (SELECT 7)", "public.=(integer, integer)"),
        ("SELECT n FROM public.looks_like_a_table", "public.looks_like_a_table is a view"),
        ("SELECT 5::public.checked AS n", "type public.checked"),
        ("SELECT n FROM jsonb_to_record('{}') AS x (n public.checked)", "type public.checked"),
        ("SELECT count(*) AS n FROM public.cars WHERE colour::text = 'red'", "public.say(public.colour)"),
        ("SELECT length(colour) AS n FROM public.cars", "public.say(public.colour)"),
        ("SELECT length(to_json(c)::text) AS n FROM public.cars AS c", "public.say(public.colour)"),
        ("SELECT pg_input_is_valid('5', 'public.checked')::integer AS n", "pg_catalog.pg_input_is_valid"),
        ("SELECT domain_in('5'::cstring, 'public.checked'::regtype::oid, -1) AS n", "pg_catalog.domain_in"),
        ("SELECT count(*) AS n FROM query_to_xml('SELECT public.of_anything()', true, false, '')", "pg_catalog.query_to_xml"),
        ("SELECT count(*) AS n FROM pg_catalog.ts_stat('SELECT public.of_anything()')", "pg_catalog.ts_stat"),
        ("SELECT count(('SELECT public.of_anything()'::text).ts_stat) AS n", "pg_catalog.ts_stat"),
        ("SELECT length(set_config('search_path', 'public', false)) AS n", "pg_catalog.set_config"),
        ("SELECT 0 AS n FROM pg_advisory_lock(1)", "pg_catalog.pg_advisory_lock"),
        ("SELECT pg_terminate_backend(pid)::integer AS n FROM pg_catalog.pg_stat_activity", "pg_catalog.pg_terminate_backend"),
        ("SELECT length(pg_read_file('PG_VERSION')) AS n", "pg_catalog.pg_read_file"),
        ('SELECT 0 AS n FROM "pg_catalog".U&"pg\\005fsleep"(3)', "pg_catalog.pg_sleep"),
        ("SELECT nextval('public.numbers') AS n", "pg_catalog.nextval"),
        ("SELECT 0 AS n FROM table_to_xml('public.looks_like_a_table', true, false, '')", "pg_catalog.table_to_xml"),
        ("SELECT 0 AS n WHERE pg_notify('a', 'b') IS NULL", "pg_catalog.pg_notify"),
        ("SELECT count(x) AS n FROM public.vehicles AS v, json_populate_record(v, '{}') AS x", "pg_catalog.json_populate_record"),
        ("SELECT count(*) AS n FROM public.nowhere", "there is no relation public.nowhere"),
        ("SELECT app.nothing() AS n", "there is no function app.nothing"),
        ("SELECT count(*) AS n FROM public.far", "public.far is a foreign table"),
        ("SELECT count(*) AS n FROM public.split", "public.far is a foreign table"),
        ("SELECT x.n.setseed AS n FROM (SELECT 1.0::float8 AS n) AS x", "pg_catalog.setseed"),
        ("SELECT (x.n).setseed AS n FROM (SELECT 1.0::float8 AS n) AS x", "pg_catalog.setseed"),
        ("SELECT 0 AS n ORDER BY 1 USING OPERATOR(public.=)", "public.=(integer, integer)"),
        ("SELECT length(text(colour)) AS n FROM public.cars", "public.say(public.colour)"),
        ("SELECT length('x' || colour) AS n FROM public.cars", "public.say(public.colour)"),
        ("SELECT length(quote_literal(c)) AS n FROM public.cars AS c", "public.say(public.colour)"),
        ('SELECT 1 AS n ORDER BY 1 COLLATE public."mine"', "public.mine"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("runner", list(Runner))
def test_what_nobody_has_named_is_unknown_by_its_name(
    cluster: OwnCluster, tmp_path: Path, text: str, name: str, runner: Runner
) -> None:
    check = judge(tmp_path, way_to(cluster, runner), text)
    assert (check.status, witnesses(cluster)) == ("UNKNOWN", []), check
    assert name in (check.reason or "")


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("A string hides its end", "SELECT E'\\'' AS n; COMMIT; BEGIN READ WRITE; DROP TABLE public.vehicles; COMMIT; SELECT 0 AS n --'"),
        ("A dollar inside a name", "SELECT 0 AS a$b$; DROP TABLE public.vehicles; SELECT 1 AS c$b$"),
        ("A limit of its own", "SET statement_timeout = 0; SELECT pg_sleep(40)"),
        ("A program", "COPY (SELECT 1) TO PROGRAM 'true'"),
        ("A change in a query", "WITH gone AS (DELETE FROM public.vehicles RETURNING 1) SELECT count(*) AS n FROM gone"),
        ("A lock", "SELECT id AS n FROM public.vehicles FOR UPDATE"),
    ],
)  # fmt: skip
def test_file_that_is_not_one_reading_statement_is_refused_in_every_area(
    tmp_path: Path, file: str, statement: str
) -> None:
    head = f"-- purpose: {file}\n-- scope: database\n-- rank: 1\n-- any: warning\n"
    (tmp_path / "mine.sql").write_text(head + statement)
    with pytest.raises(ParamsError, match=r"mine\.sql"):
        load_files(tmp_path)
    with pytest.raises(ParamsError, match=r"mine\.sql"):
        load_kinds(170000, tmp_path)
    (tmp_path / "mine.sql").write_text("-- expect: n = 0\n" + statement)
    with pytest.raises(ParamsError, match=r"mine\.sql.*(one statement|read only)"):
        load_checks(tmp_path)


USES = "-- uses: public.double(integer), public.colour, public.say(public.colour), public.=(integer, integer)\n"


def test_header_names_what_may_be_called(cluster: OwnCluster, tmp_path: Path) -> None:
    text = "SELECT public.double(0) AS n FROM public.cars WHERE colour::text = 'blue' AND 1 OPERATOR(public.=) 2"
    assert judge(tmp_path, way_to(cluster), text, USES).status == "PASS"
    for runner, words in ((Runner.PRODUCTION, "role without superuser"), (Runner.SUPERUSER, "has no reader")):
        check = judge(tmp_path, way_to(cluster, runner), text, USES)
        assert check.status == "UNKNOWN" and words in (check.reason or ""), check
    cluster.log.write_text("")


@pytest.mark.parametrize("runner", list(Runner))
def test_column_whose_name_is_a_functions_too_is_a_column(cluster: OwnCluster, tmp_path: Path, runner: Runner) -> None:
    text = "SELECT length(w.system) + length(w.name) - 2 AS n FROM public.words AS w"
    check = judge(tmp_path, way_to(cluster, runner), text)
    assert check.status == "PASS", check


@pytest.mark.parametrize("runner", list(Runner))
def test_cast_that_comes_with_a_range_type_is_nobodys_code(cluster: OwnCluster, tmp_path: Path, runner: Runner) -> None:
    text = "SELECT count(*) - 1 AS n FROM public.spans WHERE lower(span) = 1"
    check = judge(tmp_path, way_to(cluster, runner), text)
    assert check.status == "PASS", check


@pytest.mark.parametrize("runner", list(Runner))
def test_cast_of_a_column_that_is_not_read_refuses_nothing(cluster: OwnCluster, tmp_path: Path, runner: Runner) -> None:
    """A cast of the application's is common and harmless to a check that does not read its column."""
    cluster.sql(
        f"SET SESSION AUTHORIZATION {OWNER}",
        "CREATE TABLE IF NOT EXISTS public.painted AS SELECT 1 AS id, 'red'::public.colour AS colour",
        database=DATABASE,
    )
    way = way_to(cluster, runner)
    check = judge(tmp_path, way, "SELECT count(*) - 1 AS n FROM public.painted AS p WHERE p.id > 0")
    assert (check.status, witnesses(cluster)) == ("PASS", []), check
    for reading in ("p.colour", "p", "*"):
        text = f"SELECT count(x) AS n FROM (SELECT {reading} FROM public.painted AS p) AS x"
        assert judge(tmp_path, way, text).status == "UNKNOWN", reading


def test_overload_beside_the_named_function_is_not_called(cluster: OwnCluster, tmp_path: Path) -> None:
    overload = witness("public.double", "bigint", "bigint", "RETURN 0")
    cluster.sql(f"SET SESSION AUTHORIZATION {OWNER}", overload, database=DATABASE)
    check = judge(tmp_path, way_to(cluster), "SELECT public.double(5::bigint) AS n", USES)
    cluster.sql("DROP FUNCTION public.double(bigint)", database=DATABASE)
    assert (check.status, witnesses(cluster)) == ("UNKNOWN", []), check
    assert "public.double(bigint)" in (check.reason or "")


@pytest.mark.parametrize("runner", [Runner.PRODUCTION, Runner.SUPERUSER])
@pytest.mark.parametrize("table", ["planned", "parent", "child"])
def test_relation_that_reaches_its_owners_code_is_not_planned(
    cluster: OwnCluster, tmp_path: Path, table: str, runner: Runner
) -> None:
    check = judge(tmp_path, way_to(cluster, runner), f"SELECT count(*) AS n FROM public.{table}")
    assert (check.status, witnesses(cluster)) == ("UNKNOWN", []), check
    assert "public.fold" in (check.reason or "")


def test_function_of_a_lesser_role_in_pg_catalog_stops_every_check(cluster: OwnCluster, tmp_path: Path) -> None:
    cluster.sql(
        f"GRANT CREATE ON SCHEMA pg_catalog TO {OWNER}",
        f"SET SESSION AUTHORIZATION {OWNER}",
        witness("pg_catalog.lower", "integer", "integer"),
        database=DATABASE,
    )
    check = judge(tmp_path, way_to(cluster), "SELECT 0 AS n FROM public.vehicles WHERE lower(id) = 5")
    other = judge(tmp_path, way_to(cluster), "SELECT 0 AS n")
    cluster.sql(
        "DROP FUNCTION pg_catalog.lower(integer)",
        f"REVOKE CREATE ON SCHEMA pg_catalog FROM {OWNER}",
        database=DATABASE,
    )
    assert (check.status, other.status, witnesses(cluster)) == ("UNKNOWN", "UNKNOWN", [])
    assert OWNER in (other.reason or "")


def test_answer_of_a_check_that_changed_its_session_is_not_believed(cluster: OwnCluster, tmp_path: Path) -> None:
    """The reader of a copy may plan on the owner's index; what that does to the session is seen."""
    check = judge(tmp_path, way_to(cluster), "SELECT count(*) - 1 AS n FROM public.changes WHERE i > 0")
    assert check.status == "UNKNOWN", check
    assert "DateStyle" in (check.reason or "")


def test_check_that_outlives_its_timeout_and_a_cancel_request_is_ended(
    cluster: OwnCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksession, "GRACE", 1.0)
    cluster.sql(
        f"SET SESSION AUTHORIZATION {OWNER}",
        "CREATE TABLE public.endless AS SELECT 1 AS i",
        "CREATE FUNCTION public.never(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON public.endless (i) WHERE i > public.never(7) - 100",
        f"CREATE OR REPLACE FUNCTION public.never(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN {LOOP}; END $$",
        database=DATABASE,
    )
    began = time.monotonic()
    check = judge(tmp_path, way_to(cluster, seconds=1), "SELECT count(*) AS n FROM public.endless WHERE i > 0")
    assert check.status == "UNKNOWN" and "ended from outside" in (check.reason or ""), check
    assert time.monotonic() - began < 15
    left = cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test' AND state = 'active'")
    assert left == [(0,)]


# -- extensions, on a living server


def visit(cluster: OwnCluster, folder: Path, database: str, statement: str, needs: str = "") -> Any:
    head = f"-- purpose: mine\n-- scope: database\n-- rank: 1\n-- any: warning\n{needs}"
    (folder / "mine.sql").write_text(head + statement)
    look = Look(way_to(cluster, Runner.PRODUCTION, database=database).open_, {}, 5)
    look.open_ = lambda name: way_to(cluster, Runner.PRODUCTION, database=name or database).open_()
    rights = Rights(READER, "17", 170000, None, frozenset({"pg_stat_scan_tables"}))
    return look.run(load_files(folder), [{"name": database, "may": True}], rights)[0].seen


def test_schema_of_an_extension_is_no_place_to_lie_in_wait(cluster: OwnCluster, tmp_path: Path) -> None:
    cluster.sql("CREATE DATABASE tools", f"GRANT CREATE ON DATABASE tools TO {OWNER}")
    cluster.sql(
        f"SET SESSION AUTHORIZATION {OWNER}",
        "CREATE SCHEMA tools",
        witness("tools.format", "text, regclass", "text", "RETURN 'lie'"),
        "RESET SESSION AUTHORIZATION",
        "CREATE EXTENSION pgstattuple SCHEMA tools",
        f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tools TO {READER}",
        f"GRANT USAGE ON SCHEMA tools TO {READER}",
        database="tools",
    )
    text = "SELECT format('%s', 'pg_class'::regclass) AS object, p.tuple_count AS value FROM :pgstattuple.pgstattuple('pg_class'::regclass) AS p"
    needs = "-- needs: extension:pgstattuple\n"
    (seen,) = visit(cluster, tmp_path, "tools", text, needs)
    assert (seen.state, seen.object, witnesses(cluster)) == ("warning", "pg_class", [])
    cluster.sql(f"SET SESSION AUTHORIZATION {OWNER}", witness("tools.pgstattuple", "oid", "integer"), database="tools")
    (seen,) = visit(cluster, tmp_path, "tools", text, needs)
    assert (seen.state, witnesses(cluster)) == ("not measured", [])
    assert "tools.pgstattuple(oid)" in seen.note


def test_look_at_production_plans_nothing_of_its_owners(cluster: OwnCluster, tmp_path: Path) -> None:
    for table, expected in (("planned", "not measured"), ("vehicles", "warning")):
        (seen,) = visit(cluster, tmp_path, DATABASE, f"SELECT 'x' AS object, count(*) AS value FROM public.{table}")
        assert (seen.state, witnesses(cluster)) == (expected, []), seen
