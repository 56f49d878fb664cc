"""A child process gets what `environment` lists and what params name, and nothing else of ours."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runbook import environment, layout
from runbook.errors import CommandFailed, OperatorError, ParamsError
from runbook.gates import signing
from runbook.outside import commands
from runbook.outside.hooks import call_hook
from runbook.params import parse_params
from runbook.params.schema import Hook
from runbook.params.variables import all_variables, named_variables, target_variables
from runbook.redact import scrubber
from runbook.session.credentials import register_secrets

#: What an operator's shell on a database server may hold.
OURS = {
    "BILLING_DATABASE_URL": "postgres://app:hunter2hunter2@db/x",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIwJalrXUtnFEMI",
    "GITHUB_TOKEN": "nothing-real-but-secret",
    "PGPASSWORD": "hunter2hunter2",
    "PGSERVICE": "other",
    "LD_PRELOAD": "",
    "PYTHONPATH": "/nonexistent",
    "PYTHONSTARTUP": "/nonexistent",
    "PYTHONINSPECT": "",
    "BASH_ENV": "/nonexistent",
    "SSH_AUTH_SOCK": "/nonexistent",
}
PARAMS = """\
target: billing
environment: production
platform: cluster
cluster:
  backup_folder: backups
  wal_archive: {fetch_command: [fetch, "%f", "%p"], env: [FETCH_REGION]}
  service: {start: [systemctl, start, x], env: [SERVICE_BUS]}
  connection: {env: BILLING_DATABASE_URL}
budgets: {rto: 30 min, rpo: 5 min, source: the tests}
hooks:
  status_page: {http: {url: "https://status.example/", token: {env: STATUS_TOKEN}}}
  smoke_tests:
    - {command: [smoke], env: [SMOKE_USER, SMOKE_PASSWORD]}
"""


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)


def by_run(out: Path) -> str:
    return commands.run(["/usr/bin/env"], timeout=20).stdout


def by_run_and_leave(out: Path) -> str:
    return commands.run_and_leave(["/usr/bin/env"], timeout=20).stdout


def by_lines(out: Path) -> str:
    with commands.lines(["/usr/bin/env"], timeout=20) as lines:
        return "".join(lines)


def by_detach(out: Path) -> str:
    pid = commands.detach(["/usr/bin/env"], log=out, env={})
    os.waitpid(pid, 0)
    return out.read_text()


def by_hook(out: Path) -> str:
    return call_hook("on_fail", Hook(command=("/usr/bin/env",)), {}).said


@pytest.mark.parametrize("start", [by_run, by_run_and_leave, by_lines, by_detach, by_hook])
def test_no_child_gets_what_is_not_listed(start: Callable[[Path], str], tmp_path: Path) -> None:
    got = {line.partition("=")[0] for line in start(tmp_path / "out").splitlines()}
    assert "PATH" in got
    assert got & set(OURS) == set()
    assert got <= {*environment._EVERY}


def test_own_programs_and_kernels_are_started_without_the_users_python(tmp_path: Path) -> None:
    given = environment.for_kernel(str(tmp_path), "r1", ["BILLING_DATABASE_URL", "NOT_SET"])
    assert set(given) & set(OURS) == {"BILLING_DATABASE_URL"}
    assert given[layout.RUN_MARK] == "r1"
    assert (given["PYTHONNOUSERSITE"], given["PYTHONSAFEPATH"]) == ("1", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        assert given[name].startswith(str(tmp_path))
    assert environment.python_argv("runbook.cli.main", "page")[1:] == ["-P", "-s", "-m", "runbook.cli.main", "page"]


def test_hook_gets_what_its_params_name_and_its_secrets_are_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOKE_PASSWORD", "open sesame, open")
    monkeypatch.setenv("SMOKE_USER", "olaf")
    params = parse_params(PARAMS, "x")
    register_secrets(params)
    hook = Hook(
        command=("/bin/sh", "-c", 'echo "$SMOKE_USER:$SMOKE_PASSWORD:$GITHUB_TOKEN"'),
        env=("SMOKE_USER", "SMOKE_PASSWORD"),
    )
    assert call_hook("smoke_tests", hook, {}).said == "olaf:«secret SMOKE_PASSWORD»:"
    assert scrubber.text("olaf") == "olaf"


def test_hook_whose_variable_is_not_set_is_a_failed_hook_and_is_not_started(tmp_path: Path) -> None:
    hook = Hook(command=("/usr/bin/touch", str(tmp_path / "started")), env=("SMOKE_USER",))
    result = call_hook("on_fail", hook, {})
    assert not result.ok
    assert "The environment variable SMOKE_USER (hooks.on_fail.env) is not set." in result.said
    assert "export SMOKE_USER=" in result.said
    assert not (tmp_path / "started").exists()


def test_variables_that_params_name_are_known_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "billing.yaml").write_text(PARAMS)
    (tmp_path / "params" / "broken.yaml").write_bytes(b"\xff")
    own = {"BILLING_DATABASE_URL", "FETCH_REGION", "SERVICE_BUS", "STATUS_TOKEN", "SMOKE_USER", "SMOKE_PASSWORD"}
    assert named_variables(parse_params(PARAMS, "x")) == own
    assert target_variables("billing") == own
    assert all_variables() == own


def test_value_instead_of_a_name_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"hooks\.smoke_tests\.0\.env\.0"):
        parse_params(PARAMS.replace("[SMOKE_USER, SMOKE_PASSWORD]", '["USER=olaf"]'), "x")
    with pytest.raises(ParamsError, match="env is for a command"):
        parse_params(PARAMS.replace("token: {env: STATUS_TOKEN}}}", "}, env: [STATUS_TOKEN]}"), "x")


def test_libpq_variables_are_taken_out_of_our_own_environment() -> None:
    environment.drop_libpq()
    assert not [name for name in os.environ if name.startswith("PG")]
    assert environment.value_of("PGPASSWORD") == OURS["PGPASSWORD"], "params may still name it"


def test_key_that_an_agent_holds_can_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_program, adder = shutil.which("ssh-agent"), shutil.which("ssh-add")
    assert agent_program and adder, "OpenSSH's client is needed"
    key = tmp_path / "key"
    signing.make_key(key, "ann")
    socket = tmp_path / "agent"
    agent = subprocess.Popen([agent_program, "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run([adder, "-q", str(key)], check=True, timeout=20)
        key.unlink()
        assert signing.sign(b"plan", key.with_name("key.pub"), "runbook-approval").startswith("-----BEGIN SSH SIGN")
    finally:
        agent.terminate()
        agent.wait()


def test_only_one_module_hands_on_the_whole_environment() -> None:
    """A child that is started elsewhere with `os.environ` would get everything."""
    handed = []
    for path in sorted((layout.CHECKOUT / "lib" / "runbook").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        single = {node.value for node in ast.walk(tree) if isinstance(node, (ast.Subscript, ast.Attribute))}
        whole = [
            node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ"
        ]
        handed += [path.name for node in whole if node not in single]
    assert set(handed) == {"environment.py"}


UNSTARTABLE: dict[str, Callable[[Path], tuple[str, ...]]] = {}


def unstartable(name: str) -> Callable[[Callable[[Path], tuple[str, ...]]], None]:
    def note(make: Callable[[Path], tuple[str, ...]]) -> None:
        UNSTARTABLE[name] = make

    return note


@unstartable("without its first line")
def _(folder: Path) -> tuple[str, ...]:
    (folder / "hook").write_text("echo hi\n")
    (folder / "hook").chmod(0o755)
    return (str(folder / "hook"),)


@unstartable("without its interpreter")
def _(folder: Path) -> tuple[str, ...]:
    (folder / "hook").write_text("#!/nonexistent/sh\n")
    (folder / "hook").chmod(0o755)
    return (str(folder / "hook"),)


@unstartable("not executable")
def _(folder: Path) -> tuple[str, ...]:
    (folder / "hook").write_text("#!/bin/sh\n")
    return (str(folder / "hook"),)


@unstartable("a folder")
def _(folder: Path) -> tuple[str, ...]:
    return (str(folder),)


@unstartable("empty")
def _(folder: Path) -> tuple[str, ...]:
    (folder / "hook").touch(mode=0o755)
    return (str(folder / "hook"),)


@unstartable("too long")
def _(folder: Path) -> tuple[str, ...]:
    return ("/bin/true", "x" * 200_000)


@unstartable("with too long a name")
def _(folder: Path) -> tuple[str, ...]:
    return ("/" + "x" * 5000,)


@unstartable("with NUL in a word")
def _(folder: Path) -> tuple[str, ...]:
    return ("/bin/true", "a\0b")


@unstartable("with an empty name")
def _(folder: Path) -> tuple[str, ...]:
    return ("",)


@unstartable("a link to itself")
def _(folder: Path) -> tuple[str, ...]:
    (folder / "hook").symlink_to(folder / "hook")
    return (str(folder / "hook"),)


@pytest.mark.parametrize("make", UNSTARTABLE.values(), ids=UNSTARTABLE)
def test_hook_that_cannot_be_started_is_a_failed_hook(make: Callable[[Path], tuple[str, ...]], tmp_path: Path) -> None:
    result = call_hook("on_finish", Hook(command=make(tmp_path)), {"target": "billing"})
    assert not result.ok
    assert result.said
    assert len(result.said) < 1000 and len(result.what) < 1000


def test_other_commands_that_cannot_be_started_name_the_program(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="hook cannot be started: it is no program, and no script"):
        commands.run(UNSTARTABLE["without its first line"](tmp_path), timeout=5)


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ä" * 100_000, "a\0b", "half \ud800", "name m\udce4rz", "a\x1b[2Jb"])
def test_fact_of_any_text_does_not_keep_a_hook_from_its_call(text: str) -> None:
    hook = Hook(
        command=("/bin/sh", "-c", 'printf %s "$RUNBOOK_REASON" | wc -c; printf %s "$RUNBOOK_REASON" | head -c 40')
    )
    result = call_hook("on_fail", hook, {"reason": text, "run": "r1"})
    assert result.ok, result.said
    assert int(result.said.split()[0]) < 20_000
    assert "\x1b" not in result.said


def test_command_may_have_more_time_than_poll_can_wait() -> None:
    assert commands.run(["/bin/true"], timeout=100 * 366 * 86400.0).code == 0


def test_run_that_a_hook_has_started_is_no_production(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else nobody would end its kernel with it."""
    monkeypatch.setenv("RUNBOOK_PRODUCTION", "1")
    monkeypatch.setenv(layout.RUN_MARK, "the run whose hook this is")
    given = environment.for_kernel(str(tmp_path), "r2", [])
    assert given.get("RUNBOOK_PRODUCTION") is None
    assert given[layout.RUN_MARK] == "r2"


def test_child_finds_the_same_home_from_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNBOOK_HOME", ".")
    assert f"RUNBOOK_HOME={tmp_path}" in commands.run(["/usr/bin/env"], timeout=20).stdout.splitlines()


def test_path_of_nobody_is_refused() -> None:
    with pytest.raises(OperatorError, match="cannot be used"):
        layout.resolve("~nobody-by-that-name/data")
