"""The reasons to suspect a transaction: what it did to which table, how many rows that took, and how unusual it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.recovery.filechanges import FileChanges
from runbook.recovery.forensics import WalSearch
from runbook.recovery.relnames import NameBook
from runbook.recovery.transactions import RelFile, Rows, Transaction
from runbook.recovery.walsummary import OTHERS

#: What a table of unknown size counts as.
_UNKNOWN_ROWS = 1000.0
#: An UPDATE leaves the row; a TRUNCATE or DROP leaves nothing that a query could still save.
_UPDATE_WEIGHT, _WHOLE_TABLE_WEIGHT, _DATABASE_WEIGHT = 0.5, 2.0, 1e6
#: A dropped column takes one value of each row along; a rewrite to another type may have lost some; where nobody knows which, even less.
COLUMN_WEIGHTS = {"drop column": 0.5, "alter column": 0.25, "alter table": 0.05}
#: So many times the usual number of rows is wholly unusual.
UNUSUAL = 10.0


@dataclass(frozen=True)
class Lost:
    """Rows of a table that a suspect took, None where nobody counted: by deletion, or with whole relations (their titles)."""

    kind: str
    table: str
    rows: int | None
    relations: tuple[str, ...] = ()


@dataclass
class Part:
    """One reason for suspicion: what was done to one table, by its name at the top (`table`) and in words (`title`,
    with its partitions where several were touched, `within`). `relations` are the titles of each that was dropped or emptied."""

    kind: str
    table: str
    title: str
    rows: int | None
    score: float
    usual: int = 0
    refilled: int = 0
    columns: tuple[str, ...] = ()
    is_exact: bool = False
    within: str = ""
    relations: tuple[str, ...] = ()


def row_parts(one: Transaction, search: WalSearch, names: NameBook) -> list[Part]:
    by_table: dict[str, Rows] = {}
    files: dict[str, list[RelFile]] = {}
    usual: dict[str, tuple[int, int]] = {}
    for file, rows in one.rows.items():
        if not names.holds_user_rows(file) or not (rows.deleted or rows.updated):
            continue
        title = names.table_title(file)
        by_table.setdefault(title, Rows()).add(rows)
        files.setdefault(title, []).append(file)
        totals = search.relations.get(file)
        if totals is not None:
            high = totals.usual_deleted.high(rows.deleted), totals.usual_updated.high(rows.updated)
            known = usual.get(title, (0, 0))
            usual[title] = max(known[0], high[0]), max(known[1], high[1])
    parts = []
    for table, rows in by_table.items():
        deletes, updates = usual.get(table, (0, 0))
        title, within = names.joint_title(files[table]), names.partitions_in(files[table])
        if rows.deleted:
            score = rows.deleted * _unusualness(rows.deleted, deletes)
            parts.append(Part("delete", table, title, rows.deleted, score, deletes, within=within))
        if rows.updated:
            score = _UPDATE_WEIGHT * rows.updated * _unusualness(rows.updated, updates)
            parts.append(Part("update", table, title, rows.updated, score, updates, within=within))
    return parts


def _unusualness(rows: int, usual: int) -> float:
    """1 for ten times the usual number of rows or more, a tenth for the usual one.

    >>> _unusualness(8312, 2), _unusualness(50000, 50000)
    (1.0, 0.1)
    """
    return min(1.0, rows / max(1, usual) / UNUSUAL)


def file_parts(
    one: Transaction, changed: FileChanges, search: WalSearch, names: NameBook, repeats: dict[str, int]
) -> list[Part]:
    found: dict[tuple[str, str], list[RelFile]] = {}
    marked: list[tuple[str, RelFile]] = [("drop", file) for file in changed.dropped]
    marked += [("truncate", file) for file in changed.truncated] + [("replace", file) for file in changed.unclear]
    for kind, file in marked:
        found.setdefault((kind, names.table_title(file)), []).append(file)
    new_of = dict(changed.replaced)
    emptied = one.files.emptied if one.files is not None else set()
    parts = []
    for (kind, table), files in found.items():
        exact = [_rows_in(file, search) for file in files]
        sizes = [
            _estimate_of(file, changed, names) if rows is None else rows
            for file, rows in zip(files, exact, strict=True)
        ]
        rows = None if None in sizes else int(sum(number or 0 for number in sizes))
        # Of a file that was cut to nothing once more nobody can tell which rows came before that.
        into = [new_of.get(file) for file in files]
        refilled = sum(one.rows[new].inserted for new in into if new in one.rows and new not in emptied)
        lost = _UNKNOWN_ROWS if rows is None else max(1, rows - refilled)
        factor = 1 / UNUSUAL if repeats.get(table, 0) > 2 else 1.0
        weight = _WHOLE_TABLE_WEIGHT if kind != "replace" else 1.0
        score = lost * weight * factor
        parts.append(
            Part(
                kind,
                table,
                names.joint_title(files),
                rows,
                score,
                refilled=refilled,
                is_exact=None not in exact,
                within=names.partitions_in(files),
                relations=tuple(dict.fromkeys(map(names.title, files))),
            )
        )
    parts += _column_parts(changed, names)
    for database in changed.databases:
        parts.append(Part("drop database", "", names.database(database), None, _DATABASE_WEIGHT))
    return parts


def _rows_in(file: RelFile, search: WalSearch) -> int | None:
    """The rows of a file that was made empty in the WAL that was read, as its transactions left them; None for others."""
    if file not in search.names.made or OTHERS in search.relations:
        return None
    totals = search.relations.get(file)
    return max(0, totals.rows.inserted - totals.rows.deleted - totals.rows.moved) if totals is not None else 0


def _estimate_of(file: RelFile, changed: FileChanges, names: NameBook) -> float | None:
    """As the catalog estimated just before the transaction; else as a catalog did that was read."""
    if changed.sizes.get(file) is not None:
        return changed.sizes[file]
    known = names.find(file)
    return known.estimated_rows if known is not None else None


def _column_parts(changed: FileChanges, names: NameBook) -> list[Part]:
    found: dict[tuple[str, str], Part] = {}
    for known, columns in changed.columns:
        title = names.title_of(names.find_oid(known.database, known.root_oid or known.oid) or known)
        dropped = tuple(f"number {one.number}" for one in columns if one.is_dropped)
        others = tuple(one.name for one in columns if not one.is_dropped)
        kinds = {"drop column": dropped, "alter column": others} if columns else {"alter table": ()}
        for kind, listed in kinds.items():
            if listed or not columns:
                part = found.setdefault((kind, title), Part(kind, title, title, 0, 0.0, columns=listed))
                rows = known.estimated_rows
                part.rows = None if rows is None or part.rows is None else part.rows + int(rows)
                part.score += max(1.0, _UNKNOWN_ROWS if rows is None else rows) * COLUMN_WEIGHTS[kind]
    return list(found.values())
