"""Exceptions: a second person has signed that a control is not kept for a time, who answers for that, why, and until when.

`reports/exceptions/backup-verification-1.json` and `.sig`, for `ssh-keygen -Y verify -n runbook-exception`. An exception begins when it is
signed: what was missed before stays missed.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from runbook import clock, layout
from runbook.archive.findings import Problem
from runbook.archive.keys import EXCEPTION, replace_file
from runbook.archive.review import person_of
from runbook.archive.signatures import Signers, judge
from runbook.archive.staging import archive_lock
from runbook.archive.tree import Tree
from runbook.errors import OperatorError
from runbook.gates import signing
from runbook.model import Frozen

SCHEMA: Literal["runbook.exception/1"] = "runbook.exception/1"
_FILE = re.compile(r"([a-z0-9][a-z0-9-]*)-(\d+)\.json")
#: An exception for longer than that is a change of the rules, which belongs into params/controls.yaml.
_LONGEST = timedelta(days=366)


class AuditException(Frozen):
    """`target` None: of every target. It lasts from `at` to the end of the day `expires`, in UTC."""

    schema_version: Literal["runbook.exception/1"] = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    control: str
    target: str | None = None
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date
    signer: str
    key: str
    at: datetime
    user: str = ""

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.expires + timedelta(days=1), time(), UTC)

    def covers(self, deadline: datetime, period_end: datetime, now: datetime) -> bool:
        """True when the deadline fell into it, and it still holds or held to the period's end: it defers, it does not forgive."""
        return self.at <= deadline < self.end and (now < self.end or period_end <= self.end)

    def canonical(self) -> bytes:
        """The signed bytes: JSON in ASCII, keys sorted, one newline at the end."""
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        content["at"] = clock.stamp(self.at)
        return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode("ascii")


def sign_exception(
    control: str, target: str | None, *, owner: str, reason: str, expires: date, key: Path, user: str = ""
) -> tuple[Path, AuditException]:
    """The exception is signed and lies in the archive. Returns its file. The caller has found control and target in order.

    Raises:
        OperatorError: it is over already, lasts too long, the key is not listed for it, or the signer is its owner.
    """
    tree, now = Tree.own(), clock.now()
    if not owner.strip() or not reason.strip():
        raise OperatorError("An exception names an owner and a reason.", next="Give --owner and --reason.")
    person, fingerprint = person_of(tree, key, EXCEPTION)
    if owner.strip() in (person, user):
        raise OperatorError(
            f"{owner} cannot answer for an exception and sign it too.", next="Ask a second person to sign it."
        )
    made = AuditException(
        control=control, target=target, owner=owner.strip(), reason=reason.strip(), expires=expires,
        signer=person, key=fingerprint, at=now, user=user,
    )  # fmt: skip
    if made.end <= now:
        raise OperatorError(f"{expires} is over: an exception begins when it is signed.", next="Give a later --until.")
    if made.end - now > _LONGEST:
        raise OperatorError(
            "An exception lasts a year at most: what shall never be due is a change of params/controls.yaml.",
            next="Give an earlier --until.",
        )
    signature = signing.sign(made.canonical(), key, EXCEPTION)
    with archive_lock():
        taken = [int(match[2]) for _, match in _files(tree) if match[1] == control]
        path = tree.exceptions / f"{control}-{max(taken, default=0) + 1}.json"
        replace_file(path.with_name(path.name + ".sig"), signature.encode("ascii"))
        replace_file(path, made.canonical())
    return path, made


def _files(tree: Tree) -> list[tuple[Path, re.Match[str]]]:
    if not tree.exceptions.is_dir():
        return []
    named = [(path, _FILE.fullmatch(path.name)) for path in tree.exceptions.iterdir()]
    found = [(path, match) for path, match in named if match is not None]
    return sorted(found, key=lambda one: (one[1][1], int(one[1][2])))


def _read(path: Path) -> AuditException | None:
    try:
        read = AuditException.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return read if read.at.tzinfo is not None and read.canonical() == path.read_bytes() else None


def check_exceptions(tree: Tree | None = None) -> tuple[list[Problem], list[AuditException]]:
    """What is wrong with the exceptions, and those that count, oldest first."""
    tree = tree or Tree.own()
    signers, problems, good = Signers(tree.signers), [], []
    for path, match in _files(tree):
        where = layout.short(path)
        made = None if path.is_symlink() or not path.is_file() else _read(path)
        if made is None:
            problems.append(Problem("exception", where, "is no exception"))
            continue
        judged = judge(made.canonical(), path.with_name(path.name + ".sig"), EXCEPTION, made.at, signers)
        if judged.problem is not None:
            problems.append(Problem("exception", f"{where}.sig", f"{judged.problem} ({judged.kind})"))
        elif (judged.principal, judged.fingerprint) != (made.signer, made.key):
            problems.append(Problem("exception", where, f"says {made.signer}, but {judged.principal} has signed it"))
        elif made.control != match[1]:
            problems.append(Problem("exception", where, f"is about {made.control}: it was renamed"))
        else:
            good.append(made)
    return problems, sorted(good, key=lambda one: one.at)
