"""The archive's records as evidence: each with the reason why it proves nothing, or with none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook import layout
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.records import read_record
from runbook.archive.review import Review, check_reviews
from runbook.archive.signatures import Signers
from runbook.archive.tree import Tree
from runbook.archive.verify import verify_archive
from runbook.errors import PlatformError
from runbook.gates import signing
from runbook.model import RunRecord, Verdict
from runbook.plain import read_plain

#: Problems that name a record and say nothing against it: others were removed before it, or its payload is half deleted.
_NOT_ITS_OWN = frozenset({"gap", "half-pruned", "run-missing"})


@dataclass(frozen=True)
class Evidence:
    """A record, and why it does not count. `review` is the newest signed review of it that verifies."""

    number: int
    folder: str
    record: RunRecord
    doubt: str | None = None
    review: Review | None = None

    @property
    def certified_by(self) -> str | None:
        """Who has accepted it last, if the last word on it was acceptance."""
        return self.review.reviewer if self.review is not None and self.review.accepted else None


def read_evidence() -> list[Evidence]:
    """Every record of this home that can be read, oldest first. An empty list when there is no archive yet.

    Raises:
        PlatformError: there is no ssh-keygen: no signature can be verified.
    """
    if not layout.records().is_dir():
        return []
    tree = Tree.own()
    found = verify_archive()
    signed = {one.name for one in found.signed}
    newest = {}
    for review in sorted(check_reviews(tree, found.looked, Signers.of_archive(tree))[1], key=lambda one: one.at):
        newest[review.record] = review
    evidence = []
    for looked in found.looked:
        try:
            record = read_record(looked.folder)
        except PlatformError:
            continue  # it proves nothing, and nothing says of what it would
        doubt = record_doubt(looked, found.problems, is_signed=looked.name in signed)
        evidence.append(Evidence(looked.number, looked.name, record, doubt, newest.get(looked.name)))
    return evidence


def record_doubt(looked: Looked, problems: Sequence[Problem], *, is_signed: bool) -> str | None:
    """Why the record does not verify; None when it does."""
    for problem in problems:
        if problem.where.split("/")[0] == looked.name and problem.kind not in _NOT_ITS_OWN:
            return str(problem)
    if not is_signed:
        return f"{looked.name} is not signed: nothing proves who made it"
    doubtful = [one for one in problems if one.kind in ("key-not-introduced", "key-unknown")]
    read = signing.read_signature(_text(looked.signature)) if doubtful else None
    return next((str(one) for one in doubtful if read is not None and read.fingerprint in one.text), None)


def _text(path: Path) -> str:
    try:
        return read_plain(path).decode("ascii", "replace")
    except OSError:
        return ""  # no signature of anybody's


def shortfall(evidence: Evidence) -> str | None:
    """Why the record does nothing of what is due, by what it says itself and whether it verifies; None when it does."""
    record = evidence.record
    if record.verdict is not Verdict.PASS:
        return f"its verdict is {record.verdict}"
    if record.target.environment == "sandbox":
        return "it ran on a sandbox"
    if record.parameters.get("dry_run") is True:
        return "it was a dry run"
    if not record.satisfies_controls:
        return "its scope was reduced"
    if evidence.doubt is not None:
        return f"it does not verify: {evidence.doubt}"
    return None
