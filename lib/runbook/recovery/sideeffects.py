"""What a promotion does besides discarding transactions: unlogged relations are empty, prepared transactions, slots and statistics are lost,
and indexes may follow another collation version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.errors import PlatformError
from runbook.postgres import closure
from runbook.postgres.causes import words_of
from runbook.postgres.connect import Connection, SqlError, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.remaking import find_relations
from runbook.recovery.rowstreams import copied
from runbook.texts import many, visible_line

_KINDS = {"r": "table", "m": "materialized view", "S": "sequence"}
_SHOWN = 20


@dataclass
class SideEffects:
    """`emptied` are (database and relation, kind, rows in words), `collations` (database, collation, version made with, version here)."""

    emptied: list[tuple[str, str, str]] = field(default_factory=list)
    collations: list[tuple[str, str, str, str]] = field(default_factory=list)

    def emptied_words(self) -> list[str]:
        """For a plan and the top of a report.

        >>> SideEffects([("shop: public.cache", "table", "about 1,200 rows")]).emptied_words()
        ['Unlogged table shop: public.cache (about 1,200 rows) is empty after a recovery: its content is in no WAL']
        """
        said = [
            f"Unlogged {kind} {name} ({size}) is {'reset' if kind == 'sequence' else 'empty'} after a recovery: its content is in no WAL"
            for name, kind, size in self.emptied[:_SHOWN]
        ]
        more = len(self.emptied) - _SHOWN
        return [*said, *([f"{more:,} more unlogged relations are empty after a recovery"] if more > 0 else [])]

    def collation_words(self) -> list[str]:
        """One line a database: indexes made with another version may be in another order than this machine sorts."""
        found: dict[str, list[str]] = {}
        for database, name, made, here in self.collations:
            found.setdefault(database, []).append(f"{name} (made with {made}, here {here})")
        return [
            f"Database {database}: {len(names):,} collation{'s have' if len(names) > 1 else ' has'} another version here than when indexes were "
            f"made, first {names[0]}: REINDEX what uses {'them' if len(names) > 1 else 'it'}, then ALTER … REFRESH VERSION."
            for database, names in found.items()
        ]

    def rows(self) -> list[dict[str, str]]:
        """As the table of what comes back has them."""
        return [
            {
                "kind": f"unlogged {kind}",
                "object": name,
                "last": size,
                "now": "empty once promoted",
                "to do": "Fill it again.",
            }
            for name, kind, size in self.emptied
        ]


def unlogged_words(database: str, copy: Connection) -> list[str]:
    """What a copy-back cannot know of this database: nothing of an unlogged table is in WAL, nor in the copy. One line, or none."""
    found = rows(copy, load_sql("recovery/list_emptied_relations").text)
    names = [f"{quote(row['schema'])}.{quote(row['name'])}" for row in found if row["kind"] in ("r", "m")]
    if not names:
        return []
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return [
        f"{database}: unlogged {', '.join(names[:_SHOWN])}{more}: WAL does not say whether the damage took rows of them, and the copy has none "
        "to bring back"
    ]


def read_side_effects(
    open_: Callable[[str], Connection], open_damaged: Callable[[str], Connection] | None = None
) -> tuple[SideEffects, list[str]]:
    """What a promotion of this copy does besides, and what could not be read.

    Args:
        open_: a connection to a database of the copy.
        open_damaged: a reader's connection to a database of the damaged cluster, where unlogged tables still have their rows; None: it
            does not answer.
    """
    found, missed = SideEffects(), list[str]()
    with open_("postgres") as connection:
        databases = [
            row["name"] for row in rows(connection, load_sql("recovery/list_databases").text) if row["is_open"]
        ]
    for database in databases:
        try:
            with open_(database) as connection:
                emptied = rows(connection, load_sql("recovery/list_emptied_relations").text)
                if connection.info.server_version >= 150000:
                    for row in rows(connection, load_sql("recovery/list_collation_versions").text):
                        found.collations.append((database, row["name"], row["made_with"], row["here"]))
        except (PlatformError, SqlError) as problem:
            missed.append(f"unlogged relations and collations of {database}: {str(problem).strip()}")
            continue
        sizes = _count_in_damaged(database, emptied, open_damaged) if emptied else {}
        for row in emptied:
            name = f"{database}: {quote(row['schema'])}.{quote(row['name'])}"
            found.emptied.append((name, _KINDS[row["kind"]], sizes[row["schema"], row["name"]]))
    return found, missed


def _count_in_damaged(
    database: str, emptied: list[dict[str, Any]], open_damaged: Callable[[str], Connection] | None
) -> dict[tuple[str, str], str]:
    """What each of the relations holds in the damaged cluster, in words; where it cannot be counted, the last estimate."""
    listed = [(row["schema"], row["name"]) for row in emptied]
    if open_damaged is None:
        return {
            (row["schema"], row["name"]): f"{_estimate(row)}; the damaged server does not answer" for row in emptied
        }
    try:
        with open_damaged(database) as connection:
            here = find_relations(connection, [(number, *names) for number, names in enumerate(listed)])
            untrusted = closure.untrusted(connection)
            return {
                names: _held(connection, row, here.get(number, (None,))[0], untrusted)
                for number, (names, row) in enumerate(zip(listed, emptied, strict=True))
            }
    except (PlatformError, SqlError) as problem:
        return {
            (row["schema"], row["name"]): f"{_estimate(row)}; not counted: {visible_line(str(problem).strip())}"
            for row in emptied
        }


def _estimate(row: Mapping[str, Any]) -> str:
    """Rows as the last ANALYZE before the point knew them."""
    if row["kind"] == "S":
        return "value not known"
    count = row["estimated_rows"]
    return "rows never counted" if count is None else f"about {many(int(count), 'row')} by the last ANALYZE"


def _held(connection: Connection, row: Mapping[str, Any], oid: int | None, untrusted: Mapping[int, str]) -> str:
    """What the relation holds, read from end to end."""
    if oid is None:
        return "not in the damaged cluster any more"
    name = f"{quote(row['schema'])}.{quote(row['name'])}"
    try:
        if row["kind"] == "S":
            last = one(connection, "SELECT pg_catalog.pg_sequence_last_value($1::oid::regclass) AS value", [oid])[
                "value"
            ]
            return "never used" if last is None else f"last value {last:,} in the damaged cluster"
        if row["kind"] == "r" and oid in untrusted:
            # Planning on it would run a function of the application.
            count = sum(1 for _ in copied(connection, f"COPY {name} TO STDOUT"))
        else:
            only = "ONLY " if row["kind"] == "r" else ""
            count = one(connection, f"SELECT count(*) AS rows FROM {only}{name}")["rows"]
    except SqlError as problem:
        if connection.closed:
            raise
        return f"{_estimate(row)}; not counted: {words_of(problem)}"
    return f"{many(count, 'row')} in the damaged cluster"


#: Not read from anywhere: it is so after each recovery.
_STATISTICS = (
    "Cumulative statistics (pg_stat_*) begin at zero, so autovacuum does not know what was changed: run vacuumdb --all --analyze-in-stages; "
    "the planner's statistics are those of the point"
)


def lost_with_server(connection: Connection | None, kept: datetime | None, discarded: datetime | None) -> list[str]:
    """What the damaged server has that a promoted copy has not: prepared transactions, slots, statistics; for a plan and for limitations.

    Args:
        connection: to the damaged server; None: it does not answer.
        kept, discarded: when the last commit before the point, and the first after it, happened; None: not known.
    """
    if connection is None:
        unknown = "The damaged server does not answer: its prepared transactions and replication slots are not known; all of its slots are lost"
        return [unknown, _STATISTICS]
    said = []
    for row in rows(connection, load_sql("lockdown/list_prepared").text):
        at = clock.stamp(row["since"])
        said.append(
            f"Prepared transaction {row['gid']} of database {row['database']} was prepared at {at}, {_fate(row['since'], kept, discarded)}"
        )
    said += [
        f"Replication slot {row['name']} ({row['value']}) is lost: its consumer must start from a new copy or position"
        for row in rows(connection, load_sql("recovery/list_slots").text)
    ]
    return [visible_line(one_) for one_ in [*said, _STATISTICS]]


def _fate(prepared: datetime, kept: datetime | None, discarded: datetime | None) -> str:
    """What a promotion makes of it, by the commits on either side of the point."""
    if discarded is not None and prepared >= discarded:
        return "after the recovery point: it is lost, and its coordinator will not find it"
    if kept is not None and prepared <= kept:
        return "before the recovery point: it comes back, and holds its locks until it is committed or rolled back"
    return "near the recovery point: whether it comes back or is lost is not known before the promotion"


def discarded_lines(loss: Mapping[str, Any]) -> list[str]:
    """Return what a promotion discards of the others' rows, and of each timeline, from `Loss.facts`. Pure.

    >>> discarded_lines({"tables": {"public.a": {"others": {"inserted": 2, "updated": 0, "deleted": 1, "moved": 0}}}})
    ["Rows of others' transactions that are discarded: 2 inserted, 0 updated, 1 deleted, in 1 table (each is in the loss files)"]
    """
    touched = [table["others"] for table in loss.get("tables", {}).values() if any(table["others"].values())]
    said = []
    if touched:
        inserted, updated, deleted = (
            sum(rows_[word] for rows_ in touched) for word in ("inserted", "updated", "deleted")
        )
        said.append(
            f"Rows of others' transactions that are discarded: {inserted:,} inserted, {updated:,} updated, {deleted:,} deleted, "
            f"in {many(len(touched), 'table')} (each is in the loss files)"
        )
    timelines = loss.get("timelines", [])
    if len(timelines) > 1:
        said += [
            f"Timeline {one_['timeline']} is cut off at {one_['from']}: {many(one_['transactions'], 'transaction')} discarded"
            for one_ in timelines
        ]
    return [*said, *(f"Not counted: {missed}" for missed in loss.get("missed", []))]
