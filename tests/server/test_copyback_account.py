"""What a copy-back gave back is counted twice, from WAL and by comparing both sides: nothing that is not back passes in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from runbook.recovery.account import LATER, UNEXPLAINED, Account, build_account
from runbook.recovery.copybackplan import NO_KEY, Conflict
from runbook.recovery.loss import TableLoss
from undoing import Undoing, damaged, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    # case 33: no key, and every row was changed
    "CREATE TABLE nokey (a int, b text)",
    "INSERT INTO nokey SELECT g, 'v' || g % 100 FROM generate_series(1, 2525) AS g",
    # without a key, changed by others before and after the damage
    "CREATE TABLE mixed (a int, b text)",
    "INSERT INTO mixed SELECT g, 'v' FROM generate_series(1, 100) AS g",
    "CREATE TABLE swapped (a int)",
    "INSERT INTO swapped SELECT g % 2 FROM generate_series(1, 20) AS g",
    # a trigger rewrites what comes back
    "CREATE TABLE tasks (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now())",
    "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$",
    "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch()",
    "INSERT INTO tasks SELECT i, 'v' FROM generate_series(1, 120) AS i",
    # partitions, an enum key, a table that is emptied
    "CREATE TABLE part (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
    "INSERT INTO part SELECT g, CASE WHEN g % 2 = 0 THEN '2020-05-05' ELSE '2021-05-05' END::date FROM generate_series(1, 100) AS g",
    "CREATE TYPE colour AS ENUM ('red', 'green', 'blue')",
    "CREATE TABLE paint (c colour PRIMARY KEY, n int)",
    "INSERT INTO paint VALUES ('red', 1), ('green', 2), ('blue', 3)",
    "CREATE TABLE hues (c colour PRIMARY KEY, n int, updated_at timestamptz)",
    "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON hues FOR EACH ROW EXECUTE FUNCTION touch()",
    "INSERT INTO hues VALUES ('red', 1), ('green', 2), ('blue', 3)",
    # the damage drops it, and makes another one of that name
    "CREATE TABLE again (id int PRIMARY KEY, v text)",
    "INSERT INTO again SELECT g, 'x' FROM generate_series(1, 30) AS g",
    "CREATE TABLE none ()",
    "INSERT INTO none DEFAULT VALUES",
    "CREATE TABLE log (id int PRIMARY KEY, x text)",
    "INSERT INTO log SELECT g, 'x' FROM generate_series(1, 500) AS g",
    "CREATE TABLE item (id int PRIMARY KEY, n int)",
    "INSERT INTO item SELECT g, 0 FROM generate_series(1, 200) AS g",
    "SELECT lo_from_bytea(30000 + g, 'scan') FROM generate_series(1, 5) AS g",
)
DAMAGE = (
    [
        "UPDATE nokey SET b = 'X'",
        "UPDATE mixed SET b = 'X' WHERE a <= 50",
        "DELETE FROM mixed WHERE a > 90",
        "UPDATE swapped SET a = 1 - a",
        "DELETE FROM tasks",
        "DELETE FROM part WHERE id <= 10",
        "UPDATE paint SET n = -n WHERE c <> 'blue'",
        "DELETE FROM hues",
        "DELETE FROM none",
        "UPDATE item SET n = -1 WHERE id <= 50",
        "SELECT lo_unlink(30001)",
    ],
    [
        "DELETE FROM item WHERE id BETWEEN 41 AND 60 OR id > 1000",
        "TRUNCATE log",
        "DROP TABLE again",
        "CREATE TABLE again (id int PRIMARY KEY, v text, w int)",
        "INSERT INTO again VALUES (1, 'new', 1)",
    ],
)
BETWEEN = (
    "INSERT INTO item VALUES (1001, 1), (1002, 1)",
    "UPDATE item SET n = 7 WHERE id = 55",
    "INSERT INTO log VALUES (501, 'later'), (502, 'later')",
    "DELETE FROM log WHERE id <= 3",
)
AFTER = (
    "UPDATE mixed SET b = 'others' WHERE a IN (1, 2)",
    "DELETE FROM mixed WHERE a = 3",
    "UPDATE item SET n = 9 WHERE id = 5",
    "DELETE FROM item WHERE id = 6",
    "INSERT INTO item VALUES (58, 58)",
    "DELETE FROM item WHERE id = 150",
    "UPDATE item SET n = 1 WHERE id = 151",
    "DELETE FROM part WHERE id = 30",
)


@dataclass
class Done:
    at: Undoing
    account: Account
    noted: list[tuple[TableLoss, Conflict]]

    def row(self, title: str) -> dict[str, Any]:
        return next(row for row in self.account.rows() if row["table"] == title)


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with damaged(*MADE, damage=DAMAGE, between=BETWEEN, after=AFTER) as at:
        yield Done(at, *at.account())


def parts(row: dict[str, Any]) -> tuple[int, ...]:
    names = ("back as before", "back but altered", "changed since by others", "in conflict", "not brought back")
    return tuple(row[name] for name in names)


def test_both_counts_agree_and_the_parts_add_up_to_the_whole(done: Done) -> None:
    assert done.account.problems() == []
    for row in done.account.rows():
        assert sum(parts(row)) == row["taken (WAL)"] == row["taken (compared)"], row


def test_rows_without_a_key_come_back_by_their_place(done: Done) -> None:
    """Case 33: 2,525 rows were in conflict, none came back, and the run passed."""
    assert done.at.sql("SELECT * FROM nokey ORDER BY a") == done.at.then("SELECT * FROM nokey ORDER BY a")
    assert parts(done.row("public.nokey")) == (2525, 0, 0, 0, 0)
    assert done.at.values("SELECT a FROM swapped ORDER BY a") == [0] * 10 + [1] * 10


def test_rows_without_a_key_that_others_changed_since_are_left(done: Done) -> None:
    assert parts(done.row("public.mixed")) == (10 + 50 - 3, 0, 3, 0, 0)
    assert done.at.sql("SELECT a, b FROM mixed WHERE b <> 'v' ORDER BY a") == [(1, "others"), (2, "others")]
    assert done.at.values("SELECT count(*) FROM mixed") == [99]


def test_altered_rows_are_counted_with_their_columns(done: Done) -> None:
    assert parts(done.row("public.tasks")) == (0, 120, 0, 0, 0)
    assert done.row("public.tasks")["notes"] == "altered: updated_at in 120"
    assert parts(done.row("public.hues")) == (0, 3, 0, 0, 0)
    assert done.row("public.hues")["notes"] == "altered: updated_at in 3"
    assert "public.tasks: 120 back but altered: updated_at in 120" in done.account.decisions()


def test_rows_made_after_the_point_are_not_back_and_each_is_noted(done: Done) -> None:
    assert parts(done.row("public.item")) == (50 - 2 + 8, 0, 2, 2, 2)
    later = [row for _, row in done.noted if row.reason == LATER]
    assert [(row.table, row.key) for row in later] == [("public.item", {})] * 2
    assert parts(done.row("public.log"))[-1] == 2, "truncated with their table: WAL has counted them"
    assert any("public.log: 2 not brought back" in said for said in done.account.decisions())


def test_partitions_enum_keys_and_large_objects_are_in_the_account(done: Done) -> None:
    assert parts(done.row("public.part")) == (10, 0, 0, 0, 0)
    assert parts(done.row("public.paint")) == (2, 0, 0, 0, 0)
    assert parts(done.row("public.again")) == (29, 0, 0, 1, 0)
    assert parts(done.row("public.none")) == (1, 0, 0, 0, 0)
    assert parts(done.row("large objects")) == (1, 0, 0, 0, 0)


def test_table_that_no_suspect_names_is_unexplained() -> None:
    """Cases 30 and 31: its rows are gone, the search has not understood it, and the account does not add up."""
    with damaged(
        "CREATE TABLE child (id int PRIMARY KEY)",
        "INSERT INTO child SELECT generate_series(1, 1503)",
        "CREATE TABLE vacuumed (id int PRIMARY KEY)",
        "INSERT INTO vacuumed SELECT generate_series(1, 10)",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "INSERT INTO parent SELECT generate_series(1, 2003)",
        damage=("DELETE FROM parent", "TRUNCATE child"),
        after=("DELETE FROM vacuumed WHERE id = 4", "VACUUM FULL vacuumed"),
    ) as at:
        del at.loss.tables["public.child"]
        account, noted = at.account()
        assert account.problems() == ["public.child: 1,503 rows not back, and no reason is known"]
        assert len([row for _, row in noted if row.table == "public.child"]) == 1503
        assert at.values("SELECT count(*) FROM parent") == [2003]


def test_changed_rows_in_several_files_without_a_key_stay_in_conflict() -> None:
    with damaged(
        "CREATE TABLE p (a int, b text) PARTITION BY LIST (a)",
        "CREATE TABLE p_0 PARTITION OF p FOR VALUES IN (0)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
        "INSERT INTO p SELECT g % 2, 'v' FROM generate_series(1, 20) AS g",
        "CREATE TABLE moved (a int)",
        "INSERT INTO moved SELECT generate_series(1, 20)",
        damage=("UPDATE p SET b = 'X'", "UPDATE moved SET a = -a"),
        after=("VACUUM FULL moved",),
    ) as at:
        plan = at.copyback().plan()
        assert table(plan, "public.p").reasons == {NO_KEY: 20} == table(plan, "public.moved").reasons
        assert plan.why_empty is not None and "20 in conflict" in plan.why_empty
        account, _ = at.account()
        assert account.problems() == []
        assert {parts(row) for row in account.rows()} == {(0, 0, 0, 20, 0)}
        assert len(account.decisions()) == 2


def test_rows_that_are_gone_and_that_wal_does_not_show_are_unexplained() -> None:
    """Whatever the WAL reader misses: the comparison finds it, and it is never taken for nothing."""
    with damaged(
        "CREATE TABLE item (id int PRIMARY KEY, n int)",
        "INSERT INTO item SELECT g, 0 FROM generate_series(1, 100) AS g",
        "CREATE TABLE bag (a int)",
        "INSERT INTO bag SELECT g % 5 FROM generate_series(1, 50) AS g",
        damage=("DELETE FROM item WHERE id <= 10", "DELETE FROM bag WHERE a = 1"),
    ) as at:
        # Nobody has counted these: they are made after the loss was.
        at.sql("DELETE FROM item WHERE id IN (50, 51)", "DELETE FROM bag WHERE a = 2")
        account, noted = at.account()
        assert [said for said in account.problems() if "before anything" not in said] == [
            "public.bag: 10 rows of the restored copy not in production as before, and WAL names no transaction that removed or changed them",
            "public.item: 2 rows of the restored copy not in production as before, and WAL names no transaction that removed or changed them",
        ]
        assert [row.key for _, row in noted if row.reason == UNEXPLAINED and row.table == "public.item"] == [
            {"id": "50"},
            {"id": "51"},
        ]


def test_attempt_after_a_crash_finds_what_was_written_and_counts_it_as_before() -> None:
    """The copy-back had committed, and nobody had noted it: altered rows, rows without a key and their neighbours are not in conflict."""
    with damaged(
        "CREATE TABLE tasks (id int PRIMARY KEY, v text, n int DEFAULT 0)",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := 1; RETURN NEW; END $$",
        "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch()",
        "ALTER TABLE tasks DISABLE TRIGGER touch",
        "INSERT INTO tasks SELECT i, 'v' FROM generate_series(1, 30) AS i",
        "CREATE TABLE bag (a int, b text)",
        "INSERT INTO bag SELECT g % 5, 'v' FROM generate_series(1, 50) AS g",
        damage=(
            "DELETE FROM tasks WHERE id > 20",
            "UPDATE tasks SET v = 'X' WHERE id <= 10",
            "UPDATE bag SET b = 'X' WHERE a = 1",
            "DELETE FROM bag WHERE a = 2",
        ),
        after=("ALTER TABLE tasks ENABLE TRIGGER touch",),
    ) as at:
        copyback = at.copyback()
        plan, before = copyback.plan(), copyback.count()
        first = at.apply(plan)
        again = at.copyback().apply(at.copyback().plan(), lambda name, xid: None, done=list(first.xids))
        assert again.conflicting == 0, again.conflict_lines()
        account = build_account(before, at.copyback().count(), again)
        assert account.problems() == []
        assert {row["table"]: parts(row) for row in account.rows()} == {
            "public.bag": (20, 0, 0, 0, 0),
            "public.tasks": (0, 20, 0, 0, 0),
        }
