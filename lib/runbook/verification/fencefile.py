"""Fences as files beside the backups: `fences/<utc>.json`, each with a digest of its own contents."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import NotMeasured, RunbookError
from runbook.params.schema import Cluster
from runbook.platforms.cluster.backups import looks_like_backup
from runbook.postgres.guard import PINNED
from runbook.postgres.wal import format_lsn, parse_lsn
from runbook.verification.catalogs import Catalogs
from runbook.verification.content import Content, SequencePosition

FORMAT = "runbook.fence/2"
FOLDER = "fences"


@dataclass(frozen=True)
class DatabaseFence:
    """One database's figures, and the position `lsn` just before which they are exact."""

    database: str
    snapshot: str
    timeline: int
    lsn: int
    why: str
    relations: tuple[Content, ...]
    sequences: tuple[SequencePosition, ...]
    catalogs: Catalogs | None = None  # a fence of before catalogs were read has none

    @property
    def rows(self) -> int:
        return sum(item.rows or 0 for item in self.relations)


@dataclass(frozen=True)
class Fence:
    """A fence file."""

    path: Path
    taken_at: datetime
    target: str
    system_identifier: str
    databases: tuple[DatabaseFence, ...]

    @property
    def last_lsn(self) -> int:
        """The highest position that it needs."""
        return max(item.lsn for item in self.databases)

    @property
    def first_lsn(self) -> int:
        return min(item.lsn for item in self.databases)


def folder_of(cluster: Cluster) -> Path:
    """Where a cluster's fences are kept: beside its backups, never inside one."""
    folder = layout.resolve(cluster.backup_folder)
    if folder.is_dir() and looks_like_backup(folder):
        return folder.with_name(f"{folder.name}.{FOLDER}")
    return folder / FOLDER


def owned_folder(backup_folder: Path) -> Path:
    """A folder that belongs to whoever runs the server that was backed up: a backup, not the fences beside it."""
    if not backup_folder.is_dir():
        return backup_folder
    others = (path for path in sorted(backup_folder.iterdir()) if path.is_dir() and path.name != FOLDER)
    return next(others, backup_folder)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_fence(
    folder: Path, taken_at: datetime, target: str, system_identifier: str, databases: list[DatabaseFence]
) -> Fence:
    body: dict[str, Any] = {
        "format": FORMAT,
        "taken_at": clock.stamp(taken_at),
        "target": target,
        "system_identifier": system_identifier,
        "settings": PINNED,
        "databases": [
            {
                "database": item.database,
                "snapshot": item.snapshot,
                "timeline": item.timeline,
                "lsn": format_lsn(item.lsn),
                "why": item.why,
                "relations": [relation.facts() for relation in item.relations],
                "sequences": [asdict(sequence) for sequence in item.sequences],
                **({"catalogs": item.catalogs.facts()} if item.catalogs is not None else {}),
            }
            for item in databases
        ],
    }
    text = json.dumps({**body, "sha256": _digest(json.loads(json.dumps(body)))}, indent=1) + "\n"
    path = folder / f"{clock.compact(taken_at)}-{taken_at.microsecond:06d}.json"
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    return read_fence(path)


def read_fence(path: Path) -> Fence:
    """The fence in a file.

    Raises:
        NotMeasured: it cannot be read, was altered, or was hashed with other settings.
    """
    try:
        body = json.loads(path.read_text("utf-8"))
        claimed = body.pop("sha256")
        if claimed != _digest(body):
            raise ValueError("its contents do not match its own sha256")
        if body["format"] != FORMAT or not PINNED.items() <= body["settings"].items():
            raise ValueError("it was taken with other settings than this version compares with")
        return Fence(
            path,
            clock.parse(body["taken_at"]),
            body["target"],
            body["system_identifier"],
            tuple(
                DatabaseFence(
                    item["database"],
                    item["snapshot"],
                    int(item["timeline"]),
                    parse_lsn(item["lsn"]),
                    item["why"],
                    tuple(Content(**relation) for relation in item["relations"]),
                    tuple(SequencePosition(**sequence) for sequence in item["sequences"]),
                    Catalogs.from_facts(item["catalogs"]) if "catalogs" in item else None,
                )
                for item in body["databases"]
            ),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RecursionError,
        RunbookError,
    ) as cause:
        raise NotMeasured(f"The fence {path.name} cannot be used: {cause}", next="runbook fence take") from cause


def list_fences(cluster: Cluster) -> tuple[list[Fence], list[str]]:
    """The readable fences, newest last, and what is wrong with the others."""
    found: list[Fence] = []
    wrong: list[str] = []
    for path in sorted(folder_of(cluster).glob("*.json")):
        try:
            found.append(read_fence(path))
        except NotMeasured as problem:
            wrong.append(problem.message)
    return found, wrong
