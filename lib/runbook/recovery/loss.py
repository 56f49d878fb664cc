"""What a recovery discards: the transactions behind the target, their rows by table, the damage's own apart from the others'.

Counted from WAL, so from before anything is restored; the rows themselves are in `lossrows`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import Commit, Timeline, format_lsn
from runbook.recovery.catalogrows import NAMING
from runbook.recovery.filechanges import classify
from runbook.recovery.forensics import WalSearch, search_wal
from runbook.recovery.relnames import NameBook, RelationName, quoted
from runbook.recovery.transactions import RelFile, Rows, Transaction
from runbook.recovery.walcatalog import Seed

#: A column's fate: its values were rewritten to another definition of it.
COLUMN_CHANGED = "rewritten with another definition"
#: How fates of columns begin.
COLUMNS = ("column ", "its columns ")


@dataclass
class TableLoss:
    """One table: rows that the others' transactions changed, and those of the damage. `fates` are whole-table changes in words,
    such as "truncated by transaction 812 (damage)". `name` is None where nobody knows whose `file` it was."""

    title: str
    name: RelationName | None
    others: Rows = field(default_factory=Rows)
    damage: Rows = field(default_factory=Rows)
    fates: list[str] = field(default_factory=list)
    file: RelFile | None = None

    @property
    def is_damaged(self) -> bool:
        """True when the damage changed its rows or its whole."""
        return bool(self.damage) or any("(damage)" in said for said in self.fates)

    @property
    def may_lack_rows(self) -> bool:
        """True when rows may be gone from the table: then it takes a comparison of all of them to find which."""
        both = (self.others, self.damage)
        return bool(self.fates) or any(rows.deleted or rows.moved for rows in both)


class Xids:
    """Transaction ids, 32 bits as WAL and xmin have them, in little memory."""

    def __init__(self, xids: Iterable[int]) -> None:
        self._sorted = array("I", sorted(xid & 0xFFFFFFFF for xid in xids))

    def __contains__(self, xid: object) -> bool:
        place = bisect_left(self._sorted, xid) if isinstance(xid, int) else len(self._sorted)
        return place < len(self._sorted) and self._sorted[place] == xid

    def __len__(self) -> int:
        return len(self._sorted)

    def literal(self) -> str:
        """As an SQL array's text."""
        return "{" + ",".join(map(str, self._sorted)) + "}"


@dataclass
class Loss:
    """What lies behind `gate` and is discarded. `transactions`, `first` and `last` are the others'; `damage` is counted apart.

    `xids` and `damage_xids` have subtransactions too. `timeline` is the line that it was counted on, production's; `elsewhere` what the
    point cuts off of other lines, and `uncounted` why that of some is not known.
    """

    gate: int
    reached: int
    transactions: int
    first: Commit | None
    last: Commit | None
    damage: tuple[Transaction, ...]
    tables: dict[str, TableLoss]
    xids: Xids
    damage_xids: Xids
    search: WalSearch
    timeline: int = 1
    elsewhere: tuple[Loss, ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[Loss, ...]:
        """Itself, and what was counted on other lines."""
        return (self, *self.elsewhere)

    def unnamed(self) -> list[TableLoss]:
        """The relations whose names nobody knows."""
        return [table for line in self.lines for table in line.tables.values() if table.name is None]

    def name_again(self, names: NameBook, copied: Iterable[RelationName] = ()) -> None:
        """What had no name has the one that is known by now; on another line, which may use the same numbers, only as the copy has it.

        Args:
            copied: the names in the copy at the point.
        """
        shared = NameBook()
        shared.add(copied)
        for line in self.lines:
            if line.gate < self.gate:
                continue  # it parted before the point: what the copy has there may be another relation
            book = names if line is self else shared
            for title, table in list(line.tables.items()):
                known = book.table(table.file) if table.name is None and table.file is not None else None
                if known is None:
                    continue
                del line.tables[title]
                title = book.title_of(known)
                into = line.tables.setdefault(title, TableLoss(title, known, file=table.file))
                into.others.add(table.others)
                into.damage.add(table.damage)
                into.fates += [said for said in table.fates if said not in into.fates]

    @property
    def removed_by_damage(self) -> frozenset[RelFile]:
        """Files that the damage's commits took away: of what it truncated, dropped or rewrote."""
        return frozenset(file for one in self.damage if one.files is not None for file in one.files.removed)

    @property
    def damage_files(self) -> frozenset[RelFile]:
        """Files whose rows the damage changed or took away."""
        return self.removed_by_damage | frozenset(file for one in self.damage for file in one.rows)

    @property
    def rows(self) -> Rows:
        """Of the others, in all tables together."""
        total = Rows()
        for table in self.tables.values():
            total.add(table.others)
        return total

    def facts(self) -> dict[str, Any]:
        """For the journal and the manifest."""
        ends = [(one.first, one.last) for one in self.lines if one.first is not None and one.last is not None]
        return {
            "from": format_lsn(self.gate),
            "to": format_lsn(self.reached),
            "transactions": sum(one.transactions for one in self.lines),
            "first": _commit_facts(min((first for first, _ in ends), key=lambda one: one.at, default=None)),
            "last": _commit_facts(max((last for _, last in ends), key=lambda one: one.at, default=None)),
            "damage transactions": [_commit_facts(one.commit) for one in self.damage],
            "tables": {
                title: {"others": rows_facts(table.others), "damage": rows_facts(table.damage), "fates": table.fates}
                for title, table in self._titled()
            },
            "timelines": [
                {
                    "timeline": one.timeline,
                    "from": format_lsn(one.gate),
                    "to": format_lsn(one.reached),
                    "transactions": one.transactions,
                }
                for one in self.lines
            ],
            "missed": list(self.uncounted),
        }

    def _titled(self) -> list[tuple[str, TableLoss]]:
        """The tables; those of other lines with their timeline."""
        found = list(self.tables.items())
        for line in self.elsewhere:
            found += [(f"{title} (timeline {line.timeline})", table) for title, table in line.tables.items()]
        return found

    def table_rows(self) -> list[dict[str, Any]]:
        """One dict a table, for report.table: the others' rows by operation, and the damage's."""
        return [
            {
                "table": title,
                "inserted": table.others.inserted,
                "updated": table.others.updated,
                "deleted": table.others.deleted,
                "by the damage": _damage_words(table),
            }
            for title, table in sorted(self._titled())
        ]


def _damage_words(table: TableLoss) -> str:
    rows = table.damage
    said = [f"{number:,} {word}" for word, number in rows_facts(rows).items() if number]
    return "; ".join([*table.fates, *said]) or "nothing"


def rows_facts(rows: Rows) -> dict[str, int]:
    """The counts by operation."""
    return {"inserted": rows.inserted, "updated": rows.updated, "deleted": rows.deleted, "moved": rows.moved}


def _commit_facts(commit: Commit | None) -> dict[str, Any] | None:
    return {"xid": commit.xid, "lsn": format_lsn(commit.lsn), "at": clock.stamp(commit.at)} if commit else None


def count_loss(
    source: Stage | Path,
    lineage: tuple[Timeline, ...],
    tools: Tools,
    *,
    start: int,
    gate: int,
    end: int | None,
    names: NameBook,
    damage: frozenset[int] = frozenset(),
    seed: Seed | None = None,
    progress: Callable[[int], None] = lambda position: None,
    timeout: float = 6 * 3600,
) -> Loss:
    """The transactions that committed at `gate` or later are counted, by table.

    Args:
        source, lineage, tools, end, seed, progress, timeout: as `search_wal`.
        start: a position at which no transaction ran that commits behind the gate: the base backup's start.
        names: those that WAL tells are added to it.
        damage: xids of the destructive transactions.

    Raises:
        WalDamaged, CommandTimedOut.
    """
    search = search_wal(
        source,
        lineage,
        tools,
        start,
        end,
        progress,
        count_from=gate,
        apart=damage,
        keeps_xids=True,
        catalogs=names.catalogs(NAMING),
        seed=seed,
        timeout=timeout,
    )
    tables: dict[str, TableLoss] = {}

    def table_of(file: RelFile) -> TableLoss:
        title = names.table_title(file)
        return tables.setdefault(title, TableLoss(title, names.table(file), file=file))

    names.add_wal(search.names)

    apart = tuple(sorted(search.apart.values(), key=lambda one: one.commit.lsn))
    by_position = sorted([*search.file_changes, *apart], key=lambda one: one.commit.lsn)
    for one in {one.xid: one for one in by_position}.values():
        if one.files is not None:
            _note_fates(one, names, table_of, is_damage=one.xid in search.apart)
    for file, totals in search.relations.items():
        if totals.rows and names.holds_user_rows(file):
            table_of(file).others.add(totals.rows)
    for one in apart:
        for file, rows in one.rows.items():
            if rows and names.holds_user_rows(file):
                table_of(file).damage.add(rows)
    assert search.xids is not None
    return Loss(
        gate=gate,
        reached=search.reached,
        transactions=search.commits,
        first=search.first,
        last=search.last_counted,
        damage=apart,
        tables=tables,
        xids=Xids(search.xids),
        damage_xids=Xids(search.apart_xids),
        search=search,
        timeline=lineage[-1].number,
    )


def _note_fates(
    one: Transaction, names: NameBook, table_of: Callable[[RelFile], TableLoss], *, is_damage: bool
) -> None:
    changed = classify(one, names)
    whose = "damage" if is_damage else "another transaction"
    for verb, files in (
        ("dropped", changed.dropped),
        ("truncated", changed.truncated),
        ("emptied or replaced", changed.unclear),
    ):
        for file in files:
            known = names.find(file)
            part = f"its partition {quoted(known.name)} " if known is not None and known.root_oid is not None else ""
            said = f"{part}{verb} by transaction {one.xid} ({whose})"
            fates = table_of(file).fates
            if said not in fates:
                fates.append(said)
    for known, columns in changed.columns:
        if known.file is None:
            continue
        what = ", ".join(f"column {'number ' + str(one.number) if one.is_dropped else one.name}" for one in columns)
        verb = "dropped" if any(one.is_dropped for one in columns) else COLUMN_CHANGED
        said = f"{what or 'its columns or defaults'} {verb} by transaction {one.xid} ({whose})"
        fates = table_of(known.file).fates
        if said not in fates:
            fates.append(said)
