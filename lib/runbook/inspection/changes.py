"""Ready changes: a file a finding in the format of migrations, and its undo beside it. Nothing here is carried out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from runbook.errors import PlatformError
from runbook.inspection.states import Seen
from runbook.texts import LONGEST, cut

#: What is not for the server to carry out: names, literals, comments. The words in them decide nothing.
_SAID = re.compile(r"""\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|--[^\n]*""")
_OUTSIDE = re.compile(r"\b(CONCURRENTLY|VACUUM|ALTER SYSTEM|DROP DATABASE)\b")


@dataclass(frozen=True)
class Change:
    """One change: the statements, and those that take it back (None: it cannot be taken back)."""

    seen: Seen
    name: str
    up: str
    down: str | None

    @property
    def undo_name(self) -> str:
        return self.name.removesuffix(".sql") + ".undo.sql"


def _comment(text: str) -> str:
    """One line: a name with a line break in it must not become a statement."""
    return "-- " + "".join(char if char.isprintable() else " " for char in text)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]


def make_changes(findings: Iterable[Seen], at: datetime) -> list[Change]:
    """The changes of findings that have one, in their order; the names sort in that order too."""
    changes = []
    for number, one in enumerate(one for one in findings if one.change):
        stamp = f"{at + timedelta(seconds=number):%Y%m%d%H%M%S}"
        name = f"{stamp}_{_slug(one.check)}_{_slug(one.object)}.sql"
        changes.append(Change(one, name, _file(one, one.change or "", "change"), _undo(one)))
    return changes


def _undo(one: Seen) -> str | None:
    return _file(one, one.undo, "undo of the change") if one.undo else None


def _file(one: Seen, statements: str, what: str) -> str:
    lines = [
        _comment(f"{what} for {one.check}: {one.object}"),
        _comment(f"database: {one.run_in or one.database or 'any'}"),
        _comment(f"observed: {one.observed}, expected {one.expected}; {cut(one.note, LONGEST)}"),
        _comment(
            "no transaction: run it outside of one"
            if _OUTSIDE.search(_SAID.sub("", statements))
            else "transaction: one"
        ),
        *([] if one.undo else [_comment("undo: none")]),
        "SET lock_timeout = '5s';",
        statements,
    ]
    return "\n".join(lines) + "\n"


def write_changes(changes: Iterable[Change], folder: Path) -> None:
    """The files are in the folder; safe twice.

    Raises:
        PlatformError: they cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for change in changes:
            (folder / change.name).write_text(change.up, "utf-8")
            if change.down is not None:
                (folder / change.undo_name).write_text(change.down, "utf-8")
    except OSError as cause:
        raise PlatformError(
            f"The changes cannot be written to {folder}: {cause.strerror}.", next="Make room."
        ) from cause
