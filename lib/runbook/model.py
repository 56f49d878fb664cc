"""The words of the house as types: checks, findings, measures, steps, and the record of a run.

`RunRecord` is `run.json`. Everything a report shows comes from it; nothing in it is a secret.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runbook import texts

SCHEMA = "runbook.run/1"


class Status(StrEnum):
    """What a check found. UNKNOWN is never a pass."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


class Verdict(StrEnum):
    """How a run ended."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    WAITING = "WAITING"
    INCOMPLETE = "INCOMPLETE"


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.WAITING: 3, Verdict.INCOMPLETE: 4}
EXIT_REFUSED = 2
EXIT_LOCKED = 5


class Frozen(BaseModel):
    """A value that does not change and has no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shown(Frozen):
    """What people and JSON read: bytes of names that are no UTF-8 are shown in every text."""

    @field_validator("*", mode="before")
    @classmethod
    def _escape(cls, value: Any) -> Any:
        return texts.escaped(value) if type(value) is str else value


class Finding(Shown):
    """One thing found, for machines and people alike."""

    id: str
    object: str
    severity: Severity
    observed: str
    expected: str
    unit: str | None = None
    message: str = ""
    next: str | None = None


class Check(Shown):
    """An expectation against an observation.

    `id` is unique within a run (kebab-case, `sql/<file>` for check files, `@<database>` appended where one
    check runs in several databases). `reason` is due unless the status is PASS: what happened and where.
    `next` says what to do. `source` names the SQL file or tool that observed.
    """

    id: str
    title: str
    status: Status
    expected: str
    observed: str
    unit: str | None = None
    object: str | None = None
    severity: Severity = Severity.ERROR
    reason: str | None = None
    next: str | None = None
    source: str | None = None
    seconds: float | None = None
    findings: tuple[Finding, ...] = ()

    @model_validator(mode="after")
    def _reason_is_due(self) -> Check:
        if self.status is not Status.PASS and not self.reason:
            raise ValueError(f"check {self.id} is {self.status} and gives no reason")
        return self


class Measure(Frozen):
    """A measured figure, with its budget where there is one (`value <= budget` is within it)."""

    name: str
    title: str
    value: float
    unit: str
    budget: float | None = None
    source: str | None = None


class StepState(StrEnum):
    """Where a planned step stands."""

    DONE = "done"
    FAILED = "failed"
    RUNNING = "running"
    NOT_RUN = "not run"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not applicable"
    WAITING = "waiting"


class StepRecord(Frozen):
    """One step of a run. `reused` says that a once-only result came from an earlier attempt."""

    name: str
    state: StepState
    started_at: datetime | None = None
    ended_at: datetime | None = None
    seconds: float | None = None
    reason: str | None = None
    next: str | None = None
    once: bool = False
    reused: bool = False
    attempt: int | None = None


class TargetFacts(Frozen):
    """Which system this was about."""

    name: str
    environment: str
    platform: str
    system_identifier: str | None = None
    server_version: str | None = None
    host: str | None = None


class FileFacts(Frozen):
    """A file as it was used."""

    path: str
    sha256: str


class CheckoutFacts(Frozen):
    """Which commit the run was made with, and what differed from it.

    `modified` is None when that is not known, and `unknown` says why. `differs` names the first of `differing_files` files,
    `difference_sha256` is over all of them. `elsewhere`: folders that were read and are not in the checkout.
    """

    commit: str | None = None
    modified: bool | None = None
    differs: tuple[str, ...] = ()
    differing_files: int = 0
    difference_sha256: str | None = None
    elsewhere: tuple[str, ...] = ()
    unknown: str | None = None


class JournalFacts(Frozen):
    """The run's journal as it was when the attempt was archived: its first `lines` lines, their bytes and digest."""

    lines: int
    size_bytes: int
    sha256: str


class RunRecord(Frozen):
    """`run.json`: one archived attempt of a run."""

    schema_version: str = Field(default=SCHEMA, alias="schema", serialization_alias="schema")
    run: str
    attempt: int
    runbook: str
    title: str
    verdict: Verdict
    reason: str
    exit_code: int
    limitations: tuple[str, ...] = ()
    target: TargetFacts
    started_at: datetime
    ended_at: datetime
    seconds: float
    operator: str
    operators: tuple[str, ...] = ()  # everybody who worked on the run, as user and as the person that this user is
    operator_known_by: str = ""  # login uid | the process that started the session | user of the process
    operator_claimed: tuple[
        str, ...
    ] = ()  # what the environment claimed and the kernel did not bear out: SUDO_USER=other
    host: str
    started_by: str  # runbook run | papermill | jupyterlab
    scheduled_for: datetime | None = None
    controls: tuple[str, ...] = ()
    satisfies_controls: bool = False
    parameters: dict[str, Any] = Field(default_factory=dict)
    params_file: FileFacts | None = None
    notebook: FileFacts
    commit: str | None = None
    checkout: CheckoutFacts | None = None
    library_sha256: str
    sql_sha256: str | None = None
    inputs_sha256: str | None = None
    journal: JournalFacts | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    steps: tuple[StepRecord, ...] = ()
    checks: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    measures: tuple[Measure, ...] = ()
    facts: dict[str, Any] = Field(default_factory=dict)
    gates: tuple[dict[str, Any], ...] = ()
    questions: tuple[dict[str, Any], ...] = ()
    undos: dict[str, str] = Field(default_factory=dict)
    previous_record: str | None = None
    ledger_line: int | None = None
    next_command: str | None = None

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
