"""SQL files: one statement each, psql's variables bound by the server, a misspelt header refused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from runbook import layout
from runbook.errors import ParamsError
from runbook.postgres import parse
from runbook.postgres.sqlfiles import bind_variables, load_sql, parse_sql, require_read_only


@pytest.mark.parametrize(
    ("text", "bound", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT :a, :'b', :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT x::int, ':a', \":b\", $$ :c $$, $t$ :d $t$", "SELECT x::int, ':a', \":b\", $$ :c $$, $t$ :d $t$", ()),
        ("SELECT 1 -- :a\n, /* :b */ :c", "SELECT 1 -- :a\n, /* :b */ $1", ("c",)),
        ("SELECT 'it''s :a' || :b", "SELECT 'it''s :a' || $1", ("b",)),
        ("SELECT a[1:2], '12:30'::time", "SELECT a[1:2], '12:30'::time", ()),
        ("SELECT E'\\' :a', :b", "SELECT E'\\' :a', $1", ("b",)),
        ("SELECT a$b$, :c, d$b$", "SELECT a$b$, $1, d$b$", ("c",)),
        ("SELECT /* /* */ :a */ :b", "SELECT /* /* */ :a */ $1", ("b",)),
        ("SELECT $ü$ :a $ü$, U&'\\0027 :b', :'c'", "SELECT $ü$ :a $ü$, U&'\\0027 :b', $1", ("c",)),
    ],
)
def test_variables_are_found_where_psql_finds_them(text: str, bound: str, names: tuple[str, ...]) -> None:
    assert bind_variables(text)[:2] == (bound, names)


def write(folder: Path, text: str) -> Path:
    path = folder / "check.sql"
    path.write_text(text)
    return path


def test_header_is_read_with_continued_lines_and_repeated_keys(tmp_path: Path) -> None:
    file = parse_sql(write(tmp_path, "-- purpose: one\n--   and two\n-- expect: a = 1\n-- expect: b = 2\nSELECT :x;\n"))
    assert file.get("purpose") == "one and two"
    assert file.header["expect"] == ("a = 1", "b = 2")
    assert (file.text, file.values({"x": 5, "y": 6})) == ("SELECT $1", [5])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- expcet: a = 1\nSELECT 1", ("check.sql:1", "expcet", "expect")),
        ("-- purpose: x\n", ("no statement",)),
        ("", ("no statement",)),
        ("SELECT 1; SELECT 2", ("more than one statement",)),
        ("SELECT E'\\'' AS a; COMMIT; DROP TABLE public.t; SELECT 1 --'", ("more than one statement",)),
        ("SELECT 1 AS a$b$; DROP TABLE public.t; SELECT 2 AS c$b$", ("more than one statement",)),
        ("SELECT U&'\\0027'; DROP TABLE public.t --'", ("more than one statement",)),
        ("SELEC 1", ("not one statement of SQL", "syntax error", "line 1")),
        ("SELECT /* /* */ 1", ("unterminated",)),
        ("SELECT \ufeff1", ("U+FEFF",)),
        ("SELECT 1 \x00; DROP TABLE public.t", ("U+0000",)),
        ("SELECT 1 -- \u202e; 2 TCELES", ("U+202E",)),
        ("SELECT '" + "x" * 70_000 + "'", ("larger than 64",)),
        ("SELECT " + "1+" * 20_000 + "1", ("words and signs",)),
        ("SELECT " + "1+" * 200 + "1", ("nested too deeply",)),
        ("SELECT :other.f(1)", (":other.", "needs: extension:other")),
    ],
)
def test_broken_file_is_named_with_its_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ParamsError) as problem:
        parse_sql(write(tmp_path, text))
    for word in ("check.sql", *words):
        assert word in str(problem.value)


def test_semicolon_inside_a_text_is_no_second_statement(tmp_path: Path) -> None:
    assert parse_sql(write(tmp_path, "SELECT ';', \";\" -- ;\n;")).text.startswith("SELECT ';'")


def test_one_statement_may_end_with_semicolons_and_a_remark(tmp_path: Path) -> None:
    assert parse_sql(write(tmp_path, "SELECT 1;; -- SELECT 2;")).statement.kind == "select"


def test_extension_is_looked_up_where_its_schema_is_left_open(tmp_path: Path) -> None:
    text = (
        "-- needs: extension:uuid-ossp, pg_monitor\nSELECT :uuid_ossp.uuid_nil(), ':uuid_ossp.x' FROM :uuid_ossp.seen"
    )
    file = parse_sql(write(tmp_path, text))
    assert file.extensions == ("uuid-ossp",)
    text, statement = file.placed({"uuid-ossp": 'a"b'})
    assert (statement.functions, statement.relations) == ([('a"b', "uuid_nil")], [('a"b', "seen")])
    assert text == 'SELECT "a""b".uuid_nil(), \':uuid_ossp.x\' FROM "a""b".seen'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("COPY (SELECT 1) TO PROGRAM 'true'", "COPY"),
        ("DELETE FROM public.t", "DELETE"),
        ("WITH gone AS (DELETE FROM public.t RETURNING 1) SELECT * FROM gone", "DELETE"),
        (
            "SELECT * FROM (WITH w AS (MERGE INTO public.t USING public.s ON true WHEN MATCHED THEN DELETE RETURNING 1) TABLE w) AS x",
            "MERGE",
        ),
        ("SELECT 1 AS a INTO public.t", "SELECT INTO"),
        ("SELECT * FROM public.t FOR KEY SHARE", "FOR UPDATE"),
        ("SELECT * FROM (SELECT * FROM public.t FOR UPDATE) AS x", "FOR UPDATE"),
        ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN"),
        ("SET search_path = public", "VARIABLESET"),
        ("DO $$ BEGIN END $$", "DO"),
        ("CALL public.p()", "CALL"),
        ("SELECT * FROM t", "without its schema"),
        ("TABLE t", "without its schema"),
        ("WITH t AS (SELECT 1) SELECT * FROM u", "relation u"),
    ],
)
def test_check_file_that_is_not_read_only_is_refused_when_it_is_loaded(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ParamsError, match=words):
        require_read_only(parse_sql(write(tmp_path, text)))


def test_relation_of_an_extension_is_shown_with_the_place_of_its_schema(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as problem:
        require_read_only(parse_sql(write(tmp_path, "-- needs: extension:seen-all, pg_monitor\nTABLE seen")))
    assert problem.value.next == "Write it with its schema, such as :seen_all.seen."


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "VALUES (1)",
        "TABLE public.t",
        "WITH RECURSIVE t AS (SELECT 1 UNION ALL TABLE t) SELECT * FROM t",
        "(SELECT 1)",
    ],
)
def test_select_with_values_and_table_are_what_a_check_may_be(tmp_path: Path, text: str) -> None:
    require_read_only(parse_sql(write(tmp_path, text)))


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "check.sql"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ParamsError, match=r"check\.sql"):
        parse_sql(path)


def test_variable_that_nobody_gives_is_named_with_the_nearest(tmp_path: Path) -> None:
    file = parse_sql(write(tmp_path, "SELECT :recovery_tim"))
    with pytest.raises(ParamsError, match="did you mean 'recovery_time'"):
        file.values({"recovery_time": 1})


def shipped() -> list[Path]:
    return sorted((layout.CHECKOUT / "sql").rglob("*.sql"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: str(path.relative_to(layout.CHECKOUT / "sql")))
def test_every_shipped_file_is_one_statement_with_a_purpose(path: Path) -> None:
    assert parse_sql(path).get("purpose")


def named_in_code() -> set[str]:
    """Every string in the library that may name SQL files, with f-strings' holes as *."""
    found = set()
    for path in sorted((layout.CHECKOUT / "lib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_file_that_code_loads_exists() -> None:
    wanted = set()
    for path in sorted((layout.CHECKOUT / "lib").rglob("*.py")):
        wanted |= set(re.findall(r'load_sql\("([^"{}]+)"\)', path.read_text()))
    assert wanted
    for name in wanted:
        load_sql(name)


def test_every_file_is_named_somewhere() -> None:
    """Check files are found by their folder; every other one by its name."""
    names = named_in_code()
    unused = [
        str(path)
        for path in shipped()
        if path.parent.name not in ("verification", "health", "access", "inventory", "architecture")
        and not any(name == path.stem or name.endswith(f"/{path.stem}") for name in names)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("text", "columns", "takes_rows"),
    [
        ("SELECT count(*), max(created_at) FROM public.vehicles", {"created_at"}, False),
        ("SELECT v.id FROM public.vehicles AS v JOIN public.auctions AS a USING (lane) WHERE a.id = v.auction_id", {"v", "a", "id", "auction_id", "lane"}, False),
        ("SELECT * FROM public.vehicles", set(), True),
        ("TABLE public.vehicles", set(), True),
        ("SELECT v.* FROM public.vehicles AS v", {"v"}, True),
        ("SELECT count(v) FROM public.vehicles AS v", {"v"}, True),
        ("SELECT pg_catalog.format('%s', vehicles) FROM public.vehicles", {"vehicles"}, True),
        ("SELECT a FROM public.vehicles AS v (a, b)", {"a"}, True),
        ("SELECT 1 FROM public.vehicles NATURAL JOIN public.auctions", set(), True),
        ("WITH w (a) AS (SELECT id FROM public.vehicles) SELECT a FROM w", {"id", "a"}, True),
        ("WITH w AS (SELECT id FROM public.vehicles) SELECT count(w) FROM w", {"id", "w"}, True),
        ("SELECT (SELECT count(*) FROM public.users) AS users", set(), False),
        ("SELECT make_interval(days => n) FROM generate_series(1, 7) AS n", {"n"}, False),
        ("SELECT x FROM (SELECT id FROM public.users) AS x", {"x", "id"}, True),
        ("SELECT x FROM (public.users AS u JOIN public.sessions AS s ON u.id = s.user_id) AS x", {"u", "s", "id", "user_id", "x"}, True),
    ],
)  # fmt: skip
def test_which_columns_a_statement_may_read(text: str, columns: set[str], takes_rows: bool) -> None:
    (statement,) = parse.parse(text)
    assert (statement.columns, statement.takes_rows) == (columns, takes_rows)
