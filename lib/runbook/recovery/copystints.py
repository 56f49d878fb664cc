"""Who writes which tables: with whose rights rows get in, and in how many transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from runbook.postgres.connect import Connection, one, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.copybackplan import KEPT_OUT, NOT_SET_BACK, WRITTEN
from runbook.recovery.copystage import Staged
from runbook.recovery.copywrite import REFUSED, TOGETHER, insert_order
from runbook.recovery.tablelinks import behind, read_sequences
from runbook.recovery.tabletriggers import read_triggers, why_not_left_out
from runbook.recovery.writers import Task, quoted
from runbook.texts import many, visible_line

#: With whose rights, as find_writing_rights.sql says.
Rights = dict[str, Any]


#: More refused rows than these are not tried once more.
_MOST_AGAIN = 10_000
_WAS_REFUSED = f"(reason LIKE '{REFUSED}: %' OR reason LIKE '{TOGETHER}: %')"


@dataclass(frozen=True)
class Stint:
    """Tables that one role writes, in one transaction. `owner` is None for those that are made again."""

    name: str
    owner: str | None
    is_powerful: bool
    groups: tuple[tuple[Staged, ...], ...]

    @property
    def tables(self) -> list[Staged]:
        return [table for group in self.groups for table in group]

    @property
    def fires(self) -> bool:
        """True where a trigger may fire."""
        reports = [table.report for table in self.tables]
        return any(one_.fires and one_.name not in report.left_out for report in reports for one_ in report.triggers)


def note_rights(staged: Staged, reader: Connection, database: str) -> Rights:
    """With whose rights the table's rows would get in; what stands against that is its problem, what is to be known is in its notes."""
    file = load_sql("recovery/find_writing_rights")
    rights = one(reader, file.text, file.values({"oid": staged.now.oid}))
    report, owner = staged.report, rights["owner"]
    if staged.now.untrusted is not None:
        report.notes.append(
            f"planning on it would run {staged.now.untrusted}: it is read by COPY from end to end, which takes longer"
        )
    staged.has_policies = rights["has_policies"] and (rights["is_forced"] or rights["is_powerful"])
    if staged.has_policies:
        report.notes.append("row-level security holds for these rows as it does for the application")
    if rights["is_powerful"]:
        report.notes.append(f"owner {owner} has more rights than tables: rows are written with INSERT and UPDATE alone")
        return rights
    wanted = {"INSERT": "can_insert", "SELECT": "can_select"}
    wanted |= {"UPDATE": "can_update"} if report.loss.damage.updated else {}
    lacking = [word for word, name in wanted.items() if not rights[name]]
    if lacking:
        report.problem = (
            f"its owner {owner} has no {' and no '.join(lacking)} on it: GRANT it to the owner, then plan again"
        )
    else:
        report.notes.append(f"rows are written with the rights of its owner {owner}")
    if report.problem is None and not rights["can_stage"]:
        report.problem = f"its owner {owner} may not enter its schema, or make temporary tables in {database}"
    return rights


def note_triggers(staged: Staged, reader: Connection, rights: Rights, leave_out: Collection[str]) -> None:
    """Note what fires when the table's rows are written, and what of it is left out.

    Args:
        leave_out: tables (`TableCopy.key`) and single triggers (`trigger_key`) whose triggers are not to fire.
    """
    report = staged.report
    report.triggers = read_triggers(reader, staged.now.oid)
    report.must_fire = why_not_left_out(report.triggers, rights["owner"], rights["is_powerful"])
    wanted = {
        one.name
        for one in report.triggers
        if one.fires and (report.key in leave_out or trigger_key(report.key, one.name) in leave_out)
    }
    if wanted and report.must_fire:
        report.problem = f"its triggers were to be left out, and cannot be: {report.must_fire}"
    report.left_out = frozenset(wanted)
    # An approved plan is for these triggers, as they are.
    report.shape = hashlib.sha256(f"{report.shape} {report.triggers} {sorted(wanted)}".encode()).hexdigest()[:16]


def trigger_key(table: str, name: str) -> str:
    """Return how an answer names one trigger of a table."""
    return visible_line(f"{table} trigger {name}")


def note_sequences(staged: Staged, restored: Connection, production: Connection) -> None:
    """Note which of the table's own sequences are behind the restored copy: they are set forward with its rows."""
    for now, then in behind(read_sequences(production, staged.now.oid), read_sequences(restored, staged.then.oid)):
        last = "never used" if now.last_value is None else f"at {now.last_value:,}"
        staged.report.sequences.append((now.schema, now.name))
        staged.report.notes.append(
            f"sequence {now.name} is {last} in production and at {then.last_value:,} in the copy: it is set forward to that with the rows"
        )


def note_missing(staged: Staged) -> None:
    """Note rows that the damage deleted and that the restored copy does not have."""
    report = staged.report
    missing = report.loss.damage.deleted - staged.ledger.count(staged.number, "what = 'i'")
    if missing > 0 and not report.is_made_again:
        report.warn(
            f"{many(missing, 'row')} that the damage deleted: not in the restored copy, since made after the recovery target or deleted "
            "and inserted more than once"
        )


def find_stints(
    database: str, staged: Sequence[Staged], rights: Mapping[int, Rights], is_making_again: bool
) -> list[Stint]:
    """Return who writes what, in which order: parents first, and last what is made again.

    Tables of several owners that need each other's rows are left alone: no role may write both.
    """
    order = insert_order([table for table in staged if not table.report.is_made_again])
    found: list[tuple[str | None, bool, list[tuple[Staged, ...]]]] = []
    for group in order:
        owners = {rights[table.number]["owner"] for table in group}
        if len(owners) > 1:
            for table in group:
                table.report.problem = "it and tables of another owner need each other's rows: no role may write both"
                table.report.insert = table.report.set_back = 0
            continue
        one_of = rights[group[0].number]
        if not found or found[-1][0] != one_of["owner"]:
            found.append((one_of["owner"], one_of["is_powerful"], []))
        found[-1][2].append(tuple(group))
    again = insert_order([table for table in staged if table.report.is_made_again])
    if again or is_making_again:
        found.append((None, False, [tuple(group) for group in again]))
    return [
        Stint(f"{database} ({number})" if number > 1 else database, owner, is_powerful, tuple(groups))
        for number, (owner, is_powerful, groups) in enumerate(found, 1)
    ]


def task_of(database: str, stint: Stint, reader: Connection) -> Task:
    """Return what the stint's writer is for."""
    assert stint.owner is not None
    tables = [(table.now.schema, table.now.name) for table in stint.tables]
    sequences = [(one_.schema, one_.name) for table in stint.tables for one_ in read_sequences(reader, table.now.oid)]
    schemas = sorted({quote(schema) for schema, _ in [*tables, *sequences]})
    return Task(database, stint.owner, stint.is_powerful, tuple(schemas), quoted(tables), quoted(sequences))


def note_written_beside(stint: Stint, staged: Sequence[Staged], connection: Connection) -> None:
    """Tables that triggers have written to in this transaction, and that are not counted row by row, are warnings.

    Args:
        staged: all tables that are.
        connection: the writer's, before its COMMIT.
    """
    known = {table.now.oid for table in staged}
    written = rows(connection, load_sql("recovery/list_written_tables").text)
    report = stint.tables[0].report
    if stint.fires and not all(row["is_counted"] for row in written):
        report.warn("what its triggers wrote to other tables is not known: track_counts is off in production")
    for row in written:
        said = [f"{row[what]:,} {what}" for what in ("inserted", "updated", "deleted") if row[what]]
        if said and row["oid"] not in known:
            report.warn(
                f"triggers wrote to {visible_line(row['name'])} in the same transaction, rows: {', '.join(said)}"
            )


def note_done(stint: Stint) -> None:
    """Note of a stint that an attempt before this one has committed: rows that are not there were refused, and why is not known any more."""
    for staged in stint.tables:
        for page in staged.ledger.pages(staged.number, "what <> 'o' AND reason IS NULL"):
            reasons = [(row.n, KEPT_OUT if row.what == "i" else NOT_SET_BACK) for row in page]
            staged.ledger.speak(staged.number, reasons)
        staged.fill_report()
    if stint.fires:
        stint.tables[0].report.warn(
            "what triggers wrote to other tables is not known: the attempt that copied it back was cut short"
        )


@contextmanager
def once_more(stint: Stint) -> Iterator[Stint | None]:
    """The rows that were refused while tables were missing that are made again by now, as a stint of their own; None: there are none.

    What is in already is apart meanwhile. A table without a key is left as it is: which of its rows are in, is not known one by one.
    """
    again = replace(
        stint,
        name=f"{stint.name}, refused rows",
        groups=tuple(group for group in stint.groups if all(table.key is not None for table in group)),
    )
    refused = {table.number: table.ledger.count(table.number, _WAS_REFUSED) for table in stint.tables}
    tables = again.tables if sum(refused.values()) <= _MOST_AGAIN else []
    for table in stint.tables:
        if refused[table.number] and table not in tables:
            table.report.warn("rows that were refused were not tried again after what was dropped had been made again")
    if not any(refused[table.number] for table in tables):
        yield None
        return
    for table in tables:
        number = table.number
        table.ledger.do(
            "UPDATE row SET reason = ?, found = 2 WHERE t = ? AND what <> 'o' AND reason IS NULL", [(WRITTEN, number)]
        )
        table.ledger.do(f"UPDATE row SET reason = NULL WHERE t = ? AND {_WAS_REFUSED}", [(number,)])
    yield again
    for table in tables:
        table.ledger.do("UPDATE row SET reason = NULL WHERE t = ? AND found = 2", [(table.number,)])
        table.fill_report()
