"""The inventory: items by place and kind, each with its facts as text. Pure, and the same bytes for the same server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

#: Facts of one item; items by quoted name; kinds by the name of their SQL file.
Facts = dict[str, str]
Items = dict[str, Facts]
Kinds = dict[str, Items]


def place_key(kind: str, database: str | None) -> str:
    """Where a kind was looked for: `policies@shop`, `roles@`."""
    return f"{kind}@{database or ''}"


@dataclass(frozen=True)
class Inventory:
    """`server`: kinds of the whole server; `databases`: kinds by database; `unseen`: why, by `place_key`.

    A kind that is unseen has no items, which must never be read as "there are none".
    """

    server: Kinds = field(default_factory=dict)
    databases: dict[str, Kinds] = field(default_factory=dict)
    unseen: dict[str, str] = field(default_factory=dict)

    def places(self) -> Iterator[tuple[str, str | None, Items]]:
        """Every kind that was seen, with its database (None: the server) and its items."""
        for kind, items in sorted(self.server.items()):
            yield kind, None, items
        for database, kinds in sorted(self.databases.items()):
            for kind, items in sorted(kinds.items()):
                yield kind, database, items

    @property
    def count(self) -> int:
        """How many items there are."""
        return sum(len(items) for _, _, items in self.places())

    def only(self, kinds: Mapping[str, object] | set[str]) -> Inventory:
        """The part of these kinds."""
        return Inventory(
            {kind: items for kind, items in self.server.items() if kind in kinds},
            {name: {k: v for k, v in found.items() if k in kinds} for name, found in self.databases.items()},
            {key: why for key, why in self.unseen.items() if key.partition("@")[0] in kinds},
        )

    def within(self, databases: Collection[str]) -> Inventory:
        """The part of the whole server and of these databases."""
        return Inventory(
            self.server,
            {name: kinds for name, kinds in self.databases.items() if name in databases},
            {key: why for key, why in self.unseen.items() if key.partition("@")[2] in ("", *databases)},
        )

    def facts(self) -> dict[str, object]:
        """All of it as JSON."""
        return {"server": self.server, "databases": self.databases, "unseen": self.unseen}

    @classmethod
    def of(cls, facts: Mapping[str, dict[str, object]]) -> Inventory:
        """The inventory in what `facts` made."""
        return cls(facts["server"], facts["databases"], facts["unseen"])  # type: ignore[arg-type]  # as `facts` wrote it

    @property
    def sha256(self) -> str:
        """The fingerprint of what is there, whoever asked and whenever."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode()).hexdigest()
