"""Names that the params say are one person's: a user and the principal that it is, and a contact's id, name and mail address."""

from __future__ import annotations

from collections import Counter

from runbook.params.contacts import contacts_file, load_contacts
from runbook.params.names import plain_name
from runbook.params.schema import Approvals


def groups_of(approvals: Approvals) -> tuple[frozenset[str], ...]:
    """Each person's names, in the form that names are compared in.

    Raises:
        ParamsError: params/contacts.yaml is there and is wrong: nobody can say who is one person.
    """
    mapped = [frozenset({plain_name(user), plain_name(person)}) for user, person in approvals.operators.items()]
    if not contacts_file().is_file():
        return tuple(mapped)
    people = [
        {plain_name(text) for text in (person.id, person.name, person.email) if text}
        for roster in load_contacts().rosters
        for person in roster.people
        if not person.practice
    ]
    shared = Counter(name for names in people for name in names)
    return (*mapped, *(frozenset(name for name in names if shared[name] == 1) for names in people))


def principal_of(approvals: Approvals, user: str) -> str | None:
    """The principal that an operating-system user is; None when the params do not say."""
    return next((person for name, person in approvals.operators.items() if plain_name(name) == plain_name(user)), None)
