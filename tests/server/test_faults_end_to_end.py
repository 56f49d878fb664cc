"""Faults by the command line: exit code, the last JSON line, and a report that names what is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from runbook import layout
from runbook.sandbox.incidents import apply_incident

pytestmark = pytest.mark.server
RUNBOOK = Path(sys.executable).parent / "runbook"


@dataclass(frozen=True)
class Ran:
    code: int
    last: dict[str, Any]
    report: str
    record: dict[str, Any]


def run(home: Path, *words: str) -> Ran:
    """`runbook run backup-verification` in a process of its own."""
    done = subprocess.run(
        [str(RUNBOOK), "run", "backup-verification", "--target", "sandbox", *words],
        env={**os.environ, "RUNBOOK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    last = json.loads(done.stdout.strip().splitlines()[-1])
    folder = layout.resolve(last["record"])
    return Ran(
        done.returncode,
        last,
        (folder / "report.html").read_text(),
        json.loads((folder / "run.json").read_text()),
    )


def assert_reported(ran: Ran, *words: str) -> None:
    assert (ran.code, ran.last["verdict"], ran.record["verdict"]) == (1, "FAIL", "FAIL")
    for word in words:
        assert word in ran.last["reason"], ran.last["reason"]
        assert word in ran.report
    assert 'data-verdict="FAIL"' in ran.report or "FAIL" in ran.report.split("</header>")[0]


def relative(path: str) -> str:
    """A file of a backup as its manifest names it."""
    return path.split("/backups/")[1].split("/", 1)[1].split(",")[0]


def test_missing_heap_file_ends_with_1_and_stands_in_the_report(damaged_home: Path) -> None:
    truth = apply_incident("heap-file-missing")
    assert_reported(run(damaged_home), relative(truth["where"]), "new base backup")


@pytest.mark.faults
def test_index_bit_flip_ends_with_1_and_stands_in_the_report(damaged_home: Path) -> None:
    truth = apply_incident("index-bit-flip")
    assert_reported(run(damaged_home), relative(truth["where"]), "checksum mismatch")


@pytest.mark.faults
def test_wal_bit_flip_ends_with_1_and_stands_in_the_report(damaged_home: Path) -> None:
    truth = apply_incident("wal-bit-flip")
    assert_reported(run(damaged_home), Path(truth["where"].split(",")[0]).name, "damaged")


@pytest.mark.faults
def test_wal_gap_ends_with_1_and_stands_in_the_report(damaged_home: Path) -> None:
    truth = apply_incident("wal-gap")
    assert_reported(run(damaged_home), truth["segment"], "missing")


@pytest.mark.faults
def test_point_before_the_oldest_backup_ends_with_1_and_names_the_nearest(damaged_home: Path) -> None:
    ran = run(damaged_home, "-p", "recovery_point", "24 hours ago")
    assert_reported(ran, "No backup reaches back")


@pytest.mark.faults
def test_missing_manifest_ends_with_4_and_is_never_a_pass(damaged_home: Path) -> None:
    apply_incident("manifest-gone")
    ran = run(damaged_home)
    assert (ran.code, ran.last["verdict"]) == (4, "INCOMPLETE")
    assert "backup_manifest" in ran.last["reason"] and "backup_manifest" in ran.report


@pytest.mark.faults
def test_nothing_of_a_failed_run_is_left(damaged_home: Path) -> None:
    apply_incident("heap-page-zeroed")
    assert run(damaged_home).code == 1
    scratch = damaged_home / "var" / "scratch"
    assert not scratch.exists() or list(scratch.iterdir()) == []


@pytest.mark.faults
def test_failed_run_keeps_its_scratch_when_asked_and_says_where(damaged_home: Path) -> None:
    apply_incident("heap-page-zeroed")
    ran = run(damaged_home, "-p", "keep_scratch", "true")
    kept = list((damaged_home / "var" / "scratch").iterdir())
    assert ran.code == 1 and len(kept) == 1
    assert kept[0].name in ran.report
