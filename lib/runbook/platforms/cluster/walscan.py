"""What archived WAL says: commits, settings raised, tablespaces made, and where it ends or is damaged.

pg_waldump reads every record on the way and verifies its checksum, so a scan is also a proof that the WAL from
the backup to the point is whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from runbook.errors import WalDamaged
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import (
    Commit,
    WalRecord,
    end_of_record,
    format_lsn,
    parse_commit,
    parse_lsn,
    segment_name,
    segment_start,
)
from runbook.postgres.waldump import read_records

_RMGRS = ("Transaction", "XLOG", "Tablespace")
_BATCH_LINKED = 512
_BATCH_FETCHED = 16

#: PARAMETER_CHANGE's words and the settings they are.
_RAISED = {
    "max_connections": "max_connections",
    "max_worker_processes": "max_worker_processes",
    "max_wal_senders": "max_wal_senders",
    "max_prepared_xacts": "max_prepared_transactions",
    "max_locks_per_xact": "max_locks_per_transaction",
}


@dataclass
class Scan:
    """What was read between `start` and the point or the archive's end.

    `gate` is the first record that is not to be replayed (None: the archive's end), `reached` the end of the
    last one that is. `before` and `after` are the commits on either side.
    """

    start: int
    gate: int | None = None
    reached: int = 0
    before: Commit | None = None
    after: Commit | None = None
    first: Commit | None = None
    commits: int = 0
    raised: dict[str, int] = field(default_factory=dict)
    tablespaces: list[tuple[int, str]] = field(default_factory=list)
    backup_end: int | None = None
    segments: int = 0
    seconds: float = 0.0


def scan_to(
    stage: Stage,
    tools: Tools,
    *,
    until: datetime | int | None,
    timeout: float,
    progress: Callable[[int], None] = lambda position: None,
) -> Scan:
    """WAL read from the stage's start to a time, a position, or the archive's end.

    Args:
        until: a time (the gate is the first commit after it), a position (the gate is the first record at or
            after it), or None (no gate).
        timeout: seconds for each pass of pg_waldump.
        progress: called with the position read.

    Raises:
        WalDamaged: a segment is missing, truncated or corrupt before that; with segment and position.
        StillArriving: a segment before that is not whole, and nothing proves that it will not be.
        TargetOutsideWindow: the archive ends before the position.
    """
    began = time.monotonic()
    scan = Scan(start=stage.start)
    batch = _BATCH_LINKED if stage.archive.directory is not None else _BATCH_FETCHED
    seen = stage.start - 1
    if isinstance(until, int):
        stage.require_reach(until)
    while True:
        done_before = len(stage.laid)
        laid = stage.extend(batch)
        if laid:
            lay_aliases(stage)
            seen = _read_batch(scan, stage, tools, seen, done_before, until, timeout, progress)
            if scan.gate is not None:
                break
            if isinstance(until, int) and end_of(stage) > until:
                break
        if stage.problem is not None:
            stage.settle()
        elif laid < batch:
            break
    _find_ends(scan, stage, tools, until, timeout)
    scan.segments = len(stage.laid)
    scan.seconds = time.monotonic() - began
    return scan


def end_of(stage: Stage) -> int:
    """The first byte behind the WAL that is laid."""
    return stage.end()


def lay_aliases(stage: Stage) -> None:
    """Where a timeline ends inside a segment, the next timeline's file holds the same bytes: pg_waldump wants the old name."""
    for name in stage.laid:
        timeline, begin = segment_start(name, stage.segment_size)
        for older in stage.lineage:
            if older.number < timeline and older.end is not None and begin < older.end <= begin + stage.segment_size:
                alias = stage.folder / segment_name(older.number, begin, stage.segment_size)
                if not alias.exists():
                    alias.symlink_to(stage.folder / name)


def _read_batch(
    scan: Scan,
    stage: Stage,
    tools: Tools,
    seen: int,
    first: int,
    until: datetime | int | None,
    timeout: float,
    progress: Callable[[int], None],
) -> int:
    """Read the laid segments from the one before `first` on; the last position taken in."""
    size = stage.segment_size
    start = scan.start if first == 0 else segment_start(stage.laid[first - 1], size)[1]
    start = max(start, scan.start)
    stop = end_of(stage)
    for timeline in stage.lineage:
        begin, end = max(start, timeline.begin), stop if timeline.end is None else min(stop, timeline.end)
        if begin >= end:
            continue
        for item in read_records(tools, stage.folder, timeline.number, begin, end, rmgrs=_RMGRS, timeout=timeout):
            if isinstance(item, str):
                refuse_damage(item, stage)
                continue
            if item.lsn <= seen:
                continue
            seen = item.lsn
            if _take(scan, item, until):
                return seen
            progress(item.lsn)
    return seen


def _take(scan: Scan, record: WalRecord, until: datetime | int | None) -> bool:
    """Take one record in; True when it is the gate."""
    if isinstance(until, int) and record.lsn >= until:
        return True
    commit = parse_commit(record)
    if commit is not None:
        if isinstance(until, datetime) and commit.at > until:
            scan.after = commit
            scan.gate = commit.lsn
            return True
        scan.first = scan.first or commit
        scan.before = commit
        scan.commits += 1
    elif record.rmgr == "XLOG" and record.desc.startswith("PARAMETER_CHANGE"):
        for word, value in re.findall(r"(\w+)=(\d+)", record.desc):
            if word in _RAISED:
                setting = _RAISED[word]
                scan.raised[setting] = max(scan.raised.get(setting, 0), int(value))
    elif record.rmgr == "XLOG" and record.desc.startswith("BACKUP_END"):
        if scan.backup_end is None and parse_lsn(record.desc.split()[1]) == scan.start:
            scan.backup_end = record.lsn
    elif record.rmgr == "Tablespace" and record.desc.startswith("CREATE"):
        path = record.desc.partition('"')[2].rpartition('"')[0]
        if path:  # an empty one is "in place", inside the data directory
            scan.tablespaces.append((record.lsn, path))
    return False


def damaged_at(said: str) -> str | None:
    """The position of the damage in pg_waldump's words; the one that it names first is where it last read well.

    >>> damaged_at("error in WAL record at 0/8052718: incorrect resource manager data checksum in record at 0/9000028")
    '0/9000028'
    >>> damaged_at("error in WAL record at 0/8052718: invalid record length at 0/9000060: expected at least 24, got 0")
    '0/9000060'
    """
    places = re.findall(r"(?: at|LSN) ([0-9A-F]+/[0-9A-F]+)(?=[:,]|$)", said)
    return places[-1] if places else None


def refuse_damage(said: str, stage: Stage) -> None:
    """pg_waldump's last word on a range whose end was given: anything said is damage.

    Raises:
        WalDamaged.
    """
    if not said:
        return
    place = damaged_at(said)
    segment = re.search(r"\b([0-9A-F]{24})\b", said)
    name = segment[1] if segment else None
    if name is None and place:
        at = parse_lsn(place)
        name = next(
            (
                laid
                for laid in stage.laid
                if segment_start(laid, stage.segment_size)[1] // stage.segment_size == at // stage.segment_size
            ),
            None,
        )
    raise WalDamaged(
        f"WAL in {stage.archive.where()} is damaged{f' in segment {name}' if name else ''}: {said.removeprefix('pg_waldump: error: ')}.",
        next="Nothing behind this position can be recovered from this archive: look for a copy of the segment, and take a new base backup now.",
        segment=name,
    )


def _find_ends(scan: Scan, stage: Stage, tools: Tools, until: datetime | int | None, timeout: float) -> None:
    """The exact gate and the end of the last record before it: read without a filter from the last segment's start."""
    size = stage.segment_size
    stop = scan.gate if scan.gate is not None else until if isinstance(until, int) else None
    at = min(stop if stop is not None else end_of(stage), end_of(stage) - 1)
    begin = max(scan.start, at // size * size)
    last, gate = _last_before(stage, tools, begin, stop, timeout)
    while last is None and begin > scan.start:  # the gate is its segment's first record
        begin = max(scan.start, begin - size)
        last, gate = _last_before(stage, tools, begin, stop, timeout)
    if last is None:
        raise WalDamaged(f"No WAL record was found from {format_lsn(scan.start)} on.", next="Take a new base backup.")
    if isinstance(until, int):
        scan.gate = gate.lsn if gate is not None else None
    switched = last.rmgr == "XLOG" and last.desc.startswith("SWITCH")
    scan.reached = (last.lsn // size + 1) * size if switched else end_of_record(last.lsn, last.length, size)


def _last_before(
    stage: Stage, tools: Tools, begin: int, stop: int | None, timeout: float
) -> tuple[WalRecord | None, WalRecord | None]:
    last: WalRecord | None = None
    for timeline in stage.lineage:
        start = max(begin, timeline.begin)
        if timeline.end is not None and start >= timeline.end:
            continue
        end = end_of(stage) if timeline.end is None else min(timeline.end, end_of(stage))
        if start >= end:
            continue
        for item in read_records(tools, stage.folder, timeline.number, start, end, rmgrs=(), timeout=timeout):
            if isinstance(item, str):
                if stop is None:
                    refuse_damage(item, stage)
                continue
            if stop is not None and item.lsn >= stop:
                return last, item
            if timeline.end is None or item.lsn < timeline.end:
                last = item
    return last, None
