"""Objects that the damage took where it took no rows, in several databases, where others are at work, and where WAL was not followed."""

from __future__ import annotations

import pytest
from runbook.recovery.account import build_account
from runbook.recovery.copyback import CopyBack
from runbook.recovery.takenobjects import TakenObjects
from undoing import Undoing, damaged

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE TABLE item (id int PRIMARY KEY, n int)",
    "INSERT INTO item SELECT i, i FROM generate_series(1, 10) AS i",
    "CREATE VIEW seen AS SELECT id FROM item",
    "COMMENT ON VIEW seen IS 'a view'",
    "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
)
DAMAGE = ("DROP VIEW seen", "ALTER TABLE item DISABLE ROW LEVEL SECURITY")
STATE = "SELECT relname::text, relrowsecurity, obj_description(oid, 'pg_class') FROM pg_class WHERE relname IN ('item', 'seen') ORDER BY 1"


def test_damage_without_rows_is_made_good_in_every_database() -> None:
    with damaged(*MADE, damage=DAMAGE, databases=["second"]) as at:
        plan = at.copyback().plan()
        assert plan.tables == [] and plan.unrepaired == []
        done = at.apply(plan)
        assert done.objects_left == [] and len(done.objects_made) == 4
        for database in ("shop", "second"):
            assert at.sql(STATE, database=database) == [("item", True, None), ("seen", False, "a view")]
        again = at.apply()
        assert again.objects == [] and again.xids == {}, "what is there is not made twice"


WATCHED = (
    "CREATE ROLE lesser NOLOGIN",
    "GRANT CREATE ON SCHEMA public TO lesser",
    "CREATE TABLE witness (who text, tag text)",
    "GRANT INSERT ON witness TO public",
    "SET ROLE lesser",
    "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.witness VALUES (current_user, TG_TAG); END$$",
    "RESET ROLE",
    "CREATE TABLE wiped (id int PRIMARY KEY)",
    "INSERT INTO wiped SELECT generate_series(1, 30)",
)
ARMED = "CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch()"


def test_nothing_is_defined_where_an_event_trigger_would_run_a_lesser_roles_function() -> None:
    """Before PostgreSQL 17 no session can switch event triggers off."""
    damage = ("DROP TABLE wiped", "DELETE FROM item WHERE id > 5", *DAMAGE)
    with damaged(*WATCHED, *MADE, damage=damage, after=(ARMED,), major=15) as at:
        why = 'an event trigger would run public.watch() as superuser: ALTER EVENT TRIGGER "watching" DISABLE, then plan again'
        plan = at.copyback().plan()
        done = at.apply(plan)
        assert at.sql("SELECT who, tag FROM witness") == []
        assert done.objects_made == [] and len(done.objects_left) >= 2
        assert [one for one in done.objects_left if why not in one] == []
        assert {one.table: one.problem for one in plan.tables} == {
            "public.wiped": f"it is not made again: {why}",
            "public.item": why,
        }
        at.sql("ALTER FUNCTION watch() OWNER TO postgres")
        again = at.apply()
        assert again.objects_left == [] and at.values("SELECT count(*) FROM wiped") == [30]
        assert at.values("SELECT count(*) FROM item") == [10]


def test_damage_whose_rows_were_not_followed_is_named_and_never_repaired() -> None:
    with damaged(*MADE, damage=("DELETE FROM item WHERE id > 5", *DAMAGE)) as at:
        at.fates = None
        done = at.apply()
        assert done.objects_made == []
        assert [one.whose for one in done.objects] == ["unknown", "unknown"]
        assert all("whose change" in said for said in done.objects_unclear)
        assert at.values("SELECT to_regclass('seen')") == [None]
        assert done.unrepaired != []


def test_object_that_was_made_again_otherwise_is_left_and_named() -> None:
    with damaged(
        *MADE,
        damage=DAMAGE,
        after=["CREATE VIEW seen AS SELECT n FROM item", "ALTER TABLE item ENABLE ROW LEVEL SECURITY"],
    ) as at:
        done = at.apply()
        assert done.objects_made == [] and done.unrepaired == done.objects_left != []
        assert {(one.name, one.whose) for one in done.objects} == {
            ('rule "_RETURN" on public.seen', "mixed"),
            ("view column public.seen.id", "mixed"),
            ("pg_description of view public.seen", "mixed"),
        }
        assert at.sql("SELECT n FROM seen LIMIT 0") == []


def test_lock_of_another_session_leaves_the_object_named_and_the_rows_back() -> None:
    with (
        damaged(
            *MADE,
            "CREATE TABLE other (id int)",
            damage=("DELETE FROM item WHERE id > 5", *DAMAGE, "ALTER TABLE other SET (fillfactor = 50)"),
        ) as at,
        at.crime.cluster.connect("shop") as holder,
    ):
        plan = at.copyback().plan()
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE other IN SHARE UPDATE EXCLUSIVE MODE")
        done = at.apply(plan, at.copyback(lambda database: _hasty(at, database)))
        left = [one for one in done.objects if one.is_left]
        assert [(one.name, one.why) for one in left] == [
            ("table public.other", "production refused: canceling statement due to lock timeout")
        ]
        assert len(at.values("SELECT id FROM item")) == 10
        assert at.values("SELECT to_regclass('seen')::text") == ["seen"]


def _hasty(at: Undoing, database: str | None) -> object:
    connection = at.open_operator(database)
    connection.execute("SET lock_timeout = '500ms'")
    return connection


def test_crash_after_the_rows_and_before_the_objects_ends_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with damaged(*MADE, damage=("DELETE FROM item WHERE id > 5", *DAMAGE)) as at:
        plan = at.copyback().plan()
        noted: dict[str, int] = {}

        def dies(self: TakenObjects) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as crash:
            crash.setattr(TakenObjects, "make", dies)
            with pytest.raises(KeyboardInterrupt):
                at.copyback().apply(plan, noted.__setitem__)
        copyback: CopyBack = at.copyback()
        fates = copyback.probe(noted)
        assert list(fates.values()) == ["committed"]
        done = copyback.apply(copyback.plan(), noted.__setitem__, done=list(noted))
        assert done.objects_left == [] and len(done.objects_made) == 2
        assert at.sql(STATE) == [("item", True, None), ("seen", False, "a view")]
        assert len(at.values("SELECT id FROM item")) == 10


def test_table_that_cannot_be_made_again_leaves_the_others_and_the_rows_back() -> None:
    with damaged(
        *MADE[:2],
        "CREATE SCHEMA ext",
        "CREATE EXTENSION hstore SCHEMA ext",
        "CREATE TABLE held (id int PRIMARY KEY, x ext.hstore)",
        "INSERT INTO held VALUES (1, 'a=>b')",
        "CREATE TABLE free (id int PRIMARY KEY)",
        "INSERT INTO free SELECT generate_series(1, 30)",
        damage=("DELETE FROM item WHERE id > 5", "DROP TABLE held, free", "DROP EXTENSION hstore"),
    ) as at:
        done = at.apply()
        assert [(one.table, one.problem) for one in done.tables if one.problem] == [
            ("public.held", 'it is not made again: production refused: type "ext.hstore" does not exist')
        ]
        assert len(at.values("SELECT id FROM item")) == 10 and len(at.values("SELECT id FROM free")) == 30
        assert [one.name for one in done.objects if one.is_left] == ["extension hstore"]
        assert done.unrepaired[0].startswith("public.held: it is not made again")


LINKED = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE child (id int PRIMARY KEY, p int CONSTRAINT fk REFERENCES parent)",
    "CREATE TABLE note (id int)",
)


def test_catalog_that_was_rewritten_before_the_backup_is_compared_like_any_other() -> None:
    rewritten = [f"VACUUM FULL {name}" for name in ("pg_constraint", "pg_trigger", "pg_depend")]
    with damaged(*LINKED, *rewritten, damage=["ALTER TABLE child DROP CONSTRAINT fk"]) as at:
        done = at.apply()
        assert done.objects_left == [] and done.objects_made != []
        assert at.values("SELECT conname::text FROM pg_constraint WHERE conname = 'fk'") == ["fk"]


@pytest.mark.parametrize("order", ["between", "after"])
def test_catalog_that_was_rewritten_since_the_point_is_compared_and_nobody_is_blamed(order: str) -> None:
    damage = [["INSERT INTO note VALUES (1)"], ["ALTER TABLE child DROP CONSTRAINT fk"]]
    rewrite = {order: ["VACUUM FULL pg_constraint"]}
    with damaged(*LINKED, damage=damage, **rewrite) as at:  # type: ignore[arg-type]
        plan, before = at.copyback().plan(), at.copyback().count()
        found = {one.name: one for one in plan.objects}
        lost = next(one for name, one in found.items() if name.startswith("table constraint fk on public.child"))
        done = at.apply(plan)
        if order == "between":
            assert lost.whose == "unknown" and lost.why
            account = build_account(before, at.copyback().count(), done)
            assert any("fk on public.child" in said for said in account.decisions())
        else:
            assert lost.whose == "damage", "WAL names the row in the file that the copy has"
            assert at.values("SELECT conname::text FROM pg_constraint WHERE conname = 'fk'") == ["fk"]


def test_object_that_is_made_only_to_be_looked_at_is_not_said_to_be_made_again() -> None:
    made = "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2'"
    with damaged(*MADE, made, damage=["DROP FUNCTION twice", "DELETE FROM item WHERE id > 5"]) as at:
        plan = at.copyback().plan()
        first = at.apply(plan)
        at.sql("DROP FUNCTION twice")
        again = at.copyback().apply(plan, lambda name, xid: None, done=list(first.xids))
        assert at.values("SELECT count(*) FROM pg_proc WHERE proname = 'twice'") == [0]
        assert again.objects_made == []
        assert [one.name for one in again.objects if one.is_left] == ["function public.twice(integer)"]
