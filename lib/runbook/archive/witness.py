"""A witness: the newest record's name and digest, to be kept where whoever holds the archive cannot reach.

    # witness of archive 7d0c5c0f3e1b4a52 up to record 000020
    # written 20261123021538 by olaf on db1
    # the record was signed with SHA256:…
    <digest>  records/000020-…/SHA256SUMS

Since each SHA256SUMS holds the one before, this one line bounds all of them: `sha256sum -c --strict FILE` inside the archive proves
that nothing up to there was removed or rewritten. Signed by a second person (`runbook-witness`), it also says who has seen it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.archive.archived import write_time
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.keys import WITNESS, replace_file
from runbook.archive.signatures import Judged, Signers, judge
from runbook.archive.sums import SUMS
from runbook.archive.tree import Tree
from runbook.archive.verified import Verified
from runbook.errors import OperatorError
from runbook.gates import signing
from runbook.gates.signers import read_moment
from runbook.plain import read_plain

_TEXT = re.compile(
    r"# witness of archive ([0-9a-f]{16}) up to record (\d{6})\n# written (\d{14}) by ([^\n]+)\n"
    r"# the record was signed with (SHA256:\S+)\n([0-9a-f]{64})  records/(\d{6}-[0-9A-Za-z-]+)/SHA256SUMS\n"
)


@dataclass(frozen=True)
class Witness:
    """What a witness file says."""

    archive: str
    number: int
    written: datetime
    by: str
    fingerprint: str
    sums: str
    record: str

    def content(self) -> bytes:
        """The file's bytes."""
        return (
            f"# witness of archive {self.archive} up to record {self.number:06d}\n"
            f"# written {write_time(self.written)} by {self.by}\n# the record was signed with {self.fingerprint}\n"
            f"{self.sums}  records/{self.record}/{SUMS}\n"
        ).encode("ascii")


def read_witness(data: bytes) -> Witness | None:
    """What the bytes say; None when they are no witness's."""
    match = _TEXT.fullmatch(data.decode("ascii", "replace").replace("\r\n", "\n"))
    if match is None:
        return None
    try:
        written = read_moment(match[3])
    except ValueError:
        return None
    return Witness(match[1], int(match[2]), written, match[4], match[5], match[6], match[7])


def write_witness(found: Verified, by: str, now: datetime | None = None) -> Path:
    """The head of an archive that verifies is in `witnesses/`; one that is there already stays as it is.

    Args:
        by: who writes it, for people: `olaf on db1`.

    Raises:
        OperatorError: the archive does not verify, or its newest record is not signed: there is nothing to vouch for.
    """
    if not found.is_proven or found.signed[-1] is not found.looked[-1]:
        raise OperatorError(
            "The archive does not verify: a witness would vouch for something that is not proven.",
            next="runbook archive verify",
        )
    head = found.looked[-1]
    signature = signing.read_signature(head.signature.read_text("utf-8"))
    assert head.archived is not None and signature is not None
    path = Tree(found.root).witnesses / f"{head.number:06d}.txt"
    if path.is_file():
        there = read_witness(path.read_bytes())
        if there is not None and (there.record, there.sums) == (head.name, head.sums_sha256):
            return path
    plain = " ".join(by.encode("ascii", "replace").decode().split())
    written = Witness(
        head.archived.archive,
        head.number,
        now or clock.now(),
        plain,
        signature.fingerprint,
        head.sums_sha256,
        head.name,
    )
    replace_file(path, written.content())
    return path


def countersign(path: Path, key: Path) -> Path:
    """The file is signed by that person, beside it. Returns the signature's file."""
    signature = path.with_name(path.name + ".sig")
    replace_file(signature, signing.sign(path.read_bytes(), key, WITNESS).encode("ascii"))
    return signature


@dataclass(frozen=True)
class Seen:
    """What a witness proves: `problem`, or the number up to which nothing was removed or rewritten; and who has signed."""

    number: int
    said: str
    problem: Problem | None = None


def check_witness(path: Path, looked: Sequence[Looked], signers: Signers) -> Seen:
    """The archive against what the witness saw.

    Raises:
        OperatorError: the file cannot be read, or is no witness's.
    """
    try:
        data = read_plain(path, follow=True)
    except OSError as cause:
        raise OperatorError(
            f"{layout.short(path)} cannot be read: {cause.strerror}.", next="Give a witness's file."
        ) from None
    said, where = read_witness(data), path.name
    if said is None:
        raise OperatorError(f"{layout.short(path)} is no witness's file.", next="runbook archive witness writes one.")
    archive = next((one.archived.archive for one in looked if one.archived is not None), None)
    if archive is not None and archive != said.archive:
        return Seen(0, "", Problem("witness-foreign", where, f"saw the archive {said.archive}; this one is {archive}"))
    numbers = {one.number: one for one in looked}
    there = numbers.get(said.number)
    if there is None:
        last = max(numbers, default=0)
        text = f"saw {said.record}, but the archive ends at {last:06d}: the newest records were removed"
        if last > said.number:
            text = f"saw {said.record}, which is not here: it was removed"
        return Seen(0, "", Problem("witness-removed", where, text))
    if (there.name, there.sums_sha256) != (said.record, said.sums):
        text = f"saw another {said.number:06d}: the archive was rewritten, by whoever has the runner's key"
        return Seen(0, "", Problem("witness-rewritten", where, text))
    signature = path.with_name(path.name + ".sig")
    judged = Judged(None, None)
    if os.path.lexists(signature):
        judged = judge(data, signature, WITNESS, clock.now(), signers)
        if judged.problem is not None:
            problem = Problem("witness-signature", signature.name, f"{judged.problem} ({judged.kind})")
            return Seen(0, "", problem)
    who = (
        f"countersigned by {judged.principal}"
        if judged.principal
        else "not countersigned: it proves what its keeper says"
    )
    text = f"Witness {where} ({who}; written {clock.stamp(said.written)}): nothing up to {said.number:06d} was removed or rewritten."
    return Seen(said.number, text)


def kept_witnesses(tree: Tree) -> list[Path]:
    """The witnesses that lie in the archive itself: they prove little there, but must not contradict it."""
    return sorted(tree.witnesses.glob("[0-9]*.txt")) if tree.witnesses.is_dir() else []
