"""The secrets that a target's params name: found wherever they stand, registered with the scrubber where present."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from pydantic import BaseModel

from runbook import environment, layout, redact
from runbook.errors import ParamsError, RunbookError
from runbook.params.contacts import load_contacts, resolve_address
from runbook.params.loading import NO_TARGETS, load_params, resolve_secret
from runbook.params.schema import Params, Secret
from runbook.params.variables import named_variables

#: Names of variables whose values are scrubbed; a region or a bucket is no secret.
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|DSN|URL|URI|AUTH", re.IGNORECASE)


def known_secrets(params: Params) -> Iterator[tuple[str, Secret]]:
    """Every secret in the params: its dotted name, and where its value is found."""
    yield from _walk(params, "")


def _walk(value: object, name: str) -> Iterator[tuple[str, Secret]]:
    if isinstance(value, Secret):
        yield name, value
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _walk(getattr(value, field), f"{name}.{field}" if name else field)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _walk(item, f"{name}.{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{name}.{key}")


def register_secrets(params: Params) -> None:
    """Every secret that can be had now is scrubbed from everything that is kept from now on.

    A missing one is no error here: a run may not need it, and whoever needs it says so.

    Raises:
        ParamsError: a secret is too short to scrub, or its file is readable by others.
    """
    for name, secret in known_secrets(params):
        if _is_there(secret):
            resolve_secret(secret, name)
    for name in named_variables(params):
        value = environment.value_of(name) or ""
        if _SECRET_NAME.search(name) and len(value) >= redact.SHORTEST:
            with contextlib.suppress(
                ParamsError
            ):  # a short password in a long value: only the hook's owner can lengthen it
                redact.scrubber.register(name, value)
    register_addresses()


def register_addresses() -> None:
    """The addresses of all contacts that can be had now are scrubbed, in every run: a pager's key is worth as much as a password.

    A file, or an address, that is in disorder is passed over: the escalation runbook tells.
    """
    with contextlib.suppress(RunbookError):
        for roster in load_contacts().rosters:
            for person in roster.people:
                for channel in person.channels:
                    if channel.address is not None and _is_there(channel.address):
                        with contextlib.suppress(RunbookError):
                            resolve_address(channel, channel.id)


def _is_there(secret: Secret) -> bool:
    if secret.env is not None:
        return bool(environment.value_of(secret.env))
    return secret.file is not None and os.access(layout.resolve(secret.file), os.R_OK)


def register_all_secrets() -> None:
    """The secrets of every target that can be had now are scrubbed: also those of targets a command is not about.

    A params file or secret that is in disorder is passed over: whoever uses that target is told.
    """
    for path in sorted(layout.params().glob("*.yaml")):
        if path.stem in NO_TARGETS:
            continue
        with contextlib.suppress(RunbookError):
            register_secrets(load_params(path.stem))
