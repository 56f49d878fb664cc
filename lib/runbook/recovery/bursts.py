"""Deletion in many small transactions: no single one stands out, their number in a short time does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median

from runbook.postgres.wal import Commit
from runbook.recovery.forensics import Span, WalSearch
from runbook.recovery.relnames import NameBook
from runbook.recovery.transactions import RelFile, Transaction
from runbook.recovery.walsummary import OTHERS, Activity, commit_of, place_of

#: Fewer rows or transactions are no burst.
LEAST_ROWS, LEAST_TRANSACTIONS = 100, 10
#: So many times the usual rate is one.
_TIMES_USUAL = 20.0
_LEAST_SPANS = 12
#: Quiet spans that a burst may hold.
_GAP_SPANS = 5


@dataclass
class Burst:
    """Many transactions that deleted from one table within a short time. Times are those of its first and last commit.

    `table` is the table's name at the top, `title` that of its partition where only one lost rows.
    """

    table: str
    title: str
    first: Commit
    before_first: Commit | None
    last: Commit
    usual_a_minute: float
    rows: int = 0
    seconds: float = 0.0
    xids: set[int] = field(default_factory=set)
    counted: int = 0
    has_all_xids: bool = True
    end: int = 0

    @property
    def transactions(self) -> int:
        """How many; where not all xids were kept, one that deleted from several partitions counts more than once."""
        return len(self.xids) if self.has_all_xids else self.counted

    @property
    def rows_a_minute(self) -> float:
        return self.rows * 60 / max(60.0, self.seconds)


def find_bursts(search: WalSearch, names: NameBook, single: Mapping[int, Transaction]) -> list[Burst]:
    """The bursts of each table.

    Args:
        single: transactions that are judged by themselves: those that deleted much at once are not counted again.
    """
    if not search.spans:
        return []
    tables: dict[str, dict[int, list[Activity]]] = {}
    files: dict[str, dict[RelFile, None]] = {}
    for number, span in enumerate(search.spans):
        for file, activity in span.relations.items():
            if activity.deleting and file != OTHERS and names.holds_user_rows(file):
                table = names.table_title(file)
                tables.setdefault(table, {}).setdefault(number, []).append(activity)
                files.setdefault(table, {})[file] = None
    large = _large_deletes(search, names, single)
    found: list[Burst] = []
    for table, by_span in tables.items():
        found += _of_table(table, names.joint_title(list(files[table])), by_span, search, large.get(table, {}))
    return found


Large = dict[int, tuple[int, set[int]]]


def _large_deletes(search: WalSearch, names: NameBook, single: Mapping[int, Transaction]) -> dict[str, Large]:
    """Rows and xids, by table and span, of transactions that deleted far more at once than is usual there."""
    starts = {int(span.start.timestamp()): number for number, span in enumerate(search.spans)}
    width = search.span_seconds
    found: dict[str, Large] = {}
    for one in single.values():
        number = starts.get(int(one.commit.at.timestamp()) // width * width)
        if number is None:
            continue
        for file, rows in one.rows.items():
            usual = search.relations[file].usual_deleted.high(rows.deleted) if file in search.relations else 0
            if rows.deleted >= max(LEAST_ROWS, 10 * usual):
                table = names.table_title(file)
                known = found.setdefault(table, {}).setdefault(number, (0, set()))
                found[table][number] = known[0] + rows.deleted, known[1] | {one.xid}
    return found


def _of_table(
    table: str, title: str, by_span: dict[int, list[Activity]], search: WalSearch, large: Large
) -> list[Burst]:
    nothing: tuple[int, set[int]] = (0, set())

    def small(number: int) -> int:
        return sum(one.rows.deleted for one in by_span.get(number, ())) - large.get(number, nothing)[0]

    last = int(search.spans[-1].start.timestamp())
    width = search.span_seconds
    all_spans = (last - int(search.spans[0].start.timestamp())) // width + 1
    rates = [small(number) for number in by_span]
    # A search of a few spans shows no usual rate: all of it may be the burst.
    usual = median([*rates, *[0] * (all_spans - len(rates))]) if all_spans >= _LEAST_SPANS else 0
    # A twentieth of the peak keeps a lone delete shortly before from being taken for the beginning.
    limit = max(1.0, _TIMES_USUAL * usual, max(rates) / 20)
    found: list[Burst] = []
    for number in sorted(by_span):
        if small(number) < limit:
            continue
        here = _joined(by_span[number])
        if here.first is None or here.last is None:
            continue
        at = int(search.spans[number].start.timestamp()) // width
        if not found or at - found[-1].end > _GAP_SPANS:
            before = commit_of(here.before_first) if here.before_first else None
            found.append(Burst(table, title, commit_of(here.first), before, commit_of(here.last), usual * 60 / width))
        _extend(found[-1], here, small(number), large.get(number, nothing)[1], search.spans[number], at)
    return [one for one in found if one.rows >= LEAST_ROWS and one.transactions >= LEAST_TRANSACTIONS]


def _joined(parts: list[Activity]) -> Activity:
    """Partitions of one table in one span, as one: the earliest commit first."""
    joined = Activity()
    for part in sorted(parts, key=lambda part: place_of(part.first) if part.first else (0, b"")):
        joined.add(part)
    joined.last = max((part.last for part in parts if part.last), key=place_of, default=None)
    return joined


def _extend(burst: Burst, here: Activity, rows: int, large: set[int], span: Span, at: int) -> None:
    assert here.last is not None
    last = commit_of(here.last)
    if last.xid not in large:  # it only shares the burst's last second
        burst.last = last
    burst.rows += rows
    burst.counted += here.deleting - len(large)
    burst.xids |= set(here.deleters.tolist()) - large
    burst.has_all_xids = burst.has_all_xids and len(here.deleters) == here.deleting
    burst.end = at
    burst.seconds = (span.start + timedelta(seconds=span.seconds) - burst.first.at).total_seconds()
