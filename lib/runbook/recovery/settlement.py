"""The account of a copy-back as the notebook shows it: what became of each row, what is decided on it, and the check of the run."""

from __future__ import annotations

from typing import Any

from runbook.model import Status
from runbook.recovery.account import LEAVE, LEFT, REFUSE, judge_account, listed, needs_answer
from runbook.recovery.course import Seen
from runbook.recovery.wayon import WayOn


class Settlement:
    """The account of one recovery.

    Args:
        onward: its way on.
    """

    def __init__(self, onward: WayOn) -> None:
        self.onward, self.course, self.execution = onward, onward.course, onward.execution

    @property
    def options(self) -> dict[str, str]:
        """What may be answered."""
        return LEFT

    def account(self) -> Seen:
        """Return what became of each row that the damage took, as it was counted before the lock-down was lifted."""

        def act() -> Seen:
            return Seen(rows=self._facts()["rows"], facts=self._facts())

        return self.onward.act("account for every row", "copy-back", act)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = Seen.load(self.course.noted("copied back")).facts["account"]
        return facts

    @property
    def _is_due(self) -> bool:
        return not self.onward.recovery.dry_run and self.onward.way == "copy-back"

    @property
    def question(self) -> str:
        """What is asked of the rows that are not back as they were."""
        open_ = self._facts()["needs a decision"] if self._is_due else []
        if not open_:
            return "May the rows stay as they are?"
        return f"Not all that the damage took is back as it was: {listed(open_)}. May it stay so?"

    @property
    def given(self) -> str:
        """The answer where nothing is to be decided; empty: a person answers."""
        if self.onward.recovery.dry_run:
            return ""
        if not self._is_due:
            return f"{LEAVE}: nothing was copied back"
        if self._facts()["problems"]:
            return f"{REFUSE}: the account does not add up"
        return (
            "" if self._facts()["needs a decision"] else f"{LEAVE}: every row is back, or was changed since by others"
        )

    def settle(self, answer: str) -> Seen:
        """Judge the account; the restored copy is removed unless rows are still to be taken from it."""
        return self.onward.act("settle the account", "copy-back", lambda: self._settle(answer))

    def _settle(self, answer: str) -> Seen:
        facts, beside = self._facts(), self.execution.beside
        check = judge_account(facts, answer)
        limits = [f"Not back as it was: {said}." for said in needs_answer(facts)]
        if check.status is Status.PASS:
            beside.remove()
            row = {"what": "the account", "state": "settled", "detail": answer}
        else:
            limits.append(f"The restored copy is kept in {beside.folder}: remove it when the rows were taken from it.")
            row = {"what": "the restored copy", "state": "kept", "detail": str(beside.folder)}
        return Seen([check], [row], {"limits": limits})
