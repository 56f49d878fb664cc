"""Whatever goes wrong, a command ends with an exit code that is typed and, where it can be said, the JSON line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runbook.cli.main import run_cli
from runbook.cli.running import timeout_seconds
from runbook.errors import ParamsError
from runbook.params.loading import resolve_time
from runbook.session.journal import Journal, write_atomically

MAIN = [sys.executable, "-m", "runbook.cli.main"]
PARAMS = """\
target: sandbox
environment: sandbox
platform: cluster
cluster: {backup_folder: b, wal_archive: {directory: w}}
budgets: {rto: 1 h, rpo: 1 h, source: x}
"""
START = "import sys\nfrom runbook.cli.main import run_cli\nsys.exit(run_cli(['list']))"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    return tmp_path


def ended(argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def last(said: subprocess.CompletedProcess[str]) -> dict[str, object]:
    content = json.loads(said.stdout.strip().splitlines()[-1])
    assert set(content) == {"run", "verdict", "reason", "record", "next", "exit_code"}
    assert content["exit_code"] == said.returncode
    return dict(content)


@pytest.mark.parametrize("module", ["typer", "pydantic", "yaml", "rich.table", "runbook.errors", "runbook.cli.output"])
def test_import_that_fails_is_exit_4_and_the_json_line(home: Path, module: str) -> None:
    said = ended([sys.executable, "-c", f"import sys\nsys.modules[{module!r}] = None\n{START}"])
    if said.returncode == 0:  # `list` does without it
        said = ended(
            [sys.executable, "-c", f"import sys\nsys.modules[{module!r}] = None\n{START}".replace("list", "doctor")]
        )
    assert said.returncode == 4, said.stderr
    assert module.partition(".")[0] in str(last(said)["reason"])


def test_ctrl_c_while_modules_are_loaded_is_exit_4_and_the_json_line(home: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n" + START
    )
    said = ended([sys.executable, "-c", code])
    assert (said.returncode, last(said)["verdict"]) == (4, "INCOMPLETE"), said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "> /dev/full 2>&1", "<&-"])
@pytest.mark.parametrize("words", ["list", "run nothing"])
def test_stream_that_is_closed_or_full_is_no_traceback_and_never_exit_1(
    home: Path, redirection: str, words: str
) -> None:
    said = ended(["/bin/sh", "-c", f'"$0" -m runbook.cli.main {words} {redirection}', sys.executable])
    assert said.returncode in ((0, 4) if words == "list" else (2,)), said.stderr
    assert "Traceback" not in said.stderr and "Exception ignored" not in said.stderr


@pytest.mark.parametrize(("words", "code"), [(["list"], 4), (["run", "nothing"], 2)])
def test_reader_that_has_gone_changes_no_exit_code_that_says_something(home: Path, words: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run([*MAIN, *words], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert said.returncode == code
    assert said.stderr.count("\n") <= 4 and "Traceback" not in said.stderr and "Exception ignored" not in said.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_output_needs_no_utf8(home: Path, encoding: str) -> None:
    (home / "notebooks").mkdir()
    (home / "notebooks" / "01_look.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "metadata": {}, "source": "# 01 · März ␛ 東京"}]}', "utf-8"
    )
    said = subprocess.run(
        [*MAIN, "list"], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False
    )
    assert said.returncode == 0, said.stderr
    said = subprocess.run(
        [*MAIN, "run", "März"], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False
    )
    assert said.returncode == 2
    assert "März" in json.loads(said.stdout.splitlines()[-1])["reason"]


def test_home_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    said = ended([*MAIN, "runs"], RUNBOOK_HOME=str(tmp_path / "loop"))
    assert said.returncode in (2, 4), said.stderr
    assert "Traceback" not in said.stderr
    assert str(tmp_path / "loop") in str(last(said)["reason"])


def test_params_that_cannot_be_followed_are_refused_by_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "params").mkdir()
    (home / "params" / "sandbox.yaml").symlink_to("sandbox.yaml")
    assert run_cli(["run", "backup-verification"]) == 2
    assert "params/sandbox.yaml cannot be read: Too many levels of symbolic links." in capsys.readouterr().err


def test_folder_that_takes_nothing_is_named_and_is_no_fault_of_ours(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "params").mkdir()
    (home / "params" / "sandbox.yaml").write_text(PARAMS)
    (home / "var").symlink_to("/sys/kernel")  # nothing can be made there, not even by root
    assert run_cli(["run", "backup-verification"]) == 4
    said = capsys.readouterr()
    assert "fault of ours" not in said.err and "Traceback" not in said.err
    content = json.loads(said.out.splitlines()[-1])
    assert content["reason"].startswith(f"{home}/var/locks could not be read or written: this user may not do it.")
    assert "is kept" in content["reason"]
    assert content["next"].startswith(f"ls -ld {home}/var")
    assert subprocess.run(["/bin/sh", "-c", f"alias runbook=true; {content['next']}"], check=False).returncode == 0


def test_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        Journal(Path("/dev/full")).append("step-started")
    assert (caught.value.strerror, caught.value.filename) == ("No space left on device", "/dev/full")
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError) as caught:
        write_atomically(tmp_path / "missing" / "x", b"")
    assert str(tmp_path / "missing") in str(caught.value.filename)


HOSTILE = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202e\nPASS: all is well"


def test_no_control_character_reaches_the_terminal_and_no_name_writes_a_line_of_its_own(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["run", HOSTILE]) == 2
    assert run_cli([HOSTILE]) == 2
    assert run_cli(["status", HOSTILE]) == 2
    said = capsys.readouterr()
    for letter in "\x1b\x07\x9b\u202e\x7f":
        assert letter not in said.out + said.err
    assert not [line for line in (said.out + said.err).splitlines() if line.startswith("PASS")]
    assert "x␛[2J␛]0;title␇" in said.err


def test_markup_in_names_is_shown_and_not_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title = "[red]Look[/red] [link=https://evil.example]here[/link] [/oops] :boom: \\\\u001b[31m"
    (home / "notebooks").mkdir()
    (home / "notebooks" / "01_look.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "metadata": {}, "source": "# 01 · ' + title.replace("\\\\", "\\") + '"},'
        '{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "target = \\"sandbox\\"  # the [b]system[/b]"}]}'
    )
    (home / "params").mkdir()
    (home / "params" / "[bold]x.yaml").touch()
    (home / "params" / os.fsdecode(b"m\xe4rz\x1b.yaml")).touch()
    assert run_cli(["list"]) == 0
    assert run_cli(["show", "look"]) == 0
    said = capsys.readouterr().out
    flat = " ".join(said.replace("│", " ").split())
    for text in (
        "[red]Look[/red]",
        "[link=https://evil.example]here[/link]",
        "[/oops]",
        ":boom:",
        "[bold]x",
        "the [b]system[/b]",
    ):
        assert text in flat, flat
    assert "\x1b" not in said and "m\\xe4rz␛" in said


def test_notebook_that_is_broken_hides_no_other(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "notebooks").mkdir()
    (home / "notebooks" / "01_look.ipynb").write_text("[" * 100_000)
    (home / "notebooks" / "02_see.ipynb").write_bytes(b"\xff\xfe")
    (home / "notebooks" / "03_hear.ipynb").write_text('{"cells": [{"cell_type": "markdown", "source": "# 03 · Hear"}]}')
    assert run_cli(["list"]) == 0
    said = capsys.readouterr().out
    assert "03 · Hear" in said and said.count("is not a notebook") == 2


@pytest.mark.parametrize(
    "point",
    ["99999999999999999 hours ago", "999999999 days ago", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
)
def test_time_outside_of_every_calendar_is_refused(point: str) -> None:
    with pytest.raises(ParamsError):
        resolve_time(point)


@pytest.mark.parametrize("text", ["99999999999 d", "99999999999", "9" * 400])
def test_timeout_that_no_timer_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match="at most 365 d"):
        timeout_seconds(text)


def test_reader_that_goes_in_the_middle_of_a_table_is_exit_4(home: Path) -> None:
    said = ended(
        [
            "/bin/bash",
            "-c",
            '"$0" -m runbook.cli.main show backup-verification | true; exit ${PIPESTATUS[0]}',
            sys.executable,
        ]
    )
    assert said.returncode in (0, 4), "0 when all of it was in the pipe before the reader went"
    assert said.stderr == ""


def test_notebook_may_call_only_the_library_in_the_runner(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "notebooks").mkdir()
    (home / "params").mkdir()
    (home / "params" / "sandbox.yaml").write_text(PARAMS)
    for named in ("os:abort", "runbook.errors:nothing", "evil:run"):
        (home / "notebooks" / "01_look.ipynb").write_text(
            json.dumps(
                {
                    "metadata": {"runbook": {"preflight": named}},
                    "cells": [
                        {"cell_type": "markdown", "metadata": {}, "source": "# 01 · Look"},
                        {
                            "cell_type": "code",
                            "metadata": {"tags": ["parameters"]},
                            "source": 'target = "sandbox"  # it',
                        },
                    ],
                }
            )
        )
        assert run_cli(["run", "look"]) == 2
        assert f"names '{named}', which is not a function of the library" in capsys.readouterr().err


def test_stray_and_damaged_files_among_the_runs_stop_no_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = home / "var" / "runs"
    runs.mkdir(parents=True)
    (runs / "a-file").touch()
    (runs / os.fsdecode(b"m\xe4rz")).mkdir()
    at = '"at": "2026-01-01T00:00:00.000000Z"'
    for name, text in {
        "deep": "[" * 200_000 + "\n",
        "torn": f'{{"n": 1, {at}, "event": "x"}}\nrubbish\n{{"n": 3, {at}, "event": "x"}}\n',
        "rubbish": "rubbish\nrubbish\n",
    }.items():
        (runs / name).mkdir()
        (runs / name / "journal.jsonl").write_text(text)
    (home / "reports").mkdir()
    (home / "reports" / "RUNS").write_text("000001 2026-01-01T00:00:00.000000Z torn look sandbox ada\n")
    assert run_cli(["runs"]) == 0
    said = capsys.readouterr()
    assert "torn/journal.jsonl:2: the journal is damaged" in said.err
    assert "rubbish/journal.jsonl:1: the journal is damaged" in said.err
    assert "its journal is damaged" in said.out
