"""kill -9 at every step of a recovery: kernel, runner, postgres, or all of them. What must happen once happens once, and it ends well."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from recovering import Recovering, figure, kill, processes, suffer
from runbook.sandbox.place import Sandbox, need_sandbox
from runbook.session import notebook

pytestmark = [pytest.mark.server, pytest.mark.killed]

_CONTENT = notebook.read_notebook(notebook.find_notebook("point-in-time-recovery"))
#: Without questions and gates, where nothing runs.
STEPS = [step for step in notebook.planned_steps(_CONTENT) if step not in notebook.planned_gates(_CONTENT)]
VICTIMS = ("kernel", "runner", "postgres", "all")
#: The recovery is over and no server is asked any more: with postgres alone dead the run would end well, before the last step.
AFTERWARDS = ("List what is due within 24 hours", "Draft the post-mortem")


def started(recovery: Recovering, step: str) -> list[int]:
    """The journal's lines on which the step was begun."""
    return [event["n"] for event in recovery.journal() if event["event"] == "step-started" and event["name"] == step]


def production(sandbox: Sandbox) -> list[psutil.Process]:
    """The server that stands in the data directory, if one runs."""
    try:
        pid = int((sandbox.data / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except (OSError, ValueError, IndexError, psutil.Error):
        return []


def strike(recovery: Recovering, sandbox: Sandbox, victim: str, runner: int) -> None:
    """Who is named dies at once; where no server runs, as between the damaged one and its successor, all do."""
    ours = processes(recovery.run)
    servers = [one for one in ours if "postgres" in one.name()] or production(sandbox)
    if victim == "postgres" and servers:
        kill(servers)
        return
    if victim == "postgres":
        victim = "all"
    if victim in ("kernel", "all"):
        kill([one for one in ours if one.pid != runner])
    if victim in ("runner", "all"):
        kill([psutil.Process(runner)] if psutil.pid_exists(runner) else [])
    if victim == "all":
        kill(production(sandbox))


def come_to(recovery: Recovering, step: str) -> Any:
    """A resumed attempt that has just begun the step; gates on the way are approved."""
    for _ in range(4):
        before = started(recovery, step)
        process = recovery.command("resume", recovery.run)
        deadline = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < deadline:
            if started(recovery, step) != before:
                assert process.poll() is None, f"nobody was left to be killed in {step}"
                return process
            time.sleep(0.02)
        stdout, stderr = process.communicate(timeout=60)
        said = json.loads(stdout.strip().splitlines()[-1])
        gate = next((one for one in ("approve-the-recovery", "approve-the-way-on") if one in said["next"]), None)
        if gate is None:
            raise AssertionError(f"no attempt came to {step}:\n{stdout}{stderr}")
        assert recovery.approve(gate).code == 0
    raise AssertionError(f"no attempt came to {step}")


@pytest.mark.timeout(3000)
def test_recovery_survives_kill_at_every_step(live_home: Path) -> None:
    sandbox, truth = suffer()
    recovery = Recovering(environment={"PYTHONPATH": str(Path(__file__).with_name("striking"))})
    said = recovery.start()
    assert said.code == 3, said.stderr
    for number, step in enumerate(STEPS):
        process = come_to(recovery, step)
        victim = "all" if step in AFTERWARDS else VICTIMS[number % len(VICTIMS)]
        strike(recovery, sandbox, victim, process.pid)
        process.communicate(timeout=180)
        if not figure_answers(need_sandbox()) and (sandbox.data / "PG_VERSION").exists():
            recovery.say("sandbox", "server", "start")  # as a service manager would
    said = recovery.go_on(recovery.resume())
    doubts = [check for check in said.record["checks"] if check["status"] != "PASS"]
    assert (said.code, said.last["verdict"], doubts) == (0, "PASS", []), said.stdout + said.stderr
    assert_once(recovery, sandbox, truth, said.record)


def figure_answers(sandbox: Sandbox) -> bool:
    try:
        figure(sandbox, "SELECT 1")
    except Exception:  # noqa: BLE001 - whatever it is, nobody answers
        return False
    return True


def assert_once(recovery: Recovering, sandbox: Sandbox, truth: dict[str, Any], record: dict[str, Any]) -> None:
    """One promotion, one swap, one new base backup, and the damaged cluster still there."""
    assert str(record["facts"]["damage"]["first_left_out"]) == truth["xid"]
    assert (recovery.aside / "PG_VERSION").exists()
    assert sorted(path.name for path in sandbox.archive.glob("*.history")) == ["00000002.history"]
    assert len(need_sandbox().list_backups()) == 2
    loss = record["facts"]["loss"]["tables"]["public.vehicles"]
    left = figure(sandbox, f"SELECT count(*) FROM public.vehicles WHERE year = {truth['year']}")
    assert left > 0 and loss["damage"]["deleted"] >= truth["rows"]["vehicles"]
    assert json.loads((recovery.beside / "recovery.json").read_text())["timeline"] == 2
    assert record["undos"] == {}
