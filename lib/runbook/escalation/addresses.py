"""Whether the addresses of channels can be had and used. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runbook.errors import ParamsError
from runbook.escalation.entries import is_placeholder
from runbook.model import Check, Status
from runbook.outside.notify import address_problems
from runbook.params.contacts import FILE, Channel, Person, resolve_address


def check_addresses(channels: Iterable[tuple[Person, Channel]]) -> list[Check]:
    """Each channel's secret can be had and is an address."""
    found: dict[str, str] = {}
    checks = {}
    for person, channel in channels:
        # No id has a slash: two pairs of names never make one key.
        key = f"{person.id}/{channel.id}"
        common: dict[str, Any] = {
            "id": f"address-{key}", "title": f"{person.id}, {channel.id}: the address can be used",
            "expected": "an address", "object": channel.shown, "source": f"params/{FILE}",
        }  # fmt: skip
        if channel.practice is not None:
            checks[key] = Check(**common, status=Status.PASS, observed=f"practice file {channel.practice}")
            continue
        try:
            found[key] = resolve_address(channel, f"{person.id}, {channel.id}")
        except ParamsError as cause:
            checks[key] = Check(
                **common, status=Status.UNKNOWN, observed="no secret", reason=cause.message, next=cause.next
            )
            continue
        checks[key] = Check(**common, status=Status.PASS, observed="an address")
    for key, problem in zip(found, address_problems(list(found.values())), strict=True):
        if problem is None and is_placeholder(found[key].partition("://")[2]):
            problem = "the address holds a placeholder"
        if problem is not None:
            checks[key] = checks[key].model_copy(
                update={
                    "status": Status.FAIL, "observed": problem, "reason": f"{key}: {problem}.",
                    "next": "Correct the secret; https://appriseit.com lists the forms of addresses.",
                }
            )  # fmt: skip
    return list(checks.values())
