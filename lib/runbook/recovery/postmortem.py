"""After a recovery: how long each phase took against what the paper runbook allows, the 24-hour list, and a post-mortem to start from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook import clock
from runbook.recovery.course import Course

SOURCE = "source runbook, section 3"
#: Clocks that are kept right differ by less.
CLOCK_SKEW = timedelta(minutes=1)
#: Phases: title, the moment each begins and ends with, and the minutes that the paper runbook allows for it.
PHASES = (
    ("Phase 1: lock-down", "begun", "quiet", 10),
    ("Identify the recovery point", "quiet", "point", None),
    ("Decide (people)", "point", "approved", None),
    ("Phase 2: recovery", "approved", "paused", 30),
    ("Phase 3: verification", "paused", "checked", 30),
    ("Choose the way on (people)", "checked", "chosen", None),
    ("Phase 3: promotion and swap", "chosen", "read-only", 30),
    ("Acceptance (people)", "read-only", "accepted", None),
    ("Phase 3: service restoration", "accepted", "open", 30),
)
#: What is due within 24 hours, by the key of `recovery.owners` in params.
DUTIES = {
    "postmortem": "Complete the incident post-mortem",
    "retention": "Review and update the backup retention policies",
    "monitoring": "Implement additional monitoring for early detection",
    "lessons": "Document lessons learned and process improvements",
}
_DUE = timedelta(hours=24)


@dataclass(frozen=True)
class Phase:
    """One phase as it was: `seconds` is None where it did not happen."""

    title: str
    seconds: float | None
    budget_minutes: int | None

    def row(self) -> dict[str, Any]:
        allowed = f"≤ {self.budget_minutes} min" if self.budget_minutes is not None else "not said"
        if self.seconds is None:
            return {"phase": self.title, "took": "did not happen", "allowed": allowed, "kept": ""}
        kept = "" if self.budget_minutes is None else "yes" if self.seconds <= self.budget_minutes * 60 else "no"
        return {"phase": self.title, "took": clock.human_seconds(self.seconds), "allowed": allowed, "kept": kept}


def phases(course: Course) -> list[Phase]:
    """Each phase with its time, from the moments that were noted over all attempts."""
    found = []
    for title, begin, end, minutes in PHASES:
        first, last = course.reached(begin), course.reached(end)
        took = (last - first).total_seconds() if first is not None and last is not None and last >= first else None
        found.append(Phase(title, took, minutes))
    return found


def recovery_seconds(course: Course) -> float | None:
    """RTO as the users saw it: from the lock-down to the moment when they could write again."""
    first, last = course.reached("begun"), course.reached("open")
    return (last - first).total_seconds() if first is not None and last is not None and last >= first else None


def loss_seconds(point: datetime | None, closed: datetime | None) -> float | None:
    """RPO: from the last commit that is kept to the moment when the database was closed; None where that commit lies later.

    A commit after the lock-down, by more than clocks differ, has the time of a clock that is or was wrong.
    """
    if point is None or closed is None or point > closed + CLOCK_SKEW:
        return None
    return max(0.0, (closed - point).total_seconds())


def duty_rows(begun: datetime, owners: Mapping[str, str]) -> list[dict[str, Any]]:
    """The paper runbook's list for the 24 hours after, each with an owner and the time it is due."""
    due = clock.stamp(begun + _DUE)
    return [
        {"what": what, "owner": owners.get(key, f"nobody named (recovery.owners.{key})"), "due": due, "done": "☐"}
        for key, what in DUTIES.items()
    ]


def missing_owners(owners: Mapping[str, str]) -> list[str]:
    """Duties that nobody is named for."""
    return [key for key in DUTIES if not owners.get(key)]


def draft(
    course: Course,
    *,
    run: str,
    target: str,
    incident: str,
    commander: str,
    decisions: Sequence[tuple[datetime, str]],
    facts: Mapping[str, str],
    owners: Mapping[str, str],
    account: Mapping[str, Any] | None = None,
) -> str:
    """A post-mortem in Markdown, filled with what is known; what people have to write is left open, and says so.

    Args:
        decisions: when, and who decided what and why.
        facts: name and value, such as the target, the rows lost, RTO and RPO.
        account: of a copy-back, as `account.Account.facts` has it.
    """
    begun = course.reached("begun")
    lines = [f"# Post-mortem: {incident or 'incident without a number'} on {target}", ""]
    lines += [f"Draft from the journal of run `{run}`. Incident commander: {commander or 'not named'}.", ""]
    lines += ["## What was measured", "", "| Fact | Value |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items()]
    lines += _account_lines(account) if account is not None else []
    lines += ["", "## Phases", "", "| Phase | Took | Allowed | Kept |", "|---|---|---|---|"]
    for phase in phases(course):
        row = phase.row()
        lines.append(f"| {row['phase']} | {row['took']} | {row['allowed']} | {row['kept']} |")
    lines += ["", f"Allowed times: {SOURCE}.", "", "## Timeline", ""]
    events = sorted([*course.moments(), *decisions], key=lambda event: event[0])
    lines += [f"- {clock.stamp(at)}: {said}" for at, said in events]
    lines += ["", "## To be written by people", ""]
    lines += ["- Root cause: …", "- Why it was not noticed earlier: …", "- What went well, what did not: …", ""]
    lines += ["## Due within 24 hours", "", "| What | Owner | Due |", "|---|---|---|"]
    if begun is not None:
        lines += [f"| {row['what']} | {_cell(row['owner'])} | {row['due']} |" for row in duty_rows(begun, owners)]
    return "\n".join(lines) + "\n"


def _account_lines(account: Mapping[str, Any]) -> list[str]:
    rows, open_ = account["rows"], [*account["problems"], *account["needs a decision"]]
    lines = ["", "## Account of the damage", ""]
    if rows:
        names = list(rows[0])
        lines += [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    lines += [
        "",
        *(
            [f"- Not back as it was: {said}." for said in open_]
            or ["Every row is back as it was, or was changed since by others."]
        ),
    ]
    return lines


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
