"""Where the rows of a table come from: told by what was asked, never guessed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from runbook import sources
from runbook.model import Check, Severity, Status
from runbook.postgres.batch import Batch
from runbook.redact import scrubber
from runbook.report import checks_table, table
from runbook.report.view import statements_by_step
from runbook.session import statements
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
    place = (
        "step «Count», snapshots 2026-11-01 02:03:04 UTC to 2026-11-01 02:03:05 UTC, shop at 10.0.0.1:5432 as reader."
    )
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


def test_table_says_what_else_a_step_could_use(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    ask("SELECT 'first reading'")
    book.end_step("Arrive")
    book.begin_step()
    ask("SELECT 'second reading'", after=60)
    book.end_step("Measure rates", rates := [{"per second": 1}])
    said = str(table(rates, caption="Rates").origin)
    assert said.startswith("statement 2 of step «Measure rates», snapshot 2026-11-01 02:04:04 UTC,")
    assert said.endswith("What was asked before it was at hand too: statement 1.")


def test_result_that_an_earlier_attempt_or_step_had_found_is_not_told_as_the_steps_own(tmp_path: Path) -> None:
    first = StatementBook(tmp_path, 1)
    first.begin_step()
    ask("SELECT 1")
    first.end_step("Look")
    second = StatementBook(tmp_path, 2)
    second.begin_step()
    ask("SELECT 'still there'", after=60)
    second.recalled()
    second.end_step("Look", kept := [{"n": 1}])
    assert str(table(kept, caption="Kept").origin).startswith(
        "worked out after step «Look», from what had been asked by then: statements 1 to 2, the newest of step «Look», snapshot 2026-11-01 02:04:04"
    )
    second.begin_step()
    ask("SELECT 3")
    second.end_step("Count", rows := [{"n": 1}])
    second.begin_step()
    ask("SELECT 4")
    second.end_step("Pass on", rows)
    assert str(table(rows, caption="Passed on").origin).startswith("worked out after step «Pass on»")


def test_step_that_is_done_twice_keeps_its_numbers(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    for step in ("A", "B", "A"):
        book.begin_step()
        ask(f"SELECT '{step}'")
        book.end_step(step)
    shown = statements_by_step(read_statements(tmp_path))
    assert [(one.step, [line["n"] for line in one.lines]) for one in shown] == [("A", [1]), ("B", [2]), ("A", [3])]
    again = StatementBook(tmp_path, 2)
    again.begin_step()
    again.end_step("A", rows := [{"n": 1}], reused=True)
    assert str(table(rows, caption="A").origin).startswith("statement 3 of step «A»")
    again.begin_step()
    again.end_step("Rank", ranked := [{"n": 2}])
    assert "statements 1 to 3, the newest of step «A»" in str(table(ranked, caption="All").origin)


def test_statement_of_a_probe_is_filed(tmp_path: Path) -> None:
    first = StatementBook(tmp_path, 1)
    first.begin_step()
    ask("SELECT 1")
    first.end_step("Once")
    second = StatementBook(tmp_path, 2)
    second.begin_step()
    ask("SELECT 'is it there'")
    second.end_step("Once", [{"n": 1}], reused=True)
    assert [line["sql"] for line in read_statements(tmp_path)] == ["SELECT 1", "SELECT 'is it there'"]


class FullDisk:
    """A file on a disk that takes three bytes more."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *cause: object) -> None:
        self._file.close()

    def tell(self) -> int:
        return int(self._file.tell())

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def write(self, data: bytes) -> int:
        if self._file.tell() % 2 == 0 and len(data) > 3:
            return int(self._file.write(data[:3]))
        raise OSError(28, "No space left on device")


def test_full_disk_leaves_no_half_line_and_a_damaged_one_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    ask("SELECT 1")
    book.end_step("Before")
    whole = (tmp_path / STATEMENTS).read_bytes()
    book.begin_step()
    ask("SELECT 2")
    with monkeypatch.context() as patched:
        opened = Path.open
        patched.setattr(
            Path,
            "open",
            lambda path, mode="r", **rest: (
                FullDisk(opened(path, mode, **rest)) if mode == "ab" else opened(path, mode, **rest)
            ),
        )
        with pytest.raises(OSError, match="No space left"):
            book.end_step("Full")
    assert (tmp_path / STATEMENTS).read_bytes() == whole
    book.begin_step()
    ask("SELECT 3")
    book.end_step("After")
    assert [(line["n"], line["sql"]) for line in read_statements(tmp_path)] == [(1, "SELECT 1"), (2, "SELECT 3")]
    (tmp_path / STATEMENTS).write_bytes(b"\0\0\n" + (tmp_path / STATEMENTS).read_bytes())
    assert [line["n"] for line in read_statements(tmp_path)] == [1, 2]
    assert statements.StatementBook(tmp_path, 2)


def test_keys_of_people_are_counted_also_where_they_are_few(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    book.begin_step()
    ask("SELECT * FROM users WHERE email = ANY ($1::text[])", ["ada@example.org", "alan@example.org"])
    book.end_step("Find the rows")
    assert "example.org" not in (tmp_path / STATEMENTS).read_text()


def test_hash_is_that_of_what_is_shown() -> None:
    scrubber.register("env:OTHER", "hunter3-hunter3")
    marked = table([{"a": "«secret env:OTHER»"}], caption="As it is shown")
    assert table([{"a": "hunter3-hunter3"}], caption="Before it is scrubbed").sha256 == marked.sha256
    tricky = Check(id="a", title="a\u202eb", status=Status.PASS, expected="", observed="", severity=Severity.INFO)
    assert checks_table(tricky).rows[0][1].text == "a[U+202E]b"


def made(book: StatementBook, step: str, *names: str) -> None:
    """A step has asked a statement of one pattern for each name."""
    book.begin_step()
    batch = Batch("SELECT {0} AS n, count(*) AS rows FROM {1}", tuple((name,) for name in names))
    sources.note(Asked("10.0.0.1:5432", "shop", "reader", batch.as_string(), (), AT, AT, len(names), made=batch.parts))
    book.end_step(step)


def test_statements_of_one_pattern_are_one_line_that_lists_their_parts_once(tmp_path: Path) -> None:
    book = StatementBook(tmp_path, 1)
    names = [f"app.t{number}" for number in range(100)]
    made(book, "Fence", *names)
    made(book, "Read", *names, "pg_catalog.pg_class")
    made(book, "Read some", *names[:50])
    first, second, third = read_statements(tmp_path)
    assert first["made"] == [[name] for name in names] and first["made_in"] == []
    assert (second["made"], second["made_in"]) == ([["pg_catalog.pg_class"]], [1])
    assert (third["made"], third["made_in"]) == ([[name] for name in names[:50]], [])
    assert Batch(first["sql"], tuple(map(tuple, first["made"]))).text.endswith(
        "SELECT 99 AS n, count(*) AS rows FROM app.t99"
    )
    shown = [line["made"] for step in statements_by_step([first, second, third]) for line in step.lines]
    assert shown[0].startswith("made for app.t0, app.t1") and shown[0].endswith("and 80 more, all in statements.jsonl")
    assert shown[1] == "made for pg_catalog.pg_class; made again for all of statement 1"


def test_record_of_an_attempt_holds_its_own_statements_and_each_record_can_be_read_alone(tmp_path: Path) -> None:
    made(StatementBook(tmp_path, 1), "Read", "app.a", "app.b")
    made(StatementBook(tmp_path, 2), "Read again", "app.a", "app.b")
    one, two = read_statements(tmp_path, 1), read_statements(tmp_path, 2)
    assert [(line["n"], line["step"]) for line in (*one, *two)] == [(1, "Read"), (2, "Read again")]
    assert two[0]["made"] == [["app.a"], ["app.b"]], "it refers to no line of another record"
