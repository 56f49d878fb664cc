"""SHA256SUMS as `sha256sum` writes and checks them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SUMS = "SHA256SUMS"

_LINE = re.compile(r"^([0-9a-f]{64})  (.+)$")
_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_PREVIOUS = re.compile(r"^\.\./([^/]+)/" + SUMS + "$")


def sha256(content: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """The digest of a file's bytes; memory stays small whatever its size."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def is_plain_name(name: str) -> bool:
    """True for a name that every tool takes as it stands: no path, no blank, nothing sha256sum would escape.

    >>> is_plain_name("run.json"), is_plain_name("../x"), is_plain_name("a b")
    (True, False, False)
    """
    return _PLAIN.match(name) is not None


def write_sums(digests: dict[str, str], previous: tuple[str, str] | None) -> bytes:
    """The text of a SHA256SUMS.

    Args:
        digests: file name → digest; the lines stand sorted by name.
        previous: the folder of the record before, and the digest of its SHA256SUMS: the link of the chain.

    >>> write_sums({"b": "2" * 64, "a": "1" * 64}, None).decode().split()[1::2]
    ['a', 'b']
    """
    lines = [f"{digests[name]}  {name}" for name in sorted(digests)]
    if previous is not None:
        folder, digest = previous
        lines.append(f"{digest}  ../{folder}/{SUMS}")
    return "".join(line + "\n" for line in lines).encode()


def read_sums(text: str) -> tuple[dict[str, str], tuple[str, str] | None]:
    """What a SHA256SUMS says: file name → digest, and the previous record's folder and digest.

    Raises:
        ValueError: a line that is neither; it names the line.
    """
    digests: dict[str, str] = {}
    previous: tuple[str, str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number} is no line of sha256sum: {line[:80]!r}")
        digest, name = match[1], match[2]
        link = _PREVIOUS.match(name)
        if link is not None and previous is None:
            previous = (link[1], digest)
        elif is_plain_name(name) and name not in digests:
            digests[name] = digest
        else:
            raise ValueError(f"line {number} names no file of this record, or names it twice: {name[:80]!r}")
    return digests, previous
