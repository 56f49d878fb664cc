"""A message to a person by each of their channels, and to the people of a role one after the other until one channel accepts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook import clock, layout
from runbook.errors import ParamsError
from runbook.model import Status
from runbook.outside import notify
from runbook.params.contacts import Channel, Person, resolve_address
from runbook.redact import scrubber


@dataclass(frozen=True)
class Delivery:
    """How one channel took a message. PASS: it accepted it, which does not say that a person has read it; FAIL: it did not;
    UNKNOWN: its address could not be had, so nothing was sent."""

    person: str
    channel: str
    shown: str
    status: Status
    said: str
    seconds: float

    def facts(self) -> dict[str, object]:
        """JSON, for the journal."""
        return {**asdict(self), "status": str(self.status)}


def deliver(person: Person, channel: Channel, title: str, body: str) -> Delivery:
    """The message was handed to the channel once. Raises nothing; not safe twice: it rings twice."""
    name = f"{person.id}, {channel.id}"
    if channel.practice is not None:
        status, said, seconds = _practise(layout.resolve(channel.practice), person, title, body)
        return Delivery(person.id, channel.id, channel.shown, status, said, seconds)
    try:
        address = resolve_address(channel, name)
    except ParamsError as cause:
        return Delivery(person.id, channel.id, channel.shown, Status.UNKNOWN, scrubber.text(cause.message), 0.0)
    sent = notify.send(address, title, body, timeout=channel.timeout)
    status = Status.PASS if sent.ok else Status.FAIL
    return Delivery(person.id, channel.id, channel.shown, status, sent.said, round(sent.seconds, 3))


def _practise(path: Path, person: Person, title: str, body: str) -> tuple[Status, str, float]:
    line = {"at": clock.stamp(clock.now()), "to": person.id, "title": title, "body": body}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(scrubber.value(line), ensure_ascii=False) + "\n")
    except OSError as cause:
        return Status.FAIL, f"{layout.short(path)}: {cause.strerror}", 0.0
    return Status.PASS, f"practice: written to {layout.short(path)}; nobody was called", 0.0


def call_people(
    people: Iterable[Person], title: str, body: str, tell: Callable[[Delivery], None] = lambda _: None
) -> list[Delivery]:
    """Every channel of the first person was tried, then of the next, until a person was reached by one at least.

    Args:
        tell: is told of each delivery as it happens.
    """
    done: list[Delivery] = []
    for person in people:
        mine = []
        for channel in person.channels:
            mine.append(deliver(person, channel, title, body))
            tell(mine[-1])
        done += mine
        if any(one.status is Status.PASS for one in mine):
            break
    return done


def verdict_of(deliveries: Iterable[Delivery]) -> Status:
    """PASS when a channel accepted it; else FAIL, unless the only reason is an address that could not be had."""
    found = [one.status for one in deliveries]
    if Status.PASS in found:
        return Status.PASS
    return Status.UNKNOWN if found and Status.FAIL not in found else Status.FAIL
