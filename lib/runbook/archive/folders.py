"""One record's folder against its own SHA256SUMS: what is altered, missing, added, renamed, or not a plain file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from runbook import clock
from runbook.archive.archived import ARCHIVED, Archived, read_archived
from runbook.archive.findings import Problem
from runbook.archive.records import KEPT_FOR_GOOD, OUTSIDE_SUMS, RUN_JSON, SIGNATURE, TOMBSTONE, suffix_of
from runbook.archive.sums import SUMS, read_sums, sha256
from runbook.archive.tombstone import Tombstone, read_tombstone
from runbook.errors import ParamsError
from runbook.plain import LARGEST_FILE, kind_problem, read_plain, sha256_of_file


@dataclass
class Looked:
    """A record's folder as it was read once.

    `sums` are the bytes of its SHA256SUMS, empty when there is none to read. `plain` are the names of its regular files: nothing else
    is ever opened (a pipe would wait for ever).
    """

    number: int
    folder: Path
    sums: bytes = b""
    digests: dict[str, str] = field(default_factory=dict)
    previous: tuple[str, str] | None = None
    archived: Archived | None = None
    tombstone: Tombstone | None = None
    problems: list[Problem] = field(default_factory=list)
    plain: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def sums_sha256(self) -> str:
        return sha256(self.sums)

    @property
    def says_archived(self) -> bool:
        """True for a record that was made since records say when they were archived and by whom."""
        return ARCHIVED in self.digests

    @property
    def signature(self) -> Path:
        return self.folder / SIGNATURE

    def add(self, kind: str, text: str, name: str | None = None) -> None:
        """Note a problem of the record, or of one of its files."""
        self.problems.append(Problem(kind, f"{self.name}/{name}" if name else self.name, text))


def look_at(folder: Path, *, is_bare: bool = False) -> Looked:
    """Compare the record's files with its SHA256SUMS.

    Args:
        folder: the record's.
        is_bare: it is a record of an export that was not chosen: its manifest is here, and nothing else may be.
    """
    looked = Looked(int(folder.name[:6]), folder)
    try:
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
        entries = {name: kind_problem(one.st_mode, one.st_size) for name, one in found.items()}
        looked.plain = frozenset(name for name, problem in entries.items() if problem is None)
        if SUMS not in entries:
            looked.add("sums-missing", "is missing: nothing says what this record held", SUMS)
            return looked
        if (problem := entries[SUMS]) is not None:
            looked.add("link", problem, SUMS)
            return looked
        looked.sums = read_plain(folder / SUMS)
        looked.digests, looked.previous = read_sums(looked.sums.decode("ascii"))
    except (OSError, ValueError) as cause:
        looked.sums = b""
        looked.add("sums-unreadable", f"cannot be read: {cause}", SUMS)
        return looked
    _read_own_files(looked, entries)
    gone = looked.tombstone.deleted if looked.tombstone is not None else frozenset()
    manifest = ARCHIVED if looked.says_archived else RUN_JSON
    for name, digest in looked.digests.items():
        if name not in entries:
            if name not in gone and not (is_bare and name != manifest):
                looked.add("missing", "is missing", name)
        elif (problem := entries[name]) is not None:
            looked.add("link", problem, name)
        elif is_bare and name != manifest:
            looked.add("export", "is here, but EXPORT does not list it: that list belongs to another copy", name)
        else:
            _compare(looked, name, digest)
    _look_for_strangers(looked, entries)
    if RUN_JSON not in looked.digests:
        looked.add("sums-unreadable", f"does not list {RUN_JSON}", SUMS)
    _compare_name(looked)
    return looked


def _compare_name(looked: Looked) -> None:
    """The folder's name must be the one that the record was archived under: the chain holds it only once another record follows."""
    said = looked.archived
    if said is not None and said.record is not None and said.record != looked.name:
        looked.add("renamed", f"was renamed: {ARCHIVED} says {said.record}")
    elif RUN_JSON in looked.plain and (due := _name_of_run(looked.folder)) is not None and due != looked.name[7:]:
        looked.add("renamed", f"was renamed: {RUN_JSON} is that of {due}")


def _name_of_run(folder: Path) -> str | None:
    """What follows the number in the name, by run.json; None when it is no record, which is told where it is read."""
    try:
        said = json.loads(read_plain(folder / RUN_JSON, LARGEST_FILE))
        return suffix_of(clock.parse(said["started_at"]), said["runbook"], said["target"]["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ParamsError):
        return None


def _compare(looked: Looked, name: str, digest: str) -> None:
    try:
        if sha256_of_file(looked.folder / name) != digest:
            looked.add("altered", "was altered", name)
    except OSError as cause:
        looked.add("unreadable", f"cannot be read: {cause.strerror}", name)


def _read_own_files(looked: Looked, entries: dict[str, str | None]) -> None:
    for name in (TOMBSTONE, TOMBSTONE + ".sig", SIGNATURE):
        if (problem := entries.get(name)) is not None:
            looked.add("link", problem, name)
    if looked.says_archived and ARCHIVED in looked.plain:
        try:
            looked.archived = read_archived(looked.folder)
        except ValueError as cause:
            looked.add("archived-unreadable", str(cause), ARCHIVED)
    if TOMBSTONE in looked.plain:
        try:
            looked.tombstone = read_tombstone(looked.folder / TOMBSTONE)
        except ValueError as cause:
            looked.add("tombstone", str(cause), TOMBSTONE)
        else:
            if looked.tombstone.sums != looked.sums_sha256:
                looked.add("tombstone", "is about another record", TOMBSTONE)
            if looked.tombstone.at < looked.tombstone.kept_until:
                looked.add(
                    "tombstone", f"deleted before {clock.stamp(looked.tombstone.kept_until)}: too early", TOMBSTONE
                )
            if kept := looked.tombstone.deleted & KEPT_FOR_GOOD:
                looked.add("tombstone", f"deleted {', '.join(sorted(kept))}, which is kept for good", TOMBSTONE)


def _look_for_strangers(looked: Looked, entries: dict[str, str | None]) -> None:
    known = looked.digests.keys() | OUTSIDE_SUMS
    folded = {name.casefold(): name for name in known}
    for name in sorted(entries.keys() - known):
        twin = folded.get(name.casefold())
        if twin is not None:
            looked.add("case", f"was added; it differs from {twin} in upper and lower case only", name)
        else:
            looked.add("added", "was added: no SHA256SUMS lists it", name)
    if TOMBSTONE + ".sig" in entries and TOMBSTONE not in entries:
        looked.add("half-pruned", "has no tombstone: runbook archive prune finishes what it began", TOMBSTONE + ".sig")
    if len({name.casefold() for name in looked.digests}) != len(looked.digests):
        looked.add("case", "lists two files that differ in upper and lower case only", SUMS)


def chain_problem(looked: Looked, before: Looked | None) -> Problem | None:
    """How the record's link to the one before it is wrong; None when it is right."""
    if before is None:
        if looked.previous is None:
            return None
        return Problem(
            "chain", looked.name, f"follows {looked.previous[0]}, which is not there: the beginning was removed"
        )
    if looked.previous is None:
        return Problem(
            "chain", looked.name, f"names no record before it, but {before.name} stands there: the chain is cut"
        )
    name, digest = looked.previous
    if name != before.name:
        return Problem(
            "reordered", looked.name,
            f"was made to follow {name}, not {before.name}: records were removed, reordered, renamed or copied in",
        )  # fmt: skip
    if before.sums and digest != before.sums_sha256:
        return Problem(
            "rewritten", f"{before.name}/{SUMS}",
            f"was rewritten since {looked.name} was made (or that one comes from another archive)",
        )  # fmt: skip
    return None
