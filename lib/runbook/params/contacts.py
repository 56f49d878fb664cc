"""`params/contacts.yaml`: who is called in an emergency, when, by which channels, and in which order.

A channel's address (an apprise URL) is a secret, named and never written here; what people may see of it is `shown`.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from runbook import layout, redact
from runbook.errors import ParamsError
from runbook.params.hours import Hours, read_hours
from runbook.params.loading import is_missing, nearest, read_as, resolve_secret
from runbook.params.schema import Duration, Secret, Strict

FILE = "contacts.yaml"

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]


def _no_address(text: str) -> str:
    if "://" in text:
        raise ValueError(
            "an address travels by name: put it into a variable or a 0600 file, and name that under address"
        )
    return text


def _web_page(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or parts.query:
        raise ValueError("write a page as https://host/path, without user and query")
    return text


Shown = Annotated[str, Field(min_length=1), AfterValidator(_no_address)]


class Channel(Strict):
    """One way to a person: an apprise URL by the name of its secret, or, to practise, a file that gets a line a message.

    `shown` is what people may read: a mail address, a number, the name of a pager's service. `timeout`: for one message.
    """

    id: Slug
    address: Secret | None = None
    practice: str | None = None
    shown: Shown
    timeout: Duration = 20.0

    @model_validator(mode="after")
    def _one_way(self) -> Channel:
        if (self.address is None) == (self.practice is None):
            raise ValueError("name either the secret that holds the address (address) or a practice file (practice)")
        return self


class Person(Strict):
    """A person, or a desk that answers as one. `hours` on the wall clock of `time_zone`; `confirmed`: the day on which somebody last
    made sure that all of this is right. A `practice` person is nobody."""

    id: Slug
    name: Shown
    email: Shown | None = None
    phone: Shown | None = None
    portal: Annotated[str, AfterValidator(_web_page)] | None = None
    channels: tuple[Channel, ...] = ()
    hours: Annotated[tuple[str, ...], Field(min_length=1)]
    time_zone: str = "UTC"
    confirmed: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    practice: bool = False

    @cached_property
    def duty(self) -> Hours:
        """When this person is on duty."""
        return read_hours(self.hours, self.time_zone)

    @cached_property
    def confirmed_on(self) -> date | None:
        return date.fromisoformat(self.confirmed) if self.confirmed is not None else None

    @property
    def by_hand(self) -> str:
        """How a person reaches this one without us."""
        ways = (("phone", self.phone), ("mail", self.email), ("portal", self.portal))
        return ", ".join(f"{way} {value}" for way, value in ways if value) or "nothing is written down"

    @model_validator(mode="after")
    def _can_be_read(self) -> Person:
        read_hours(self.hours, self.time_zone)
        if self.confirmed is not None:
            date.fromisoformat(self.confirmed)
        if self.practice != any(channel.practice is not None for channel in self.channels) and self.channels:
            raise ValueError("a practice person has practice channels only, and only a practice person has them")
        if self.practice and any(channel.address is not None for channel in self.channels):
            raise ValueError("a practice person has practice channels only")
        _refuse_doubles("channel", [channel.id for channel in self.channels])
        return self


class Role(Strict):
    """What somebody is called for: the one who is called first, and the deputies in their order.

    `gaps_accepted`: why it is all right that nobody is on duty at some hours; they stand as a limitation then.
    """

    id: Slug
    title: str
    person: Slug
    deputies: tuple[Slug, ...] = ()
    gaps_accepted: Annotated[str, Field(min_length=1)] | None = None

    @property
    def chain(self) -> tuple[str, ...]:
        """The people in the order in which they are called."""
        return (self.person, *self.deputies)


class Roster(Strict):
    """The people and roles of some environments."""

    environments: Annotated[tuple[Literal["sandbox", "staging", "production"], ...], Field(min_length=1)]
    people: Annotated[tuple[Person, ...], Field(min_length=1)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]

    def person(self, name: str) -> Person:
        return next(one for one in self.people if one.id == name)

    def role(self, name: str) -> Role:
        """The role of that name.

        Raises:
            ParamsError: there is none; the nearest is given.
        """
        for role in self.roles:
            if role.id == name:
                return role
        hint = nearest(name, [role.id for role in self.roles])
        raise ParamsError(f"There is no role '{name}' in params/{FILE}; {hint}", next="runbook show escalation")

    def people_of(self, role: Role) -> list[Person]:
        """The chain of a role."""
        return [self.person(name) for name in role.chain]

    @model_validator(mode="after")
    def _names_fit(self) -> Roster:
        known = [one.id for one in self.people]
        _refuse_doubles("person", known)
        _refuse_doubles("role", [role.id for role in self.roles])
        for role in self.roles:
            for name in role.chain:
                if name not in known:
                    raise ValueError(
                        f"the role '{role.id}' names '{name}', who is not among the people; {nearest(name, known)}"
                    )
            _refuse_doubles(f"person in the role '{role.id}'", list(role.chain))
        if any(one.practice for one in self.people) and self.environments != ("sandbox",):
            raise ValueError("practice people answer for the sandbox alone: on a real system nobody would come")
        return self


class Confirmation(Strict):
    """How long an entry is believed after somebody made sure of it, and who says so."""

    within: Duration
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _a_year_at_most(self) -> Confirmation:
        if self.within > 366 * 86400:
            raise ValueError("an entry is believed for a year (366 d) at most")
        return self


class Level(Strict):
    """One level of the escalation: so many minutes after the first call without an answer, this role is called."""

    role: Slug
    after_minutes: Annotated[float, Field(ge=0)]
    when: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]


class Contacts(Strict):
    """The file. An environment stands in one roster at most."""

    confirmation: Confirmation
    escalation: tuple[Level, ...] = ()
    rosters: tuple[Roster, ...]

    def roster_of(self, environment: str) -> Roster:
        """Who answers for an environment.

        Raises:
            ParamsError: nobody does.
        """
        for roster in self.rosters:
            if environment in roster.environments:
                return roster
        raise ParamsError(
            f"params/{FILE} has no roster for the environment '{environment}': nobody would be called.",
            next="Add one, or add the environment to a roster's environments.",
        )

    @model_validator(mode="after")
    def _one_roster_each(self) -> Contacts:
        _refuse_doubles("environment", [name for roster in self.rosters for name in roster.environments])
        return self


def _refuse_doubles(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the {what} '{name}' stands twice")


def contacts_file() -> Path:
    return layout.params() / FILE


def load_contacts() -> Contacts:
    """The home's contacts.

    Raises:
        ParamsError: there is no such file, or it is wrong; with file and line.
    """
    path = contacts_file()
    if is_missing(path):
        raise ParamsError(
            f"{layout.short(path)} does not exist: nobody would be called.",
            next=f"Copy {layout.CHECKOUT / 'params' / FILE} and fill it in.",
        )
    return read_as(Contacts, path)


def resolve_address(channel: Channel, what: str) -> str:
    """The channel's address; from now on it, and every token in it, is scrubbed from everything that is kept.

    Raises:
        ParamsError: the secret cannot be had.
    """
    assert channel.address is not None
    value = resolve_secret(channel.address, what)
    for part in redact.address_parts(value):
        redact.scrubber.register(channel.address.env or Path(str(channel.address.file)).name, part)
    return value
