"""What copying back would do, or has done, table by table: rows that come back, rows that are set back, and conflicts with their reasons.

Nothing in a conflict is overwritten. It is listed with the row's key and the reason; no other value of the row is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runbook.errors import OperatorError
from runbook.recovery.loss import TableLoss, rows_facts
from runbook.recovery.tabletriggers import Trigger, trigger_lines
from runbook.recovery.takenplan import TakenObject
from runbook.texts import visible_line

#: So many conflicts of a table are listed one by one; all of them are counted.
LISTED = 100_000

PRESENT = "there already, as it was"
#: Of a row that this run wrote in an attempt before: the account says whether it is as it was.
WRITTEN = "written by an attempt of this run before"
#: Damage that belongs to no table that is known.
NAMELESS = "nobody knows which table this was"
EXISTS = "a row with this key is there again"
CHANGED = "another transaction has changed it since"
GONE = "the damage changed it, and it is not there under its key: its key was changed, or it was deleted since"
OLDER = "another transaction had changed it after the recovery target: the restored copy has an older version"
UNKNOWN = "others deleted or changed rows of this table too, and whose this one is cannot be told"
NO_KEY = "the table has no key: a row that the damage changed cannot be found again"
SAME_CONTENT = "as many rows with this content are there as before the damage"
KEPT_OUT = (
    "it did not get in: made by another transaction at that moment, or kept out or given another key by a trigger"
)
NOT_SET_BACK = "it was not set back: changed by another transaction at that moment, or kept by a trigger"


_SIGNED = ("database", "table", "is_made_again", "insert", "set_back", "shape", "problem")


@dataclass(frozen=True)
class Conflict:
    """A row that is left as it is. `key` is its key's columns and values; without a key its `place` in the restored copy tells it."""

    table: str
    key: dict[str, str | None]
    place: str
    reason: str


@dataclass
class TableCopy:
    """One table. `insert` and `set_back` are numbers of rows (to be, or that were); `present` rows are there already, as they were.

    `reasons` counts the conflicts. `shape` changes when the table's columns, keys or foreign keys do. A table with a `problem` is left
    alone.
    """

    database: str
    table: str
    loss: TableLoss
    is_made_again: bool = False
    insert: int = 0
    set_back: int = 0
    present: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problem: str | None = None
    shape: str = ""
    #: What an INSERT or UPDATE may fire; the names of those that are left out; why none can be.
    triggers: tuple[Trigger, ...] = ()
    left_out: frozenset[str] = frozenset()
    must_fire: str | None = None
    #: Rows that were written and say something else than the copy, by column.
    altered: dict[str, int] = field(default_factory=dict)
    #: Its own sequences, by schema and name, that are set forward with its rows.
    sequences: list[tuple[str, str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The table with its database, as plans and answers name it."""
        return visible_line(f"{self.database}: {self.table}")

    def trigger_lines(self) -> list[str]:
        """What fires, is left out, or does not fire when its rows are written; a line a trigger."""
        insert, update = bool(self.insert), bool(self.set_back)
        found = trigger_lines(self.triggers, self.left_out, insert=insert, update=update)
        if self.must_fire and any(line.startswith("fires") for line in found):
            found.append(f"none can be left out: {self.must_fire}")
        return found

    def warn(self, said: str) -> None:
        """A note that must not stand in a table alone: what is not as it was."""
        self.notes.append(said)
        self.warnings.append(f"{self.table}: {said}")

    @property
    def conflicting(self) -> int:
        """Rows in conflict, also those that are not listed."""
        return sum(self.reasons.values())

    def facts(self) -> dict[str, Any]:
        """What is to be done, without numbers that change while production lives on."""
        return {
            "table": self.table,
            "make again": self.is_made_again,
            "the damage's rows": rows_facts(self.loss.damage),
            "fates": [said for said in self.loss.fates if "(damage)" in said],
            "shape": self.shape,
            "left alone": self.problem,
        }


@dataclass
class CopyBackPlan:
    """All tables of all databases, as planned or as done. `xids` are the transactions by database, once they were begun. `left` is damage
    that copying back does not repair, `limits` what else is to be known first, `notes` the rest."""

    tables: list[TableCopy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    xids: dict[str, int] = field(default_factory=dict)
    #: What the damage took besides rows and tables: keys, views, policies, grants …
    objects: list[TakenObject] = field(default_factory=list)

    @property
    def objects_left(self) -> list[str]:
        """Objects that the damage took and that are not made again."""
        return [one.words for one in self.objects if one.is_left]

    @property
    def objects_unclear(self) -> list[str]:
        """Objects that differ from the restored copy and are left as they are: nobody knows whose change it is, or the damage made them."""
        return [one.words for one in self.objects if one.why and not one.is_left]

    @property
    def objects_unknown(self) -> list[str]:
        """Those of them that the damage may have taken."""
        return [one.words for one in self.objects if one.is_unknown]

    @property
    def objects_made(self) -> list[str]:
        """Objects that are made again."""
        return [one.words for one in self.objects if not one.why]

    @property
    def insert(self) -> int:
        return sum(table.insert for table in self.tables)

    @property
    def set_back(self) -> int:
        return sum(table.set_back for table in self.tables)

    @property
    def conflicting(self) -> int:
        return sum(table.conflicting for table in self.tables)

    @property
    def problems(self) -> list[str]:
        """Tables that are left alone, and why."""
        return [f"{table.table}: {table.problem}" for table in self.tables if table.problem]

    @property
    def unrepaired(self) -> list[str]:
        """Damage that stays for want of a way: tables left alone, what has no name, tables of which nothing comes back."""
        nothing = [
            f"{table.table}: none of the rows that the damage took is back, {table.conflicting:,} in conflict"
            for table in self.tables
            if table.conflicting and not table.problem and not (table.insert or table.set_back or table.present)
        ]
        is_empty = not self.tables and not self.left and not self.objects
        return [
            *self.problems,
            *self.left,
            *self.objects_left,
            *nothing,
            *(["nothing that the damage did was found to be copied back"] if is_empty else []),
        ]

    @property
    def why_empty(self) -> str | None:
        """Why nothing would be restored; None: something would."""
        if any(table.is_made_again or table.insert or table.set_back for table in self.tables if not table.problem):
            return None
        if self.objects_made:
            return None
        present = sum(table.present for table in self.tables)
        said = [*self.unrepaired, *self.objects_unknown, *self.conflict_lines()]
        if not said and present:
            said = [f"all {present:,} rows that the damage took are in production as they were"]
        said += [one for one in self.warnings if one not in said]
        return "; ".join(said or ["nothing that the damage did was found to be copied back"])

    @property
    def warnings(self) -> list[str]:
        """What is not as it was, table by table."""
        return [said for table in self.tables for said in table.warnings]

    def conflict_lines(self) -> list[str]:
        """Rows that are left as the damage left them, a line a table, with the reasons."""
        return [
            f"{table.table}: {table.conflicting:,} in conflict, left as they are ("
            + "; ".join(f"{number:,}: {reason}" for reason, number in sorted(table.reasons.items()))
            + ")"
            for table in self.tables
            if table.conflicting
        ]

    def databases(self) -> list[str]:
        """Those with something to do."""
        return sorted({table.database for table in self.tables if not table.problem})

    def facts(self) -> dict[str, Any]:
        """For a gate's plan: the same as long as the damage and the tables are; conflicts are never overwritten, so they are not in it."""
        found: dict[str, list[dict[str, Any]]] = {}
        for table in self.tables:
            found.setdefault(table.database, []).append(table.facts())
        return {"databases": found, "conflicts": "listed, never overwritten"}

    def signed(self) -> dict[str, Any]:
        """What is approved, as JSON: a later attempt does no more than this."""
        return {
            "left": self.left,
            "limits": self.limits,
            "tables": [
                {
                    **{name: getattr(table, name) for name in _SIGNED},
                    "reasons": dict(table.reasons),
                }
                for table in self.tables
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict a table, for report.table."""
        return [
            {
                "database": table.database,
                "table": table.table,
                "made again": "yes" if table.is_made_again else "no",
                "rows inserted": table.insert,
                "rows set back": table.set_back,
                "there already": table.present,
                "conflicts": table.conflicting,
                "notes": "; ".join([*([table.problem] if table.problem else []), *table.trigger_lines(), *table.notes]),
            }
            for table in self.tables
        ]

    def conflicts(self) -> Iterator[Conflict]:
        """Those that are listed."""
        for table in self.tables:
            yield from table.conflicts

    def reason_rows(self) -> list[dict[str, Any]]:
        """Conflicts counted by table and reason, for report.table."""
        return [
            {"table": table.table, "reason": reason, "rows": number}
            for table in self.tables
            for reason, number in sorted(table.reasons.items())
        ]

    def further(self, planned: CopyBackPlan) -> int:
        """Conflicts beyond those that were planned."""
        before = {(table.database, table.table): table.conflicting for table in planned.tables}
        return sum(max(0, table.conflicting - before.get((table.database, table.table), 0)) for table in self.tables)

    def of(self, database: str) -> dict[str, TableCopy]:
        """The database's tables by title."""
        return {table.table: table for table in self.tables if table.database == database}


def load_signed(kept: Mapping[str, Any]) -> CopyBackPlan:
    """Return what was approved, as `CopyBackPlan.signed` has it: tables by name, without their loss."""
    tables = [TableCopy(loss=TableLoss(table["table"], None), **table) for table in kept["tables"]]
    return CopyBackPlan(tables, left=list(kept["left"]), limits=list(kept["limits"]))


def refuse_another(planned: dict[str, TableCopy], now: dict[str, TableCopy]) -> None:
    """Nothing but what was planned is about to be done.

    Raises:
        OperatorError: a table has another shape, is or is not to be made again, or more of its rows would come back than were planned.
    """
    next_ = "Plan again and let the new plan be approved."
    for title, table in now.items():
        plan = planned.get(title)
        if table.problem or (plan is not None and plan.problem):
            if plan is None or plan.problem != table.problem:
                raise OperatorError(f"{title} cannot be copied back as planned: {table.problem}.", next=next_)
            continue
        if plan is None or plan.shape != table.shape or plan.is_made_again != table.is_made_again:
            raise OperatorError(
                f"{title} is another one than when this was planned: its columns, keys or triggers were changed, or it was dropped or "
                "made again.",
                next=next_,
            )
        if table.insert > plan.insert or table.set_back > plan.set_back:
            raise OperatorError(
                f"More rows of {title} would come back than were planned ({table.insert:,} instead of {plan.insert:,} inserted, "
                f"{table.set_back:,} instead of {plan.set_back:,} set back): rows that were in conflict are gone.",
                next=next_,
            )
