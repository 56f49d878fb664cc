"""Kinds of damage that recoveries once passed over in silence, each the smallest case of what `test_generated` had found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from generated.cluster import GeneratedCluster, generated_cluster
from generated.said import Said
from generated.scenarios import Scenario
from generated.transactions import Work
from generated.truth import differences

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: A second table, whose rows are deleted beside the damage in question: what is seen of one must not hide the other.
OTHER = ("CREATE TABLE other (id int PRIMARY KEY)", "INSERT INTO other SELECT generate_series(1, 100)")
T = ("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, 'v' FROM generate_series(1, 100) AS g")
PARTS = (
    "CREATE TABLE p (a int) PARTITION BY LIST (a)",
    "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
    "CREATE TABLE p2 PARTITION OF p DEFAULT",
    "INSERT INTO p SELECT g % 3 FROM generate_series(1, 100) AS g",
)
UNLOGGED = ("CREATE UNLOGGED TABLE u (id int PRIMARY KEY)", "INSERT INTO u SELECT generate_series(1, 50)", *OTHER)


@dataclass
class Kind:
    """`made` before the base backup, `late` after it; the damages and what others do between and after them, in their order."""

    made: tuple[str, ...]
    course: list[Work]
    late: tuple[str, ...] = field(default=())


def damage(*statements: str) -> Work:
    return Work(list(statements), is_damage=True)


def others(*statements: str) -> Work:
    return Work(list(statements))


KINDS = {
    "a dropped table without key, index or trigger": Kind((T[0].replace(" PRIMARY KEY", ""), T[1]), [damage("DROP TABLE t")]),
    "a dropped partition without key, index or trigger": Kind(PARTS, [damage("DROP TABLE p1")]),
    "rows changed by the damage and deleted by others since": Kind(
        T, [damage("UPDATE t SET v = 'x'"), others("DELETE FROM t WHERE id <= 10")]
    ),
    "rows without a key changed by the damage and deleted by others since": Kind(
        (T[0].replace(" PRIMARY KEY", ""), T[1]), [damage("UPDATE t SET v = 'x'"), others("DELETE FROM t WHERE id <= 10")]
    ),
    "rows that lost their parent and were deleted by others since": Kind(
        (*T, "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE SET NULL)", "INSERT INTO c SELECT g, g FROM generate_series(1, 100) AS g"),
        [damage("DELETE FROM t"), others("DELETE FROM c WHERE id <= 10")],
    ),
    "rows made after the point and changed by a second damage": Kind(
        (*T, *OTHER),
        [damage("DELETE FROM other"), others("INSERT INTO t SELECT g, 'new' FROM generate_series(200, 229) AS g"), damage("UPDATE t SET v = 'x'")],
    ),
    "a publication's member": Kind((*T, "CREATE PUBLICATION pub FOR TABLE t"), [damage("DROP TABLE t CASCADE")]),
    "an unlogged table emptied": Kind(UNLOGGED, [damage("TRUNCATE u", "DELETE FROM other")]),
    "an unlogged table's rows deleted": Kind(UNLOGGED, [damage("DELETE FROM u", "DELETE FROM other")]),
    "an unlogged table dropped": Kind(UNLOGGED, [damage("DROP TABLE u", "DELETE FROM other")]),
    "a table made unlogged": Kind((*T, *OTHER), [damage("ALTER TABLE t SET UNLOGGED", "DELETE FROM other")]),
    "a partition detached": Kind((*PARTS, *OTHER), [damage("ALTER TABLE p DETACH PARTITION p1", "DELETE FROM other")]),
    "a type with its columns": Kind(
        ("CREATE TYPE mood AS ENUM ('a', 'b')", *T, "ALTER TABLE t ADD COLUMN feeling mood DEFAULT 'a'", *OTHER),
        [damage("DROP TYPE mood CASCADE", "DELETE FROM other")],
    ),
    "a function with its triggers": Kind(
        (
            *T,
            "CREATE FUNCTION touching() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
            "CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touching()",
        ),
        [damage("DROP FUNCTION touching() CASCADE", "DELETE FROM t")],
    ),
    "functions of a table's row type": Kind(
        (*T, "CREATE FUNCTION shown(t) RETURNS text LANGUAGE sql AS 'SELECT ($1).v'", "CREATE VIEW showing AS SELECT shown(t) FROM t"),
        [damage("DROP TABLE t CASCADE")],
    ),
    "a schema with its functions": Kind(
        (
            "CREATE SCHEMA side",
            "CREATE TABLE side.t (id int PRIMARY KEY)",
            "INSERT INTO side.t SELECT generate_series(1, 100)",
            "CREATE FUNCTION side.counting() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
        [damage("DROP SCHEMA side CASCADE")],
    ),
    "a table newer than the base backup": Kind((), [damage("DROP TABLE t")], T),
    "foreign keys dropped first": Kind(
        (*T, "CREATE TABLE c (id int PRIMARY KEY, t int CONSTRAINT pointing REFERENCES t)", "INSERT INTO c SELECT g, g FROM generate_series(1, 100) AS g"),
        [damage("ALTER TABLE c DROP CONSTRAINT pointing", "DELETE FROM t")],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[GeneratedCluster]:
    with generated_cluster() as one:
        yield one


@pytest.mark.parametrize("name", KINDS)
def test_kind_is_given_back_or_named(cluster: GeneratedCluster, name: str) -> None:
    kind = KINDS[name]
    with cluster.played(Scenario(list(kind.made), [], list(kind.late), kind.course, [])) as played:
        recited = cluster.recover(played, "copy-back")
        found = differences(played, cluster.snapshot(played.database), Said.of(recited))
    cluster.tidy()
    unnamed = [str(one) for one in found if not one.is_named]
    assert (unnamed, recited.error) == ([], None), f"{recited.verdict}: {recited.run.limits}"
