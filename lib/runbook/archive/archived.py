"""`archived.txt`: what a record says about the moment it was archived. Signed with it, and read by `verify.sh`.

    archive 7d0c5c0f3e1b4a52
    time 20261123021538
    signer runner@db1
    runs 12 1234 <sha256 of the first 12 lines of RUNS, which are 1234 bytes>
    people 2 <sha256 of keys/person-000001.txt and keys/person-000002.txt, one after the other>
    record 000005-20261123T021338Z-backup-verification-sandbox

`archive` tells archives apart: a record copied from another one says so. `record` is the folder's name, so that the newest record
cannot be renamed either (records from before this line was added have their name compared with run.json alone). `time` is what the machine's clock said (UTC): a
claim, as every time is until a witness bounds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook.archive.sums import sha256
from runbook.archive.tree import Tree
from runbook.gates.signers import read_moment, write_moment
from runbook.gates.trust import counted_introductions
from runbook.plain import LARGEST_LEDGER, read_plain

ARCHIVED = "archived.txt"
#: Who has signed when nobody could.
NOBODY = "nobody"

_TEXT = re.compile(
    r"archive ([0-9a-f]{16})\ntime (\d{14})\nsigner ([A-Za-z0-9][A-Za-z0-9._@+-]*)\nruns (\d+) (\d+) ([0-9a-f]{64})\n"
    r"(?:people (\d+) ([0-9a-f]{64})\n)?(?:record ([0-9A-Za-z-]+)\n)?"
)


def write_time(moment: datetime) -> str:
    """A time without a Z, for ssh-keygen under TZ=UTC: OpenSSH before 9.1 refuses the Z.

    >>> from datetime import UTC
    >>> write_time(datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC))
    '20260131120005'
    """
    return write_moment(moment).removesuffix("Z")


@dataclass(frozen=True)
class Archived:
    """The moment of archiving, and the runs that had been opened by then: lines, bytes and digest of that part of RUNS.

    `people` and `people_digest`: how many people the runner had introduced by then; None in a record from before it introduced any.
    `record` is the name of the record's folder; None in records from before they said it.
    """

    archive: str
    at: datetime
    signer: str
    lines: int
    size: int
    digest: str
    people: int | None = None
    people_digest: str = ""
    record: str | None = None

    def content(self) -> bytes:
        """The file's bytes."""
        people = f"people {self.people} {self.people_digest}\n" if self.people is not None else ""
        record = f"record {self.record}\n" if self.record is not None else ""
        return (
            f"archive {self.archive}\ntime {write_time(self.at)}\nsigner {self.signer}\n"
            f"runs {self.lines} {self.size} {self.digest}\n{people}{record}"
        ).encode("ascii")


def read_archived(folder: Path) -> Archived | None:
    """What a record's folder says; None when it has no such file (an archive from before it was signed).

    Raises:
        ValueError: the file is there and is none.
    """
    path = folder / ARCHIVED
    try:
        match = _TEXT.fullmatch(read_plain(path).decode("ascii", "replace"))
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise ValueError(f"cannot be read: {cause.strerror}") from cause
    if match is None:
        raise ValueError("is not what a record says about its archiving")
    people = int(match[7]) if match[7] is not None else None
    runs = int(match[4]), int(match[5]), match[6]
    return Archived(match[1], read_moment(match[2]), match[3], *runs, people, match[8] or "", match[9])


def whole_lines(ledger: Path) -> bytes:
    """RUNS up to its last whole line: what is torn today may be whole tomorrow.

    Lines are only ever appended, so that what is read here stays the file's beginning.
    """
    try:
        data = read_plain(ledger, LARGEST_LEDGER)
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]


def archived_now(archive: str, at: datetime, signer: str, tree: Tree, record: str) -> Archived:
    """What a record archived at this moment says."""
    runs, people = whole_lines(tree.ledger), counted_introductions(tree.root)
    digest = people_digest(people)
    return Archived(archive, at, signer, runs.count(b"\n"), len(runs), sha256(runs), len(people), digest, record)


def people_digest(files: Sequence[Path]) -> str:
    """The digest of the introductions, one after the other."""
    return sha256(b"".join(read_plain(path) for path in files))
