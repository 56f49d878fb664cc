"""A message to a person by each of their channels, and to the people of a role one after the other until one channel accepts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import ParamsError
from runbook.model import Status
from runbook.outside import notify
from runbook.params.contacts import Channel, Person, resolve_address
from runbook.redact import scrubber


class Went(StrEnum):
    """What became of one message, for people."""

    ACCEPTED = "accepted by the channel, not: read"
    REFUSED = "refused"
    NOT_SENT = "not sent"
    NOT_KNOWN = "not known whether it went out"


_STATUS = {
    Went.ACCEPTED: Status.PASS,
    Went.REFUSED: Status.FAIL,
    Went.NOT_SENT: Status.UNKNOWN,
    Went.NOT_KNOWN: Status.UNKNOWN,
}


@dataclass(frozen=True)
class Delivery:
    """How one channel took a message.

    ACCEPTED does not say that a person has read it; NOT_SENT: its address could not be had; NOT_KNOWN: the channel was spoken to, and no
    answer came, or whoever sent it died before the answer was written down.
    """

    person: str
    channel: str
    shown: str
    went: Went
    said: str
    seconds: float

    @property
    def status(self) -> Status:
        return _STATUS[self.went]

    def facts(self) -> dict[str, object]:
        """JSON, for the journal."""
        return {**asdict(self), "went": str(self.went), "status": str(self.status)}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Delivery:
        """The delivery in what `facts` made."""
        return cls(
            **{name: facts[name] for name in ("person", "channel", "shown", "said", "seconds")},
            went=Went(facts["went"]),
        )


def broken_off(person: Person, channel: Channel) -> Delivery:
    """What is known of a delivery from before it begins until its end is written down."""
    return Delivery(person.id, channel.id, channel.shown, Went.NOT_KNOWN, "it broke off while it was being sent", 0.0)


def deliver(person: Person, channel: Channel, title: str, body: str) -> Delivery:
    """The message was handed to the channel once. Raises nothing; not safe twice: it rings twice."""
    name = f"{person.id}, {channel.id}"
    if channel.practice is not None:
        went, said, seconds = _practise(layout.resolve(channel.practice), person, title, body)
        return Delivery(person.id, channel.id, channel.shown, went, said, seconds)
    try:
        address = resolve_address(channel, name)
    except ParamsError as cause:
        return Delivery(person.id, channel.id, channel.shown, Went.NOT_SENT, scrubber.text(cause.message), 0.0)
    sent = notify.send(address, title, body, timeout=channel.timeout)
    went = {True: Went.ACCEPTED, False: Went.REFUSED, None: Went.NOT_KNOWN}[sent.ok]
    return Delivery(person.id, channel.id, channel.shown, went, sent.said, round(sent.seconds, 3))


def _practise(path: Path, person: Person, title: str, body: str) -> tuple[Went, str, float]:
    line = {"at": clock.stamp(clock.now()), "to": person.id, "title": title, "body": body}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(scrubber.value(line), ensure_ascii=False) + "\n")
    except OSError as cause:
        return Went.REFUSED, f"{layout.short(path)}: {cause.strerror}", 0.0
    return Went.ACCEPTED, f"practice: written to {layout.short(path)}; nobody was called", 0.0


def call_people(
    people: Iterable[Person],
    title: str,
    body: str,
    *,
    begin: Callable[[Delivery], object] = lambda _: None,
    tell: Callable[[Delivery], object] = lambda _: None,
) -> list[Delivery]:
    """Every channel of the first person was tried, then of the next, until a person was reached by one at least.

    Args:
        begin: is told before each delivery what is known of it if nothing more is ever heard.
        tell: is told of each delivery as it happens.
    """
    done: list[Delivery] = []
    for person in people:
        mine = []
        for channel in person.channels:
            begin(broken_off(person, channel))
            mine.append(deliver(person, channel, title, body))
            tell(mine[-1])
        done += mine
        if any(one.status is Status.PASS for one in mine):
            break
    return done


def verdict_of(deliveries: Iterable[Delivery]) -> Status:
    """PASS when a channel accepted it; else FAIL, unless all that is known is that addresses could not be had or answers did not come."""
    found = [one.status for one in deliveries]
    if Status.PASS in found:
        return Status.PASS
    return Status.UNKNOWN if found and Status.FAIL not in found else Status.FAIL
