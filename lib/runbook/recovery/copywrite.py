"""Staged rows written to production's tables: what triggers, constraints and other transactions say to it, counts."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.postgres.connect import Connection, one, quote
from runbook.recovery.copybackplan import KEPT_OUT, NOT_SET_BACK
from runbook.recovery.copystage import Staged
from runbook.recovery.tablelinks import in_order, read_sequences


def insert_order(staged: Sequence[Staged]) -> list[list[Staged]]:
    """The tables, parents first; those whose foreign keys go in a circle together."""
    numbers = {(one.now.schema, one.now.name): one.number for one in staged}
    numbers |= {one.root: one.number for one in staged if one.root is not None and one.root not in numbers}
    parents = {
        one.number: {
            numbers[link.parent_schema, link.parent_name]
            for link in one.foreigns
            if (link.parent_schema, link.parent_name) in numbers
        }
        for one in staged
    }
    by_number = {one.number: one for one in staged}
    return [[by_number[number] for number in group] for group in in_order(parents)]


def insert_rows(production: Connection, group: Sequence[Staged]) -> None:
    """The group's rows are in their tables. In one statement: foreign keys are looked at when it ends, so rows may need each other.

    Raises:
        SqlError: a constraint or a trigger refuses.
    """
    parts = [f"i{table.number} AS ({_insert(table)} RETURNING 1)" for table in group]
    counts = ", ".join(f"(SELECT count(*) FROM i{table.number}) AS i{table.number}" for table in group)
    inserted = one(production, f"WITH {', '.join(parts)} SELECT {counts}")
    for table in group:
        if table.key is None and not table.report.is_made_again:
            planned = one(
                production, f"SELECT count(*) AS number FROM {table.table} WHERE what = 'i' AND reason IS NULL"
            )["number"]
            missing = planned - inserted[f"i{table.number}"]
            if missing:
                # Which ones cannot be told without a key.
                table.execute(
                    f"UPDATE {table.table} SET reason = $1 WHERE n IN "
                    f"(SELECT n FROM {table.table} WHERE what = 'i' AND reason IS NULL ORDER BY n DESC LIMIT $2)",
                    [KEPT_OUT, missing],
                )


def _insert(table: Staged) -> str:
    names = [name for name in table.columns if name not in table.now.generated]
    into = ", ".join(map(quote, names))
    cells = ", ".join(map(table.cell, names))
    if not names:
        return f"INSERT INTO {_target(table)} SELECT FROM {table.table} WHERE what = 'i' AND reason IS NULL"
    # A deferrable key cannot be asked ahead of an insert.
    clause = "" if any(unique.is_deferrable for unique in table.uniques) else " ON CONFLICT DO NOTHING"
    return (
        f"INSERT INTO {_target(table)} ({into}) OVERRIDING SYSTEM VALUE SELECT {cells} FROM {table.table} "
        f"WHERE what = 'i' AND reason IS NULL ORDER BY n{clause}"
    )


def _target(table: Staged) -> str:
    return f"{quote(table.now.schema)}.{quote(table.now.name)}"


def set_rows_back(table: Staged) -> None:
    """Rows that the damage changed have their old values again, in the columns that it changed.

    Raises:
        SqlError: a constraint or a trigger refuses.
    """
    if table.key is None:
        return
    wanted = "b.what = 'u' AND b.reason IS NULL"
    candidates = [
        name
        for name in table.columns
        if name not in table.now.generated and name not in table.now.always and name not in table.now.key
    ]
    if not candidates:
        return
    differing = ", ".join(
        f"coalesce(bool_or(t.{quote(name)}::text IS DISTINCT FROM b.{table.cell(name)}::text), false) AS {table.cell(name)}"
        for name in candidates
    )
    differs = one(
        table.production,
        f"SELECT {differing} FROM {table.table} AS b JOIN {table.now.source} ON {table.same_key()} WHERE {wanted}",
    )
    changed = [name for name in candidates if differs[table.cell(name)]]
    if not changed:
        return
    # A partitioned table is updated with its partitions, another one without its heirs.
    sets = ", ".join(f"{quote(name)} = b.{table.cell(name)}" for name in changed)
    table.execute(
        f"UPDATE {table.now.source} SET {sets} FROM {table.table} AS b WHERE {wanted} AND {table.same_key()} AND t.xmin = b.writer"
    )


def look_again(table: Staged) -> None:
    """Rows that did not get in have a reason; rows that are not as they were are in the notes."""
    if table.key is None:
        return
    ours = f"SELECT FROM {table.now.source} WHERE {table.same_key()} AND t.xmin = (SELECT pg_catalog.pg_current_xact_id()::xid)"
    for what, reason in (("i", KEPT_OUT), ("u", NOT_SET_BACK)):
        table.execute(
            f"UPDATE {table.table} AS b SET reason = $1 WHERE b.what = $2 AND b.reason IS NULL AND NOT EXISTS ({ours})",
            [reason, what],
        )
    altered = one(
        table.production,
        f"SELECT count(*) AS number FROM {table.table} AS b JOIN {table.now.source} ON {table.same_key()} "
        f"WHERE b.what <> 'o' AND b.reason IS NULL AND NOT ({table.same_content()})",
    )["number"]
    if altered:
        table.report.notes.append(
            f"{altered:,} rows are not quite as they were: a trigger changed them on their way in"
        )


def raise_sequences(table: Staged, restored: Connection) -> None:
    """The table's sequences are not behind those of the restored copy. Like every use of a sequence it is not rolled back."""
    then = {sequence.column: sequence for sequence in read_sequences(restored, table.then.oid)}
    for now in read_sequences(table.production, table.now.oid):
        was = then.get(now.column)
        if was is None or was.last_value is None:
            continue
        is_behind = now.last_value is None or (was.last_value - now.last_value) * now.increment > 0
        if is_behind:
            sequence = f"{quote(now.schema)}.{quote(now.name)}"
            table.execute("SELECT pg_catalog.setval($1::regclass, $2)", [sequence, was.last_value])
            table.report.notes.append(f"sequence {now.name} set to {was.last_value:,}, as it was")
