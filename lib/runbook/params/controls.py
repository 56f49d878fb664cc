"""`params/controls.yaml`: what holds for all targets of a home: what is due and when, who signs the evidence, how long it is kept."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runbook import layout
from runbook.params.calendar import Calendar, read_calendar
from runbook.params.loading import is_missing, read_as
from runbook.params.schema import Duration, Strict

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


class Evidence(Strict):
    """The runner's key. Without a name it is made at first use, below `var/keys`.

    `signing_key`: a private key, or a public one whose private half an ssh-agent holds. `signer`: the name that
    allowed_signers gives it; default `runner@<host>`.
    """

    signing_key: str | None = None
    signer: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$")] | None = None


class RetentionRule(Strict):
    """How long the records that it matches must be kept; a field left out matches every record.

    `asked_by` is who asks for it and `source` where that is written; `references` are the clauses of standards.
    """

    id: Slug
    title: str
    keep: Duration
    asked_by: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    references: dict[str, str] = Field(default_factory=dict)
    runbooks: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


class Control(Strict):
    """A task that is due again and again, and the runbook whose PASS does it; `id` stands in that runbook's metadata.

    `every`, `day`, `month` (of the period; neither for every day) and `at` (in `time_zone`) say when; `grace` for how long after that it is not yet
    missed (the period's end comes first); `since` from which day on it is due at all. `targets` or else `environments` say of what it is due, nothing when both are empty; a runbook about the whole
    organisation names one target. `automated`: a scheduler may start it. `certified`: it is done only when a second person has
    accepted the record in a signed review. `deadline` ends a scheduled run.
    """

    id: Slug
    title: str
    runbook: Slug
    every: Literal["day", "month", "quarter", "half-year", "year"]
    day: str = ""
    at: str
    month: int = 1
    time_zone: str = "UTC"
    grace: Duration
    since: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    targets: tuple[str, ...] = ()
    environments: tuple[Literal["staging", "production"], ...] = ("production",)
    automated: bool = True
    certified: bool = False
    deadline: Duration = 6 * 3600.0
    parameters: dict[str, str] = Field(default_factory=dict)
    source: Annotated[str, Field(min_length=1)]
    references: Annotated[dict[str, str], Field(min_length=1)]

    @cached_property
    def calendar(self) -> Calendar:
        """When it is due."""
        return read_calendar(self.every, self.day, self.at, self.month, self.time_zone)

    @cached_property
    def begin(self) -> datetime:
        """The first moment of `since` in the zone."""
        return datetime.combine(date.fromisoformat(self.since), time(), self.calendar.zone).astimezone(UTC)

    @model_validator(mode="after")
    def _calendar_can_be_read(self) -> Control:
        read_calendar(self.every, self.day, self.at, self.month, self.time_zone)
        date.fromisoformat(self.since)
        return self


class Controls(Strict):
    """The file."""

    evidence: Evidence = Evidence()
    controls: tuple[Control, ...] = ()
    retention: tuple[RetentionRule, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Controls:
        for what, listed in (("retention rule", self.retention), ("control", self.controls)):
            ids = [rule.id for rule in listed]
            for one in ids:
                if ids.count(one) > 1:
                    raise ValueError(f"the {what} '{one}' stands twice")
        return self


def load_controls() -> Controls:
    """The home's file; all defaults when there is none.

    Raises:
        ParamsError: the file is wrong; with file and line.
    """
    path = layout.params() / "controls.yaml"
    if is_missing(path):
        return Controls()
    return read_as(Controls, path)
