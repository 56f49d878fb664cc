"""The runner's key: made at first use, listed in the archive's allowed_signers, followed by another one in due time.

The current key is the one whose line there has no end. Replacing that file is the moment in which a key begins or ends:
whatever crashes, the private half of the current key is there, and it is the only one that signs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.archive.archived import read_archived, write_time
from runbook.archive.tree import Tree
from runbook.disk import sync_folder
from runbook.errors import OperatorError, PlatformError
from runbook.gates import signerlines, signing, trust
from runbook.gates.decision import NAMESPACE as APPROVAL
from runbook.gates.signers import Signer
from runbook.params.controls import Evidence, load_controls
from runbook.params.names import plain_name

EVIDENCE, WITNESS, REVIEW, EXCEPTION = (
    signerlines.EVIDENCE,
    signerlines.WITNESS,
    signerlines.REVIEW,
    signerlines.EXCEPTION,
)

_MADE = re.compile(r"runner-(\d+)")


@dataclass(frozen=True)
class RunnerKey:
    """The key that signs now. `path` is what ssh-keygen is given; `since` when it began."""

    path: Path
    principal: str
    fingerprint: str
    since: datetime | None


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """The file holds the content, on the disk; a crash leaves what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(name, path)  # noqa: PTH104 - a plain rename; the name may hold the only copy until then
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def runner_keys(signers: Path) -> list[Signer]:
    """The lines of the runner's keys, oldest first."""
    return [one for one in signerlines.read_lines(signers)[0] if one.namespaces == (EVIDENCE,)]


def current_line(tree: Tree) -> Signer | None:
    """The line of the key that signs now; None when no key ever signed here."""
    lines = runner_keys(tree.signers)
    current = [one for one in lines if one.valid_before is None]
    if lines and len(current) != 1:
        raise PlatformError(
            f"{layout.short(tree.signers)} has {len(current)} lines of a runner's key without an end; there must be one.",
            next=f"Bring {layout.short(tree.signers)} back from a copy of the archive.",
        )
    return current[0] if current else None


def signing_key(tree: Tree, now: datetime) -> RunnerKey | None:
    """The key that signs this home's records; made and listed if there was none. Call under the archive's lock.

    Returns:
        None when there is no ssh-keygen on this machine and the archive was never signed: it stays unsigned, and
        `runbook archive verify` says so.

    Raises:
        PlatformError: the archive is signed by a key that is not here: a second writer, or a lost key.
    """
    evidence = load_controls().evidence
    _remove_half_made()
    line = current_line(tree)
    if line is None:
        if shutil.which("ssh-keygen") is None:
            return None
        path = _named(evidence) or _own_key(1)
        public = public_key(path)
        principal = evidence.signer or f"runner@{_host()}"
        _append(tree, signer_line(principal, public, (EVIDENCE,), now))
        return RunnerKey(path, principal, signing.fingerprint_of_public(public), now)
    for path in _candidates(evidence):
        if signing.fingerprint_of_public(public_key(path)) == line.fingerprint:
            return RunnerKey(path, line.principal, line.fingerprint, line.valid_after)
    raise PlatformError(
        f"This archive is signed by {line.principal} with the key {line.fingerprint}, and that key is not on this machine "
        f"(evidence.signing_key in params/controls.yaml, or {layout.short(layout.keys())}).",
        next="Bring the key back; if it is lost for good: runbook keys rotate --lost 'what happened'",
    )


def signer_line(principal: str, public: str, namespaces: Iterable[str], since: datetime | None) -> str:
    """A line of the archive's allowed_signers.

    >>> signer_line("runner@h", "ssh-ed25519 AAAA me", ("runbook-evidence",), None)
    'runner@h namespaces="runbook-evidence" ssh-ed25519 AAAA'
    """
    options = [f'namespaces="{",".join(namespaces)}"']
    if since is not None:
        options.append(f'valid-after="{write_time(since)}"')
    return f"{principal} {','.join(options)} {' '.join(public.split()[:2])}"


def public_key(path: Path) -> str:
    """The public half of a key, as one line.

    Raises:
        OperatorError: there is no key.
    """
    for place in (path, path.with_name(path.name + ".pub")):
        try:
            text = place.read_text("ascii", "replace").strip()
        except OSError:
            continue
        if re.match(r"(sk-)?(ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+", text):
            return text.splitlines()[0]
    return signing.public_key_of(path)


def end_and_add(tree: Tree, ended: Signer, line: str, at: datetime) -> None:
    """One key's time has ended and another's has begun, in one replacement of the file."""
    lines = tree.signers.read_text("utf-8").removesuffix("\n").split("\n")
    old = lines[ended.line - 1]
    lines[ended.line - 1] = re.sub(r'(namespaces="[^"]*"[^ ]*)', rf'\1,valid-before="{write_time(at)}"', old, count=1)
    replace_file(tree.signers, "".join(f"{one}\n" for one in [*lines, line]).encode())


def add_person(tree: Tree, principal: str, public: str | None, by: str) -> Signer:
    """The person's key may sign witnesses, reviews and exceptions: it is listed, and introduced by the runner. Call under the lock.

    Args:
        public: the key; None: the one that allowed_signers lists for this name already, from before the runner introduced people.
        by: who adds it.

    Raises:
        OperatorError: no name, no public key, a key of somebody else, or one that was introduced already.
        PlatformError: the runner's key is not here.
    """
    refuse_name(principal)
    listed = signerlines.read_lines(tree.signers)[0]
    if public is None:
        mine = [one for one in listed if one.principal == principal and one.namespaces != (EVIDENCE,)]
        if len(mine) != 1:
            raise OperatorError(
                f"{layout.short(tree.signers)} lists {len(mine)} keys for {principal}; one is needed.",
                next="Give the file of the public key too.",
            )
        public = mine[0].key
    key = one_public_key(public)
    fingerprint = signing.fingerprint_of_public(key)
    there = next((one for one in listed if one.fingerprint == fingerprint), None)
    if there is not None and (there.principal != principal or there.namespaces == (EVIDENCE,)):
        raise OperatorError(
            f"The key {fingerprint} is there already, as {there.principal} (line {there.line} of "
            f"{layout.short(tree.signers)}).",
            next="A witness signs with a key of their own.",
        )
    refuse_twin(principal, [one.principal for one in listed])
    if there is not None and trust.read_trust(tree.root).introduction(principal, fingerprint, WITNESS) is not None:
        raise OperatorError(
            f"The key {fingerprint} is there already, as {principal} (line {there.line} of {layout.short(tree.signers)}).",
            next="runbook archive witness",
        )
    introduce(tree, principal, key, signerlines.PERSON, by=by, was_listed=there is not None)
    if there is None:
        _append(tree, signer_line(principal, key, signerlines.PERSON, None))
    return next(one for one in signerlines.read_lines(tree.signers)[0] if one.fingerprint == fingerprint)


def introduce_approver(tree: Tree, line: Signer, by: str, *, was_listed: bool) -> bool:
    """The runner has introduced the person of that line for approvals, for as long as the line counts. Call under the archive's lock.

    Returns:
        False when that was done before.
    """
    if trust.is_introduced(line, trust.introduced_approvers(tree.root)):
        return False
    refuse_name(line.principal)
    introduce(tree, line.principal, line.key, (APPROVAL,), by=by, was_listed=was_listed, line=line)
    return True


def introduce(
    tree: Tree,
    principal: str,
    key: str,
    purposes: tuple[str, ...],
    *,
    by: str,
    was_listed: bool,
    line: Signer | None = None,
) -> trust.Introduction:
    """`keys/person-000001.txt` says that the person's key may sign, and is signed by the runner. Call under the archive's lock.

    The next record counts the introductions and holds their digest: from then on none can be changed, removed or put before it.

    Args:
        line: says for how long the key counts; for ever without it.

    Raises:
        OperatorError: there is no ssh-keygen, or this machine's clock is behind the newest record's.
        PlatformError: the runner's key is not here.
    """
    if tree.folders() and current_line(tree) is None:
        raise OperatorError(
            "No record here is signed yet: nothing would prove the introduction of a person's key.",
            next="runbook run backup-verification",
        )
    now = clock.now().replace(microsecond=0)
    runner = signing_key(tree, now)
    if runner is None:
        raise OperatorError(
            "ssh-keygen is not installed: the runner cannot sign the introduction of a person's key.",
            next="Install OpenSSH's client (Debian: apt-get install openssh-client).",
        )
    newest = _newest_moment(tree)
    begun = max((one for one in (newest, runner.since) if one is not None), default=now)
    if now < begun:
        raise OperatorError(
            f"This machine's clock says {clock.stamp(now)}, but the newest record, or the runner's key, is of {clock.stamp(begun)}.",
            next="Correct the clock, then give the command again.",
        )
    plain = " ".join(by.encode("ascii", "replace").decode().split()) or "nobody"
    number = len(trust.introduction_files(tree.root)) + 1
    if len(trust.counted_introductions(tree.root)) + 1 != number:
        raise OperatorError(
            f"{layout.short(tree.rotations)} holds an introduction that does not count: nobody can be introduced after it.",
            next="runbook archive verify",
        )
    made = trust.Introduction(
        number, now, trust.archive_id(tree.root) or trust.NEW, principal, key, purposes, was_listed, plain,
        line.valid_after if line is not None else None, line.valid_before if line is not None else None,
    )  # fmt: skip
    path = tree.rotations / f"person-{number:06d}.txt"
    signature = signing.sign(made.content(), runner.path, EVIDENCE).encode("ascii")
    replace_file(path.with_name(path.name + ".sig"), signature)
    replace_file(path, made.content())
    return made


def _newest_moment(tree: Tree) -> datetime | None:
    """When the newest record says it was archived; None when there is none, or none that says so."""
    for _, folder in reversed(tree.folders()):
        archived = read_archived(folder)
        return archived.at if archived is not None else None
    return None


def refuse_name(principal: str) -> None:
    """The name is one for a person.

    Raises:
        OperatorError: it is not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}", principal) or principal.startswith("runner@"):
        raise OperatorError(f"'{principal}' is no name for a person here.", next="Use their mail address.")


def refuse_twin(principal: str, names: Iterable[str]) -> None:
    """The name is not another spelling of one that is listed.

    Raises:
        OperatorError: it is.
    """
    for name in names:
        if name != principal and plain_name(name) == plain_name(principal):
            raise OperatorError(
                f"'{principal}' reads like '{name}', which is listed: one person has one name.",
                next=f"Use the name {name}.",
            )


def one_public_key(text: str) -> str:
    """The type and the key of a public key's single line, without options and comment.

    Raises:
        OperatorError: it is none.
    """
    if "PRIVATE KEY" in text:
        raise OperatorError(
            "This is a private key. Nobody else may have it, and it has no place here.",
            next="Give the file that ends with .pub.",
        )
    lines = text.strip().splitlines()
    key = " ".join(lines[0].split()[:2]) if len(lines) == 1 else ""
    if not re.fullmatch(signerlines.KEY, key) or not signing.fingerprint_of_public(key):
        raise OperatorError("A public key is one line, and this is none.", next="Give the file that ends with .pub.")
    return key


def make_own_key(number: int) -> Path:
    """A new key pair lies below `var/keys`; an unlisted one of that number, from a crash, is replaced."""
    folder = layout.keys()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"runner-{number}"
    _remove_half_made()
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
        made = Path(new) / path.name
        signing.make_key(made, f"runner-{number}")
        made.with_name(made.name + ".pub").rename(path.with_name(path.name + ".pub"))
        made.rename(path)  # last: a private key is never without its public one
    sync_folder(folder)
    return path


def _remove_half_made() -> None:
    """Remove the keys that a process was making when it died. Call under the archive's lock."""
    for half_made in layout.keys().glob(".new-*"):
        shutil.rmtree(half_made)


def is_own(path: Path) -> bool:
    """True for a key that was made here, not named by the settings."""
    return path.parent == layout.keys() and _MADE.fullmatch(path.name) is not None


def _own_key(number: int) -> Path:
    path = layout.keys() / f"runner-{number}"
    return path if path.is_file() else make_own_key(number)


def _candidates(evidence: Evidence) -> list[Path]:
    named = _named(evidence)
    own = (
        [path for path in layout.keys().glob("runner-*") if _MADE.fullmatch(path.name)]
        if layout.keys().is_dir()
        else []
    )
    return ([named] if named is not None else []) + sorted(own, reverse=True)


def _named(evidence: Evidence) -> Path | None:
    return layout.resolve(evidence.signing_key) if evidence.signing_key is not None else None


def _append(tree: Tree, line: str) -> None:
    before = tree.signers.read_text("utf-8") if tree.signers.is_file() else ""
    glue = "" if not before or before.endswith("\n") else "\n"
    replace_file(tree.signers, f"{before}{glue}{line}\n".encode())


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-.") or "host"
