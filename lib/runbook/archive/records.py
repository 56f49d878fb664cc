"""Records: one archived attempt each, numbered without gaps, chained, signed, never changed.

    reports/records/000005-20261123T021338Z-backup-verification-sandbox/
        report.html executed.ipynb source.ipynb run.json
        statements.jsonl  what the attempt asked of servers, by step
        archived.txt    which archive, when, by whom, what RUNS held by then, and the folder's name
        SHA256SUMS      those files, and the previous record's SHA256SUMS (the chain)
        SHA256SUMS.sig  by the runner's key, for `ssh-keygen -Y verify -n runbook-evidence`

The rename that publishes a record assigns its number, under a lock: a crash at any moment leaves either the whole
record or none of it.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.archive.archived import ARCHIVED, NOBODY, Archived, archived_now, read_archived
from runbook.archive.keys import EVIDENCE, RunnerKey, signing_key
from runbook.archive.listing import newest, read_names, remember_names
from runbook.archive.staging import archive_lock, staging_folder, write_file
from runbook.archive.stock import write_stock
from runbook.archive.sums import SUMS, is_plain_name, sha256, write_sums
from runbook.archive.tree import FOLDER, Tree
from runbook.disk import sync_folder
from runbook.errors import PlatformError
from runbook.gates import signing
from runbook.model import RunRecord
from runbook.plain import LARGEST_FILE, read_plain, sha256_of_file

RUN_JSON = "run.json"
SIGNATURE = SUMS + ".sig"
TOMBSTONE = "TOMBSTONE"

#: Files that may stand in a record beside those that its SHA256SUMS lists.
OUTSIDE_SUMS = frozenset({SUMS, SIGNATURE, TOMBSTONE, TOMBSTONE + ".sig"})
#: A clock that was set back by so little is waited for; the record then says no earlier time than the one before.
_CLOCK_SECONDS = 5.0
#: What pruning never deletes: who, when, which verdict, and that it was archived.
KEPT_FOR_GOOD = frozenset({RUN_JSON, ARCHIVED})
_RESERVED = frozenset(name.upper() for name in (*OUTSIDE_SUMS, ARCHIVED))


@dataclasses.dataclass(frozen=True)
class ListedRecord:
    """A record as it lies in the archive."""

    number: int
    folder: Path
    record: RunRecord


def folder_suffix(record: RunRecord) -> str:
    """What follows the number in the folder's name: `<utc compact>-<runbook>-<target>`."""
    return suffix_of(record.started_at, record.runbook, record.target.name)


def suffix_of(started_at: datetime, runbook: str, target: str) -> str:
    """What follows the number in a record's name."""
    return f"{clock.compact(started_at)}-{runbook}-{target}"


def run_json(record: RunRecord) -> bytes:
    """The bytes of `run.json`: the record as indented JSON with its own field names."""
    return (record.model_dump_json(by_alias=True, indent=2) + "\n").encode()


def read_record(folder: Path) -> RunRecord:
    """The record that a folder holds.

    Raises:
        PlatformError: `run.json` is missing, unreadable, or no record of this schema.
    """
    try:
        return RunRecord.model_validate_json(read_plain(folder / RUN_JSON, LARGEST_FILE))
    except (OSError, ValueError) as cause:
        raise PlatformError(
            f"{layout.short(folder / RUN_JSON)} cannot be read as a run record: {cause}",
            next=f"cd {layout.short(folder)} && sha256sum -c {SUMS}",
        ) from cause


def numbered_folders() -> list[tuple[int, Path]]:
    """Every record's number and folder, ascending. Folders of other names are no records."""
    return Tree.own().folders()


def list_records() -> list[ListedRecord]:
    """The archive's records, oldest first.

    Raises:
        PlatformError: a record whose `run.json` cannot be read; the message names it.
    """
    return [ListedRecord(number, path, read_record(path)) for number, path in numbered_folders()]


def commit_record(files: dict[str, bytes], record: RunRecord) -> Path:
    """The record is in the archive, on the disk, and chained; safe to call twice.

    Args:
        files: plain file name → content. `run.json` is written from `record`; given, it must say the same.
        record: what `run.json` says. An archived record of the same run and attempt is returned as it is.

    Returns:
        The record's folder.

    Raises:
        ValueError: a file name with a path or a blank in it, one that the archive writes itself, two that differ in case
            only, one that is too large, or another `run.json`.
        PlatformError: the archive cannot be written (full, read-only, another file system), or cannot be signed.
    """
    contents = _checked(files, record)
    try:
        with staging_folder() as staged:
            for name, content in sorted(contents.items()):
                write_file(staged / name, content)
            with archive_lock():
                return _publish(staged, contents, record)
    except OSError as cause:
        raise PlatformError(
            f"The record of run {record.run} could not be written to {layout.short(layout.reports())}: "
            f"{cause.strerror or cause}.",
            next=f"Make room or mend the folder, then: runbook close {record.run}",
        ) from cause


def _checked(files: dict[str, bytes], record: RunRecord) -> dict[str, bytes]:
    if FOLDER.fullmatch("000000-" + folder_suffix(record)) is None:
        raise ValueError(f"'{folder_suffix(record)}' is no name for a record: runbook and target are slugs")
    for name in files:
        if not is_plain_name(name) or name.upper() in _RESERVED:
            raise ValueError(f"'{name}' cannot be a record's file: give a plain file name other than {SUMS}")
    for name, content in files.items():
        if len(content) > LARGEST_FILE:
            raise ValueError(f"'{name}' has {len(content)} bytes: a record's file has at most {LARGEST_FILE}")
    if len({name.casefold() for name in files}) != len(files):
        raise ValueError("two of the record's files differ in upper and lower case only")
    if RUN_JSON in files and RunRecord.model_validate_json(files[RUN_JSON]) != record:
        raise ValueError(f"the {RUN_JSON} given is not that of run {record.run}, attempt {record.attempt}")
    return {RUN_JSON: run_json(record), **files}


def archived_folder(record: RunRecord, names: list[str] | None = None) -> Path | None:
    """The folder of the record of the same run and attempt, if it is in the archive. Reads no other record than that.

    Args:
        names: of all records, when they are known already.
    """
    tree, suffix = Tree.own(), folder_suffix(record)
    for name in sorted(one for one in (read_names(tree) if names is None else names) if one[7:] == suffix):
        folder = tree.records / name
        if folder.is_dir():
            archived = read_record(folder)
            if (archived.run, archived.attempt) == (record.run, record.attempt):
                return folder
    return None


def _publish(staged: Path, contents: dict[str, bytes], record: RunRecord) -> Path:
    """Number, chain, sign and rename. Call under the archive's lock."""
    tree = Tree.own()
    tree.records.mkdir(exist_ok=True)
    names = read_names(tree)
    there = archived_folder(record, names)
    if there is not None:
        return there
    last = newest(tree, names)
    number, previous, before = 1, None, None
    if last is not None:
        number, previous, before = int(last.name[:6]) + 1, (last.name, _digest_of_sums(last)), _archived(last)
    key = signing_key(tree, clock.now().replace(microsecond=0))
    moment = _moment(before, key)
    archive = before.archive if before is not None else secrets.token_hex(8)
    name = f"{number:06d}-{folder_suffix(record)}"
    archived = archived_now(archive, moment, key.principal if key is not None else NOBODY, tree, name)
    write_file(staged / ARCHIVED, archived.content())
    digests = {name: sha256(content) for name, content in {**contents, ARCHIVED: archived.content()}.items()}
    sums = write_sums(digests, previous)
    write_file(staged / SUMS, sums)
    if key is not None:
        write_file(staged / SIGNATURE, _signature(sums, key))
    sync_folder(staged)
    write_stock(tree)
    published = tree.records / name
    staged.rename(published)
    sync_folder(tree.records)
    remember_names(tree, [*names, published.name])
    return published


def _archived(folder: Path) -> Archived | None:
    try:
        return read_archived(folder)
    except ValueError as cause:
        raise PlatformError(
            f"The newest record's {folder.name}/{ARCHIVED} {cause}: the chain cannot go on from it.",
            next=f"Bring {layout.short(folder / ARCHIVED)} back from a copy of the archive, then give the command again.",
        ) from cause


def _moment(before: Archived | None, key: RunnerKey | None) -> datetime:
    """The time of archiving, in whole seconds.

    A clock that stands far behind the record before is not corrected and not waited for: the run is archived with the
    time that the machine says, and `runbook archive verify` tells of it. The chain, not the clock, proves the order.

    Raises:
        PlatformError: the clock stands before the moment in which the signing key began: no signature would verify.
    """
    now = clock.now()
    begun = key.since if key is not None else None
    due = max((one for one in (before.at if before is not None else None, begun) if one is not None), default=now)
    behind = (due - now).total_seconds()
    if 0 < behind <= _CLOCK_SECONDS:
        time.sleep(behind)
        return due
    moment = now.replace(microsecond=0)
    if begun is not None and moment < begun:
        raise PlatformError(
            f"This machine's clock says {clock.stamp(now)}, which is before the runner's key began "
            f"({clock.stamp(begun)}): the record's signature would not verify.",
            next="Correct the clock and give the command again; if the key began while the clock ran ahead: "
            "runbook keys rotate --reason 'the clock ran ahead'",
        )
    return moment


def _signature(sums: bytes, key: RunnerKey) -> bytes:
    return signing.sign(sums, key.path, EVIDENCE).encode("ascii")


def _digest_of_sums(folder: Path) -> str:
    try:
        return sha256_of_file(folder / SUMS)
    except FileNotFoundError as cause:
        raise PlatformError(
            f"The newest record {folder.name} has no {SUMS}: the chain cannot go on from it.",
            next=f"Bring {layout.short(folder / SUMS)} back from a copy of the archive, then give the command again.",
        ) from cause
