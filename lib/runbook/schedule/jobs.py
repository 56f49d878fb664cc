"""Which tasks a scheduler starts: every automated control, once for each of its targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook.controls.population import targets_of
from runbook.errors import OperatorError
from runbook.params.controls import Control

#: How long after the run's own deadline a scheduler ends it by force: the run has archived itself by then.
MARGIN_SECONDS = 600
#: How long a scheduler waits before it tries a locked target again.
AGAIN_SECONDS = 600
#: Kubernetes adds eleven characters to a CronJob's name, and 63 is the end.
_LONGEST_NAME = 44
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Job:
    """One control of one target."""

    control: Control
    target: str

    @property
    def name(self) -> str:
        """For units and objects: `backup-verification-billing`."""
        return f"{self.control.id}-{self.target}"

    @property
    def said(self) -> str:
        return f"{self.control.title} of {self.target}: {self.control.calendar.said()}"

    @property
    def argv(self) -> list[str]:
        """What is started, without the program."""
        return ["schedule", "run", self.control.id, "--target", self.target]

    @property
    def deadline(self) -> int:
        """Whole seconds until it is ended by force."""
        return int(self.control.deadline) + MARGIN_SECONDS


@dataclass(frozen=True)
class Place:
    """Where the jobs run: this one host, and nobody else writes its archive."""

    program: str
    home: str
    user: str
    environment_file: str = "/etc/runbook/environment"

    def __post_init__(self) -> None:
        for value in (self.program, self.home, self.user, self.environment_file):
            if _PLAIN.fullmatch(value) is None:
                raise OperatorError(f"{value!r} cannot stand in a scheduler's file.", next="Give a plain name or path.")
        for path in (self.program, self.home, self.environment_file):
            if not Path(path).is_absolute():
                raise OperatorError(f"'{path}' is no absolute path.", next=f"Write it as {Path(path).absolute()}.")
        if re.fullmatch(r"[a-z_][a-z0-9_-]*\$?", self.user) is None:
            raise OperatorError(f"'{self.user}' is no name of a user.", next="Give --user.")


@dataclass(frozen=True)
class Plan:
    """What will be scheduled, and what will not, with the reason."""

    jobs: list[Job]
    left_out: list[str]


def plan_jobs(controls: Sequence[Control], targets: Mapping[str, str], runbooks: Sequence[str]) -> Plan:
    """The jobs of every automated control whose runbook exists.

    Raises:
        OperatorError: a name is none that every scheduler takes.
    """
    jobs, left_out = [], []
    for control in controls:
        due_of = targets_of(control, targets)
        if not control.automated:
            left_out.append(f"{control.id}: people start it (automated: false)")
        elif control.runbook not in runbooks:
            left_out.append(f"{control.id}: this home has no runbook '{control.runbook}'")
        elif not control.targets and not control.environments:
            left_out.append(f"{control.id}: it is due of no target: name yours under targets: in params/controls.yaml")
        elif not due_of:
            left_out.append(f"{control.id}: no target has the environment {' or '.join(control.environments)}")
        else:
            jobs += [Job(control, target) for target in due_of]
    for job in jobs:
        if len(job.name) > _LONGEST_NAME or job.name.endswith("-"):
            raise OperatorError(
                f"'{job.name}' cannot name a scheduled job: {_LONGEST_NAME} characters at most, the last a letter or digit.",
                next="Shorten the control's id or the target's name.",
            )
    return Plan(jobs, left_out)
