"""The search finds what was destroyed in real WAL, names it, and is not taken in by what only looks like it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from crime import LINEAGE, Scene, scene
from runbook.errors import WalDamaged
from runbook.postgres.wal import format_lsn, parse_lsn
from runbook.recovery.forensics import search_wal
from runbook.recovery.relnames import NameBook
from runbook.recovery.suspects import propose_target, rank_suspects
from runbook.recovery.transactions import Rows

pytestmark = pytest.mark.server

CUSTOMERS, LINES = 3000, 9000
FILL = (
    f"INSERT INTO customer SELECT g, 'a' || g || '@x' FROM generate_series(1, {CUSTOMERS}) AS g",
    f"INSERT INTO \"Order Lines\" SELECT g, g % {CUSTOMERS} + 1, repeat('x', 20) FROM generate_series(1, {LINES}) AS g",
)


@pytest.fixture(scope="module")
def crime() -> Iterator[Scene]:
    with scene(
        "CREATE TABLE customer (id int PRIMARY KEY, email text)",
        'CREATE TABLE "Order Lines" (id int PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE, x text)',
        'CREATE INDEX ON "Order Lines" (customer)',
        "CREATE TABLE part (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        "INSERT INTO part SELECT g, '2020-01-01'::date + g % 700 FROM generate_series(1, 2100) AS g",
        "CREATE TABLE staging (id int, x text)",
        "INSERT INTO staging SELECT g, 'b' FROM generate_series(1, 1000) AS g",
        "CREATE TABLE doomed (id int PRIMARY KEY, x text)",
        "INSERT INTO doomed SELECT g, 'b' FROM generate_series(1, 500) AS g",
        *FILL,
    ) as ready:
        yield ready


@pytest.fixture
def filled(crime: Scene) -> Scene:
    """The two large tables are full again, by files of their own."""
    crime.run("TRUNCATE customer CASCADE", *FILL)
    return crime


def rows_of(found: object) -> dict[str, Rows]:
    return {str(key): value for key, value in found.items()}  # type: ignore[attr-defined]


def test_delete_with_cascade_is_named_counted_and_left_out_exactly(filled: Scene) -> None:
    suspect = filled.accuse("DELETE FROM customer WHERE id <= 600")[0]
    assert (suspect.kind, suspect.rows, suspect.transactions) == ("delete", 2400, 1)
    assert suspect.sentence.startswith(
        f'transaction {suspect.commit.xid} deleted 1,800 rows of public."Order Lines", deleted 600 rows of public.customer in one commit'
    )
    target = propose_target(suspect)
    assert target.first_left_out == suspect.commit and target.last_included is not None
    assert target.last_included.lsn < target.gate < suspect.commit.lsn
    assert target.asked == format_lsn(target.gate)


def test_truncate_cascade_is_named_from_the_backup_alone(filled: Scene) -> None:
    suspect = filled.accuse("TRUNCATE customer CASCADE")[0]
    assert suspect.kind == "truncate" and "usual" not in suspect.sentence
    assert set(suspect.tables) == {"public.customer", 'public."Order Lines"'}
    assert f'public."Order Lines" ({LINES:,} rows)' in suspect.sentence


def test_target_lies_ahead_of_the_lock_unless_others_committed_under_it(crime: Scene) -> None:
    crime.run("CREATE TABLE t1 (id int)", "CREATE TABLE t2 (id int)", "INSERT INTO t1 VALUES (1)")
    names = crime.names(present=True)
    assert propose_target(crime.accuse("TRUNCATE t1", names=names)[0]).is_locked is False
    with crime.cluster.connect("shop") as connection:
        connection.execute("BEGIN")
        connection.execute("TRUNCATE t2")
        crime.run("INSERT INTO t1 VALUES (2)")
        connection.execute("COMMIT")
    target = propose_target(
        next(one for one in rank_suspects(crime.search(), names, most=50) if one.tables == ("public.t2",))
    )
    assert target.is_locked is True and ("readable while paused", "not the tables it locked") in target.rows()


def test_truncate_that_is_filled_again_says_so(crime: Scene) -> None:
    fill = "INSERT INTO staging SELECT g, 'c' FROM generate_series(1, 900) AS g"
    suspect = crime.accuse("BEGIN", "TRUNCATE staging", fill, "COMMIT")[0]
    assert (suspect.kind, suspect.tables) == ("truncate", ("public.staging",))
    assert "filled again with 900" in suspect.sentence


@pytest.mark.parametrize(
    "statements",
    [
        ["VACUUM FULL customer"],
        ["CLUSTER customer USING customer_pkey"],
        ["CREATE TABLE IF NOT EXISTS empty (id int)", "VACUUM FULL empty"],
        ["REINDEX TABLE customer"],
        ["CREATE TEMP TABLE t AS SELECT 1", "DROP TABLE t", "CREATE VIEW v AS SELECT 1", "DROP VIEW v"],
        ["CREATE MATERIALIZED VIEW mv AS SELECT * FROM part", "REFRESH MATERIALIZED VIEW mv"],
        ["CREATE INDEX more ON part_1 (day)", "DROP INDEX more"],
        ["BEGIN", "DELETE FROM customer", "ROLLBACK"],
        ["BEGIN", "TRUNCATE customer CASCADE", "ROLLBACK"],
        ["BEGIN", "DELETE FROM part", "PREPARE TRANSACTION 'no'", "ROLLBACK PREPARED 'no'"],
    ],
    ids=lambda statements: statements[-1][:24],
)
@pytest.mark.parametrize("with_names", [True, False], ids=["names", "no names"])
def test_rewrite_and_rolled_back_damage_are_no_suspects(filled: Scene, statements: list[str], with_names: bool) -> None:
    with filled.cluster.connect("shop") as connection:
        connection.execute("DROP MATERIALIZED VIEW IF EXISTS mv")
    names = filled.names() if with_names else NameBook()
    assert filled.accuse(*statements, names=names) == []


def test_names_survive_a_rewrite_that_no_catalog_saw(filled: Scene) -> None:
    filled.run(
        "VACUUM FULL customer",
        'ALTER TABLE "Order Lines" ALTER id TYPE bigint',
        'ALTER TABLE "Order Lines" ALTER id TYPE int',
    )
    suspect = filled.accuse("DELETE FROM customer WHERE id <= 500")[0]
    assert set(suspect.tables) == {"public.customer", 'public."Order Lines"'}


def test_dropped_and_recreated_table_is_a_drop(crime: Scene) -> None:
    suspect = crime.accuse(
        "BEGIN",
        "DROP TABLE doomed",
        "CREATE TABLE doomed (id int PRIMARY KEY)",
        "INSERT INTO doomed VALUES (1)",
        "COMMIT",
    )[0]
    assert (suspect.kind, suspect.tables, suspect.rows) == ("drop", ("public.doomed",), 500)


def test_table_newer_than_every_backup_is_named_from_wal_alone(crime: Scene) -> None:
    crime.run(
        "CREATE SCHEMA IF NOT EXISTS later",
        "CREATE TABLE later.late (id int)",
        "INSERT INTO later.late SELECT generate_series(1, 300)",
    )
    deleted = crime.accuse("DELETE FROM later.late WHERE id <= 200", names=NameBook())[0]
    assert (deleted.tables, deleted.rows) == (("later.late",), 200)
    dropped = crime.accuse("DROP SCHEMA later CASCADE", names=NameBook())[0]
    assert (dropped.kind, dropped.tables, dropped.rows) == ("drop", ("later.late",), 100)
    assert "dropped later.late (100 rows)" in dropped.sentence


def test_subtransactions_count_and_rolled_back_ones_do_not(filled: Scene) -> None:
    suspect = filled.accuse(
        "BEGIN", "DELETE FROM part WHERE id <= 100", "SAVEPOINT a", "DELETE FROM part WHERE id <= 500", "ROLLBACK TO a",
        "SAVEPOINT b", "DELETE FROM part WHERE id BETWEEN 101 AND 150", "COMMIT",
    )[0]  # fmt: skip
    assert (suspect.tables, suspect.rows) == (("public.part_1, a partition of public.part",), 150)


def test_prepared_transaction_counts_at_its_commit(crime: Scene) -> None:
    before = crime.run("BEGIN", "DELETE FROM part WHERE id BETWEEN 200 AND 499", "PREPARE TRANSACTION 'x'")
    assert [one for one in crime.search().transactions if one.commit.lsn >= before] == []
    middle = crime.position()
    suspect = crime.accuse("COMMIT PREPARED 'x'")[0]
    assert suspect.rows == 300 and suspect.commit.lsn >= middle


def test_update_of_all_rows_and_copy_are_told_apart(crime: Scene) -> None:
    suspect = crime.accuse("UPDATE part SET day = day")[0]
    assert (suspect.kind, suspect.tables) == ("update", ("public.part",))
    before = crime.run("COPY staging FROM PROGRAM 'for i in $(seq 1 700); do printf \"%d\\tx\\n\" $i; done'")
    found = crime.search(before)
    assert [totals.rows.inserted for file, totals in found.relations.items() if file.number >= 16384] == [700]
    assert rank_suspects(found, crime.names()) == []


def test_insert_on_conflict_leaves_no_phantom_rows(crime: Scene) -> None:
    before = crime.run(
        "CREATE TABLE once (id int PRIMARY KEY)",
        "INSERT INTO once VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT INTO once VALUES (1) ON CONFLICT DO NOTHING",
    )
    found = crime.search(before)
    assert [totals.rows for file, totals in found.relations.items() if file.number >= 16384] == [Rows(inserted=1)]


def test_many_small_deletes_are_one_suspect(filled: Scene) -> None:
    deletes = [f"DELETE FROM customer WHERE id = {number}" for number in range(1000, 1400)]
    before = filled.position()
    suspect = filled.accuse(*deletes)[0]
    assert (suspect.kind, suspect.transactions, len(suspect.xids)) == ("many deletes", 400, 400)
    assert suspect.rows == 1200 and "400 rows of public.customer" in suspect.sentence
    first = propose_target(suspect)
    found = filled.search(before)
    assert found.first is not None and first.first_left_out == found.first


def test_two_incidents_are_two_suspects_and_the_target_lies_before_the_first(filled: Scene) -> None:
    filled.run("CREATE TABLE audit (id int)")
    suspects = filled.accuse(
        'DELETE FROM "Order Lines" WHERE id <= 900', "INSERT INTO audit VALUES (1)", "DELETE FROM part WHERE id > 1500"
    )
    assert {suspect.tables for suspect in suspects[:2]} == {('public."Order Lines"',), ("public.part",)}
    first = min(suspects[:2], key=lambda suspect: suspect.commit.lsn)
    assert (
        propose_target(*suspects[:2]) == propose_target(first) and propose_target(first).first_left_out == first.commit
    )


def test_commits_within_the_same_second_are_counted(filled: Scene) -> None:
    filled.run("CREATE TABLE IF NOT EXISTS audit (id int)")
    suspect = filled.accuse(
        *["INSERT INTO audit VALUES (1)"] * 5, "DELETE FROM part", *["INSERT INTO audit VALUES (1)"] * 5
    )[0]
    found = filled.search(count_from=0)
    at = suspect.commit.at.replace(microsecond=0)
    in_wal = [
        span for span in found.spans if span.start <= suspect.commit.at < span.start + timedelta(seconds=span.seconds)
    ]
    assert found.span_seconds == 1 and in_wal[0].start == at
    assert suspect.same_second == in_wal[0].commits - 1 >= 1


def test_other_databases_are_searched_too(crime: Scene) -> None:
    crime.cluster.sql('CREATE DATABASE "Other One"')
    crime.run("CREATE TABLE t (id int)", "INSERT INTO t SELECT generate_series(1, 400)", database="Other One")
    suspect = crime.accuse("DELETE FROM t", database="Other One", names=crime.names(present=True))[0]
    assert suspect.tables == ('public.t in database "Other One"',)
    dropped = crime.accuse('DROP DATABASE "Other One"', database="postgres", names=crime.names())[0]
    assert dropped.kind == "drop database"


def test_sudden_end_of_a_server_forgets_its_open_transactions(crime: Scene) -> None:
    connection = crime.cluster.connect("shop")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO staging SELECT g, 'never' FROM generate_series(1, 500) AS g")
    crime.cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'so that the commit flushes WAL')")
    assert crime.search().still_running == 1
    crime.cluster.stop("immediate")
    connection.close()
    crime.cluster.start()
    crime.run("INSERT INTO staging VALUES (1, 'later')")
    crime.cluster.sql("CHECKPOINT")
    assert crime.search().still_running == 0


def test_damaged_wal_is_refused_with_its_place(crime: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    crime.cluster.switch()
    folder = tmp_path_factory.mktemp("wal")
    archived = sorted(path for path in crime.cluster.archive.iterdir() if len(path.name) == 24)
    for path in archived:
        (folder / path.name).write_bytes(path.read_bytes())
    damaged = folder / archived[-1].name
    content = bytearray(damaged.read_bytes())
    content[9000:9100] = b"\xff" * 100
    damaged.write_bytes(bytes(content))
    with pytest.raises(WalDamaged):
        search_wal(folder, LINEAGE, crime.cluster.tools, crime.start, parse_lsn(crime.cluster.lsn()))
