"""Signatures in an archive: verified by ssh-keygen; a refusal is told apart, since each means something else.

What a signature says about itself proves nothing; it is read to explain a refusal, and to know whose key to ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from runbook import clock
from runbook.gates import signing
from runbook.gates.signers import Signer, read_signers
from runbook.gates.signing import Signature


@dataclass(frozen=True)
class Signers:
    """An allowed_signers file, read once."""

    path: Path

    @cached_property
    def lines(self) -> tuple[Signer, ...]:
        return tuple(read_signers(self.path))

    def of(self, fingerprint: str) -> tuple[Signer, ...]:
        """The lines of a key."""
        return tuple(one for one in self.lines if one.fingerprint == fingerprint)


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
    if signature.exists() and not signature.is_file():
        return Judged(principal, None, "signature-missing", "is no regular file")
    try:
        text = signature.read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        return Judged(principal, None, "signature-missing", "is missing: the signature was removed")
    except OSError as cause:
        return Judged(principal, None, "signature-missing", f"cannot be read: {cause.strerror}")
    read = signing.read_signature(text)
    if read is None or not signing.is_canonical(text):  # ssh-keygen skips blanks, and what stands behind the last line
        return Judged(principal, None, "signature-broken", "is no whole signature: it was truncated or altered")
    lines = signers.of(read.fingerprint)
    who = principal or next((one.principal for one in lines), None)
    if data.isascii() and who is not None:
        said = signing.verify(data, signers.path, who, namespace, signature, at)
        if said is None:
            return Judged(who, read.fingerprint)
    kind, problem = _explain(data, signature, namespace, at, read, lines, who)
    return Judged(who, read.fingerprint, kind, problem)


def _explain(
    data: bytes,
    signature: Path,
    namespace: str,
    at: datetime,
    read: Signature,
    lines: tuple[Signer, ...],
    who: str | None,
) -> tuple[str, str]:
    """Why ssh-keygen has refused it."""
    key = read.fingerprint
    if read.namespace != namespace:
        return "signature-purpose", f"was made for another purpose ({read.namespace[:60]!r}, not {namespace})"
    if not data.isascii() or not signing.is_over(data, namespace, signature):
        return "signature-other", "is not over these bytes: what was signed has been rewritten"
    if not lines:
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
