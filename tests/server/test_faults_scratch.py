"""Where a scratch cannot stand: full, read-only, closed. Nothing is proven then, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from own_cluster import own_cluster
from proof import prove
from runbook import layout
from runbook.errors import BackupDamaged, OperatorError, ScratchFull
from shop import Shop, add_mark, fill

pytest_plugins = ("shop_fixtures",)
pytestmark = [
    pytest.mark.server,
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk"),
]


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_scratch_is_said_before_copying(shop: Shop) -> None:
    with disk(shop.cluster.home / "small", "size=8m,mode=755") as place:
        outcome = prove(shop.cluster, scratch=str(place))
        assert isinstance(outcome.error, ScratchFull) and outcome.verdict == "INCOMPLETE"
        assert "MiB free" in outcome.said and "-p scratch" in outcome.said
        assert list(place.iterdir()) == []


def test_read_only_scratch_is_said(shop: Shop) -> None:
    with disk(shop.cluster.home / "small", "size=80m,mode=755,ro") as place:
        outcome = prove(shop.cluster, scratch=str(place))
        assert isinstance(outcome.error, ScratchFull) and outcome.verdict == "INCOMPLETE"
        assert "Read-only" in outcome.said and "-p scratch" in outcome.said


def test_scratch_that_fills_while_copying_is_no_fault_of_the_backup(shop: Shop) -> None:
    with disk(shop.cluster.home / "small", "size=64m,mode=755") as place:

        def fill_up(proof: Any, step: str) -> None:
            if step == "resolve":
                (place / "ballast").write_bytes(bytes(1 << 20) * 40)

        outcome = prove(shop.cluster, scratch=str(place), before=fill_up)
        assert isinstance(outcome.error, ScratchFull) and outcome.verdict == "INCOMPLETE", outcome.alarms
        assert [path.name for path in place.iterdir()] == ["ballast"]


def test_scratch_that_fills_while_replaying_is_no_fault_of_the_backup() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.sql(
            "CREATE TABLE large AS SELECT g AS id, repeat('x', 500) AS t FROM generate_series(1, 60000) AS g",
            database="shop",
        )
        add_mark(cluster, 1)
        cluster.switch()
        for path in cluster.archive.iterdir():
            path.chmod(0o644)  # linked, not copied: the room is the replay's
        with disk(cluster.home / "small", "size=56m,mode=755") as place:
            outcome = prove(cluster, scratch=str(place))
            assert isinstance(outcome.error, ScratchFull) and outcome.verdict == "INCOMPLETE", outcome.alarms
            assert "No space left" in outcome.said and "-p scratch" in outcome.said
            assert list(place.iterdir()) == []


def test_scratch_without_files_left_is_no_fault_of_the_backup(shop: Shop) -> None:
    with disk(shop.cluster.home / "small", "size=200m,mode=755,nr_inodes=200") as place:
        outcome = prove(shop.cluster, scratch=str(place))
        assert isinstance(outcome.error, ScratchFull) and outcome.verdict == "INCOMPLETE", outcome.alarms


def test_scratch_closed_to_the_servers_user_names_the_folder(shop: Shop) -> None:
    closed = shop.cluster.home / "closed"
    closed.mkdir(mode=0o700)
    outcome = prove(shop.cluster, scratch=str(closed))
    assert isinstance(outcome.error, ScratchFull) and str(closed) in outcome.said and "chmod" in outcome.said
    assert list(closed.iterdir()) == []


def test_scratch_on_a_file_is_said(shop: Shop) -> None:
    place = shop.cluster.home / "file"
    place.write_text("")
    outcome = prove(shop.cluster, scratch=str(place))
    assert isinstance(outcome.error, ScratchFull)


@pytest.mark.parametrize("inside", ["backups", "archive", "backups/first"])
def test_scratch_inside_what_it_must_not_touch_is_refused(shop: Shop, inside: str) -> None:
    place = shop.cluster.home / inside
    before = sorted(path.name for path in place.iterdir())
    outcome = prove(shop.cluster, scratch=str(place))
    assert isinstance(outcome.error, OperatorError) and outcome.checks == []
    assert inside.split("/")[0] in outcome.said
    assert sorted(path.name for path in place.iterdir()) == before


def test_scratch_inside_the_data_directory_is_refused() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        before = sorted(path.name for path in cluster.data.iterdir())
        outcome = prove(cluster, scratch=str(cluster.data))
        assert isinstance(outcome.error, OperatorError) and "data" in outcome.said
        assert sorted(path.name for path in cluster.data.iterdir()) == before


def test_unreadable_backup_file_is_named(shop: Shop) -> None:
    path = shop.file("quiet")
    path.unlink()
    path.mkdir()
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and shop.files["quiet"] in outcome.said
    assert outcome.error is None or isinstance(outcome.error, BackupDamaged) or "No server" in str(outcome.error)


def test_archive_closed_to_an_ordinary_user_says_so(shop: Shop) -> None:
    """As that user in a process of its own: root can read everything."""
    shop.cluster.archive.chmod(0o000)
    shop.cluster.params()
    (shop.cluster.home / "var").mkdir(exist_ok=True)
    code = (
        "import os\n"
        "from runbook.params import load_params\n"
        "from runbook.verification.backup import BackupVerification\n"
        "from runbook.errors import NotReadable\n"
        "params = load_params('own'); os.setgid(65534); os.setuid(65534)\n"
        "try:\n    BackupVerification(params, 'x', lambda *a: None).choose()\n"
        "except NotReadable as problem:\n    print(problem)\n"
    )
    env = {**os.environ, "RUNBOOK_HOME": str(shop.cluster.home), "PYTHONPATH": str(layout.CHECKOUT / "lib")}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "archive" in said.stdout and "Permission denied" in said.stdout, said.stdout + said.stderr
