"""`EXPORT`: in a copy that holds some payloads only, the list of those that were chosen, signed by the runner.

    # export 20261123021538 runner@db1
    # chosen 3 of 20 records, control A1.2, from 2026-01-01 to 2026-12-31
    <digest>  records/000003-…/report.html

`sha256sum -c EXPORT` finds a chosen file that is missing; the manifests of all other records are there, so that the chain holds, and
nothing else of them: a list that was put into another archive excuses no missing payload there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from runbook.archive.archived import write_time
from runbook.archive.findings import Problem
from runbook.archive.keys import EVIDENCE
from runbook.archive.signatures import Signers, judge
from runbook.archive.sums import is_plain_name, lines_of
from runbook.archive.tree import FOLDER, Tree
from runbook.gates.signers import read_moment
from runbook.plain import read_plain, sha256_of_file

_FIRST = re.compile(r"# export ([0-9]{14}) ([A-Za-z0-9][A-Za-z0-9._@+-]*)")
_SECOND = re.compile(r"# chosen ([0-9]+) of ([0-9]+) records, (.+)")
_LINE = re.compile(r"([0-9a-f]{64})  records/([^/]+)/([^/]+)")


@dataclass(frozen=True)
class Exported:
    """An export's own list: what is wrong with it, what it says of itself, and the names of the records that it chose.

    `chosen` is None when the list does not count: then it excuses no missing file.
    """

    problems: tuple[Problem, ...] = ()
    said: str = ""
    chosen: frozenset[str] | None = None

    def leaves_out(self, record: str) -> bool:
        """True for a record whose manifest alone was exported."""
        return self.chosen is not None and record not in self.chosen


def check_export(tree: Tree, signers: Signers) -> Exported:
    """Return what the list says, checked against the records and its signature."""
    path = tree.export
    try:
        data = read_plain(path)
    except OSError as cause:
        return Exported((Problem("link", path.name, cause.strerror or "cannot be read"),))
    lines = lines_of(data.decode("ascii", "replace"))
    first = _FIRST.fullmatch(lines[0])
    second = _SECOND.fullmatch(lines[1]) if len(lines) > 1 else None
    try:
        at = read_moment(first[1]) if first is not None else None
    except ValueError:
        at = None
    if first is None or second is None or at is None:
        return Exported((Problem("export", path.name, "is no list of an export"),))
    judged = judge(data, path.with_name(path.name + ".sig"), EVIDENCE, at, signers, first[2])
    if judged.problem is not None:
        return Exported((Problem("export", f"{path.name}.sig", f"{judged.problem} ({judged.kind})"),))
    problems, chosen = list(_counted(tree, int(second[2]))), set()
    for line in lines[2:]:
        match = _LINE.fullmatch(line)
        if match is None or FOLDER.fullmatch(match[2]) is None or not is_plain_name(match[3]):
            problems.append(Problem("export", path.name, f"has a line that lists no record's file: {line[:80]!r}"))
            continue
        chosen.add(match[2])
        problems += _compared(tree, match[1], match[2], match[3])
    said = f"This is an export of {write_time(at)}: {second[1]} of {second[2]} records, {second[3]}. Of the other records it holds the manifests."
    return Exported(tuple(problems), said, frozenset(chosen))


def _counted(tree: Tree, total: int) -> Iterator[Problem]:
    count = len(tree.folders())
    if count != total:
        yield Problem("export", tree.export.name, f"was made of {total} records, but {count} are here")


def _compared(tree: Tree, digest: str, record: str, name: str) -> Iterator[Problem]:
    where = f"{record}/{name}"
    try:
        if sha256_of_file(tree.records / record / name) != digest:
            yield Problem("altered", where, "is not what was exported")
    except (FileNotFoundError, NotADirectoryError):
        yield Problem("missing", where, "is missing, though it was exported")
    except OSError as cause:
        yield Problem("link", where, cause.strerror or "cannot be read")
