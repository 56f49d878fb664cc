"""What is wrong with the entries of a roster: placeholders, entries nobody has confirmed, roles that nobody covers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any

from runbook.clock import human_days, human_seconds
from runbook.escalation.oncall import find_gaps, find_later_gaps
from runbook.model import Check, Finding, Severity, Status
from runbook.params.contacts import FILE, Confirmation, Person, Role, Roster
from runbook.params.names import plain_name, reads_like
from runbook.params.schema import Leaver

#: The roles that section 6 of the paper names.
NAMED = ("dba", "devops-lead", "incident-commander", "vendor-support")

_PLACEHOLDER = re.compile(
    r"\[[^\]]*\]|<[^>]*>|\bTBD\b|\bTBA\b|\bTODO\b|\bFIXME\b|\bx{3,}\b|\?{2,}|\bchange.?me\b|\bplaceholder\b|to be documented"
    r"|\bexample\.(?:com|org|net)\b|\.(?:example|invalid|test)\b|\b555[- .]?01\d\d\b|0{6,}|\byour[ -.](?:name|mail|email|phone)",
    re.IGNORECASE,
)


def is_placeholder(text: str) -> bool:
    """True when the text stands for one that nobody has filled in.

    >>> [is_placeholder(one) for one in ("[DBA Email]", "dba@example.com", "TBD", "xxx", "Max Axxelsson", "dba@corp.net")]
    [True, True, True, True, False, False]
    """
    return not text.strip() or _PLACEHOLDER.search(text) is not None


def texts_of(person: Person) -> Iterator[tuple[str, str]]:
    """What people read about a person: field and text."""
    for field in ("name", "email", "phone", "portal"):
        value = getattr(person, field)
        if value is not None:
            yield field, value
    for channel in person.channels:
        yield f"channel {channel.id}", channel.shown


def check_roles(roster: Roster) -> Check:
    """Every role that the paper names is there."""
    there = [role.id for role in roster.roles]
    missing = [name for name in NAMED if name not in there]
    common: dict[str, Any] = {
        "id": "roles-named",
        "title": "Every role that the paper names has somebody",
        "expected": ", ".join(NAMED),
        "observed": ", ".join(there),
        "source": f"params/{FILE}",
    }
    if not missing:
        return Check(**common, status=Status.PASS)
    return Check(
        **common, status=Status.FAIL, severity=Severity.CRITICAL, reason=f"No {', no '.join(missing)}.",
        next=f"Add the role to params/{FILE}.",
    )  # fmt: skip


def check_placeholders(roster: Roster) -> list[Check]:
    """Each person's entry holds nothing that stands for what nobody has filled in; and some way to reach them."""
    return [_check_placeholders(person) for person in roster.people]


def _check_placeholders(person: Person) -> Check:
    found = [(field, text) for field, text in texts_of(person) if is_placeholder(text)]
    by_hand = [one for one in (person.email, person.phone, person.portal) if one]
    common: dict[str, Any] = {
        "id": f"placeholder-{person.id}",
        "title": f"The entry of {person.id} is filled in",
        "expected": "no placeholder",
        "object": person.id,
        "source": f"params/{FILE}",
    }
    if not found and (by_hand or person.channels):
        return Check(**common, status=Status.PASS, observed="none")
    if not found:
        return Check(
            **common, status=Status.FAIL, observed="no way to reach", reason=f"Nothing says how {person.id} is reached.",
            next=f"Give {person.id} a channel, a phone number or a mail address in params/{FILE}.",
        )  # fmt: skip
    return Check(
        **common,
        status=Status.FAIL,
        severity=Severity.CRITICAL,
        observed=", ".join(f"{field} '{text}'" for field, text in found),
        reason=f"{person.id}: {found[0][0]} is still '{found[0][1]}': in an emergency nobody would be reached.",
        next=f"Fill in the {', the '.join(field for field, _ in found)} of {person.id} in params/{FILE}.",
        findings=tuple(
            Finding(
                id="placeholder",
                object=f"{person.id}.{field}",
                severity=Severity.CRITICAL,
                observed=text,
                expected="filled in",
            )
            for field, text in found
        ),
    )


def check_deputies(roster: Roster) -> list[Check]:
    """Nobody is their own deputy under another id. Practice people are nobody, and are left out."""
    return [_check_deputies(roster, role) for role in roster.roles]


def _check_deputies(roster: Roster, role: Role) -> Check:
    people = [person for person in roster.people_of(role) if not person.practice]
    same = [
        (first.id, second.id, both)
        for n, first in enumerate(people)
        for second in people[n + 1 :]
        if (both := sorted(_marks_of(first) & _marks_of(second)))
    ]
    common: dict[str, Any] = {
        "id": f"deputies-{role.id}",
        "title": f"{role.title}: each deputy is somebody else",
        "expected": "nobody twice",
        "object": role.id,
        "source": f"params/{FILE}",
    }
    if not same:
        return Check(**common, status=Status.PASS, observed="nobody twice")
    one, two, both = same[0]
    what = both[0].partition(" ")[0]
    return Check(
        **common, status=Status.FAIL, severity=Severity.CRITICAL, observed=f"{one} and {two} have the same {what}",
        reason=f"{two} stands in for {one} as {role.id}, and has the same {what}: who cannot reach the one reaches neither.",
        next=f"Name another person as deputy of {role.id} in params/{FILE}.",
    )  # fmt: skip


def _marks_of(person: Person) -> set[str]:
    """What only one person has: name, mail address, number, channels' addresses."""
    marks = {
        f"{field} {plain_name(text)}"
        for field, text in texts_of(person)
        if field in ("name", "email", "phone") and not is_placeholder(text)
    }
    secrets = [one.address for one in person.channels if one.address is not None]
    return marks | {f"channel {one.env or one.file}" for one in secrets}


def check_leavers(roster: Roster, leavers: Iterable[Leaver]) -> list[Check]:
    """Nobody who has left is called. One check, when anybody is said to have left."""
    gone = list(leavers)
    if not gone:
        return []
    left = [
        (person, one)
        for person in roster.people
        for one in gone
        if any(
            reads_like(text, one.person) for text in (person.name, person.id, (person.email or "").partition("@")[0])
        )
    ]
    common: dict[str, Any] = {
        "id": "contacts-leavers",
        "title": "Nobody who has left is called",
        "expected": "none",
        "observed": ", ".join(dict.fromkeys(person.id for person, _ in left)) or "none",
        "source": "access.leavers",
    }
    if not left:
        return [Check(**common, status=Status.PASS)]
    person, one = left[0]
    return [
        Check(
            **common, status=Status.FAIL, severity=Severity.CRITICAL,
            reason=f"{person.id} ({person.name}) is called, and {one.person} left on {one.left}.",
            next=f"Name somebody else in params/{FILE}.",
        )
    ]  # fmt: skip


def check_confirmed(roster: Roster, rule: Confirmation, now: datetime) -> list[Check]:
    """Each entry was confirmed within the rule's time, by the calendar where the person is. Practice people are nobody, and are left out."""
    return [
        _check_confirmed(person, rule, now.astimezone(person.duty.zone).date())
        for person in roster.people
        if not person.practice
    ]


def _check_confirmed(person: Person, rule: Confirmation, today: date) -> Check:
    days = rule.within / 86400
    common: dict[str, Any] = {
        "id": f"confirmed-{person.id}",
        "title": f"The entry of {person.id} was confirmed lately",
        "expected": f"within {human_days(rule.within)}",
        "object": person.id,
        "source": rule.source,
    }
    then = f"Ask {person.id} whether all of it is right, and write the day into confirmed: in params/{FILE}."
    day = person.confirmed_on
    if day is None:
        return Check(
            **common, status=Status.FAIL, observed="never", reason=f"{person.id} was never confirmed.", next=then
        )
    age = (today - day).days
    observed = f"{day}, {age} d ago"
    if age < 0:
        return Check(
            **common, status=Status.FAIL, observed=observed, reason=f"{person.id}: {day} lies in the future.", next=then
        )
    if age > days:
        return Check(
            **common, status=Status.FAIL, observed=observed, next=then,
            reason=f"{person.id} was last confirmed {age} d ago; {human_days(rule.within)} are allowed ({rule.source}).",
        )  # fmt: skip
    return Check(**common, status=Status.PASS, observed=observed)


def check_cover(roster: Roster, now: datetime) -> list[Check]:
    """Each role has somebody on duty at every minute of the coming week, and of the weeks after clocks change within a year."""
    return [_check_cover(roster, role_id, now) for role_id in (role.id for role in roster.roles)]


def _check_cover(roster: Roster, role_id: str, now: datetime) -> Check:
    role = roster.role(role_id)
    gaps = find_gaps(roster, role, now)
    since = ""
    if not gaps:
        later = find_later_gaps(roster, role, now)
        day = min(later, default=None)
        if day is not None:
            gaps, since = later[day], f"after clocks change on {day}, "
    common: dict[str, Any] = {
        "id": f"cover-{role.id}",
        "title": f"{role.title}: somebody is on duty at every hour",
        "expected": "0 gaps in 7 days",
        "object": role.id,
        "source": f"params/{FILE}",
    }
    if not gaps:
        return Check(**common, status=Status.PASS, observed="0 gaps")
    total = human_seconds(sum(gap.seconds for gap in gaps))
    observed = f"{len(gaps)} gaps, {since}{total} in 7 days"
    findings = tuple(
        Finding(
            id="gap", object=role.id, severity=Severity.WARNING, observed=str(gap), expected="somebody on duty",
            message=human_seconds(gap.seconds),
        )
        for gap in gaps
    )  # fmt: skip
    if role.gaps_accepted is not None:
        return Check(
            **common, status=Status.PASS, observed=f"{observed}; accepted: {role.gaps_accepted}", findings=findings
        )
    return Check(
        **common, status=Status.FAIL, observed=observed, findings=findings,
        reason=f"{since}nobody is on duty for {role.id} from {gaps[0]}" + (" and at other times." if gaps[1:] else "."),
        next=f"Add a deputy for those hours in params/{FILE}, or say in gaps_accepted why that is all right.",
    )  # fmt: skip
