"""Rows copied back into tables whose owner waits for whoever writes to them: no right is gained, and what is refused is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from runbook.recovery.copybackplan import CHANGED, EXISTS, CopyBackPlan
from runbook.recovery.writers import role_name
from traps import READ, witnesses
from undoing import Undoing, damaged, reasons, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

WRITER = role_name("test")
TRIGGER = "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} RAISE LOG 'WITNESS {name} % %', current_user, session_user; RETURN NEW; END$$"
OWNED = (
    "CREATE ROLE reading LOGIN BYPASSRLS IN ROLE pg_read_all_data",
    "CREATE ROLE app_owner NOLOGIN",
    "CREATE ROLE app LOGIN",
    "GRANT app_owner TO app",
    "GRANT CREATE ON SCHEMA public TO app_owner",
    "SET ROLE app_owner",
)


def trigger(name: str, body: str, when: str = "BEFORE INSERT OR UPDATE") -> tuple[str, str, str, str]:
    """A table of that name with 50 rows, and a trigger that does something and says as whom."""
    kind, ends = ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED") if when == "deferred" else ("TRIGGER", "")
    return (
        f"CREATE TABLE {name} (id int PRIMARY KEY, note text)",
        f"INSERT INTO {name} SELECT g, 'row ' || g FROM generate_series(1, 50) AS g",
        TRIGGER.format(name=f"{name}_trap", body=body),
        f"CREATE {kind} trap {'AFTER INSERT' if when == 'deferred' else when} ON {name} {ends} FOR EACH ROW EXECUTE FUNCTION {name}_trap()",
    )


MADE = (
    *OWNED,
    *READ,
    *trigger("deferred", "", "deferred"),
    *trigger("resetting", "PERFORM set_config('role', 'none', false);"),
    *trigger("making", "EXECUTE format('CREATE TABLE IF NOT EXISTS public.made_%s (n int)', NEW.id); CREATE SEQUENCE IF NOT EXISTS public.counted;"),
    *trigger("keeping", "PERFORM set_config('role', 'none', false); PERFORM lo_create(0); CREATE TEMP TABLE IF NOT EXISTS left_there (n int);"),
    *trigger("becoming", "PERFORM set_config('role', 'none', false); BEGIN SET ROLE postgres; EXCEPTION WHEN OTHERS THEN NULL; END; "
             "BEGIN PERFORM set_config('session_authorization', 'postgres', false); EXCEPTION WHEN OTHERS THEN NULL; END; "
             "BEGIN ALTER ROLE app SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;"),
    *trigger("raising", "IF NEW.id = 3 THEN RAISE 'no, not this one'; END IF;"),
    *trigger("lying", "NEW.note = 'of the trigger'; DELETE FROM pg_temp.back_0; PERFORM set_config('search_path', 'public', false);"),
    "CREATE TABLE forced (id int PRIMARY KEY, tenant int, note text)",
    "INSERT INTO forced SELECT g, g % 3, 'row ' || g FROM generate_series(1, 60) AS g",
    "ALTER TABLE forced ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE forced FORCE ROW LEVEL SECURITY",
    "CREATE POLICY one_tenant ON forced USING (tenant = 1) WITH CHECK (tenant = 1)",
    "CREATE TABLE computed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, more int GENERATED ALWAYS AS (fold(n)) STORED, "
    "kind checked DEFAULT 'x', CHECK (fold(n) > 0))",
    "INSERT INTO computed (n) SELECT g FROM generate_series(1, 30) AS g",
    "CREATE TABLE denied (id int PRIMARY KEY)",
    "INSERT INTO denied SELECT generate_series(1, 5)",
    "REVOKE INSERT ON denied FROM app_owner",
    "CREATE TABLE ruled (id int PRIMARY KEY)",
    "INSERT INTO ruled SELECT generate_series(1, 5)",
    "CREATE TABLE parent (id int PRIMARY KEY, n int)",
    "INSERT INTO parent SELECT g, g FROM generate_series(1, 5) AS g",
    "CREATE INDEX parent_trap ON parent ((n + fold(2)))",
    "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
    "INSERT INTO child SELECT g, g FROM generate_series(1, 5) AS g",
    "CREATE TABLE unlucky (id int PRIMARY KEY, n int)",
    "INSERT INTO unlucky SELECT g, g FROM generate_series(1, 5) AS g",
    "CREATE INDEX unlucky_trap ON unlucky ((n + fold(3)))",
    # a trigger that names things as the application's own search_path finds them
    "CREATE TABLE audited (id int PRIMARY KEY)",
    "INSERT INTO audited SELECT generate_series(1, 9)",
    "RESET ROLE",
    "CREATE SCHEMA own AUTHORIZATION app_owner",
    "SET ROLE app_owner",
    "CREATE TABLE own.trail (id int, zone text, tenant text)",
    "CREATE FUNCTION public.trace() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO trail "
    "VALUES (NEW.id, current_setting('timezone'), current_setting('app.tenant')); RETURN NEW; END$$",
    "CREATE TRIGGER trace AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION public.trace()",
    "RESET ROLE",
    "ALTER ROLE app SET search_path = own, public",
    "ALTER ROLE app SET timezone = 'Asia/Tokyo'",
    "ALTER ROLE app IN DATABASE shop SET app.tenant = '7'",
    # a superuser's table: no role may become its owner
    "CREATE TABLE topmost (id serial PRIMARY KEY, note text)",
    "INSERT INTO topmost (note) SELECT 'n' FROM generate_series(1, 10)",
    "CREATE TRIGGER trap BEFORE INSERT ON topmost FOR EACH ROW EXECUTE FUNCTION becoming_trap()",
)  # fmt: skip
DAMAGE = (
    *(f"DELETE FROM {name} WHERE id <= 5" for name in ("deferred", "resetting", "making", "keeping", "becoming", "raising", "lying")),
    "DELETE FROM forced WHERE id <= 10",
    "DELETE FROM computed WHERE id <= 5",
    "DELETE FROM coloured WHERE n <= 3",
    "UPDATE coloured SET words = 'x'",
    "DELETE FROM denied",
    "DELETE FROM audited WHERE id > 7",
    "DELETE FROM ruled",
    "DELETE FROM child WHERE id > 1",
    "DELETE FROM parent WHERE id > 2",
    "DELETE FROM topmost WHERE id > 5",
    "DELETE FROM graded WHERE n <= 4",
    "DELETE FROM indexed WHERE id <= 5",
    "UPDATE indexed SET n = -1 WHERE id > 18",
    "DELETE FROM keyless WHERE b = 1",
    "DROP TABLE unlucky",
)  # fmt: skip
AFTER = (
    "CREATE RULE no AS ON INSERT TO ruled DO INSTEAD NOTHING",
    "INSERT INTO graded VALUES ('a', 2)",
    "INSERT INTO indexed VALUES (3, 33)",
    "DELETE FROM parent WHERE id = 2",
    "INSERT INTO coloured VALUES ('red', 2, 'again')",
    "UPDATE coloured SET words = 'newer' WHERE n = 5",
    "ALTER DATABASE shop SET search_path = public, pg_catalog",
)


@dataclass
class Done:
    """Planned and copied back. `planned` and `ran` are what of the owner's ran in production in each, `beside` what ran in the copy."""

    at: Undoing
    plan: CopyBackPlan
    result: CopyBackPlan
    planned: list[str]
    ran: list[str]
    beside: list[str]


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with damaged(*MADE, damage=DAMAGE, after=AFTER) as at:
        at.reader, at.application_role = "reading", "app"
        living, copy = at.crime.cluster.log, at.copy.log
        before, beside = len(witnesses(living)), len(witnesses(copy))
        copyback = at.copyback()
        plan = copyback.plan()
        planned = len(witnesses(living))
        result = copyback.apply(plan, lambda name, xid: None)
        ran = witnesses(living)
        yield Done(at, plan, result, ran[before:planned], ran[planned:], witnesses(copy)[beside:])


def roles(lines: list[str]) -> set[tuple[str, ...]]:
    """As whom they ran: current_user, session_user."""
    return {tuple(line.split("WITNESS ")[1].split()[1:]) for line in lines}


def test_plan_runs_nothing_of_the_owner(done: Done) -> None:
    assert done.planned == []


def test_nothing_runs_as_somebody_with_rights(done: Done) -> None:
    assert any("deferred_trap" in line for line in done.ran)
    assert roles(done.ran) == {("app_owner", WRITER), (WRITER, WRITER)}
    assert roles(done.beside) <= {("reading", "reading")}, "in the copy the reader may plan: it reaches nothing"
    assert done.at.values("SELECT rolname FROM pg_roles WHERE rolsuper") == ["postgres"]


def test_rows_are_back_whatever_their_triggers_do(done: Done) -> None:
    for name in ("deferred", "resetting", "making", "keeping", "becoming"):
        assert (table(done.result, f"public.{name}").insert, table(done.result, f"public.{name}").conflicting) == (
            5,
            0,
        ), name
        assert done.at.sql(f"SELECT * FROM {name} ORDER BY id") == done.at.then(f"SELECT * FROM {name} ORDER BY id"), (
            name
        )
    assert done.at.values("SELECT count(*) FROM topmost") == [10]
    assert done.at.values("SELECT count(*) FROM graded") == [20]
    assert reasons(done.result, "public.indexed") == {("3",): EXISTS}
    assert done.at.sql("SELECT n FROM indexed WHERE id > 18 ORDER BY id") == [(19,), (20,)]
    assert done.at.values("SELECT count(*) FROM keyless") == [30]
    assert done.at.sql("SELECT * FROM computed ORDER BY id") == done.at.then("SELECT * FROM computed ORDER BY id")


def test_key_of_the_applications_own_type_is_compared_outside(done: Done) -> None:
    assert reasons(done.result, "public.coloured") == {("red", "2"): EXISTS, ("red", "5"): CHANGED}
    words = dict(done.at.sql("SELECT n, words FROM coloured"))
    assert words == {n: "again" if n == 2 else "newer" if n == 5 else f"w{n}" for n in range(1, 11)}


def test_refused_row_is_listed_and_the_others_are_in(done: Done) -> None:
    assert reasons(done.result, "public.raising") == {
        ("3",): "the table refuses it: no, not this one, in PL/pgSQL function raising_trap() line 1 at RAISE"
    }
    assert done.at.values("SELECT count(*) FROM raising") == [49]


def test_row_level_security_holds_as_for_the_application(done: Done) -> None:
    assert done.at.values("SELECT id FROM forced WHERE id <= 10 ORDER BY id") == [1, 4, 7, 10]
    found = reasons(done.result, "public.forced")
    assert set(found) == {(str(n),) for n in (2, 3, 5, 6, 8, 9)}
    assert all("row-level security" in reason for reason in found.values())


def test_orphan_of_a_parent_that_is_read_by_copy_is_found(done: Done) -> None:
    assert done.at.values("SELECT id FROM child ORDER BY id") == [1, 3, 4, 5]
    assert ["points to is gone" in reason for reason in reasons(done.plan, "public.child").values()] == [True]


def test_trigger_that_lies_changes_nothing_but_its_own_rows(done: Done) -> None:
    lying = table(done.result, "public.lying")
    there = done.at.values("SELECT count(*) FROM lying")[0]
    assert lying.insert == there - 45, "the reader counts, not the writer"


def test_triggers_find_what_they_find_for_the_application(done: Done) -> None:
    assert table(done.result, "public.audited").reasons == {}
    assert done.at.sql("SELECT * FROM own.trail ORDER BY id") == [(8, "Asia/Tokyo", "7"), (9, "Asia/Tokyo", "7")]


def test_what_cannot_be_written_is_said_before_the_gate(done: Done) -> None:
    assert "no INSERT" in (table(done.plan, "public.denied").problem or "")
    assert "rewrites" in (table(done.plan, "public.ruled").problem or "")
    assert "public.fold" in (table(done.plan, "public.unlucky").problem or "")


def test_no_role_is_left_and_what_a_trigger_made_is_its_owners(done: Done) -> None:
    assert done.at.values("SELECT rolname FROM pg_roles WHERE rolname LIKE 'runbook%'") == []
    made = "SELECT count(*), min(relowner::regrole::text), max(relowner::regrole::text) FROM pg_class WHERE relname ~ '^made_'"
    assert done.at.sql(made) == [(5, "app_owner", "app_owner")]
    assert done.at.values("SELECT DISTINCT lomowner::regrole::text FROM pg_largeobject_metadata") == ["app_owner"]
