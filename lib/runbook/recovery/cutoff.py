"""What a recovery point cuts off, timeline by timeline: where each line of production's history parts from what is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runbook.postgres.wal import Timeline

Lineage = tuple[Timeline, ...]


@dataclass(frozen=True)
class CutOff:
    """The WAL of a line from `since` on is not kept."""

    lineage: Lineage
    since: int

    @property
    def number(self) -> int:
        return self.lineage[-1].number


def shared_until(one: Lineage, other: Lineage) -> int | None:
    """Return the position up to which two lineages have the same WAL; None: they never part.

    >>> two = (Timeline(1, 0, 500), Timeline(2, 500, None))
    >>> shared_until((Timeline(1, 0, None),), two), shared_until(two, two)
    (500, None)
    """
    until = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine.number != theirs.number:
            return until
        if mine.end != theirs.end:
            return min(end for end in (mine.end, theirs.end) if end is not None)
        if mine.end is None:
            return None
        until = mine.end
    return until


def cut_off(kept: Lineage, gate: int, lines: Iterable[Lineage]) -> list[CutOff]:
    """Return what a recovery to `gate` on the lineage `kept` discards of these lines; what several share stands at the first alone.

    >>> one, two = (Timeline(1, 0, None),), (Timeline(1, 0, 500), Timeline(2, 500, None))
    >>> [(found.number, found.since) for found in cut_off(one, 700, [two, one])]
    [(2, 500), (1, 700)]
    >>> [(found.number, found.since) for found in cut_off(one, 300, [two, one])]
    [(2, 300), (1, 500)]
    """
    known: list[tuple[Lineage, int | None]] = [(kept, gate)]
    found = []
    for line in lines:
        ends = [_earlier(shared_until(line, lineage), limit) for lineage, limit in known]
        if None not in ends:
            found.append(CutOff(line, max(end for end in ends if end is not None)))
            known.append((line, None))
    return found


def _earlier(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)
