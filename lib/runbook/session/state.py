"""Where a run stands, as folded from its journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.model import Check, Measure, StepRecord, StepState, Verdict
from runbook.session.cellbook import Execution
from runbook.session.gatebook import GateBook, Glass
from runbook.session.questions import Answer


@dataclass(frozen=True)
class OnceState:
    """What is known of a step that must happen once.

    `key` is the fingerprint of its inputs; `result` (None while `done` is False) is what it returned, as JSON.
    """

    key: str
    done: bool
    result: Any = None
    attempt: int = 1


@dataclass(frozen=True)
class Problem:
    """Something of ours that went wrong: the run cannot PASS.

    `kind`: dead-kernel, timeout, stopped, cell-error, died, cleanup, dangling, closing.
    """

    kind: str
    reason: str
    next: str | None = None


@dataclass(frozen=True)
class RunState:
    """A pure fold of the journal. Steps, checks, measures, facts, questions and problems are those of the latest attempt; what
    was ever asked, answers, what is remembered, pages, and the undos of acts that nobody took back (act → how) are those of the whole run."""

    request: dict[str, Any]
    attempt: int
    sitting: dict[str, Any]
    session: dict[str, Any] | None
    started_at: datetime | None
    last_at: datetime | None
    steps: tuple[StepRecord, ...]
    checks: tuple[Check, ...]
    measures: tuple[Measure, ...]
    limits: tuple[str, ...]
    reduced_scope: bool
    facts: dict[str, Any]
    target_facts: dict[str, Any]
    gates: tuple[dict[str, Any], ...]
    gate_book: dict[str, GateBook]
    glasses: tuple[Glass, ...]
    operators: tuple[str, ...]
    questions: dict[str, dict[str, Any]]
    asked: dict[str, dict[str, Any]]
    answers: dict[str, tuple[Answer, ...]]
    memory: dict[str, Any]
    undos: dict[str, str]
    pages: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    concluded: bool
    ended: bool
    closed: bool
    records: tuple[str, ...]
    aborted: str | None
    once: dict[str, OnceState]
    scratch: tuple[str, ...]
    kept_scratch: tuple[str, ...]
    effects: str | None
    accepted_changes: tuple[dict[str, Any], ...]
    executed_at: str | None
    planned_cells: tuple[dict[str, Any], ...]
    executions: tuple[Execution, ...]
    verdict: Verdict
    reason: str
    exit_code: int
    next_command: str

    @property
    def run(self) -> str:
        return str(self.request["run"])

    @property
    def target(self) -> str:
        return str(self.request["target"])

    @property
    def current_step(self) -> StepRecord | None:
        """The step that runs, else the last that ran."""
        running = [step for step in self.steps if step.state is StepState.RUNNING]
        ran = [step for step in self.steps if step.started_at is not None]
        found = running or ran
        return found[-1] if found else None
