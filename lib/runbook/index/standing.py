"""Where each runbook stands on each target, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runbook.index.rows import UNREADABLE, Row

_PLACES = {"production": 0, "staging": 1, "sandbox": 2}


@dataclass(frozen=True)
class Standing:
    """The last word on a runbook and a target: the latest row that counts, and the first of the same kind without a break.

    `partial` counts later runs that passed in part only (dry, reduced scope): they change nothing.
    """

    latest: Row
    since: Row
    in_a_row: int
    last_pass: Row | None
    partial: int
    total: int

    @property
    def is_green(self) -> bool:
        return self.latest.is_pass and not self.latest.is_partial


def standings(rows: Iterable[Row]) -> list[Standing]:
    """One for each runbook and target; what failed first, real systems before the sandbox.

    A run counts by its last attempt: one that waited at a gate and then passed has passed.
    """
    attempts: dict[tuple[str, str, str], Row] = {}
    totals: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.verdict != UNREADABLE:
            key = (row.runbook, row.target, row.run)
            attempts.pop(key, None)  # a later attempt also stands later in the order
            attempts[key] = row
            totals[row.runbook, row.target] = totals.get((row.runbook, row.target), 0) + 1
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in attempts.values():
        groups.setdefault((row.runbook, row.target), []).append(row)
    found = [_standing(group, totals[key]) for key, group in groups.items()]
    return sorted(
        found,
        key=lambda one: (
            one.is_green, _PLACES.get(one.latest.environment, 0), one.latest.runbook, one.latest.target
        ),
    )  # fmt: skip


def _standing(group: list[Row], total: int) -> Standing:
    counting = [row for row in group if not row.is_partial] or group
    latest = counting[-1]
    same = 0
    for row in reversed(counting):
        if row.is_pass is not latest.is_pass:
            break
        same += 1
    last_pass = next((row for row in reversed(counting) if row.is_pass and not row.is_partial), None)
    partial = sum(row.is_partial and row.number > latest.number for row in group)
    return Standing(latest, counting[-same], same, last_pass, partial, total)
