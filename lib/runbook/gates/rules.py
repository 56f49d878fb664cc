"""Which decisions count. Each one that does not has its own reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from runbook import clock
from runbook.gates import signing
from runbook.gates.decision import NAMESPACE, Decision, Kind
from runbook.gates.folder import Filed
from runbook.gates.signers import Signer
from runbook.gates.trust import Introduction, is_introduced
from runbook.params.names import plain_name

#: How far the clocks of two machines may be apart.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Rules:
    """What a decision must fit to count for a gate.

    `operators` are names of the run's operators: operating-system users, and the principals that these are. `at` is
    the moment as of which it is judged. `changes` is how many changes were accepted in the run so far, `inputs` the digest
    of what it executes (None: not known here, and not compared). `journaled` are the digests of unsigned break-glass records that
    the journal knows. `introduced` is how the runner has introduced people for approvals; None: it introduces nobody (in the sandbox).
    `groups` are the names that the params say are one person's, `unmapped` the users among the operators of whom the params say
    nothing.
    """

    run: str
    gate: str
    plan: str
    changes: int
    needed: int
    valid_for_seconds: float
    approvers: tuple[str, ...]
    operators: frozenset[str]
    signers_file: Path
    signers: tuple[Signer, ...]
    at: datetime
    production: bool
    practice: frozenset[str] = frozenset()
    journaled: frozenset[str] = frozenset()
    break_glass: bool = True
    inputs: str | None = None
    introduced: tuple[Introduction, ...] | None = None
    groups: tuple[frozenset[str], ...] = ()
    unmapped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Void:
    """A decision that does not count, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class Judged:
    """What is left of the filed decisions: at most one a person, the latest."""

    approvals: tuple[Filed, ...] = ()
    rejections: tuple[Filed, ...] = ()
    break_glass: Filed | None = None
    countersigns: tuple[Filed, ...] = ()
    void: tuple[Void, ...] = field(default=())

    def is_enough(self, needed: int) -> bool:
        """True when as many different people as needed have approved."""
        return len(self.approvals) >= needed


def decision_of(filed: Filed) -> Decision:
    """The decision of a file that was found in order."""
    assert filed.decision is not None
    return filed.decision


def judge(filed: Iterable[Filed], rules: Rules) -> Judged:
    """Every decision judged alone, then as a set: different people with different keys, of each the latest word."""
    fine: list[Filed] = []
    void: list[Void] = []
    for one in filed:
        if one.decision is not None and one.decision.at > rules.at + _SKEW and one.decision.run == rules.run:
            why: str | None = f"it is dated {clock.stamp(one.decision.at)}, which is still to come: clocks disagree"
        else:
            why = why_void(one, rules)
        if why is None:
            fine.append(one)
        else:
            void.append(Void(one.path.name, why))
    latest: dict[str, Filed] = {}
    others: list[Filed] = []
    for one in sorted(fine, key=lambda item: decision_of(item).at):
        decision = decision_of(one)
        if decision.decision in (Kind.APPROVAL, Kind.REJECTION):
            latest[plain_name(decision.principal)] = one
        else:
            others.append(one)
    approvals = [one for one in latest.values() if decision_of(one).decision is Kind.APPROVAL]
    glass = [one for one in others if decision_of(one).decision is Kind.BREAK_GLASS]
    counted, doubled = different_people(approvals, rules.signers, rules.groups)
    signed, signed_twice = different_people(
        [one for one in others if decision_of(one).decision is Kind.COUNTERSIGN], rules.signers, rules.groups
    )
    return Judged(
        approvals=tuple(counted),
        rejections=tuple(one for one in latest.values() if decision_of(one).decision is Kind.REJECTION),
        break_glass=glass[-1] if glass else None,
        countersigns=tuple(signed),
        void=(*void, *doubled, *signed_twice),
    )


def names_of_person(principal: str, signers: Iterable[Signer], groups: Iterable[frozenset[str]] = ()) -> frozenset[str]:
    """Every name that one person may go by, as `plain_name` writes it.

    Names that share a key are one person's, and names that the params say are (`groups`), however long the chain.
    """
    listed = [(one.fingerprint, {plain_name(name) for name in one.principals} - {""}) for one in signers]
    known, names = [set(group) for group in groups], {plain_name(principal)}
    while True:
        keys = {fingerprint for fingerprint, theirs in listed if fingerprint and names & theirs}
        more = names.union(*(theirs for fingerprint, theirs in listed if fingerprint in keys))
        more = more.union(*(group for group in known if group & more))
        if more == names:
            return frozenset(names)
        names = more


def different_people(
    filed: Iterable[Filed], signers: Iterable[Signer], groups: Iterable[frozenset[str]] = ()
) -> tuple[list[Filed], list[Void]]:
    """One decision a person; the others are void."""
    people: dict[str, str] = {}
    counted, doubled = [], []
    listed, known = list(signers), list(groups)
    for one in filed:
        principal = decision_of(one).principal
        names = names_of_person(principal, listed, known)
        also = next((people[name] for name in sorted(names) if name in people), None)
        if also is not None:
            shared = plain_name(also) in names_of_person(principal, listed)
            doubled.append(Void(one.path.name, f"{_same_person(principal, also, shared)}: one person counts once"))
            continue
        counted.append(one)
        people.update(dict.fromkeys(names, principal))
    return counted, doubled


def _same_person(principal: str, also: str, shared: bool) -> str:
    if principal == also:
        return f"{principal} has signed already"
    if plain_name(principal) == plain_name(also):
        return f"{principal} is {also}, who has signed already"
    return f"{principal} shares a key with {also}" if shared else f"{principal} is {also} by the params"


def why_void(filed: Filed, rules: Rules) -> str | None:
    """Why a decision does not count by itself, or None."""
    decision = filed.decision
    if decision is None:
        return "it is damaged: no decision can be read from it"
    if decision.decision is Kind.BREAK_GLASS and not rules.break_glass:
        return "break-glass is switched off for this target (approvals.break_glass)"
    unsigned_glass = decision.decision is Kind.BREAK_GLASS and decision.key is None
    tests: tuple[Callable[[Filed, Decision, Rules], str | None], ...] = (
        _journaled if unsigned_glass else _signed,
        _about_this,
        *(() if unsigned_glass else (_by_known_key,)),
        *(() if decision.decision in (Kind.BREAK_GLASS, Kind.REJECTION) else (_by_somebody_else,)),
        *(() if decision.decision is Kind.BREAK_GLASS else (_among_approvers,)),
        *(() if decision.decision is Kind.COUNTERSIGN else (_in_time,)),
        *(() if unsigned_glass else (_verified_by_openssh,)),
    )
    return next((why for test in tests if (why := test(filed, decision, rules)) is not None), None)


def why_unwelcome(decision: Decision, rules: Rules) -> str | None:
    """Why that person's decision would not count, as far as it can be told before it is signed."""
    nothing = Filed(Path(), b"", decision, None)
    if decision.decision is Kind.BREAK_GLASS and not rules.break_glass:
        return why_void(nothing, rules)
    tests = []
    if decision.key is not None:
        tests.append(_by_known_key)
    if decision.decision in (Kind.APPROVAL, Kind.COUNTERSIGN):
        tests.append(_by_somebody_else)
    if decision.decision is not Kind.BREAK_GLASS:
        tests.append(_among_approvers)
    return next((why for test in tests if (why := test(nothing, decision, rules)) is not None), None)


def _journaled(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    from hashlib import sha256

    known = sha256(filed.data).hexdigest() in rules.journaled
    return None if known else "it is unsigned, and the journal does not know it"


def _signed(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    if filed.signature is None:
        return "it has no signature"
    seen = signing.read_signature(filed.signature.read_text("ascii", "replace"))
    if seen is None:
        return "its signature is damaged"
    if seen.namespace != NAMESPACE:
        return f"it was signed for the namespace '{seen.namespace}', not for '{NAMESPACE}'"
    if not filed.data.isascii() or not signing.is_over(filed.data, NAMESPACE, filed.signature):
        return "it was altered after it was signed"
    if seen.fingerprint != decision.key:
        return f"it says that the key {decision.key} signed, but {seen.fingerprint} did"
    return None


def _about_this(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    if decision.run != rules.run:
        return f"it is about another run, {decision.run}"
    if decision.gate != rules.gate:
        return f"it is about another gate, '{decision.gate}'"
    if decision.plan != rules.plan:
        return (
            f"it is about another plan ({decision.plan[:12]}…): the plan has changed since (now {rules.plan[:12]}…), "
            "which voids it"
        )
    if decision.decision is Kind.COUNTERSIGN:
        return None  # it is about what was done then, as the archived record that it names shows it
    if decision.changes != rules.changes:
        return "it was given before a change of code, params or library was accepted, which voids it"
    if rules.inputs is not None and decision.inputs != rules.inputs:
        return (
            "it was given for another notebook, library, params or SQL than what this attempt executes, which voids it"
        )
    if decision.needed is not None and decision.needed != rules.needed:
        return f"it was given for a gate that needs {decision.needed} approvals, not {rules.needed}"
    return None


def _by_known_key(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    if rules.production and decision.key in rules.practice:
        return f"the key {decision.key} is a practice key of the sandbox"
    lines = [signer for signer in rules.signers if signer.fingerprint == decision.key]
    if not lines:
        return f"the key {decision.key} is not in {rules.signers_file.name}"
    mine = [signer for signer in lines if decision.principal in signer.principals]
    if not mine:
        return f"the key {decision.key} belongs to {lines[0].principal}, not to {decision.principal}"
    usable = [signer for signer in mine if signer.problem is None]
    if not usable:
        return f"line {mine[0].line} of {rules.signers_file.name} does not count: {mine[0].problem}"
    valid = [one for one in usable if one.is_valid_at(decision.at) and one.is_valid_at(rules.at)]
    if not valid:
        one = usable[0]
        since = clock.stamp(one.valid_after) if one.valid_after else "ever"
        until = clock.stamp(one.valid_before) if one.valid_before else "ever"
        return f"the key of {decision.principal} is outside its validity (from {since} until {until})"
    if rules.introduced is not None and not any(is_introduced(one, rules.introduced) for one in valid):
        return _not_introduced(valid[0], rules.signers_file)
    return None


def _not_introduced(line: Signer, file: Path) -> str:
    """Why a line that the runner has not introduced does not count, and what to do."""
    return (
        f"nothing introduces the key {line.fingerprint} as line {line.line} of {file.name} has it: the line was put in or changed by "
        f"hand, or is from before the runner introduced people; once {line.principal} has confirmed the fingerprint: runbook keys add {line.principal}"
    )


def _by_somebody_else(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    operators = {plain_name(name): name for name in sorted(rules.operators, reverse=True)}
    if plain_name(decision.principal) in operators:
        return f"{decision.principal} is an operator of this run, and nobody approves their own run"
    owners = {name for one in rules.signers if one.fingerprint == decision.key for name in one.principals}
    people = (decision.principal, *owners)
    by_key = frozenset[str]().union(*(names_of_person(name, rules.signers) for name in people))
    names = frozenset[str]().union(*(names_of_person(name, rules.signers, rules.groups) for name in people))
    if same := sorted(by_key & operators.keys()):
        return f"its key belongs to {operators[same[0]]}, an operator of this run: another name does not change that"
    if same := sorted(names & operators.keys()):
        return f"the params say that {decision.principal} is {operators[same[0]]}, an operator of this run"
    for user in sorted(rules.unmapped):
        if plain_name(user) in {name.partition("@")[0] for name in names}:
            return f"{decision.principal} reads like '{user}', an operator of this run, and approvals.operators does not say who that is"
    return None


def _among_approvers(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    if rules.approvers and plain_name(decision.principal) not in map(plain_name, rules.approvers):
        return f"{decision.principal} is not among the approvers of this target (approvals.approvers)"
    return None


def _in_time(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    if decision.decision is Kind.REJECTION:
        return None  # a no does not wear off
    ends = decision.ends_at(rules.valid_for_seconds)
    return f"it expired at {clock.stamp(ends)}" if rules.at >= ends else None


def _verified_by_openssh(filed: Filed, decision: Decision, rules: Rules) -> str | None:
    assert filed.signature is not None
    said = signing.verify(
        filed.data, rules.signers_file, decision.principal, NAMESPACE, filed.signature, max(rules.at, decision.at)
    )
    return None if said is None else f"OpenSSH does not verify it: {said}"
