"""The rows that the damage deleted, emptied away or changed, read from the restored copy by the very places they have there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from runbook.postgres.connect import Connection, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.copybackplan import OLDER, UNKNOWN
from runbook.recovery.deletions import FileKey, RowFates
from runbook.recovery.loss import Loss, TableLoss
from runbook.recovery.rowstreams import Row, batches, copy_rows


@dataclass(frozen=True)
class Relation:
    """A table, a partitioned table or a partition of the restored copy. `file` is None for a partitioned one."""

    oid: int
    schema: str
    name: str
    kind: str
    file: FileKey | None
    parent_oid: int | None

    @property
    def title(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"


class LostRow(NamedTuple):
    """`what` is "i" to be inserted, "u" to be set back, "o" deleted by others (for tables without a key). `reason` speaks against it."""

    what: str
    place: str
    reason: str | None
    cells: Row


def read_tree(connection: Connection, oid: int, database: int) -> list[Relation]:
    """The table and all its partitions, from the top down."""
    file = load_sql("recovery/list_table_tree")
    return [
        Relation(
            row["oid"],
            row["schema"],
            row["name"],
            row["kind"],
            (database, row["number"]) if row["kind"] == "r" and row["number"] is not None else None,
            row["parent_oid"],
        )
        for row in rows(connection, file.text, file.values({"oid": oid}))
    ]


def is_emptied(relation: Relation, loss: Loss) -> bool:
    """True when the damage took the relation's file away: a TRUNCATE, a DROP (or a rewrite, after which its rows are there)."""
    return relation.file is not None and any(
        (file.database, file.number) == relation.file for file in loss.removed_by_damage
    )


def lost_rows(
    connection: Connection,
    relations: list[Relation],
    columns: list[str],
    loss: Loss,
    table: TableLoss,
    fates: RowFates | None,
    *,
    is_made_again: bool,
) -> Iterator[LostRow]:
    """What the damage took from these relations, streamed.

    Args:
        connection: to the restored copy, in a snapshot; busy until the last row.
        columns: which, in this order.
        fates: None when there was too much to follow.
        is_made_again: they were dropped: all their rows are read.
    """
    cells = "".join(f", t.{quote(name)}" for name in columns)
    for relation in relations:
        if relation.file is None:
            continue
        query = f"SELECT t.ctid::text{cells} FROM ONLY {relation.title} AS t"
        if is_made_again or is_emptied(relation, loss):
            yield from _whole(connection, query, relation.file, table, fates)
        elif fates is not None:
            for part in batches(fates.touched(relation.file)):
                known = dict(part)
                listed = "{" + ",".join(f'"{ctid}"' for ctid in known) + "}"
                for row in copy_rows(connection, f"{query} WHERE t.ctid = ANY ('{listed}'::tid[])"):
                    yield _judged(row, known[row[0] or ""])


def _judged(row: Row, fate: str | None) -> LostRow:
    what = {"updated": "u", "other": "o"}.get(fate or "", "i")
    return LostRow(what, row[0] or "", OLDER if fate in ("older", "changed", "moved") else None, row[1:])


def _whole(
    connection: Connection, query: str, file: FileKey, table: TableLoss, fates: RowFates | None
) -> Iterator[LostRow]:
    others = table.others
    is_unclear = fates is None and bool(others.deleted or others.moved or others.updated)
    for row in copy_rows(connection, query):
        found = _judged(row, fates.of(file, row[0] or "") if fates is not None else None)
        if (
            found.what == "u"
        ):  # changed by the damage before it was emptied away: as it was at the target, it comes back
            found = found._replace(what="i")
        yield found._replace(reason=UNKNOWN) if is_unclear else found
