"""A compliance review of the audit tasks: the population of the home's controls as checks and tables. Pure but for `Review.count`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from runbook import clock
from runbook.clock import human_days
from runbook.controls.counting import Counted, count_controls
from runbook.controls.evidence import Evidence, shortfall
from runbook.controls.population import Count, Row, State, completeness
from runbook.model import Check, Finding, Severity, Status
from runbook.params.controls import Control, load_controls
from runbook.params.schema import Params


class PopulationReview:
    """The state between the steps of one review.

    Args:
        own_controls: what this very run does when it passes: their present period is not held against it.
        population: own: of this target; all: of every target.
    """

    def __init__(self, params: Params, own_controls: Sequence[str], population: str) -> None:
        self.params, self.own_controls = params, tuple(own_controls)
        self.targets = (params.target,) if population == "own" else ()
        self.now = clock.now()
        self.controls = load_controls().controls

    def count(self) -> list[dict[str, Any]]:
        """Counts by control and target."""
        self.counted: Counted = count_controls(self.now, self.targets, self.controls)
        self.rows = [row for row in self.counted.rows if not self._is_this_run_s(row)]
        return [_count_row(count, self._control(count.control)) for count in completeness(self.rows)]

    def _is_this_run_s(self, row: Row) -> bool:
        mine = row.control in self.own_controls and row.target == self.params.target
        return mine and row.begin <= self.now < row.end and row.state in (State.DUE, State.MISSED)

    def _control(self, name: str) -> Control:
        return next(one for one in self.controls if one.id == name)

    @property
    def limitations(self) -> list[tuple[str, bool]]:
        """What stands at the top, and whether it reduces the scope."""
        found = []
        if not self.rows:
            found.append(
                (f"Nothing was due of {', '.join(self.targets) or 'any target'} yet: the population is empty.", True)
            )
        made_up = [row for row in self.rows if row.state is State.MISSED and not row.is_overdue]
        if made_up:
            names = ", ".join(f"{row.control} of {row.target} {row.period}" for row in made_up)
            found.append((f"Missed, and made up for by a later run: {names}.", False))
        excepted = [row for row in self.rows if row.state is State.EXCEPTED]
        if excepted:
            names = ", ".join(f"{row.control} of {row.target} {row.period}" for row in excepted)
            found.append((f"Not done, by a signed exception: {names}.", False))
        return found

    def population_rows(self) -> list[dict[str, Any]]:
        """Every due task, newest first."""
        return [
            {
                "control": row.control, "target": row.target, "period": row.period, "due": row.due_at,
                "state": "overdue" if row.is_overdue else str(row.state) + (", late" if row.is_late else ""),
                "record, or why": row.record or row.said, "accepted by": row.certified_by,
            }
            for row in sorted(self.rows, key=lambda one: one.due_at, reverse=True)
        ] or [{"control": "none", "target": self.params.target, "period": "–", "state": "nothing was due"}]  # fmt: skip

    def check_population(self) -> list[Check]:
        """Nothing is overdue; no record that would count fails to verify."""
        return [
            *(check_overdue(count, self.rows) for count in completeness(self.rows)),
            check_evidence(self.counted.evidence),
        ]

    def exception_rows(self) -> list[dict[str, Any]]:
        """Every exception that counts, with what is left of it."""
        today = self.now.date()
        return [
            {
                "control": one.control, "target": one.target or "every target", "owner": one.owner,
                "reason": one.reason, "signed by": one.signer, "signed": one.at, "last day": one.expires,
                "state": "over" if one.expires < today else f"{(one.expires - today).days} d left",
            }
            for one in self.counted.exceptions
        ] or [{"control": "none", "state": "no exception was signed"}]  # fmt: skip

    def check_exceptions(self) -> list[Check]:
        """Every exception is signed by a listed person; no corrective action of a review is past its day."""
        return [
            check_signed(self.counted),
            check_actions(self.counted.evidence, self.now.date()),
            self._check_records(),
        ]

    def _check_records(self) -> Check:
        """The records themselves are audit logs: a rule keeps them as long."""
        asked = self.params.retention.audit_logs if self.params.retention is not None else None
        rules = [one for one in load_controls().retention if not (one.runbooks or one.controls)]
        mine = [
            one for one in rules
            if (not one.targets or self.params.target in one.targets)
            and (not one.environments or self.params.environment in one.environments)
        ]  # fmt: skip
        longest = max(mine, key=lambda one: one.keep, default=None)
        common: dict[str, Any] = {
            "id": "retention-records",
            "title": "Records of runs are kept as long as audit logs must be",
            "expected": human_days(asked) if asked is not None else "a rule",
            "source": longest.source if longest is not None else "params/controls.yaml",
        }
        if longest is None:
            return Check(**common, status=Status.PASS, observed="no rule lets any go: nothing is ever deleted")
        observed = f"{human_days(longest.keep)} by the rule {longest.id}"
        if asked is None or longest.keep >= asked:
            return Check(**common, status=Status.PASS, observed=observed)
        return Check(
            **common, status=Status.FAIL, observed=observed, reason=f"The rule {longest.id} lets records go too early.",
            next=f"Set keep: {human_days(asked)} or more in params/controls.yaml.",
        )  # fmt: skip

    def certification_rows(self) -> list[dict[str, Any]]:
        """Earlier records of this review's own controls, and what a second person has signed about each."""
        mine = [one for one in self.counted.evidence if set(self.own_controls) & set(one.record.controls)]
        return [
            {
                "record": one.folder, "verdict": str(one.record.verdict), "ended": one.record.ended_at,
                "reviewer": one.review.reviewer if one.review is not None else "nobody yet",
                "accepted": ("yes" if one.review.accepted else "no") if one.review is not None else "–",
                "comment": one.review.comment if one.review is not None else "",
            }
            for one in reversed(mine)
        ] or [{"record": "none", "verdict": "–", "reviewer": "this is the first review"}]  # fmt: skip


def _count_row(count: Count, control: Control) -> dict[str, Any]:
    return {
        "control": control.title, "target": count.target, "due": count.periods, "done": count.done, "late": count.late,
        "missed": count.missed, "not yet": count.due, "excepted": count.excepted,
        "asked for by": "; ".join(f"{name} {clause}" for name, clause in control.references.items()),
    }  # fmt: skip


def check_overdue(count: Count, rows: Sequence[Row]) -> Check:
    """One control of one target is not overdue."""
    mine = [row for row in rows if (row.control, row.target) == (count.control, count.target)]
    overdue = next((row for row in mine if row.is_overdue), None)
    common: dict[str, Any] = {
        "id": f"population-{count.control}-{count.target}",
        "title": f"{mine[0].title} of {count.target} is not overdue",
        "expected": "0 overdue",
        "observed": f"{count.done} of {count.periods} done, {count.missed} missed, {count.due} not yet, {count.excepted} excepted",
        "object": count.target,
        "source": "runbook due",
    }
    if overdue is None:
        return Check(**common, status=Status.PASS)
    return Check(
        **common, status=Status.FAIL,
        reason=f"It was due at {clock.stamp(overdue.due_at)} ({overdue.period}): {overdue.said}.",
        next=f"runbook due --target {count.target}",
    )  # fmt: skip


def check_evidence(evidence: Sequence[Evidence]) -> Check:
    """Every record that says it does a control verifies."""
    claiming = [one for one in evidence if one.record.satisfies_controls]
    bad = [one for one in claiming if one.doubt is not None]
    common: dict[str, Any] = {
        "id": "population-evidence",
        "title": "Every record that says it does a control verifies",
        "expected": "0 that do not",
        "observed": f"{len(bad)} of {len(claiming)}",
        "source": "runbook archive verify",
    }
    if not bad:
        return Check(**common, status=Status.PASS)
    findings = tuple(
        Finding(
            id="doubt", object=one.folder, severity=Severity.CRITICAL, observed=str(shortfall(one)), expected="verified"
        )
        for one in bad
    )
    return Check(
        **common, status=Status.FAIL, reason=f"{bad[0].folder}: {bad[0].doubt}.", next="runbook archive verify",
        findings=findings,
    )  # fmt: skip


def check_signed(counted: Counted) -> Check:
    """No exception was tampered with."""
    common: dict[str, Any] = {
        "id": "exceptions-signed",
        "title": "Every exception is signed, and as it was signed",
        "expected": "0 that are not",
        "observed": f"{len(counted.problems)} of {len(counted.exceptions) + len(counted.problems)}",
        "source": "runbook exception",
    }
    if not counted.problems:
        return Check(**common, status=Status.PASS)
    return Check(
        **common, status=Status.FAIL, reason=f"{counted.problems[0]}.",
        next="Bring the file back from a copy of the archive, or have the exception signed anew: runbook exception.",
    )  # fmt: skip


def check_actions(evidence: Sequence[Evidence], today: date) -> Check:
    """No corrective action of a newest review is past its day; a later review without an action closes it."""
    named = [(one, one.review.action) for one in evidence if one.review is not None]
    open_actions = [(one, action) for one, action in named if action is not None]
    late = [(one, action) for one, action in open_actions if action.due < today]
    common: dict[str, Any] = {
        "id": "corrective-actions",
        "title": "No corrective action is past its day",
        "expected": "0 past their day",
        "observed": f"{len(late)} of {len(open_actions)} open",
        "source": "reviews/",
    }
    if not late:
        return Check(**common, status=Status.PASS)
    one, action = late[0]
    return Check(
        **common, status=Status.FAIL,
        reason=f"{one.folder}: '{action.what}' ({action.owner}) was due on {action.due}.",
        next=f"Do it, then: runbook archive review {one.number} --key KEY --accept --comment 'what was done'",
    )  # fmt: skip
