"""Copying back that is refused, cut off or overtaken: all of it or nothing, and it is known which."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runbook.errors import OperatorError, PlatformError
from runbook.recovery.copybackplan import CHANGED, EXISTS, KEPT_OUT, NOT_SET_BACK, CopyBackPlan
from undoing import Undoing, damaged, reasons, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

SECRET = "ann@example.org"
MADE = (
    "CREATE TABLE owner (id int PRIMARY KEY)",
    "INSERT INTO owner SELECT generate_series(1, 10)",
    "CREATE TABLE item (id int PRIMARY KEY, owner int REFERENCES owner, n int, email text)",
    f"INSERT INTO item SELECT g, g % 10 + 1, 0, '{SECRET}' FROM generate_series(1, 1000) AS g",
    "CREATE TABLE bag (a int)",
    "INSERT INTO bag SELECT g % 5 FROM generate_series(1, 50) AS g",
)
DAMAGE = ("DELETE FROM item WHERE id <= 500", "UPDATE item SET n = -1", "DELETE FROM bag WHERE a = 1")


@pytest.fixture
def at() -> Iterator[Undoing]:
    with damaged(*MADE, damage=DAMAGE) as undoing:
        yield undoing


@pytest.fixture(scope="module")
def two() -> Iterator[Undoing]:
    """The same damage in two databases."""
    with damaged(*MADE, damage=DAMAGE, databases=("depot",)) as undoing:
        yield undoing


def counts(at: Undoing, database: str = "shop") -> tuple[int, int, int]:
    found = at.sql(
        "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM item WHERE n = 0), (SELECT count(*) FROM bag)",
        database=database,
    )[0]
    return found[0], found[1], found[2]


HURT, WHOLE = (500, 0, 40), (1000, 1000, 50)


def _copy_back(at: Undoing, plan: CopyBackPlan, file: Path, where: str) -> None:
    """A process that is killed just before its COMMIT, or just after."""

    def note(database: str, xid: int) -> None:
        with file.open("a") as out:
            out.write(json.dumps([database, xid]) + "\n")
            out.flush()
            os.fsync(out.fileno())
        if where == "before":
            os.kill(os.getpid(), signal.SIGKILL)

    at.copyback().apply(plan, note)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_beside_the_commit_the_probe_tells_the_truth_and_nothing_comes_twice(
    at: Undoing, tmp_path: Path, where: str
) -> None:
    file = tmp_path / "xids"
    plan = at.copyback().plan()
    child = multiprocessing.get_context("fork").Process(target=_copy_back, args=(at, plan, file, where))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    noted = dict(json.loads(line) for line in file.read_text().splitlines())
    copyback = at.copyback()
    said = copyback.probe(noted)
    assert said == {"shop": "rolled back" if where == "before" else "committed"}
    assert counts(at) == (HURT if where == "before" else WHOLE)
    # Done again by somebody who did not look: the same.
    again = at.copyback().plan()
    assert again.facts() == plan.facts()
    at.apply(again)
    assert counts(at) == WHOLE


def test_database_that_was_done_is_left_alone(two: Undoing) -> None:
    plan = two.copyback().plan()
    assert plan.databases() == ["depot", "shop"]
    noted: dict[str, int] = {}

    def note(database: str, xid: int) -> None:
        noted[database] = xid
        if database == "shop":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.copyback().apply(plan, note)
    said = two.copyback().probe(noted)
    assert said == {"depot": "committed", "shop": "rolled back"}
    assert (counts(two, "depot"), counts(two)) == (WHOLE, HURT)
    done = two.copyback().apply(
        plan, noted.__setitem__, done=[name for name, word in said.items() if word == "committed"]
    )
    assert list(done.xids) == ["shop"]
    assert (counts(two, "depot"), counts(two)) == (WHOLE, WHOLE)


@pytest.mark.parametrize(
    ("refusing", "words", "left"),
    [
        (("ALTER TABLE item ADD CONSTRAINT late CHECK (id <> 7) NOT VALID",), "late", {"public.item": 1}),
        (
            (
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not tonight'; END$$",
                "CREATE TRIGGER no BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION no()",
            ),
            "not tonight",
            {"public.item": 500},
        ),
        (
            (
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'at the end'; END$$",
                "CREATE CONSTRAINT TRIGGER no AFTER INSERT ON bag DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no()",
            ),
            "at the end",
            {"public.bag": 10},
        ),
    ],
)  # fmt: skip
def test_what_a_constraint_or_trigger_refuses_is_listed_and_the_rest_is_in(
    at: Undoing, refusing: tuple[str, ...], words: str, left: dict[str, int]
) -> None:
    at.sql(*refusing)
    done = at.apply()
    assert {one.table: one.conflicting for one in done.tables if one.conflicting} == left
    assert all(words in reason for one in done.tables for reason in one.reasons)
    assert SECRET not in str([one.reasons for one in done.tables])
    gone = left.get("public.item", 0)
    assert counts(at) == (
        1000 - (gone if gone == 1 else 0),
        1000 - gone,
        50 - left.get("public.bag", 0),
    )
    assert at.values("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'runbook%'") == [0]


def test_conflicts_that_came_up_since_the_plan_are_shown_and_not_overwritten(at: Undoing) -> None:
    plan = at.copyback().plan()
    at.sql(
        "INSERT INTO item VALUES (7, 1, 7, 'new')",
        "UPDATE item SET n = 5 WHERE id = 600",
        "DELETE FROM item WHERE id = 601",
    )
    done = at.apply(plan)
    assert reasons(done, "public.item") | {("601",): ""} == {("7",): EXISTS, ("600",): CHANGED, ("601",): ""}
    assert done.further(plan) == done.conflicting == 3
    assert at.sql("SELECT id, n FROM item WHERE id IN (7, 600, 601) ORDER BY id") == [(7, 7), (600, 5)]


def test_more_than_was_planned_and_another_table_are_refused(at: Undoing) -> None:
    at.sql("INSERT INTO item VALUES (7, 1, 7, 'new')")
    plan = at.copyback().plan()
    at.sql("DELETE FROM item WHERE id = 7")
    with pytest.raises(OperatorError, match="More rows"):
        at.copyback().apply(plan, lambda database, xid: None)
    assert counts(at) == HURT
    plan = at.copyback().plan()
    at.sql("ALTER TABLE item ADD more text")
    with pytest.raises(OperatorError, match="another one than"):
        at.copyback().apply(plan, lambda database, xid: None)
    assert counts(at) == HURT
    assert at.copyback().plan().facts() != plan.facts()


def test_row_made_or_changed_by_somebody_at_that_very_moment_is_kept(at: Undoing) -> None:
    """Somebody's changes are not committed yet when rows are compared, and are when they are inserted and set back."""
    plan = at.copyback().plan()
    other = at.crime.cluster.connect("shop")
    other.execute("BEGIN")
    other.execute("INSERT INTO item VALUES (7, 1, 7, 'new')")
    other.execute("UPDATE item SET n = 5 WHERE id = 600")

    def commit_later() -> None:
        time.sleep(1)
        other.execute("COMMIT")

    thread = threading.Thread(target=commit_later)
    thread.start()
    done = at.apply(plan)
    thread.join()
    other.close()
    assert reasons(done, "public.item") == {("7",): KEPT_OUT, ("600",): NOT_SET_BACK}
    assert at.sql("SELECT n FROM item WHERE id IN (7, 600) ORDER BY id") == [(7,), (5,)]
    item = table(done, "public.item")
    assert (item.insert, item.set_back, done.further(plan)) == (499, 499, 2)


def test_lock_that_somebody_holds_ends_it_with_nothing_done(at: Undoing) -> None:
    plan = at.copyback().plan()
    with at.crime.cluster.connect("shop") as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(PlatformError, match="lock timeout") as ended:
            at.copyback().apply(plan, lambda database, xid: None)
        assert "in production" in (ended.value.next or ""), "it says where the lock is"
    assert counts(at) == HURT


def test_server_lost_before_the_commit_is_said_and_nothing_has_happened(at: Undoing) -> None:
    plan = at.copyback().plan()

    def lose(database: str, xid: int) -> None:
        at.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'",
            database="postgres",
        )

    with pytest.raises(PlatformError, match="is not known"):
        at.copyback().apply(plan, lose)
    assert counts(at) == HURT


def test_without_knowing_whose_rows_they_are_nothing_is_copied(at: Undoing) -> None:
    at.fates = None
    copyback = at.copyback()
    plan = copyback.plan()
    assert plan.insert == plan.set_back == 0
    assert len(plan.problems) == 2 and plan.databases() == []
    assert copyback.apply(plan, lambda database, xid: None).xids == {}


def test_memory_stays_flat_however_much_is_copied() -> None:
    with damaged(
        "CREATE TABLE big (id int PRIMARY KEY, filling text)",
        "INSERT INTO big SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 150000) AS g",
        damage=("DELETE FROM big",),
    ) as at:
        at.copyback().plan()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        done = at.apply()
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert done.insert == 150000
        assert grown_kib < 20 * 1024, "96 MB of rows went through"
