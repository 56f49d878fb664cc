"""Decisions on a gate from outside the run: approve, reject, break the glass, countersign. No lock is taken.

Each is filed beside the plan and noted in the journal. It is judged as the gate itself will judge it, before it is
filed: nobody leaves with an approval that does not count.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import OperatorError, ParamsError
from runbook.gates import rules, signers, signing
from runbook.gates.decision import NAMESPACE, Decision, Kind
from runbook.gates.folder import Filed, GateFolder
from runbook.gates.plan import Plan, read_plan
from runbook.gates.rules import Judged, Rules
from runbook.params import load_params
from runbook.params.loading import nearest
from runbook.params.schema import Params
from runbook.redact import looks_like_secret, scrubber
from runbook.session import identity
from runbook.session.fold import fold
from runbook.session.gatebook import GateBook, Glass
from runbook.session.journal import Journal, read_events
from runbook.session.request import JOURNAL
from runbook.session.state import RunState


def operators_of(state: RunState, params: Params) -> frozenset[str]:
    """The names of everybody who worked on the run: operating-system users, and the principals that these are."""
    mapped = params.approvals.operators
    return frozenset(state.operators) | {mapped[user] for user in state.operators if user in mapped}


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
        signers_file=path,
        signers=tuple(signers.read_signers(path)),
        at=at,
        production=params.environment != "sandbox",
        practice=frozenset(signers.practice_fingerprints()),
        journaled=book.journaled,
        break_glass=approvals.break_glass,
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
    state = fold(read_events(folder / JOURNAL))
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


@dataclass(frozen=True)
class Decided:
    """A decision that was filed: `missing` is how many approvals (or countersignatures) are still to come."""

    decision: Decision
    file: Path
    missing: int


def draft(
    gate: OpenGate,
    kind: Kind,
    *,
    fingerprint: str | None,
    principal: str | None = None,
    comment: str = "",
    record: tuple[str, str] | None = None,
) -> Decision:
    """The decision as it is to be signed.

    Args:
        fingerprint: of the key that will sign. A break-glass can do without.
        principal: who decides, as in allowed_signers; default: whose key it is.
        record: for a countersignature, the archived record it is about and the digest of its SHA256SUMS.

    Raises:
        OperatorError: it would not count; the message says why.
    """
    _refuse_at_wrong_time(gate, kind)
    if looks_like_secret(comment) or scrubber.holds(comment):
        raise OperatorError("The comment holds what looks like a secret: it would be signed, and kept for good.")
    now = clock.now()
    checked = rules_for(gate.state, gate.params, gate.book, now)
    decision = Decision(
        decision=kind,
        run=gate.state.run,
        gate=gate.book.id,
        plan=gate.book.plan,
        changes=checked.changes,
        principal=_principal(principal, fingerprint, checked, kind, gate.params),
        key=fingerprint,
        at=now,
        expires=now + timedelta(seconds=checked.valid_for_seconds),
        comment=comment.strip(),
        user=f"{identity.operator()}@{identity.host()}",
        record=record[0] if record else None,
        record_sums=record[1] if record else None,
    )
    unwelcome = rules.why_unwelcome(decision, checked)
    if unwelcome is not None:
        raise _refusal(gate, decision, unwelcome)
    return decision


def decide(gate: OpenGate, kind: Kind, *, key: Path | None, **said: Any) -> Decided:
    """The decision is signed, filed and journaled.

    Args:
        key: the person's key file, private, or public when ssh-agent holds the other half.
        said: principal, comment and record, as `draft` takes them.

    Raises:
        OperatorError: it would not count; the message says why. Nothing was filed.
    """
    decision = draft(gate, kind, fingerprint=signing.fingerprint_of(key) if key is not None else None, **said)
    signature = signing.sign(decision.canonical(), key, NAMESPACE) if key is not None else None
    return file_decision(gate, decision, signature)


def file_decision(gate: OpenGate, decision: Decision, signature: str | None) -> Decided:
    """A signed decision is filed and journaled.

    Raises:
        OperatorError: it does not count. Nothing was filed.
    """
    _refuse_at_wrong_time(gate, decision.decision)
    _rehearse(gate, decision, signature, rules_for(gate.state, gate.params, gate.book, clock.now()))
    file = gate.files.write_decision(decision, signature)
    _journal(gate, decision, file)
    after = look_at(gate.folder, gate.book.id)
    if decision.decision is Kind.COUNTERSIGN:
        signed = next(len(one.countersigns) for one in after.state.glasses if one.plan == decision.plan)
        return Decided(decision, file, max(0, gate.book.needed - signed))
    return Decided(decision, file, max(0, gate.book.needed - len(after.judged().approvals)))


def _refuse_at_wrong_time(gate: OpenGate, kind: Kind) -> None:
    run = gate.state.run
    if gate.state.aborted is not None:
        raise OperatorError(
            f"The run {run} was aborted: there is nothing to decide.", next=gate.state.request["command"]
        )
    if kind is Kind.COUNTERSIGN:
        if gate.glass is None:
            raise OperatorError(
                f"The gate '{gate.book.id}' was not passed by break-glass: there is nothing to countersign.",
                next=f"runbook gates {run}",
            )
        return
    if gate.stands == "previewed":
        raise OperatorError(
            f"The gate '{gate.book.id}' was only previewed, in a dry run: there is nothing to decide.",
            next=f"runbook status {run}",
        )
    if gate.stands == "passed":
        next_command = f"runbook abort {run}" if kind is Kind.REJECTION else f"runbook status {run}"
        raise OperatorError(f"The gate '{gate.book.id}' has passed already.", next=next_command)


def _principal(given: str | None, fingerprint: str | None, checked: Rules, kind: Kind, params: Params) -> str:
    """Who decides: as given, else whose key it is, else (without a key) the operating-system user."""
    if given is not None:
        return given
    if fingerprint is None:
        if kind is not Kind.BREAK_GLASS:
            raise OperatorError("An approval is signed.", next="Name your key: --key ~/.ssh/id_ed25519")
        user = identity.operator()
        return params.approvals.operators.get(user, user)
    names = sorted({name for one in checked.signers if one.fingerprint == fingerprint for name in one.principals})
    if len(names) == 1:
        return names[0]
    where = layout.short(checked.signers_file)
    if not names:
        raise OperatorError(
            f"The key {fingerprint} is not in {where}: nobody knows whose it is.",
            next=f"runbook keys add PRINCIPAL PUBKEYFILE --target {params.target}",
        )
    raise OperatorError(
        f"The key {fingerprint} is listed for {', '.join(names)} in {where}.", next="Say who you are: --as"
    )


def _refusal(gate: OpenGate, decision: Decision, why: str) -> OperatorError:
    word = "countersignature" if decision.decision is Kind.COUNTERSIGN else str(decision.decision)
    return OperatorError(
        f"This {word} would not count: {why}. Nothing was filed.", next=f"runbook gates {gate.state.run}"
    )


def _rehearse(gate: OpenGate, decision: Decision, signature: str | None, checked: Rules) -> None:
    """The decision with its signature passes the whole judgement, files and all."""
    with tempfile.TemporaryDirectory(prefix="runbook-gate-") as folder:
        place = GateFolder(Path(folder), gate.book.id)
        file = place.write_decision(decision, signature)
        if signature is None:
            checked = replace(checked, journaled=frozenset({sha256(file.read_bytes()).hexdigest()}))
        why = rules.why_void(place.decisions()[0], checked)
    if why is None and decision.decision in (Kind.APPROVAL, Kind.COUNTERSIGN):
        why = _doubled(gate, decision, checked)
    if why is not None:
        raise _refusal(gate, decision, why)


def _doubled(gate: OpenGate, decision: Decision, checked: Rules) -> str | None:
    if decision.decision is Kind.COUNTERSIGN:
        others = [(str(one["principal"]), str(one["at"])) for one in gate.glass.countersigns] if gate.glass else []
    else:
        judged = rules.judge(gate.files.decisions(), checked).approvals
        others = [(one.principal, clock.stamp(one.at)) for one in map(rules.decision_of, judged)]
    names = rules.names_of_person(decision.principal, checked.signers)
    for principal, at in others:
        if principal in names:
            who = principal if principal == decision.principal else f"{principal}, who shares a key with you,"
            return f"{who} has signed already at {at}: one person counts once"
    return None


def _journal(gate: OpenGate, decision: Decision, file: Path) -> None:
    digest = sha256(file.read_bytes()).hexdigest()
    facts = {
        "gate": gate.book.id,
        "plan": decision.plan,
        "principal": decision.principal,
        "key": decision.key,
        "comment": decision.comment,
        "file": file.name,
        "sha256": digest,
        "signed_at": clock.stamp(decision.at),
        "user": decision.user,
    }
    journal = Journal(gate.folder / JOURNAL)
    if decision.decision is Kind.COUNTERSIGN:
        journal.append("gate-countersigned", record=decision.record, **facts)
        return
    journal.append(
        "gate-decision",
        decision=str(decision.decision),
        expires=clock.stamp(decision.expires),
        operator=identity.operator(),
        **facts,
    )


def summary(filed: Filed) -> dict[str, Any]:
    """A decision that counted, as the journal and the report tell it."""
    decision = rules.decision_of(filed)
    content = json.loads(decision.canonical())
    names = ("principal", "key", "at", "expires", "comment", "user")
    return {**{name: content[name] for name in names}, "file": filed.path.name}


def refuse_other_name(state: RunState, typed: str) -> None:
    """What was typed is the name of the run's target.

    Raises:
        OperatorError: it is another one.
    """
    if typed.strip() != state.target:
        raise OperatorError(
            f"You typed '{typed.strip()}', but the run {state.run} is about another target.",
            next=f"runbook gates {state.run} shows which; type that name only if it is the one you mean.",
        )


def type_target(folder: Path, gate: str, typed: str) -> None:
    """The journal says that the operator typed the target's name for this gate's plan.

    Raises:
        OperatorError: it is not the target's name.
    """
    opened = look_at(folder, gate)
    refuse_other_name(opened.state, typed)
    Journal(folder / JOURNAL).append(
        "target-typed", gate=gate, plan=opened.book.plan, typed=typed.strip(), operator=identity.operator()
    )
