"""`runbook keys rotate`: the next key of the runner, introduced by the one before it.

`keys/000002.txt` says which key follows which, when and why; `keys/000002.txt.sig` is signed with the key that ends. Without that
signature anybody could add a key of their own: `runbook archive verify` refuses a key that was not introduced.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from runbook import clock, layout
from runbook.archive.archived import read_archived, write_time
from runbook.archive.keys import (
    EVIDENCE,
    current_line,
    end_and_add,
    is_own,
    make_own_key,
    public_key,
    replace_file,
    runner_keys,
    signer_line,
    signing_key,
)
from runbook.archive.listing import newest, read_names
from runbook.archive.staging import archive_lock
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, PlatformError
from runbook.gates import signing
from runbook.gates.signers import Signer


@dataclass(frozen=True)
class Rotation:
    """What was done: the new key, and whether the one before has introduced it."""

    number: int
    principal: str
    before: str
    fingerprint: str
    introduced: bool


def rotate(reason: str, *, lost: bool = False, new: Path | None = None, now: datetime | None = None) -> Rotation:
    """The runner signs with another key from now on; what the old one has signed still verifies.

    Args:
        reason: why; it is kept.
        lost: the old key is gone and cannot introduce the new one.
        new: the new key (then named by the settings); default: one is made below `var/keys`.

    Raises:
        OperatorError: nothing was ever signed here; no reason; the new key is one that is listed already.
        PlatformError: the old key is not here and is not said to be lost.
    """
    said = " ".join(reason.split())
    if not said or not said.isascii() or not said.isprintable():
        raise OperatorError("A new key wants a reason, in plain ASCII.", next="runbook keys rotate --reason 'yearly'")
    tree = Tree.own()
    with archive_lock():
        line = current_line(tree)
        if line is None:
            raise OperatorError(
                "No record was ever signed here: the first one makes the key.", next="runbook run backup-verification"
            )
        moment = (now or clock.now()).replace(microsecond=0)
        ends = _end_of(tree, line, moment)
        old = _old_key(tree, line, moment, lost)
        number = len(runner_keys(tree.signers)) + 1
        path = new.expanduser().absolute() if new is not None else make_own_key(number)
        public = public_key(path)
        fingerprint = signing.fingerprint_of_public(public)
        if any(one.fingerprint == fingerprint for one in runner_keys(tree.signers)):
            raise OperatorError(f"The key {fingerprint} has signed here before.", next="Make another one.")
        word = "lost" if old is None else "reason"
        begins = f"begins {write_time(moment)}\n" if moment != ends else ""
        text = (
            f"runbook key {number}\ntime {write_time(ends)}\n{begins}from {line.fingerprint}\nto {fingerprint}\n{word} {said}\n"
        ).encode("ascii")
        statement = tree.rotations / f"{number:06d}.txt"
        signature = statement.with_name(statement.name + ".sig")
        signature.unlink(missing_ok=True)  # of a rotation that crashed before it took effect
        if old is not None:
            replace_file(signature, signing.sign(text, old, EVIDENCE).encode("ascii"))
        replace_file(statement, text)
        end_and_add(tree, line, signer_line(line.principal, public, (EVIDENCE,), moment), ends)
        if old is not None and is_own(old):
            old.unlink()  # it has no use any more but to forge; its public half stays
        return Rotation(number, line.principal, line.fingerprint, fingerprint, old is not None)


def _end_of(tree: Tree, line: Signer, now: datetime) -> datetime:
    """When the current key ends: now, or after what it has signed where a clock ran ahead; else that would never verify again."""
    last = newest(tree, read_names(tree))
    try:
        said = read_archived(last) if last is not None else None
    except ValueError:
        said = None  # `runbook archive verify` reports it; it must not keep a key in use
    claimed = [one for one in (line.valid_after, said.at if said is not None else None) if one is not None]
    return max(now, *(one + timedelta(seconds=1) for one in claimed)) if claimed else now


def _old_key(tree: Tree, line: Signer, now: datetime, lost: bool) -> Path | None:
    try:
        found = signing_key(tree, now)
    except PlatformError:
        if lost:
            return None
        raise
    if lost:
        raise OperatorError(
            f"The key {line.fingerprint} is not lost: it is on this machine, and can introduce the next one.",
            next="runbook keys rotate --reason 'why'",
        )
    assert found is not None
    return found.path


def where_current(tree: Tree) -> str:
    """The current key for people."""
    line = current_line(tree)
    return f"{line.principal} {line.fingerprint}" if line is not None else f"none in {layout.short(tree.signers)}"
