"""What CASCADE and DDL took beside rows is made again, or is named with a statement that works."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from runbook.recovery.copybackplan import CopyBackPlan
from undoing import Undoing, damaged

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE ROLE app",
    "CREATE ROLE auditor",
    "CREATE ROLE maker",
    # a partition whose DROP takes a foreign key, statistics and a view along
    "CREATE TABLE orders (id int, made date, PRIMARY KEY (id, made)) PARTITION BY RANGE (made)",
    "CREATE TABLE orders_2023 PARTITION OF orders FOR VALUES FROM ('2023-01-01') TO ('2024-01-01')",
    "CREATE TABLE orders_2024 PARTITION OF orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
    "INSERT INTO orders SELECT i, '2023-06-01' FROM generate_series(1, 500) AS i",
    "CREATE TABLE line (id int PRIMARY KEY, order_id int, made date, FOREIGN KEY (order_id, made) REFERENCES orders)",
    "INSERT INTO line SELECT i, i, '2023-06-01' FROM generate_series(1, 100) AS i",
    "COMMENT ON CONSTRAINT line_order_id_made_fkey ON line IS 'kept'",
    "CREATE STATISTICS orders_stat ON id, made FROM orders_2023",
    "CREATE VIEW early AS SELECT id FROM orders_2023",
    "CREATE VIEW earlier AS SELECT id FROM early",
    "GRANT SELECT ON earlier TO auditor",
    "COMMENT ON VIEW earlier IS 'of a view'",
    "CREATE MATERIALIZED VIEW earliest AS SELECT id FROM earlier",
    "CREATE UNIQUE INDEX earliest_id ON earliest (id)",
    # a table of which everything but itself goes
    "CREATE TABLE item (id int PRIMARY KEY, name text DEFAULT 'x' NOT NULL, price int CONSTRAINT priced CHECK (price > 0), twin int UNIQUE) WITH (fillfactor = 70)",
    "INSERT INTO item SELECT i, 'n', i, i FROM generate_series(1, 200) AS i",
    "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE item REPLICA IDENTITY FULL",
    "ALTER TABLE item ALTER name SET STATISTICS 500",
    "ALTER TABLE item ALTER name SET STORAGE EXTERNAL",
    "CREATE POLICY seen ON item FOR SELECT TO app USING (price < 100)",
    "COMMENT ON POLICY seen ON item IS 'a policy'",
    "COMMENT ON COLUMN item.price IS 'in cents'",
    "GRANT SELECT, UPDATE (price) ON item TO app",
    "GRANT INSERT ON item TO auditor WITH GRANT OPTION",
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
    "CREATE TRIGGER noting AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE TRIGGER kept AFTER UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE RULE no_big AS ON DELETE TO item WHERE old.price > 1000 DO INSTEAD NOTHING",
    "CREATE INDEX item_name ON item (lower(name)) WHERE price > 5",
    "CREATE STATISTICS item_stat (dependencies) ON price, twin FROM item",
    "CREATE PUBLICATION sold FOR TABLE item, line",
    "CREATE TABLE base (a int)",
    "CREATE TABLE heir (b int) INHERITS (base)",
    "CREATE TABLE split (a int) PARTITION BY LIST (a)",
    "CREATE TABLE split_1 PARTITION OF split FOR VALUES IN (1)",
    "CREATE INDEX split_a ON split (a)",
    "CREATE SEQUENCE lonely",
    "SELECT nextval('lonely') FROM generate_series(1, 40)",
    "CREATE SEQUENCE owned OWNED BY base.a",
    # a schema with a type, a function, a table
    "CREATE SCHEMA side AUTHORIZATION maker",
    "CREATE TYPE side.state AS ENUM ('on', 'off')",
    "CREATE DOMAIN side.plate AS text CONSTRAINT long CHECK (length(VALUE) > 2)",
    "CREATE FUNCTION side.twice(n int DEFAULT 2) RETURNS int LANGUAGE sql AS $$SELECT n * 2 -- Name: x; Type: TABLE$$",
    "CREATE FUNCTION side.of(t item) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "REVOKE EXECUTE ON FUNCTION side.twice FROM PUBLIC",
    "GRANT USAGE ON SCHEMA side TO app",
    "CREATE TABLE side.thing (id int PRIMARY KEY, state side.state, plate side.plate)",
    "INSERT INTO side.thing SELECT i, 'on', 'abc' FROM generate_series(1, 50) AS i",
    "CREATE TABLE counted (n int DEFAULT side.twice(4), state text)",
    "CREATE VIEW side.things AS SELECT id, side.twice(id) AS n FROM side.thing",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA side GRANT SELECT ON TABLES TO app",
    # what is changed, not dropped
    "CREATE FUNCTION changed(a int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW changing AS SELECT id FROM item WHERE id > 1",
    "CREATE RULE redirect AS ON DELETE TO counted DO INSTEAD SELECT 1",
    "CREATE POLICY narrow ON counted TO app, auditor USING (n > 1) WITH CHECK (n > 2)",
    "CREATE SEQUENCE counting INCREMENT 3 MAXVALUE 900",
    "CREATE TABLE moved (id int)",
    # what others change
    "CREATE TABLE others (id int PRIMARY KEY, n int CHECK (n > 0))",
    "CREATE TABLE both_changed (id int PRIMARY KEY)",
    "GRANT SELECT ON both_changed TO app",
)  # fmt: skip
DAMAGE = (
    "DELETE FROM item WHERE id > 150",
    "DROP TABLE orders_2023 CASCADE",
    "DROP POLICY seen ON item",
    "ALTER TABLE item DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE item REPLICA IDENTITY NOTHING",
    "ALTER TABLE item RESET (fillfactor)",
    "ALTER TABLE item ALTER name DROP DEFAULT, ALTER name DROP NOT NULL, ALTER name SET STATISTICS 5, ALTER name SET STORAGE PLAIN",
    "ALTER TABLE item DROP CONSTRAINT priced, DROP CONSTRAINT item_twin_key",
    "DROP TRIGGER noting ON item",
    "ALTER TABLE item DISABLE TRIGGER kept",
    "DROP RULE no_big ON item",
    "DROP INDEX item_name",
    "DROP STATISTICS item_stat",
    "REVOKE ALL ON item FROM app, auditor",
    "GRANT DELETE ON item TO PUBLIC",
    "COMMENT ON COLUMN item.price IS NULL",
    "ALTER PUBLICATION sold DROP TABLE item",
    "ALTER TABLE heir NO INHERIT base",
    "ALTER TABLE split DETACH PARTITION split_1",
    "DROP SEQUENCE lonely",
    "ALTER SEQUENCE owned OWNED BY NONE",
    "DROP SCHEMA side CASCADE",
    "REVOKE SELECT ON both_changed FROM app",
    "CREATE OR REPLACE FUNCTION changed(a int DEFAULT 3) RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "CREATE OR REPLACE VIEW changing AS SELECT id FROM item",
    "CREATE OR REPLACE RULE redirect AS ON DELETE TO counted DO INSTEAD NOTHING",
    "ALTER POLICY narrow ON counted TO PUBLIC USING (true)",
    "ALTER SEQUENCE counting INCREMENT 1 MAXVALUE 10",
    "ALTER TABLE moved OWNER TO maker",
)
AFTER = (
    "ALTER TABLE others DROP CONSTRAINT others_n_check",
    "GRANT INSERT ON both_changed TO auditor",
    "CREATE TABLE later (id int)",
    "INSERT INTO others VALUES (1, -1)",
)

SAME = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, obj_description(oid, 'pg_constraint') FROM pg_constraint "
    "WHERE conrelid <> 0 AND conrelid <> 'others'::regclass AND connamespace::regnamespace::text !~ '^(pg_|inf)' ORDER BY 1, 2",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contypid >= 16384 ORDER BY 1",
    "SELECT stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext ORDER BY 1",
    "SELECT oid::regclass::text, relkind, relrowsecurity, relreplident, reloptions::text, relowner::regrole::text, relispopulated, obj_description(oid, 'pg_class'), "
    "(SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))) AS a)::text "
    "FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'side') AND relname NOT IN ('later', 'both_changed') ORDER BY 1",
    "SELECT attrelid::regclass::text, attname, attnotnull, attstattarget, attstorage, attacl::text, col_description(attrelid, attnum) FROM pg_attribute "
    "JOIN pg_class AS c ON c.oid = attrelid WHERE attnum > 0 AND relnamespace::regnamespace::text IN ('public', 'side') AND relname <> 'later' ORDER BY 1, 2",
    "SELECT adrelid::regclass::text, adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef ORDER BY 1, 2",
    "SELECT polname, pg_get_expr(polqual, polrelid), polroles::regrole[]::text, obj_description(oid, 'pg_policy') FROM pg_policy ORDER BY 1",
    "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "SELECT ev_class::regclass::text, rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class >= 16384 ORDER BY 1, 2",
    "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index WHERE indexrelid >= 16384 AND indrelid::regclass::text !~ 'pg_toast' ORDER BY 1",
    "SELECT prpubid::text, prrelid::regclass::text FROM pg_publication_rel ORDER BY 2",
    "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits ORDER BY 1",
    "SELECT oid::regclass::text, pg_get_expr(relpartbound, oid) FROM pg_class WHERE relpartbound IS NOT NULL ORDER BY 1",
    "SELECT proname, prosrc, proowner::regrole::text, pg_get_function_arguments(oid), proacl::text FROM pg_proc WHERE oid >= 16384 AND prolang > 13 ORDER BY 1",
    "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_' ORDER BY 1",
    "SELECT typname, typtype, typowner::regrole::text FROM pg_type WHERE oid >= 16384 AND typname !~ 'later' AND typnamespace::regnamespace::text IN ('public', 'side') ORDER BY 1",
    "SELECT enumlabel FROM pg_enum ORDER BY enumsortorder",
    "SELECT defaclobjtype, defaclacl::text FROM pg_default_acl",
    "SELECT id, state::text, plate::text FROM side.thing ORDER BY 1",
    "SELECT * FROM pg_sequence WHERE seqrelid = 'counting'::regclass",
    "SELECT count(*) FROM earliest",
    "SELECT pg_get_serial_sequence('base', 'a')",
)  # fmt: skip


@dataclass
class Done:
    at: Undoing
    plan: CopyBackPlan
    result: CopyBackPlan


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with damaged(*MADE, damage=DAMAGE, after=AFTER) as at:
        plan = at.copyback().plan()
        yield Done(at, plan, at.apply(plan))


@pytest.mark.parametrize("query", SAME)
def test_all_that_cascade_and_ddl_took_is_as_it_was(done: Done, query: str) -> None:
    assert done.at.sql("SET search_path TO public", query) == done.at.then(query)


def test_nothing_is_left_and_the_plan_said_so(done: Done) -> None:
    for one in (done.plan, done.result):
        assert [left for left in one.objects_left if "both_changed" not in left] == []
        assert one.unrepaired == [left for left in one.objects_left if "both_changed" in left]
    assert any("line_order_id_made_fkey on public.line" in said for said in done.plan.objects_made)
    assert {one.name for one in done.plan.objects if not one.why} == {
        one.name for one in done.result.objects if not one.why
    }


def test_sequence_that_is_made_again_goes_on(done: Done) -> None:
    assert done.at.values("SELECT nextval('lonely') >= 41") == [True]


def test_what_others_changed_is_left_and_told_apart(done: Done) -> None:
    assert (
        done.at.values("SELECT conname FROM pg_constraint WHERE conrelid = 'others'::regclass AND contype = 'c'") == []
    )
    assert not any("others" in one.name for one in [*done.plan.objects, *done.result.objects])
    assert not any("later" in one.name for one in [*done.plan.objects, *done.result.objects])
    unclear = [one for one in done.result.objects if "both_changed" in one.name]
    assert [(one.whose, one.change) for one in unclear] == [("mixed", "changed: relacl")]
    assert unclear[0].statements == ('GRANT SELECT ON TABLE public.both_changed TO "app";',)
    assert [note for note in done.result.notes if "other transactions alone" in note] == [
        "1 row of catalogs: other transactions alone have changed what the restored copy has"
    ]
