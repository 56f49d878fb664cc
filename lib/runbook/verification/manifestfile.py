"""What a backup_manifest proves of each file: its checksum, or no more than its size.

Source: PostgreSQL 17, "Backup Manifest Format": the keys of a file's checksum are left out, or the algorithm is NONE, with
`pg_basebackup --manifest-checksums=NONE`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_FILE = re.compile(r'"(?:Encoded-)?Path"\s*:')
_SUMMED = re.compile(r'"Checksum-Algorithm"\s*:\s*"(?!none")', re.IGNORECASE)


def files_without_checksum(manifest: Path) -> tuple[list[str], int]:
    """Return the files for which a manifest holds no checksum, and how many files it lists.

    Raises:
        OSError, ValueError: it cannot be read, or is no JSON.
    """
    files = summed = 0
    with manifest.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:  # pg_basebackup writes a line a file; a manifest of another shape gives the same counts
            files += len(_FILE.findall(line))
            summed += len(_SUMMED.findall(line))
    if files == summed:
        return [], files
    listed: list[dict[str, Any]] = json.loads(manifest.read_text("utf-8", "replace"))["Files"]
    found = [str(item.get("Path") or item.get("Encoded-Path")) for item in listed if not _is_summed(item)]
    return found, len(listed)


def _is_summed(item: dict[str, Any]) -> bool:
    return str(item.get("Checksum-Algorithm", "none")).lower() != "none"
