"""What a DELETE or an UPDATE took is copied back into the living production, and nothing that others did is overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from runbook.recovery.account import Account, build_account
from runbook.recovery.copybackplan import CHANGED, EXISTS, GONE, KEPT_OUT, SAME_CONTENT, CopyBackPlan
from undoing import Undoing, damaged, reasons, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE SCHEMA kinds",
    "CREATE TYPE kinds.colour AS ENUM ('red', 'light blue')",
    "CREATE DOMAIN kinds.plate AS text CHECK (VALUE ~ '^[A-Z]')",
    "CREATE TYPE kinds.pair AS (a int, b text)",
    # parents, children, a cascade and a child that loses its parent by SET NULL
    "CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, name text, city text)",
    "INSERT INTO customer (email, name, city) SELECT 'a' || g || '@x', 'n' || g, 'Bern' FROM generate_series(1, 3000) AS g",
    'CREATE TABLE "Order Lines" ("Line No" int, customer int REFERENCES customer ON DELETE CASCADE, "select" text, PRIMARY KEY ("Line No", customer))',
    """INSERT INTO "Order Lines" SELECT g, g % 3000 + 1, 'l' FROM generate_series(1, 6000) AS g""",
    "CREATE TABLE visit (id serial PRIMARY KEY, customer int REFERENCES customer ON DELETE SET NULL)",
    "INSERT INTO visit (customer) SELECT g FROM generate_series(1, 3000) AS g",
    # a tree, a circle
    "CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree)",
    "INSERT INTO tree SELECT g, nullif(5000 - g, 0) FROM generate_series(1, 4999) AS g",
    "CREATE TABLE team (id int PRIMARY KEY, head int NOT NULL)",
    "CREATE TABLE person (id int PRIMARY KEY, team int NOT NULL REFERENCES team)",
    "ALTER TABLE team ADD FOREIGN KEY (head) REFERENCES person DEFERRABLE INITIALLY IMMEDIATE",
    "WITH t AS (INSERT INTO team SELECT g, g FROM generate_series(1, 50) AS g) INSERT INTO person SELECT g, g FROM generate_series(1, 50) AS g",
    # all kinds of values
    """CREATE TABLE kinds.all_kinds (
        id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED, colour kinds.colour, plate kinds.plate, pair kinds.pair,
        numbers int[], words text[], raw bytea, doc jsonb, plain json, amount numeric(12, 4), real_one float8, moment timestamptz,
        span interval, ranges int4range, address inet, fixed char(5), bits bit(3), flag bool, mark uuid, "odd ""name" text)""",
    r"""INSERT INTO kinds.all_kinds
        (id, colour, plate, pair, numbers, words, raw, doc, plain, amount, real_one, moment, span, ranges, address, fixed, bits, flag, mark, "odd ""name")
        SELECT g, 'light blue', 'A \t\\ "x" é', ROW(g, 'a,b'::text)::kinds.pair, '{1,NULL,3}', '{"",NULL,"a \"b\""}', '\x00ff5c', '{"a": [1, null]}',
        '{"b" : 1, "b":2}', 1.5, 'NaN', '2020-02-29 12:00:00.123456+02', '1 mon -3 days 04:05:06.7', '[1,5)', '10.0.0.1/8', 'ab', '101', g % 2 = 0,
        md5(g::text)::uuid, E'tab\t new\nline \\N' FROM generate_series(1, 20) AS g""",
    "INSERT INTO kinds.all_kinds (id) VALUES (21)",
    # without a key
    "CREATE TABLE keyless (a int, b json)",
    "INSERT INTO keyless SELECT g % 10, '{}' FROM generate_series(1, 100) AS g",
    # an UPDATE without a WHERE
    "CREATE TABLE price (id int PRIMARY KEY, code text NOT NULL, amount numeric, changed int DEFAULT 0, UNIQUE (code) DEFERRABLE)",
    "INSERT INTO price SELECT g, 'c' || g, g FROM generate_series(1, 1000) AS g",
    # keys of other sorts: partial, by expression, exclusion
    "CREATE TABLE booking (id int PRIMARY KEY, room text, during int4range, state text, EXCLUDE USING gist (during WITH &&))",
    "CREATE UNIQUE INDEX one_open ON booking (lower(room)) WHERE state = 'open'",
    "INSERT INTO booking SELECT g, 'R' || g, int4range(g, g + 1), 'open' FROM generate_series(1, 10) AS g",
    # heirs and partitions
    "CREATE TABLE part (id int, day date, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
    "INSERT INTO part SELECT g, CASE WHEN g % 2 = 0 THEN '2020-05-05' ELSE '2021-05-05' END::date, g FROM generate_series(1, 100) AS g",
    # a child whose parent goes for good
    "CREATE TABLE maker (id int PRIMARY KEY)",
    "INSERT INTO maker SELECT generate_series(1, 10)",
    "CREATE TABLE model (id int PRIMARY KEY, maker int REFERENCES maker)",
    "INSERT INTO model SELECT g, g % 10 + 1 FROM generate_series(1, 100) AS g",
    "CREATE TABLE car (id int PRIMARY KEY, model int REFERENCES model)",
    "INSERT INTO car SELECT g, g FROM generate_series(1, 100) AS g",
    "CREATE TABLE chain (id int PRIMARY KEY, before int REFERENCES chain, maker int REFERENCES maker)",
    "CREATE INDEX ON chain (before)",
    "INSERT INTO chain SELECT g, nullif(g - 1, 0), CASE g WHEN 100 THEN 10 END FROM generate_series(1, 20000) AS g",
    "CREATE TABLE stamped (id int PRIMARY KEY, by_whom text)",
    "INSERT INTO stamped SELECT g, 'me' FROM generate_series(1, 10) AS g",
    "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
    "IF NEW.id = 3 THEN RETURN NULL; END IF; IF NEW.id = 4 THEN NEW.by_whom = 'trigger'; END IF; RETURN NEW; END$$",
    "CREATE TRIGGER stamping BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp()",
)  # fmt: skip
DAMAGE = (
    "DELETE FROM customer WHERE id BETWEEN 101 AND 2100",
    "DELETE FROM tree",
    "SET CONSTRAINTS ALL DEFERRED",
    "DELETE FROM person WHERE id > 10",
    "DELETE FROM team WHERE id > 10",
    "DELETE FROM kinds.all_kinds",
    "DELETE FROM keyless WHERE a < 3",
    "UPDATE keyless SET a = 77 WHERE a = 9",
    "UPDATE price SET amount = 0, code = 'c' || CASE id WHEN 1000 THEN 11 ELSE id + 1 END WHERE id > 10",
    "UPDATE price SET id = 5000 WHERE id = 1",
    "DELETE FROM booking WHERE id > 5",
    "DELETE FROM part WHERE id <= 50",
    "UPDATE part SET n = -n WHERE id > 80",
    "UPDATE part SET day = '2021-07-07' WHERE id > 90",
    "DELETE FROM car",
    "DELETE FROM model",
    "DELETE FROM chain",
    "DELETE FROM stamped",
)
AFTER = (
    # the key is there again: the same row, another row; another unique value is taken
    "INSERT INTO customer OVERRIDING SYSTEM VALUE VALUES (101, 'a101@x', 'n101', 'Bern'), (102, 'b102@x', 'other', NULL)",
    "INSERT INTO customer (email) VALUES ('a103@x')",
    # others' own deletes and updates
    "DELETE FROM customer WHERE id BETWEEN 2101 AND 2110",
    "UPDATE customer SET city = 'Basel' WHERE id = 2111",
    "UPDATE price SET amount = 99 WHERE id = 20",
    "DELETE FROM price WHERE id = 21",
    "DELETE FROM keyless WHERE a = 5",
    "INSERT INTO keyless VALUES (1, '{}'), (1, '{}')",
    "INSERT INTO booking VALUES (1006, 'r6', 'empty', 'open'), (1007, 'x', '[7,8)', 'open')",
    "DELETE FROM maker WHERE id = 10",
)


@dataclass
class Done:
    """Planned, then copied back, then planned once more."""

    at: Undoing
    plan: CopyBackPlan
    result: CopyBackPlan
    again: CopyBackPlan
    account: Account


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    before = ("UPDATE customer SET name = 'newer' WHERE id = 200", "DELETE FROM customer WHERE id = 2999")
    with damaged(*MADE, before=before, damage=DAMAGE, after=AFTER) as at:
        names = ("customer", '"Order Lines"', "tree", "price", "keyless")
        counts = {name: at.values(f"SELECT count(*) FROM {name}")[0] for name in names}
        plan, before = at.copyback().plan(), at.copyback().count()
        assert {name: at.values(f"SELECT count(*) FROM {name}")[0] for name in names} == counts, (
            "a plan changes nothing"
        )
        result = at.apply(plan)
        account = build_account(before, at.copyback().count(), result)
        yield Done(at, plan, result, at.copyback().plan(), account)


def test_plan_says_what_is_done_and_nothing_is_done_twice(done: Done) -> None:
    assert done.plan.problems == []
    stamped = table(done.result, "public.stamped")
    assert (done.plan.insert - done.result.insert, done.plan.set_back - done.result.set_back) == (1, 0), (
        "but for the row that a trigger keeps out"
    )
    assert stamped.reasons == {KEPT_OUT: 1}
    assert done.result.further(done.plan) == 1
    assert (done.again.insert, done.again.set_back) == (1, 0)
    assert done.again.facts() == done.plan.facts() == done.result.facts()


def test_deleted_rows_are_back_and_their_children_too(done: Done) -> None:
    at = done.at
    gone = [101, 102, 103, *range(2101, 2112)]
    query = f"SELECT * FROM customer WHERE id <> ALL ('{{{','.join(map(str, gone))}}}') AND id <= 3000 ORDER BY id"
    assert at.sql(query) == at.then(query)
    assert at.sql("SELECT name FROM customer WHERE id = 200") == [("newer",)]
    lines = 'SELECT * FROM "Order Lines" WHERE customer NOT BETWEEN 2101 AND 2110 AND customer <> 103 ORDER BY 1, 2'
    assert at.sql(lines) == at.then(lines)
    assert table(done.result, "public.customer").insert == 1997
    assert table(done.result, 'public."Order Lines"').insert == 4000 - 2, (
        "the lines of a customer who does not come back"
    )
    visits = "SELECT id, customer FROM visit WHERE id NOT BETWEEN 2101 AND 2110 AND id <> 103 ORDER BY id"
    assert at.sql(visits) == at.then(visits), "what ON DELETE SET NULL took is set back"


def test_rows_that_are_there_again_are_conflicts_and_stay(done: Done) -> None:
    found = reasons(done.result, "public.customer")
    assert found[("102",)] == EXISTS
    assert "customer_email_key (email)" in found[("103",)]
    assert len(found) == 2
    assert table(done.result, "public.customer").present == 1, "101 is there as it was"
    assert done.at.sql("SELECT name, email FROM customer WHERE id IN (102, 103)") == [("other", "b102@x")]
    assert done.at.values("SELECT customer FROM visit WHERE id = 103") == [None]
    assert all("points to is gone" in reason for reason in reasons(done.result, 'public."Order Lines"').values())
    assert set(reasons(done.result, "public.visit")) == {("103",)}


def test_what_others_deleted_and_changed_stays_so(done: Done) -> None:
    assert done.at.values("SELECT count(*) FROM customer WHERE id BETWEEN 2101 AND 2110") == [0]
    assert done.at.values('SELECT count(*) FROM "Order Lines" WHERE customer BETWEEN 2101 AND 2110') == [0]
    assert done.at.values("SELECT city FROM customer WHERE id = 2111") == ["Basel"]
    assert done.at.values("SELECT count(*) FROM customer WHERE id = 2999") == [0], "deleted before the target"


def test_tree_and_circle_come_back_whole(done: Done) -> None:
    for query in (
        "SELECT * FROM tree ORDER BY id",
        "SELECT * FROM team ORDER BY id",
        "SELECT * FROM person ORDER BY id",
    ):
        assert done.at.sql(query) == done.at.then(query)
    assert done.at.values("SELECT count(*) FROM tree") == [4999]


def test_every_kind_of_value_is_the_same_to_the_last_bit(done: Done) -> None:
    query = "SELECT k::text, k.plain::text, octet_length(k.fixed) FROM kinds.all_kinds AS k ORDER BY id"
    assert done.at.sql(query) == done.at.then(query)
    assert done.at.values("SELECT count(*) FROM kinds.all_kinds") == [21]
    assert done.at.values("SELECT twice FROM kinds.all_kinds WHERE id = 3") == [6]


def test_table_without_a_key_gets_no_more_rows_than_it_had(done: Done) -> None:
    counts = dict(done.at.sql("SELECT a, count(*) FROM keyless GROUP BY a"))
    assert counts == {0: 10, 1: 10, 2: 10, 3: 10, 4: 10, 6: 10, 7: 10, 8: 10, 9: 10}, "9 was 77 after the damage"
    assert table(done.result, "public.keyless").reasons == {SAME_CONTENT: 2}
    assert table(done.result, "public.keyless").set_back == 10
    assert [one.key for one in table(done.result, "public.keyless").conflicts] == [{}] * 2
    assert all(one.place.startswith("(") for one in table(done.result, "public.keyless").conflicts)


def test_bad_update_is_set_back_but_not_over_what_others_wrote(done: Done) -> None:
    query = "SELECT * FROM price WHERE id NOT IN (1, 20, 21, 5000) ORDER BY id"
    assert done.at.sql(query) == done.at.then(query), "also values that went round in a circle, under a deferrable key"
    found = reasons(done.result, "public.price")
    assert found == {("20",): CHANGED, ("1",): GONE}, "21 was deleted by others, after the damage had changed it"
    assert done.at.sql("SELECT id, amount FROM price WHERE id IN (1, 20, 21, 5000) ORDER BY id") == [
        (20, 99),
        (5000, 1),
    ]
    assert table(done.result, "public.price").set_back == 1000 - 10 - 2


def test_partial_key_key_by_expression_and_exclusion_are_seen(done: Done) -> None:
    found = reasons(done.plan, "public.booking")
    assert "one_open" in found["6",] and "booking_during_excl" in found["7",] and len(found) == 2
    assert done.at.values("SELECT id FROM booking ORDER BY id") == [1, 2, 3, 4, 5, 8, 9, 10, 1006, 1007]


def test_partitions_get_their_rows_and_a_row_under_another_key_is_a_conflict(done: Done) -> None:
    query = "SELECT tableoid::regclass::text, id, day, n FROM part WHERE id <= 90 ORDER BY id, day"
    assert done.at.sql(query) == done.at.then(query)
    found = reasons(done.result, "public.part")
    assert len(found) == 10 and set(found.values()) == {GONE}, "its key has the day, which the damage changed"
    assert done.at.values("SELECT count(*) FROM part") == [100]


def test_children_of_a_parent_that_is_gone_stay_out_to_the_last_generation(done: Done) -> None:
    assert table(done.result, "public.model").insert == 90
    assert table(done.result, "public.car").insert == 90
    assert done.at.values("SELECT count(*) FROM car JOIN model ON model.id = car.model") == [90]
    assert all("public.maker" in reason for reason in reasons(done.result, "public.model").values())


def test_long_chain_hangs_on_its_first_link(done: Done) -> None:
    """Link by link it would take as many passes as the chain is long: minutes."""
    chain = table(done.result, "public.chain")
    assert (chain.insert, chain.conflicting, len(chain.conflicts)) == (99, 19901, 19901)
    assert done.at.values("SELECT max(id) FROM chain") == [99]


def test_triggers_fire_and_what_they_change_is_said(done: Done) -> None:
    stamped = table(done.result, "public.stamped")
    fires, must = stamped.trigger_lines()
    assert fires == "fires: trigger stamping: BEFORE INSERT, for each row, function public.stamp, enabled"
    assert must.startswith("none can be left out: its owner postgres has more rights than tables")
    assert stamped.altered == {"by_whom": 1}
    assert any(note.startswith("1 row not quite as before") for note in stamped.notes)
    assert reasons(done.result, "public.stamped") == {("3",): KEPT_OUT}


def test_conflicts_show_keys_and_nothing_else_of_a_row(done: Done) -> None:
    for one in done.result.conflicts():
        assert set(one.key) <= {"id", "Line No", "customer", "day"}
        assert "@x" not in one.reason


def test_account_adds_up_for_every_table_and_both_counts_agree(done: Done) -> None:
    assert done.account.problems() == []
    rows = {row["table"]: row for row in done.account.rows()}
    for row in rows.values():
        parts = ("back as before", "back but altered", "changed since by others", "in conflict", "not brought back")
        assert sum(row[name] for name in parts) == row["taken (WAL)"] == row["taken (compared)"], row
    price, stamped = rows["public.price"], rows["public.stamped"]
    assert (price["back as before"], price["changed since by others"], price["in conflict"]) == (988, 2, 1)
    assert (stamped["back as before"], stamped["back but altered"], stamped["in conflict"]) == (8, 1, 1)
    assert stamped["notes"] == "altered: by_whom in 1"
