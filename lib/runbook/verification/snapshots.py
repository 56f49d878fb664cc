"""What a snapshot of production sees, against the commits in WAL: where a fence stands, and when it is void. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runbook.postgres.wal import Commit


@dataclass(frozen=True)
class Snapshot:
    """What a snapshot sees. Transaction ids are 64 bits wide.

    >>> Snapshot.parse("740:743:741").sees(740), Snapshot.parse("740:743:741").sees(741)
    (True, False)
    """

    xmin: int
    xmax: int
    in_progress: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """From pg_current_snapshot()'s text."""
        xmin, xmax, rest = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in rest.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """True when the transaction had ended for this snapshot.

        Args:
            xid: as WAL has it, 32 bits; the epoch nearest to the snapshot is meant.
        """
        full = (self.xmax & ~0xFFFFFFFF) | (xid & 0xFFFFFFFF)
        if full > self.xmax + (1 << 31):
            full -= 1 << 32
        elif full < self.xmax - (1 << 31):
            full += 1 << 32
        return full < self.xmax and full not in self.in_progress


def find_first_unseen(
    commits: Iterable[Commit], snapshots: Sequence[Snapshot]
) -> tuple[list[Commit | None], set[int], bool]:
    """For each snapshot the first commit in WAL that it does not see. Pure.

    Args:
        commits: in the order of WAL.

    Returns:
        Those commits (None: it sees them all), the transactions of all commits read, and whether a snapshot is void: it
        sees a commit behind the first that it does not see.
    """
    first: list[Commit | None] = [None] * len(snapshots)
    committed: set[int] = set()
    for commit in commits:
        committed.add(commit.xid)
        for index, snapshot in enumerate(snapshots):
            if not snapshot.sees(commit.xid):
                first[index] = first[index] or commit
            elif first[index] is not None:
                return first, committed, True
    return first, committed, False
