"""Exceptions: a second person has signed that a control is not kept for a time, who answers for that, why, and until when.

`reports/exceptions/backup-verification-1.json` and `.sig`, for `ssh-keygen -Y verify -n runbook-exception`. An exception begins when it is
signed: what was missed before stays missed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.keys import EXCEPTION
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
from runbook.errors import OperatorError
from runbook.gates.rules import names_of_person
from runbook.gates.trust import archive_id
from runbook.params.names import is_same_person

SCHEMA: Literal["runbook.exception/1"] = "runbook.exception/1"
#: An exception for longer than that is a change of the rules, which belongs into params/controls.yaml.
_LONGEST = timedelta(days=366)


class AuditException(Statement):
    """`target` None: of every target. It lasts from `at` to the end of the day `expires`, in UTC.

    `finding` names one finding of the control's runbook; then it excepts that finding alone, never the control, and while it is no worse
    than `worst`: not measured, warning or critical, as it was when it was signed; None: nobody had seen it then.
    `archive` None: it was signed before the archive had a signed record, or before exceptions named theirs.
    """

    schema_version: Literal["runbook.exception/1"] = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    archive: str | None = None
    control: str
    target: str | None = None
    finding: str | None = None
    worst: Literal["not measured", "warning", "critical"] | None = None
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date
    signer: str

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.expires + timedelta(days=1), time(), UTC)

    def _content(self) -> dict[str, Any]:
        """Without what is not there, as it was signed before there were findings and their states."""
        content = super()._content()
        return {
            name: value
            for name, value in content.items()
            if name not in ("archive", "finding", "worst") or value is not None
        }

    def refusal(self, signers: Signers) -> str | None:
        """Why it excepts nothing, though it is signed; None when nothing is wrong with it."""
        if not self.owner.strip() or not self.reason.strip():
            return "it names no owner or no reason"
        people = (*names_of_person(self.signer, signers.lines), self.user)
        if any(is_same_person(self.owner, name) for name in people):
            return f"{self.owner} cannot answer for it and sign it too"
        if self.end - self.at > _LONGEST:
            return "it lasts longer than a year: what shall never be due is a change of params/controls.yaml"
        return None

    def covers(self, deadline: datetime, period_end: datetime, now: datetime) -> bool:
        """True when the deadline fell into it, and it still holds or held to the period's end: it defers, it does not forgive."""
        if self.finding is not None:
            return False
        return self.at <= deadline < self.end and (now < self.end or period_end <= self.end)


def sign_exception(
    control: str,
    target: str | None,
    *,
    owner: str,
    reason: str,
    expires: date,
    key: Path,
    user: str = "",
    finding: str | None = None,
    worst: Literal["not measured", "warning", "critical"] | None = None,
) -> tuple[Path, AuditException]:
    """The exception is signed and lies in the archive. Returns its file. The caller has found control and target in order.

    Raises:
        OperatorError: it is over already, lasts too long, the key is not listed for it, or the signer is its owner.
    """
    tree, now = Tree.own(), clock.now()
    if not owner.strip() or not reason.strip():
        raise OperatorError("An exception names an owner and a reason.", next="Give --owner and --reason.")
    person, fingerprint = person_of(tree, key, EXCEPTION)
    made = AuditException(
        archive=archive_id(tree.root), control=control, target=target, finding=finding, worst=worst, owner=owner.strip(), reason=reason.strip(), expires=expires,
        signer=person, key=fingerprint, at=now, user=user,
    )  # fmt: skip
    if made.end <= now:
        raise OperatorError(f"{expires} is over: an exception begins when it is signed.", next="Give a later --until.")
    wrong = made.refusal(Signers.of_archive(tree))
    if wrong is not None:
        raise OperatorError(
            f"It would except nothing: {wrong}.", next="Ask a second person to sign it, for a year at most."
        )
    return file_statement(tree.exceptions, control, made, key, EXCEPTION), made


def check_exceptions(
    tree: Tree | None = None, signers: Signers | None = None
) -> tuple[list[Problem], list[AuditException]]:
    """What is wrong with the exceptions, and those that count, oldest first."""
    tree = tree or Tree.own()
    signers = signers or Signers.of_archive(tree)
    problems, good, here = [], [], archive_id(tree.root)
    for path, control, _ in statement_files(tree.exceptions):
        made = read_statement(path, AuditException)
        if made is None:
            problems.append(Problem("exception", place_of(path), "is no exception"))
            continue
        wrong = signer_problem(path, made, made.signer, EXCEPTION, signers, "exception")
        if wrong is not None:
            problems.append(wrong)
        elif (why := made.refusal(signers)) is not None:
            problems.append(Problem("exception", place_of(path), why))
        elif made.archive is not None and made.archive != here:
            problems.append(
                Problem("exception", place_of(path), f"was made for the archive {made.archive}, not for {here}")
            )
        elif made.control != control:
            problems.append(Problem("exception", place_of(path), f"is about {made.control}: it was renamed"))
        else:
            good.append(made)
    return problems, sorted(good, key=lambda one: one.at)


def excepted_findings(control: str, target: str, now: datetime) -> tuple[dict[str, AuditException], list[Problem]]:
    """The findings of that control's runbook that exceptions cover now, by the finding's key; and exceptions that count for nothing."""
    problems, good = check_exceptions()
    found = {
        one.finding: one
        for one in good
        if one.finding is not None
        and one.control == control
        and one.target in (target, None)
        and one.at <= now < one.end
    }
    return found, problems
