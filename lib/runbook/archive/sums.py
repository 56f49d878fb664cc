"""SHA256SUMS as `sha256sum` writes and checks them."""

from __future__ import annotations

import hashlib
import re

SUMS = "SHA256SUMS"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREVIOUS = re.compile(r"\.\./([^/]+)/" + SUMS)


def sha256(content: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def is_plain_name(name: str) -> bool:
    """True for a name that every tool takes as it stands: no path, no blank, nothing sha256sum would escape.

    >>> is_plain_name("run.json"), is_plain_name("../x"), is_plain_name("a b"), is_plain_name("run.json\\n")
    (True, False, False, False)
    """
    return _PLAIN.fullmatch(name) is not None


def lines_of(text: str) -> list[str]:
    """The lines as sha256sum and a shell part them: at a newline, and at no other character.

    >>> lines_of("a\\x0cb\\nc\\n")
    ['a\\x0cb', 'c']
    """
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


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
        ValueError: a line that is neither, or one without its end; it names the line.
    """
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    digests: dict[str, str] = {}
    previous: tuple[str, str] | None = None
    for number, line in enumerate(lines_of(text), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is no line of sha256sum: {line[:80]!r}")
        digest, name = match[1], match[2]
        link = _PREVIOUS.fullmatch(name)
        if link is not None and previous is None:
            previous = (link[1], digest)
        elif is_plain_name(name) and name not in digests:
            digests[name] = digest
        else:
            raise ValueError(f"line {number} names no file of this record, or names it twice: {name[:80]!r}")
    return digests, previous
