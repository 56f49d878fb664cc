"""Statements: what people have signed in this archive, each in a numbered file of its own that never changes.

`reviews/000020-1.json`, `exceptions/backup-verification-1.json`, with `.sig` beside each, for `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from runbook import clock
from runbook.archive.findings import Problem
from runbook.archive.keys import replace_file
from runbook.archive.signatures import Signers, judge
from runbook.archive.staging import archive_lock
from runbook.archive.tree import Tree
from runbook.errors import OperatorError
from runbook.gates import signing
from runbook.model import Frozen
from runbook.plain import read_plain

_FILE = re.compile(r"([a-z0-9][a-z0-9-]*)-([0-9]+)\.json")


class Statement(Frozen):
    """What one person says. `key` is the fingerprint that signs it, `user` who was logged in, for people."""

    schema_version: str = Field(alias="schema", serialization_alias="schema")
    key: str
    at: datetime
    user: str = ""

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.model_dump(mode="json", by_alias=True)
        return content

    def canonical(self) -> bytes:
        """The signed bytes: JSON in ASCII, keys sorted, one newline at the end."""
        content = self._content()
        content["at"] = clock.stamp(self.at)
        return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode("ascii")


S = TypeVar("S", bound=Statement)


def person_of(tree: Tree, key: Path, namespace: str) -> tuple[str, str]:
    """The person that allowed_signers lists with this key for that purpose, and the key's fingerprint.

    Raises:
        OperatorError: it lists nobody.
    """
    fingerprint, signers = signing.fingerprint_of(key), Signers.of_archive(tree)
    for line in signers.of(fingerprint):
        if namespace in line.namespaces:
            return line.principal, fingerprint
    for one in signers.refused:
        if one.fingerprint == fingerprint:
            raise OperatorError(f"{one.where}: {one.text}.", next="runbook keys add PERSON PUBKEYFILE --witness")
    raise OperatorError(
        f"The key {fingerprint} is not listed for {namespace} in this archive.",
        next="runbook keys add PERSON PUBKEYFILE --witness",
    )


def file_statement(folder: Path, about: str, made: Statement, key: Path, namespace: str) -> Path:
    """The statement is signed and has the next number of what it is about. Returns its file."""
    signature = signing.sign(made.canonical(), key, namespace)
    with archive_lock():
        taken = [number for _, said, number in statement_files(folder) if said == about]
        path = folder / f"{about}-{max(taken, default=0) + 1}.json"
        replace_file(path.with_name(path.name + ".sig"), signature.encode("ascii"))
        replace_file(path, made.canonical())
    return path


def statement_files(folder: Path) -> list[tuple[Path, str, int]]:
    """Every statement's file with what it is about and its number, in that order."""
    if not folder.is_dir():
        return []
    named = [(path, _FILE.fullmatch(path.name)) for path in folder.iterdir()]
    found = [(path, match[1], int(match[2])) for path, match in named if match is not None]
    return sorted(found, key=lambda one: one[1:])


def read_statement(path: Path, kind: type[S]) -> S | None:
    """The statement in a file; None when it is none: a link, another schema, or not as it was written."""
    try:
        data = read_plain(path)
        read = kind.model_validate_json(data)
    except (OSError, ValidationError):
        return None
    return read if read.at.tzinfo is not None and read.canonical() == data else None


def signer_problem(
    path: Path, made: Statement, person: str, namespace: str, signers: Signers, kind: str
) -> Problem | None:
    """What is wrong with the signature, or with whose it is; None when the person whom it names has signed it."""
    where = place_of(path)
    judged = judge(made.canonical(), path.with_name(path.name + ".sig"), namespace, made.at, signers)
    if judged.problem is not None:
        return Problem(kind, f"{where}.sig", f"{judged.problem} ({judged.kind})")
    if (judged.principal, judged.fingerprint) != (person, made.key):
        return Problem(kind, where, f"says {person}, but {judged.principal} has signed it")
    known = signers.introduction(person, made.key, namespace)
    if known is not None and not known.was_listed and made.at < known.at:
        return Problem(
            kind,
            where,
            f"says {clock.stamp(made.at)}, but {person} was introduced at {clock.stamp(known.at)}: it is dated back",
        )
    return None


def place_of(path: Path) -> str:
    """A statement's file for people: reviews/000020-1.json."""
    return f"{path.parent.name}/{path.name}"
