"""The environment variables that params name: where secrets are found, and what hooks and commands get."""

from __future__ import annotations

import contextlib

from pydantic import BaseModel

from runbook import layout
from runbook.errors import RunbookError
from runbook.params.contacts import load_contacts
from runbook.params.loading import NO_TARGETS, load_params
from runbook.params.schema import Secret


def named_variables(value: object) -> set[str]:
    """Return the names below a model: of its secrets, and of every `env` list."""
    if isinstance(value, Secret):
        return {value.env} if value.env is not None else set()
    if isinstance(value, BaseModel):
        own = getattr(value, "env", ())
        inner = (named_variables(getattr(value, field)) for field in type(value).model_fields if field != "env")
        return set(own if isinstance(own, tuple) else ()).union(*inner)
    if isinstance(value, (tuple, list)):
        return set().union(*(named_variables(item) for item in value))
    if isinstance(value, dict):
        return set().union(*(named_variables(item) for item in value.values()))
    return set()


def target_variables(target: str) -> set[str]:
    """Return the names that a run of the target may need: its own, and those of the people whom it may page.

    A file that is wrong adds none: whoever needs it reports that.
    """
    found: set[str] = set()
    with contextlib.suppress(RunbookError):
        found |= named_variables(load_params(target))
    with contextlib.suppress(RunbookError):
        found |= named_variables(load_contacts())
    return found


def all_variables() -> set[str]:
    """Return the names in all files of the home."""
    targets = [path.stem for path in layout.params().glob("*.yaml") if path.stem not in NO_TARGETS]
    return set().union(*(target_variables(target) for target in targets))
