"""allowed_signers: whose keys count. Read as OpenSSH reads it, and stricter: an approval needs one person a line.

Source: ssh-keygen(1), ALLOWED SIGNERS; times without a Z are read as UTC, as everywhere in this house.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook import layout
from runbook.errors import OperatorError
from runbook.gates import signing
from runbook.gates.decision import NAMESPACE
from runbook.params.schema import Params

#: The two people of the sandbox.
PRACTICE = ("practice-one@sandbox", "practice-two@sandbox")

_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


@dataclass(frozen=True)
class Signer:
    """One line. `problem` says why it cannot count for an approval, or is None."""

    line: int
    principals: tuple[str, ...]
    key_type: str
    fingerprint: str
    comment: str
    valid_after: datetime | None
    valid_before: datetime | None
    namespaces: tuple[str, ...]
    problem: str | None
    blob: str = ""

    def is_valid_at(self, moment: datetime) -> bool:
        """True within the key's validity."""
        begun = self.valid_after is None or moment >= self.valid_after
        return begun and (self.valid_before is None or moment < self.valid_before)

    @property
    def principal(self) -> str:
        """The person."""
        return ",".join(self.principals)

    @property
    def key(self) -> str:
        """The public key as a line of an authorized_keys file has it, without the comment."""
        return f"{self.key_type} {self.blob}"


def read_moment(text: str) -> datetime:
    """A time as allowed_signers writes it.

    >>> read_moment("20260131Z").isoformat()
    '2026-01-31T00:00:00+00:00'

    Raises:
        ValueError: it is none.
    """
    digits = text.removesuffix("Z")
    if len(digits) not in _TIMES or not digits.isdigit():
        raise ValueError(f"'{text}' is no time such as 20260131Z")
    return datetime.strptime(digits, _TIMES[len(digits)]).replace(tzinfo=UTC)


def write_moment(moment: datetime) -> str:
    """The time as allowed_signers wants it, in UTC."""
    return moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")


def parse_signers(text: str) -> list[Signer]:
    """Every line that is neither empty nor a comment, in order.

    >>> parse_signers('ann namespaces="file" ssh-ed25519 AAAA').pop().problem
    "its namespaces do not include 'runbook-approval'"
    """
    return [
        _parse_line(number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.strip().startswith("#")
    ]


def _words(line: str) -> list[str]:
    """Blank-separated words; blanks within double quotes part nothing."""
    return re.findall(r'(?:[^\s"]|"[^"]*")+', line)


def _parse_line(number: int, line: str) -> Signer:
    words = _words(line)
    options: dict[str, str] = {}
    rest = words[1:]
    if rest and not _is_key_type(rest[0]):
        for option in re.findall(r'(?:[^,"]|"[^"]*")+', rest[0]):
            name, _, value = option.partition("=")
            options[name.lower()] = value.strip('"')
        rest = rest[1:]
    key_type, blob, *more = [*rest, "", ""]
    principals = tuple(words[0].strip('"').split(",")) if words else ()
    namespaces = tuple(options["namespaces"].split(",")) if "namespaces" in options else ()
    problem, fingerprint = _key_problem(key_type, blob)
    moments: dict[str, datetime | None] = {"valid-after": None, "valid-before": None}
    for name in moments:
        if name in options:
            try:
                moments[name] = read_moment(options[name])
            except ValueError as cause:
                problem = problem or f"{name}: {cause}"
    if any(mark in one for one in principals for mark in "*?!"):
        problem = problem or "it names a pattern, not a person"
    elif len(principals) != 1:
        problem = problem or "it names several people for one key"
    if "cert-authority" in options:
        problem = problem or "it names a certificate authority; certificates are not taken for approvals"
    if namespaces and NAMESPACE not in namespaces:
        problem = problem or f"its namespaces do not include '{NAMESPACE}'"
    return Signer(
        number, principals, key_type, fingerprint, " ".join(more).strip(), moments["valid-after"], moments["valid-before"],
        namespaces, problem, blob,
    )  # fmt: skip


def _is_key_type(word: str) -> bool:
    return bool(re.fullmatch(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+", word))


def _key_problem(key_type: str, blob: str) -> tuple[str | None, str]:
    """What is wrong with the key, and its fingerprint."""
    try:
        data = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not _is_key_type(key_type) or not data:
        return "it has no public key", ""
    return None, signing.fingerprint_of_blob(data)


def practice_folder() -> Path:
    return layout.keys()


def practice_signers() -> Path:
    """The sandbox's own allowed_signers."""
    return practice_folder() / "allowed_signers"


def signers_path(params: Params) -> Path:
    """The target's allowed_signers file, which need not be there yet."""
    if params.approvals.allowed_signers is not None:
        return layout.resolve(params.approvals.allowed_signers)
    if params.environment == "sandbox":
        return practice_signers()
    return layout.params() / "allowed_signers"


def read_signers(path: Path) -> list[Signer]:
    """The file's lines; none when there is no file.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return parse_signers(path.read_text("utf-8", "replace"))
    except FileNotFoundError:
        return []
    except OSError as cause:
        raise OperatorError(
            f"{layout.short(path)} cannot be read: {cause.strerror}.", next=f"chmod o+r {layout.short(path)}"
        ) from cause


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def signer_line(principal: str, public_key: str, valid_from: datetime | None, valid_to: datetime | None) -> str:
    """A line for one person.

    >>> signer_line("ann@x.example", "ssh-ed25519 AAAA ann", None, None)
    'ann@x.example namespaces="runbook-approval" ssh-ed25519 AAAA ann'
    """
    options = [f'namespaces="{NAMESPACE}"']
    if valid_from is not None:
        options.append(f'valid-after="{write_moment(valid_from)}"')
    if valid_to is not None:
        options.append(f'valid-before="{write_moment(valid_to)}"')
    return f"{principal} {','.join(options)} {' '.join(public_key.split())}"


def add_signer(
    path: Path, principal: str, public_key: str, valid_from: datetime | None = None, valid_to: datetime | None = None
) -> Signer:
    """The person's public key is in the file, on the disk.

    Raises:
        OperatorError: no name for a person, no public key, a private key, or one that is there already.
    """
    if not _PRINCIPAL.fullmatch(principal):
        raise OperatorError(
            f"'{principal}' is no name for a person here: letters, digits and . _ @ + - only.",
            next="Use their mail address.",
        )
    if "PRIVATE KEY" in public_key:
        raise OperatorError(
            "This is a private key. Nobody else may have it, and it has no place here.",
            next="Give the file that ends with .pub.",
        )
    if len(public_key.strip().splitlines()) != 1:
        raise OperatorError("A public key is one line.", next="Give the file that ends with .pub.")
    made = parse_signers(signer_line(principal, public_key, valid_from, valid_to))[0]
    if made.problem is not None:
        raise OperatorError(f"The key cannot be added: {made.problem}.", next="Give the file that ends with .pub.")
    if valid_from is not None and valid_to is not None and valid_to <= valid_from:
        raise OperatorError("The validity ends before it begins.", next="Correct --valid-from or --valid-to.")
    with _folder_lock(path.parent):
        for signer in read_signers(path):
            if signer.fingerprint == made.fingerprint:
                raise OperatorError(
                    f"The key {made.fingerprint} is there already, as {signer.principal} (line {signer.line} of "
                    f"{layout.short(path)}).",
                    next=f"Edit that line of {layout.short(path)}.",
                )
        before = path.read_text("utf-8") if path.is_file() else ""
        glue = "" if not before or before.endswith("\n") else "\n"
        line = signer_line(principal, public_key, valid_from, valid_to)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{glue}{line}\n")
            file.flush()
            os.fsync(file.fileno())
    return read_signers(path)[-1]


def make_practice_keys() -> list[Path]:
    """The sandbox's two people have their keys (private ones 0600, below var/). Safe twice. Returns the private keys."""
    folder = practice_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signers = practice_signers()
    keys = []
    for principal in PRACTICE:
        key = folder / principal.partition("@")[0]
        with _folder_lock(folder):
            if not key.with_name(key.name + ".pub").is_file():
                key.unlink(missing_ok=True)  # half of a pair, from a process that died
                signing.make_key(key, principal)
        public = key.with_name(key.name + ".pub").read_text("utf-8")
        fingerprint = signing.fingerprint_of_blob(base64.b64decode(public.split()[1]))
        if all(signer.fingerprint != fingerprint for signer in read_signers(signers)):
            add_signer(signers, principal, public)
        keys.append(key)
    return keys


def practice_fingerprints() -> set[str]:
    """The keys that prove nothing outside the sandbox."""
    return {signer.fingerprint for signer in read_signers(practice_signers())}
