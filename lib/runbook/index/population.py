"""What was due for a control, against what was done: given by the caller, checked here against the records there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from runbook.index.rows import Row

DONE, MISSED, DUE, EXCEPTED = "done", "missed", "due", "excepted"
#: Called done, yet the named record is not in the archive or does not satisfy the control.
UNPROVEN = "unproven"
_GIVEN = frozenset({DONE, MISSED, DUE, EXCEPTED})


@dataclass(frozen=True)
class Due:
    """One period in which a control was due on a target. `record` is the folder's name of the record that did it.

    `made_up`: missed, and the control was done later: the period stays missed, and nothing is overdue for it.
    """

    target: str
    begin: date
    end: date
    due_at: datetime
    state: str
    record: str | None = None
    remark: str = ""
    made_up: bool = False

    def __post_init__(self) -> None:
        if self.state not in _GIVEN:
            raise ValueError(f"'{self.state}' is no state of what is due: {', '.join(sorted(_GIVEN))}")
        if self.due_at.tzinfo is None:
            raise ValueError("due_at has no time zone")


@dataclass(frozen=True)
class Excepted:
    """Somebody answers for a control that is not met, until a day."""

    owner: str
    reason: str
    expires: date
    target: str = ""


@dataclass(frozen=True)
class Control:
    """A control as its page shows it. `references`: standard → clause."""

    id: str
    title: str
    rows: tuple[Due, ...] = ()
    exceptions: tuple[Excepted, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)


def proven(control: Control, records: Mapping[str, Row]) -> list[Due]:
    """The periods, newest first; one that is called done without a record that satisfies the control is unproven."""
    checked = [_proven(control, due, records) for due in control.rows]
    return sorted(checked, key=lambda due: (due.due_at, due.target), reverse=True)


def _proven(control: Control, due: Due, records: Mapping[str, Row]) -> Due:
    if due.state != DONE:
        return due
    row = records.get(due.record or "")
    if row is None:
        said = "no such record is in the archive"
    elif not row.satisfies or control.id not in row.controls or row.target != due.target:
        said = "the record does not satisfy this control on this target"
    else:
        return due
    unproven = Due(due.target, due.begin, due.end, due.due_at, MISSED, due.record, said)
    object.__setattr__(unproven, "state", UNPROVEN)
    return unproven


def completeness(rows: Sequence[Due]) -> str:
    """How much of what was due is done, in one sentence.

    >>> completeness([])
    'Nothing was due.'
    """
    if not rows:
        return "Nothing was due."
    counted = Counter(due.state for due in rows)
    over = len(rows) - counted[DUE]
    words = [f"{counted[DONE]} of {over} periods that are over were done"]
    words += [f"{counted[state]} {state}" for state in (MISSED, UNPROVEN, EXCEPTED) if counted[state]]
    words += [f"{counted[DUE]} not yet over"] if counted[DUE] else []
    return ", ".join(words) + "."
