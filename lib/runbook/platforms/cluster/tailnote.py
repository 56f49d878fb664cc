"""The note beside WAL that was copied out of pg_wal: which segment is unfinished, and where WAL ends in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runbook.disk import sync_folder
from runbook.postgres.wal import format_lsn, parse_lsn

NAME = "tail.json"


def read(folder: Path) -> dict[str, int]:
    """Unfinished segments and where WAL ends in them; nothing when all are whole."""
    note = folder / NAME
    if not note.is_file():
        return {}
    return {name: parse_lsn(end) for name, end in json.loads(note.read_text("utf-8"))["open"].items()}


def write(folder: Path, timeline: int, end: int, open_at: dict[str, int]) -> None:
    """The folder says so, on disk."""
    note = {
        "timeline": timeline,
        "end": format_lsn(end),
        "open": {name: format_lsn(at) for name, at in open_at.items()},
    }
    part = folder / f"{NAME}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(note, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / NAME)
    sync_folder(folder)
