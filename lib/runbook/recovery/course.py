"""The course of a recovery over all its attempts: what was decided, what was seen before there was no way back, and when.

Every attempt looks anew, until the way on is being carried out: from then on the damaged server may be gone from its place, and what
was seen before is told as it was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from runbook import clock
from runbook.model import Check

#: The moments that a post-mortem tells, in their order, with what was reached.
MOMENTS = {
    "begun": "the recovery began",
    "closed": "the database was closed",
    "quiet": "writes were proven to have stopped",
    "point": "the recovery point was proposed",
    "approved": "the recovery was approved",
    "restored": "the backup was restored beside production",
    "paused": "the copy stood at the point, paused",
    "checked": "the recovered data was checked",
    "chosen": "the way on was approved",
    "done": "the way on was carried out",
    "read-only": "production answered, read-only",
    "accepted": "the recovery was accepted",
    "open": "production was open again",
    "archived": "its history was proven to be in the archive",
}


class Memory(Protocol):
    """What a run remembers over its attempts (`Run.remember` and `Run.recall`)."""

    def remember(self, name: str, value: Any) -> None:
        """The JSON value is kept."""

    def recall(self, name: str, default: Any = None) -> Any:
        """The value that was kept last."""


@dataclass(frozen=True)
class Seen:
    """What a step has shown: checks, rows for a table, facts for later steps. All of it is JSON."""

    checks: list[Check] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    #: Why there was nothing to do in this run; the step is not counted as one that ran.
    not_applicable: str | None = None

    def dump(self) -> dict[str, Any]:
        return {
            "checks": [check.model_dump(mode="json") for check in self.checks],
            "rows": self.rows,
            "facts": self.facts,
            "not applicable": self.not_applicable,
        }

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> Seen:
        """As it was dumped."""
        checks = [Check.model_validate(check) for check in kept["checks"]]
        return cls(checks, kept["rows"], kept["facts"], kept.get("not applicable"))


def not_done(what: str, why: str = "a dry run changes nothing") -> Seen:
    """What a step shows that does nothing in this run."""
    return Seen(rows=[{"what": what, "state": "not applicable", "detail": why}], not_applicable=why)


class Course:
    """Where a recovery stands.

    Args:
        memory: the run.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    # -- the way on ----------------------------------------------------------------------------------------

    @property
    def way(self) -> str | None:
        """The way on that is being, or was, carried out; None before that."""
        way = self._memory.recall("recovery/way")
        return str(way) if way is not None else None

    def set_out(self, way: str) -> None:
        """From here on what was seen is not looked at again. Safe twice."""
        if self.way is None:
            self._memory.remember("recovery/way", way)

    def keep(self, name: str, look: Callable[[], Seen]) -> Seen:
        """What there is to see: looked at anew until the way on is being carried out, then as it was seen last."""
        kept = self._memory.recall(f"recovery/seen/{name}")
        if self.way is not None and kept is not None:
            return Seen.load(kept)
        seen = look()
        self._memory.remember(f"recovery/seen/{name}", seen.dump())
        return seen

    # -- once and for all ----------------------------------------------------------------------------------

    def note(self, name: str, value: Any) -> None:
        """The value outlives this attempt."""
        self._memory.remember(f"recovery/{name}", value)

    def noted(self, name: str, default: Any = None) -> Any:
        """The value noted last."""
        return self._memory.recall(f"recovery/{name}", default)

    # -- time ----------------------------------------------------------------------------------------------

    def reach(self, moment: str, of: object = None, at: datetime | None = None) -> None:
        """The moment is noted, when it is the first time: for this `of` (JSON), since a target may be moved.

        Args:
            of: the same in every attempt, so nothing that is read again. at: when it happened; None: now.
        """
        if moment not in MOMENTS:
            raise ValueError(f"'{moment}' is none of {list(MOMENTS)}")
        kept = self._memory.recall(f"recovery/at/{moment}")
        if kept is None or kept["of"] != of:
            self._memory.remember(f"recovery/at/{moment}", {"at": clock.stamp(at or clock.now()), "of": of})

    def reached(self, moment: str) -> datetime | None:
        """When that was."""
        kept = self._memory.recall(f"recovery/at/{moment}")
        return clock.parse(kept["at"]) if kept is not None else None

    def moments(self) -> list[tuple[datetime, str]]:
        """All that were reached, in the order of time, in words."""
        found = [(at, said) for name, said in MOMENTS.items() if (at := self.reached(name)) is not None]
        return sorted(found)
