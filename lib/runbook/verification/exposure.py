"""What would be lost if production died now: the commits that the archive does not hold, and WAL that nobody holds any more.

Production's position is what its server says, else what its pg_wal holds by content: names there prove nothing, since recycled
files carry names of the future. What lies between the archive's end and that position is looked for in the archive as it is now
and in pg_wal; what neither holds is lost.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from runbook import clock, layout
from runbook.errors import RunbookError
from runbook.params.schema import Cluster
from runbook.platforms.cluster.arrival import is_archived
from runbook.platforms.cluster.live import LiveServer, read_position
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walstage import Stage
from runbook.platforms.cluster.window import Resolved
from runbook.postgres.connect import SqlError, one
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools
from runbook.postgres.wal import (
    SEGMENT_NAME,
    Commit,
    WalRecord,
    end_of_record,
    format_lsn,
    parse_commit,
    read_segment_header,
    same_position,
    segment_name,
    segment_start,
)
from runbook.postgres.waldump import read_records

#: Two clocks that are kept right may differ by so much.
CLOCK_SKEW = timedelta(minutes=1)
#: A segment may be archived and removed from pg_wal between two looks: what is missing is looked for again.
_TRIES = 3
#: How often pg_wal is listed while a checkpoint removes files from it.
_LOOKS = 20
_PAUSE = 1.0
_BATCH = 64


@dataclass(frozen=True)
class Lost:
    """WAL from `start` to `end` (bytes) that neither the archive nor production's pg_wal holds; `position` is production's."""

    start: int
    end: int
    position: int
    how: str


@dataclass(frozen=True)
class Exposure:
    """How much would be lost if production died now. `seconds` is None when nothing shows it.

    `unarchived`: a segment that production's archiver says it has archived, and the archive does not hold; with who says so.
    """

    seconds: float | None
    how: str
    is_upper_bound: bool = False
    lost: Lost | None = None
    unarchived: tuple[str, str] | None = None


@dataclass(frozen=True)
class Production:
    """What production's server says. `position`: up to which WAL is on its disk."""

    timeline: int
    position: int
    last_archived: str | None


class Measurement:
    """One measurement of the exposure.

    Args:
        live_wal: production's pg_wal, when params name it.
        timeline: that the archive was followed on.
        archive_end: the end of the last record read from the archive.
        stage: from which that was read.
        last_commit: the last commit in the archive: its age is an upper bound.
    """

    def __init__(
        self,
        cluster: Cluster,
        application: str,
        *,
        live_wal: Path | None,
        timeline: int,
        archive_end: int,
        stage: Stage,
        last_commit: datetime | None,
        tools: Tools,
        timeout: float,
    ) -> None:
        self.cluster, self.live = cluster, LiveServer(cluster, application)
        self.live_wal, self.timeline, self.archive_end = live_wal, timeline, archive_end
        self.stage, self.last_commit, self.tools, self.timeout = stage, last_commit, tools, timeout
        self.size = stage.segment_size

    def take(self) -> Exposure:
        """The age of the oldest commit that is not in the archive, and what is lost."""
        production = self._ask()
        if isinstance(production, str) and self.live_wal is None:
            return self._bound(production)
        for number in range(_TRIES):
            if number:
                time.sleep(_PAUSE)
            found = self._look(production)
            if found.lost is None and found.unarchived is None:
                break
        return found

    # -- who knows where production stands -----------------------------------------------------------------

    def _ask(self) -> Production | str:
        """What the server says; else why nothing of it counts."""
        if self.cluster.connection is None:
            return "params name no cluster.connection"
        try:
            if not self.live.is_up():
                return "production's server does not answer"
            with self.live.connect(statement_timeout=10) as connection:
                row = one(connection, load_sql("lockdown/read_archiver").text)
                if row["in_recovery"]:
                    return "the server of cluster.connection is in recovery, so it does not write WAL of its own"
                system = row["system_identifier"]
                if None not in (system, self.stage.system_identifier) and system != self.stage.system_identifier:
                    return f"the server of cluster.connection is of system {system}, and the archive is of {self.stage.system_identifier}"
                timeline, _, flushed = read_position(connection)
        except (RunbookError, SqlError) as cause:
            return f"production's server cannot be asked: {str(cause).strip().splitlines()[0]}"
        return Production(timeline, flushed, row["last_archived"])

    def _bound(self, why: str) -> Exposure:
        """What the archive alone shows: the age of its last commit."""
        if self.last_commit is None:
            return Exposure(None, f"the archive holds no commit, and {why}")
        now = clock.now()
        if self.last_commit > now + CLOCK_SKEW:
            return Exposure(None, _in_the_future("the last archived commit", self.last_commit, now))
        return Exposure(
            max((now - self.last_commit).total_seconds(), 0.0),
            f"age of the last archived commit, {clock.stamp(self.last_commit)}; {why}",
            is_upper_bound=True,
        )

    # -- what lies between ---------------------------------------------------------------------------------

    def _look(self, production: Production | str) -> Exposure:
        if isinstance(production, Production) and production.timeline != self.timeline:
            return Exposure(
                None,
                f"production writes timeline {production.timeline}, and the archive was followed on timeline {self.timeline}",
            )
        with tempfile.TemporaryDirectory(prefix="rb-exposure-") as folder:
            stage = self._stage_again(Path(folder))
            archived_to = stage.end() if stage.laid else -(-self.archive_end // self.size) * self.size
            held = self._held(Path(folder), archived_to)
            if isinstance(held, str):
                return self._unseen(production, archived_to, held)
            if isinstance(production, Production):
                return self._up_to(Path(folder), production, archived_to, held)
            return self._by_content(Path(folder), archived_to, held, production)

    def _stage_again(self, folder: Path) -> Stage:
        """The archive as it is now, from the last segment that was read."""
        begin = max(self.archive_end - 1, self.stage.start) // self.size * self.size
        archive = WalArchive(self.cluster.wal_archive, self.stage.archive.user)
        if self.stage.archive.user is not None:
            folder.chmod(0o711)  # who fetches WAL has a folder in it
        again = Stage(
            archive, folder, self.stage.lineage, begin, self.size, system_identifier=self.stage.system_identifier
        )
        while again.problem is None and again.extend(_BATCH) == _BATCH:
            continue
        return again

    def _held(self, folder: Path, archived_to: int) -> list[int] | str:
        """Where segments of pg_wal begin that the archive lacks, oldest first, linked into the folder; or why that is not known."""
        if self.live_wal is None:
            return "params name no cluster.data_directory, so that unarchived WAL could be read"
        for _ in range(_LOOKS):
            try:
                return self._link_held(self.live_wal, folder, archived_to)
            except FileNotFoundError as cause:
                if not self.live_wal.is_dir():
                    return f"production's pg_wal cannot be read: {cause.strerror}"
                # A checkpoint has removed a segment meanwhile: all are listed again.
            except OSError as cause:
                return f"production's pg_wal cannot be read: {cause.strerror}"
        return "production's pg_wal changes all the time"

    def _link_held(self, live_wal: Path, folder: Path, archived_to: int) -> list[int]:
        found: list[int] = []
        for path in sorted(live_wal.iterdir()):
            if not SEGMENT_NAME.match(path.name) or int(path.name[:8], 16) != self.timeline:
                continue
            begin = segment_start(path.name, self.size)[1]
            if begin >= archived_to and self._is_own(path, begin):
                (folder / path.name).unlink(missing_ok=True)
                (folder / path.name).symlink_to(path)
                found.append(begin)
        return found

    def _is_own(self, path: Path, begin: int) -> bool:
        """True when the segment holds what its name says: a recycled one still holds something older."""
        header = read_segment_header(path)
        return (
            header is not None
            and header.begin == begin
            and header.size == self.size
            and self.stage.system_identifier in (None, header.system_identifier)
        )

    def _unseen(self, production: Production | str, archived_to: int, why: str) -> Exposure:
        """Production's pg_wal cannot be read: what its server says, and what the archive alone shows."""
        if isinstance(production, str):
            return self._bound(why)
        where = f"the archive ends at {format_lsn(self.archive_end)}, production stands at {format_lsn(production.position)}"
        unarchived = self._unarchived(production, archived_to)
        if production.position < archived_to:
            return Exposure(None, f"{where}: the archive holds WAL that this server has not written")
        if _same(archived_to, production.position):
            return Exposure(0.0, f"no WAL after the archive's end; {where}", unarchived=unarchived)
        bound = self._bound(f"{where}; {why}")
        return Exposure(bound.seconds, bound.how, bound.is_upper_bound, None, unarchived)

    def _up_to(self, folder: Path, production: Production, archived_to: int, held: list[int]) -> Exposure:
        position = production.position
        where = f"the archive ends at {format_lsn(self.archive_end)}, production stands at {format_lsn(position)}"
        if position < archived_to:
            return Exposure(None, f"{where}: the archive holds WAL that this server has not written")
        unarchived = self._unarchived(production, archived_to)
        missing = [
            begin
            for begin in range(archived_to, position, self.size)
            if begin not in held and not same_position(begin, position)
        ]
        if missing:
            return self._lost(
                missing[0], missing[-1] + self.size, position, f"{where}; {len(missing)} segments", unarchived
            )
        if _same(archived_to, position):
            return Exposure(0.0, f"no commit after the archive's end; {where}", unarchived=unarchived)
        found, reached, said = self._first_commit(folder, archived_to, position)
        if found is not None:
            return self._since(found, unarchived)
        if said and not _same(reached, position):
            return self._lost(reached, position, position, f"{where}; {said}", unarchived)
        return Exposure(0.0, f"no commit after the archive's end; {where}", unarchived=unarchived)

    def _by_content(self, folder: Path, archived_to: int, held: list[int], why: str) -> Exposure:
        """Nobody says where production stands: its pg_wal ends with its last whole record."""
        if not held:
            if self._holds_last_archived(archived_to):
                return Exposure(0.0, f"no WAL after the archive's end ({format_lsn(archived_to)}) in pg_wal; {why}")
            return self._bound(f"production's pg_wal holds nothing of this timeline, and {why}")
        end = held[-1] + self.size
        missing = [begin for begin in range(archived_to, end, self.size) if begin not in held]
        if missing:
            how = f"pg_wal holds WAL up to {format_lsn(end)}; {why}"
            return self._lost(missing[0], missing[-1] + self.size, held[-1], how, None)
        found, reached, said = self._first_commit(folder, archived_to, end)
        if found is not None:
            return self._since(found, None)
        if said and reached < held[-1]:
            return self._lost(reached, held[-1], held[-1], said, None)
        return Exposure(
            0.0, f"no commit after the archive's end in pg_wal, which was read up to {format_lsn(reached)}; {why}"
        )

    def _holds_last_archived(self, archived_to: int) -> bool:
        assert self.live_wal is not None
        begin = archived_to - self.size
        path = self.live_wal / segment_name(self.timeline, begin, self.size)
        try:
            return self._is_own(path, begin)
        except OSError:
            return False

    def _unarchived(self, production: Production, archived_to: int) -> tuple[str, str] | None:
        """A segment that the archiver says it has archived, and the archive does not hold."""
        name = segment_name(self.timeline, archived_to, self.size)
        last = production.last_archived
        if last is None or int(last[:8], 16) != self.timeline or not is_archived(name, last):
            return None
        return name, f"pg_stat_archiver says that {last} was archived"

    def _first_commit(self, folder: Path, archived_to: int, end: int) -> tuple[Commit | None, int, str]:
        """The oldest commit that the archive does not hold; where reading ended, and what was said there."""
        begin = max(self.archive_end, archived_to - self.size, self.stage.lineage[-1].begin)
        if not (folder / segment_name(self.timeline, begin, self.size)).exists():
            begin = archived_to  # the last archived one could not be laid again
        said = ""
        for item in read_records(
            self.tools, folder, self.timeline, begin, end, rmgrs=("Transaction",), timeout=self.timeout
        ):
            if isinstance(item, str):
                said = item
                continue
            commit = parse_commit(item)
            if commit is not None and end_of_record(item.lsn, item.length, self.size) > archived_to:
                return commit, item.lsn, ""
        if not said:
            return None, end, ""
        reached = begin
        for item in read_records(self.tools, folder, self.timeline, begin, end, rmgrs=(), timeout=self.timeout):
            if isinstance(item, WalRecord):
                switched = item.rmgr == "XLOG" and item.desc.startswith("SWITCH")
                reached = end_of_record(item.lsn, item.length, self.size)
                reached = -(-reached // self.size) * self.size if switched else reached
        return None, reached, said

    def _since(self, commit: Commit, unarchived: tuple[str, str] | None) -> Exposure:
        now = clock.now()
        if commit.at > now + CLOCK_SKEW:
            what = f"the oldest commit that is not archived (transaction {commit.xid})"
            return Exposure(None, _in_the_future(what, commit.at, now), unarchived=unarchived)
        how = f"oldest commit that is not archived: transaction {commit.xid} at {clock.stamp(commit.at)}"
        return Exposure(max((now - commit.at).total_seconds(), 0.0), how, unarchived=unarchived)

    def _lost(self, start: int, end: int, position: int, how: str, unarchived: tuple[str, str] | None) -> Exposure:
        lost = Lost(max(start, self.archive_end), end, position, how)
        bound = self._bound(f"WAL from {format_lsn(lost.start)} to {format_lsn(lost.end)} is lost ({how})")
        return Exposure(bound.seconds, bound.how, bound.is_upper_bound, lost, unarchived)


def _same(end: int, position: int) -> bool:
    return end >= position or same_position(end, position)


def _in_the_future(what: str, at: datetime, now: datetime) -> str:
    return f"{what} says {clock.stamp(at)}, and the clock of this host says {clock.stamp(now)}: a clock is or was wrong"


def measure_exposure(cluster: Cluster, application: str, resolved: Resolved, tools: Tools) -> Exposure:
    """Return what would be lost if production died now, after the archive was read to its end."""
    point, data = resolved.point, cluster.data_directory
    return Measurement(
        cluster,
        application,
        live_wal=layout.resolve(data) / "pg_wal" if data else None,
        timeline=point.timeline,
        archive_end=point.reached,
        stage=resolved.stage,
        last_commit=point.before.at if point.before else None,
        tools=tools,
        timeout=60,
    ).take()
