"""Retention: how long each record must be kept, and `prune`, which deletes payloads whose time is over.

What goes is the payload: report, notebooks, gate files. What stays for good is the manifest (SHA256SUMS, signature, archived.txt),
run.json, so that populations can be counted years later, and a signed TOMBSTONE, so that the chain still verifies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from runbook import clock
from runbook.archive.archived import read_archived
from runbook.archive.keys import EVIDENCE, signing_key
from runbook.archive.records import KEPT_FOR_GOOD, TOMBSTONE, read_record
from runbook.archive.staging import archive_lock, write_file
from runbook.archive.sums import SUMS, read_sums, sha256
from runbook.archive.tombstone import Tombstone, read_tombstone
from runbook.archive.tree import Tree
from runbook.archive.verify import verify_archive
from runbook.clock import human_days
from runbook.disk import sync_folder
from runbook.errors import OperatorError
from runbook.gates import signing
from runbook.model import RunRecord
from runbook.params.controls import RetentionRule, load_controls
from runbook.plain import read_plain

#: What does not make a record doubtful: it is about the archive, and would stop every pruning for good, or a crash of our own.
_BEARABLE = frozenset({"clock", "run-missing", "key-not-introduced", "half-pruned"})


class Fate(StrEnum):
    """What becomes of a record's payload."""

    DELETE = "delete"
    KEEP = "keep"
    PRUNED = "pruned"
    NO_RULE = "no rule"


@dataclass(frozen=True)
class Line:
    """One record, the rule that asks for the longest time, and what becomes of its payload."""

    number: int
    folder: Path
    fate: Fate
    rule: RetentionRule | None
    until: datetime | None
    payload: tuple[str, ...]
    size: int


def rules_for(record: RunRecord, rules: Sequence[RetentionRule]) -> list[RetentionRule]:
    """The rules that match the record."""
    return [
        rule
        for rule in rules
        if (not rule.runbooks or record.runbook in rule.runbooks)
        and (not rule.targets or record.target.name in rule.targets)
        and (not rule.environments or record.target.environment in rule.environments)
        and (not rule.controls or set(rule.controls) & set(record.controls))
    ]


def plan_pruning(now: datetime | None = None, rules: Sequence[RetentionRule] | None = None) -> list[Line]:
    """Every record of this home, oldest first, and what becomes of its payload.

    A record is kept as long as the longest of its rules asks for, counted from the later of its end and its archiving.
    """
    asked = load_controls().retention if rules is None else rules
    return [_line(number, folder, asked, now or clock.now()) for number, folder in Tree.own().folders()]


def _line(number: int, folder: Path, rules: Sequence[RetentionRule], now: datetime) -> Line:
    record, archived = read_record(folder), read_archived(folder)
    digests, _ = read_sums(read_plain(folder / SUMS).decode("ascii"))
    payload = tuple(sorted(name for name in digests if name not in KEPT_FOR_GOOD and (folder / name).is_file()))
    size = sum((folder / name).stat().st_size for name in payload)
    rule = max(rules_for(record, rules), key=lambda one: one.keep, default=None)
    begun = max(record.ended_at, archived.at) if archived is not None else record.ended_at
    until = begun + timedelta(seconds=rule.keep) if rule is not None else None
    if (folder / TOMBSTONE).is_file() and not payload:
        fate = Fate.PRUNED
    elif until is None:
        fate = Fate.NO_RULE
    else:
        fate = Fate.DELETE if now >= until else Fate.KEEP
    return Line(number, folder, fate, rule, until, payload, size)


def choose(lines: Sequence[Line], numbers: Sequence[int]) -> list[Line]:
    """The lines whose payload is to be deleted: those that are named, or all whose time is over.

    Raises:
        OperatorError: a named record is not there, has no rule, or its time is not over: nothing is deleted.
    """
    known = {line.number: line for line in lines}
    for number in numbers:
        line = known.get(number)
        if line is None:
            raise OperatorError(f"There is no record {number:06d}.", next="runbook archive prune --dry-run")
        if line.fate is Fate.KEEP and line.rule is not None and line.until is not None:
            raise OperatorError(
                f"{line.folder.name} must be kept until {clock.stamp(line.until)}: the rule '{line.rule.id}' "
                f"({human_days(line.rule.keep)}, {line.rule.source}) asks for it. Nothing was deleted.",
                next="runbook archive prune --dry-run",
            )
        if line.fate is Fate.NO_RULE:
            raise OperatorError(
                f"No retention rule matches {line.folder.name}: nobody says how long it must be kept. Nothing was deleted.",
                next="Add a rule to params/controls.yaml: retention.",
            )
    return [line for line in lines if line.fate is Fate.DELETE and (not numbers or line.number in numbers)]


def prune(chosen: Sequence[Line], asked_by: str, now: datetime | None = None) -> list[Line]:
    """The payloads are deleted, each behind a signed tombstone. Safe twice; a crash between is finished by the next call.

    Raises:
        OperatorError: the archive does not verify: deleting would hide it. Or it is not signed, or a time is not over.
    """
    if not chosen:
        return []
    found = verify_archive()
    grave = [problem for problem in found.problems if problem.kind not in _BEARABLE]
    if grave or not found.signed:
        why = str(grave[0]) if grave else "none of its records is signed"
        raise OperatorError(
            f"The archive does not verify ({why}): nothing was deleted, since deleting would hide it.",
            next="runbook archive verify",
        )
    with archive_lock():
        for line in chosen:
            _prune_one(line, asked_by, (now or clock.now()).replace(microsecond=0))
    return list(chosen)


def _prune_one(line: Line, asked_by: str, now: datetime) -> None:
    tree, folder, path = Tree.own(), line.folder, line.folder / TOMBSTONE
    if line.until is None or line.rule is None or now < line.until:
        raise OperatorError(
            f"{folder.name} must still be kept: nothing was deleted.", next="runbook archive prune --dry-run"
        )
    if not path.is_file():
        key = signing_key(tree, now)
        assert key is not None, "an archive that is signed has a key"
        stone = Tombstone(
            at=now,
            signer=key.principal,
            asked_by=asked_by,
            rule=f"{line.rule.id}, {human_days(line.rule.keep)}, asked for by {line.rule.asked_by}, {line.rule.source}",
            kept_until=line.until,
            deleted=frozenset(line.payload),
            sums=sha256(read_plain(folder / SUMS)),
        )
        signature = path.with_name(TOMBSTONE + ".sig")
        signature.unlink(missing_ok=True)  # of a pruning that died before its tombstone was there
        write_file(signature, signing.sign(stone.content(), key.path, EVIDENCE).encode("ascii"))
        staged = tree.root / f".{folder.name}.tombstone"
        staged.unlink(missing_ok=True)
        write_file(staged, stone.content())
        staged.rename(path)
        sync_folder(folder)
    for name in read_tombstone(path).deleted:
        (folder / name).unlink(missing_ok=True)
    sync_folder(folder)
