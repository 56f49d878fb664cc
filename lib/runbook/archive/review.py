"""A review: what a second person thinks of a record, signed, in a file of its own beside the record, which never changes.

`reviews/000020-1.json` and `.sig`, for `ssh-keygen -Y verify -n runbook-review`. It names the record and the digest of its SHA256SUMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked
from runbook.archive.keys import REVIEW
from runbook.archive.records import read_record
from runbook.archive.signatures import Signers
from runbook.archive.statements import (
    Statement,
    file_statement,
    person_of,
    place_of,
    read_statement,
    signer_problem,
    statement_files,
)
from runbook.archive.tree import Tree
from runbook.errors import OperatorError, ParamsError, PlatformError
from runbook.gates.rules import names_of_person
from runbook.model import Frozen, RunRecord, Verdict
from runbook.params import load_params
from runbook.params.names import plain_name
from runbook.params.people import principal_of

SCHEMA: Literal["runbook.review/1"] = "runbook.review/1"


class Corrective(Frozen):
    """What will be done about it, by whom, until when."""

    what: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    due: date


class Review(Statement):
    """One person's judgement of one record. `verdict` is the record's own, `accepted` the reviewer's."""

    schema_version: Literal["runbook.review/1"] = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    record: str
    record_sums: str = Field(pattern=r"^[0-9a-f]{64}$")
    verdict: Verdict
    accepted: bool
    reviewer: str
    comment: str = ""
    action: Corrective | None = None


def refuse_operator(folder: Path, person: str) -> None:
    """Who has run it does not vouch for it.

    Raises:
        OperatorError: the person is the operator of the record's run.
    """
    record = read_record(folder)
    if plain_name(person) in operators_of(record):
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
    return file_statement(tree.reviews, f"{looked.number:06d}", review, key, REVIEW), review


def check_reviews(tree: Tree, looked: Sequence[Looked], signers: Signers) -> tuple[list[Problem], list[Review]]:
    """What is wrong with the reviews, and those that count."""
    records, problems, good = {one.name: one for one in looked}, [], []
    for path, number, _ in statement_files(tree.reviews):
        where, review = place_of(path), read_statement(path, Review)
        if review is None:
            problems.append(Problem("review", where, "is no review"))
            continue
        about = records.get(review.record)
        wrong = signer_problem(path, review, review.reviewer, REVIEW, signers, "review")
        if wrong is not None:
            problems.append(wrong)
        elif about is None or number != f"{about.number:06d}":
            problems.append(Problem("review", where, f"is about {review.record}, which is not here"))
        elif review.record_sums != about.sums_sha256:
            problems.append(Problem("review", where, f"is about another {review.record} than the one here"))
        elif (why := _why_void(review, about, signers)) is not None:
            problems.append(Problem("review", where, why))
        else:
            good.append(review)
    return problems, good


def _why_void(review: Review, about: Looked, signers: Signers) -> str | None:
    """Why a signed review of that record does not count, however its file was made; None when it does."""
    try:
        record = read_record(about.folder)
    except PlatformError as cause:
        return f"is about a record that cannot be read: {cause.message}"
    if not review.accepted and review.action is None:
        return "rejects the record and says nothing of what will be done about it"
    if review.verdict != record.verdict:
        return f"says that the record's verdict is {review.verdict}, but it is {record.verdict}"
    names = names_of_person(review.reviewer, signers.lines)
    if operators_of(record) & {plain_name(name) for name in names}:
        return f"is by {review.reviewer}, an operator of {record.run}, who cannot vouch for it"
    return None


def operators_of(record: RunRecord) -> frozenset[str]:
    """The plain names of everybody who worked on the record's run: as users, and as the people that these are.

    Records say it themselves since they name all operators; for older ones the target's params of this home say who a user is.
    """
    names = {record.operator, *record.operators}
    if not record.operators:
        try:
            approvals = load_params(record.target.name).approvals
        except ParamsError:
            return frozenset(plain_name(name) for name in names)
        names |= {person for name in names if (person := principal_of(approvals, name)) is not None}
    return frozenset(plain_name(name) for name in names)


def reviews_of(tree: Tree, number: int) -> list[tuple[Path, Review]]:
    """The reviews of one record, oldest first; whether their signatures count is for `check_reviews`."""
    mine = [path for path, about, _ in statement_files(tree.reviews) if about == f"{number:06d}"]
    found = [(path, read_statement(path, Review)) for path in mine]
    return [(path, review) for path, review in found if review is not None]
