"""Phase 4 of a recovery: what it took, what it cost, who does what within 24 hours, and a post-mortem to start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook import clock
from runbook.clock import human_seconds
from runbook.recovery import postmortem
from runbook.recovery.course import MOMENTS, Seen
from runbook.recovery.pitr import PointInTimeRecovery

FILE = "postmortem.md"


class Aftermath:
    """The end of one recovery.

    Args:
        recovery: it, with the moments that it noted.
        commander: who led the incident. incident: its number or name.
    """

    def __init__(self, recovery: PointInTimeRecovery, commander: str, incident: str) -> None:
        self.recovery, self.course = recovery, recovery.course
        self.commander, self.incident = commander, incident

    def moments(self) -> dict[str, str]:
        """When what was reached, for the record."""
        return {name: clock.stamp(at) for name in MOMENTS if (at := self.course.reached(name)) is not None}

    def measures(self) -> list[dict[str, Any]]:
        """RTO and RPO beside their budgets, as arguments of `run.measure`; empty in a dry run."""
        budgets, found = self.recovery.params.budgets, []
        rto = postmortem.recovery_seconds(self.course)
        if rto is not None:
            title = "RTO: from the lock-down until production takes writes again"
            found.append({"name": "rto", "title": title, "value": round(rto, 1), "budget": budgets.rto})
        rpo = self._loss_seconds()
        if rpo is not None:
            title = "RPO: from the last commit that is kept to the lock-down"
            found.append({"name": "rpo", "title": title, "value": round(rpo, 1), "budget": budgets.rpo})
        return [{**one, "unit": "s", "source": budgets.source} for one in found]

    def _loss_seconds(self) -> float | None:
        """None where nothing is discarded, and where the clocks contradict each other."""
        if not self._discards():
            return None
        return postmortem.loss_seconds(self.recovery.point.moment, self.course.reached("closed"))

    def _discards(self) -> bool:
        """False where rows were copied back, or the recovery was taken back."""
        return self.course.way == "promote" and not self.course.noted("taken back")

    def phase_rows(self) -> list[dict[str, Any]]:
        """Each phase with its time, beside what the paper runbook allows."""
        return [phase.row() for phase in postmortem.phases(self.course)]

    def duty_rows(self) -> list[dict[str, Any]]:
        """The 24-hour list."""
        begun = self.course.reached("begun") or clock.now()
        return postmortem.duty_rows(begun, self.recovery.params.recovery.owners)

    def limits(self) -> list[str]:
        """For the top of the report: duties that nobody is named for, and files that were left elsewhere."""
        missing = postmortem.missing_owners(self.recovery.params.recovery.owners)
        unowned = [f"Nobody is named for: {', '.join(missing)} (recovery.owners in params)."] if missing else []
        return [*unowned, *self._wrong_clocks(), *self.recovery.room.left_elsewhere()]

    def _wrong_clocks(self) -> list[str]:
        closed = self.course.reached("closed")
        if not self._discards() or closed is None or self._loss_seconds() is not None:
            return []
        return [
            f"The RPO was not measured: the last commit that is kept says {clock.stamp(self.recovery.point.moment)}, and the database "
            f"was closed at {clock.stamp(closed)} by the clock of this host: a clock is or was wrong."
        ]

    def _account(self) -> dict[str, Any] | None:
        """What became of each row that the damage took; None on another way than copy-back."""
        kept = self.course.noted("copied back")
        return Seen.load(kept).facts.get("account") if kept is not None else None

    def _in_conflict(self) -> int:
        kept = self.course.noted("copied back")
        return int(Seen.load(kept).facts.get("in conflict", 0)) if kept is not None else 0

    def write_draft(self, decisions: Sequence[Any]) -> str:
        """The post-mortem's draft lies in the run's folder; its text.

        Args:
            decisions: the answers of the operator, in their order.
        """
        loss = Seen.load(self.recovery.run.recall("recovery/seen/loss") or Seen().dump()).facts
        damage = Seen.load(self.recovery.run.recall("recovery/seen/point") or Seen().dump()).facts.get("damage", {})
        facts = {
            "what happened": "; ".join(damage.get("sentences", [])) or "not found in WAL",
            "recovery point": self.recovery.sentence,
            "way": self.course.way or "none: a dry run",
            "transactions discarded": str(loss.get("transactions", 0)) if self._discards() else "none",
            "rows in conflict, left as the damage left them": str(self._in_conflict()),
            "damaged cluster": str(self.recovery.aside) if self.course.way == "promote" else "stayed in place",
            **{one["name"].upper(): human_seconds(one["value"]) for one in self.measures()},
        }
        text = postmortem.draft(
            self.course,
            run=self.recovery.run.id,
            target=self.recovery.params.target,
            incident=self.incident,
            commander=self.commander,
            decisions=[(clock.parse(one.at), f"{one.by} decided on {one.question}: {one}") for one in decisions],
            facts=facts,
            account=self._account(),
            owners=self.recovery.params.recovery.owners,
        )
        (self.recovery.run.dir / FILE).write_text(text, "utf-8")
        return text
