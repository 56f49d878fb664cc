"""Old and new files are paired by pg_class's own rows in WAL: random mixes of what replaces files, against pg_class before and after."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import psycopg
import pytest
from crime import Scene, scene
from runbook.postgres.osuser import give
from runbook.recovery.filechanges import FileChanges, classify
from runbook.recovery.relnames import NameBook
from runbook.recovery.transactions import RelFile

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE TABLE parent (id int PRIMARY KEY, v text)",
    "CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent, w text)",
    "CREATE UNLOGGED TABLE cache (id int PRIMARY KEY, v text)",
    "CREATE TABLE part (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
    "CREATE MATERIALIZED VIEW per_parent AS SELECT count(*) AS n FROM child",
    "CREATE MATERIALIZED VIEW other_view AS SELECT 1 AS n",
    "INSERT INTO parent SELECT i, repeat('p', 3000) || i FROM generate_series(1, 203) AS i",
    "INSERT INTO child SELECT i, i, 'c' FROM generate_series(1, 153) AS i",
    "INSERT INTO cache SELECT i, 'x' FROM generate_series(1, 50) AS i",
    "INSERT INTO part SELECT i, '2020-05-05', 'v' FROM generate_series(1, 40) AS i",
    "INSERT INTO part SELECT i, '2021-05-05', 'v' FROM generate_series(1, 30) AS i",
)
TABLES = ("parent", "child", "cache", "part_1", "part_2", "per_parent", "other_view")
CLASS = (
    "SELECT oid, relname, relkind::text, pg_relation_filenode(oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace "
    "AND relkind IN ('r', 'm') ORDER BY oid"
)


def test_truncate_beside_a_refresh_is_of_the_tables_that_were_truncated() -> None:
    with scene(
        "CREATE TABLE parent (id int PRIMARY KEY, v text)",
        "CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent)",
        "INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 2003) AS i",
        "INSERT INTO child SELECT i, i FROM generate_series(1, 1503) AS i",
        "CREATE MATERIALIZED VIEW per_parent AS SELECT count(*) AS n FROM child",
        "CREATE TABLE lone (id int)",
        "INSERT INTO lone SELECT generate_series(1, 700)",
    ) as crime:
        (found,) = crime.accuse("BEGIN; REFRESH MATERIALIZED VIEW per_parent; TRUNCATE parent CASCADE; COMMIT")
        assert (set(found.tables), found.kind, found.rows) == ({"public.parent", "public.child"}, "truncate", 3506)
        (later,) = crime.accuse("TRUNCATE lone")
        assert (later.tables, later.kind, later.rows) == (("public.lone",), "truncate", 700)
        crime.run("INSERT INTO lone SELECT generate_series(1, 600)", "ANALYZE lone")
        (again,) = crime.accuse("BEGIN; REFRESH MATERIALIZED VIEW per_parent; TRUNCATE lone; COMMIT")
        assert (again.tables, again.rows) == (("public.lone",), 600)


@dataclass
class Truth:
    """What a sequence of statements does to the rows of each table, kept by name while it runs."""

    emptied: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)


def statements_of(chance: random.Random, live: list[str], number: int) -> tuple[list[str], set[str], set[str]]:
    """One action: its statements, the tables that it empties, and those that it drops."""
    views = [name for name in live if name.endswith("view") or name == "per_parent"]
    tables = [name for name in live if name not in views]
    kinds = ["truncate", "refresh", "cluster", "type", "logged", "drop", "create", "reindex", "insert", "drop view"]
    kind = chance.choice(kinds)
    table = chance.choice(tables) if tables else ""
    if kind == "refresh" and views:
        return [f"REFRESH MATERIALIZED VIEW {chance.choice(views)}{chance.choice(['', ' WITH NO DATA'])}"], set(), set()
    if kind == "truncate" and table == "parent":
        return ["TRUNCATE parent CASCADE"], {"parent", *({"child"} & set(live))}, set()
    if kind == "truncate" and table:
        return [f"TRUNCATE {table}"], {table}, set()
    if kind == "cluster" and table and not table.startswith("made"):
        return [f"CLUSTER {table} USING {table}_pkey"], set(), set()
    if kind == "type" and table in ("parent", "child", "cache"):
        column = "w" if table == "child" else "v"
        return [f"ALTER TABLE {table} ALTER {column} TYPE varchar({chance.randint(4000, 9000)})",
                f"ALTER TABLE {table} ALTER {column} TYPE text USING {column} || ''"], set(), set()  # fmt: skip
    if kind == "logged" and table in ("cache",):
        return [f"ALTER TABLE cache SET {chance.choice(['LOGGED', 'UNLOGGED'])}"], set(), set()
    if kind == "drop" and table and len(tables) > 2:
        return (
            [f"DROP TABLE {table} CASCADE"],
            set(),
            {table, *({"per_parent"} & set(live) if table == "child" else set())},
        )
    if kind == "drop view" and views:
        view = chance.choice(views)
        return [f"DROP MATERIALIZED VIEW {view}"], set(), {view}
    if kind == "create":
        return (
            [f"CREATE TABLE made_{number} (id int, v text)", f"INSERT INTO made_{number} SELECT 1, repeat('m', 9000)"],
            set(),
            set(),
        )
    if kind == "reindex" and table:
        return [f"REINDEX TABLE {table}"], set(), set()
    if kind == "insert" and (table == "cache" or table.startswith("made")):
        return [f"INSERT INTO {table} SELECT 1000 + {number}, 'n'"], set(), set()
    return [], set(), set()


def play(connection: psycopg.Connection, chance: random.Random, serial: int) -> tuple[Truth, list[str], bool]:
    """A random transaction with savepoints, some rolled back; the truth of what it did, what was said, and whether it is committed."""
    live = [row[1] for row in connection.execute(CLASS).fetchall()]
    truth, said = Truth(), ["BEGIN"]
    connection.execute("BEGIN")
    kept: list[tuple[Truth, list[str]]] = []
    for number in range(chance.randint(1, 6)):
        if chance.random() < 0.35:
            said.append(f"SAVEPOINT s{len(kept)}")
            kept.append((Truth(set(truth.emptied), set(truth.dropped)), list(live)))
            connection.execute(said[-1])
        given, emptied, dropped = statements_of(chance, live, serial * 10 + number)
        for statement in given:
            said.append(statement)
            connection.execute(statement)
        truth.emptied |= emptied
        truth.dropped |= dropped
        live = [name for name in live if name not in dropped] + [
            f"made_{serial * 10 + number}" for one in given if one.startswith("CREATE")
        ]
        if kept and chance.random() < 0.4:
            before, names = kept.pop()
            said.append(f"ROLLBACK TO s{len(kept)}")
            connection.execute(said[-1])
            truth, live = before, names
        elif kept and chance.random() < 0.3:
            kept.pop()
            said.append(f"RELEASE s{len(kept)}")
            connection.execute(said[-1])
    ends = chance.random()
    if ends < 0.15:
        said.append("ROLLBACK")
        connection.execute("ROLLBACK")
    elif ends < 0.35:
        said += [f"PREPARE TRANSACTION 'p{serial}'", f"COMMIT PREPARED 'p{serial}'"]
        for statement in said[-2:]:
            connection.execute(statement)
    else:
        said.append("COMMIT")
        connection.execute("COMMIT")
    return truth, said, said[-1] != "ROLLBACK"


def restore(connection: psycopg.Connection) -> None:
    """All tables are there again, with rows, as a transaction each."""
    have = {row[1] for row in connection.execute(CLASS).fetchall()}
    if not set(TABLES) <= have or "part" not in {
        row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE relkind = 'p'").fetchall()
    }:
        for name in ("part", "child", "parent", "cache"):
            connection.execute(f"DROP TABLE IF EXISTS {name} CASCADE")
        connection.execute("DROP MATERIALIZED VIEW IF EXISTS other_view")
        for statement in MADE:
            connection.execute(statement)
    for name in have:
        if name.startswith("made_"):
            connection.execute(f"DROP TABLE {name}")


def check(crime: Scene, seed: int, rounds: int) -> int:
    """The rounds are played, each with its truth from pg_class; how many of them had damage."""
    chance = random.Random(seed)
    database = int(crime.cluster.sql("SELECT oid FROM pg_database WHERE datname = 'shop'")[0][0])
    played = []
    with crime.cluster.connect("shop") as connection:
        for serial in range(rounds):
            restore(connection)
            if chance.random() < 0.2:
                crime.cluster.sql("CHECKPOINT")
            if chance.random() < 0.2:
                connection.execute("ANALYZE")
            begin = crime.position()
            before = {row[0]: row for row in connection.execute(CLASS).fetchall()}
            truth, said, is_committed = play(connection, chance, serial)
            after = {row[0]: row for row in connection.execute(CLASS).fetchall()}
            played.append((begin, crime.position(), before, after, truth, said, is_committed))
    found = crime.search()
    assert found.names.unread == 0
    names = crime.names()
    names.add_wal(found.names)
    damaged = 0
    for begin, end, before, after, truth, said, is_committed in played:
        changes = [classify(one, names) for one in found.file_changes if begin <= one.commit.lsn < end]
        expected = expected_of(before, after, truth, database, is_committed)
        seen = seen_of(changes)
        # What becomes of an unlogged table's rows is not in WAL: that it got another file is.
        unlogged = {RelFile(1663, database, row[3]) for row in before.values() if row[1] == "cache"}
        for judged in ("truncated", "rewritten", "unclear"):
            expected[judged] -= unlogged
            seen[judged] -= unlogged
        assert seen == expected, f"seed {seed}: {'; '.join(said)}"
        damaged += bool(expected["dropped"] or expected["truncated"])
        check_names(names, before, database, said)
    return damaged


def expected_of(
    before: dict[int, tuple], after: dict[int, tuple], truth: Truth, database: int, is_committed: bool
) -> dict[str, set[object]]:
    def file(row: tuple) -> RelFile:
        return RelFile(1663, database, row[3])

    gone = {file(row) for oid, row in before.items() if oid not in after}
    changed = {
        oid: (file(row), file(after[oid])) for oid, row in before.items() if oid in after and row[3] != after[oid][3]
    }
    emptied = {oid for oid in changed if before[oid][1] in truth.emptied}
    if not is_committed:
        assert not gone and not changed
    return {
        "dropped": gone,
        "truncated": {changed[oid][0] for oid in emptied},
        "rewritten": {pair[0] for oid, pair in changed.items() if oid not in emptied},
        "pairs": set(changed.values()),
        "unclear": set(),
    }


def seen_of(changes: list[FileChanges]) -> dict[str, set[object]]:
    found: dict[str, set[object]] = {
        "dropped": set(),
        "truncated": set(),
        "rewritten": set(),
        "pairs": set(),
        "unclear": set(),
    }
    for one in changes:
        found["dropped"] |= set(one.dropped)
        found["truncated"] |= set(one.truncated)
        found["rewritten"] |= set(one.rewritten)
        found["pairs"] |= {pair for pair in one.replaced if pair[0] in {*one.truncated, *one.rewritten}}
        found["unclear"] |= set(one.unclear)
    return found


def check_names(names: NameBook, before: dict[int, tuple], database: int, said: list[str]) -> None:
    """Each file is known by its relation, whatever became of it."""
    for oid, name, _, number in before.values():
        known = names.find(RelFile(1663, database, number))
        assert known is not None and (known.oid, known.name) == (oid, name), f"{name}, {'; '.join(said)}"


@pytest.fixture(scope="module")
def crime() -> Iterator[Scene]:
    with scene(*MADE) as found:
        yield found


@pytest.mark.parametrize("major", [17, 15, 18])
def test_random_file_changes_are_told_on_each_version(major: int) -> None:
    with scene(*MADE, major=major) as crime:
        assert check(crime, 100 + major, rounds=20) >= 4


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_file_changes_are_told_as_pg_class_has_them(crime: Scene, seed: int) -> None:
    assert check(crime, seed, rounds=25) >= 5


def test_rows_that_were_not_read_hide_no_damage_and_make_none(crime: Scene) -> None:
    """Whatever part of pg_class's rows is missing: a table that lost its rows is named or unclear, a rewritten one is not called emptied."""
    chance, begin = random.Random(77), crime.position()
    database = int(crime.cluster.sql("SELECT oid FROM pg_database WHERE datname = 'shop'")[0][0])
    expected: dict[str, set[object]] = {"lost": set(), "rewritten": set()}
    with crime.cluster.connect("shop") as connection:
        for serial in range(30):
            restore(connection)
            before = {row[0]: row for row in connection.execute(CLASS).fetchall()}
            truth, _, is_committed = play(connection, chance, serial)
            after = {row[0]: row for row in connection.execute(CLASS).fetchall()}
            unlogged = {RelFile(1663, database, row[3]) for row in before.values() if row[1] == "cache"}
            became = expected_of(before, after, truth, database, is_committed)
            expected["lost"] |= (became["dropped"] | became["truncated"]) - unlogged
            expected["rewritten"] |= became["rewritten"] - unlogged
    found = crime.search(begin)
    names = crime.names()
    assert expected["lost"] and expected["rewritten"]
    for one in found.file_changes:
        assert one.files is not None
        removed = set(one.files.removed)
        for _ in range(100):
            missing = chance.choice([0.05, 0.2, 0.5])
            steps = [
                step._replace(
                    old=None if chance.random() < missing else step.old,
                    new=None if chance.random() < missing else step.new,
                )
                for step in one.files.catalog
            ]
            told = classify(replace(one, files=replace(one.files, catalog=steps)), names)
            named = {*told.dropped, *told.truncated}
            assert expected["lost"] & removed <= named | set(told.unclear), steps
            assert not expected["rewritten"] & named, steps


@pytest.mark.parametrize("compression", ["pglz", "lz4", "zstd"])
def test_compressed_page_images_are_read(compression: str) -> None:
    with scene(*MADE, settings={"wal_compression": compression}) as crime:
        assert check(crime, 11, rounds=12) >= 2


def test_truncate_records_of_logical_wal_are_read_beside_the_rows_of_pg_class() -> None:
    with scene(*MADE, settings={"wal_level": "logical"}) as crime:
        assert check(crime, 15, rounds=12) >= 2


ORDERS = (
    "CREATE TABLE orders (id int, y int, PRIMARY KEY (id, y)) PARTITION BY LIST (y)",
    "CREATE TABLE orders_2023 PARTITION OF orders FOR VALUES IN (2023)",
    "CREATE TABLE orders_2024 PARTITION OF orders FOR VALUES IN (2024) PARTITION BY RANGE (id)",
    "CREATE TABLE orders_2024_a PARTITION OF orders_2024 FOR VALUES FROM (0) TO (100000)",
    "INSERT INTO orders SELECT i, 2023 + i % 2 FROM generate_series(1, 2000) AS i",
    "CREATE TABLE plain (id int PRIMARY KEY, v text)",
    "INSERT INTO plain SELECT i, 'v' FROM generate_series(1, 800) AS i",
    "CREATE SCHEMA app",
    "CREATE TABLE app.t (id int)",
    "INSERT INTO app.t SELECT generate_series(1, 300)",
)


def test_awkward_changes_are_told_as_they_were() -> None:
    with scene(*ORDERS) as crime:
        place = crime.cluster.home / "tablespaces" / "other"
        place.mkdir()
        give(place, crime.cluster.user)
        crime.cluster.sql(f"CREATE TABLESPACE other LOCATION '{place}'")

        def told(*statements: str, database: str = "shop") -> list[str]:
            found = crime.accuse(*statements, database=database)
            return [one.sentence.partition(" ")[2].partition(" ")[2] for one in found if one.kind != "alter table"]

        fill = "INSERT INTO plain SELECT i, 'v' FROM generate_series(1, 800) AS i"
        assert told("ALTER TABLE plain SET TABLESPACE other") == []
        assert told("TRUNCATE plain") == ["truncated public.plain (about 800 rows)"]
        crime.run(fill)
        both = "BEGIN; ALTER TABLE plain SET TABLESPACE pg_default; TRUNCATE plain; COMMIT"
        assert told(both) == ["truncated public.plain (800 rows)"]
        crime.run(fill)
        assert told(
            "BEGIN; CREATE TABLE p AS SELECT * FROM plain; DROP TABLE plain; ALTER TABLE p RENAME TO plain; COMMIT"
        ) == ["dropped public.plain (size not known)"], (
            "its file was copied, then cut to nothing: its rows were not all counted"
        )
        # A permanent table that was unlogged in between may have been emptied there: WAL does not say.
        crime.run("ANALYZE plain")
        assert told("BEGIN; ALTER TABLE plain SET UNLOGGED; TRUNCATE plain; ALTER TABLE plain SET LOGGED; COMMIT") == [
            "emptied or replaced public.plain (800 rows)"
        ]
        assert told("DROP TABLE orders_2024") == [
            "dropped public.orders_2024_a, a partition of public.orders (about 1,000 rows)"
        ]
        assert told("ALTER TABLE orders DETACH PARTITION orders_2023", "DROP TABLE orders_2023") == [
            "dropped public.orders_2023 (about 1,000 rows)"
        ]
        swap = "BEGIN; ALTER TABLE app.t RENAME TO t_old; CREATE TABLE app.t (id int); COMMIT"
        assert told(swap, "TRUNCATE app.t_old") == ["truncated app.t_old (about 300 rows)"]
        assert told("BEGIN; CREATE TABLE x (id int); INSERT INTO x VALUES (1); DROP TABLE x; COMMIT") == []
        crime.cluster.sql("CREATE DATABASE copied TEMPLATE shop STRATEGY FILE_COPY")
        crime.run("CREATE TABLE its (id int)", "INSERT INTO its VALUES (1), (2)", database="copied")
        assert told("DROP TABLE its", database="copied") == ["dropped public.its in database copied (2 rows)"]


def test_without_page_images_rows_come_from_the_backup() -> None:
    with scene(*MADE, settings={"full_page_writes": "off"}) as crime:
        assert check(crime, 12, rounds=12) >= 2


def test_rewritten_catalogs_are_followed() -> None:
    with scene(*MADE) as crime:
        assert check(crime, 13, rounds=4) >= 0
        crime.run(
            "VACUUM FULL pg_class", "VACUUM FULL pg_namespace", "VACUUM FULL pg_inherits", "VACUUM FULL pg_attribute"
        )
        assert check(crime, 14, rounds=10) >= 2
