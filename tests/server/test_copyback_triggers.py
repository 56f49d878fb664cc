"""Triggers of the tables that get rows back: the plan names what fires, leaves out what was decided, and says what they altered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from runbook.errors import OperatorError, PlatformError
from runbook.recovery.account import BY_TRIGGER, build_account
from runbook.recovery.copybackplan import KEPT_OUT, Conflict, CopyBackPlan
from undoing import Undoing, damaged, reasons, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

TOUCH = "BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END"
MADE = (
    "CREATE ROLE ann",
    "CREATE ROLE bob",
    "CREATE TABLE log (what text)",
    "CREATE TABLE tasks (id int PRIMARY KEY, v text, updated_at timestamptz DEFAULT now())",
    f"CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $${TOUCH}$$",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log VALUES (TG_TABLE_NAME || ' ' || TG_NAME); RETURN NULL; END$$",
    "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id % 100 = 7 THEN "
    "EXECUTE format('SELECT 1 / 0 WHERE %L = %L', NEW.v, NEW.v); END IF; RETURN NEW; END$$",
    "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION touch()",
    "CREATE TRIGGER noting AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION note()",
    "CREATE TRIGGER never BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION guard()",
    "ALTER TABLE tasks DISABLE TRIGGER never",
    "CREATE TRIGGER replica BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION guard()",
    "ALTER TABLE tasks ENABLE REPLICA TRIGGER replica",
    "CREATE TRIGGER stamped BEFORE UPDATE OF v ON tasks FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION touch()",
    "ALTER TABLE tasks ENABLE ALWAYS TRIGGER stamped",
    "CREATE CONSTRAINT TRIGGER later AFTER INSERT ON tasks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()",
    "INSERT INTO tasks SELECT i, 'secret ' || i, '2020-01-01' FROM generate_series(1, 1200) AS i",
    "CREATE TABLE guarded (id int PRIMARY KEY, v text)",
    "INSERT INTO guarded SELECT i, 'secret ' || i FROM generate_series(1, 300) AS i",
    "CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard()",
    'CREATE TABLE "Odd; table" (id int PRIMARY KEY, v text, updated_at timestamptz) PARTITION BY RANGE (id)',
    'CREATE TABLE part_1 PARTITION OF "Odd; table" FOR VALUES FROM (0) TO (100)',
    'CREATE TABLE part_2 PARTITION OF "Odd; table" FOR VALUES FROM (100) TO (1000)',
    'CREATE TRIGGER touch BEFORE INSERT ON "Odd; table" FOR EACH ROW EXECUTE FUNCTION touch()',
    'CREATE TRIGGER "own; one" BEFORE INSERT ON part_2 FOR EACH ROW EXECUTE FUNCTION touch()',
    'ALTER TABLE part_1 ENABLE ALWAYS TRIGGER touch',
    """INSERT INTO "Odd; table" SELECT i, 'v', '2020-01-01' FROM generate_series(1, 200) AS i""",
    'UPDATE "Odd; table" SET updated_at = \'2020-01-01\'',
    "CREATE TABLE powerful (id int PRIMARY KEY, v text, updated_at timestamptz)",
    "CREATE TRIGGER touch BEFORE INSERT ON powerful FOR EACH ROW EXECUTE FUNCTION touch()",
    "INSERT INTO powerful SELECT i, 'v' FROM generate_series(1, 10) AS i",
    "CREATE TABLE mixed (id int PRIMARY KEY, updated_at timestamptz) PARTITION BY RANGE (id)",
    "CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (100)",
    "CREATE TRIGGER touch BEFORE INSERT ON mixed FOR EACH ROW EXECUTE FUNCTION touch()",
    "INSERT INTO mixed SELECT i FROM generate_series(1, 10) AS i",
    *(f"ALTER TABLE {name} OWNER TO ann" for name in ("tasks", "log", "guarded", '"Odd; table"', "part_1", "part_2", "mixed")),
    "ALTER TABLE mixed_1 OWNER TO bob",
    "GRANT ALL ON mixed_1 TO ann",
    # As in a restored copy: what the triggers did while the tables were filled is not the subject.
    "TRUNCATE log",
    "SET session_replication_role = replica",
    "UPDATE tasks SET updated_at = '2020-01-01'",
)  # fmt: skip
ALL = ("tasks", "guarded", '"Odd; table"', "powerful", "mixed")
STATES = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"


@contextmanager
def deleted(*names: str, after: tuple[str, ...] = ()) -> Iterator[Undoing]:
    with damaged(*MADE, damage=[f"DELETE FROM {name}" for name in names], after=after) as at:
        at.crime.cluster.sql("TRUNCATE log", database="shop")
        yield at


@pytest.fixture(scope="module")
def at() -> Iterator[Undoing]:
    with deleted(*ALL) as found:
        yield found


def test_plan_lists_what_fires_with_its_state_and_what_it_cannot_leave_out(at: Undoing) -> None:
    plan = at.copyback().plan()
    assert plan.problems == []
    assert table(plan, "public.tasks").trigger_lines() == [
        "fires: constraint trigger later: AFTER INSERT, for each row, function public.note, enabled, deferred until COMMIT for the "
        "application, and fired with each statement here",
        "does not fire: trigger never: BEFORE INSERT, for each row, function public.guard, disabled",
        "fires: trigger noting: AFTER INSERT, for each statement, function public.note, enabled",
        "does not fire: trigger replica: BEFORE INSERT, for each row, function public.guard, enabled as replica only",
        "does not fire for what is written: trigger stamped: BEFORE UPDATE OF v, for each row, WHEN a condition holds, function public.touch, "
        "enabled always",
        "fires: trigger touch: BEFORE INSERT or UPDATE, for each row, function public.touch, enabled",
    ]
    assert table(plan, 'public."Odd; table"').trigger_lines() == [
        "fires: trigger touch: BEFORE INSERT, for each row, function public.touch, enabled",
        "fires: trigger touch: BEFORE INSERT, for each row, function public.touch, enabled always (on its partitions part_1)",
        "fires: trigger own; one: BEFORE INSERT, for each row, function public.touch, enabled (on its partitions part_2)",
    ]
    assert (
        'ALTER TABLE ONLY "public"."powerful" DISABLE TRIGGER "touch"'
        in table(plan, "public.powerful").trigger_lines()[-1]
    )
    assert table(plan, "public.mixed").trigger_lines()[-1] == (
        'none can be left out: partition "public"."mixed_1" has another owner'
    )


def test_table_whose_triggers_cannot_be_left_out_is_left_alone_when_that_was_decided(at: Undoing) -> None:
    at.leave_out = ["shop: public.powerful", "shop: public.mixed"]
    plan = at.copyback().plan()
    assert [problem.split(":")[0] for problem in plan.problems] == ["public.mixed", "public.powerful"]
    at.leave_out = []


def test_another_trigger_than_was_planned_is_refused(at: Undoing) -> None:
    plan = at.copyback().plan()
    at.sql("ALTER TABLE guarded ENABLE ALWAYS TRIGGER guard")
    with pytest.raises(OperatorError, match="triggers were changed"):
        at.copyback().apply(plan, lambda name, xid: None)
    at.sql("ALTER TABLE guarded ENABLE TRIGGER guard")
    at.leave_out = ["shop: public.tasks"]
    with pytest.raises(OperatorError, match="triggers were changed"):
        at.copyback().apply(plan, lambda name, xid: None)
    at.leave_out = []


def test_triggers_that_were_left_out_have_done_nothing_and_are_as_they_were(at: Undoing) -> None:
    before = at.sql(STATES)
    at.leave_out = ["shop: public.tasks", 'shop: public."Odd; table"', "shop: public.guarded trigger guard"]
    done: CopyBackPlan = at.apply()
    assert at.sql(STATES) == before
    for name in ("tasks", '"Odd; table"', "guarded"):
        query = f"SELECT * FROM {name} ORDER BY id"
        assert at.sql(query) == at.then(query), name
    assert at.values("SELECT count(*) FROM log") == [0]
    assert table(done, "public.tasks").altered == {} and table(done, "public.tasks").warnings == []
    assert [line for line in table(done, "public.tasks").trigger_lines() if line.startswith("fires")] == []
    assert table(done, "public.powerful").altered == {"updated_at": 10}, "what was not left out has fired"


def test_what_triggers_altered_is_counted_by_column_and_an_error_shows_its_place_and_no_value() -> None:
    with deleted("tasks", "guarded") as at:
        done = at.apply()
        assert table(done, "public.tasks").altered == {"updated_at": 1200}
        assert table(done, "public.tasks").warnings == [
            "public.tasks: 1,200 rows not quite as before, changed by triggers while written: updated_at in 1,200"
        ]
        assert at.values("SELECT count(*) FROM log WHERE what = 'tasks later'") == [1200]
        found = reasons(done, "public.guarded")
        assert found == {
            (number,): "the table refuses it: division by zero, in PL/pgSQL function guard() line 1 at EXECUTE"
            for number in ("7", "107", "207")
        }
        assert table(done, "public.guarded").insert == 297


def test_rows_without_a_key_that_a_trigger_altered_are_in_and_counted_by_column() -> None:
    made = (
        "CREATE TABLE bag (a int, b text, at timestamptz)",
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.a = 3 THEN RETURN NULL; END IF; "
        "NEW.at := clock_timestamp(); RETURN NEW; END$$",
        "INSERT INTO bag SELECT i % 5, 'b' || i % 7, '2020-01-01' FROM generate_series(1, 100) AS i",
        "CREATE TRIGGER stamp BEFORE INSERT ON bag FOR EACH ROW EXECUTE FUNCTION stamp()",
        "CREATE TABLE sack (a int, b int)",
        "CREATE FUNCTION mix() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.a := NEW.a + 1000; NEW.b := NEW.b + 1000; RETURN NEW; END$$",
        "INSERT INTO sack SELECT i, i FROM generate_series(1, 10) AS i",
        "CREATE TRIGGER mix BEFORE INSERT ON sack FOR EACH ROW EXECUTE FUNCTION mix()",
    )
    with damaged(*made, damage=["DELETE FROM bag", "DELETE FROM sack"]) as at:
        done = at.apply()
        bag = table(done, "public.bag")
        assert (bag.insert, bag.altered, bag.reasons) == (80, {"at": 80}, {KEPT_OUT: 20}), "20 were kept out"
        assert bag.warnings == ["public.bag: 80 rows not quite as before, changed by triggers while written: at in 80"]
        sack = table(done, "public.sack")
        assert (sack.insert, sack.altered, sack.reasons) == (0, {}, {KEPT_OUT: 10})
        assert "10 rows were written with other values than before, by triggers" in sack.warnings[0]
        assert at.values("SELECT count(*) FROM sack") == [10]


def test_row_that_a_trigger_wrote_again_in_a_block_of_its_own_is_in_and_altered() -> None:
    with deleted(
        "tasks",
        after=(
            "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id % 2 = 0 THEN "
            "BEGIN UPDATE tasks SET v = 'again' WHERE id = NEW.id; EXCEPTION WHEN division_by_zero THEN NULL; END; END IF; RETURN NULL; END$$",
            "CREATE TRIGGER again AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION again()",
            "ALTER TABLE tasks DISABLE TRIGGER touch",
        ),
    ) as at:
        done = table(at.apply(), "public.tasks")
        assert (done.insert, done.reasons) == (1200, {})
        assert done.altered == {"v": 600, "updated_at": 600}, "the trigger that fires on UPDATE OF v has set the time"


def test_trigger_that_another_changes_meanwhile_leaves_nothing_behind() -> None:
    """A trigger's own function runs as the owner and may alter the table: what was not so before is not committed."""
    with deleted(
        "tasks",
        "guarded",
        after=(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
            "ALTER TABLE guarded DISABLE TRIGGER guard; RETURN NULL; END$$",
            "CREATE TRIGGER meddle AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION meddle()",
        ),
    ) as at:
        before = at.sql(STATES)
        at.leave_out = ["shop: public.guarded trigger guard"]
        at.apply()
        assert at.sql(STATES) == before, "what was left out is put back to what it was"
    with deleted(
        "tasks",
        "guarded",
        after=(
            "CREATE TRIGGER other BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION guard()",
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN ALTER TABLE guarded DISABLE TRIGGER other; RETURN NULL; END$$",
            "CREATE TRIGGER meddle AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION meddle()",
            "ALTER FUNCTION meddle() OWNER TO ann",
        ),
    ) as at:
        before = at.sql(STATES)
        at.leave_out = ["shop: public.guarded trigger guard"]
        with pytest.raises(PlatformError, match=r"triggers of public\.guarded are not as they were"):
            at.apply()
        assert (at.values("SELECT count(*) FROM guarded"), at.sql(STATES)) == ([0], before)
    with deleted(
        "tasks",
        after=(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NULL; END$$",
            "CREATE TRIGGER meddle BEFORE INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION meddle()",
        ),
    ) as at:
        at.leave_out = ["shop: public.tasks trigger touch"]
        at.apply()
        assert at.values("SELECT count(*) FROM log WHERE what = 'tasks later'") == [1200], (
            "what was deferred has happened"
        )
        assert at.values("SELECT count(*) FROM tasks WHERE updated_at <> '2020-01-01'") == [0]


def test_lock_that_somebody_holds_leaves_nothing_done_and_says_what_was_being_done() -> None:
    with deleted("tasks") as at:
        at.leave_out = ["shop: public.tasks"]
        copyback = at.copyback()
        plan = copyback.plan()
        before = at.sql(STATES)
        at.sql(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no DDL today'; END$$",
            "CREATE EVENT TRIGGER refusing ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refuse()",
        )
        with pytest.raises(PlatformError, match=r"no DDL today.*while trigger later of .*tasks.* was left out"):
            copyback.apply(plan, lambda name, xid: None)
        at.sql("DROP EVENT TRIGGER refusing")
        assert (at.values("SELECT count(*) FROM tasks"), at.sql(STATES)) == ([0], before)


def wait_until_up(at: Undoing) -> None:
    """A server whose backend was killed recovers by itself."""
    deadline = time.monotonic() + 60
    while True:
        try:
            at.sql("SELECT 1")
            return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_nobody_else_sees_a_trigger_disabled_and_a_run_that_dies_before_its_commit_leaves_nothing() -> None:
    with deleted("tasks") as at:
        at.leave_out = ["shop: public.tasks"]
        before, seen = at.sql(STATES), []

        def die(name: str, xid: int) -> None:
            seen.append(at.sql(STATES))
            (pid,) = at.values("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'runbook_copyback_%'")
            os.kill(pid, signal.SIGKILL)
            raise RuntimeError("the run is gone")

        with pytest.raises(Exception, match=r"the run is gone|terminat|connection"):
            at.copyback().apply(at.copyback().plan(), die)
        wait_until_up(at)
        assert seen == [before]
        assert (at.values("SELECT count(*) FROM tasks"), at.sql(STATES)) == ([0], before)
        assert table(at.apply(), "public.tasks").altered == {}


BUMPING = (
    "CREATE ROLE app",
    "CREATE TABLE stock (id int PRIMARY KEY, sold int)",
    "CREATE TABLE plain (id int, sold int)",
    "CREATE TABLE ledger (what text)",
    "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE stock SET sold = sold + 1 WHERE id = 1; "
    "UPDATE plain SET sold = sold + 1 WHERE id = 2; INSERT INTO ledger VALUES ('x'); RETURN NULL; END$$",
    "INSERT INTO stock SELECT i, 0 FROM generate_series(1, 20) AS i",
    "INSERT INTO plain SELECT i, 0 FROM generate_series(1, 20) AS i",
    "CREATE TRIGGER bump AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION bump()",
    *(f"ALTER TABLE {name} OWNER TO app" for name in ("stock", "plain", "ledger")),
)


def test_rows_beside_the_damage_that_triggers_changed_are_a_decision_and_other_tables_are_named() -> None:
    with damaged(*BUMPING, damage=["DELETE FROM stock WHERE id > 15", "DELETE FROM plain WHERE id > 15"]) as at:
        plan, before = at.copyback().plan(), at.copyback().count()
        done = at.apply(plan)
        noted: list[Conflict] = []
        found = build_account(before, at.copyback().count(lambda of, row: noted.append(row)), done)
        assert found.problems() == []
        assert [said.partition(": 1 row that the damage did not touch")[0] for said in found.decisions()] == [
            "public.plain",
            "public.stock",
        ]
        assert [(row.table, row.key, row.reason) for row in noted if row.key] == [
            ("public.stock", {"id": "1"}, BY_TRIGGER)
        ]
        assert [said for said in done.warnings if "ledger" in said] == [
            "public.plain: triggers wrote to public.ledger in the same transaction, rows: 5 inserted"
        ]


def test_rows_that_needed_a_dropped_table_are_tried_again_once_it_is_there() -> None:
    made = (
        "CREATE ROLE app",
        "CREATE TABLE trail (what text)",
        "CREATE TABLE item (id int PRIMARY KEY, n int)",
        "CREATE FUNCTION leave_trail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id % 2 = 0 THEN INSERT INTO trail VALUES ('x'); "
        "END IF; IF NEW.id = 7 THEN RAISE 'never'; END IF; RETURN NULL; END$$",
        "INSERT INTO item SELECT i, 0 FROM generate_series(1, 20) AS i",
        "INSERT INTO trail VALUES ('y')",
        "CREATE TRIGGER leaving AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION leave_trail()",
        *(f"ALTER TABLE {name} OWNER TO app" for name in ("item", "trail")),
    )
    with damaged(*made, damage=["DELETE FROM item WHERE id <= 10", "DROP TABLE trail"]) as at:
        plan, before = at.copyback().plan(), at.copyback().count()
        done = at.apply(plan)
        assert at.values("SELECT id FROM item ORDER BY id") == [id_ for id_ in range(1, 21) if id_ != 7]
        assert sorted(at.values("SELECT what FROM trail")) == [*["x"] * 5, "y"]
        assert (table(done, "public.item").insert, list(reasons(done, "public.item"))) == (9, [("7",)])
        assert len(done.xids) == 3
        found = build_account(before, at.copyback().count(), done)
        assert found.problems() == []
        assert [row["back as before"] for row in found.rows() if row["table"] == "public.item"] == [9]
