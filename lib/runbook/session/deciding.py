"""Decisions on a gate from outside the run: approve, reject, break the glass, countersign. No lock is taken.

Each is filed beside the plan and noted in the journal. It is judged as the gate itself will judge it, before it is
filed: nobody leaves with an approval that does not count.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import OperatorError
from runbook.gates import rules, signers, signing
from runbook.gates.decision import NAMESPACE, Decision, Kind, read_decision
from runbook.gates.folder import COUNTERSIGNERS, Filed
from runbook.gates.rules import Rules
from runbook.params.people import principal_of
from runbook.params.schema import Params
from runbook.redact import looks_like_secret, scrubber
from runbook.session import identity, signersfile
from runbook.session.journal import Journal
from runbook.session.opengate import OpenGate, look_at, rules_for
from runbook.session.request import JOURNAL
from runbook.session.state import RunState


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
        inputs=checked.inputs,
        needed=checked.needed,
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
    if decision.decision is Kind.COUNTERSIGN:
        gate.files.keep_signers(signers.signers_path(gate.params), COUNTERSIGNERS)
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
        return principal_of(params.approvals, user) or user
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
    data = decision.canonical()
    if signature is None:
        checked = replace(checked, journaled=frozenset({sha256(data).hexdigest()}))
        why = rules.why_void(Filed(Path(), data, read_decision(data), None), checked)
    else:
        with signing.without_name(signature) as path:
            why = rules.why_void(Filed(Path(), data, read_decision(data), path), checked)
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
    names = rules.names_of_person(decision.principal, checked.signers, checked.groups)
    for principal, at in others:
        if names & rules.names_of_person(principal, checked.signers, checked.groups):
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
        limits = signersfile.limitations(gate.params, gate.state.request.get("signers"))
        journal.append("gate-countersigned", record=decision.record, limits=limits, **facts)
        return
    journal.append(
        "gate-decision",
        decision=str(decision.decision),
        expires=clock.stamp(decision.expires),
        **identity.at_work().facts,
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
        "target-typed", gate=gate, plan=opened.book.plan, typed=typed.strip(), **identity.at_work().facts
    )
