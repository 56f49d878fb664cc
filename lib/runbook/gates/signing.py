"""Signatures by OpenSSH: made and verified by `ssh-keygen -Y`, so that any machine with OpenSSH can check them.

A private key is never read here: ssh-keygen gets its path, or the path of a public key whose private half is held by
ssh-agent or a hardware token.

Source: ssh-keygen(1), PROTOCOL.sshsig; measured with OpenSSH 9.2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook import environment
from runbook.errors import CommandFailed, OperatorError, PlatformError
from runbook.outside.commands import Result, run

_VERIFY_SECONDS = 20.0
_SIGN_SECONDS = 60.0
#: A person may have to find a passphrase or a hardware token.
_ATTENDED_SECONDS = 300.0
_ARMOUR_WIDTH = 70
_ARMOUR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")


def program() -> str:
    """Where ssh-keygen is.

    Raises:
        PlatformError: it is not installed.
    """
    found = shutil.which("ssh-keygen")
    if found is None:
        raise PlatformError(
            "ssh-keygen is not installed: approvals are signed and verified with it.",
            next="Install OpenSSH's client (Debian: apt-get install openssh-client).",
        )
    return found


def sign_argv(keygen: str, key: Path, namespace: str) -> list[str]:
    """The command that signs what it reads on standard input, and prints the signature."""
    return [keygen, "-q", "-Y", "sign", "-n", namespace, "-f", str(key)]


def verify_argv(keygen: str, signers: Path, principal: str, namespace: str, signature: Path, at: datetime) -> list[str]:
    """The command that verifies what it reads on standard input, as of that moment (the environment says TZ=UTC)."""
    moment = at.astimezone(UTC).strftime("%Y%m%d%H%M%S")
    return [
        keygen, "-Y", "verify", "-f", str(signers), "-I", principal, "-n", namespace,
        "-s", str(signature), "-O", f"verify-time={moment}",
    ]  # fmt: skip


def check_argv(keygen: str, namespace: str, signature: Path) -> list[str]:
    """The command that says whether the signature is one over its standard input, by whatever key."""
    return [keygen, "-Y", "check-novalidate", "-n", namespace, "-s", str(signature)]


@dataclass(frozen=True)
class Signature:
    """What a signature says about itself; nothing of it is proven by reading it."""

    namespace: str
    fingerprint: str


def fingerprint_of_blob(blob: bytes) -> str:
    """A public key's fingerprint, as `ssh-keygen -l` shows it.

    >>> fingerprint_of_blob(b"")
    'SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU'
    """
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def fingerprint_of_public(public: str) -> str:
    """The fingerprint of a public key's line; empty when it is none.

    >>> fingerprint_of_public("no key")
    ''
    """
    try:
        return fingerprint_of_blob(base64.b64decode(public.split()[1], validate=True))
    except (binascii.Error, IndexError, ValueError):
        return ""


def _strings(data: bytes) -> list[bytes]:
    """The length-prefixed strings in SSH's wire format."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length or len(data) < 4:
            raise ValueError("cut short")
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return found


def read_signature(text: str) -> Signature | None:
    """Namespace and key of an armoured signature; None when the text is none."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != _ARMOUR:
        return None
    try:
        data = base64.b64decode("".join(lines[1:-1]), validate=True)
        if data[:10] != b"SSHSIG\x00\x00\x00\x01":
            return None
        key, namespace, *_ = _strings(data[10:])
        return Signature(namespace.decode(), fingerprint_of_blob(key))
    except (binascii.Error, ValueError):
        return None


def is_canonical(text: str) -> bool:
    """True for an armoured signature exactly as ssh-keygen writes it: no byte can differ unseen."""
    lines = text.split("\n")
    body = lines[1:-2]
    whole = "".join(body)
    wrapped = [whole[start : start + _ARMOUR_WIDTH] for start in range(0, len(whole), _ARMOUR_WIDTH)]
    if not body or [lines[0], *lines[-2:]] != [*_ARMOUR, ""] or body != wrapped:
        return False
    try:
        return base64.b64encode(base64.b64decode(whole, validate=True)).decode() == whole
    except (binascii.Error, ValueError):
        return False


def fingerprint_of(key: Path) -> str:
    """The fingerprint of the key in a file, private or public.

    Raises:
        OperatorError: there is no key in it.
    """
    result = run([program(), "-l", "-f", str(key)], timeout=_VERIFY_SECONDS, check=False)
    words = result.stdout.split()
    if result.code != 0 or len(words) < 2 or not words[1].startswith("SHA256:"):
        raise OperatorError(
            f"There is no SSH key in {key}: {_last_line(result)}",
            next="Name your private key, or the public key whose private half your ssh-agent holds: --key ~/.ssh/id_ed25519",
        )
    return words[1]


def public_key_of(key: Path) -> str:
    """The public half of a private key without a passphrase, as one line.

    Raises:
        OperatorError: there is no such key.
    """
    result = run([program(), "-y", "-P", "", "-f", str(key)], timeout=_VERIFY_SECONDS, check=False)
    if result.code != 0:
        raise OperatorError(
            f"There is no public half of the key {key}: {_last_line(result)}",
            next=f"Put it beside the key, as {key}.pub",
        )
    return result.stdout.strip()


def sign(data: bytes, key: Path, namespace: str) -> str:
    """The armoured signature over the data.

    At a terminal ssh-keygen may ask there for a passphrase, a PIN or a touch; without one it asks nobody. What is signed and the
    signature are never in a file: a process that is killed leaves none.

    Raises:
        OperatorError: the key cannot sign; ssh-keygen's own words say why.
    """
    attended = sys.stdin is not None and sys.stdin.isatty()
    seconds = _ATTENDED_SECONDS if attended else _SIGN_SECONDS
    # Standard input is no terminal then, and ssh-keygen would open a window to ask in, where there is a display.
    at_terminal = {"SSH_ASKPASS_REQUIRE": "never"} if attended else {}
    env = {**at_terminal, **environment.for_signing()}
    argv = sign_argv(program(), key, namespace)
    try:
        result = run(argv, timeout=seconds, check=False, attended=attended, stdin=data, env=env)
    except CommandFailed as cause:
        raise OperatorError(f"{key} could not sign: {cause.message}", next=cause.next) from cause
    if result.code != 0 or read_signature(result.stdout) is None:
        raise OperatorError(
            f"{key} could not sign: {_last_line(result)}",
            next=f"Try it alone: ssh-keygen -Y sign -n {namespace} -f {key} /etc/hostname",
        )
    return result.stdout


@contextmanager
def without_name(text: str) -> Iterator[Path]:
    """A path that ssh-keygen can open, of a file that has no name: a signature or a list of keys ends with this process, however that ends."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("ascii"))
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def is_over(data: bytes, namespace: str, signature: Path) -> bool:
    """True when the signature is one over exactly these bytes, whoever made it."""
    argv = check_argv(program(), namespace, signature)
    return run(argv, timeout=_VERIFY_SECONDS, check=False, stdin=data).code == 0


def verify(data: bytes, signers: Path, principal: str, namespace: str, signature: Path, at: datetime) -> str | None:
    """None when OpenSSH verifies it for that person as of that moment, else what ssh-keygen said."""
    argv = verify_argv(program(), signers, principal, namespace, signature, at)
    result = run(argv, timeout=_VERIFY_SECONDS, check=False, stdin=data)
    return None if result.code == 0 else _first_line(result)


def make_key(path: Path, comment: str) -> None:
    """A new key pair without a passphrase is in `path` (mode 0600) and `path.pub`."""
    argv = [program(), "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    run(argv, timeout=_SIGN_SECONDS)


def _lines(result: Result) -> list[str]:
    return [line.strip() for line in result.said.splitlines() if line.strip()] or ["ssh-keygen said nothing"]


def _first_line(result: Result) -> str:
    return _lines(result)[0]


def _last_line(result: Result) -> str:
    return _lines(result)[-1]
