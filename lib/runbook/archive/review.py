"""A review: what a second person thinks of a record, signed, in a file of its own beside the record, which never changes.

`reviews/000020-1.json` and `.sig`, for `ssh-keygen -Y verify -n runbook-review`. It names the record and the digest of its SHA256SUMS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.keys import REVIEW, replace_file
from runbook.archive.records import read_record
from runbook.archive.signatures import Signers, judge
from runbook.archive.staging import archive_lock
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, ParamsError
from runbook.gates import signing
from runbook.model import Frozen, Verdict
from runbook.params import load_params

SCHEMA = "runbook.review/1"
_FILE = re.compile(r"(\d{6})-(\d+)\.json")


class Corrective(Frozen):
    """What will be done about it, by whom, until when."""

    what: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    due: date


class Review(Frozen):
    """One person's judgement of one record. `verdict` is the record's own, `accepted` the reviewer's."""

    schema_version: str = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    record: str
    record_sums: str = Field(pattern=r"^[0-9a-f]{64}$")
    verdict: Verdict
    accepted: bool
    reviewer: str
    key: str
    at: datetime
    comment: str = ""
    action: Corrective | None = None
    user: str = ""

    def canonical(self) -> bytes:
        """The signed bytes: JSON in ASCII, keys sorted, one newline at the end."""
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        content["at"] = clock.stamp(self.at)
        return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode("ascii")


def person_of(tree: Tree, key: Path, namespace: str) -> tuple[str, str]:
    """The person that allowed_signers lists with this key for that purpose, and the key's fingerprint.

    Raises:
        OperatorError: it lists nobody.
    """
    fingerprint = signing.fingerprint_of(key)
    for line in Signers(tree.signers).of(fingerprint):
        if namespace in line.namespaces:
            return line.principal, fingerprint
    raise OperatorError(
        f"The key {fingerprint} is not listed for {namespace} in this archive.",
        next="runbook keys add PERSON PUBKEYFILE --witness",
    )


def refuse_operator(folder: Path, person: str) -> None:
    """Who has run it does not vouch for it.

    Raises:
        OperatorError: the person is the operator of the record's run.
    """
    record = read_record(folder)
    try:
        operators = load_params(record.target.name).approvals.operators
    except ParamsError:
        operators = {}
    if person in (record.operator, operators.get(record.operator)):
        raise OperatorError(
            f"{person} is the operator of {record.run} and cannot vouch for {folder.name}.", next="Ask a second person."
        )


def write_review(
    looked: Looked, *, key: Path, accepted: bool, comment: str = "", action: Corrective | None = None, user: str = ""
) -> tuple[Path, Review]:
    """The review is signed and stands beside the records. Returns its file.

    Raises:
        OperatorError: the record is altered, the key is not listed, the person ran it, or a rejection names no action.
    """
    if looked.problems or not looked.sums:
        raise OperatorError(
            f"{looked.name} is not as it was archived: {looked.problems[0]}.", next="runbook archive verify"
        )
    if not accepted and action is None:
        raise OperatorError(
            "A rejection says what will be done about it.", next="Add --action TEXT --owner PERSON --due 2026-12-31"
        )
    tree = Tree.own()
    person, fingerprint = person_of(tree, key, REVIEW)
    refuse_operator(looked.folder, person)
    review = Review(
        record=looked.name,
        record_sums=looked.sums_sha256,
        verdict=read_record(looked.folder).verdict,
        accepted=accepted,
        reviewer=person,
        key=fingerprint,
        at=clock.now(),
        comment=comment,
        action=action,
        user=user,
    )
    signature = signing.sign(review.canonical(), key, REVIEW)
    with archive_lock():
        taken = [int(match[2]) for path, match in _files(tree) if int(match[1]) == looked.number]
        path = tree.reviews / f"{looked.number:06d}-{max(taken, default=0) + 1}.json"
        replace_file(path.with_name(path.name + ".sig"), signature.encode("ascii"))
        replace_file(path, review.canonical())
    return path, review


def _files(tree: Tree) -> list[tuple[Path, re.Match[str]]]:
    if not tree.reviews.is_dir():
        return []
    named = [(path, _FILE.fullmatch(path.name)) for path in tree.reviews.iterdir()]
    found = [(path, match) for path, match in named if match is not None]
    return sorted(found, key=lambda one: (int(one[1][1]), int(one[1][2])))


def read_review(path: Path) -> Review | None:
    """The review in a file; None when it is none."""
    try:
        read = Review.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return read if read.schema_version == SCHEMA and read.at.tzinfo is not None else None


def check_reviews(tree: Tree, looked: Sequence[Looked], signers: Signers) -> tuple[list[Problem], list[Review]]:
    """What is wrong with the reviews, and those that count."""
    records, problems, good = {one.name: one for one in looked}, [], []
    for path, match in _files(tree):
        where = f"reviews/{path.name}"
        review = read_review(path)
        if review is None or path.is_symlink():
            problems.append(Problem("review", where, "is no review"))
            continue
        judged = judge(path.read_bytes(), path.with_name(path.name + ".sig"), REVIEW, review.at, signers)
        about = records.get(review.record)
        if judged.problem is not None:
            problems.append(Problem("review", f"{where}.sig", f"{judged.problem} ({judged.kind})"))
        elif (judged.principal, judged.fingerprint) != (review.reviewer, review.key):
            problems.append(Problem("review", where, f"says {review.reviewer}, but {judged.principal} has signed it"))
        elif about is None or int(match[1]) != about.number:
            problems.append(Problem("review", where, f"is about {review.record}, which is not here"))
        elif review.record_sums != about.sums_sha256:
            problems.append(Problem("review", where, f"is about another {review.record} than the one here"))
        else:
            good.append(review)
    return problems, good


def reviews_of(tree: Tree, number: int) -> list[tuple[Path, Review]]:
    """The reviews of one record, oldest first; whether their signatures count is for `check_reviews`."""
    found = [(path, read_review(path)) for path, match in _files(tree) if int(match[1]) == number]
    return [(path, review) for path, review in found if review is not None]
