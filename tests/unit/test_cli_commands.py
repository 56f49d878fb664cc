"""The command line: quick where it can be, and every exit names the next command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runbook import layout
from runbook.cli.main import build_app, command_names, run_cli


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("argv", [["list"], ["show", "backup-verification"], ["runs"]])
def test_command_that_looks_names_the_next_command(
    home: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(argv) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Next: runbook ")
    assert not (home / "reports").exists() and not (home / "var").exists()


def test_listing_loads_nothing_slow(home: Path) -> None:
    slow = ("papermill", "IPython", "psycopg", "pandas", "matplotlib", "runbook.params.schema", "runbook.runner")
    code = (
        "import sys\nfrom runbook.cli.main import run_cli\nassert run_cli(['list']) == 0\n"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.splitlines()[-1] == "[]"


def test_show_gives_help_unit_default_and_steps(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "notebooks").mkdir()
    (home / "notebooks" / "01_look.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "metadata": {}, "source": "# 01 · Look"},'
        '{"cell_type": "code", "metadata": {"tags": ["parameters"]},'
        ' "source": "target = \\"sandbox\\"  # the system\\nrows = 3  # how many, rows\\nkeep = True  # keep it"},'
        '{"cell_type": "code", "metadata": {}, "source": "run.step(\\"Look at it\\", look)"}]}'
    )
    assert run_cli(["show", "look"]) == 0
    said = capsys.readouterr().out
    for text in ("01 · Look", "how many", "rows", "3", "true", "1. Look at it", "Next: runbook run look"):
        assert text in said


def test_status_without_any_run_is_refused_in_words(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["status"]) == 2
    assert "No run was ever opened here." in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    names = command_names(build_app(None))
    assert {"list", "show", "run", "runs", "status", "resume", "redo", "close", "abort", "doctor"} <= set(names)
    for name in names:
        assert run_cli([name, "--help"]) == 0
        assert "Usage:" in capsys.readouterr().out


def test_doctor_finds_what_is_missing_and_says_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "params").mkdir()
    (home / "params" / "broken.yaml").write_text("target: broken\nplatfrom: cluster\n")
    record = home / "reports" / "records" / "000001-20260101T000000Z-drill-sandbox"
    record.mkdir(parents=True)
    scratch = layout.scratch() / "scratch-old"
    scratch.mkdir(parents=True)
    (scratch / "scratch.json").write_text('{"run": "r0", "expires": "2020-01-01T00:00:00Z"}')
    assert run_cli(["doctor"]) == 4
    said = capsys.readouterr().out
    ill = [line for line in said.splitlines() if line.startswith("FIX")]
    for text in ("did you mean 'platform'?", "000001-20260101T000000Z-drill-sandbox", f"rm -r {scratch}"):
        assert any(text in line for line in ill), (text, said)
    assert all("Next: " in line for line in ill)


def test_closed_pipe_is_no_traceback(home: Path) -> None:
    argv = [sys.executable, "-m", "runbook.cli.main", "list"]
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert "Traceback" not in process.stderr
