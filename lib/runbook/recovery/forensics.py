"""WAL searched for what each transaction did: which deleted, updated, truncated, dropped how much of what, and when it committed.

pg_waldump reads and checks every record; its lines are counted as they come. Memory stays flat as the WAL grows, whatever the
archive's size: see walsummary.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook.errors import WalDamaged
from runbook.outside import commands
from runbook.platforms.cluster.walscan import end_of, lay_aliases, refuse_damage
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import SEGMENT_NAME, Commit, Timeline, segment_start
from runbook.postgres.waldump import waldump_argv, waldump_complaint
from runbook.postgres.waltexts import FalseLines
from runbook.recovery.transactions import PG_ATTRIBUTE, RelFile, Transaction
from runbook.recovery.walcatalog import Seed, WalCatalog
from runbook.recovery.walnames import MOST, WalNames
from runbook.recovery.walsummary import Activity, RelationTotals, Summary, commit_of
from runbook.recovery.waltally import RMGRS, Tally

_BATCH_LINKED = 512
_BATCH_FETCHED = 16
#: pg_waldump's last words where WAL simply ends: a segment still being written, or none behind the last.
_ENDS = ("invalid record length", "could not find file", "invalid magic number 0000", "unexpected pageaddr")


@dataclass(frozen=True)
class Span:
    """What was committed from `start` for `seconds` seconds."""

    start: datetime
    seconds: int
    commits: int
    relations: dict[RelFile, Activity]


@dataclass(frozen=True)
class WalSearch:
    """What was found between `start` and `reached` (bytes).

    `commits` are those counted (`first` to `last_counted`; `last` is the last one read), `apart` the named transactions, which are not among them. `transactions` are the ones that stand
    out, `inserts` those that inserted most, `file_changes` those that removed files (`file_changes_seen` says how many there were). `xids` holds every discarded
    xid when asked for, `apart_xids` those of the named transactions, subtransactions too. `names` are those that catalogs in WAL tell.
    """

    start: int
    reached: int
    seconds: float
    commits: int
    aborted: int
    first: Commit | None
    last: Commit | None
    last_counted: Commit | None
    relations: dict[RelFile, RelationTotals]
    spans: tuple[Span, ...]
    transactions: tuple[Transaction, ...]
    file_changes: tuple[Transaction, ...]
    file_changes_seen: int
    apart: dict[int, Transaction]
    apart_xids: frozenset[int]
    xids: array[int] | None
    still_running: int
    names: WalNames = field(default_factory=WalNames)
    inserts: tuple[Transaction, ...] = ()

    @property
    def span_seconds(self) -> int:
        """How long a span is."""
        return self.spans[0].seconds if self.spans else 1


def search_wal(
    source: Stage | Path,
    lineage: tuple[Timeline, ...],
    tools: Tools,
    start: int,
    end: int | None,
    progress: Callable[[int], None] = lambda position: None,
    *,
    count_from: int = 0,
    apart: frozenset[int] = frozenset(),
    keeps_xids: bool = False,
    columns: frozenset[int] = frozenset({PG_ATTRIBUTE}),
    catalogs: Mapping[RelFile, int] | None = None,
    seed: Seed | None = None,
    timeout: float = 6 * 3600,
) -> WalSearch:
    """What the transactions did that committed between two positions.

    Args:
        source: a stage, which lays segments as they are needed, or a folder that holds them (the pg_wal of a damaged cluster:
            its last segment may be unfinished).
        start: from the first record at or after it. Transactions that run there already are counted from there only
            (`is_whole`): start early, at the base backup's start.
        end: to before this position; None: all there is.
        count_from: transactions that committed before it are left out; those that run at it are counted whole.
        apart: xids whose transactions are kept apart from the others.
        keeps_xids: keep every xid: 4 bytes each, the one part that grows with the WAL.
        columns: numbers of the files that hold pg_attribute (`NameBook.files_of`).
        catalogs: files of the catalogs that name relations, where they are others than those they are born with (`NameBook.catalogs`).
        seed: gives a page of a catalog as the base backup has it.
        progress: called with the position read, about once in a megabyte of text.
        timeout: seconds for each pass of pg_waldump.

    Raises:
        WalDamaged: a segment is missing or corrupt.
        CommandTimedOut: pg_waldump took too long.
    """
    began = time.monotonic()
    known = dict(catalogs or {})
    while True:
        summary = Summary(apart, keeps_xids=keeps_xids)
        catalog = WalCatalog(tools, known, seed)
        tally = Tally(summary.take, count_from, columns, catalog)
        _pass(tally, source, lineage, tools, start, end, progress, timeout)
        if not catalog.late:
            return _finished(summary, tally, catalog.names, start, time.monotonic() - began)
        # A catalog was rewritten on the way (VACUUM FULL): its new file is known only after the records that filled it.
        known |= catalog.late


def _pass(
    tally: Tally,
    source: Stage | Path,
    lineage: tuple[Timeline, ...],
    tools: Tools,
    start: int,
    end: int | None,
    progress: Callable[[int], None],
    timeout: float,
) -> None:
    position = start
    for folder, stop in _batches(source, lineage, end):
        for timeline in lineage:
            # A batch starts at the last line of the one before, which is known already.
            begin = max(position, timeline.begin, tally.position)
            until = _earlier(stop, timeline.end)
            if until is not None and begin >= until:
                continue
            if tally.position < timeline.begin <= begin:
                tally.position = 0 if timeline.begin > position else tally.position
            _read(tally, tools, folder, timeline.number, begin, until, source, progress, timeout)


def _earlier(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


def _batches(source: Stage | Path, lineage: tuple[Timeline, ...], end: int | None) -> Iterator[tuple[Path, int | None]]:
    """Folders to read from and the position up to which segments are there."""
    if isinstance(source, Path):
        yield source, _earlier(end, _written_to(source, lineage))
        return
    batch = _BATCH_LINKED if source.archive.directory is not None else _BATCH_FETCHED
    if source.laid:
        lay_aliases(source)
        yield source.folder, _earlier(end, end_of(source))
    while not source.laid or end is None or end_of(source) < end:
        laid = source.extend(batch)
        if laid:
            lay_aliases(source)
            yield source.folder, _earlier(end, end_of(source))
        if source.problem is not None:
            source.settle()
        elif laid < batch:
            return


def _written_to(folder: Path, lineage: tuple[Timeline, ...]) -> int | None:
    """The end of the folder's last segment of this lineage: behind it pg_waldump would wait five seconds for more."""
    numbers = {timeline.number for timeline in lineage}
    found = [path for path in folder.iterdir() if SEGMENT_NAME.match(path.name) and int(path.name[:8], 16) in numbers]
    if not found:
        return None
    size = found[0].stat().st_size
    return max(segment_start(path.name, size)[1] for path in found) + size


def _read(
    tally: Tally,
    tools: Tools,
    folder: Path,
    timeline: int,
    begin: int,
    end: int | None,
    source: Stage | Path,
    progress: Callable[[int], None],
    timeout: float,
) -> None:
    known = f"lsn: {begin >> 32:X}/{begin & 0xFFFFFFFF:08X}, ".encode() if begin == tally.position else None
    genuine = FalseLines(folder, timeline)
    argv = waldump_argv(tools, folder, timeline, begin, end, RMGRS)
    with commands.lines(argv, timeout=timeout) as output, tally.reading(folder, timeline):
        for block in map(genuine.cleaned, output.blocks()):
            if known is not None and known in block[: block.find(b"\n")]:
                block = block[block.find(b"\n") + 1 :]
            known = None
            if block:
                tally.feed(block)
            progress(tally.position)
    said = waldump_complaint(output.code, output.stderr)
    if not said:
        return
    if isinstance(source, Stage):
        refuse_damage(said, source)
    elif not any(words in said for words in _ENDS):
        raise WalDamaged(
            f"WAL in {folder} is damaged: {said.removeprefix('pg_waldump: error: ')}.",
            next="Search the archived WAL up to there.",
        )


def _finished(summary: Summary, tally: Tally, names: WalNames, start: int, seconds: float) -> WalSearch:
    begun_before = tally.begun_before or frozenset()

    def known(one: Transaction) -> Transaction:
        return replace(one, same_second=summary.same_second(one.commit), is_whole=one.xid not in begun_before)

    spans = tuple(
        Span(datetime.fromtimestamp(at, UTC), summary.width, span.commits, span.relations)
        for at, span in sorted(summary.spans.items())
    )
    return WalSearch(
        start=start,
        reached=tally.position or start,
        seconds=seconds,
        commits=summary.commits,
        aborted=tally.aborted,
        first=commit_of(summary.first) if summary.first else None,
        last=commit_of(tally.last) if tally.last else None,
        last_counted=commit_of(summary.last) if summary.last else None,
        relations=summary.relations,
        spans=spans,
        transactions=tuple(map(known, summary.largest())),
        file_changes=tuple(map(known, summary.file_changes)),
        file_changes_seen=summary.file_changes_seen,
        apart={xid: known(one) for xid, one in summary.apart.items()},
        apart_xids=frozenset(summary.apart_xids),
        xids=summary.xids,
        still_running=tally.running,
        names=names,
        inserts=tuple(summary.inserts()),
    )


def span_end(span: Span) -> datetime:
    """The first moment behind the span."""
    return span.start + timedelta(seconds=span.seconds)


def unread_words(found: WalSearch) -> list[str]:
    """What of the catalogs' changes in WAL could not be read; in words."""
    said = []
    if found.names.unread:
        said.append(
            f"{found.names.unread:,} rows of catalogs in WAL could not be read: which file belongs to which table may not be known there."
        )
    if found.names.is_full:
        said.append(
            f"WAL names more than {MOST:,} files: what came after them is known by the backups and the server alone."
        )
    return said
