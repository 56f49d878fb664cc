"""`ContactsReview`: what the notebook steps through. Nothing is changed; without dry_run a test message goes out."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from runbook import clock, layout
from runbook.clock import human_seconds
from runbook.escalation import entries
from runbook.escalation.addresses import check_addresses
from runbook.escalation.calling import Delivery, Went, broken_off, deliver
from runbook.escalation.oncall import find_gaps, on_duty
from runbook.escalation.wording import check_body, check_title
from runbook.gates.operators import at_work
from runbook.model import Check, Severity, Status
from runbook.params.contacts import Channel, Person, Role, contacts_file, load_contacts
from runbook.params.schema import Params
from runbook.redact import scrubber


def check_parameters(params: Params, values: Mapping[str, Any]) -> None:
    """The contacts can be read and hold the roles that were asked for; nothing is started.

    Raises:
        ParamsError: they cannot, or do not.
    """
    ContactsReview(params, "preflight", values["roles"])


class Memory(Protocol):
    """What outlives an attempt of a run."""

    def recall(self, name: str, default: Any = None) -> Any: ...
    def remember(self, name: str, value: Any) -> None: ...


class ContactsReview:
    """The state between the steps of one review.

    Args:
        run: the run id, for the test message.
        roles: 'all', or names separated by commas: whose people get a test message.

    Raises:
        ParamsError: params/contacts.yaml is wrong, or has no such role or environment.
    """

    def __init__(self, params: Params, run: str, roles: str = "all") -> None:
        self.contacts, self.params, self.run = load_contacts(), params, run
        self.roster = self.contacts.roster_of(params.environment)
        asked = [] if roles.strip() == "all" else [name.strip() for name in roles.split(",")]
        self.roles: list[Role] = [self.roster.role(name) for name in asked] or list(self.roster.roles)
        for level in self.contacts.escalation:
            self.roster.role(level.role)
        self.now = clock.now()

    @property
    def file_facts(self) -> dict[str, str]:
        """Which file was read."""
        path = contacts_file()
        return {"path": layout.short(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    @property
    def limitations(self) -> list[tuple[str, bool]]:
        """What stands at the top, and whether it reduces the scope."""
        found = [
            (f"{role.title}: hours in which nobody is on duty are accepted: {role.gaps_accepted}", False)
            for role in self.roster.roles if role.gaps_accepted is not None and find_gaps(self.roster, role, self.now)
        ]  # fmt: skip
        found += [
            (f"{person.id} has no channel and cannot be paged, only reached by hand: {person.by_hand}.", False)
            for person in self.roster.people if not person.channels
        ]  # fmt: skip
        if any(person.practice for person in self.roster.people):
            found.append(("Practice contacts: nobody is behind them, and nobody is called.", False))
        tried, called = self._people(self.roles), self._people(self.roster.roles)
        left_out = [person.id for person in called if person not in tried]
        if left_out:
            roles = ", ".join(role.id for role in self.roles)
            found.append((f"Test messages were asked for {roles} only: nobody tries {', '.join(left_out)}.", True))
        if not any(person.channels for person in called):
            found.append(("Nobody has a channel: no message can prove that anybody is reached.", True))
        return found

    def _people(self, roles: Iterable[Role]) -> list[Person]:
        return [self.roster.person(name) for name in dict.fromkeys(name for role in roles for name in role.chain)]

    def contact_rows(self) -> list[dict[str, Any]]:
        """Every role with its people, in the order in which they are called."""
        return [
            {
                "role": role.title, "called": "first" if n == 0 else f"deputy {n}", "who": person.name,
                "channels": ", ".join(f"{one.id}: {one.shown}" for one in person.channels) or "none",
                "by hand": person.by_hand, "hours": f"{', '.join(person.hours)} {person.time_zone}",
                "confirmed": person.confirmed or ("practice" if person.practice else "never"),
            }
            for role in self.roster.roles for n, person in enumerate(self.roster.people_of(role))
        ]  # fmt: skip

    def check_entries(self) -> list[Check]:
        """Roles, placeholders, deputies who are nobody else, people who have left."""
        return [
            entries.check_roles(self.roster),
            *entries.check_placeholders(self.roster),
            *entries.check_deputies(self.roster),
            *entries.check_leavers(self.roster, self.params.access.leavers or ()),
        ]

    def check_confirmed(self) -> list[Check]:
        """How long ago each entry was confirmed; none for practice people."""
        return entries.check_confirmed(self.roster, self.contacts.confirmation, self.now)

    def on_call_rows(self) -> list[dict[str, Any]]:
        """Who is on call now for each role."""
        rows = []
        for role in self.roster.roles:
            found = on_duty(self.roster, role, self.now)
            first = found[0] if found else None
            local = f"{self.now.astimezone(first.duty.zone):%a %H:%M} {first.time_zone}" if first else "–"
            rows.append(
                {
                    "role": role.title, "on call now": first.name if first else "NOBODY",
                    "instead of": self.roster.person(role.person).name if first and first.id != role.person else "–",
                    "their time": local, "then": ", ".join(one.name for one in found[1:]) or "–",
                    "by hand": first.by_hand if first else self.roster.person(role.person).by_hand,
                }
            )  # fmt: skip
        return rows

    def check_cover(self) -> list[Check]:
        """Somebody is on duty at every hour."""
        return entries.check_cover(self.roster, self.now)

    def gap_rows(self) -> list[dict[str, Any]]:
        """The coming seven days' gaps."""
        gaps = [gap for role in self.roster.roles for gap in find_gaps(self.roster, role, self.now)]
        return [
            {"role": gap.role, "nobody from": f"{gap.begin:%a %Y-%m-%d %H:%M} UTC",
             "to": f"{gap.end:%a %Y-%m-%d %H:%M} UTC", "long": human_seconds(gap.seconds)}
            for gap in gaps
        ] or [{"role": "every role", "nobody from": "–", "to": "–", "long": "no gap in 7 days"}]  # fmt: skip

    def level_rows(self) -> list[dict[str, Any]]:
        """The levels of the escalation, with who is on call for each now."""
        rows = []
        for number, level in enumerate(self.contacts.escalation, start=1):
            role = self.roster.role(level.role)
            found = on_duty(self.roster, role, self.now)
            rows.append(
                {
                    "level": number, "after": f"{level.after_minutes:g} min", "role": role.title, "when": level.when,
                    "now": found[0].name if found else "NOBODY", "command": f"runbook page {role.id} --run RUN",
                    "source": level.source,
                }
            )  # fmt: skip
        return rows

    # -- channels -----------------------------------------------------------------------------------------

    def _channels(self) -> list[tuple[Person, Channel]]:
        return [(person, channel) for person in self._people(self.roles) for channel in person.channels]

    def check_addresses(self) -> list[Check]:
        """Each channel's secret can be had and is an address; nothing is sent."""
        return check_addresses(self._channels())

    def send_test(self, dry_run: bool, memory: Memory) -> list[Check]:
        """A test message went to each channel, in a dry run to none; how each took it.

        What is remembered of an earlier attempt counts: who got it gets it no second time, nor does who may have got it.
        """
        self.sent_rows: list[dict[str, Any]] = []
        checks = []
        for person, channel in self._channels():
            row = {"who": person.name, "channel": channel.id, "to": channel.shown}
            if dry_run:
                self.sent_rows.append({**row, "outcome": "dry run: nothing was sent", "said": "–"})
                continue
            done, when = self._deliver_once(person, channel, memory)
            said = f"{done.said} (at {when}; it was not sent again)" if when else done.said
            self.sent_rows.append({**row, "outcome": str(done.went), "said": said, "s": done.seconds})
            checks.append(_check_delivery(person, channel, done, said))
        return checks

    def _deliver_once(self, person: Person, channel: Channel, memory: Memory) -> tuple[Delivery, str | None]:
        """The delivery; and when it was, if it was not made now."""
        secret = channel.address.env or channel.address.file if channel.address is not None else channel.practice
        name = scrubber.text(f"test message to {person.id}/{channel.id}, {channel.shown}, {secret}")
        known = memory.recall(name)
        if known is not None and Went(known["went"]) in (Went.ACCEPTED, Went.NOT_KNOWN):
            return Delivery.of(known), str(known["at"])
        at = clock.stamp(clock.now())
        memory.remember(name, scrubber.value({"at": at, **broken_off(person, channel).facts()}))
        roles = ", ".join(role.id for role in self.roster.roles if person.id in role.chain)
        body = check_body(person.name, roles, self.run, at_work().user, socket.gethostname())
        done = deliver(person, channel, check_title(self.params.target), body)
        memory.remember(name, scrubber.value({"at": at, **done.facts()}))
        return done, None


def _check_delivery(person: Person, channel: Channel, done: Delivery, said: str) -> Check:
    then = f"Correct the channel {channel.id} of {person.id}; until then: {person.by_hand}."
    if done.went is Went.NOT_KNOWN:
        then = f"Ask {person.name} ({person.by_hand}) whether it has come; a new run sends another."
    failed = done.status is not Status.PASS
    return Check(
        id=f"delivery-{person.id}/{channel.id}",
        title=f"{person.id}, {channel.id}: a test message is accepted",
        status=done.status,
        severity=Severity.CRITICAL,
        expected="accepted by the channel",
        observed=str(done.went),
        object=channel.shown,
        reason=f"{done.went.capitalize()}: {said}" if failed else None,
        next=then if failed else None,
        seconds=done.seconds,
    )
