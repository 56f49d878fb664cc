"""What a manifest proves of each file, however it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runbook.verification.manifestfile import files_without_checksum

SUMMED = {"Path": "base/1/1", "Size": 8, "Checksum-Algorithm": "CRC32C", "Checksum": "01234567"}
BARE = {"Path": "pg_xact/0000", "Size": 8}
NONE = {"Path": "global/1", "Size": 8, "Checksum-Algorithm": "None", "Checksum": "00"}
ODD = {"Encoded-Path": "62", "Size": 8}
HOSTILE = {"Path": 'a", "Checksum-Algorithm": "SHA256', "Size": 8}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([SUMMED, SUMMED], ([], 2)),
        ([], ([], 0)),
        ([SUMMED, BARE], (["pg_xact/0000"], 2)),
        ([BARE, NONE, ODD], (["pg_xact/0000", "global/1", "62"], 3)),
        ([HOSTILE, SUMMED], ([HOSTILE["Path"]], 2)),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_files_without_a_checksum_are_found(
    tmp_path: Path, files: list[dict[str, Any]], expected: tuple[list[str], int], indent: int | None
) -> None:
    path = tmp_path / "backup_manifest"
    path.write_text(json.dumps({"PostgreSQL-Backup-Manifest-Version": 2, "Files": files}, indent=indent))
    assert files_without_checksum(path) == expected
