"""The lines of an allowed_signers file that count in an archive, and signatures verified by one line each.

A line counts in one form only, the one that `runbook keys` writes. ssh-keygen reads more forms (no namespaces, a pattern, a certificate
authority): each of these is refused by name. What counts is handed to ssh-keygen line by line, so that the two can never read the
file differently.

Source: ssh-keygen(1), ALLOWED SIGNERS; OpenSSH 9.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from runbook.gates import signing
from runbook.gates.signers import Signer, parse_signers, write_moment
from runbook.plain import NotPlain, read_plain

#: What each key is for. A person's signature can never pass for the runner's.
EVIDENCE, WITNESS, REVIEW = "runbook-evidence", "runbook-witness", "runbook-review"
EXCEPTION = "runbook-exception"
#: What a person's line in an archive is for. Approvals are listed beside the params.
PERSON = (WITNESS, REVIEW, EXCEPTION)
#: A public key as it is listed.
KEY = (
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]+={0,2}"
)
_MOMENT = r'="\d{8,14}Z?"'
_LINE = re.compile(
    r'[A-Za-z0-9][A-Za-z0-9._@+-]{0,99} namespaces="[a-z-]+(?:,[a-z-]+)*"'
    rf"(?:,valid-after{_MOMENT})?(?:,valid-before{_MOMENT})? {KEY}(?: [ -~]*)?"
)


@dataclass(frozen=True)
class Refused:
    """What does not count, and why. `fingerprint` is the key's; empty when there is none to read."""

    kind: str
    where: str
    text: str
    fingerprint: str = ""


def read_lines(path: Path) -> tuple[list[Signer], list[Refused]]:
    """The lines of an allowed_signers file in the form that counts, and every other line that is not a comment.

    Lines end where ssh-keygen ends them: at a newline and nowhere else.
    """
    if not os.path.lexists(path):
        return [], []
    try:
        data = read_plain(path, follow=True)
    except NotPlain as cause:
        return [], [Refused("signers-line", path.name, cause.reason)]
    except FileNotFoundError:
        return [], [Refused("signers-line", path.name, "is a symbolic link to nothing")]
    found, refused = [], []
    for number, line in enumerate(data.decode("latin-1").split("\n"), start=1):
        if not line.strip(" \t") or re.fullmatch(r"#[\t -~]*", line):
            continue
        where = f"{path.name}, line {number}"
        read = _read_line(number, line) if _LINE.fullmatch(line) else None
        if read is not None and _is_for(read):
            found.append(read)
        else:
            refused.append(_refuse_line(where, line, read))
    return found, refused


def _read_line(number: int, line: str) -> Signer | None:
    (read,) = parse_signers(line)
    moments = [read.valid_after is not None, read.valid_before is not None]
    if not read.fingerprint or moments != ["valid-after=" in line, "valid-before=" in line]:
        return None
    return Signer(**{**vars(read), "line": number})


def _is_for(read: Signer) -> bool:
    return read.namespaces == (EVIDENCE,) or set(read.namespaces) <= set(PERSON)


def _refuse_line(where: str, line: str, read: Signer | None) -> Refused:
    fingerprint = read.fingerprint if read is not None else _any_fingerprint(line)
    if read is not None:
        why = f"is for {','.join(read.namespaces)}, which no single key has here"
    elif "cert-authority" in line:
        why = "names a certificate authority: certificates do not count here"
    elif "namespaces=" not in line:
        why = "names no purpose (namespaces): ssh-keygen would take its key for every purpose"
    elif any(mark in line for mark in "*?!"):
        why = "holds a pattern: ssh-keygen would take its key for more than one name or purpose"
    else:
        why = "is not in the form that `runbook keys` writes"
    shown = "".join(char if " " <= char <= "~" else "?" for char in line)[:60]
    return Refused("signers-line", where, f"{why}; it counts for nothing: {shown!r}", fingerprint)


def _any_fingerprint(line: str) -> str:
    found = re.search(KEY, line)
    return signing.fingerprint_of_public(found[0]) if found is not None else ""


def verify_line(data: bytes, signature: bytes | None, line: Signer, namespace: str, at: datetime) -> str | None:
    """None when ssh-keygen verifies the signature by exactly that line as of that moment, else why not."""
    if signature is None:
        return "its signature is missing or cannot be read"
    return _verify(data, signature, canonical_line(line, namespace), line.principal, namespace, at.astimezone(UTC))


@lru_cache(maxsize=4096)
def _verify(data: bytes, signature: bytes, line: str, principal: str, namespace: str, at: datetime) -> str | None:
    if not signing.is_canonical(signature.decode("latin-1")):
        return "its signature is truncated or altered"
    with signing.without_name(line + "\n") as signers, signing.without_name(signature.decode("ascii")) as signed:
        return signing.verify(data, signers, principal, namespace, signed, at)


def canonical_line(one: Signer, namespace: str) -> str:
    """The line as ssh-keygen gets it: one name, one purpose, one key."""
    options = [f'namespaces="{namespace}"']
    if one.valid_after is not None:
        options.append(f'valid-after="{write_moment(one.valid_after).removesuffix("Z")}"')
    if one.valid_before is not None:
        options.append(f'valid-before="{write_moment(one.valid_before).removesuffix("Z")}"')
    return f"{one.principal} {','.join(options)} {one.key}"


def lines_for(lines: Sequence[Signer], fingerprint: str, namespace: str) -> Iterator[Signer]:
    """The lines of a key that are for that purpose."""
    return (one for one in lines if one.fingerprint == fingerprint and namespace in (one.namespaces or (namespace,)))


def plain_bytes(path: Path) -> bytes | None:
    """A regular file's content; None for anything else, and for what is not there: whoever asks says "missing or cannot be read"."""
    try:
        return read_plain(path)
    except OSError:
        return None
