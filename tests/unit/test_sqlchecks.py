"""Check files: expectations understood or refused with the file's name, and the right ones chosen."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from runbook.errors import ParamsError
from runbook.verification.sqlchecks import CheckFile, Expectation, load_checks, parse_expectation, select_checks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 0", Expectation("a", "=", Decimal(0))),
        ("a != -1.5", Expectation("a", "!=", Decimal("-1.5"))),
        ("a<=3", Expectation("a", "<=", Decimal(3))),
        ("rows >= 10", Expectation("rows", ">=", Decimal(10))),
        ("a = 'it''s'", Expectation("a", "=", "it's")),
        ("a = true", Expectation("a", "=", True)),
        ("a < :limit", Expectation("a", "<", "limit", is_variable=True)),
        ("a < :'limit'", Expectation("a", "<", "limit", is_variable=True)),
    ],
)
def test_expectation_is_read(text: str, expected: Expectation) -> None:
    assert parse_expectation(text, "x.sql") == expected


@pytest.mark.parametrize("text", ["", "a", "a ==", "= 0", "a = b", "A B = 0", "a ~ 'x'", "a = 1 or 1 = 1", "a = ''' "])
def test_what_is_no_expectation_is_refused_with_the_file(text: str) -> None:
    with pytest.raises(ParamsError, match=r"x\.sql"):
        parse_expectation(text, "x.sql")


def test_variable_becomes_a_number_or_is_named() -> None:
    wanted = parse_expectation("a < :limit", "x.sql")
    assert wanted.resolved({"limit": 900.0}, "x.sql") == Expectation("a", "<", Decimal("900.0"))
    with pytest.raises(ParamsError, match="limit"):
        wanted.resolved({"limits": 1}, "x.sql")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


GOOD = "-- purpose: good\n-- expect: n = 0\nSELECT 0 AS n\n"


def test_added_file_is_a_check(tmp_path: Path) -> None:
    found = load_checks(write(tmp_path, mine=GOOD, its=GOOD + "-- a remark at the end"))
    assert [check.name for check in found] == ["its", "mine"]


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        good=GOOD,
        one="-- purpose: no expectation\nSELECT 1",
        two="-- expect: n is 0\nSELECT 0 AS n",
        three=GOOD.replace("-- purpose", "-- severity: dreadful\n-- purpose"),
        four=GOOD.replace("-- purpose", "-- database: some\n-- purpose"),
        five=GOOD.replace("expect:", "expekt:"),
        six=GOOD + "; DROP TABLE vehicles",
    )
    with pytest.raises(ParamsError) as problem:
        load_checks(tmp_path)
    said = str(problem.value)
    for name in ("one", "two", "three", "four", "five", "six"):
        assert f"{name}.sql" in said
    assert "good.sql" not in said and "no check runs" in said


def test_shipped_checks_load() -> None:
    names = {check.name for check in load_checks()}
    assert names >= {"critical_volumes", "orphaned_vehicles", "daily_volume", "sequences_ahead", "indexes_valid"}


@pytest.fixture
def checks(tmp_path: Path) -> list[CheckFile]:
    return load_checks(write(tmp_path, general=GOOD, own="-- suite: shop\n" + GOOD, other="-- suite: else\n" + GOOD))


def names(
    checks: list[CheckFile], wanted: str = "all", suites: tuple[str, ...] = ("shop",), skip: tuple[str, ...] = ()
) -> list[str]:
    return [check.name for check in select_checks(checks, suites, wanted, skip)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["general", "own"]),
        ({"suites": ()}, ["general"]),
        ({"wanted": "own"}, ["own"]),
        ({"wanted": " own , general "}, ["general", "own"]),
        ({"skip": ("general",)}, ["own"]),
    ],
)
def test_checks_are_chosen_by_suite_name_and_skipping(
    checks: list[CheckFile], given: dict[str, Any], expected: list[str]
) -> None:
    assert names(checks, **given) == expected


@pytest.mark.parametrize(
    "given", [{"wanted": "genral"}, {"suites": ("shopp",)}, {"skip": ("nothing",)}, {"wanted": "own,oops"}]
)
def test_name_that_does_not_exist_is_refused_with_the_nearest(checks: list[CheckFile], given: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=r"did you mean|valid names"):
        names(checks, **given)
