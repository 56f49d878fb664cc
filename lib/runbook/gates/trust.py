"""Whose keys count for an archive: the runner's keys, each introduced by the one before, and the people whom the runner has introduced.

keys/000002.txt          one key of the runner follows another; signed by the one that ends. `time` is when that one ends; `begins` is there
                         only if the other began before that, since a clock had run ahead
keys/person-000001.txt   a person's key may sign; signed by the runner. `runbook keys add` writes it
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.gates import signing
from runbook.gates.decision import NAMESPACE as APPROVAL
from runbook.gates.signerlines import EVIDENCE, KEY, Refused, plain_bytes, read_lines, verify_line
from runbook.gates.signers import Signer, read_moment, write_moment

#: Written in place of the archive's id in an introduction that was made before the first record.
NEW = "new"

_ROTATION = re.compile(
    r"runbook key (\d+)\ntime (\d{14})\n(?:begins (\d{14})\n)?from (SHA256:\S+)\nto (SHA256:\S+)\n(reason|lost) ([ -~]+)\n"
)
_PERSON_FILE = re.compile(r"person-(\d{6})\.txt")
_PERSON = re.compile(
    r"runbook person (\d+)\ntime (\d{14})\narchive ([0-9a-f]{16}|new)\nname ([A-Za-z0-9][A-Za-z0-9._@+-]{0,99})\n"
    rf"key ({KEY})\nfor ([a-z,-]+)\nline (added|listed)\nby ([ -~]+)\n"
    r"valid (\d{14}|-) (\d{14}|-)\n"
)


@dataclass(frozen=True)
class Introduction:
    """The runner's statement that a person's key may sign. `was_listed`: the line was there before the runner introduced people."""

    number: int
    at: datetime
    archive: str
    name: str
    key: str
    purposes: tuple[str, ...]
    was_listed: bool
    by: str
    valid_after: datetime | None = None
    valid_before: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """The key's."""
        return signing.fingerprint_of_public(self.key)

    def content(self) -> bytes:
        """The signed bytes."""
        return (
            f"runbook person {self.number}\ntime {write_moment(self.at).removesuffix('Z')}\narchive {self.archive}\n"
            f"name {self.name}\nkey {self.key}\nfor {','.join(self.purposes)}\n"
            f"line {'listed' if self.was_listed else 'added'}\nby {self.by}\n"
            f"valid {_moment_or_dash(self.valid_after)} {_moment_or_dash(self.valid_before)}\n"
        ).encode("ascii")


@dataclass(frozen=True)
class Trust:
    """The lines that count, the introductions that verify, and all that was refused."""

    runners: tuple[Signer, ...] = ()
    people: tuple[Signer, ...] = ()
    introductions: tuple[Introduction, ...] = ()
    refused: tuple[Refused, ...] = ()

    def introduction(self, name: str, fingerprint: str, purpose: str) -> Introduction | None:
        """The first introduction of that person's key for that purpose."""
        mine = (
            one for one in self.introductions
            if one.name == name and one.fingerprint == fingerprint and purpose in one.purposes
        )  # fmt: skip
        return next(mine, None)


def read_trust(root: Path, *, signers: Path | None = None, handed_over: Sequence[str] = ()) -> Trust:
    """What counts for the archive below that folder.

    Args:
        signers: an allowed_signers file that the reader got elsewhere: its lines need no introduction.
        handed_over: fingerprints of keys of the runner that the reader got elsewhere.
    """
    lines, refused = read_lines(signers if signers is not None else root / "allowed_signers")
    runners = [one for one in lines if one.namespaces == (EVIDENCE,)]
    people = [one for one in lines if one.namespaces != (EVIDENCE,)]
    if signers is not None:
        return Trust(tuple(runners), tuple(people), (), tuple(refused))
    believed, bad = _runner_chain(root, runners, handed_over)
    introductions, unread = _read_introductions(root, believed)
    trust = Trust(tuple(believed), (), tuple(introductions))
    listed, strange = _introduced_people(people, runners, trust)
    return Trust(tuple(believed), tuple(listed), tuple(introductions), (*refused, *bad, *unread, *strange))


def _runner_chain(
    root: Path, runners: Sequence[Signer], handed_over: Sequence[str]
) -> tuple[list[Signer], list[Refused]]:
    """The runner's keys that count: the first one, and each that a key that counts has introduced, or that was handed over."""
    believed: list[Signer] = []
    refused = []
    for number, key in enumerate(runners, start=1):
        where = f"allowed_signers, line {key.line}"
        if key.fingerprint in {one.fingerprint for one in runners[: number - 1]}:
            refused.append(Refused("signers-line", where, f"lists the key {key.fingerprint} again"))
            continue
        if key.fingerprint in handed_over:
            believed.append(key)
            continue
        if number == 1:
            if handed_over:
                text = f"the first key {key.fingerprint} is none that was handed over"
                refused.append(Refused("key-unknown", where, text, key.fingerprint))
            else:
                believed.append(key)
            continue
        before = runners[number - 2]
        problem = _rotation_problem(root, before, key, number)
        if problem is None and before not in believed:
            problem = f"the key before it ({before.fingerprint}) does not count itself"
        if problem is None:
            believed.append(key)
        else:
            text = f"the key {key.fingerprint}: {problem}. {vouch_hint(key.fingerprint)}"
            refused.append(Refused("key-not-introduced", where, text, key.fingerprint))
    return believed, refused


def _rotation_problem(root: Path, before: Signer, key: Signer, number: int) -> str | None:
    """Why the key cannot be held for the runner's; None when the key before it has introduced it."""
    statement = root / "keys" / f"{number:06d}.txt"
    name = f"keys/{statement.name}"
    data = plain_bytes(statement)
    if data is None:
        return (
            f"nothing introduces it ({name} is missing or cannot be read): somebody may have put in a key of their own"
        )
    match = _ROTATION.fullmatch(data.decode("ascii", "replace"))
    if match is None or int(match[1]) != number:
        return f"{name} is not a statement about key {number}"
    if (match[4], match[5]) != (before.fingerprint, key.fingerprint):
        return f"{name} speaks of other keys ({match[4]} and {match[5]})"
    if match[6] == "lost":
        return f"the key before it could not introduce it, since it was lost ({match[7]}): somebody must vouch for it"
    try:
        moment, begun = read_moment(match[2]), read_moment(match[3] or match[2])
    except ValueError:
        return f"{name} is not a statement about key {number}"
    said = verify_line(data, plain_bytes(statement.with_name(statement.name + ".sig")), before, EVIDENCE, moment)
    if said is not None:
        return f"{name} is not signed by the key before it: {said}"
    if before.valid_before != moment or key.valid_after != begun:
        return (
            f"{name} says that one key ended at {clock.stamp(moment)} and the other began at {clock.stamp(begun)}, "
            "but allowed_signers does not"
        )
    return None


def vouch_hint(fingerprint: str) -> str:
    """What to do about a key that was not introduced."""
    return f"Compare with the fingerprint that was handed over; if it is the same: --key {fingerprint}"


def introduction_files(root: Path) -> list[Path]:
    """The files that introduce people, by number."""
    folder = root / "keys"
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PERSON_FILE.fullmatch(path.name))


def counted_introductions(root: Path) -> list[Path]:
    """The files of the introductions that a record counts: all that count, up to the first that does not."""
    numbers = {one.number for one in read_trust(root).introductions}
    files = introduction_files(root)
    until = next((index for index in range(len(files)) if index + 1 not in numbers), len(files))
    return files[:until]


def _read_introductions(root: Path, runners: Sequence[Signer]) -> tuple[list[Introduction], list[Refused]]:
    """The introductions that a key of the runner has signed, in this archive, without a gap."""
    found: list[Introduction] = []
    refused = []
    archive = archive_id(root)
    for expected, path in enumerate(introduction_files(root), start=1):
        read = read_introduction(path)
        problem = None
        if read is None:
            problem = "is not an introduction of a person"
        elif path.name != f"person-{expected:06d}.txt" or read.number != expected:
            problem = f"was put where person-{expected:06d}.txt belongs: one is missing or was renamed"
        elif read.archive not in (archive, NEW) and archive is not None:
            problem = f"was made for the archive {read.archive}, not for {archive}"
        else:
            problem = _introduction_signature(path, read, runners)
        if problem is None and read is not None:
            found.append(read)
        else:
            refused.append(Refused("introduction", f"keys/{path.name}", f"{problem}: it introduces nobody"))
    return found, refused


def _introduction_signature(path: Path, read: Introduction, runners: Sequence[Signer]) -> str | None:
    signature = plain_bytes(path.with_name(path.name + ".sig"))
    by = signing.read_signature(signature.decode("ascii", "replace")) if signature is not None else None
    mine = [one for one in runners if by is not None and one.fingerprint == by.fingerprint]
    if signature is None or not mine:
        return "is not signed by a key of the runner"
    said = verify_line(read.content(), signature, mine[0], EVIDENCE, read.at)
    return None if said is None else f"is not signed by the runner: {said}"


def read_introduction(path: Path) -> Introduction | None:
    """What a file says; None when it is not an introduction."""
    data = plain_bytes(path)
    match = _PERSON.fullmatch(data.decode("latin-1")) if data is not None else None
    if match is None:
        return None
    try:
        at, *valid = (read_moment(text) if text != "-" else None for text in (match[2], match[9], match[10]))
    except ValueError:
        return None
    assert at is not None
    purposes = tuple(match[6].split(","))
    return Introduction(
        int(match[1]), at, match[3], match[4], match[5], purposes, match[7] == "listed", match[8], *valid
    )


def _moment_or_dash(moment: datetime | None) -> str:
    return write_moment(moment).removesuffix("Z") if moment is not None else "-"


def _introduced_people(
    people: Sequence[Signer], runners: Sequence[Signer], trust: Trust
) -> tuple[list[Signer], list[Refused]]:
    """The people's lines that the runner has introduced. A fingerprint that was handed over vouches for keys of the runner alone."""
    listed, refused = [], []
    for one in people:
        where = f"allowed_signers, line {one.line}"
        if one.fingerprint in {runner.fingerprint for runner in runners}:
            refused.append(
                Refused("signers-line", where, f"lists a key of the runner as {one.principal}", one.fingerprint)
            )
        elif all(trust.introduction(one.principal, one.fingerprint, purpose) for purpose in one.namespaces):
            listed.append(one)
        else:
            text = (
                f"nothing introduces the key {one.fingerprint} of {one.principal}: the line was put in by hand, or is from before "
                f"the runner introduced people. It counts for nothing until the fingerprint is confirmed by {one.principal} and: "
                f"runbook keys add {one.principal} --witness"
            )
            refused.append(Refused("person-not-introduced", where, text, one.fingerprint))
    return listed, refused


def archive_id(root: Path) -> str | None:
    """The id in the newest record's archived.txt; None before the first signed record."""
    folder = root / "records"
    names = sorted((path.name for path in folder.iterdir() if path.name[:6].isdigit()) if folder.is_dir() else ())
    for name in reversed(names):
        data = plain_bytes(folder / name / "archived.txt")
        match = re.match(rb"archive ([0-9a-f]{16})\n", data) if data is not None else None
        if match is not None:
            return match[1].decode()
    return None


def introduced_approvers(root: Path | None = None) -> tuple[Introduction, ...]:
    """Everybody whom the runner of this home has introduced for approvals."""
    trust = read_trust(root if root is not None else layout.reports())
    return tuple(one for one in trust.introductions if APPROVAL in one.purposes)


def is_introduced(line: Signer, introductions: Sequence[Introduction]) -> bool:
    """True when an introduction is of that name and key, and for all the time for which the line says that it counts."""
    return any(
        (one.name,) == line.principals
        and one.fingerprint == line.fingerprint
        and (one.valid_after is None or (line.valid_after is not None and line.valid_after >= one.valid_after))
        and (one.valid_before is None or (line.valid_before is not None and line.valid_before <= one.valid_before))
        for one in introductions
    )
