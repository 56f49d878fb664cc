"""Names that SQL must quote: each change and each undo does what it says to the object that it names, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from mending import found, run_file
from own_cluster import OwnCluster, own_cluster
from runbook.inspection.changes import make_changes
from runbook.inspection.states import in_order
from runbook.postgres.connect import quote
from test_health_checks import SMALL, health

pytestmark = [pytest.mark.server, pytest.mark.faults]

NAMES = (
    'a"; DROP TABLE public.b; --',
    "it's; SELECT 1/0; --",
    "line\nbreak; DROP TABLE public.b;",
    "cr\r\nlf */ /* :x :'x' :\"x\"",
    "per %I %s %% cent",
    "dol$$lar $1 $a$",
    "do.t.s, and (b)",
    " select ",
    "UpPer INDEX ON ONLY",
    "back\\slash E'\\n' {0}",
    "ü" * 31 + "x",
    "CONCURRENTLY VACUUM",
)
THRESHOLDS = {**SMALL, "partitioned_least_rows": 10, "keyless_table_least_rows": 1500, "foreign_key_least_rows": 50}


def name(text: str, end: str = "") -> str:
    """The name with that end, quoted, within 63 bytes."""
    encoded = text.encode()[: 63 - len(end)].decode(errors="ignore") + end
    return quote(encoded)


def planted(text: str) -> list[str]:
    """A schema of that name, in which everything bears it, with one problem of each check that has a change."""
    n, s = partial(name, text), name(text)

    def table(end: str) -> str:
        return f"{s}.{n(end)}"

    return [
        f"CREATE SCHEMA {s}",
        f"SET search_path = {s}",
        # a key, a foreign key without an index, twins, a constraint that nobody has validated, a trigger that is off
        f"CREATE TABLE {table('')} ({n('')} int PRIMARY KEY, {n('2')} int)",
        f"INSERT INTO {table('')} SELECT g, g FROM generate_series(1, 300) AS g",
        f"CREATE TABLE {table('f')} ({n('')} int PRIMARY KEY, {n('2')} int, {n('3')} text, CONSTRAINT {n('')} FOREIGN KEY ({n('2')}) REFERENCES {table('')})",
        f"INSERT INTO {table('f')} SELECT g, g FROM generate_series(1, 300) AS g",
        f"CREATE INDEX {n('i1')} ON {table('f')} ({n('3')}, lower({n('3')})) WHERE {n('2')} > 7",
        f"CREATE INDEX {n('i2')} ON {table('f')} ({n('3')}, lower({n('3')})) WHERE {n('2')} > 7",
        f"CREATE INDEX {n('i3')} ON {table('f')} (({n('2')} + 1))",
        f"ALTER TABLE {table('f')} ADD CONSTRAINT {n('late')} CHECK ({n('2')} > 0) NOT VALID",
        f"CREATE DOMAIN {table('d')} AS int",
        f"ALTER DOMAIN {table('d')} ADD CONSTRAINT {n('late')} CHECK (VALUE > 0) NOT VALID",
        f"CREATE FUNCTION {table('()')}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        f"CREATE TRIGGER {n('t')} AFTER INSERT ON {table('f')} FOR EACH ROW EXECUTE FUNCTION {table('()')}()",
        f"ALTER TABLE {table('f')} DISABLE TRIGGER {n('t')}",
        f"CREATE INDEX {n('i4')} ON {table('f')} ({n('3')} text_pattern_ops)",
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = {_literal(table('i4'))}::regclass",
        # a sequence near the end of an int column, and rows that refer to it
        f"CREATE SEQUENCE {table('s')}",
        f"CREATE TABLE {table('q')} ({n('')} int PRIMARY KEY DEFAULT nextval({_literal(table('s'))}))",
        f"CREATE TABLE {table('q2')} ({n('')} int PRIMARY KEY REFERENCES {table('q')})",
        f"SELECT setval({_literal(table('s'))}, 2000000000)",
        # a partitioned table with all that a partitioned table can have
        f"CREATE TABLE {table('p')} ({n('')} int, {n('2')} int, {n('3')} int) PARTITION BY RANGE ({n('')})",
        f"CREATE TABLE {table('p1')} PARTITION OF {table('p')} FOR VALUES FROM (0) TO (100)",
        f"CREATE TABLE {table('p2')} PARTITION OF {table('p')} DEFAULT PARTITION BY HASH ({n('')})",
        f"CREATE TABLE {table('p3')} PARTITION OF {table('p2')} FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        f"ALTER TABLE {table('p')} ADD CONSTRAINT {n('fk')} FOREIGN KEY ({n('2')}) REFERENCES {table('')}",
        f"INSERT INTO {table('p')} SELECT g, g, g FROM generate_series(1, 300) AS g",
        f"CREATE INDEX {n('i5')} ON ONLY {table('p')} ({n('3')})",
        f"CREATE INDEX {n('i6')} ON {table('p')} ({n('3')} DESC)",
        f"CREATE TRIGGER {n('t')} AFTER INSERT ON {table('p')} FOR EACH ROW EXECUTE FUNCTION {table('()')}()",
        f"ALTER TABLE {table('p')} DISABLE TRIGGER {n('t')}",
        f"ANALYZE {table('f')}, {table('p1')}, {table('p3')}",
        # dead rows where autovacuum is off, and empty room
        f"CREATE TABLE {table('v')} ({n('')} int PRIMARY KEY, {n('2')} text) WITH (autovacuum_enabled = OFF)",
        f"INSERT INTO {table('v')} SELECT g, 'x' FROM generate_series(1, 12000) AS g",
        f"DELETE FROM {table('v')}",
        f"CREATE TABLE {table('e')} ({n('')} int PRIMARY KEY, {n('2')} text)",
        f"INSERT INTO {table('e')} SELECT g, repeat('x', 200) FROM generate_series(1, 90000) AS g",
        f"DELETE FROM {table('e')} WHERE {n('')} % 10 <> 0",
        f"VACUUM {table('e')}",
        # a collation that has changed
        f"CREATE COLLATION {table('c')} {_COLLATION}",
        f"CREATE TABLE {table('k')} ({n('')} text COLLATE {table('c')} PRIMARY KEY)",
        f"UPDATE pg_collation SET collversion = '0' WHERE oid = {_literal(table('c'))}::regcollation",
    ]


_COLLATION = "(PROVIDER = builtin, LOCALE = 'C.UTF-8')"


def _literal(text: str) -> str:
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@pytest.fixture(scope="module")
def server() -> Iterator[OwnCluster]:
    with own_cluster(settings={"shared_preload_libraries": "pg_stat_statements"}) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql(
            f"CREATE SCHEMA {name('extensions' + NAMES[0])}",
            f"CREATE EXTENSION pgstattuple SCHEMA {name('extensions' + NAMES[0])}",
            f"CREATE EXTENSION pg_stat_statements SCHEMA {name('extensions' + NAMES[0])}",
            "CREATE TABLE b (id int PRIMARY KEY)",
            "INSERT INTO b VALUES (7)",
            database="shop",
        )
        yield cluster


DATABASE_CHECKS = (
    "autovacuum_behind,bloated_indexes,bloated_tables,disabled_triggers,duplicate_indexes,foreign_keys_without_index,"
    "invalid_indexes,partitioned_not_analysed,sequence_exhaustion,stale_collations,unused_indexes,unvalidated_constraints"
)


@pytest.mark.parametrize("text", NAMES)
def test_changes_and_their_undo_do_just_what_they_say(server: OwnCluster, text: str) -> None:
    server.sql(*planted(text), database="shop")
    try:
        first = health(server, checks=DATABASE_CHECKS, fail_on="warning", **THRESHOLDS)
        there = found(first, server.home)
        assert {one.check for one in there.values()} == set(DATABASE_CHECKS.split(","))
        changes = make_changes(in_order(seen for one in first.looked for seen in one.seen), first.at)
        assert all(one.change for one in there.values())
        for change in changes:
            statements = [line for line in change.up.splitlines() if not line.startswith("--")]
            assert statements[0] == "SET lock_timeout = '5s';", "no name has ended a comment"
            run_file(server, change.up)
        left = found(health(server, checks=DATABASE_CHECKS, fail_on="warning", **THRESHOLDS), server.home)
        assert {one.check for one in left.values()} <= {"unused_indexes"}, left
        for change in reversed(changes):
            if change.down is not None:
                run_file(server, change.down)
        again = found(health(server, checks=DATABASE_CHECKS, fail_on="warning", **THRESHOLDS), server.home)
        kept = {seen for seen, one in there.items() if one.undo}
        assert kept <= set(again) | {seen for seen, one in there.items() if one.check == "autovacuum_behind"}
        assert server.sql("SELECT id FROM b", database="shop") == [(7,)], "nobody has touched the other table"
    finally:
        server.sql(f"DROP SCHEMA {name(text)} CASCADE", database="shop")
