"""How far back backups, WAL and logs reach, against how far they must. Pure: observations in, checks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook import clock
from runbook.clock import human_days
from runbook.model import Check, Finding, Severity, Status
from runbook.platforms.cluster.backups import Backup
from runbook.texts import many

#: A new system has its first backup and its first line of log within this time.
FIRST_WITHIN = timedelta(days=1)
#: A log that says nothing for so long has a gap; the whole days in it are named.
SILENCE = timedelta(days=1)
#: Clocks that are kept right differ by less; a later time is in the future, and no age.
SKEW = timedelta(minutes=1)


@dataclass(frozen=True)
class Duty:
    """What must be kept: everything of the last `keep_seconds`, but nothing from before the system began.

    `began` None: nothing says when it did, and the whole time is asked for.
    """

    what: str
    keep_seconds: float
    source: str
    began: datetime | None
    now: datetime

    @property
    def since(self) -> datetime:
        """From which moment on it must be there."""
        asked = self.now - timedelta(seconds=self.keep_seconds)
        return max(asked, self.began) if self.began is not None else asked

    @property
    def is_young(self) -> bool:
        """True when the system is younger than what must be kept."""
        return self.began is not None and self.began > self.now - timedelta(seconds=self.keep_seconds)

    @property
    def expected(self) -> str:
        young = ", since this system began" if self.is_young else ""
        return f"{human_days(self.keep_seconds)}: from {day(self.since)} on{young}"


def day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def check_backups(duty: Duty, backups: Sequence[Backup], wrong: Sequence[str]) -> Check:
    """The oldest whole base backup is as old as must be kept; a folder that is no backup counts for nothing."""
    known = [(backup.started_at, backup) for backup in backups if backup.started_at and not backup.incremental]
    dated = [one for one in known if one[0] <= duty.now + SKEW]
    wrong = [
        *wrong,
        *(
            f"Backup {backup.label} says that it was begun at {day(at)}, and the clock of this host says {day(duty.now)}: a clock was wrong"
            for at, backup in known
            if at > duty.now + SKEW
        ),
    ]
    findings = [
        Finding(id="backup-unreadable", object="backup", severity=Severity.ERROR, observed=text, expected="a backup")
        for text in wrong
    ]
    common: dict[str, Any] = {
        "id": "retention-backups",
        "title": "Base backups are kept as long as they must be",
        "expected": duty.expected,
        "source": duty.source,
        "severity": Severity.CRITICAL,
        "findings": tuple(findings),
    }
    if not dated:
        said = "no backup says a time in the past at which it was taken" if backups else "no base backup"
        status = Status.UNKNOWN if backups else Status.FAIL
        return Check(
            **common, status=status, observed=said, reason=f"{said.capitalize()}.",
            next="Take a base backup with pg_basebackup, which writes a label and a manifest.",
        )  # fmt: skip
    oldest, backup = min(dated, key=lambda one: one[0])
    observed = f"{len(dated)} from {day(oldest)} on ({_age(duty, oldest)})"
    if oldest <= duty.since + (FIRST_WITHIN if duty.is_young else timedelta()):
        return Check(**common, status=Status.PASS, observed=observed, object=backup.label)
    return Check(
        **common,
        status=Status.FAIL,
        observed=observed,
        object=backup.label,
        reason=f"The oldest base backup is {_age(duty, oldest)} old, and {duty.expected} must be there ({duty.source}).",
        next=f"Raise the retention of base backups to {human_days(duty.keep_seconds)} or more, and copy the oldest one elsewhere "
        "before it expires: what is gone cannot be had again.",
    )


def _age(duty: Duty, moment: datetime) -> str:
    return human_days((duty.now - moment).total_seconds())


@dataclass(frozen=True)
class Gap:
    """Segments that are not in the archive, with the commits on either side where WAL tells them."""

    first: str
    last: str
    count: int
    before: datetime | None
    after: datetime | None

    @property
    def when(self) -> str:
        """The days that it touches."""
        if self.before is None and self.after is None:
            return "on a day that no commit beside it tells"
        ends = [f"{moment:%Y-%m-%d}" for moment in (self.before, self.after) if moment is not None]
        if len(ends) == 1:
            return f"{'after' if self.before is not None else 'before'} {ends[0]}"
        return f"on {ends[0]}" if ends[0] == ends[1] else f"from {ends[0]} to {ends[1]}"

    def finding(self) -> Finding:
        name = self.first if self.count == 1 else f"{self.first} to {self.last}"
        return Finding(
            id="wal-gap", object=name, severity=Severity.CRITICAL, observed=f"missing {self.when}", expected="archived",
            message=f"{self.count} segment{'s' if self.count != 1 else ''}; nothing between "
            f"{clock.stamp(self.before) if self.before else 'the commit before'} and "
            f"{clock.stamp(self.after) if self.after else 'the commit after'} can be recovered across it.",
        )  # fmt: skip


def check_wal_age(duty: Duty, oldest: str | None, moment: datetime | None, *, from_the_first: bool, how: str) -> Check:
    """The oldest archived segment is as old as must be kept.

    Args:
        oldest: its name; None when the archive holds none.
        moment: the time of its oldest commit; None when nothing tells.
        from_the_first: it is the first segment that this system ever wrote.
        how: what the moment was read from.
    """
    common: dict[str, Any] = {
        "id": "retention-wal",
        "title": "Transaction logs are kept as long as they must be",
        "expected": duty.expected,
        "source": duty.source,
        "severity": Severity.CRITICAL,
        "object": oldest,
    }
    if oldest is None:
        return Check(
            **common, status=Status.FAIL, observed="no segment", reason="The archive holds no WAL segment.",
            next="Look at archive_command and pg_stat_archiver on the server.",
        )  # fmt: skip
    if from_the_first:
        return Check(**common, status=Status.PASS, observed=f"from {oldest} on, the first that this system wrote")
    if moment is None:
        return Check(
            **common, status=Status.UNKNOWN, observed=f"from {oldest} on", reason=f"Nothing says of when {oldest} is.",
            next="Make the segment readable for pg_waldump, then run again.",
        )  # fmt: skip
    if moment > duty.now + SKEW:
        return Check(
            **common, status=Status.UNKNOWN, observed=f"from {oldest} on",
            reason=f"{oldest} is of {day(moment)} ({how}), and the clock of this host says {day(duty.now)}: a clock is or was wrong.",
            next="Correct the clock that is wrong; the times of commits in WAL tell how old it is.",
        )  # fmt: skip
    observed = f"from {day(moment)} on ({_age(duty, moment)}, {how})"
    if moment <= duty.since + (FIRST_WITHIN if duty.is_young else timedelta()):
        return Check(**common, status=Status.PASS, observed=observed)
    return Check(
        **common,
        status=Status.FAIL,
        observed=observed,
        reason=f"Archived WAL reaches back {_age(duty, moment)}, to {oldest}, and {duty.expected} must be there ({duty.source}).",
        next=f"Raise the retention of the WAL archive to {human_days(duty.keep_seconds)} or more.",
    )


def check_wal_gaps(gaps: Sequence[Gap], segments: int, where: str) -> Check:
    """Between the oldest and the newest archived segment of each timeline none is missing."""
    common: dict[str, Any] = {
        "id": "wal-complete",
        "title": "No segment is missing from the archive",
        "expected": "0 gaps",
        "object": where,
        "severity": Severity.CRITICAL,
    }
    if not gaps:
        return Check(**common, status=Status.PASS, observed=f"0 gaps in {many(segments, 'segment')}")
    count = sum(gap.count for gap in gaps)
    named = "; ".join(f"{gap.finding().object} {gap.when}" for gap in gaps[:3])
    return Check(
        **common,
        status=Status.FAIL,
        observed=f"{len(gaps)} gap{'s' if len(gaps) != 1 else ''}, {count} segments",
        reason=f"Missing: {named}{' …' if len(gaps) > 3 else ''}.",
        next="Look for the segments (standby, pg_wal, a copy of the archive), and take a new base backup now.",
        findings=tuple(gap.finding() for gap in gaps),
    )


@dataclass(frozen=True)
class LogFile:
    """A log, and the time that its lines span."""

    name: str
    first: datetime
    last: datetime


def silences(files: Sequence[LogFile], until: datetime) -> list[tuple[datetime, datetime]]:
    """The times of more than a day that no log spans, up to `until`."""
    found: list[tuple[datetime, datetime]] = []
    end: datetime | None = None
    for file in sorted(files, key=lambda one: one.first):
        if end is not None and file.first - end > SILENCE:
            found.append((end, file.first))
        end = max(end, file.last) if end is not None else file.last
    if end is not None and until - end > SILENCE:
        found.append((end, until))
    return found


def check_logs(duty: Duty, files: Sequence[LogFile] | None, unread: Sequence[str], where: str) -> Check:
    """Logs reach back as far as must be kept, with no silence of more than a day.

    Args:
        files: None when params name none.
        unread: what could not be read, or has no line with a time.
    """
    common: dict[str, Any] = {
        "id": "retention-logs",
        "title": "Audit logs are kept as long as they must be",
        "expected": duty.expected,
        "source": duty.source,
        "severity": Severity.ERROR,
        "object": where or None,
    }
    naming = "Name the server's log files in params: cluster.log_files."
    if files is None:
        said = "Nothing says where the server's logs are."
        return Check(**common, status=Status.UNKNOWN, observed="not looked for", reason=said, next=naming)
    findings = [
        Finding(
            id="log-unread", object=name, severity=Severity.WARNING, observed="no line with a time", expected="logs"
        )
        for name in unread
    ]
    if not files:
        said = f"No log file with a line that has a time was found ({len(unread)} without)."
        return Check(
            **common, status=Status.UNKNOWN, observed="no log", reason=said, next=naming, findings=tuple(findings)
        )
    oldest = min(files, key=lambda one: one.first)
    quiet = [(begin, end) for begin, end in silences(files, duty.now) if end > duty.since]
    findings += [
        Finding(
            id="log-silence", object=f"{begin:%Y-%m-%d} to {end:%Y-%m-%d}", severity=Severity.ERROR,
            observed=f"no line from {day(begin)} to {day(end)}", expected="at least one line a day",
        )
        for begin, end in quiet
    ]  # fmt: skip
    common["findings"] = tuple(findings)
    observed = f"from {day(oldest.first)} on ({_age(duty, oldest.first)}), {many(len(quiet), 'silence')}"
    reasons = []
    if oldest.first > duty.since + (FIRST_WITHIN if duty.is_young else timedelta()):
        reasons.append(
            f"Logs reach back {_age(duty, oldest.first)}, and {duty.expected} must be there ({duty.source})."
        )
    if quiet:
        begin, end = quiet[0]
        reasons.append(f"No log spans {day(begin)} to {day(end)}{' and other times' if len(quiet) > 1 else ''}.")
    if not reasons:
        return Check(**common, status=Status.PASS, observed=observed)
    return Check(
        **common, status=Status.FAIL, observed=observed, reason=" ".join(reasons),
        next=f"Keep rotated logs for {human_days(duty.keep_seconds)} or more, and look why nothing was logged.",
    )  # fmt: skip
