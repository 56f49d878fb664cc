"""The runner's key: made at first use, listed in the archive's allowed_signers, followed by another one in due time.

The current key is the one whose line there has no end. Replacing that file is the moment in which a key begins or ends:
whatever crashes, the private half of the current key is there, and it is the only one that signs.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import layout
from runbook.archive.archived import write_time
from runbook.archive.tree import Tree
from runbook.disk import sync_folder
from runbook.errors import OperatorError, PlatformError
from runbook.gates import signing
from runbook.gates.signers import Signer, read_signers
from runbook.params.controls import Evidence, load_controls

#: What each key is for. A person's signature can never pass for the runner's.
EVIDENCE, WITNESS, REVIEW = "runbook-evidence", "runbook-witness", "runbook-review"
EXCEPTION = "runbook-exception"

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
    return [one for one in read_signers(signers) if EVIDENCE in one.namespaces and one.fingerprint]


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
    line = current_line(tree)
    if line is None:
        if shutil.which("ssh-keygen") is None:
            return None
        path = _named(evidence) or _own_key(1)
        public = public_key(path)
        principal = evidence.signer or f"runner@{_host()}"
        _append(tree, signer_line(principal, public, (EVIDENCE,), now))
        return RunnerKey(path, principal, fingerprint_of_public(public), now)
    for path in _candidates(evidence):
        if fingerprint_of_public(public_key(path)) == line.fingerprint:
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


def fingerprint_of_public(public: str) -> str:
    """The fingerprint of a public key's line; empty when it is none."""
    try:
        return signing.fingerprint_of_blob(base64.b64decode(public.split()[1], validate=True))
    except (binascii.Error, IndexError, ValueError):
        return ""


def end_and_add(tree: Tree, ended: Signer, line: str, at: datetime) -> None:
    """One key's time has ended and another's has begun, in one replacement of the file."""
    lines = tree.signers.read_text("utf-8").splitlines()
    old = lines[ended.line - 1]
    lines[ended.line - 1] = re.sub(r'(namespaces="[^"]*"[^ ]*)', rf'\1,valid-before="{write_time(at)}"', old, count=1)
    replace_file(tree.signers, "".join(f"{one}\n" for one in [*lines, line]).encode())


def add_person(tree: Tree, principal: str, public: str) -> Signer:
    """The person's key may sign witnesses, reviews and exceptions of this archive. Call under the archive's lock.

    Raises:
        OperatorError: no name, no public key, or a key that is listed already.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}", principal) or principal.startswith("runner@"):
        raise OperatorError(f"'{principal}' is no name for a person here.", next="Use their mail address.")
    fingerprint = fingerprint_of_public(public)
    if not fingerprint or "PRIVATE KEY" in public or len(public.strip().splitlines()) != 1:
        raise OperatorError("This is no public key of one line.", next="Give the file that ends with .pub.")
    for one in read_signers(tree.signers):
        if one.fingerprint == fingerprint:
            raise OperatorError(
                f"The key {fingerprint} is there already, as {one.principal} (line {one.line} of "
                f"{layout.short(tree.signers)}).",
                next="A witness signs with a key of their own.",
            )
    _append(tree, signer_line(principal, public, (WITNESS, REVIEW, EXCEPTION), None))
    return read_signers(tree.signers)[-1]


def make_own_key(number: int) -> Path:
    """A new key pair lies below `var/keys`; an unlisted one of that number, from a crash, is replaced."""
    folder = layout.keys()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"runner-{number}"
    for half_made in folder.glob(".new-*"):  # by a process that died; we hold the archive's lock
        shutil.rmtree(half_made)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as new:
        made = Path(new) / path.name
        signing.make_key(made, f"runner-{number}")
        made.with_name(made.name + ".pub").rename(path.with_name(path.name + ".pub"))
        made.rename(path)  # last: a private key is never without its public one
    sync_folder(folder)
    return path


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
