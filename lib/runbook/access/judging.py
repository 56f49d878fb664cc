"""The approved list, what differs from it, and people who have left: as objects that are ok, critical or not measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from runbook.inspection.states import Looked, Seen, State
from runbook.inventory.approval import compare_with_list, other_system
from runbook.inventory.differences import Difference
from runbook.inventory.items import Facts, Inventory
from runbook.inventory.listfile import Approved
from runbook.params.names import reads_like
from runbook.params.schema import Leaver

AREA = "access"
_HOW = "runbook run access-audit --target NAME -p dry_run false, then: runbook access approve RUN --key KEY (a second person)"


def _looked(
    name: str,
    title: str,
    rank: int,
    expected: str,
    seen: Iterable[Seen],
    next_step: str,
    source: str,
    lacking: str = "",
) -> Looked:
    """No exception covers a difference, which a new list approves, nor a leaver; what cannot be seen may be excepted, place by place."""
    return Looked(
        AREA, name, title, rank, None, expected, tuple(seen), 0.0, next_step, source, lacking=lacking, by_place=True
    )


def _seen(name: str, rank: int, database: str | None, item: str, state: State, unit: str, note: str) -> Seen:
    value = None if state is State.NOT_MEASURED else 0.0 if state is State.OK else 1.0
    return Seen(name, rank, database, item, state, value, unit, None, note)


def look_at_list(approved: Approved, system_identifier: str | None) -> Looked:
    """The approved list itself: none yet is not measured, one that does not count is critical."""
    state, note = State.OK, f"approved by {approved.approver}, number {approved.number}"
    if approved.list is None:
        state, note = (
            State.NOT_MEASURED if approved.is_missing else State.CRITICAL,
            approved.problem or "it cannot be trusted",
        )
    elif other := other_system(approved, system_identifier):
        state, note = State.CRITICAL, other
    seen = _seen("approved_list", 0, None, approved.where, state, "lists that do not count", note)
    title = "The list to compare with was approved by another person, and is as it was approved"
    return _looked("approved_list", title, 0, "an approval that counts", [seen], _HOW, approved.where, _HOW)


def differences(approved: Approved, now: Inventory) -> tuple[list[Difference], Looked]:
    """What nobody has approved. Without a list that counts nothing is compared, and that is not measured."""
    title = "Roles, memberships, grants, policies and settings are as they were approved"
    next_step = "Undo what should not be; what should be: runbook access approve RUN --key KEY (a second person)"
    name, source = "differences", approved.where
    against = compare_with_list(approved, now)
    if against.problem is not None:
        why = f"nothing to compare with: {against.problem}"
        seen = [_seen(name, 1, None, "all", State.NOT_MEASURED, "differences", why)]
        return [], _looked(name, title, 1, "none", seen, _HOW, source, _HOW)
    seen = [
        _seen(name, 1, one.database, f"{one.became} in {one.kind}: {one.name}", State.CRITICAL, "differences", one.said)
        for one in against.found
    ]
    for key, why in sorted(against.unseen.items()):
        kind, _, database = key.partition("@")
        seen.append(_seen(name, 1, database or None, kind, State.NOT_MEASURED, "differences", why))
    return against.found, _looked(name, title, 1, "none", seen, next_step, source)


def leavers(people: tuple[Leaver, ...] | None, roles: dict[str, Facts] | None, quoted: dict[str, str]) -> Looked:
    """Nobody who has left can log in, by the roles that are named; one that only reads like theirs is not measured: somebody has to say.

    Args:
        people: those of the params; None: nobody says who has left.
        roles: the inventory's roles; None when they were not seen.
        quoted: a role's name as the inventory writes it, by its name.
    """
    name, title = "leavers", "No role of a person who has left can log in"
    next_step = "ALTER ROLE … NOLOGIN now; end its sessions, reassign what it owns, then drop it"
    seen = []
    if people is None:
        why = "nobody says who has left: name them under access.leavers in params; an empty list says that nobody has"
        seen = [_seen(name, 1, None, "all", State.NOT_MEASURED, "roles", why)]
    elif roles is None:
        seen = [_seen(name, 1, None, "all", State.NOT_MEASURED, "roles", "the roles were not seen")]
    else:
        for person in people:
            names = {quoted.get(role, role): role for role in person.roles}
            for item in names:
                facts = roles.get(item)
                may = facts is not None and facts["login"] == "true"
                state = State.CRITICAL if may else State.OK
                gone = "the role is gone" if facts is None else "the role cannot log in"
                # VALID UNTIL is no comfort: it ends passwords alone.
                note = f"{person.person} left on {person.left}; {'the role can log in' if may else gone}"
                seen.append(_seen(name, 1, None, item, state, "roles", note))
            meant = (person.person, *person.roles)
            for item, facts in roles.items():
                if item not in names and facts["login"] == "true" and any(reads_like(item, one) for one in meant):
                    note = f"it can log in, and reads like {person.person}, who left on {person.left}, and is not named in roles"
                    seen.append(_seen(name, 1, None, item, State.NOT_MEASURED, "roles", note))
    lacking = "Name them under access.leavers in the params file; [] when nobody has left" if people is None else ""
    return _looked(name, title, 1, "none", seen, next_step, "access.leavers", lacking)
