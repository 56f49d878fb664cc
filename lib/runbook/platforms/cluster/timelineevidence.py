"""What an archive holds of one timeline: its own segments, the last commit in them, who left whom where, and the backups on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import RunbookError
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.timelines import Histories
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.tools import Tools
from runbook.postgres.wal import (
    SEGMENT_NAME,
    Commit,
    WalRecord,
    format_lsn,
    parse_commit,
    read_segment_header,
    segment_name,
    segment_start,
)
from runbook.postgres.waldump import read_records

#: So many of a timeline's newest segments are read for its last commit.
_READ_BACK = 16


@dataclass(frozen=True)
class Evidence:
    """What archive and backups hold of one timeline.

    `parent` and `fork` say where it left which timeline (None: the first one, or not known) and `reason` why, in the words of the
    server that forked it. `segments` are its own that reach past `since`: its fork, or where the line that is compared with left
    it. `last` is the last commit in them; None: there is none, or `unread` says why nobody knows.
    """

    number: int
    parent: int | None = None
    fork: int | None = None
    reason: str = ""
    segments: tuple[str, ...] = ()
    last: Commit | None = None
    unread: str = ""
    backups: tuple[str, ...] = ()
    problem: str | None = None

    def words(self) -> str:
        """For a sentence."""
        came = (
            f"left timeline {self.parent} at {format_lsn(self.fork or 0)}" if self.parent is not None else "the first"
        )
        said = [came + (f" ({self.reason})" if self.reason else "")]
        if self.problem is not None:
            said = [self.problem.rstrip(".")]
        said.append(
            f"{len(self.segments)} own segment{'s' if len(self.segments) > 1 else ''}, {self.segments[0]}"
            + (f" to {self.segments[-1]}" if len(self.segments) > 1 else "")
            if self.segments
            else "no segment of its own"
        )
        if self.segments:
            said.append(
                f"last commit {clock.stamp(self.last.at)}"
                if self.last is not None
                else self.unread or "no commit in them"
            )
        if self.backups:
            said.append(f"base backups {', '.join(self.backups)}")
        return "; ".join(said)

    def row(self) -> dict[str, Any]:
        """For a table."""
        return {
            "timeline": self.number,
            "came from": self.problem
            or (f"{self.parent} at {format_lsn(self.fork or 0)}" if self.parent is not None else "–"),
            "why": self.reason or "–",
            "own segments": len(self.segments),
            "last commit": clock.stamp(self.last.at) if self.last is not None else self.unread or "none",
            "base backups": ", ".join(self.backups) or "none",
        }


class EvidenceReader:
    """Reads what an archive holds of its timelines.

    Args:
        folder: of this run's own; segments are laid there to be read.
        user: who fetches WAL.
    """

    def __init__(
        self,
        archive: WalArchive,
        tools: Tools,
        folder: Path,
        histories: Histories,
        backups: Iterable[Backup],
        segment_size: int,
        user: OsUser | None,
        timeout: float,
    ) -> None:
        self.archive, self.tools, self.folder, self.histories = archive, tools, folder, histories
        self.backups, self.size, self.user, self.timeout = list(backups), segment_size, user, timeout

    def read(self, number: int, since: int | None) -> Evidence:
        """Return the evidence of a timeline: of its WAL past `since`, or past its own fork."""
        lineage = self.histories.lineages.get(number, ())
        fork = lineage[-1].begin if lineage else 0
        segments = self._segments(number, fork if since is None else since)
        last, unread = self._last_commit(number, segments, since or 0)
        return Evidence(
            number,
            parent=lineage[-2].number if len(lineage) > 1 else None,
            fork=fork if len(lineage) > 1 else None,
            reason=self.histories.reasons.get(number, ""),
            segments=segments,
            last=last,
            unread=unread,
            backups=tuple(backup.label for backup in self.backups if backup.timeline == number),
            problem=self.histories.problems.get(number),
        )

    def _segments(self, number: int, since: int) -> tuple[str, ...]:
        """Names of its own segments that reach past a position; where the archive cannot be listed, the first of them if it is there."""
        names = self.archive.names()
        if names is None:
            first = segment_name(number, since, self.size)
            return (first,) if self.archive.has(first, self._apart(number)) else ()
        own = (name for name in names if SEGMENT_NAME.match(name) and int(name[:8], 16) == number)
        return tuple(sorted(name for name in own if segment_start(name, self.size)[1] + self.size > since))

    def _apart(self, number: int) -> Path:
        """A folder where nothing of another timeline stands under this one's names."""
        apart = self.folder / f"evidence-{number}"
        apart.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            apart.chmod(0o711)  # who fetches WAL has a folder in it
        return apart

    def _last_commit(self, number: int, segments: tuple[str, ...], since: int) -> tuple[Commit | None, str]:
        """The last commit at or after `since`, read from the newest segment back; and why it is not known."""
        unread = ""
        if segments and self.archive.names() is None:
            return None, "not known: the archive cannot be listed"
        for name in reversed(segments[-_READ_BACK:]):
            last: Commit | None = None
            try:
                last, problem = self._commit_in(name, number, since)
            except RunbookError as cause:
                problem = cause.message
            if last is not None:
                return last, ""
            unread = unread or (f"not known: {problem}" if problem else "")
        if len(segments) > _READ_BACK:
            unread = unread or f"not known: none in its last {_READ_BACK} segments"
        return None, unread

    def _commit_in(self, name: str, number: int, since: int) -> tuple[Commit | None, str]:
        apart = self._apart(number)
        if not self.archive.lay(name, apart):
            return None, f"{name} is not delivered"
        begin = segment_start(name, self.size)[1]
        header = read_segment_header(apart / name)
        if header is None or header.begin != begin or header.timeline > number:
            return None, f"{name} does not hold what its name says"
        last, problem = None, ""
        for item in read_records(
            self.tools, apart, number, begin, begin + self.size, rmgrs=("Transaction",), timeout=self.timeout
        ):
            if not isinstance(item, WalRecord):
                problem = item.removeprefix("pg_waldump: error: ")
                continue
            commit = parse_commit(item)
            if commit is not None and commit.lsn >= since:
                last = commit
        return last, problem
