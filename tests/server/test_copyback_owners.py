"""Tables of several owners come back by several roles, each worth no more than its owner's tables, parents first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from runbook.errors import OperatorError
from runbook.recovery.copybackplan import CopyBackPlan
from runbook.recovery.writers import role_name
from traps import function, witnesses
from undoing import Undoing, damaged, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

WRITER = role_name("test")
TRAP = (
    "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
    "PERFORM set_config('role', 'none', false); "
    "BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L VALID UNTIL %L', session_user, 'mine', 'infinity'); EXCEPTION WHEN OTHERS THEN NULL; END; "
    "BEGIN COPY parent TO '/tmp/never'; EXCEPTION WHEN OTHERS THEN NULL; END; "
    "BEGIN CREATE ROLE never; EXCEPTION WHEN OTHERS THEN NULL; END; "
    "BEGIN EXECUTE format('GRANT %I TO ann', session_user); EXCEPTION WHEN OTHERS THEN NULL; END; "
    "SET CONSTRAINTS ALL DEFERRED; "
    "RAISE LOG 'WITNESS % % %', TG_TABLE_NAME, current_user, session_user; RETURN NEW; END$$"
)
MADE = (
    "CREATE ROLE reading LOGIN BYPASSRLS IN ROLE pg_read_all_data",
    "CREATE ROLE ann",
    "CREATE ROLE bob",
    "CREATE ROLE files IN ROLE pg_write_server_files",
    "CREATE ROLE power CREATEROLE",
    "CREATE ROLE nearly IN ROLE power",
    TRAP,
    "GRANT EXECUTE ON FUNCTION trap() TO PUBLIC",
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE child (id int PRIMARY KEY REFERENCES parent)",
    "CREATE TABLE grandchild (id int PRIMARY KEY REFERENCES child)",
    "CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL)",
    "CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL REFERENCES egg)",
    "CREATE TABLE left_shoe (id int PRIMARY KEY, other int)",
    "CREATE TABLE right_shoe (id int PRIMARY KEY, other int REFERENCES left_shoe)",
    "CREATE TABLE written (id int PRIMARY KEY)",
    "CREATE TABLE powered (id int PRIMARY KEY)",
    *(f"INSERT INTO {name} SELECT generate_series(1, 9)" for name in ("parent", "child", "grandchild", "written", "powered")),
    "INSERT INTO egg SELECT g, g FROM generate_series(1, 9) AS g",
    "INSERT INTO hen SELECT g, g FROM generate_series(1, 9) AS g",
    "INSERT INTO left_shoe SELECT g, g FROM generate_series(1, 9) AS g",
    "INSERT INTO right_shoe SELECT g, g FROM generate_series(1, 9) AS g",
    "ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen",
    "ALTER TABLE left_shoe ADD FOREIGN KEY (other) REFERENCES right_shoe DEFERRABLE",
    function("half", "int", "int", "$1 / 2"),
    "CREATE TABLE halved (id int, n int) PARTITION BY LIST (half(id))",
    "CREATE TABLE halved_0 PARTITION OF halved FOR VALUES IN (0, 1)",
    "CREATE TABLE halved_1 PARTITION OF halved DEFAULT",
    "INSERT INTO halved SELECT g, g FROM generate_series(1, 9) AS g",
    *(f"CREATE TRIGGER trap BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION trap()"
      for name in ("parent", "child", "written", "powered")),
    *(f"ALTER TABLE {name} OWNER TO {owner}"
      for owner, names in {"ann": "parent grandchild egg hen left_shoe halved halved_0 halved_1", "bob": "child right_shoe",
                           "files": "written", "nearly": "powered"}.items()
      for name in names.split()),
    # Parents of keys are looked at as their owners, who must be able to.
    "GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA public TO PUBLIC",
)  # fmt: skip
DAMAGE = (
    "SET CONSTRAINTS ALL DEFERRED",
    "DELETE FROM grandchild WHERE id > 5",
    "DELETE FROM child WHERE id > 5",
    "DELETE FROM parent WHERE id > 5",
    "WITH e AS (DELETE FROM egg WHERE id > 5) DELETE FROM hen WHERE id > 5",
    "WITH e AS (DELETE FROM left_shoe WHERE id > 5) DELETE FROM right_shoe WHERE id > 5",
    "DELETE FROM written WHERE id > 5",
    "DELETE FROM powered WHERE id > 5",
    "DELETE FROM halved WHERE id > 5",
)


@dataclass
class Done:
    """Planned and copied back; `ran` is what of the owners' ran in production."""

    at: Undoing
    plan: CopyBackPlan
    result: CopyBackPlan
    ran: list[str]


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with damaged(*MADE, damage=DAMAGE) as at:
        at.reader = "reading"
        before = len(witnesses(at.crime.cluster.log))
        plan = at.copyback().plan()
        assert len(witnesses(at.crime.cluster.log)) == before
        yield Done(at, plan, at.apply(plan), witnesses(at.crime.cluster.log)[before:])


def test_each_owners_tables_come_back_in_a_transaction_of_their_own(done: Done) -> None:
    for name in ("parent", "child", "grandchild", "egg", "hen", "written", "powered", "halved"):
        assert done.at.sql(f"SELECT * FROM {name} ORDER BY id") == done.at.then(f"SELECT * FROM {name} ORDER BY id"), (
            name
        )
    assert len(done.result.xids) >= 4 and "shop" in done.result.xids and "shop (2)" in done.result.xids


def test_tables_of_two_owners_that_need_each_other_are_left_alone_and_said(done: Done) -> None:
    for plan in (done.plan, done.result):
        for name in ("left_shoe", "right_shoe"):
            assert "another owner" in (table(plan, f"public.{name}").problem or "")
    assert done.at.values("SELECT count(*) FROM left_shoe") == [5]


def test_no_owners_code_gets_more_than_the_writer_has(done: Done) -> None:
    ran = {tuple(line.split("WITNESS ")[1].split()) for line in done.ran if "WITNESS half" not in line}
    assert ran == {(name, WRITER, WRITER) for name in ("parent", "child", "written", "powered")}
    assert all("postgres" not in line.split("WITNESS")[1] for line in done.ran)
    assert (
        done.at.values("SELECT rolname FROM pg_roles WHERE rolname IN ('never', 'mine') OR rolname LIKE 'runbook%'")
        == []
    )
    assert done.at.values("SELECT count(*) FROM pg_auth_members WHERE member = 'ann'::regrole") == [0]


def test_role_that_params_name_and_production_has_not_is_refused_at_the_plan(done: Done) -> None:
    done.at.application_role = "nobody_here"
    try:
        with pytest.raises(OperatorError, match="nobody_here"):
            done.at.copyback().plan()
    finally:
        done.at.application_role = None


def test_owner_with_more_rights_than_tables_gets_no_member(done: Done) -> None:
    for name in ("written", "powered"):
        assert any("INSERT and UPDATE alone" in note for note in table(done.plan, f"public.{name}").notes)
    assert "rows are written with the rights of its owner ann" in table(done.plan, "public.parent").notes
    assert done.at.values("SELECT relacl::text FROM pg_class WHERE relname = 'written'")[0].count("runbook") == 0
