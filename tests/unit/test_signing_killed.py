"""A process that is killed while it signs or makes a key leaves nothing of it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from archivehouse import FILES, House, a_record, fill, open_run
from homes import at_home
from runbook.archive.records import commit_record
from runbook.archive.staging import staging_folder
from runbook.errors import PlatformError
from runbook.gates import signing


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_process_killed_while_it_signs_leaves_neither_the_decision_nor_a_signature(
    tmp_path: Path, temporary: Path
) -> None:
    key = tmp_path / "ann"
    argv = [signing.program(), "-q", "-t", "ed25519", "-N", "a long passphrase", "-f", str(key)]
    subprocess.run(argv, check=True)
    code = (
        f"from pathlib import Path; from runbook.gates import signing; signing.sign(b'plan', Path({str(key)!r}), 'n')"
    )
    child = pexpect.spawn(sys.executable, ["-c", code], timeout=60)
    child.expect("Enter passphrase")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.close()
    assert list(temporary.iterdir()) == []


def test_signature_without_a_name_is_read_by_ssh_keygen_and_leaves_no_file(tmp_path: Path, temporary: Path) -> None:
    key = tmp_path / "ann"
    signing.make_key(key, "ann")
    with signing.without_name(signing.sign(b"plan", key, "n")) as path:
        assert signing.is_over(b"plan", "n", path)
        assert not signing.is_over(b"plans", "n", path)
        assert list(temporary.iterdir()) == []


def test_process_killed_while_it_verifies_an_archive_leaves_no_signature_behind(
    tmp_path: Path, temporary: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fill(home, 1, 1)
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "ssh-keygen"
    program.write_text(f'#!/bin/sh\ncase $* in *" verify "*) kill -9 $PPID ;; esac\nexec "{signing.program()}" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "RUNBOOK_HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
    code = "from runbook.cli.main import run_cli; run_cli(['archive', 'verify'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert list(temporary.iterdir()) == []


def test_export_that_was_killed_is_removed_by_the_next_to_the_same_place(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fill(home, 1, 2)
    code = (
        "import os, signal; from runbook.archive import export; from runbook.cli.main import run_cli; "
        "export._csv = lambda records: os.kill(os.getpid(), signal.SIGKILL); "
        "run_cli(['archive', 'export', 'out/q1', '--control', 'backup-verification', '--from', '2026-01-01', '--to', '2027-01-01'])"
    )
    environment = {**os.environ, "RUNBOOK_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "out").rglob("EXPORT.sig")] == ["EXPORT.sig"], (
        "the kill came in the middle"
    )
    again = subprocess.run([sys.executable, "-c", code.partition("export._csv")[0] + code.partition("SIGKILL); ")[2]],
                           env=environment, cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert "OK: 2 records" in again.stdout, again.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["q1"]


def test_staging_in_another_users_place_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    precious = tmp_path / "precious"
    (precious / "folder").mkdir(parents=True)
    (tmp_path / ".q1.staging").symlink_to(precious)
    refused = pytest.raises(PlatformError, match="is no folder of this user")
    with at_home(home), refused, staging_folder(tmp_path / ".q1.staging"):
        pass
    assert (precious / "folder").is_dir()


def test_key_that_a_killed_process_was_making_is_removed_by_the_next_record(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    fill(home, 1, 1)
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "ssh-keygen"
    program.write_text(f'#!/bin/sh\n"{signing.program()}" "$@"\ncase $* in *"-t ed25519"*) kill -9 $PPID ;; esac\n')
    program.chmod(0o755)
    environment = {**os.environ, "RUNBOOK_HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
    code = (
        "from datetime import timedelta; from runbook import clock; from runbook.archive.rotation import rotate; "
        "rotate('yearly', now=clock.now() + timedelta(seconds=2))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    keys = home / "var" / "keys"
    left = [path for path in keys.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(left) == 2, "the kill came in the middle"
    with at_home(home):
        open_run(home, 2)
        commit_record(FILES, a_record(2))
    assert [path for path in keys.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()] == [
        House(home).key
    ]
