"""Where the rows of a table come from: told by what was asked, never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook import sources
from runbook.redact import scrubber
from runbook.report import table
from runbook.session.statements import STATEMENTS, StatementBook, read_statements
from runbook.sources import Asked

AT = datetime(2026, 11, 1, 2, 3, 4, tzinfo=UTC)


def ask(sql: str, *values: object, after: int = 0, rows: int | None = 1) -> None:
    at = AT + timedelta(seconds=after)
    sources.note(Asked("10.0.0.1:5432", "shop", "reader", sql, values, at, at, rows))


def test_result_of_a_step_names_its_statements_and_what_was_made_of_it_says_so(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    ask("SELECT 1")
    ask("SELECT 2", after=1)
    rows = [{"n": 1}]
    book.end_step("Count", rows)
    place = "step «Count», snapshot 2026-11-01 02:03:04 UTC, shop at 10.0.0.1:5432 as reader."
    made = "from what had been asked by then: statements 1 to 2, the newest of"
    assert table(rows, caption="Its own").origin == f"statements 1 to 2 of {place}"
    assert table(rows[:1], caption="A part").origin == f"worked out after step «Count», {made} {place}"
    book.begin_step()
    book.end_step("Rank", ranked := [{"n": 2}])
    assert table(ranked, caption="Ranked").origin == f"worked out after step «Rank», {made} {place}"
    assert table(rows, caption="Shown again later").origin == f"statements 1 to 2 of {place}"


def test_run_that_asked_nobody_says_so(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    assert table([{"n": 1}], caption="Declared").origin == "before the first step, from files and parameters."
    book.begin_step()
    book.end_step("Read the contacts", rows := [{"n": 1}])
    assert "No server had been asked: from files and parameters." in str(table(rows, caption="Contacts").origin)


def test_what_is_asked_between_two_steps_is_not_the_next_ones(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    book.end_step("First")
    ask("SELECT 'stray'")
    assert "statement 1, the newest of step «after First»" in str(table([{"n": 1}], caption="Strays").origin)
    book.begin_step()
    ask("SELECT 'own'")
    book.end_step("Second", rows := [{"n": 1}])
    assert "statement 2 of step «Second»" in str(table(rows, caption="Second").origin)
    assert [line["step"] for line in read_statements(tmp_path)] == ["after First", "Second"]


def test_wait_that_polls_is_one_line_with_its_count(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    for second in range(50):
        ask("SELECT pg_last_wal_replay_lsn()", after=second, rows=1)
    book.end_step("Wait")
    (line,) = read_statements(tmp_path)
    assert (line["times"], line["snapshot"][:19], line["last_snapshot"][:19]) == (
        50,
        "2026-11-01T02:03:04",
        "2026-11-01T02:03:53",
    )


def test_step_that_is_not_done_again_keeps_the_origin_of_its_first_attempt(tmp_path: Path) -> None:
    first = StatementBook(tmp_path, 1)
    first.begin_step()
    ask("SELECT 1")
    first.end_step("Once")
    (tmp_path / STATEMENTS).write_bytes((tmp_path / STATEMENTS).read_bytes() + b'{"n": 2, "torn')
    second = StatementBook(tmp_path, 2)
    second.begin_step()
    second.end_step("Once", rows := [{"n": 1}], reused=True)
    assert str(table(rows, caption="Again").origin).startswith("statement 1 of step «Once»")
    second.begin_step()
    ask("SELECT 2")
    second.end_step("More")
    assert [(line["n"], line["attempt"]) for line in read_statements(tmp_path)] == [(1, 1), (2, 2)]


def test_neither_secrets_nor_long_lists_of_keys_are_kept(tmp_path: Path) -> None:
    scrubber.register("env:SHOP", "hunter2-hunter2")
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    ask("SELECT $1, $2, $3", "hunter2-hunter2", list(range(21)), "x" * 201)
    ask("SELECT 'hunter2-hunter2'")
    book.end_step("Ask")
    text = (tmp_path / STATEMENTS).read_text()
    assert "hunter2" not in text
    assert json.loads(text.splitlines()[0])["values"][1:] == ["<21 values>", "<201 characters>"]
