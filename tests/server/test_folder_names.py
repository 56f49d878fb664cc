"""Names from the disk in other bytes than UTF-8 stop no run, and cleanups work at the interpreter's end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from homes import recorded
from runbook import layout


@pytest.mark.server
@pytest.mark.faults
def test_backup_folder_named_in_latin_1_is_verified(damaged_home: Path) -> None:
    backups = layout.sandbox() / "backups"
    (backup,) = [path for path in backups.iterdir() if (path / "backup_label").is_file()]
    backup.rename(backups / os.fsdecode(b"m\xe4rz\x1b"))
    code, record = recorded(damaged_home, "backup-verification")
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert "m\\\\xe4rz␛" in str(record)


def test_scratch_can_be_removed_when_the_interpreter_ends(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "1").write_bytes(b"x")
    code = (
        "import atexit, pathlib, sys\nfrom runbook.platforms.cluster.copying import remove_tree\n"
        "atexit.register(remove_tree, pathlib.Path(sys.argv[1]))\nraise KeyError('my own cell')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    assert "my own cell" in ended.stderr and "schedule new futures" not in ended.stderr
    assert not folder.exists()
