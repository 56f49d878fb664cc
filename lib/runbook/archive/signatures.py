"""Signatures in an archive: verified by ssh-keygen; a refusal is told apart, since each means something else.

What a signature says about itself proves nothing; it is read to explain a refusal, and to know whose key to ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from runbook import clock
from runbook.archive.tree import Tree
from runbook.gates import signing, trust
from runbook.gates.signerlines import Refused, lines_for, verify_line
from runbook.gates.signers import Signer, read_signers
from runbook.gates.signing import Signature
from runbook.gates.trust import Introduction, Trust
from runbook.plain import NotPlain, read_plain


@dataclass(frozen=True)
class Signers:
    """The lines that count, read once, and what was refused. `path` is for people."""

    path: Path
    lines: tuple[Signer, ...]
    refused: tuple[Refused, ...] = ()
    trust: Trust = field(default_factory=Trust)

    @classmethod
    def of_archive(cls, tree: Tree, given: Path | None = None, handed_over: Sequence[str] = ()) -> Signers:
        """The runner's keys, and the people whom the runner has introduced.

        Args:
            given: an allowed_signers file that the reader got elsewhere: it is believed as it is.
            handed_over: fingerprints that the reader got elsewhere.
        """
        found = trust.read_trust(tree.root, signers=given, handed_over=handed_over)
        return cls(given or tree.signers, (*found.runners, *found.people), found.refused, found)

    @classmethod
    def of_gates(cls, path: Path) -> Signers:
        """The people who may approve, as the params list them."""
        return cls(path, tuple(read_signers(path)))

    def of(self, fingerprint: str) -> tuple[Signer, ...]:
        """The lines of a key."""
        return tuple(one for one in self.lines if one.fingerprint == fingerprint)

    def introduction(self, name: str, fingerprint: str, purpose: str) -> Introduction | None:
        """How the runner has introduced that person's key for that purpose."""
        return self.trust.introduction(name, fingerprint, purpose)


@dataclass(frozen=True)
class Judged:
    """Whether a signature counts: `problem` is None when ssh-keygen has verified it for `principal` with the key."""

    principal: str | None
    fingerprint: str | None
    kind: str = ""
    problem: str | None = None


def judge(
    data: bytes, signature: Path, namespace: str, at: datetime, signers: Signers, principal: str | None = None
) -> Judged:
    """Whether the signature over the data counts as of that moment.

    Args:
        principal: who must have signed; None: whoever allowed_signers lists with the key.
    """
    try:
        text = read_plain(signature).decode("ascii", "replace")
    except FileNotFoundError:
        return Judged(principal, None, "signature-missing", "is missing: the signature was removed")
    except NotPlain as cause:
        return Judged(principal, None, "signature-missing", cause.reason)
    except OSError as cause:
        return Judged(principal, None, "signature-missing", f"cannot be read: {cause.strerror}")
    read = signing.read_signature(text)
    if read is None or not signing.is_canonical(text):  # ssh-keygen skips blanks, and what stands behind the last line
        return Judged(principal, None, "signature-broken", "is no whole signature: it was truncated or altered")
    lines = signers.of(read.fingerprint)
    who = principal or next((one.principal for one in lines), None)
    for line in lines_for(lines, read.fingerprint, namespace) if data.isascii() else ():
        if line.principals == (who,) and verify_line(data, text.encode(), line, namespace, at) is None:
            return Judged(who, read.fingerprint)
    kind, problem = _explain(data, signature, namespace, at, read, lines, who, signers.refused)
    return Judged(who, read.fingerprint, kind, problem)


def _explain(
    data: bytes,
    signature: Path,
    namespace: str,
    at: datetime,
    read: Signature,
    lines: tuple[Signer, ...],
    who: str | None,
    refused: Sequence[Refused],
) -> tuple[str, str]:
    """Why ssh-keygen has refused it."""
    key = read.fingerprint
    if read.namespace != namespace:
        return "signature-purpose", f"was made for another purpose ({read.namespace[:60]!r}, not {namespace})"
    if not data.isascii() or not signing.is_over(data, namespace, signature):
        return "signature-other", "is not over these bytes: what was signed has been rewritten"
    if not lines:
        for bad in refused:
            if bad.fingerprint == key:
                return bad.kind, f"is by a key that does not count: {bad.where}: {bad.text}"
        return (
            "key-unknown",
            f"is by the key {key}, which allowed_signers does not list: another key was put in its place",
        )
    named = [one for one in lines if one.principal == who]
    if not named:
        return "key-unknown", f"is by the key {key} of {lines[0].principal}, not of {who}"
    for one in named:
        if one.valid_before is not None and at > one.valid_before:
            return (
                "key-ended",
                f"says {clock.stamp(at)}, but the key {key} had ended at {clock.stamp(one.valid_before)}",
            )
        if one.valid_after is not None and at < one.valid_after:
            return "key-ended", f"says {clock.stamp(at)}, but the key {key} began at {clock.stamp(one.valid_after)}"
    if all(one.namespaces and namespace not in one.namespaces for one in named):
        return "key-purpose", f"is by the key {key} of {who}, which is not for {namespace}"
    return "signature-other", f"is refused by ssh-keygen for {who} with the key {key}"
