"""An inventory against the approved list: one way of comparing them. The access audit judges what differs, the architecture shows it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from runbook.inventory.differences import Difference, compare, not_comparable
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import Approved


@dataclass(frozen=True)
class AgainstList:
    """What nobody has approved. `problem`: why nothing was compared; `unseen`: what could not be, by place: why."""

    problem: str | None = None
    found: list[Difference] = field(default_factory=list)
    unseen: dict[str, str] = field(default_factory=dict)


def other_system(approved: Approved, system_identifier: str | None) -> str | None:
    """That the list is of another system than this one; None when it is not, or nobody can tell."""
    own = approved.list.system_identifier if approved.list is not None else None
    if own and system_identifier and own != system_identifier:
        return f"it is of another system, {own}"
    return None


def compare_with_list(
    approved: Approved,
    now: Inventory,
    kinds: Collection[str] | None = None,
    databases: Collection[str] | None = None,
) -> AgainstList:
    """Every difference from the list, and what cannot be compared. Without a list that counts nothing is compared.

    Args:
        kinds: only these; all when None.
        databases: only what is in these, and in the whole server; all when None.
    """
    if approved.list is None:
        return AgainstList(problem=approved.problem or "it cannot be trusted")
    before = approved.list.inventory
    if kinds is not None:
        before, now = before.only(set(kinds)), now.only(set(kinds))
    if databases is not None:
        before, now = before.within(databases), now.within(databases)
    return AgainstList(None, compare(before, now), not_comparable(before, now))
