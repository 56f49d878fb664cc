"""`EXPORT`: in a copy that holds some payloads only, the list of those that were chosen, signed by the runner.

    # export 20261123021538 runner@db1
    # chosen 3 of 20 records, control A1.2, from 2026-01-01 to 2026-12-31
    <digest>  records/000003-…/report.html

`sha256sum -c EXPORT` finds a chosen file that is missing; the manifests of all other records are there, so that the chain holds.
"""

from __future__ import annotations

import re

from runbook.archive.archived import write_time
from runbook.archive.findings import Problem
from runbook.archive.keys import EVIDENCE
from runbook.archive.signatures import Signers, judge
from runbook.archive.sums import is_plain_name, sha256_of_file
from runbook.archive.tree import FOLDER, Tree
from runbook.gates.signers import read_moment

_FIRST = re.compile(r"# export (\d{14}) ([A-Za-z0-9][A-Za-z0-9._@+-]*)")
_SECOND = re.compile(r"# chosen (.+)")
_LINE = re.compile(r"([0-9a-f]{64})  records/([^/]+)/([^/]+)")


def check_export(tree: Tree, signers: Signers) -> tuple[list[Problem], str]:
    """What is wrong with the list or with what it lists, and what it says of itself."""
    path = tree.export
    if path.is_symlink() or not path.is_file():
        return [Problem("link", path.name, "is not a regular file")], ""
    data = path.read_bytes()
    lines = data.decode("ascii", "replace").splitlines()
    first = _FIRST.fullmatch(lines[0]) if lines else None
    second = _SECOND.fullmatch(lines[1]) if len(lines) > 1 else None
    try:
        at = read_moment(first[1]) if first is not None else None
    except ValueError:
        at = None
    if first is None or second is None or at is None:
        return [Problem("export", path.name, "is no list of an export")], ""
    judged = judge(data, path.with_name(path.name + ".sig"), EVIDENCE, at, signers, first[2])
    problems = []
    if judged.problem is not None:
        problems.append(Problem("export", f"{path.name}.sig", f"{judged.problem} ({judged.kind})"))
    for line in lines[2:]:
        match = _LINE.fullmatch(line)
        if match is None or FOLDER.match(match[2]) is None or not is_plain_name(match[3]):
            problems.append(Problem("export", path.name, f"has a line that lists no record's file: {line[:80]!r}"))
            continue
        chosen = tree.records / match[2] / match[3]
        where = f"{match[2]}/{match[3]}"
        if not chosen.is_file():
            problems.append(Problem("missing", where, "is missing, though it was exported"))
        elif sha256_of_file(chosen) != match[1]:
            problems.append(Problem("altered", where, "is not what was exported"))
    return problems, f"This is an export of {write_time(at)}: {second[1]}. Of the other records it holds the manifests."
