"""Records: one archived attempt each, numbered without gaps, chained, never changed.

    reports/records/000005-20261123T021338Z-backup-verification-sandbox/
        report.html executed.ipynb source.ipynb run.json
        SHA256SUMS      those files, and the previous record's SHA256SUMS (the chain)

The rename that publishes a record assigns its number, under a lock: a crash at any moment leaves either the whole
record or none of it.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from runbook import clock, layout
from runbook.archive.staging import archive_lock, fsync_folder, staging_folder, write_file
from runbook.archive.sums import SUMS, is_plain_name, read_sums, sha256, sha256_of_file, write_sums
from runbook.errors import PlatformError
from runbook.model import RunRecord

RUN_JSON = "run.json"

#: Files that may stand in a record beside those that its SHA256SUMS lists.
_OUTSIDE_SUMS = frozenset({SUMS, SUMS + ".sig"})
_FOLDER = re.compile(r"^(\d{6})-(\d{8}T\d{6}Z-[a-z0-9-]+)$")


@dataclasses.dataclass(frozen=True)
class ListedRecord:
    """A record as it lies in the archive."""

    number: int
    folder: Path
    record: RunRecord


def folder_suffix(record: RunRecord) -> str:
    """What follows the number in the folder's name: `<utc compact>-<runbook>-<target>`."""
    return f"{clock.compact(record.started_at)}-{record.runbook}-{record.target.name}"


def run_json(record: RunRecord) -> bytes:
    """The bytes of `run.json`: the record as indented JSON with its own field names."""
    return (record.model_dump_json(by_alias=True, indent=2) + "\n").encode()


def read_record(folder: Path) -> RunRecord:
    """The record that a folder holds.

    Raises:
        PlatformError: `run.json` is missing, unreadable, or no record of this schema.
    """
    try:
        return RunRecord.model_validate_json((folder / RUN_JSON).read_bytes())
    except (OSError, ValueError) as cause:
        raise PlatformError(
            f"{layout.short(folder / RUN_JSON)} cannot be read as a run record: {cause}",
            next=f"cd {layout.short(folder)} && sha256sum -c {SUMS}",
        ) from cause


def numbered_folders() -> list[tuple[int, Path]]:
    """Every record's number and folder, ascending. Folders of other names are no records."""
    root = layout.records()
    if not root.is_dir():
        return []
    named = ((_FOLDER.match(path.name), path) for path in root.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in named if match is not None)


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
        ValueError: a file name with a path or a blank in it, `SHA256SUMS`, or another `run.json`.
        PlatformError: the archive cannot be written (full, read-only, another file system).
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
    if _FOLDER.match("000000-" + folder_suffix(record)) is None:
        raise ValueError(f"'{folder_suffix(record)}' is no name for a record: runbook and target are slugs")
    for name in files:
        if not is_plain_name(name) or name in _OUTSIDE_SUMS:
            raise ValueError(f"'{name}' cannot be a record's file: give a plain file name other than {SUMS}")
    if RUN_JSON in files and RunRecord.model_validate_json(files[RUN_JSON]) != record:
        raise ValueError(f"the {RUN_JSON} given is not that of run {record.run}, attempt {record.attempt}")
    return {RUN_JSON: run_json(record), **files}


def _publish(staged: Path, contents: dict[str, bytes], record: RunRecord) -> Path:
    """Number, chain and rename. Call under the archive's lock."""
    root = layout.records()
    root.mkdir(exist_ok=True)
    folders = numbered_folders()
    suffix = folder_suffix(record)
    for _, folder in folders:
        if folder.name[7:] == suffix:
            archived = read_record(folder)
            if (archived.run, archived.attempt) == (record.run, record.attempt):
                return folder
    number, previous = 1, None
    if folders:
        last, folder = folders[-1]
        number, previous = last + 1, (folder.name, _digest_of_sums(folder))
    digests = {name: sha256(content) for name, content in contents.items()}
    write_file(staged / SUMS, write_sums(digests, previous))
    fsync_folder(staged)
    published = root / f"{number:06d}-{suffix}"
    staged.rename(published)
    fsync_folder(root)
    return published


def _digest_of_sums(folder: Path) -> str:
    try:
        return sha256_of_file(folder / SUMS)
    except FileNotFoundError as cause:
        raise PlatformError(
            f"The newest record {folder.name} has no {SUMS}: the chain cannot go on from it.",
            next=f"Bring {layout.short(folder / SUMS)} back from a copy of the archive, then give the command again.",
        ) from cause


def verify_record(path: Path) -> list[str]:
    """What is wrong with a record's files; an empty list when nothing is.

    Finds a file missing, altered or added (which `sha256sum -c` alone misses), a previous record that is gone,
    altered or not the one before, and a SHA256SUMS that is no such file.
    """
    folder = Path(path)
    named = _FOLDER.match(folder.name)
    if named is None:
        return [f"{folder.name}: no folder name of a record"]
    try:
        digests, previous = read_sums((folder / SUMS).read_text())
    except (OSError, ValueError) as cause:
        return [f"{folder.name}/{SUMS}: {cause}"]
    problems = []
    present = {entry.name for entry in os.scandir(folder)}
    for name, digest in digests.items():
        if name not in present:
            problems.append(f"{folder.name}/{name}: missing")
        elif not (folder / name).is_file() or (folder / name).is_symlink():
            problems.append(f"{folder.name}/{name}: not a regular file")
        elif sha256_of_file(folder / name) != digest:
            problems.append(f"{folder.name}/{name}: altered")
    problems += [f"{folder.name}/{name}: added" for name in sorted(present - digests.keys() - _OUTSIDE_SUMS)]
    if RUN_JSON not in digests:
        problems.append(f"{folder.name}/{SUMS}: does not list {RUN_JSON}")
    return problems + _chain_problems(folder, int(named[1]), previous)


def _chain_problems(folder: Path, number: int, previous: tuple[str, str] | None) -> list[str]:
    if previous is None:
        return [] if number == 1 else [f"{folder.name}: names no previous record; the chain is cut here"]
    name, digest = previous
    match = _FOLDER.match(name)
    if match is None or int(match[1]) != number - 1:
        return [f"{folder.name}: names {name} as the previous record, not number {number - 1:06d}"]
    sums = folder.parent / name / SUMS
    if not sums.is_file():
        return [f"{folder.name}: the previous record {name} is missing"]
    return [] if sha256_of_file(sums) == digest else [f"{name}/{SUMS}: altered since {folder.name} was written"]
