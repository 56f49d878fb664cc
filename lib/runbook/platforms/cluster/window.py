"""The recovery window: which timeline and which backup hold a point, and the point as a position in WAL."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import TargetOutsideWindow, WalDamaged
from runbook.params.loading import resolve_time
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.timelines import read_histories
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walscan import Scan, scan_to
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.tools import Tools
from runbook.postgres.wal import Commit, Timeline, format_lsn, parse_lsn

_LSN = re.compile(r"^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")
EVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RecoveryPoint:
    """Where a recovery ends. `gate` is the first record not replayed (None: the archive's end), `reached` the end of
    the last one replayed; `before` and `after` are the commits on either side."""

    asked: str
    timeline: int
    backup: str
    gate: int | None
    reached: int
    before: Commit | None
    after: Commit | None
    resolved_at: datetime

    def facts(self) -> dict[str, Any]:
        """For journal and report; `from_facts` reads it back."""
        return {
            "asked": self.asked,
            "timeline": self.timeline,
            "backup": self.backup,
            "gate": format_lsn(self.gate) if self.gate is not None else None,
            "reached": format_lsn(self.reached),
            "last commit included": _commit_facts(self.before),
            "first commit left out": _commit_facts(self.after),
            "resolved at": clock.stamp(self.resolved_at),
        }

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> RecoveryPoint:
        """The point as it was written down."""
        return cls(
            asked=facts["asked"],
            timeline=int(facts["timeline"]),
            backup=facts["backup"],
            gate=parse_lsn(facts["gate"]) if facts["gate"] else None,
            reached=parse_lsn(facts["reached"]),
            before=_commit_from(facts["last commit included"]),
            after=_commit_from(facts["first commit left out"]),
            resolved_at=clock.parse(facts["resolved at"]),
        )

    @property
    def key(self) -> dict[str, Any]:
        """What makes it the same point in every attempt: not how it was asked for, nor when it was resolved."""
        facts = self.facts()
        return {name: facts[name] for name in ("timeline", "backup", "gate", "reached")}

    @property
    def moment(self) -> datetime:
        """The moment that the restored data shows: the last commit included, else when it was resolved."""
        return self.before.at if self.before is not None else self.resolved_at


def _commit_facts(commit: Commit | None) -> dict[str, Any] | None:
    return {"xid": commit.xid, "lsn": format_lsn(commit.lsn), "at": clock.stamp(commit.at)} if commit else None


def _commit_from(facts: dict[str, Any] | None) -> Commit | None:
    return Commit(int(facts["xid"]), parse_lsn(facts["lsn"]), clock.parse(facts["at"])) if facts else None


def parse_point(text: str) -> str | int | datetime:
    """'latest', a position, or an aware past time.

    Raises:
        ParamsError: naive, future, or none of these.
    """
    return parse_lsn(text) if _LSN.match(text.strip()) else resolve_time(text)


def find_lineages(archive: WalArchive, stage: Path, backups: list[Backup]) -> dict[int, tuple[Timeline, ...]]:
    """Every timeline with its lineage, from the archive's history files.

    Raises:
        WalDamaged: segments of a timeline are there and its history file is not, or a history file is damaged.
    """
    found = read_histories(archive, stage, {backup.timeline for backup in backups})
    wrong = {number: said for number, said in found.problems.items() if number not in found.without_history}
    if wrong:
        raise WalDamaged(
            wrong[min(wrong)],
            next="Restore the history file from pg_wal of the server or from a copy of the archive.",
        )
    return found.lineages


def choose_timeline(
    point: str | int | datetime,
    current: int,
    lineages: dict[int, tuple[Timeline, ...]],
    first_commit: Callable[[tuple[Timeline, ...]], Commit | None],
) -> tuple[int, str]:
    """The timeline that was live at the point, and why; empty when it is the current one.

    Args:
        current: production's timeline.
        first_commit: the first commit of a lineage's last timeline, which tells when it became the live one.
    """
    lineage = lineage_of(current, lineages)
    if not isinstance(point, datetime) or len(lineage) == 1:
        return current, ""
    while len(lineage) > 1:
        commit = first_commit(lineage)
        if commit is not None and point >= commit.at:
            return lineage[-1].number, f"timeline {lineage[-1].number} was live from {clock.stamp(commit.at)} on"
        lineage = _up_to(lineage[:-1])
    return lineage[0].number, f"timeline {lineage[0].number} was live then; later timelines began after the point"


def _up_to(lineage: tuple[Timeline, ...]) -> tuple[Timeline, ...]:
    """The lineage with its last timeline open."""
    return (*lineage[:-1], Timeline(lineage[-1].number, lineage[-1].begin, None))


def holder_of(lineage: tuple[Timeline, ...], position: int) -> tuple[Timeline, ...]:
    """The lineage of the timeline that holds a position where replay ends: a server that were told a later one would, promoted there,
    write a history in which positions go backward.

    >>> two = (Timeline(1, 0, 500), Timeline(2, 500, None))
    >>> holder_of(two, 500)[-1].number, holder_of(two, 501)[-1].number
    (1, 2)
    """
    begun = tuple(timeline for timeline in lineage if timeline.begin < position)
    return _up_to(begun or lineage[:1])


def lineage_of(number: int, lineages: dict[int, tuple[Timeline, ...]]) -> tuple[Timeline, ...]:
    """The lineage of a timeline."""
    return lineages.get(number) or next(
        (*line[: [t.number for t in line].index(number)], Timeline(number, _begin(line, number), None))
        for line in lineages.values()
        if number in [t.number for t in line]
    )


def _begin(lineage: tuple[Timeline, ...], number: int) -> int:
    return next(t.begin for t in lineage if t.number == number)


def candidates(backups: list[Backup], lineage: tuple[Timeline, ...], point: str | int | datetime) -> list[Backup]:
    """The backups that may reach the point on this lineage, newest first; pure."""
    by_number = {timeline.number: timeline for timeline in lineage}
    usable = []
    for backup in backups:
        timeline = by_number.get(backup.timeline)
        if timeline is None or backup.incremental:
            continue
        if timeline.end is not None and (backup.end or backup.start) > timeline.end:
            continue
        if isinstance(point, int) and (backup.end or backup.start) > point:
            continue
        # The label has whole seconds: a point in that same second may lie before the backup's start.
        if isinstance(point, datetime) and backup.started_at and point < backup.started_at + timedelta(seconds=1):
            continue
        usable.append(backup)
    return sorted(usable, key=lambda backup: backup.start, reverse=True)


def refuse_before_oldest(asked: str, backups: list[Backup], timeline: int) -> TargetOutsideWindow:
    """The error for a point that no backup reaches, with the nearest possible one."""
    if backups and all(backup.incremental for backup in backups):
        return TargetOutsideWindow(
            f"{backups[-1].label} is an incremental backup, and no full one is beside it: alone it restores nothing.",
            next="Combine it with the full backup it builds on (pg_combinebackup) and name that folder as backup_folder.",
        )
    backups = [backup for backup in backups if not backup.incremental]
    times = [backup for backup in backups if backup.started_at and backup.timeline == timeline]
    oldest = min(times, key=lambda backup: backup.started_at or EVER, default=None)
    nearest = (
        f"The oldest point that can be had is just after backup {oldest.label} (started {clock.stamp(oldest.started_at)}, "
        f"consistent at {format_lsn(oldest.end) if oldest.end else 'its end'})."
        if oldest is not None and oldest.started_at is not None
        else "No backup of that timeline says when it was taken."
    )
    return TargetOutsideWindow(
        f"No backup reaches back to {asked} on timeline {timeline}. {nearest}",
        next="Choose a later point, or find an older backup.",
    )


def _on_own_timeline(stage: Stage, scan: Scan, tools: Tools, timeout: float) -> Stage:
    """The stage holds the WAL up to where the scan ended, on the timeline that holds that position and not on a later one.

    Raises:
        WalDamaged: there it reads otherwise.
    """
    again = scan_to(stage, tools, until=scan.gate if scan.gate is not None else scan.reached, timeout=timeout)
    if again.reached != scan.reached:
        raise WalDamaged(
            f"WAL of timeline {stage.lineage[-1].number} ends at {format_lsn(again.reached)}, and the timeline that left it later has "
            f"{format_lsn(scan.reached)}: they do not hold the same WAL before their fork.",
            next="Look for a copy of the segment that holds the fork; take a new base backup now.",
        )
    return stage


@dataclass
class Resolved:
    """A point with what holds it, ready to restore."""

    point: RecoveryPoint
    backup: Backup
    stage: Stage
    scan: Scan
    why_timeline: str
    followed: int | None = None

    @property
    def consistent(self) -> int:
        """Where the backup becomes consistent: nothing earlier can be recovered from it."""
        return self.backup.end or self.scan.backup_end or self.backup.start

    @property
    def read_in_part(self) -> list[str]:
        """What has to be said of segments that the archive does not have whole on their timeline, and of a timeline that it lacks."""
        lacking = (
            [
                f"The archive holds no WAL of timeline {self.followed}, which is followed, past its fork: the point lies before it, on timeline "
                f"{self.point.timeline}."
            ]
            if self.point.asked.strip() == "latest" and self.followed not in (None, self.point.timeline)
            else []
        )
        return lacking + [
            f"WAL segment {name} is not in the archive whole: up to {format_lsn(end)}, where another timeline left this one, it was read from "
            f"{source}."
            for name, (source, end) in self.stage.cut.items()
        ]


def resolve(
    asked: str,
    *,
    point: str | int | datetime,
    timeline: int,
    why: str,
    lineages: dict[int, tuple[Timeline, ...]],
    chosen: list[Backup],
    make_stage: Callable[[Backup, tuple[Timeline, ...]], Stage],
    tools: Tools,
    timeout: float,
    progress: Callable[[int], None],
) -> Resolved:
    """The point as a position, with the newest backup that reaches it; WAL between them is read and whole.

    Raises:
        TargetOutsideWindow: no backup reaches it, or the archive ends before it; the nearest points are named.
        WalDamaged: WAL on the way is missing or corrupt.
    """
    lineage = lineage_of(timeline, lineages)
    for backup in chosen:
        stage = make_stage(backup, lineage)
        until = None if point == "latest" else point
        assert not isinstance(until, str)
        scan = scan_to(stage, tools, until=until, timeout=timeout, progress=progress)
        consistent = backup.end if backup.end is not None else scan.backup_end
        if consistent is None and scan.gate is not None:
            continue  # the point lies before the backup's end
        if consistent is None:
            stage.refuse_end(
                f"WAL in the archive ends before backup {backup.label} is consistent: its end record is not there.",
                next="Look for the missing segments; take a new base backup.",
            )
        if until is not None and scan.gate is None:
            last = f"its last commit is of {clock.stamp(scan.before.at)}" if scan.before else "it holds no commit"
            raise TargetOutsideWindow(
                f"The archive of timeline {timeline} ends at {format_lsn(scan.reached)} ({last}): nothing in it shows that it covers {asked}.",
                next="The nearest possible point is latest"
                + (f", or a time before {clock.stamp(scan.before.at)}" if scan.before else "")
                + ". If the server lives, wait for archiving (pg_switch_wal()) and try again.",
            )
        if isinstance(point, datetime) and backup.started_at is None and scan.before is None:
            # Nothing says when this backup was taken: without a commit before the point it may be younger than it.
            continue
        if consistent is not None and scan.reached < consistent:
            if until is None:
                stage.refuse_end(
                    f"The archive ends at {format_lsn(scan.reached)}, before backup {backup.label} is consistent ({format_lsn(consistent)}).",
                    next="Look for the missing WAL segments; take a new base backup.",
                )
            continue
        held = holder_of(lineage, scan.reached)
        if held[-1].number != timeline:
            stage = _on_own_timeline(make_stage(backup, held), scan, tools, timeout)
        resolved = RecoveryPoint(
            asked, held[-1].number, backup.label, scan.gate, scan.reached, scan.before, scan.after, clock.now()
        )
        return Resolved(resolved, backup, stage, scan, why, timeline)
    raise refuse_before_oldest(asked, chosen, timeline)
