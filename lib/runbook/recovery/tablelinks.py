"""What a table demands of its rows: keys that no two may share, parents that must be there; and the order that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from runbook.postgres.connect import Connection, quote, rows
from runbook.postgres.sqlfiles import load_sql


@dataclass(frozen=True)
class UniqueKey:
    """A primary key, a unique index or an exclusion constraint: rows clash whose `expressions` compare true by `operators`.

    `columns` are those that expressions and predicate read.
    """

    name: str
    is_primary: bool
    is_deferrable: bool
    is_exclusion: bool
    nulls_equal: bool
    predicate: str | None
    expressions: tuple[str, ...]
    operators: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def words(self) -> str:
        """For people: the name and the columns."""
        return f"{self.name} ({', '.join(self.columns)})"


@dataclass(frozen=True)
class ForeignKey:
    """Each row needs one in the parent, unless one of its `columns` is NULL. `operators` compare the parent's column with ours."""

    name: str
    parent_schema: str
    parent_name: str
    parent_kind: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    operators: tuple[str, ...]

    @property
    def parent(self) -> str:
        """For a FROM clause."""
        return f"{'' if self.parent_kind == 'p' else 'ONLY '}{quote(self.parent_schema)}.{quote(self.parent_name)} AS p"


@dataclass(frozen=True)
class Sequence:
    """A sequence that a column owns. `last_value` is None when it was never used."""

    schema: str
    name: str
    column: str
    increment: int
    last_value: int | None


def read_unique_keys(connection: Connection, oid: int) -> tuple[UniqueKey, ...]:
    """The table's keys, the primary one first."""
    file = load_sql("recovery/list_unique_keys")
    return tuple(UniqueKey(**_frozen(row)) for row in rows(connection, file.text, file.values({"oid": oid})))


def read_foreign_keys(connection: Connection, oid: int) -> tuple[ForeignKey, ...]:
    """The table's foreign keys, by name."""
    file = load_sql("recovery/list_foreign_keys")
    return tuple(ForeignKey(**_frozen(row)) for row in rows(connection, file.text, file.values({"oid": oid})))


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}


def read_sequences(connection: Connection, oid: int) -> tuple[Sequence, ...]:
    """The sequences that the table's columns own."""
    file = load_sql("recovery/list_owned_sequences")
    return tuple(
        Sequence(row["schema"], row["name"], row["column_name"], row["increment"], row["last_value"])
        for row in rows(connection, file.text, file.values({"oid": oid}))
    )


def behind(now: Iterable[Sequence], then: Iterable[Sequence]) -> list[tuple[Sequence, Sequence]]:
    """Return the sequences that are behind what they were, each with what it was; matched by their columns.

    >>> one, two = Sequence("s", "q", "id", 1, 5), Sequence("s", "q", "id", 1, 7)
    >>> behind([one], [two]) == [(one, two)], behind([two], [one]), behind([Sequence("s", "q", "id", -1, -9)], [Sequence("s", "q", "id", -1, -7)])
    (True, [], [])
    """
    was = {one.column: one for one in then}
    return [
        (one, was[one.column])
        for one in now
        if one.column in was and is_behind(one.last_value, was[one.column].last_value, one.increment)
    ]


def is_behind(now: int | None, then: int | None, increment: int) -> bool:
    """Return True when a sequence that stands at `now` would give out numbers that were given out up to `then`. None: never used.

    >>> is_behind(5, 7, 1), is_behind(None, 7, 1), is_behind(7, None, 1), is_behind(-5, -7, -1), is_behind(7, 7, 1)
    (True, True, False, True, False)
    """
    return then is not None and (now is None or (then - now) * increment > 0)


def in_order(parents: Mapping[int, Set[int]]) -> list[tuple[int, ...]]:
    """Tables by number, parents first; those that need each other, in a circle, stand together.

    >>> in_order({1: {2}, 2: set(), 3: {1}})
    [(2,), (1,), (3,)]
    >>> in_order({1: {2}, 2: {1, 3}, 3: {3}, 4: {1}})
    [(3,), (1, 2), (4,)]
    """
    reach: dict[int, set[int]] = {}
    for one in parents:
        seen: set[int] = set()
        ahead = [one]
        while ahead:
            for parent in parents[ahead.pop()]:
                if parent in parents and parent not in seen:
                    seen.add(parent)
                    ahead.append(parent)
        reach[one] = seen
    group_of = {
        one: tuple(sorted({one} | {other for other in reach[one] if one in reach[other]})) for one in sorted(parents)
    }
    sorter: TopologicalSorter[tuple[int, ...]] = TopologicalSorter()
    for one, group in group_of.items():
        sorter.add(
            group, *(group_of[other] for other in parents[one] if other in group_of and group_of[other] != group)
        )
    return list(sorter.static_order())
