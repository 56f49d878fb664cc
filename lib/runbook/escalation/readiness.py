"""Whether somebody would be reached if it happened now: what `runbook doctor` says of the contacts. Nothing is sent."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from runbook.escalation import entries
from runbook.escalation.addresses import check_addresses
from runbook.escalation.oncall import on_duty
from runbook.model import Check, Severity, Status
from runbook.params.contacts import FILE, Confirmation, Contacts, Role, Roster


def check_readiness(contacts: Contacts, environments: Collection[str], now: datetime) -> dict[str, list[Check]]:
    """Every roster that answers for one of the environments: its environments, and its checks.

    Raises:
        ParamsError: an environment has no roster.
    """
    rosters = {roster.environments: roster for roster in map(contacts.roster_of, sorted(environments))}
    return {", ".join(names): _check(roster, contacts.confirmation, now) for names, roster in rosters.items()}


def _check(roster: Roster, rule: Confirmation, now: datetime) -> list[Check]:
    called = dict.fromkeys(person.id for role in roster.roles for person in roster.people_of(role))
    people = [roster.person(name) for name in called]
    return [
        entries.check_roles(roster),
        *entries.check_placeholders(roster),
        *entries.check_deputies(roster),
        *entries.check_confirmed(roster, rule, now),
        *(_check_duty(roster, role, now) for role in roster.roles),
        *check_addresses((person, channel) for person in people for channel in person.channels),
    ]


def _check_duty(roster: Roster, role: Role, now: datetime) -> Check:
    found = on_duty(roster, role, now)
    accepted = role.gaps_accepted is not None
    first = roster.person(role.person)
    return Check(
        id=f"duty-{role.id}",
        title=f"{role.title}: somebody is on call now",
        status=Status.PASS if found or accepted else Status.FAIL,
        severity=Severity.CRITICAL,
        expected="somebody",
        observed=found[0].name if found else "nobody" + (f"; accepted: {role.gaps_accepted}" if accepted else ""),
        object=role.id,
        source=f"params/{FILE}",
        reason=None if found or accepted else f"Nobody is on call for {role.id} now.",
        next=None
        if found or accepted
        else f"Until somebody is: {first.name}, {first.by_hand}. Add a deputy for these hours in params/{FILE}.",
    )
