"""What a record says that people decided at its gates, against the signed decisions that lie in the record itself.

The runner signs a record, but it cannot make a second person's signature: an approval or a countersignature in run.json counts only
with the signed file beside it, by somebody who is none of the run's operators.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.records import RUN_JSON
from runbook.errors import ParamsError
from runbook.gates import rules, signers, signing
from runbook.gates.decision import NAMESPACE, Decision, Kind, read_decision
from runbook.gates.folder import COUNTERSIGNERS, SIGNERS
from runbook.model import RunRecord, Verdict
from runbook.params.names import plain_name
from runbook.plain import LARGEST_FILE, LARGEST_TEXT, is_plain, read_plain, sha256_of_file

_SKEW = timedelta(minutes=5)


class _Wrong(Exception):
    """A claim that the record's files do not bear out."""


@dataclass(frozen=True)
class _Claim:
    """What run.json says of one gate, with the record that it is in."""

    looked: Looked
    record: RunRecord
    gate: Mapping[str, Any]
    others: Mapping[str, Looked]

    @property
    def id(self) -> str:
        return str(self.gate["id"])

    def path(self, name: str) -> Path:
        return self.looked.folder / f"gate-{self.id}-{name}"

    def is_deleted(self, name: str) -> bool:
        """True for a payload that pruning has deleted: nothing can be said about it any more."""
        grave = self.looked.tombstone
        return grave is not None and f"gate-{self.id}-{name}" in grave.deleted


def check_gates(looked: Sequence[Looked], *, partial: bool) -> Iterator[Problem]:
    """Every approval, rejection, break-glass and countersignature that a record claims and its signed files do not bear out.

    Args:
        partial: the archive is an export, which may lack payloads.
    """
    by_name = {one.name: one for one in looked}
    for one in looked:
        data = read_plain(one.folder / RUN_JSON, LARGEST_FILE) if RUN_JSON in one.plain else b"{}"
        if not _has_gates(data):
            continue
        try:
            record = RunRecord.model_validate_json(data)
        except ValueError:
            yield Problem("gate", f"{one.name}/{RUN_JSON}", "is no run record that can be read")
            continue
        for gate in record.gates:
            try:
                _check(_Claim(one, record, gate, by_name), partial)
            except _Wrong as cause:
                yield Problem("gate", f"{one.name}/{RUN_JSON}", f"the gate '{gate.get('id')}': {cause}")
            except (KeyError, TypeError, AttributeError, ParamsError) as cause:
                yield Problem(
                    "gate", f"{one.name}/{RUN_JSON}", f"the gate '{gate.get('id')}' cannot be read: {cause!r}"
                )


def _has_gates(data: bytes) -> bool:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return False  # altered, or from elsewhere: its digest says so
    return isinstance(said, dict) and bool(said.get("gates"))


def _check(claim: _Claim, partial: bool) -> None:
    gate, state = claim.gate, claim.gate["state"]
    said = [(Kind.APPROVAL, one) for one in gate.get("approvals", [])]
    said += [(Kind.COUNTERSIGN, one) for one in gate.get("countersigned", [])]
    said += [(Kind.BREAK_GLASS, gate["break_glass"])] if gate.get("break_glass") else []
    said += [(Kind.REJECTION, gate["rejection"])] if gate.get("rejection") else []
    if claim.record.verdict is Verdict.PASS and state not in ("passed", "previewed"):
        raise _Wrong(f"the verdict is PASS, but the gate is {state}")
    if state == "previewed" and claim.record.parameters.get("dry_run") is not True:
        raise _Wrong("is said to have been previewed, but the run was no dry run")
    if not said and state != "passed":
        return
    if partial and not claim.path("plan.json").exists():
        return
    _check_plan(claim)
    decided = [_decision(claim, kind, one) for kind, one in said]
    approvals = [one for one in decided if one is not None and one.decision is Kind.APPROVAL]
    countersigns = [one for one in decided if one is not None and one.decision is Kind.COUNTERSIGN]
    if any(one is None for one in decided):
        return  # pruned
    if state == "passed" and not gate.get("break_glass"):
        _refuse_too_few(claim, approvals, "approvals")
    if gate.get("break_glass") and claim.record.verdict is Verdict.PASS:
        _refuse_too_few(claim, countersigns, "countersignatures")


def _check_plan(claim: _Claim) -> None:
    plan = str(claim.gate["plan_sha256"])
    names = ("plan.json", f"plan-{plan[:12]}.json")
    if any(claim.is_deleted(name) for name in names):
        return
    files = [claim.path(name) for name in names]
    if not any(is_plain(path) and sha256_of_file(path) == plan for path in files):
        raise _Wrong(f"no plan with the hash {plan[:12]}… is in the record")


def _refuse_too_few(claim: _Claim, signed: Sequence[Decision], what: str) -> None:
    lines = _signer_lines(claim, SIGNERS)
    people: set[str] = set()
    count = 0
    for one in signed:
        names = rules.names_of_person(one.principal, lines)
        count += not names & people
        people |= names
    if count < int(claim.gate["needed"]):
        raise _Wrong(f"needs {claim.gate['needed']} {what} of different people, and {count} are signed")


def _decision(claim: _Claim, kind: Kind, said: Mapping[str, Any]) -> Decision | None:
    """The signed decision that a line of run.json names; None when it was pruned."""
    name = str(said["file"])
    if claim.is_deleted(name):
        return None
    path, what = claim.path(name), f"the {kind} of {said['principal']}"
    if "/" in name or not is_plain(path, LARGEST_TEXT):
        raise _Wrong(f"{what} has no file {name} in the record")
    data = read_plain(path)
    decision = read_decision(data)
    if decision is None or decision.decision is not kind:
        raise _Wrong(f"{name} is no {kind}")
    about = {
        "run": (decision.run, claim.record.run), "gate": (decision.gate, claim.id), "person": (decision.principal, said["principal"]),
        "plan": (decision.plan, claim.gate["plan_sha256"]), "key": (decision.key, said["key"]),
        "time": (clock.stamp(decision.at), clock.stamp(clock.parse(str(said["at"])))),
        "comment": (decision.comment, said.get("comment", "")),
    }  # fmt: skip
    other = [word for word, (signed, claimed) in about.items() if signed != claimed]
    if other:
        raise _Wrong(f"{what} is about another {other[0]} than {name}, which is signed")
    if (
        decision.inputs is not None
        and kind is Kind.APPROVAL
        and claim.record.inputs_sha256 not in (None, decision.inputs)
    ):
        raise _Wrong(f"{what} was given for another notebook, library, params or SQL than what ran")
    if kind is Kind.BREAK_GLASS and decision.key is None:
        return decision
    if kind in (Kind.APPROVAL, Kind.COUNTERSIGN):
        _refuse_operator(claim, decision, what)
        _refuse_out_of_time(claim, decision, what)
    _refuse_unsigned(claim, decision, data, path, what)
    if kind is Kind.COUNTERSIGN:
        _refuse_other_record(claim, decision, what)
    return decision


def _refuse_operator(claim: _Claim, decision: Decision, what: str) -> None:
    people = {plain_name(name) for name in (claim.record.operator, *claim.record.operators)}
    names = rules.names_of_person(decision.principal, _signer_lines(claim, _signers_name(decision)))
    if people & {plain_name(name) for name in names}:
        raise _Wrong(f"{what} is by an operator of the run, who does not approve their own")


def _refuse_out_of_time(claim: _Claim, decision: Decision, what: str) -> None:
    decided = claim.gate.get("decided_at")
    if decision.decision is Kind.APPROVAL and decided is not None:
        at = clock.parse(str(decided))
        if decision.at > at + _SKEW or at >= decision.expires:
            raise _Wrong(f"{what} did not hold when the gate passed ({decided})")


def _signers_name(decision: Decision) -> str:
    return COUNTERSIGNERS if decision.decision is Kind.COUNTERSIGN else SIGNERS


def _signer_lines(claim: _Claim, name: str) -> tuple[signers.Signer, ...]:
    path = claim.path(name)
    return tuple(signers.read_signers(path)) if is_plain(path, LARGEST_TEXT) else ()


def _refuse_unsigned(claim: _Claim, decision: Decision, data: bytes, path: Path, what: str) -> None:
    signature = path.with_name(path.name + ".sig")
    text = read_plain(signature).decode("ascii", "replace") if is_plain(signature, LARGEST_TEXT) else ""
    read = signing.read_signature(text)
    if read is None:
        raise _Wrong(f"{what} is not signed")
    if read.namespace != NAMESPACE or read.fingerprint != decision.key:
        raise _Wrong(f"{what} is not signed with the key {decision.key} for {NAMESPACE}")
    listed = claim.path(_signers_name(decision))
    if not is_plain(listed, LARGEST_TEXT):  # a record from before the signers were kept with it
        said = None if data.isascii() and signing.is_over(data, NAMESPACE, signature) else "is not over these bytes"
    else:
        said = signing.verify(data, listed, decision.principal, NAMESPACE, signature, decision.at)
    if said is not None:
        raise _Wrong(f"{what} does not verify: {said}")


def _refuse_other_record(claim: _Claim, decision: Decision, what: str) -> None:
    about = claim.others.get(str(decision.record))
    if about is None:
        raise _Wrong(f"{what} is about the record {decision.record}, which is not here")
    if about.sums_sha256 != decision.record_sums:
        raise _Wrong(f"{what} is about another {decision.record} than the one here")
    try:
        run = json.loads(read_plain(about.folder / RUN_JSON, LARGEST_FILE))["run"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        run = None
    if run != claim.record.run or about.number >= claim.looked.number:
        raise _Wrong(f"{what} is about {decision.record}, which is no earlier record of this run")
