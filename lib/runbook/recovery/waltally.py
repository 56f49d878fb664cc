"""pg_waldump's lines become transactions: counts by relation while one runs, folded and handed on when it commits.

Transactions of the same shape are handed on together, which makes many small ones cheap. Memory holds those that run at that
moment. Source: PostgreSQL 15 to 18, xactdesc.c, standbydesc.c, smgrdesc.c.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from runbook.postgres.wal import parse_lsn
from runbook.recovery.transactions import FIRST_NORMAL, PG_ATTRIBUTE, FileEvidence, parse_path, parse_relfile
from runbook.recovery.walcatalog import WalCatalog
from runbook.recovery.walcolumns import Key, parse_block

#: What pg_waldump is asked for.
RMGRS = ("Heap", "Heap2", "Transaction", "Storage", "Standby", "XLOG", "Database", "RelMap")

_BLOCK = re.compile(rb"#\d+: rel (\d+/\d+/\d+) blk")
_LOCK = re.compile(rb"xid (\d+) db (\d+) rel (\d+)")
_LISTED = re.compile(rb"xacts: ([\d ]+)")
_PLAIN_COMMIT = len(b"COMMIT 2026-11-23 03:31:57.886936 UTC")
_TIME = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})")

#: Rows of one transaction, in the order of their first records.
Shape = tuple[tuple[Key, int], ...]
#: A commit as found: xid, position, time.
RawCommit = tuple[int, bytes, bytes]


class Ended(NamedTuple):
    """A committed transaction on its way to the summary. `subtransactions` are xids."""

    commit: RawCommit
    before: RawCommit | None
    files: FileEvidence | None = None
    subtransactions: tuple[int, ...] = ()
    is_prepared: bool = False
    prepared_at: bytes | None = None


class Tally:
    """Takes blocks of lines, hands on what committed.

    Args:
        take: called for each block with (shape, second) → the transactions that ended so, then with commits by second.
        count_from: commits before this position are left out (their rows are forgotten); 0 counts all.
        columns: numbers of the files that hold pg_attribute.
        catalog: reads what records did to rows of catalogs; None: nobody does.
    """

    def __init__(
        self,
        take: Callable[[dict[tuple[bytes, Shape], list[Ended]], Counter[bytes]], None],
        count_from: int = 0,
        columns: frozenset[int] = frozenset({PG_ATTRIBUTE}),
        catalog: WalCatalog | None = None,
    ) -> None:
        self._take = take
        self._catalog = catalog
        self._columns = tuple(f"/{number}".encode() for number in columns)
        self._prepared: dict[int, bytes] = {}
        self._count_from = count_from
        self._counts_now = count_from == 0
        self._running: dict[int, dict[Key, int]] = {}
        self._files: dict[int, FileEvidence] = {}
        self._last: RawCommit | None = None
        self._shapes: dict[tuple[bytes, Shape], list[Ended]] = {}
        self._seconds: Counter[bytes] = Counter()
        self.position = 0
        self.aborted = 0
        self.left_out = 0
        #: Transactions that ran when the first list of running ones was written: what they did before is not known.
        self.begun_before: frozenset[int] | None = None

    @property
    def last(self) -> RawCommit | None:
        """The last commit read."""
        return self._last

    @property
    def running(self) -> int:
        """Transactions, subtransactions counted apart, that have rows and have not ended."""
        return len(self._running)

    @contextmanager
    def reading(self, folder: Path, timeline: int) -> Iterator[None]:
        """Meanwhile blocks are of this folder's segments, where records of catalogs are read."""
        if self._catalog is not None:
            self._catalog.open(folder, timeline)
        try:
            yield
        finally:
            if self._catalog is not None:
                self._catalog.close()

    def feed(self, block: bytes) -> None:
        """The lines of the block, whole ones, are counted."""
        running = self._running
        parsed = parse_block(block)
        for xid, key, number in parsed.rows:
            counts = running.get(xid)
            if counts is None:
                running[xid] = {key: number}
            else:
                counts[key] = counts.get(key, 0) + number
        # A transaction's rows stand ahead of its end, so taking all rows of the block first changes nothing.
        for xid, step in self._catalog.steps(block) if self._catalog is not None else ():
            if xid:
                self._evidence(xid).catalog.append(step)
        for xid, lsn, rest in parsed.others:
            if rest[:6] == b"COMMIT":
                self._commit(xid, lsn, rest)
            else:
                self._other(xid, lsn, rest)
        if parsed.position:
            self.position = parse_lsn(parsed.position.decode())
        if self._seconds:
            self._take(self._shapes, self._seconds)
            self._shapes, self._seconds = {}, Counter()

    def _other(self, xid: int, lsn: bytes, rest: bytes) -> None:
        first = rest[:2]
        if first == b"AB":
            self._abort(xid, rest)
        elif first == b"LO":
            for holder, database, relation in _LOCK.findall(rest):
                if int(relation) >= FIRST_NORMAL:
                    evidence = self._evidence(int(holder))
                    evidence.locked.add((int(database), int(relation)))
                    evidence.note_lock(parse_lsn(lsn.decode()))
        elif rest.startswith(b"CREATE "):
            file = parse_path(rest.split()[1]) if b"/" in rest else None
            if file is not None:
                self._evidence(xid).created.append(file)
        elif first == b"PR":
            self._prepared[xid] = lsn
        elif first == b"FP":
            made = self._files.get(xid)
            if made is not None and made.created:
                made.filled.update(map(parse_relfile, _BLOCK.findall(rest)))
        elif first == b"DR":
            for path in re.findall(rb"\d+/(\d+)", rest):
                self._evidence(xid).databases.append(int(path))
        elif first == b"TR":
            self._note_truncate(xid, rest)
        elif first == b"RU":
            self._forget_vanished(rest)

    def _evidence(self, xid: int) -> FileEvidence:
        found = self._files.get(xid)
        if found is None:
            found = self._files[xid] = FileEvidence()
        return found

    def _note_truncate(self, xid: int, rest: bytes) -> None:
        """A TRUNCATE record (wal_level = logical) names oids; the database is that of the locks, which came before it.

        Another one, of storage, says that a file was cut to no page: a table that the transaction had made or rewritten before.
        """
        if b" to 0 blocks" in rest:
            file = parse_path(rest.split()[1]) if xid else None
            if file is not None:
                self._evidence(xid).emptied.add(file)
            return
        oids = [int(word) for word in re.findall(rb"\d+", rest.rpartition(b"relids")[2])]
        evidence = self._evidence(xid)
        databases = {oid: database for database, oid in evidence.locked}
        evidence.truncated_oids += [(databases.get(oid, 0), oid) for oid in oids]

    def _forget_vanished(self, rest: bytes) -> None:
        """What is older than the oldest running transaction and has no end died in a crash."""
        words = rest.replace(b";", b" ").split()
        try:
            oldest = int(words[words.index(b"oldestRunningXid") + 1])
        except (ValueError, IndexError):
            return  # a version that words it otherwise: what died in a crash then stays in memory, uncounted
        if self.begun_before is None:
            self.begun_before = frozenset(int(xid) for listed in _LISTED.findall(rest) for xid in listed.split())
        for holder in (self._running, self._files, self._prepared):
            for xid in [xid for xid in holder if 0 < (oldest - xid) & 0xFFFFFFFF < 1 << 31]:
                del holder[xid]

    def _abort(self, xid: int, rest: bytes) -> None:
        gone = [_prepared_xid(rest) or xid, *map(int, _words(rest, b"subxacts"))]
        for one in gone:
            self._prepared.pop(one, None)
            self._running.pop(one, None)
            self._files.pop(one, None)
        self.aborted += 1

    def _commit(self, xid: int, lsn: bytes, rest: bytes) -> None:
        plain = len(rest) == _PLAIN_COMMIT
        prepared = None if plain else _prepared_xid(rest)
        xid = prepared or xid
        prepared_at = self._prepared.pop(xid, None) if self._prepared else None
        at = rest[7:33] if plain else _time(rest)
        commit = (xid, lsn, at)
        before, self._last = self._last, commit
        counts = self._running.pop(xid, None)
        files = self._files.pop(xid, None) if self._files else None
        subs: tuple[int, ...] = ()
        if not plain:
            subs = tuple(map(int, _words(rest, b"subxacts")))
            for sub in subs:
                counts = _folded(counts, self._running.pop(sub, None))
                more = self._files.pop(sub, None)
                if more is not None:
                    files = FileEvidence() if files is None else files
                    files.add(more)
            removed, oids = _words(rest, b"rels"), _words(rest, b"dropped stats")
            if removed or oids:
                files = FileEvidence() if files is None else files
                files.removed = [file for file in map(parse_path, removed) if file is not None]
                files.dropped_oids = _relations(oids)
        if files is not None and files.catalog and self._catalog is not None:
            self._catalog.names.take(files.catalog, files.created, files.filled)
        if not self._counts_now:
            if parse_lsn(lsn.decode()) < self._count_from:
                self.left_out += 1
                return
            self._counts_now = True
        if files is not None and files.locked and counts is not None and self._changes_columns(counts):
            files.changed_columns, files.xids = True, frozenset({xid, *subs})
        second = at[:19]
        self._seconds[second] += 1
        shape = tuple(counts.items()) if counts else ()
        ended = Ended(commit, before, files or None, subs, prepared is not None, prepared_at)
        group = self._shapes.get((second, shape))
        if group is None:
            self._shapes[second, shape] = [ended]
        else:
            group.append(ended)

    def _changes_columns(self, counts: dict[Key, int]) -> bool:
        return any(kind == b"U" and relation.endswith(self._columns) for kind, relation in counts)


def _time(rest: bytes) -> bytes:
    """The record's own time, not that of a remote origin."""
    match = _TIME.search(rest)
    return match[1] if match else b"1970-01-01 00:00:00.000000"


def _prepared_xid(rest: bytes) -> int | None:
    """The transaction that a COMMIT_PREPARED or ABORT_PREPARED ends.

    >>> _prepared_xid(b"COMMIT_PREPARED 749: 2026-11-23 03:31:58.018437 UTC"), _prepared_xid(b"COMMIT 2026-11-23 03:31")
    (749, None)
    """
    word, _, after = rest.partition(b" ")
    return int(after.partition(b":")[0]) if word.endswith(b"_PREPARED") else None


def _words(rest: bytes, name: bytes) -> list[bytes]:
    """The words behind a heading of a commit record.

    >>> _words(b"COMMIT 2026-11-23 03:31:58.1 UTC; rels: base/5/1 base/5/2; dropped stats: 2/5/1", b"rels")
    [b'base/5/1', b'base/5/2']
    """
    _, found, after = rest.partition(b"; " + name + b": ")
    return after.partition(b";")[0].split() if found else []


def _relations(words: list[bytes]) -> list[tuple[int, int]]:
    """Relations among dropped statistics, as (database, oid); kind 2 is a relation in PostgreSQL 15 to 18."""
    parts = [word.split(b"/") for word in words]
    return [(int(database), int(oid)) for kind, database, oid in parts if kind == b"2"]


def _folded(counts: dict[Key, int] | None, more: dict[Key, int] | None) -> dict[Key, int] | None:
    if counts is None or more is None:
        return more if counts is None else counts
    for key, number in more.items():
        counts[key] = counts.get(key, 0) + number
    return counts
