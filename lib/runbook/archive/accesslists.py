"""The approved list of accesses: `params/access/<target>.yaml`, and beside it who has approved it.

`params/access/billing-1.json` and `.sig`, for `ssh-keygen -Y verify -n runbook-approval` against the allowed_signers of the target's gates.
The newest approval must be of exactly the list that is there. Who made the list, or audits against it, cannot have approved it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import Field

from runbook import clock, layout
from runbook.archive.keys import replace_file
from runbook.archive.signatures import Signers
from runbook.archive.statements import Statement, file_statement, read_statement, signer_problem, statement_files
from runbook.errors import OperatorError, ParamsError
from runbook.gates import signers as gate_signers
from runbook.gates import signing
from runbook.gates.decision import NAMESPACE
from runbook.gates.rules import names_of_person
from runbook.gates.signers import Signer
from runbook.gates.trust import introduced_approvers, is_introduced
from runbook.inventory.listfile import AccessList, Approved, read_list
from runbook.params.names import plain_name
from runbook.params.people import groups_of, principal_of
from runbook.params.schema import Params

SCHEMA: Literal["runbook.access-approval/1"] = "runbook.access-approval/1"


class ListApproval(Statement):
    """One person's word that a list is right. `list_sha256` is the digest of the file, `number` counts from 1."""

    schema_version: Literal["runbook.access-approval/1"] = Field(
        default=SCHEMA, alias="schema", serialization_alias="schema"
    )
    target: str
    number: int
    list_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    approver: str
    comment: str = ""


def folder() -> Path:
    return layout.params() / "access"


def list_path(target: str) -> Path:
    return folder() / f"{target}.yaml"


def _wrong_person(params: Params, person: str, key: str, others: Iterable[str], signers: Signers) -> str | None:
    """Why this person's word does not count for that list, or None.

    Args:
        others: operating-system users who made the list or audit against it.
    """
    approvals = params.approvals
    if approvals.approvers and plain_name(person) not in map(plain_name, approvals.approvers):
        return f"{person} is not among approvals.approvers"
    if params.environment != "sandbox" and key in gate_signers.practice_fingerprints():
        return f"{person} has signed with a practice key, which proves nothing outside the sandbox"
    introduced = introduced_approvers() if params.environment != "sandbox" else None
    if introduced is not None and not any(is_introduced(one, introduced) for one in signers.of(key)):
        return f"nothing introduces the key {key} of {person}: runbook keys add {person} --target {params.target}"
    same = names_of_person(person, signers.lines, groups_of(approvals))
    local_parts = {name.partition("@")[0] for name in same}
    for user in others:
        principal = principal_of(approvals, user)
        reads_like = principal is None and plain_name(user) in local_parts
        if reads_like or same & {plain_name(user), plain_name(principal or user)}:
            return f"{person} is {user}, who made the list or audits against it: nobody approves their own list"
    return None


def _signer(signers: Signers, fingerprint: str) -> Signer:
    for line in signers.of(fingerprint):
        if line.problem is None:
            return line
    raise OperatorError(
        f"The key {fingerprint} is not listed in {layout.short(signers.path)}.",
        next="runbook keys add PERSON PUBKEYFILE --target NAME",
    )


def approve_list(
    params: Params, text: str, *, key: Path, comment: str = "", user: str = ""
) -> tuple[Path, ListApproval]:
    """The list is the target's approved one. Returns the approval's file.

    Raises:
        OperatorError: the list is of another target, or this person may not approve it.
        ParamsError: it is no list.
    """
    made = read_list(text, "the proposed list")
    if made.target != params.target:
        raise OperatorError(f"The list is of '{made.target}', not of '{params.target}'.", next="Name the right run.")
    signers = Signers.of_gates(gate_signers.signers_path(params))
    fingerprint = signing.fingerprint_of(key)
    line = _signer(signers, fingerprint)
    wrong = _wrong_person(params, line.principal, fingerprint, {*made.made_by, user} - {""}, signers)
    if wrong is not None:
        raise OperatorError(f"This approval would not count: {wrong}.", next="Ask a second person to approve it.")
    data = text.encode()
    number = max((n for _, about, n in statement_files(folder()) if about == params.target), default=0) + 1
    approval = ListApproval(
        target=params.target, number=number, list_sha256=sha256(data).hexdigest(), approver=line.principal,
        key=fingerprint, at=clock.now(), user=user, comment=comment,
    )  # fmt: skip
    # The approval first: a crash in between leaves a list that is not the approved one, which is told and trusted by nobody.
    path = file_statement(folder(), params.target, approval, key, NAMESPACE)
    replace_file(list_path(params.target), data)
    return path, approval


def approved_list(params: Params, operators: Iterable[str], known_number: int = 0) -> Approved:
    """The target's approved list, if one counts.

    Args:
        operators: the operating-system users who audit against it.
        known_number: the approval's number at an earlier audit: an older one is not taken instead.
    """
    path, target = list_path(params.target), params.target
    where = layout.short(path)
    statements = [(file, number) for file, about, number in statement_files(folder()) if about == target]
    if not path.is_file():
        if not statements and not known_number:
            return Approved(where, problem="there is no approved list yet", is_missing=True)
        return Approved(where, problem="the list that was approved is gone")
    if not statements:
        missing = known_number == 0
        return Approved(where, problem="the list is unsigned: nobody has approved it", is_missing=missing)
    file, number = statements[-1]
    approval = read_statement(file, ListApproval)
    if approval is None or approval.target != target or approval.number != number:
        return Approved(where, problem=f"{layout.short(file)} is no approval of it: it was altered or renamed")
    try:
        data = path.read_bytes()
        made = read_list(data.decode(), where)
    except (OSError, UnicodeDecodeError, ParamsError) as cause:
        return Approved(where, problem=f"it cannot be read: {cause}")
    problem = _problem(params, made, data, file, approval, operators)
    if problem is None and number < known_number:
        problem = f"it is the list of approval {number}, but an earlier audit saw approval {known_number}: an older one was put back"
    if problem is not None:
        return Approved(where, problem=problem)
    return Approved(where, made, None, False, approval.approver, approval.at, number, approval.list_sha256)


def _problem(
    params: Params, made: AccessList, data: bytes, file: Path, approval: ListApproval, operators: Iterable[str]
) -> str | None:
    if made.target != params.target:
        return f"it is the list of '{made.target}'"
    if sha256(data).hexdigest() != approval.list_sha256:
        return f"it is not the list that {approval.approver} has approved on {clock.stamp(approval.at)}: it was altered, or awaits its approval"
    signers = Signers.of_gates(gate_signers.signers_path(params))
    wrong = signer_problem(file, approval, approval.approver, NAMESPACE, signers, "access-list")
    if wrong is not None:
        return f"its signature does not count: {wrong}"
    if all(line.problem is not None for line in signers.of(approval.key)):
        return f"its signer's line in {layout.short(signers.path)} counts for no approval"
    return _wrong_person(params, approval.approver, approval.key, {*made.made_by, *operators}, signers)
