"""Damage to files: relations of a backup and segments of the archive. What incidents have in common.

Changes are made in place: owner and mode stay, only content changes, as with a bad disk.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

from runbook.errors import OperatorError, PlatformError
from runbook.outside import commands
from runbook.postgres import wal
from runbook.sandbox.place import BackupFacts, RelationFile, Sandbox

PAGE = 8192
_PD_UPPER = slice(14, 16)  # in a page's header, PostgreSQL 17, bufpage.h


def newest_facts(sandbox: Sandbox) -> tuple[Path, BackupFacts]:
    """The newest backup and what was recorded about it.

    Raises:
        OperatorError: nothing was recorded: it was not taken by `runbook sandbox`.
    """
    backup = sandbox.newest_backup()
    facts = sandbox.state.backups.get(backup.name)
    if facts is None:
        raise OperatorError(
            f"Nothing is recorded about the backup {backup.name}, so it cannot be damaged on purpose.",
            next="runbook sandbox backup",
        )
    return backup, facts


def pick_relation(
    sandbox: Sandbox, rng: random.Random, kind: Literal["table", "index"], pages: int = 2
) -> tuple[str, Path, RelationFile]:
    """A relation of the newest backup with at least that many pages: name, file, facts."""
    backup, facts = newest_facts(sandbox)
    names = sorted(
        name
        for name, file in facts.relations.items()
        if file.kind == kind and file.pages >= pages and (backup / file.path).is_file()
    )
    if not names:
        raise OperatorError(
            f"The newest backup has no {kind} of {pages} pages.", next="runbook sandbox up --size small"
        )
    name = rng.choice(names)
    return name, backup / facts.relations[name].path, facts.relations[name]


def pick_page(rng: random.Random, path: Path) -> int:
    """A page of the file with rows on it; the first one is spared, which indexes use for themselves."""
    used = [number for number in range(1, path.stat().st_size // PAGE) if any(read_bytes(path, number * PAGE, PAGE))]
    if not used:
        raise OperatorError(f"{path} has no used page but its first.", next="Try another --seed.")
    return rng.choice(used)


def read_bytes(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def write_bytes(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def flip_bit(path: Path, offset: int, bit: int) -> None:
    """One bit of the byte at the offset is the other way round."""
    write_bytes(path, offset, bytes([read_bytes(path, offset, 1)[0] ^ (1 << bit)]))


def flip_in_page(rng: random.Random, path: Path) -> tuple[int, int]:
    """A bit among the rows of a page is flipped.

    Returns:
        The page's number and the byte's offset in the file.
    """
    page = pick_page(rng, path)
    upper = int.from_bytes(read_bytes(path, page * PAGE, PAGE)[_PD_UPPER], "little")
    offset = page * PAGE + rng.randint(min(upper, PAGE - 1), PAGE - 1)
    flip_bit(path, offset, rng.randint(0, 7))
    return page, offset


def archived_segments(sandbox: Sandbox) -> list[Path]:
    """Whole segments in the archive, oldest first."""
    return sorted(path for path in sandbox.archive.iterdir() if wal.SEGMENT_NAME.match(path.name))


def segments_after_backup(sandbox: Sandbox, at_least: int = 1) -> list[Path]:
    """The archived segments after the newest backup's own, oldest first.

    Raises:
        OperatorError: there are fewer than that.
    """
    last = newest_facts(sandbox)[1].last_segment
    # A newer timeline's segments count too: only the position matters.
    after = [path for path in archived_segments(sandbox) if path.name[8:] > last[8:]]
    if len(after) < at_least:
        raise OperatorError(
            f"Only {len(after)} WAL segments were archived after the newest backup, and {at_least} are needed.",
            next="runbook sandbox traffic start, and wait some minutes.",
        )
    return after


def used_bytes(segment: Path) -> int:
    """How much of a segment is written: the rest is zeros."""
    return len(segment.read_bytes().rstrip(b"\0"))


def read_segment(sandbox: Sandbox, segment: Path) -> list[wal.WalRecord]:
    """The first 20,000 records of one segment.

    Raises:
        PlatformError: there is none.
    """
    argv = [sandbox.tools.path("pg_waldump"), "--limit=20000", str(segment)]
    said = commands.run(argv, timeout=60, check=False).stdout  # it ends with an error where the segment ends
    records = [record for line in said.splitlines() if (record := wal.parse_record(line)) is not None]
    if not records:
        raise PlatformError(f"No WAL record was found in {segment}.", next="Try another --seed.")
    return records


def segment_size(sandbox: Sandbox) -> int:
    return archived_segments(sandbox)[0].stat().st_size
