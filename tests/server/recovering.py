"""A recovery of the sandbox as its operator and a second person do it: commands, and what they leave behind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from homes import ended, started
from runbook import layout
from runbook.sandbox import traffic_process
from runbook.sandbox.incidents import apply_incident
from runbook.sandbox.place import Sandbox, need_sandbox

ANSWERS = {
    "dry_run": "false",
    "commander": "Ada",
    "personal_data": "no",
    "rationale": "a test",
    "suspects": "first",
    "way": "promote",
    "acceptance": "accept",
}


@dataclass(frozen=True)
class Said:
    """How a command ended; `last` is its JSON line."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> dict[str, Any]:
        return json.loads(self.stdout.strip().splitlines()[-1])

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((layout.home() / self.last["record"] / "run.json").read_text())


@dataclass
class Recovering:
    """One recovery in the home, of its sandbox unless told otherwise; `run` is its id once it was started."""

    answers: Mapping[str, str] = field(default_factory=lambda: dict(ANSWERS))
    run: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    target: str = "sandbox"
    #: Seconds for one command.
    timeout: float = 240

    def command(self, *words: str) -> subprocess.Popen[str]:
        return started(layout.home(), *words, **self.environment)

    def say(self, *words: str) -> Said:
        process = self.command(*words)
        stdout, stderr = ended(process, self.timeout)
        return Said(process.returncode, stdout, stderr)

    def start_words(self) -> list[str]:
        pairs = [word for name, value in self.answers.items() for word in ("-p", name, value)]
        return ["run", "point-in-time-recovery", "--target", self.target, *pairs]

    def start(self) -> Said:
        said = self.say(*self.start_words())
        self.run = said.last["run"] or ""
        return said

    def approve(self, gate: str) -> Said:
        return self.say("approve", self.run, gate, "--key", "var/keys/practice-one", "--yes")

    def resume(self) -> Said:
        return self.say("resume", self.run)

    def go_on(self, said: Said, most: int = 6) -> Said:
        """Every gate that waits is approved, and the run goes on, until it waits for something else or has ended."""
        for _ in range(most):
            if "give-the-reason" in said.last["next"]:
                answered = self.say("answer", self.run, "give-the-reason-for-this-point", "--value", "moved")
                assert answered.code == 0, answered.stderr
                said = self.resume()
            gate = next(
                (word for word in ("approve-the-recovery", "approve-the-way-on") if word in said.last["next"]), ""
            )
            if said.code != 3 or not gate:
                return said
            approved = self.approve(gate)
            assert approved.code == 0, approved.stderr
            said = self.resume()
        return said

    def finish(self) -> Said:
        """From the beginning to the end."""
        return self.go_on(self.start())

    @property
    def aside(self) -> Path:
        return layout.sandbox().resolve() / f"data.damaged-{self.run}"

    @property
    def beside(self) -> Path:
        return layout.sandbox().resolve() / f"data.recovery-{self.run}"

    def journal(self) -> list[dict[str, Any]]:
        file = layout.run(self.run) / "journal.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def suffer(kind: str = "delete-vehicles", seed: int = 7, *, seconds: float = 1.0) -> tuple[Sandbox, dict[str, Any]]:
    """The incident has happened amid traffic, which has stopped since."""
    sandbox = need_sandbox()
    traffic_process.start(sandbox, rate=50)
    time.sleep(seconds)
    truth = apply_incident(kind, seed)
    time.sleep(seconds)
    traffic_process.stop(sandbox)
    return sandbox, truth


def figure(sandbox: Sandbox, query: str, user: str = "postgres") -> Any:
    """One figure from the living server, whichever stands there; the state is read anew."""
    with need_sandbox().connect(user=user) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return next(iter(row.values()))


def processes(run: str) -> list[psutil.Process]:
    """The living processes of a run: kernel, commands, servers of the copy."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            dead = process.status() == psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if environment.get("RUNBOOK_RUN") == run and environment.get("RUNBOOK_PRODUCTION") != "1" and not dead:
            found.append(process)
    return found


def kill(found: list[psutil.Process]) -> None:
    for process in found:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
