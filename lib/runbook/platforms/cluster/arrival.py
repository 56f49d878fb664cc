"""WAL that is still arriving in the archive, told from WAL that is damaged.

A segment that is short, ends in zeros or is absent is damage only when production's archiver has finished it and it stays as it
is. Until then somebody may still be writing it: it is waited for, and after that nothing is proven. A file's own time decides
nothing: `cp -p` keeps the old one, and a file server has a clock of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from runbook import clock, layout
from runbook.errors import RunbookError
from runbook.params.schema import Cluster
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import SqlError, one
from runbook.postgres.segmentfile import SegmentFile
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.wal import SEGMENT_NAME, read_segment_header

#: A file that did not change for so long, by our clock, is not being written at that moment.
SETTLE_SECONDS = 2.0
_PAUSE = 0.25
#: Seconds between two questions to the server.
_ASK_AGAIN = 0.5
#: How long an archived file is waited for where nobody names a time.
PATIENCE = 60.0


@dataclass(frozen=True)
class Word:
    """What is known about the archiving of one segment. `is_finished` None: nobody can tell; `said` says who tells, or why nobody can."""

    is_finished: bool | None
    said: str


class Archiver:
    """Production's archiver, asked which segments it has finished: by the files of its archive_status, else by its server."""

    def __init__(self, cluster: Cluster, application: str = "runbook-archive") -> None:
        self._live = LiveServer(cluster, application)
        self._cluster = cluster
        self._asked_at: float | None = None
        self._last: tuple[str | None, str | None, str] | None = None

    def word(self, name: str, system: str | None) -> Word:
        """Return what is known about a segment.

        Args:
            system: of the archive; what another system's archiver says counts for nothing.
        """
        by_file = self._by_status_file(name, system)
        return by_file if by_file is not None else self._by_server(name, system)

    def _by_status_file(self, name: str, system: str | None) -> Word | None:
        data = self._live.data
        if data is None:
            return None
        status = data / "pg_wal" / "archive_status"
        try:
            for suffix, finished in ((".ready", False), (".done", True)):
                if not (status / f"{name}{suffix}").exists():
                    continue
                header = read_segment_header(data / "pg_wal" / name)
                if header is None or system not in (None, header.system_identifier):
                    return None
                where = layout.short(status / f"{name}{suffix}")
                return Word(finished, f"{where} says that it is {'' if finished else 'not '}archived")
        except OSError:
            return None  # closed to us, or removed by a checkpoint meanwhile: the server can be asked
        return None

    def _by_server(self, name: str, system: str | None) -> Word:
        if self._cluster.connection is None:
            return Word(None, "params name no cluster.connection by which production's archiver could be asked")
        if self._last is None or self._asked_at is None or time.monotonic() - self._asked_at > _ASK_AGAIN:
            self._last = self._ask()
            self._asked_at = time.monotonic()
        last, found, said = self._last
        if last is None:
            return Word(None, said)
        if found is not None and system is not None and found != system:
            return Word(None, f"the server of cluster.connection is of system {found}, and the archive is of {system}")
        return Word(is_archived(name, last), said)

    def _ask(self) -> tuple[str | None, str | None, str]:
        """The last file archived, the system, and both in words."""
        try:
            if not self._live.is_up():
                return None, None, "production's server does not answer, so its archiver cannot be asked"
            with self._live.connect(statement_timeout=10) as connection:
                row = one(connection, load_sql("lockdown/read_archiver").text)
        except (RunbookError, SqlError) as cause:
            why = str(cause).strip().splitlines()[0]
            return None, None, f"production's archiver cannot be asked: {why}"
        if row["in_recovery"]:
            return None, None, "the server of cluster.connection is a standby, which archives nothing of its own"
        if row["last_archived"] is None:
            return None, None, "pg_stat_archiver of production names nothing that was archived"
        at = f" at {clock.stamp(row['archived_at'])}" if row["archived_at"] else ""
        said = f"pg_stat_archiver of production says that {row['last_archived']} was archived last{at}"
        return row["last_archived"], row["system_identifier"], said


def is_archived(name: str, last: str) -> bool:
    """Return True when an archiver that archived `last` last has finished the segment `name` before or with it.

    PostgreSQL's archiver takes history files first, then segments in the order of their names. A backup's history file or a
    .partial only proves what lies before its segment.

    >>> one, two = "000000010000000000000003", "000000010000000000000004"
    >>> is_archived(one, two), is_archived(two, two), is_archived(two, one)
    (True, True, False)
    >>> is_archived(one, one + ".00000028.backup"), is_archived(one, "00000002.history")
    (False, False)
    """
    if SEGMENT_NAME.match(last):
        return name <= last
    return SEGMENT_NAME.match(last[:24]) is not None and name < last[:24]


class Ending(StrEnum):
    """How waiting for a file ended."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    UNDECIDED = "undecided"


def wait_for_whole(
    look: Callable[[], SegmentFile | None],
    word: Callable[[], Word],
    *,
    segment_size: int,
    seconds: float,
    settle: float | None = None,
) -> tuple[Ending, str]:
    """Wait until a segment is whole, is proven damaged, or the time is over; how that ended, and what was seen.

    Args:
        look: the file as it is now, None while it is absent. A fetched file is fetched again.
        word: what production's archiver says of it.
        seconds: how long to wait at most while the archiver has not finished it or the file still changes.
        settle: how long it must not have changed before it is judged; None: SETTLE_SECONDS.
    """
    settle = SETTLE_SECONDS if settle is None else settle
    began = moved_at = time.monotonic()
    seen = look()
    while True:
        if seen is not None and seen.is_whole(segment_size):
            return Ending.WHOLE, ""
        heard = word()
        # In this order: what the archiver has finished by now is looked at once more.
        again = look()
        now = time.monotonic()
        if again != seen:
            seen, moved_at = again, now
            if seen is not None and seen.is_whole(segment_size):
                return Ending.WHOLE, ""
        elif now - moved_at >= settle and heard.is_finished is not False:
            if heard.is_finished:
                return Ending.DAMAGED, heard.said
            return Ending.UNDECIDED, f"it has not changed for {now - moved_at:.0f} s; {heard.said}"
        if now - began >= seconds:
            return Ending.UNDECIDED, f"it was not whole after {now - began:.0f} s; {heard.said}"
        time.sleep(_PAUSE)
