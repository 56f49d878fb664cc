"""A gate of a run as whoever decides sees it from outside: the plan that it asked for last, what a decision must fit, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from runbook import clock, layout
from runbook.errors import OperatorError, ParamsError
from runbook.gates import rules, signers
from runbook.gates.folder import GateFolder
from runbook.gates.plan import Plan, read_plan
from runbook.gates.rules import Judged, Rules
from runbook.gates.trust import introduced_approvers
from runbook.params import load_params
from runbook.params.loading import nearest
from runbook.params.people import groups_of, principal_of
from runbook.params.schema import Params
from runbook.session.gatebook import GateBook, Glass
from runbook.session.state import RunState

#: What no decision holds: a sitting that does not say what it executes has no approval that counts.
UNKNOWN_INPUTS = "not journaled"


def operators_of(state: RunState, params: Params) -> frozenset[str]:
    """The names of everybody who worked on the run: operating-system users, and the principals that these are."""
    principals = (principal_of(params.approvals, user) for user in state.operators)
    return frozenset(state.operators) | {person for person in principals if person is not None}


def unmapped_of(state: RunState, params: Params) -> frozenset[str]:
    """The users who worked on the run and of whom the params do not say who they are."""
    return frozenset(user for user in state.operators if principal_of(params.approvals, user) is None)


def rules_for(state: RunState, params: Params, book: GateBook, at: datetime) -> Rules:
    """What a decision on that gate's plan must fit, as of that moment. In the sandbox the practice keys are made."""
    path = signers.signers_path(params)
    if path == signers.practice_signers():
        signers.make_practice_keys()
    approvals = params.approvals
    return Rules(
        run=state.run,
        gate=book.id,
        plan=book.plan,
        changes=len(state.accepted_changes),
        needed=book.needed,
        valid_for_seconds=approvals.valid_for,
        approvers=approvals.approvers,
        operators=operators_of(state, params),
        unmapped=unmapped_of(state, params),
        groups=groups_of(approvals),
        signers_file=path,
        signers=tuple(signers.read_signers(path)),
        at=at,
        production=params.environment != "sandbox",
        practice=frozenset(signers.practice_fingerprints()),
        journaled=book.journaled,
        break_glass=approvals.break_glass,
        inputs=state.sitting.get("inputs_sha256", UNKNOWN_INPUTS),
        introduced=introduced_approvers() if params.environment != "sandbox" else None,
    )


@dataclass(frozen=True)
class OpenGate:
    """A gate as a person who decides sees it."""

    folder: Path
    state: RunState
    params: Params
    book: GateBook
    plan: Plan
    glass: Glass | None = None

    @property
    def files(self) -> GateFolder:
        return GateFolder(self.folder, self.book.id)

    @property
    def stands(self) -> str:
        """waiting, passed, rejected or previewed, as the latest attempt left it."""
        for gate in self.state.gates:
            if gate["id"] == self.book.id:
                return str(gate["state"])
        return "passed" if self.book.begun else "waiting"

    def judged(self) -> Judged:
        """The decisions that count now."""
        return rules.judge(self.files.decisions(), rules_for(self.state, self.params, self.book, clock.now()))


def look_at(folder: Path, gate: str) -> OpenGate:
    """The gate, with the plan that it asked for last, as the journal knows it.

    Raises:
        ParamsError: the run has no such gate (yet); the nearest is given.
        OperatorError: the plan on the disk is not the one that the run asked for.
    """
    from runbook.session.proof import read_proven  # late: it judges by the rules that are made here

    state = read_proven(folder)
    if gate not in state.gate_book:
        known = list(state.gate_book)
        hint = nearest(gate, known) if known else "it has come to no gate yet."
        raise ParamsError(f"The run {state.run} has no gate '{gate}'; {hint}", next=f"runbook gates {state.run}")
    return _opened(folder, state, state.gate_book[gate])


def look_at_glass(folder: Path, gate: str) -> OpenGate:
    """The gate with a plan that was passed by break-glass: the first that wants countersigning, else the last.

    Raises: as `look_at`.
    """
    opened = look_at(folder, gate)
    mine = [glass for glass in opened.state.glasses if glass.gate == gate]
    if not mine:
        return opened
    glass = next((one for one in mine if one.is_open), mine[-1])
    book = replace(opened.book, plan=glass.plan, needed=glass.needed)
    return replace(_opened(folder, opened.state, book), glass=glass)


def _opened(folder: Path, state: RunState, book: GateBook) -> OpenGate:
    gate = book.id
    data = GateFolder(folder, gate).read_plan(book.plan)
    if data is None or sha256(data).hexdigest() != book.plan:
        what = "is gone" if data is None else "is not the one that the run asked for: it was altered"
        raise OperatorError(
            f"The plan of the gate '{gate}' {what} ({layout.short(folder / 'gates' / gate)}; the journal says "
            f"{book.plan[:12]}…). Nothing was signed.",
            next=f"Find out who did it; then runbook resume {state.run} writes the plan anew.",
        )
    return OpenGate(folder, state, load_params(state.target), book, read_plan(data, f"gates/{gate}/plan.json"))
