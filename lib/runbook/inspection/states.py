"""States: what a row of a check means. Pure.

An object that could not be measured is never ok, and a check with one is UNKNOWN.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from runbook.model import Check, Finding, Severity, Status
from runbook.texts import cut, unit_of

#: More findings of one check say the same once more; their number is always told.
MOST_FINDINGS = 50
#: Characters of a note in a reason; the finding has it whole.
_NOTE = 1000


class SignedException(Protocol):
    """What is needed to know of a signed exception."""

    @property
    def owner(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def signer(self) -> str: ...
    @property
    def expires(self) -> Any: ...
    @property
    def worst(self) -> str | None:
        """The worst state that it covers: as it was when it was signed. None: whatever it becomes."""
        ...


class State(StrEnum):
    """How an object is."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    NOT_MEASURED = "not measured"


_WORSE = (State.OK, State.NOT_MEASURED, State.WARNING, State.CRITICAL)
#: Whose check files lie in an area, for the command that excepts a finding.
_RUNBOOKS = {"health": "daily-health", "access": "access-audit"}


@dataclass(frozen=True)
class Seen:
    """One object as a check saw it. `note` explains the figure; for NOT_MEASURED it says why.

    `run_in`: the database that its change is for, where the check is of the whole server and it matters.
    """

    check: str
    rank: int
    database: str | None
    object: str
    state: State
    value: float | None
    unit: str
    limit: float | None
    note: str
    change: str | None = None
    undo: str | None = None
    run_in: str | None = None

    @property
    def key(self) -> str:
        """The same in each run."""
        return f"{self.check}@{self.database or ''}/{self.object}"

    @property
    def is_finding(self) -> bool:
        return self.state in (State.WARNING, State.CRITICAL)

    @property
    def observed(self) -> str:
        return "not measured" if self.value is None else f"{self.value:g} {unit_of(self.value, self.unit)}"

    @property
    def expected(self) -> str:
        return "none" if self.limit is None else f"below {self.limit:g} {unit_of(self.limit, self.unit)}"


@dataclass(frozen=True)
class Looked:
    """One check in one place: what it saw, and what it cost.

    `excepted`: findings that a signed exception covers. `lacking`: what to do about what is not measured; empty: grant or install.
    `by_place`: only what is not measured can be excepted, each place by its own key.
    """

    area: str
    name: str
    title: str
    rank: int
    database: str | None
    expected: str
    seen: tuple[Seen, ...]
    seconds: float
    next: str
    source: str
    exhausts: float | None = None
    excepted: tuple[Seen, ...] = ()
    lacking: str = ""
    by_place: bool = False

    @property
    def everything(self) -> tuple[Seen, ...]:
        """With what is excepted: an exception mends nothing."""
        return (*self.seen, *self.excepted)

    @property
    def is_whole(self) -> bool:
        """True when all was measured, whatever is excepted."""
        return all(one.state is not State.NOT_MEASURED for one in self.everything)

    @property
    def state(self) -> State:
        return max((one.state for one in self.seen), key=_WORSE.index, default=State.OK)

    @property
    def unmeasured(self) -> list[Seen]:
        return [one for one in self.seen if one.state is State.NOT_MEASURED]

    @property
    def findings(self) -> list[Seen]:
        return [one for one in self.seen if one.is_finding]


def in_order(seen: Iterable[Seen]) -> list[Seen]:
    """Findings by what to do first: critical before warning, then by the check's rank, then the largest figure."""
    found = [one for one in seen if one.is_finding]
    return sorted(found, key=lambda one: (-_WORSE.index(one.state), one.rank, one.check, -(one.value or 0), one.object))


def exception_key(one: Seen, exceptions: Mapping[str, SignedException], *, by_place: bool = False) -> str | None:
    """The key of the signed exception that covers it: its own, or for what is not measured its check's, in one database or in all.

    None too when it is worse now than when the exception was signed.

    Args:
        by_place: as in `Looked`.
    """
    if one.state is State.OK or (by_place and one.state is not State.NOT_MEASURED):
        return None
    mine = [one.key]
    if one.state is State.NOT_MEASURED and not by_place:
        mine += [f"{one.check}@{one.database}"] * bool(one.database) + [one.check]
    return next((key for key in mine if key in exceptions and _still_covers(exceptions[key], one.state)), None)


def _still_covers(exception: SignedException, state: State) -> bool:
    return exception.worst is None or _WORSE.index(state) <= _WORSE.index(State(exception.worst))


def except_findings(looked: Looked, exceptions: Mapping[str, SignedException]) -> Looked:
    """The same without what a signed exception covers."""
    covered = tuple(one for one in looked.seen if exception_key(one, exceptions, by_place=looked.by_place) is not None)
    left = tuple(one for one in looked.seen if one not in covered)
    return replace(looked, seen=left, excepted=covered)


def accepted(looked: Iterable[Looked], exceptions: Mapping[str, SignedException], fail_on: State) -> list[str]:
    """What a PASS must not hide: each exception with what it covers, and how many warnings there are."""
    said, listed = [], list(looked)
    by: dict[str, list[Seen]] = {}
    for one in (seen for place in listed for seen in place.excepted):
        by.setdefault(exception_key(one, exceptions) or "", []).append(one)
    for key, covered in by.items():
        signed = exceptions[key]
        first, more = covered[0], f", and {len(covered) - 1} more" if len(covered) > 1 else ""
        said.append(
            f"Excepted until {signed.expires} ({signed.reason}; owner {signed.owner}, signed by {signed.signer}): "
            f"{first.check}: {first.state}: {first.object}: {cut(first.note, _NOTE)}{more}"
        )
    found = [seen for one in listed for seen in one.findings if seen.state is not fail_on]
    if fail_on is State.CRITICAL and found:
        many = "1 warning does" if len(found) == 1 else f"{len(found)} warnings do"
        said.append(f"{many} not fail this run; the first: {in_order(found)[0].object}.")
    return said


def as_check(looked: Looked, fail_on: State) -> Check:
    """The check for the run: FAIL from `fail_on` on, UNKNOWN while anything was not measured, else PASS.

    A warning that does not fail the run still stands in its findings.
    """
    unmeasured, findings = looked.unmeasured, in_order(looked.seen)
    failing = [one for one in findings if _WORSE.index(one.state) >= _WORSE.index(fail_on)]
    status, reason, next_step = Status.PASS, None, None
    if failing:
        status, next_step = Status.FAIL, looked.next
        reason = (
            f"{failing[0].object}: {failing[0].observed}, expected {failing[0].expected}. {cut(failing[0].note, _NOTE)}"
        )
    elif unmeasured:
        status = Status.UNKNOWN
        reason = f"Not measured: {unmeasured[0].object}: {cut(unmeasured[0].note, _NOTE)}"
        key = unmeasured[0].key if looked.by_place else looked.name
        next_step = looked.lacking or (
            "Grant or install what is missing; where that cannot be, a second person signs it: "
            f"runbook exception {_RUNBOOKS.get(looked.area, 'RUNBOOK')} --finding {shlex.quote(key)} "
            "--owner PERSON --reason TEXT --until DATE --key KEY"
        )
    place = f"@{looked.database}" if looked.database else ""
    return Check(
        id=f"{looked.area}/{looked.name}{place}",
        title=looked.title,
        status=status,
        expected=looked.expected,
        observed=_observed(looked, findings, unmeasured),
        object=looked.database,
        severity=Severity.CRITICAL if looked.state is State.CRITICAL else Severity.WARNING,
        reason=reason,
        next=next_step,
        source=looked.source,
        seconds=looked.seconds,
        findings=tuple(_finding(one, looked) for one in [*findings, *unmeasured][:MOST_FINDINGS]),
    )


def _observed(looked: Looked, findings: Sequence[Seen], unmeasured: Sequence[Seen]) -> str:
    parts = []
    for state in (State.CRITICAL, State.WARNING):
        number = sum(one.state is state for one in findings)
        if number:
            parts.append(f"{number} {state}")
    if findings:
        parts[-1] += f" (first {findings[0].object}: {findings[0].observed})"
    if unmeasured:
        parts.append(f"{len(unmeasured)} not measured")
    if looked.excepted:
        parts.append(f"{len(looked.excepted)} excepted")
    if parts:
        return ", ".join(parts)
    highest = max((one for one in looked.seen if one.value is not None), key=lambda one: one.value or 0, default=None)
    return f"ok; highest {highest.object}: {highest.observed}" if highest else "ok"


def _finding(one: Seen, looked: Looked) -> Finding:
    severity = {State.CRITICAL: Severity.CRITICAL, State.WARNING: Severity.WARNING}.get(one.state, Severity.INFO)
    return Finding(
        id=f"{looked.area}/{one.check}",
        object=f"{one.database}: {one.object}" if one.database else one.object,
        severity=severity,
        observed=one.observed,
        expected=one.expected,
        unit=one.unit,
        message=one.note,
        next=one.change or looked.next,
    )
