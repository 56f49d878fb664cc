"""What an application's owner can lay in the way of whoever reads a table: functions that say in the server's log as whom they ran."""

from __future__ import annotations

from pathlib import Path

WITNESS = "WITNESS"
#: A function whose name says what called it; IMMUTABLE, so that planning folds it.
FUNCTION = (
    "CREATE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql IMMUTABLE AS "
    "$$BEGIN RAISE LOG 'WITNESS {name} % %', current_user, session_user; RETURN {value}; END$$"
)


def function(name: str, arguments: str, result: str, value: str) -> str:
    return FUNCTION.format(name=name, arguments=arguments, result=result, value=value)


#: Every kind that is called for a value's text, for a comparison, or while a statement is planned.
READ = (
    "CREATE TYPE grade AS ENUM ('a', 'b')",
    function("grade_text", "grade", "text", "'x'"),
    "CREATE CAST (grade AS text) WITH FUNCTION grade_text(grade)",
    function("grade_json", "grade", "json", "'1'"),
    "CREATE CAST (grade AS json) WITH FUNCTION grade_json(grade)",
    "CREATE TYPE pair AS (a int, b text)",
    function("pair_text", "pair", "text", "'x'"),
    "CREATE CAST (pair AS text) WITH FUNCTION pair_text(pair)",
    function("far", "float8, float8", "float8", "$1 - $2"),
    "CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = far)",
    "CREATE TABLE graded (id grade, n int, pair pair, span span, grades grade[], PRIMARY KEY (id, n))",
    "INSERT INTO graded SELECT CASE WHEN g % 2 = 0 THEN 'a' ELSE 'b' END::grade, g, ROW(g, 'x'::text)::pair, span(g, g + 1), '{a,b}' FROM generate_series(1, 20) AS g",
    function("row_text", "graded", "text", "'x'"),
    "CREATE CAST (graded AS text) WITH FUNCTION row_text(graded)",
    function("fold", "int", "int", "$1"),
    "CREATE TABLE indexed (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (id * 2) STORED)",
    "INSERT INTO indexed SELECT g, g FROM generate_series(1, 20) AS g",
    "CREATE INDEX trap ON indexed ((n + fold(1)))",
    # honest, but no operator of PostgreSQL's own compares its key
    "CREATE TYPE colour AS ENUM ('red', 'blue', 'green')",
    "CREATE TABLE coloured (c colour, n int, words text, PRIMARY KEY (c, n))",
    "INSERT INTO coloured SELECT 'red', g, 'w' || g FROM generate_series(1, 10) AS g",
    function("is_fine", "text", "boolean", "true"),
    "CREATE DOMAIN checked AS text CHECK (is_fine(VALUE))",
    "CREATE TABLE keyless (a checked, b int)",
    "INSERT INTO keyless SELECT 'v' || g % 3, g % 5 FROM generate_series(1, 30) AS g",
)  # fmt: skip


def witnesses(log: Path) -> list[str]:
    """What of the application has run, as whom."""
    return [line for line in log.read_text(errors="replace").splitlines() if WITNESS in line]
