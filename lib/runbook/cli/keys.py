"""`runbook keys …`: whose SSH keys may approve, who may witness, and the runner's own key.

Of people only public keys are kept; private ones stay with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from runbook import clock, layout
from runbook.cli.output import Listing, say
from runbook.errors import OperatorError
from runbook.gates import signers
from runbook.gates.rules import names_of_person
from runbook.gates.signers import Signer
from runbook.gates.trust import introduced_approvers, is_introduced
from runbook.params import Params, load_params
from runbook.params.names import plain_name
from runbook.params.people import groups_of, principal_of
from runbook.session import identity

app = typer.Typer(
    name="keys", help="Whose SSH keys may approve or witness; the runner's own key.", no_args_is_help=True
)

Target = Annotated[str, typer.Option("--target", help="The system: a file in params/.")]
_Moment = Annotated[str | None, typer.Option(metavar="TIME", help="With its zone: 2026-01-31T00:00:00Z.")]


@app.command("list")
def list_keys(target: Target = "sandbox") -> None:
    """List the people whose keys count, with fingerprints and validity."""
    params = load_params(target)
    path = signers.signers_path(params)
    found = signers.read_signers(path)
    headings = ("Line", "Person", "Key", "Fingerprint", "Valid from", "Valid until", "Counts")
    table = Listing(layout.short(path), *headings)
    for one in found:
        table.add(
            str(one.line), one.principal, one.key_type, one.fingerprint, _moment(one.valid_after),
            _moment(one.valid_before), _counts(one, params),
        )  # fmt: skip
    if found:
        table.show()
    else:
        say(f"{layout.short(path)} lists nobody.")
    say(f"Next: runbook keys check --target {target}")


@app.command()
def add(
    principal: Annotated[str, typer.Argument(help="The person, such as a mail address.")],
    pubkeyfile: Annotated[
        Path | None, typer.Argument(help="Their public key, a file that ends with .pub; not needed for a listed key.")
    ] = None,
    valid_from: _Moment = None,
    valid_to: _Moment = None,
    target: Target = "sandbox",
    witness: Annotated[
        bool, typer.Option("--witness", help="For witnesses, reviews and exceptions of the archive, not for gates.")
    ] = False,
) -> None:
    """Add a person's public key: it is listed, and introduced by the runner. A key that was listed by hand counts for nothing."""
    try:
        text = pubkeyfile.expanduser().read_text("utf-8", "replace") if pubkeyfile is not None else None
    except OSError as cause:
        raise OperatorError(
            f"{pubkeyfile} cannot be read: {cause.strerror}.", next="Give the file of a public key."
        ) from cause
    if witness:
        _add_witness(principal, text, limited=bool(valid_from or valid_to))
        return
    _add_approver(principal, text, valid_from, valid_to, load_params(target))


def _add_approver(
    principal: str, text: str | None, valid_from: str | None, valid_to: str | None, params: Params
) -> None:
    from runbook.archive.keys import introduce_approver, refuse_twin
    from runbook.archive.staging import archive_lock
    from runbook.archive.tree import Tree

    path = signers.signers_path(params)
    listed = _listed(path, principal, text)
    refuse_twin(principal, [name for one in signers.read_signers(path) for name in one.principals])
    if listed is not None and (valid_from or valid_to):
        raise OperatorError(
            f"The key is listed already, on line {listed.line} of {layout.short(path)}.",
            next=f"Leave --valid-from and --valid-to out, and edit that line of {layout.short(path)}.",
        )
    if listed is None:
        begin = clock.parse(valid_from) if valid_from else None
        end = clock.parse(valid_to) if valid_to else None
        added = signers.add_signer(path, principal, text or "", begin, end)
    else:
        added = listed
    if path != signers.practice_signers():
        with archive_lock():
            made = introduce_approver(Tree.own(), added, _who(), was_listed=listed is not None)
        if listed is not None and not made:
            raise OperatorError(
                f"The key {added.fingerprint} is there already, as {added.principal} (line {added.line} of "
                f"{layout.short(path)}), and was introduced.",
                next=f"runbook keys check --target {params.target}",
            )
    say(f"{added.principal} has the key {added.fingerprint} in {layout.short(path)}, line {added.line}.")
    say("Have the fingerprint confirmed by that person, on another way than the key came; then commit the file.")
    say(f"Next: runbook keys check --target {params.target}")


def _listed(path: Path, principal: str, text: str | None) -> Signer | None:
    """The person's line that is in the file already; None when the key is to be added.

    Raises:
        OperatorError: no key is given, and the file lists none, or more than one, for that person.
    """
    mine = [one for one in signers.read_signers(path) if one.principals == (principal,) and one.problem is None]
    if text is not None:
        from runbook.archive.keys import one_public_key

        if path == signers.practice_signers():
            return None
        key = one_public_key(text)
        return next((one for one in mine if one.key == key), None)
    if len(mine) != 1:
        raise OperatorError(
            f"{layout.short(path)} lists {len(mine)} keys for {principal}; one is needed.",
            next="Give the file of the public key too.",
        )
    return mine[0]


def _who() -> str:
    return f"{identity.operator()} on {identity.host()}"


def _add_witness(principal: str, public: str | None, *, limited: bool) -> None:
    from runbook.archive.keys import add_person
    from runbook.archive.staging import archive_lock
    from runbook.archive.tree import Tree

    if limited:
        raise OperatorError(
            "A witness's key has no validity of its own here.", next="Leave --valid-from and --valid-to out."
        )
    with archive_lock():
        added = add_person(Tree.own(), principal, public, _who())
    say(f"{added.principal} may witness and review with the key {added.fingerprint}, line {added.line} of {_place()}.")
    say("The runner has introduced the key in a signed file below reports/keys; the next record holds its digest.")
    say("Have the fingerprint confirmed by that person, on another way than the key came.")
    say("Next: runbook archive witness")


def _place() -> str:
    from runbook.archive.tree import Tree

    return layout.short(Tree.own().signers)


@app.command()
def rotate(
    reason: Annotated[str | None, typer.Option(help="Why; it is kept.")] = None,
    lost: Annotated[
        str | None, typer.Option(metavar="REASON", help="The old key is gone: what happened. Somebody must vouch.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The new key; one is made below var/keys without it.")] = None,
) -> None:
    """End the key with which the runner signs records, and begin with another one, introduced by the old one."""
    from runbook.archive.rotation import rotate as rotate_key

    if (reason is None) == (lost is None):
        raise OperatorError("Say why: either --reason or --lost.", next="runbook keys rotate --reason 'yearly'")
    done = rotate_key(lost or reason or "", lost=lost is not None, new=to)
    say(f"{done.principal} signs with {done.fingerprint} from now on; {done.before} has ended.")
    if done.introduced:
        say(f"The old key has introduced it: {layout.short(layout.reports())}/keys/{done.number:06d}.txt")
    else:
        say("Nothing introduces it: `runbook archive verify` fails unless its fingerprint is given with --key.")
    if to is not None:
        say(f"Name it in params/controls.yaml: evidence: {{signing_key: {to}}}")
    say("Hand the new fingerprint over to whoever checks this archive, on another way than the archive.")
    say("Next: runbook archive verify")


@app.command()
def show(
    person: Annotated[str, typer.Argument(help="A person, or a fingerprint.")], target: Target = "sandbox"
) -> None:
    """Show what is known of a person or a key."""
    params = load_params(target)
    path = signers.signers_path(params)
    found = [one for one in signers.read_signers(path) if person in (one.fingerprint, *one.principals)]
    if not found:
        raise OperatorError(f"{layout.short(path)} has no '{person}'.", next=f"runbook keys list --target {target}")
    for one in found:
        say(f"{one.principal}  {one.key_type}  {one.fingerprint}  {one.comment}")
        say(
            f"  line {one.line} of {layout.short(path)}, valid from {_moment(one.valid_after)} until {_moment(one.valid_before)}"
        )
        say(f"  counts: {_counts(one, params)}")
    say(f"Next: runbook keys check --target {target}")


@app.command("make-practice")
def make_practice() -> None:
    """Make the sandbox's two practice keys (they are also made by the first gate)."""
    for key in signers.make_practice_keys():
        say(f"{layout.short(key)} (private, 0600, of this machine only)")
    say(f"Listed in {layout.short(signers.practice_signers())}; outside the sandbox they count for nothing.")
    say("Next: runbook gates")


@app.command()
def check(target: Target = "sandbox") -> int:
    """Look whether enough people can approve; each line says what to do."""
    problems = list(find_problems(load_params(target)))
    for what, remedy in problems:
        say(f"FIX  {what} Next: {remedy}")
    if not problems:
        say(f"ok   {layout.short(signers.signers_path(load_params(target)))}: enough people can approve.")
    say(f"Next: {problems[0][1] if problems else 'runbook list'}")
    return 4 if problems else 0


def find_problems(params: Params, now: datetime | None = None) -> Iterator[tuple[str, str]]:
    """What stands in the way of a gate of this target, each with its remedy."""
    moment = now or clock.now()
    path = signers.signers_path(params)
    if path == signers.practice_signers():
        signers.make_practice_keys()
    where, approvals = layout.short(path), params.approvals
    adding = f"runbook keys add PRINCIPAL PUBKEYFILE --target {params.target}"
    introduced = introduced_approvers() if params.environment != "sandbox" else None
    if not path.is_file():
        yield f"{where} is not there: nobody can approve.", adding
        return
    if path.stat().st_mode & 0o022:
        yield f"{where} can be written by others: they could approve everything.", f"chmod go-w {where}"
    found = signers.read_signers(path)
    for one in found:
        if one.problem is not None:
            yield f"{where}, line {one.line} ({one.principal}): {one.problem}.", "correct or remove that line"
        elif one.valid_before is not None and one.valid_before < moment + timedelta(days=30):
            yield f"The key of {one.principal} ends at {_moment(one.valid_before)}.", "renew it and add the new key"
        elif introduced is not None and not is_introduced(one, introduced):
            yield (
                f"{where}, line {one.line}: nothing introduces the key {one.fingerprint} of {one.principal}; it counts for nothing "
                "until they have confirmed the fingerprint and it is introduced.",
                f"runbook keys add {one.principal} --target {params.target}",
            )
        if one.fingerprint and sum(other.fingerprint == one.fingerprint for other in found) > 1:
            yield f"{where}, line {one.line}: the key of {one.principal} stands twice.", "keep one line"
        if params.environment != "sandbox" and one.fingerprint in signers.practice_fingerprints():
            yield f"{where}, line {one.line}: a practice key of the sandbox.", "remove that line"
    able = {
        one.principal
        for one in found
        if one.problem is None
        and one.is_valid_at(moment)
        and (introduced is None or is_introduced(one, introduced))
        and (not approvals.approvers or plain_name(one.principal) in map(plain_name, approvals.approvers))
    }
    known = {plain_name(name) for name in able}
    for name in sorted(one for one in set(approvals.approvers) if plain_name(one) not in known):
        yield f"{name} is an approver by params, but has no key that counts.", adding.replace("PRINCIPAL", name)
    at_work = identity.at_work()
    user, principal = at_work.user, principal_of(approvals, at_work.user)
    operator = {plain_name(name) for name in (*at_work.names, principal or user)}
    if params.environment != "sandbox" and principal is None:
        yield f"params/{params.target}.yaml does not say who the operator '{user}' is.", "add approvals: operators:"
    others = {name for name in able if not operator & names_of_person(name, found, groups_of(approvals))}
    if len(others) < approvals.needed:
        yield f"{len(others)} of {approvals.needed} needed people besides '{user}' can approve.", adding


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}" if moment is not None else "–"


def _counts(one: Signer, params: Params) -> str:
    if one.problem is not None:
        return f"no: {one.problem}"
    if not one.is_valid_at(clock.now()):
        return "no: outside its validity"
    if params.environment != "sandbox" and not is_introduced(one, introduced_approvers()):
        return f"no: not introduced (runbook keys add {one.principal} --target {params.target})"
    approvers = params.approvals.approvers
    return (
        "yes"
        if not approvers or plain_name(one.principal) in map(plain_name, approvers)
        else "no: not among approvals.approvers"
    )
