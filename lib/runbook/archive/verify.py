"""`runbook archive verify`: all that can be known about an archive from its files, and what cannot.

Works on a copy as well, without the lock and without writing. What is proven: nothing between the first record and the newest
was altered, removed or put in without the runner's key. What is not: that the newest records are all there (only a witness
proves that), and any time (a clock's claim).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runbook import clock
from runbook.archive.archived import NOBODY
from runbook.archive.exceptions import check_exceptions
from runbook.archive.exported import Exported, check_export
from runbook.archive.findings import Problem
from runbook.archive.folders import Looked, chain_problem, look_at
from runbook.archive.gateclaims import check_gates
from runbook.archive.keys import EVIDENCE, runner_keys
from runbook.archive.people import people_problems
from runbook.archive.records import SIGNATURE, TOMBSTONE
from runbook.archive.review import check_reviews
from runbook.archive.runs import ledger_problems, population
from runbook.archive.signatures import Signers, judge
from runbook.archive.times import settle_times
from runbook.archive.tree import Tree
from runbook.archive.verified import Verified
from runbook.archive.witness import check_witness, kept_witnesses
from runbook.errors import OperatorError
from runbook.plain import LARGEST_LEDGER, LARGEST_TEXT, is_plain, kind_problem, read_plain

#: So many names of files that are no part of the archive are shown.
_NAMED = 20


def verify_archive(
    root: Path | None = None,
    *,
    signers: Path | None = None,
    handed_over: Sequence[str] = (),
    witnesses: Sequence[Path] = (),
    signatures: bool = True,
) -> Verified:
    """Every problem of the archive, each by its kind.

    Args:
        root: the archive's folder; default: this home's.
        signers: an allowed_signers file from elsewhere, believed instead of the archive's own.
        handed_over: fingerprints of the runner's keys that the reader got on another way.
        witnesses: files that were kept elsewhere.
        signatures: false: files, chain and RUNS only (quick).

    Raises:
        OperatorError: there is no archive, or a file is no witness's.
        PlatformError: there is no ssh-keygen.
    """
    tree = Tree(root) if root is not None else Tree.own()
    if not tree.records.is_dir():
        raise OperatorError(f"There is no archive in {tree.root}: it has no folder records.", next="runbook runs")
    if signers is not None and not is_plain(signers.resolve(), LARGEST_TEXT):
        raise OperatorError(f"{signers} is no allowed_signers file.", next="Name the file that you got on another way.")
    found = Verified(tree.root)
    found.problems += [*_odd(tree.ledger, LARGEST_LEDGER), *_odd(tree.signers, LARGEST_TEXT)]
    for path in (tree.records, tree.rotations, tree.reviews, tree.witnesses, tree.exceptions):
        found.problems += _odd(path)
    for name in tree.strangers():
        found.problems.append(Problem("stranger", f"records/{name}", _stranger(tree.records / name)))
    believed = Signers.of_archive(tree, signers, handed_over) if signatures else Signers(tree.signers, ())
    listed = _export(tree, believed, found) if signatures else Exported()
    folders = [folder for _, folder in tree.folders()]
    with ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        # RUNS is read after the folders were listed: it may have grown since, and never shrinks.
        ledger = _read_ledger(tree.ledger)
        looked = list(pool.map(lambda folder: look_at(folder, is_bare=listed.leaves_out(folder.name)), folders))
        found.looked = looked
        _sequence(found)
        if signatures:
            judged = list(pool.map(lambda one: _signature(one, believed), looked))
            _signatures(found, judged, believed, tree)
            found.problems += _unknown_fingerprints(found.keys, handed_over)
    if signatures:
        found.problems += check_gates(looked, partial=listed.chosen is not None)
        found.problems += [Problem(one.kind, one.where, one.text) for one in believed.refused]
        if signers is None:
            found.problems += people_problems(tree, looked, believed)
        _people(found, tree, believed, witnesses)
    problems, notes = population(ledger, looked, complete=listed.chosen is None)
    found.problems += [*ledger_problems(ledger, looked), *problems]
    found.notes += [*([listed.said] if listed.said else []), *notes, *_unproven(tree)]
    return found


def _odd(path: Path, most: int | None = None) -> Iterator[Problem]:
    """A part of the archive that is a link, or (with a largest size) no file that can be read to its end."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        yield Problem("link", path.name, "is a symbolic link, which may lead anywhere")
    elif most is not None and (problem := kind_problem(found.st_mode, found.st_size, most)) is not None:
        yield Problem("link", path.name, problem)


def _read_ledger(path: Path) -> bytes:
    try:
        return read_plain(path, LARGEST_LEDGER)
    except OSError:
        return b""  # what it held is missed by the records that saw it


def _unproven(tree: Tree) -> list[str]:
    names = tree.unproven()
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"No part of the archive, and proven by nothing: {', '.join(map(repr, names[:_NAMED]))}{more}."]


def _stranger(path: Path) -> str:
    if path.is_symlink():
        return "is a symbolic link, which may lead anywhere"
    return "was added: it is no record, or was renamed"


def _sequence(found: Verified) -> None:
    """Numbers without gap or double, each linked to the one before, of one archive, in the order of time."""
    before: Looked | None = None
    archive = next((one.archived.archive for one in found.looked if one.archived is not None), None)
    latest = None
    for one in found.looked:
        found.problems += one.problems
        due = before.number + 1 if before is not None else 1
        if one.number > due:
            gone = f"{due:06d}" if one.number == due + 1 else f"{due:06d} to {one.number - 1:06d}"
            found.problems.append(Problem("gap", one.name, f"stands where {due:06d} is due: {gone} was removed"))
        elif one.number < due:
            found.problems.append(Problem("double", one.name, f"has the number of {before.name if before else ''}"))
        elif one.sums and (link := chain_problem(one, before)) is not None:
            found.problems.append(link)
        if one.archived is not None:
            if one.archived.archive != archive:
                found.problems.append(
                    Problem("foreign", one.name, f"was made for the archive {one.archived.archive}, not for {archive}")
                )
            if latest is not None and latest.archived is not None and one.archived.at < latest.archived.at:
                found.problems.append(
                    Problem(
                        "clock",
                        one.name,
                        f"says it was archived at {clock.stamp(one.archived.at)}, before {latest.name} "
                        f"({clock.stamp(latest.archived.at)}): the clock ran backwards, or was set back on purpose",
                    )
                )
            latest = one
        before = one


@dataclass(frozen=True)
class _Signed:
    looked: Looked
    problem: Problem | None
    fingerprint: str | None
    tombstone: Problem | None = None

    @property
    def is_unsigned(self) -> bool:
        said = self.looked.archived
        return not self.looked.says_archived or (said is not None and said.signer == NOBODY)


def _signature(one: Looked, signers: Signers) -> _Signed:
    said, grave = one.archived, None
    if one.tombstone is not None:
        path = one.folder / TOMBSTONE
        judged = judge(
            read_plain(path),
            path.with_name(TOMBSTONE + ".sig"),
            EVIDENCE,
            one.tombstone.at,
            signers,
            one.tombstone.signer,
        )
        if judged.problem is not None:
            grave = Problem("tombstone", f"{one.name}/{TOMBSTONE}.sig", f"{judged.problem} ({judged.kind})")
    if said is None or said.signer == NOBODY or not one.sums:
        return _Signed(one, None, None, grave)
    judged = judge(one.sums, one.signature, EVIDENCE, said.at, signers, said.signer)
    problem = Problem(judged.kind, f"{one.name}/{SIGNATURE}", judged.problem) if judged.problem is not None else None
    return _Signed(one, problem, judged.fingerprint, grave)


def _signatures(found: Verified, judged: list[_Signed], signers: Signers, tree: Tree) -> None:
    before_signing = []
    found.problems += _keys_in_order(judged)
    for one in judged:
        found.problems += [problem for problem in (one.problem, one.tombstone) if problem is not None]
        if one.is_unsigned:
            if found.signed:
                text = "is not signed, though records before it are: it was put in, or its signature taken away"
                found.problems.append(Problem("unsigned", one.looked.name, text))
            else:
                before_signing.append(one.looked)
        elif one.problem is None and one.fingerprint is not None and one.looked.archived is not None:
            found.signed.append(one.looked)
            if one.fingerprint not in found.keys:
                found.keys.append(one.fingerprint)
    if not found.signed and judged and all(one.is_unsigned for one in judged):
        found.notes.append(
            f"UNSIGNED: none of the {len(found.looked)} records is signed. Files and chain fit together, but nothing proves who "
            "made them: anybody could have written all of it."
        )
        if runner_keys(tree.signers):
            text = "names a key of the runner, but no record is signed with one: the signatures were taken away"
            found.problems.append(Problem("unsigned", "allowed_signers", text))
    elif before_signing and found.signed:
        found.notes.append(
            f"Unsigned are {before_signing[0].name[:6]} to {before_signing[-1].name[:6]}: they were made before this archive "
            f"signed its records. {found.signed[0].name[:6]}, which is signed, holds them as they were by then."
        )


def _keys_in_order(judged: list[_Signed]) -> Iterator[Problem]:
    """A key that another one has replaced signs nothing more, whatever time it claims."""
    order: list[str] = []
    for one in judged:
        key = one.fingerprint if one.problem is None else None
        if key is None or order[-1:] == [key]:
            continue
        if key in order:
            yield Problem(
                "key-ended", f"{one.looked.name}/{SIGNATURE}", f"is by the key {key}, which had been replaced before"
            )
        else:
            order.append(key)


def _unknown_fingerprints(used: Sequence[str], handed_over: Sequence[str]) -> Iterator[Problem]:
    """Each fingerprint that was handed over is one of this archive's."""
    for fingerprint in handed_over:
        if fingerprint not in used:
            text = f"the key {fingerprint}, which was handed over, has signed no record here"
            yield Problem("key-unknown", "allowed_signers", text)


def _people(found: Verified, tree: Tree, signers: Signers, witnesses: Sequence[Path]) -> None:
    """What people have signed about the records. An accepted review of a record answers for its time."""
    problems, reviews = check_reviews(tree, found.looked, signers)
    settle_times(found, reviews, signers)
    found.problems += [*problems, *check_exceptions(tree, signers)[0]]
    for path in kept_witnesses(tree):
        try:
            seen = check_witness(path, found.looked, signers)
        except OperatorError:
            found.problems.append(
                Problem("witness-signature", f"witnesses/{path.name}", "is no witness's file any more")
            )
        else:
            found.problems += [seen.problem] if seen.problem is not None else []
    for path in witnesses:
        seen = check_witness(path, found.looked, signers)
        if seen.problem is not None:
            found.problems.append(seen.problem)
        else:
            found.notes.append(seen.said)
            found.witnessed = max(found.witnessed, seen.number)


def _export(tree: Tree, signers: Signers, found: Verified) -> Exported:
    """What the list of an export says; an empty one when this is no export."""
    if not os.path.lexists(tree.export):
        return Exported()
    if tree.root.resolve() == Tree.own().root.resolve():
        text = "lies in this home's own archive, which is no export: it excuses no missing file"
        found.problems.append(Problem("export", tree.export.name, text))
        return Exported()
    listed = check_export(tree, signers)
    found.problems += listed.problems
    found.is_export = listed.chosen is not None
    return listed
