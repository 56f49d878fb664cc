"""`params/controls.yaml`: what holds for all targets of a home: who signs its evidence, and how long it is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from runbook import layout
from runbook.params.loading import parse_as
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


class Controls(Strict):
    """The file."""

    evidence: Evidence = Evidence()
    retention: tuple[RetentionRule, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Controls:
        ids = [rule.id for rule in self.retention]
        for one in ids:
            if ids.count(one) > 1:
                raise ValueError(f"the retention rule '{one}' stands twice")
        return self


def load_controls() -> Controls:
    """The home's file; all defaults when there is none.

    Raises:
        ParamsError: the file is wrong; with file and line.
    """
    path = layout.params() / "controls.yaml"
    if not path.is_file():
        return Controls()
    return parse_as(Controls, path.read_text(), layout.short(path))
