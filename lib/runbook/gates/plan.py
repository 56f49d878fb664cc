"""`Plan`: what a gate asks people to approve. Its file is its own proof: `sha256sum plan.json` is the plan's hash.

A plan says what will be done, not what was seen: a count that changes from one attempt to the next would void every
approval.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field, ValidationError, model_validator

from runbook.errors import ParamsError
from runbook.model import Frozen
from runbook.redact import looks_like_secret, scrubber


class Action(Frozen):
    """One thing that will be done. `undo` says how it is taken back, or is None."""

    what: str
    undo: str | None = None


class Plan(Frozen):
    """What will be done once the gate has passed.

    `actions` stand in the order in which they will be done; a plain text is an action without an undo of its own.
    `blast_radius` names what is affected, also when all goes well. `undo` says how all of it is taken back, or why it
    cannot be. `facts` bind: with another value it is another plan.
    """

    title: str = Field(min_length=1)
    target: str
    actions: tuple[Action, ...] = Field(min_length=1)
    blast_radius: tuple[str, ...] = Field(min_length=1)
    reversible: bool
    undo: str = Field(min_length=1)
    facts: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _texts_are_actions(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        taken = dict(given)
        if isinstance(taken.get("actions"), (list, tuple)):
            taken["actions"] = tuple({"what": one} if isinstance(one, str) else one for one in taken["actions"])
        if isinstance(taken.get("blast_radius"), str):
            taken["blast_radius"] = (taken["blast_radius"],)
        return taken

    def canonical(self) -> bytes:
        """The plan as its file: JSON, keys sorted, UTF-8, one newline at the end.

        Raises:
            TypeError, ValueError: a fact is not JSON.
        """
        content = self.model_dump(mode="json")
        text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()

    @property
    def sha256(self) -> str:
        """The plan's hash: 64 hexadecimal digits over its canonical bytes."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def refuse_secrets(self) -> None:
        """The plan can be kept: a signed file cannot be scrubbed afterwards.

        Raises:
            ParamsError: it holds a secret.
        """
        text = self.canonical().decode()
        if scrubber.holds(text) or looks_like_secret(text):
            raise ParamsError(
                f"The plan '{self.title}' holds a secret: it would be signed, and kept for good.",
                next="Name the secret in the plan instead of its value.",
            )

    def markdown(self) -> str:
        """The plan for people."""
        lines = [f"## {self.title}", "", f"Target **{self.target}**", "", "**What will be done**", ""]
        for number, action in enumerate(self.actions, start=1):
            undo = f" — undo: {action.undo}" if action.undo else ""
            lines.append(f"{number}. {action.what}{undo}")
        lines += ["", "**Blast radius**", "", *(f"- {one}" for one in self.blast_radius)]
        lines += ["", f"**{'Reversible' if self.reversible else 'Not reversible'}**: {self.undo}"]
        if self.facts:
            lines += ["", "**Binding facts**", ""]
            lines += [f"- {name}: `{_shown(value)}`" for name, value in sorted(self.facts.items())]
        return "\n".join([*lines, "", f"Plan hash (SHA-256): `{self.sha256}`", ""])


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def read_plan(data: bytes, where: str) -> Plan:
    """The plan in a file's bytes.

    Raises:
        ParamsError: the bytes are no plan.
    """
    try:
        return Plan.model_validate_json(data)
    except ValidationError as cause:
        raise ParamsError(f"{where} is no plan: {cause.error_count()} errors in it.") from cause
