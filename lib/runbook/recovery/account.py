"""The account of a copy-back: what the damage took, counted twice, and what became of each row. Pure.

The first count comes from WAL, the second from comparing the restored copy with production, before and after the rows were written.
Both must agree, and the parts must add up to the whole; what nothing explains is a problem, and what is named but not back needs a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from runbook.model import Check, Severity, Status
from runbook.recovery.copybackplan import CHANGED, NAMELESS, SAME_CONTENT, CopyBackPlan
from runbook.texts import many

#: The reason for rows that the restored copy does not have.
LATER = "made after the recovery point: the restored copy does not have it"
UNEXPLAINED = "not in production as before, and WAL names no transaction that removed or changed it"
BY_TRIGGER = "the damage did not touch it: a trigger of the copy-back changed it"
UNLISTED = "the damage took it with its whole file, and no suspect names the table"
#: The answers to what becomes of rows that are not back.
LEAVE, REFUSE = "leave", "fail"
LEFT = {
    LEAVE: "leave them as they are: each is in the file of conflicts with its reason",
    REFUSE: "the recovery has not given back what it should: the run ends in FAIL",
}
#: Reasons of rows that are as they were, or that others changed since.
_NO_CONFLICT = (CHANGED, SAME_CONTENT)
_FILE_NEXT = "Compare the table with the restored copy, which is kept; then copy the rows back by hand."


@dataclass(frozen=True)
class Counted:
    """One table, counted from WAL and by comparing the restored copy with production. Numbers are rows of the restored copy.

    `wal` rows were removed or changed by the damage, as WAL says; `later` more of them are not in the copy. Of `wal`: `as_before` are in
    production as they were, `altered` are there in a version that neither the damage nor others wrote, `by_others` were changed since by
    others, `gone_since` were removed since by others, `left` are missing or as the damage left them. `unexplained` rows differ, and WAL names nobody who touched them. Neither is
    `by_triggers` of the damage: a transaction that came after the WAL that was read wrote them, so a trigger of the copy-back. `columns` counts the columns of altered rows. `problem`: the table could not be counted.
    """

    database: str
    table: str
    wal: int = 0
    later: int = 0
    as_before: int = 0
    altered: int = 0
    by_others: int = 0
    gone_since: int = 0
    left: int = 0
    unexplained: int = 0
    by_triggers: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    problem: str | None = None

    @property
    def differing(self) -> int:
        """The second count: rows that the comparison found, without those that only others changed."""
        return self.altered + self.by_others + self.gone_since + self.left + self.unexplained

    @property
    def disagreement(self) -> str | None:
        """Why the two counts do not agree; None: they do."""
        if self.problem is not None:
            return f"{self.table}: the rows could not be counted: {self.problem}"
        if self.unexplained:
            return (
                f"{self.table}: {many(self.unexplained, 'row')} of the restored copy not in production as before, and WAL names no "
                "transaction that removed or changed them"
            )
        compared = self.as_before + self.differing
        if compared != self.wal:
            return f"{self.table}: WAL says {self.wal:,} rows, comparing the restored copy with production says {compared:,}"
        return None


@dataclass(frozen=True)
class TableAccount:
    """One table of the account. `before` and `after` are its counts around the copy-back; `reasons` are those of the rows in conflict.

    `alone` is why the table was left alone, where it was.
    """

    before: Counted
    after: Counted
    reasons: Mapping[str, int] = field(default_factory=dict)
    alone: str | None = None
    is_known_before: bool = True

    @property
    def whole(self) -> int:
        """Rows that the damage removed or changed."""
        return self.after.wal + self.after.later

    def _part(self) -> dict[str, int]:
        """The rows that are not as they were, by what is known of them: the comparison counts them, the copy-back names them."""
        changed = self.reasons.get(CHANGED, 0)
        named = sum(number for reason, number in self.reasons.items() if reason not in _NO_CONFLICT)
        left, others = self.after.left, self.after.by_others
        # Rows that others wrote at that very moment: only the copy-back knows that they are theirs.
        more = min(max(0, changed - others), left)
        conflict = min(named, left - more)
        return {"others": others + more + self.after.gone_since, "conflict": conflict, "left": left - more - conflict}

    @property
    def others(self) -> int:
        """Rows that others changed since the damage: they are left as they are."""
        return self._part()["others"]

    @property
    def conflict(self) -> int:
        """Rows in conflict, each with its reason."""
        return self._part()["conflict"]

    @property
    def not_back(self) -> int:
        """Rows that nothing brought back: the table was left alone, or the restored copy does not have them."""
        return self._part()["left"] + self.after.later

    @property
    def unnamed(self) -> int:
        """Rows that are not back and of which no reason is known."""
        return 0 if self.alone is not None else self._part()["left"]

    def problems(self) -> list[str]:
        """Why this table's account does not add up."""
        table = self.after.table
        found = [said for said in (self.after.disagreement,) if said is not None]
        if self.is_known_before and self.before.disagreement is not None and self.before.disagreement not in found:
            found.append(f"{self.before.disagreement} (before anything was copied back)")
        if self.is_known_before and self.before.by_triggers:
            found.append(
                f"{table}: {many(self.before.by_triggers, 'row')} changed after WAL was read, before anything was copied back"
            )
        if self.is_known_before and not self.before.problem and self.before.wal != self.after.wal:
            found.append(
                f"{table}: WAL said {self.before.wal:,} rows when this was planned, and {self.after.wal:,} afterwards"
            )
        if not self.is_known_before and self.after.wal:
            found.append(f"{table}: its rows were not counted before the copy-back")
        if self.unnamed:
            found.append(f"{table}: {many(self.unnamed, 'row')} not back, and no reason is known")
        return found

    def decisions(self) -> list[str]:
        """What is named and not as it was: a person decides whether it may stay so."""
        found, table = [], self.after.table
        if self.conflict:
            said = "; ".join(
                f"{n:,}: {reason}" for reason, n in sorted(self.reasons.items()) if reason not in _NO_CONFLICT
            )
            found.append(f"{table}: {self.conflict:,} in conflict ({said})")
        if self.not_back - self.unnamed:
            why = [said for said in (self.alone, LATER if self.after.later else None) if said]
            found.append(f"{table}: {self.not_back - self.unnamed:,} not brought back ({'; '.join(why)})")
        if self.alone is not None and not self.not_back:
            found.append(f"{table}: left alone: {self.alone}")
        if self.after.altered:
            found.append(f"{table}: {self.after.altered:,} back but altered{_columns(self.after.columns)}")
        if self.after.by_triggers:
            said = f"{many(self.after.by_triggers, 'row')} that the damage did not touch"
            found.append(f"{table}: {said} changed by triggers of the copy-back{_columns(self.after.columns)}")
        return found

    def row(self) -> dict[str, Any]:
        """A row for report.table and for the first screen."""
        after = self.after
        return {
            "database": after.database,
            "table": after.table,
            "taken (WAL)": self.whole,
            "taken (compared)": self.before.as_before + self.before.differing + after.later
            if self.is_known_before
            else None,
            "back as before": after.as_before,
            "back but altered": self.after.altered,
            "changed since by others": self.others,
            "in conflict": self.conflict,
            "not brought back": self.not_back,
            "adds up": "no" if self.problems() else "yes",
            "notes": "; ".join(
                [
                    *([f"{after.by_triggers:,} more changed by triggers"] if after.by_triggers else []),
                    *([f"altered{_columns(after.columns)}"] if self.after.altered else []),
                    *([self.alone] if self.alone else []),
                ]
            ),
        }


def _columns(columns: Mapping[str, int]) -> str:
    named = ", ".join(f"{name} in {number:,}" for name, number in sorted(columns.items()))
    return f": {named}" if named else ""


@dataclass(frozen=True)
class Account:
    """All tables. `unrepaired` is damage that is no table's rows and stays: it needs a decision, or has no name at all. `objects` is how
    many keys, views, grants … the damage took, made again or not."""

    tables: tuple[TableAccount, ...] = ()
    unrepaired: tuple[str, ...] = ()
    objects: int = 0

    def problems(self) -> list[str]:
        """What is unnamed, unexplained, or does not add up: never a PASS."""
        found = [said for table in self.tables for said in table.problems()]
        if not self.tables and not self.unrepaired and not self.objects:
            found.append("nothing that the damage took was found")
        return [*found, *(said for said in self.unrepaired if NAMELESS in said)]

    def decisions(self) -> list[str]:
        """What is named and not back as it was."""
        named = [said for said in self.unrepaired if NAMELESS not in said]
        return [*(said for table in self.tables for said in table.decisions()), *named]

    def rows(self) -> list[dict[str, Any]]:
        """One dict a table, those first that do not add up, then those that need a decision."""
        in_order = sorted(
            self.tables, key=lambda table: (not table.problems(), not table.decisions(), table.after.table)
        )
        return [table.row() for table in in_order]

    def facts(self) -> dict[str, Any]:
        """For the record, the first screen and the post-mortem."""
        return {"rows": self.rows(), "problems": self.problems(), "needs a decision": self.decisions()}


def build_account(before: Sequence[Counted] | None, after: Sequence[Counted], result: CopyBackPlan) -> Account:
    """Return the account of a copy-back.

    Args:
        before, after: counts around it; None: those before are not known.
        result: what was done, with reasons for what was not.
    """
    earlier = {(one.database, one.table): one for one in before or ()}
    found = []
    for counted in after:
        key = counted.database, counted.table
        reports = [
            one for one in result.tables if (one.database, one.loss.title) == key or (one.database, one.table) == key
        ]
        reasons: dict[str, int] = {}
        for report in reports:
            for reason, number in report.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + number
        alone = "; ".join(dict.fromkeys(one.problem for one in reports if one.problem)) or None
        was = earlier.get(key)
        found.append(TableAccount(was or counted, counted, reasons, alone, is_known_before=was is not None))
    unrepaired = (*result.left, *result.objects_left, *result.objects_unknown)
    return Account(tuple(found), unrepaired, len(result.objects))


def load_counts(kept: Iterable[Mapping[str, Any]]) -> list[Counted]:
    """Return counts as `dump_counts` has kept them."""
    return [Counted(**one) for one in kept]


def dump_counts(counted: Iterable[Counted]) -> list[dict[str, Any]]:
    """Return the counts as JSON."""
    return [asdict(one) for one in counted]


def listed(said: Sequence[str], most: int = 10) -> str:
    """Return the first of them in one text, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a; b; and 1 more'
    """
    more = [f"and {len(said) - most:,} more"] if len(said) > most else []
    return "; ".join([*said[:most], *more])


def needs_answer(facts: Mapping[str, Any] | None) -> list[str]:
    """Return what is not back as it was, and why: problems first, then what a person decides on."""
    return [] if facts is None else [*facts["problems"], *facts["needs a decision"]]


def judge_account(facts: Mapping[str, Any], answer: str) -> Check:
    """The check of a run: every row that the damage took is back, or is left by a decision.

    Args:
        facts: as `Account.facts` has them.
        answer: what was decided on the rows that are not back: LEAVE or REFUSE.
    """
    problems, open_ = facts["problems"], facts["needs a decision"]
    reason, next_ = None, None
    if problems:
        reason, next_ = f"{problems[0]}.", _FILE_NEXT
    elif open_ and answer != LEAVE:
        reason = f"It was decided that this must not stay so: {listed(open_)}."
        next_ = "Copy back by hand what copy-back-conflicts.csv lists; the restored copy is kept."
    elif open_:
        reason = f"Left as it is by decision of the operator: {listed(open_)}."
    whole = sum(row["taken (WAL)"] for row in facts["rows"])
    back = sum(row["back as before"] for row in facts["rows"])
    return Check(
        id="recovery-account",
        title="Every row that the damage took is accounted for",
        status=Status.FAIL if reason and next_ else Status.PASS,
        expected="WAL and the comparison agree, each row is back as it was or left for a reason that somebody accepts",
        observed=f"{whole:,} taken, {back:,} back as they were, {len(open_)} to decide on, {len(problems)} that do not add up",
        severity=Severity.CRITICAL,
        reason=reason,
        next=next_,
        source="WAL; the restored copy compared with production",
    )
