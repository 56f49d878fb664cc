"""`run.gate`: the run goes on when the plan's approvals count, and stops when they do not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.gates import rules, signers
from runbook.gates.folder import Filed, GateFolder
from runbook.gates.plan import Plan
from runbook.gates.rules import Judged, Rules, decision_of
from runbook.params.people import principal_of
from runbook.params.schema import Params
from runbook.session import identity, signersfile
from runbook.session.deciding import summary
from runbook.session.fold import fold
from runbook.session.gatebook import GateBook
from runbook.session.journal import Journal, read_events
from runbook.session.opengate import rules_for
from runbook.session.request import JOURNAL
from runbook.session.state import RunState


@dataclass(frozen=True)
class Passage:
    """A gate that lets the run go on. False in a dry run: the plan was shown, and must not be carried out.

    `state` is passed or previewed; `approved_by` the people, none when the glass was broken.
    """

    gate: str
    plan: str
    state: str
    approved_by: tuple[str, ...] = ()
    break_glass: bool = False
    #: When the last signature that it needed was made.
    signed_at: datetime | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        return self.state == "passed"


@dataclass(frozen=True)
class Stop:
    """Why a gate does not let the run go on. `rejected`: somebody said no, and waiting is of no use."""

    reason: str
    next_command: str
    rejected: bool = False


class Gate:
    """One gate of one run, looked at as often as needed.

    Args:
        plan: what is to be done.
        typed: what the operator typed as the target's name; None when it is not asked for.
        needed: how many must approve; the target's params may ask for more.
    """

    def __init__(
        self, folder: Path, params: Params, name: str, title: str, plan: Plan, typed: str | None, needed: int | None
    ) -> None:
        if plan.target != params.target:
            raise ValueError(f"the plan is for the target '{plan.target}', the run for '{params.target}'")
        plan.refuse_secrets()
        self.params, self.name, self.title, self.plan, self.typed = params, name, title, plan, typed
        self.needed = max(params.approvals.needed, needed or 0)
        self.files = GateFolder(folder, name)
        self._folder = folder
        self._journal = Journal(folder / JOURNAL)

    def _state(self) -> RunState:
        return fold(read_events(self._folder / JOURNAL))

    def open(self) -> None:
        """The plan is on the disk, and the journal says that a decision is asked for."""
        before = self._state().gate_book.get(self.name)
        replaces = before.plan if before is not None and before.plan != self.plan.sha256 else None
        self.files.write_plan(self.plan)
        self._journal.append(
            "gate-opened",
            gate=self.name,
            title=self.title,
            plan=self.plan.sha256,
            content=self.plan.model_dump(mode="json"),
            needed=self.needed,
            valid_for_seconds=self.params.approvals.valid_for,
            replaces=replaces,
        )
        self._note_signers()

    def _note_signers(self) -> None:
        """What makes it doubtful whose keys count is listed first in the report."""
        for text in signersfile.limitations(self.params, self._state().request.get("signers")):
            self._journal.append("limit", text=text)

    def preview(self) -> Passage:
        """A dry run has shown the plan; nobody is asked."""
        self._journal.append("gate-previewed", gate=self.name, plan=self.plan.sha256)
        return Passage(self.name, self.plan.sha256, "previewed")

    def look(self, *, journal: bool = True) -> Passage | Stop:
        """What the decisions filed so far say; journaled is a passage, a rejection, and a new reason to wait."""
        state = self._state()
        book = state.gate_book[self.name]
        passed_at = book.passed_at if book.begun else None
        checked = rules_for(state, self.params, book, passed_at or clock.now())
        judged = rules.judge(self._filed(passed_at), checked)
        if judged.rejections:
            return self._reject(state, judged, journal)
        glass = None if judged.is_enough(self.needed) else judged.break_glass
        missing = self.needed - len(judged.approvals)
        said = self._typed(state, book)
        if (missing <= 0 or glass is not None) and said is None:
            if journal:
                self._note_passage(checked, judged, glass, passed_at)
            people = tuple(decision_of(one).principal for one in judged.approvals)
            signed = (
                sorted(decision_of(one).at for one in judged.approvals)[: self.needed]
                if glass is None
                else [decision_of(glass).at]
            )
            return Passage(self.name, self.plan.sha256, "passed", people, glass is not None, max(signed, default=None))
        reason, command = self._what_is_missing(state, judged, missing if glass is None else 0, said)
        if journal:
            self._note_waiting(state, judged, reason, command, wants_target=said is not None)
        return Stop(reason, command)

    def _filed(self, passed_at: datetime | None) -> list[Filed]:
        """The decisions; once something was begun on the plan, those from before it passed."""
        filed = self.files.decisions()
        if passed_at is None:
            return filed
        return [one for one in filed if one.decision is None or one.decision.at <= passed_at]

    def _typed(self, state: RunState, book: GateBook) -> str | None:
        """What is wrong with the target's name as it was typed, or None."""
        if self.typed is None or book.typed or self.typed == self.params.target:
            return None
        if self.typed:
            return f"you typed '{self.typed}', but this run's target has another name"
        if self.params.environment == "production":
            return "the operator has to type the target's name"
        return None

    def _note_passage(self, checked: Rules, judged: Judged, glass: Filed | None, passed_at: datetime | None) -> None:
        self.files.keep_signers(checked.signers_file)
        file = checked.signers_file
        self._journal.append(
            "gate-passed",
            gate=self.name,
            plan=self.plan.sha256,
            approvals=[summary(one) for one in judged.approvals],
            break_glass=summary(glass) if glass is not None else None,
            void=_void(judged),
            next_command=self._countersign_command() if glass is not None else None,
            passed_at=clock.stamp(passed_at or checked.at),
            reused=passed_at is not None,
            signers_sha256=sha256(file.read_bytes()).hexdigest() if file.is_file() else None,
            target_typed=self.typed is not None and self.params.environment == "production",
        )
        self._note_signers()
        at_work = identity.at_work()
        if self.params.environment != "sandbox" and at_work.claimed:
            self._journal.append(
                "limit",
                text=f"Who operated is claimed in part ({', '.join(at_work.claimed)}); known is '{at_work.user}', by "
                f"{at_work.known_by}.",
            )
        if self.params.environment != "sandbox" and principal_of(self.params.approvals, at_work.user) is None:
            self._journal.append(
                "limit",
                text=f"approvals.operators does not say who '{at_work.user}' is: that the operator approved nothing "
                "rests on the names alone.",
            )

    def _countersign_command(self) -> str:
        return approve_command(self._folder.name, self.name, self.params, word="countersign")

    def _reject(self, state: RunState, judged: Judged, journal: bool) -> Stop:
        rejection = summary(judged.rejections[0])
        reason = f"The gate '{self.title}' was rejected by {rejection['principal']}: {rejection['comment']}"
        command = f"runbook abort {state.run}"
        if journal:
            self._journal.append(
                "gate-rejected",
                gate=self.name,
                plan=self.plan.sha256,
                rejection=rejection,
                reason=reason,
                next_command=command,
                void=_void(judged),
            )
        return Stop(reason, command, rejected=True)

    def _what_is_missing(self, state: RunState, judged: Judged, missing: int, said: str | None) -> tuple[str, str]:
        parts = []
        if missing > 0:
            people = "approval" if missing == 1 else "approvals"
            parts.append(f"{missing} more {people} of {self.needed}" if judged.approvals else f"{missing} {people}")
        reason = (
            f"The gate '{self.title}' waits for {' and '.join(parts)}." if parts else f"The gate '{self.title}' waits."
        )
        if said is not None:
            reason += f" {said[0].upper()}{said[1:]}."
        if judged.void:
            reason += " Void: " + "; ".join(f"{one.file}: {one.why}" for one in judged.void[:5]) + "."
        if missing > 0:
            return reason, approve_command(state.run, self.name, self.params, judged)
        return reason, f"runbook resume {state.run} --confirm-target NAME"

    def _note_waiting(self, state: RunState, judged: Judged, reason: str, command: str, *, wants_target: bool) -> None:
        known = next((gate for gate in state.gates if gate["id"] == self.name), {})
        if known.get("reason") == reason:
            return  # it is looked at again and again in JupyterLab: the journal tells what is new
        self._journal.append(
            "gate-waiting",
            gate=self.name,
            plan=self.plan.sha256,
            reason=reason,
            next_command=command,
            approvals=[summary(one) for one in judged.approvals],
            void=_void(judged),
            wants_target=wants_target,
        )


def approve_command(run: str, gate: str, params: Params, judged: Judged | None = None, *, word: str = "approve") -> str:
    """The command by which the next person approves (or countersigns); in the sandbox with a practice key that has
    not signed yet."""
    key = "KEY"
    if signers.signers_path(params) == signers.practice_signers():
        signed = {decision_of(one).principal for one in judged.approvals} if judged is not None else set()
        free = [principal for principal in signers.PRACTICE if principal not in signed]
        if free:
            key = layout.short(signers.practice_folder() / free[0].partition("@")[0])
    return f"runbook {word} {run} {gate} --key {key}"


def _void(judged: Judged) -> list[dict[str, str]]:
    return [{"file": one.file, "why": one.why} for one in judged.void]


def show(plan: Plan, note: str) -> None:
    """The plan stands below the cell, or on standard output where there is no notebook."""
    show_text(f"{plan.markdown()}\n{note}\n")


def show_text(text: str) -> None:
    """Markdown below the cell, or on standard output where there is no notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import publish_display_data

        data = {"text/markdown": text, "text/plain": text}
        publish_display_data(data)  # type: ignore[no-untyped-call]  # IPython is untyped
    else:
        print(text)


def pass_gate(
    gate: Gate, *, dry_run: bool, interactive: bool, open_panel: Callable[[Gate], Any] | None = None
) -> Passage | Stop:
    """The gate was opened, its plan shown, and the decisions looked at.

    Args:
        open_panel: shows the panel in JupyterLab when the gate waits.
    """
    gate.open()
    if dry_run:
        show(gate.plan, "A dry run: the gate was previewed, nobody is asked, and nothing changes.")
        return gate.preview()
    outcome = gate.look()
    if isinstance(outcome, Passage):
        how = "by break-glass" if outcome.break_glass else f"approved by {', '.join(outcome.approved_by)}"
        show(gate.plan, f"The gate has passed, {how}.")
    elif interactive and not outcome.rejected and open_panel is not None:
        open_panel(gate)
    else:
        show(gate.plan, f"{outcome.reason}\n\nNext: `{outcome.next_command}`")
    return outcome
