"""SQL files: one statement each, psql's variables bound by the server, a misspelt header refused."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from runbook import layout
from runbook.errors import ParamsError
from runbook.postgres.sqlfiles import bind_variables, load_sql, parse_sql


@pytest.mark.parametrize(
    ("text", "bound", "names"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT :a, :'b', :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT x::int, ':a', \":b\", $$ :c $$, $t$ :d $t$", "SELECT x::int, ':a', \":b\", $$ :c $$, $t$ :d $t$", ()),
        ("SELECT 1 -- :a\n, /* :b */ :c", "SELECT 1 -- :a\n, /* :b */ $1", ("c",)),
        ("SELECT 'it''s :a' || :b", "SELECT 'it''s :a' || $1", ("b",)),
        ("SELECT a[1:2], '12:30'::time", "SELECT a[1:2], '12:30'::time", ()),
    ],
)
def test_variables_are_found_where_psql_finds_them(text: str, bound: str, names: tuple[str, ...]) -> None:
    assert bind_variables(text) == (bound, names)


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
        ("SELECT 1;;", ("more than one statement",)),
    ],
)
def test_broken_file_is_named_with_its_line(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ParamsError) as problem:
        parse_sql(write(tmp_path, text))
    for word in ("check.sql", *words):
        assert word in str(problem.value)


def test_semicolon_inside_a_text_is_no_second_statement(tmp_path: Path) -> None:
    assert parse_sql(write(tmp_path, "SELECT ';', \";\" -- ;\n;")).text.startswith("SELECT ';'")


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
