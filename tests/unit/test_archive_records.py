"""Records are whole or absent, numbered without gaps, chained, and checkable with sha256sum alone."""

from __future__ import annotations

import multiprocessing
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from archivehouse import survives
from runbook import layout
from runbook.archive.listing import read_names
from runbook.archive.records import commit_record, list_records, run_json
from runbook.archive.staging import staging_folder
from runbook.archive.tree import Tree
from runbook.archive.verify import verify_archive
from runbook.errors import PlatformError
from runbook.model import FileFacts, RunRecord, TargetFacts, Verdict

FILES = {"report.html": b"<!doctype html>", "executed.ipynb": b"{}", "source.ipynb": b"{}"}
START = datetime(2026, 11, 23, 2, 13, 38, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    return tmp_path


def record(number: int = 1, attempt: int = 1, **changes: object) -> RunRecord:
    started = START + timedelta(minutes=number)
    fields: dict[str, object] = {
        "run": f"20261123T02{number:02d}38Z-backup-verification-3f9a",
        "attempt": attempt,
        "runbook": "backup-verification",
        "title": "04 · Can the backup be restored?",
        "verdict": Verdict.PASS,
        "reason": "All checks passed.",
        "exit_code": 0,
        "target": TargetFacts(name="sandbox", environment="sandbox", platform="cluster"),
        "started_at": started,
        "ended_at": started + timedelta(seconds=30),
        "seconds": 30.0,
        "operator": "dba",
        "host": "h1",
        "started_by": "runbook run",
        "notebook": FileFacts(path="notebooks/04_backup_verification.ipynb", sha256="a" * 64),
        "library_sha256": "b" * 64,
    }
    return RunRecord.model_validate({**fields, **changes})


def sha256sum_check(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )


def problems() -> list[str]:
    return [str(problem) for problem in verify_archive(signatures=False).problems]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def numbers() -> list[int]:
    return [listed.number for listed in list_records()]


def test_record_holds_its_files_read_only_and_is_named_by_number_time_runbook_target() -> None:
    folder = commit_record(FILES, record())
    assert folder == layout.records() / "000001-20261123T021438Z-backup-verification-sandbox"
    assert names(folder) == [
        "SHA256SUMS", "SHA256SUMS.sig", "archived.txt", "executed.ipynb", "report.html", "run.json", "source.ipynb",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert list_records()[0].record == record()


def test_stock_sha256sum_verifies_each_record_and_the_chain_from_inside_the_folder() -> None:
    folders = [commit_record(FILES, record(number)) for number in (1, 2, 3)]
    for folder in folders:
        done = sha256sum_check(folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    last = (folders[2] / "SHA256SUMS").read_text().splitlines()
    assert [line[66:] for line in last] == [
        "archived.txt", "executed.ipynb", "report.html", "run.json", "source.ipynb", f"../{folders[1].name}/SHA256SUMS",
    ]  # fmt: skip
    assert problems() == []


def test_record_of_the_same_run_and_attempt_is_returned_and_not_written_twice() -> None:
    first = commit_record(FILES, record())
    assert commit_record({**FILES, "report.html": b"another"}, record()) == first
    assert (first / "report.html").read_bytes() == FILES["report.html"]
    assert numbers() == [1]


def test_next_attempt_and_another_run_of_the_same_second_get_their_own_numbers() -> None:
    commit_record(FILES, record())
    commit_record(FILES, record(attempt=2))
    commit_record(FILES, record(run="20261123T021438Z-backup-verification-ffff"))
    assert numbers() == [1, 2, 3]


def alter(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "../escape",
        "a b.txt",
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "sha256sums",
        "archived.txt",
        "TOMBSTONE",
        "",
        ".hidden",
        "a/b",
    ],
)
def test_file_names_that_would_leave_the_record_or_confuse_sha256sum_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a record's file"):
        commit_record({name: b""}, record())
    assert numbers() == []


def test_file_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(ValueError, match="upper and lower case"):
        commit_record({"a.txt": b"", "A.txt": b""}, record())


def test_run_json_of_another_verdict_is_refused() -> None:
    lie = run_json(record(verdict=Verdict.FAIL, reason="heap page zeroed"))
    with pytest.raises(ValueError, match=r"run\.json given is not that of run"):
        commit_record({**FILES, "run.json": lie}, record())


def test_unreadable_run_json_is_named_with_the_command_that_checks_it() -> None:
    folder = commit_record(FILES, record())
    alter(folder / "run.json", b"{")
    with pytest.raises(PlatformError, match=r"000001-.*run\.json cannot be read") as refused:
        list_records()
    assert "sha256sum -c SHA256SUMS" in (refused.value.next or "")


def test_chain_does_not_go_on_from_a_record_without_its_sums() -> None:
    folder = commit_record(FILES, record(1))
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(PlatformError, match=f"newest record {folder.name} has no SHA256SUMS"):
        commit_record(FILES, record(2))
    assert numbers() == [1]


def test_damaged_older_record_does_not_keep_a_new_one_out() -> None:
    alter(commit_record(FILES, record(1)) / "run.json", b"{")
    assert commit_record(FILES, record(2)).name.startswith("000002-")


def test_archive_that_cannot_be_written_is_a_platform_error_that_says_how_to_go_on(home: Path) -> None:
    (home / "reports").mkdir()
    (home / "reports" / "records").write_text("a file where the folder should be")
    with pytest.raises(PlatformError, match="could not be written to reports") as refused:
        commit_record(FILES, record())
    assert refused.value.next == f"Make room or mend the folder, then: runbook close {record().run}"
    assert names(home / "reports" / ".staging") == []


def _commit(number: int) -> None:
    commit_record(FILES, record(number))


def test_writers_at_once_get_numbers_without_gap_or_double_and_one_chain() -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_commit, args=(number,)) for number in range(1, 13)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 12
    assert numbers() == list(range(1, 13))
    assert problems() == []


@pytest.mark.faults
def test_crash_at_any_moment_leaves_no_gap_no_half_record_and_no_stale_staging() -> None:
    commit_record(FILES, record(1))
    call, died = 0, 0
    survived = False
    while not survived:
        call += 1
        survived = survives(call, lambda: commit_record(FILES, record(2)))
        died += not survived
        assert numbers() in ([1], [1, 2])
        assert problems() == []
        commit_record(FILES, record(2))
        assert numbers() == [1, 2]
        assert names(layout.reports() / ".staging") == []
        if not survived:
            subprocess.run(["rm", "-r", str(list_records()[1].folder)], check=True)
    assert died > 20  # every file opened, forced to disk and named


@pytest.mark.faults
def test_crash_at_any_moment_of_the_first_use_leaves_one_key_and_an_archive_that_goes_on(home: Path) -> None:
    call, survived = 0, False
    while not survived:
        call += 1
        survived = survives(call, lambda: commit_record(FILES, record(2)))
        commit_record(FILES, record(3))
        found = verify_archive()
        assert found.is_proven, found.problems
        assert len((home / "reports" / "allowed_signers").read_text().splitlines()) == 1
        assert not list((home / "var" / "keys").glob(".new-*/runner*")) or not survived
        subprocess.run(["rm", "-r", str(home / "reports"), str(home / "var")], check=True)
    assert call > 30


def test_list_of_names_counts_only_as_long_as_nobody_has_touched_the_folder() -> None:
    folders = [commit_record(FILES, record(number)) for number in (1, 2, 3)]
    assert read_names(Tree.own()) == [folder.name for folder in folders]
    subprocess.run(["rm", "-r", str(folders[2])], check=True)
    assert commit_record(FILES, record(4)).name.startswith("000003-")
    list_file = layout.reports() / ".names"
    for damage in (b"", b"x\n", list_file.read_bytes()[:-20]):
        list_file.write_bytes(damage)
        assert [name[:6] for name in read_names(Tree.own())] == ["000001", "000002", "000003"]
    list_file.unlink()
    assert commit_record(FILES, record(5)).name.startswith("000004-")
    assert problems() == []


def test_staging_of_a_living_writer_is_left_alone() -> None:
    with staging_folder() as staged:
        (staged / "half").write_text("x")
        commit_record(FILES, record())
        assert (staged / "half").read_text() == "x"
    assert names(layout.reports() / ".staging") == []
