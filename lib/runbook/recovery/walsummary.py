"""What many transactions come to: totals by relation, activity over time, and the few that stand out.

Memory does not grow with the WAL: times are merged into wider spans, and of each relation only the largest transactions are kept.
Totals stay exact.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import insort
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runbook.postgres.wal import Commit, parse_lsn
from runbook.recovery.transactions import FIRST_NORMAL, USER_DATA, RelFile, Rows, Transaction, parse_relfile
from runbook.recovery.waltally import Ended, RawCommit, Shape

#: Seconds that a span may last; each divides the next, so spans merge.
WIDTHS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)
MOST_SPANS = 1440
MOST_RELATIONS_A_SPAN = 64
MOST_RELATIONS = 20_000
LARGEST_KEPT = 5
#: Inserts tell whether rows were put back; a table may have had larger ones before.
INSERTS_KEPT = 20
MOST_FILE_CHANGES = 500
MOST_DELETERS = 500_000
_SECONDS_KEPT = 2000
#: Where relations beyond the caps are counted together.
OTHERS = RelFile(0, 0, 0)


@dataclass
class Usual:
    """How many rows transactions change at once: a count for each number up to 32, then for each power of two."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, rows: int, times: int) -> None:
        """That many transactions changed that many rows."""
        step = rows if rows <= 32 else 1 << rows.bit_length()
        self.counts[step] = self.counts.get(step, 0) + times

    def high(self, without: int = 0) -> int:
        """What 95 of 100 transactions stay within, one of `without` rows left out; 0 when there is no other.

        >>> usual = Usual(); usual.add(1, 99); usual.add(8312, 1); usual.high(), usual.high(8312)
        (1, 1)
        """
        counts = dict(self.counts)
        step = without if without <= 32 else 1 << without.bit_length()
        if without and counts.get(step):
            counts[step] -= 1
        total, seen = sum(counts.values()), 0
        for number in sorted(counts):
            seen += counts[number]
            if counts[number] and seen * 100 >= total * 95:
                return number
        return 0


@dataclass
class RelationTotals:
    """One relation over the whole search: rows, transactions that changed it, how many rows at once."""

    rows: Rows = field(default_factory=Rows)
    transactions: int = 0
    deleting: int = 0
    updating: int = 0
    usual_deleted: Usual = field(default_factory=Usual)
    usual_updated: Usual = field(default_factory=Usual)


@dataclass
class Activity:
    """One relation in one span. `first` and `last` are deleting commits (with the commit before the first), see `commit_of`;
    `deleters` their xids, as far as they are kept."""

    rows: Rows = field(default_factory=Rows)
    deleting: int = 0
    first: RawCommit | None = None
    before_first: RawCommit | None = None
    last: RawCommit | None = None
    deleters: array[int] = field(default_factory=lambda: array("I"))

    def add(self, later: Activity) -> None:
        """What came later in the same span."""
        self.rows.add(later.rows)
        self.deleting += later.deleting
        if self.first is None:
            self.first, self.before_first = later.first, later.before_first
        self.last = later.last or self.last
        self.deleters.extend(later.deleters)


@dataclass
class Span:
    """A stretch of time: commits, and what they did to each relation."""

    commits: int = 0
    relations: dict[RelFile, Activity] = field(default_factory=dict)


def commit_of(raw: RawCommit) -> Commit:
    """A commit in the house's types."""
    xid, lsn, at = raw
    return Commit(xid, parse_lsn(lsn.decode()), datetime.fromisoformat(at.decode()).replace(tzinfo=UTC))


def place_of(raw: RawCommit) -> tuple[int, bytes]:
    """For comparing positions as text: the lower half always has eight digits."""
    return len(raw[1]), raw[1]


def rows_of(shape: Shape) -> dict[RelFile, Rows]:
    """A shape as rows by relation."""
    found: dict[RelFile, Rows] = {}
    for (kind, relation), number in shape:
        rows = found.setdefault(parse_relfile(relation), Rows())
        if kind == b"I":
            rows.inserted += number
        elif kind == b"U":
            rows.updated += number
        elif kind == b"D":
            rows.deleted += number
        elif kind == b"M":
            rows.moved += number
        else:
            rows.inserted -= number
    return found


class Summary:
    """Takes what a Tally hands on.

    Args:
        apart: xids whose transactions are kept whole and counted apart (the damage itself).
        keeps_xids: every other xid is kept, 4 bytes each, subtransactions too.
    """

    def __init__(self, apart: frozenset[int] = frozenset(), *, keeps_xids: bool = False) -> None:
        self.commits = 0
        self.first: RawCommit | None = None
        self.last: RawCommit | None = None
        self.relations: dict[RelFile, RelationTotals] = {}
        self.spans: dict[int, Span] = {}
        self.width = WIDTHS[0]
        self.apart: dict[int, Transaction] = {}
        self.apart_xids: set[int] = set()
        self.xids: array[int] | None = array("I") if keeps_xids else None
        self.file_changes: list[Transaction] = []
        self.file_changes_seen = 0
        self._apart = apart
        self._largest: dict[tuple[RelFile, str], list[tuple[int, int, Transaction]]] = {}
        self._seconds: dict[bytes, int] = {}
        self._decoded: dict[Shape, dict[RelFile, Rows]] = {}
        self._number = 0
        self._deleters = 0
        self._span_at: tuple[bytes, int] = (b"", 0)

    def take(self, groups: dict[tuple[bytes, Shape], list[Ended]], seconds: Counter[bytes]) -> None:
        """One block's transactions are counted."""
        for second, count in seconds.items():
            self._seconds[second] = self._seconds.get(second, 0) + count
        for (second, shape), ended in groups.items():
            self._take_group(second, shape, ended)
        if len(self._seconds) > _SECONDS_KEPT * 2:
            self._forget_seconds()

    def _take_group(self, second: bytes, shape: Shape, ended: list[Ended]) -> None:
        if self._apart:
            ended = [one for one in ended if not self._set_apart(one, shape)]
            if not ended:
                return
        self._note_ends(ended)
        self.commits += len(ended)
        if self.xids is not None:
            for one in ended:
                self.xids.append(one.commit[0])
                self.xids.extend(one.subtransactions)
        self._span(second).commits += len(ended)
        for one in ended:
            if one.files is not None:
                self._keep_file_change(self._transaction(one, shape))
        if not shape:
            return
        rows = self._decoded.get(shape)
        if rows is None:
            if len(self._decoded) > 5000:
                self._decoded.clear()
            rows = self._decoded[shape] = rows_of(shape)
        for file, changed in rows.items():
            self._count(second, file, changed, ended, shape)

    def _note_ends(self, ended: list[Ended]) -> None:
        """The first and the last commit counted; groups come in no order within a block."""
        first, last = ended[0].commit, ended[-1].commit
        if self.first is None or place_of(first) < place_of(self.first):
            self.first = first
        if self.last is None or place_of(last) > place_of(self.last):
            self.last = last

    def _set_apart(self, one: Ended, shape: Shape) -> bool:
        xid = one.commit[0]
        if xid not in self._apart:
            return False
        self.apart[xid] = self._transaction(one, shape)
        self.apart_xids.update([xid, *one.subtransactions])
        return True

    def _count(self, second: bytes, file: RelFile, changed: Rows, ended: list[Ended], shape: Shape) -> None:
        times = len(ended)
        totals = self.relations.get(file)
        if totals is None:
            if len(self.relations) >= MOST_RELATIONS:
                file = OTHERS
            totals = self.relations.setdefault(file, RelationTotals())
        totals.rows.add(changed, times)
        totals.transactions += times
        if (
            file.number < FIRST_NORMAL and file.number not in USER_DATA
        ):  # catalogs, and what is beyond the cap: totals only
            return
        activity = self._activity(second, file)
        activity.rows.add(changed, times)
        if changed.inserted > 0:
            self._keep_largest(file, "inserted", changed.inserted, ended, shape, INSERTS_KEPT)
        if changed.updated:
            totals.updating += times
            totals.usual_updated.add(changed.updated, times)
            self._keep_largest(file, "updated", changed.updated, ended, shape)
        if changed.deleted:
            totals.deleting += times
            totals.usual_deleted.add(changed.deleted, times)
            self._keep_largest(file, "deleted", changed.deleted, ended, shape)
            self._note_deleters(activity, ended)

    def _note_deleters(self, activity: Activity, ended: list[Ended]) -> None:
        activity.deleting += len(ended)
        if activity.first is None:
            activity.first, activity.before_first = ended[0].commit, ended[0].before
        activity.last = ended[-1].commit
        if self._deleters < MOST_DELETERS:
            self._deleters += len(ended)
            activity.deleters.extend(one.commit[0] for one in ended)

    def _keep_largest(
        self, file: RelFile, kind: str, number: int, ended: list[Ended], shape: Shape, most: int = LARGEST_KEPT
    ) -> None:
        largest = self._largest.setdefault((file, kind), [])
        for one in ended:
            if len(largest) >= most and number <= largest[0][0]:
                return
            self._number += 1
            entry = (number, -self._number, self._transaction(one, shape))
            (heapq.heappush if len(largest) < most else heapq.heapreplace)(largest, entry)

    def _keep_file_change(self, transaction: Transaction) -> None:
        assert transaction.files is not None
        self.file_changes_seen += 1
        insort(self.file_changes, transaction, key=_weight)
        if len(self.file_changes) > MOST_FILE_CHANGES:
            del self.file_changes[0]

    def _transaction(self, one: Ended, shape: Shape) -> Transaction:
        before = commit_of(one.before) if one.before else None
        return Transaction(
            commit_of(one.commit),
            before,
            rows_of(shape),
            one.files,
            len(one.subtransactions),
            one.is_prepared,
            prepared_at=parse_lsn(one.prepared_at.decode()) if one.prepared_at is not None else None,
        )

    def _span(self, second: bytes) -> Span:
        if self._span_at[0] != second:
            at = datetime.fromisoformat(second.decode()).replace(tzinfo=UTC)
            self._span_at = (second, int(at.timestamp()))
        start = self._span_at[1] // self.width * self.width
        span = self.spans.get(start)
        if span is None:
            span = self.spans[start] = Span()
            if len(self.spans) > MOST_SPANS and self.width < WIDTHS[-1]:
                self._widen()
                return self._span(second)
        return span

    def _widen(self) -> None:
        self.width = WIDTHS[WIDTHS.index(self.width) + 1]
        wider: dict[int, Span] = {}
        for start in sorted(self.spans):
            span, into = self.spans[start], wider.setdefault(start // self.width * self.width, Span())
            into.commits += span.commits
            for file, activity in span.relations.items():
                place = file if file in into.relations or len(into.relations) < MOST_RELATIONS_A_SPAN else OTHERS
                into.relations.setdefault(place, Activity()).add(activity)
        self.spans = wider

    def _activity(self, second: bytes, file: RelFile) -> Activity:
        relations = self._span(second).relations
        found = relations.get(file)
        if found is None:
            place = file if len(relations) < MOST_RELATIONS_A_SPAN else OTHERS
            found = relations.setdefault(place, Activity())
        return found

    def _forget_seconds(self) -> None:
        kept = {_second_of(one) for one in self.largest()} | {_second_of(one) for one in self.file_changes}
        recent = set(list(self._seconds)[-_SECONDS_KEPT:])
        self._seconds = {second: count for second, count in self._seconds.items() if second in kept or second in recent}

    def same_second(self, commit: Commit) -> int | None:
        """How many other commits share the commit's second; None when that was not kept."""
        count = self._seconds.get(commit.at.strftime("%Y-%m-%d %H:%M:%S").encode())
        return None if count is None else count - 1

    def largest(self) -> list[Transaction]:
        """The transactions that stand out by rows deleted or updated, each once."""
        return self._kept(("updated", "deleted"))

    def inserts(self) -> list[Transaction]:
        """The transactions that inserted most into a table, each once."""
        return self._kept(("inserted",))

    def _kept(self, kinds: tuple[str, ...]) -> list[Transaction]:
        found = {one.xid: one for (_, kind), kept in self._largest.items() if kind in kinds for _, _, one in kept}
        return list(found.values())


def _second_of(transaction: Transaction) -> bytes:
    return transaction.commit.at.strftime("%Y-%m-%d %H:%M:%S").encode()


def _weight(transaction: Transaction) -> int:
    """Files that went without page images in their successors: drops and truncations before rebuilt indexes."""
    files = transaction.files
    assert files is not None
    return 1000 * len(files.databases) + len(files.truncated_oids) + len(files.removed) - len(files.filled)
