"""Triggers that fire when lost rows are written back, and how they are left out of the transaction that writes.

A trigger is left out by `ALTER TABLE ONLY … DISABLE TRIGGER` in the same transaction as the rows, as the table's owner, and set to what it
was before the COMMIT. No other session sees it disabled: the table stays locked, and a transaction that does not commit has not happened,
also after `kill -9`. Triggers of foreign keys are internal, belong to nobody's choice, and always fire.

Source: PostgreSQL 17, "ALTER TABLE", "Overview of Trigger Behavior"; docs/decisions/0028.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from runbook.postgres.connect import Connection, quote, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.texts import visible_line

#: pg_trigger.tgenabled, for a session that is no replica: whether it fires, in words, and the statement's words that set it.
_STATES = {
    "O": ("enabled", "ENABLE TRIGGER"),
    "A": ("enabled always", "ENABLE ALWAYS TRIGGER"),
    "R": ("enabled as replica only", "ENABLE REPLICA TRIGGER"),
    "D": ("disabled", "DISABLE TRIGGER"),
}
_FIRING = "OA"
#: So many partitions are named in a line.
_SHOWN = 5


@dataclass(frozen=True)
class Trigger:
    """A trigger of a table, or of one of its partitions (`is_part`), on INSERT or UPDATE. `state` is pg_trigger.tgenabled.

    `columns` are those of UPDATE OF. `runs_as` is the owner of a SECURITY DEFINER function.
    """

    schema: str
    table_name: str
    owner: str
    is_part: bool
    name: str
    timing: str
    level: str
    on_insert: bool
    on_update: bool
    columns: tuple[str, ...]
    has_condition: bool
    state: str
    is_constraint: bool
    is_deferrable: bool
    is_deferred: bool
    function: str
    runs_as: str | None

    @property
    def relation(self) -> str:
        """The table that has it, quoted."""
        return f"{quote(self.schema)}.{quote(self.table_name)}"

    @property
    def fires(self) -> bool:
        """True when it is enabled for a session that is no replica."""
        return self.state in _FIRING

    def set_to(self, state: str) -> str:
        """Return the statement that sets this trigger, of this table alone, to a state of pg_trigger.tgenabled.

        >>> Trigger("s", "t", "o", False, "x", "BEFORE", "ROW", True, False, (), False, "A", False, False, False, "s.f", None).set_to("D")
        'ALTER TABLE ONLY "s"."t" DISABLE TRIGGER "x"'
        """
        return f"ALTER TABLE ONLY {self.relation} {_STATES[state][1]} {quote(self.name)}"

    @property
    def words(self) -> str:
        """What fires when, by which function, for a plan.

        >>> Trigger("s", "t", "o", False, "x", "BEFORE", "ROW", True, True, ("a",), True, "O", False, False, False, "s.f", "root").words
        'trigger x: BEFORE INSERT or UPDATE OF a, for each row, WHEN a condition holds, function s.f with the rights of root, enabled'
        """
        update = f"UPDATE OF {', '.join(self.columns)}" if self.columns else "UPDATE"
        events = " or ".join(
            word for word, is_meant in (("INSERT", self.on_insert), (update, self.on_update)) if is_meant
        )
        said = [f"{self.timing} {events}", f"for each {self.level.lower()}"]
        if self.has_condition:
            said.append("WHEN a condition holds")
        said.append(f"function {self.function}" + (f" with the rights of {self.runs_as}" if self.runs_as else ""))
        said.append(_STATES[self.state][0])
        if self.is_deferred:
            said.append("deferred until COMMIT for the application, and fired with each statement here")
        elif self.is_deferrable:
            said.append("deferrable")
        return f"{'constraint trigger' if self.is_constraint else 'trigger'} {self.name}: {', '.join(said)}"


def read_triggers(connection: Connection, oid: int) -> tuple[Trigger, ...]:
    """Return the triggers of a table and of its partitions that an INSERT or UPDATE may fire, in whatever state."""
    file = load_sql("recovery/list_table_triggers")
    return tuple(
        Trigger(**{**row, "columns": tuple(row["columns"])})
        for row in rows(connection, file.text, file.values({"oid": oid}))
    )


def fired(triggers: Iterable[Trigger], *, insert: bool, update: bool) -> list[Trigger]:
    """Return those that fire for what is written."""
    return [one for one in triggers if one.fires and ((insert and one.on_insert) or (update and one.on_update))]


def trigger_lines(triggers: Sequence[Trigger], left_out: Collection[str], *, insert: bool, update: bool) -> list[str]:
    """Return one line for each trigger of a table, for a plan: whether it fires, and what it is. Partitions share a line."""
    firing = fired(triggers, insert=insert, update=update)
    said: dict[str, list[str]] = {}
    for one in triggers:
        if one in firing:
            verb = "left out" if one.name in left_out else "fires"
        else:
            verb = "does not fire" if not one.fires else "does not fire for what is written"
        said.setdefault(f"{verb}: {one.words}", []).append(one.table_name if one.is_part else "")
    return [
        visible_line(line + ("" if "" in parts else _partition_words(sorted(parts)))) for line, parts in said.items()
    ]


def _partition_words(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return f" (on its partitions {', '.join(names[:_SHOWN])}{f' and {more:,} more' if more > 0 else ''})"


def why_not_left_out(triggers: Iterable[Trigger], owner: str, is_powerful: bool) -> str | None:
    """Return why the role that writes may not disable these triggers; None: it may.

    Args:
        owner: the table's. is_powerful: whether that role is, or can become, more than a role with tables.
    """
    firing = [one for one in triggers if one.fires]
    if is_powerful and firing:
        return (
            f"its owner {owner} has more rights than tables, so the role that writes may not alter the table; to leave one out: "
            f"{firing[0].set_to('D')}, as {owner}; then plan again, and afterwards: {firing[0].set_to(firing[0].state)}"
        )
    others = sorted({one.relation for one in firing if one.owner != owner})
    return f"partition {others[0]} has another owner" if others else None
