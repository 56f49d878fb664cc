"""A params file from a hostile or broken hand is refused with file and line, quickly, and stops no other target."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from runbook import layout
from runbook.cli.main import run_cli
from runbook.errors import ParamsError
from runbook.inventory.listfile import read_list
from runbook.params import load_params, parse_params
from runbook.params.loading import resolve_secret
from runbook.params.schema import Secret
from runbook.session.credentials import register_all_secrets

SOUND = """\
target: sandbox
environment: sandbox
platform: cluster
cluster:
  backup_folder: backups
  wal_archive: {directory: wal}
budgets: {rto: 30 min, rpo: 15 min, source: the tests}
"""
BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
#: Shallow as written, and deep as it is meant.
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))

#: text → line → what it says.
HOSTILE = {
    "alias bomb": (BOMB, 6, "aliases expand to more than"),
    "long text in many aliases": (
        "a: &a '" + "x" * 8000 + "'\nb: [" + ",".join(["*a"] * 9000) + "]\n",
        2,
        "aliases expand to more",
    ),
    "chain of aliases": (CHAIN, 32, "levels of nesting"),
    "alias into itself": ("a: &a\n  b: *a\n", 2, "refers to a value that contains it"),
    "alias into itself, in a list": ("a: 1\nb: &b\n- c\n- *b\n", 2, "refers to a value that contains it"),
    "merge of itself": ("a: &a\n  <<: *a\n", 2, "refers to a value that contains it"),
    "merge of no mapping": (SOUND + "hooks: {<<: 3}\n", 8, "merges a value that is not a mapping"),
    "number as key": (SOUND + "hooks:\n  1: x\n", 9, "the key '1' is not a string"),
    "truth value as key": (SOUND + "on: x\n", 8, "the key 'on' is not a string"),
    "nothing as key": (SOUND + "~: x\n", 8, "the key '~' is not a string"),
    "list as key": (SOUND + "? [a, b]\n: x\n", 8, "is not a string"),
    "NUL": (SOUND + "hooks: a\0b\n", 8, "control character"),
    "NUL by an escape": (SOUND + 'hooks: "a\\0b"\n', 8, "control character"),
    "escape sequence by an escape": (SOUND + 'hooks: "\\e[2J"\n', 8, "control character"),
    "half a character by an escape": (SOUND + 'hooks: "\\ud800"\n', 8, ""),
    "deep lists": (SOUND + "hooks: " + "[" * 100_000 + "\n", 8, "levels of nesting"),
    "deep mappings": (SOUND + "hooks: " + "{a: " * 50_000 + "\n", 8, "levels of nesting"),
    "too large": (SOUND + "# " + "x" * (300 << 10), 1, "more than 256.0 KiB"),
    "one long value": (SOUND + "hooks: " + "a-" * 50_000 + "\n", 8, "a value of more than"),
    "many unknown keys": (SOUND + "".join(f"k{n}: 1\n" for n in range(20_000)), 8, "unknown key 'k0'"),
    "long number": (SOUND + "hooks: " + "9" * 6000 + "\n", 8, "is not a value of its type"),
    "long hexadecimal number": (SOUND + "hooks: 0x" + "f" * 6000 + "\n", 8, "is not a value of its type"),
    "endless number": (SOUND.replace("30 min", ".inf"), 7, "is not a finite number"),
    "tag of Python": (SOUND + "hooks: !!python/object/apply:os.system [id]\n", 8, "is not allowed"),
    "tag of a time": (SOUND + "hooks: !!timestamp x\n", 8, "is not allowed"),
    "tag of bytes": (SOUND + "hooks: !!binary eA==\n", 8, "is not allowed"),
    "tag that is not true": (SOUND + "hooks: !!int x\n", 8, "is not a value of its type"),
    "two documents": (SOUND + "---\na: 1\n", 8, "another document"),
    "endless duration": (SOUND.replace("30 min", "9" * 400 + " d"), 7, "'budgets.rto'"),
    "duration of ages": (SOUND.replace("30 min", "99999999999 d"), 7, "'budgets.rto'"),
}


@pytest.mark.parametrize(("text", "line", "says"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_file_is_refused_with_its_line_in_a_moment(text: str, line: int, says: str) -> None:
    began = time.process_time()
    with pytest.raises(ParamsError) as caught:
        parse_params(text, "params/sandbox.yaml")
    took = time.process_time() - began
    first = caught.value.message.splitlines()[0]
    assert first.startswith(f"params/sandbox.yaml:{line}: "), first
    assert says in first
    assert len(caught.value.message) < 5000
    assert took < 1.5, "of the processor; milliseconds but for the largest files"


def test_aliases_and_merges_of_an_honest_file_are_taken() -> None:
    text = SOUND + (
        "hooks:\n  on_fail: &page {command: [runbook, page, dba], timeout: 1 min}\n"
        "  on_waiting: *page\n  on_finish: {<<: *page, timeout: 2 min}\n"
    )
    hooks = parse_params(text, "x").hooks
    assert hooks.on_waiting == hooks.on_fail
    assert hooks.on_finish is not None
    assert (hooks.on_finish.command, hooks.on_finish.timeout) == (("runbook", "page", "dba"), 120.0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "sandbox.yaml").write_text(SOUND)
    return tmp_path


def add(home: Path, name: str, content: bytes) -> None:
    (home / "params" / f"{name}.yaml").write_bytes(content)


def test_byte_that_is_not_utf8_is_refused_with_its_line_and_a_remedy(home: Path) -> None:
    add(home, "other", SOUND.encode() + b"# M\xe4rz\n")
    with pytest.raises(ParamsError) as caught:
        load_params("other")
    assert caught.value.message == "params/other.yaml:8: the byte 0xe4 is not UTF-8."
    command = str(caught.value.next).partition(": ")[2]
    assert os.system(f"cd {home} && {command}") == 0  # noqa: S605 - what a person would paste
    with pytest.raises(ParamsError, match="describes the target 'sandbox', not 'other'"):
        load_params("other")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (BOMB, 2, "aliases are not allowed"),
        ("target: x\nserver: " + "[" * 5000, 2, "levels of nesting"),
        ("target: x\nmade_at: !!timestamp x\n", 1, "is no list of accesses"),
        ("target: \0\n", 1, "is no list of accesses"),
        ("target: !!python/name:os.system\n", 1, "is no list of accesses"),
    ],
    ids=["bomb", "deep", "tag", "NUL", "Python"],
)
def test_hostile_list_of_accesses_is_refused_too(text: str, line: int, says: str) -> None:
    began = time.process_time()
    with pytest.raises(ParamsError) as caught:
        read_list(text, "params/access/sandbox.yaml")
    assert time.process_time() - began < 1.5
    assert says in caught.value.message
    assert "no list" in says or f"params/access/sandbox.yaml:{line}: " in caught.value.message


BROKEN = {
    "Latin-1": b"target: m\xe4rz\n",
    "UTF-16": SOUND.encode("utf-16"),
    "bomb": b"a0: &a [" + b"x," * 9000 + b"]\na1: [" + b"*a," * 900 + b"]\n",
    "NUL": b"target: \0\n",
    "deep": b"[" * 50_000,
    "loop": b"a: &a [*a]\n",
    "keys": b"1: 2\n",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_file_of_one_target_stops_no_other(
    home: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    add(home, "broken", content)
    register_all_secrets()
    assert load_params("sandbox").target == "sandbox"
    assert run_cli(["list"]) == 0
    assert run_cli(["run", "backup-verification", "--target", "broken"]) == 2
    said = capsys.readouterr()
    assert "REFUSED: params/broken.yaml:" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["x" * 300, "../params/sandbox", "/etc/passwd", "a\0b", "m\udce4rz", "", "-", "A"])
def test_target_that_no_file_can_be_named_after_is_refused(home: Path, name: str) -> None:
    with pytest.raises(ParamsError, match="There is no target"):
        load_params(name)


def test_files_are_utf8_whatever_the_locale(home: Path) -> None:
    import subprocess
    import sys

    add(home, "sandbox", SOUND.replace("the tests", "Vertrag für März").encode())
    code = "from runbook.params import load_params\nprint(ascii(load_params('sandbox').budgets.source))"
    env = {**os.environ, "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C"}
    for locale in ("en_US.ISO-8859-1", "C", "POSIX"):
        said = subprocess.run(
            [sys.executable, "-c", code], env={**env, "LC_ALL": locale}, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == ascii("Vertrag für März")


@pytest.mark.parametrize("kind", ["folder", "fifo", "latin-1", "huge"])
def test_secret_file_of_another_kind_is_refused_and_not_waited_for(home: Path, kind: str) -> None:
    file = home / "secret"
    if kind == "folder":
        file.mkdir(mode=0o700)
    elif kind == "fifo":
        os.mkfifo(file, 0o600)
    else:
        file.write_bytes(b"hunter2hunter\xe4" if kind == "latin-1" else b"x" * 100_000)
        file.chmod(0o600)
    with pytest.raises(ParamsError) as caught:
        resolve_secret(Secret(file="secret"), "connection")
    assert "The secret file secret (connection) is" in caught.value.message
    assert "hunter2" not in str(caught.value)
    assert layout.home() == home


@pytest.mark.parametrize("name", ["contacts", "controls"])
def test_file_about_something_else_is_no_target(home: Path, name: str) -> None:
    add(home, name, SOUND.replace("target: sandbox", f"target: {name}").encode())
    with pytest.raises(ParamsError, match="describes no target"):
        load_params(name)
