"""What is new, gone or changed between two inventories. Pure. What one of them did not see is not compared, and said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from runbook.inventory.items import Facts, Inventory, Items, place_key


class Became(StrEnum):
    """What became of an item."""

    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"


@dataclass(frozen=True)
class Difference:
    """One item that differs; `before` and `now` are its facts, None where it is not."""

    became: Became
    kind: str
    database: str | None
    name: str
    before: Facts | None
    now: Facts | None

    @property
    def said(self) -> str:
        """The facts for people: those that changed from → to, or all.

        >>> Difference(Became.CHANGED, "roles", None, "ann", {"a": "1", "b": "2"}, {"a": "1", "b": "3"}).said
        'b: 2 → 3'
        """
        if self.before is not None and self.now is not None:
            names = sorted({*self.before, *self.now})
            return "; ".join(
                f"{name}: {self.before.get(name, '–') or '(none)'} → {self.now.get(name, '–') or '(none)'}"
                for name in names
                if self.before.get(name) != self.now.get(name)
            )
        facts = self.now if self.now is not None else self.before or {}
        return "; ".join(f"{name}: {value}" for name, value in facts.items() if value)


def compare(before: Inventory, now: Inventory) -> list[Difference]:
    """Every difference, by place, kind and name. A database that is new or gone as a whole is one difference."""
    found: list[Difference] = []
    seen_before = {(kind, database): items for kind, database, items in before.places()}
    seen_now = {(kind, database): items for kind, database, items in now.places()}
    for kind, database in sorted({*seen_before, *seen_now}, key=lambda one: (one[1] or "", one[0])):
        if (kind, database) in seen_before and (kind, database) in seen_now:
            found += _differences(kind, database, seen_before[kind, database], seen_now[kind, database])
    for name in sorted({*before.databases, *now.databases}):
        if name in before.databases and name in now.databases:
            continue
        became = Became.NEW if name in now.databases else Became.GONE
        kinds = (now if became is Became.NEW else before).databases[name]
        facts = {kind: str(len(items)) for kind, items in sorted(kinds.items()) if items}
        if became is Became.GONE and any(key.partition("@")[2] == name for key in now.unseen):
            continue  # it is there, and could not be entered
        new = became is Became.NEW
        found.append(Difference(became, "contents", name, "all", None if new else facts, facts if new else None))
    return found


def _differences(kind: str, database: str | None, before: Items, now: Items) -> list[Difference]:
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        became = Became.NEW if old is None else Became.GONE if new is None else Became.CHANGED
        found.append(Difference(became, kind, database, name, old, new))
    return found


def difference_rows(found: Iterable[Difference], unseen: Mapping[str, str]) -> list[dict[str, str]]:
    """Differences for people, then what could not be compared, by place: why."""
    rows = [
        {
            "became": str(one.became), "kind": one.kind, "database": one.database or "–", "item": one.name,
            "facts": one.said,
        }
        for one in found
    ]  # fmt: skip
    for key, why in sorted(unseen.items()):
        kind, _, database = key.partition("@")
        rows.append({"became": "not compared", "kind": kind, "database": database or "–", "item": "all", "facts": why})
    return rows


def not_comparable(before: Inventory, now: Inventory) -> dict[str, str]:
    """What cannot be compared, by place: why. What neither saw is not comparable either."""
    reasons = {key: f"when the list was made: {why}" for key, why in before.unseen.items()}
    reasons.update(now.unseen)
    seen_before = {place_key(kind, database): database for kind, database, _ in before.places()}
    for kind, database, _ in now.places():
        key = place_key(kind, database)
        known_place = database is None or database in before.databases
        if key not in seen_before and key not in reasons and known_place:
            reasons[key] = "the list was made before this kind was looked at: approve a new one"
    seen_now = {place_key(kind, database) for kind, database, _ in now.places()}
    for key, database in seen_before.items():
        if key not in seen_now and key not in reasons and (database is None or database in now.databases):
            reasons[key] = "it is in the list, and nobody looks at this kind any more"
    return reasons
