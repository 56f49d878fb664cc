"""RTO and RPO, measured, against their budgets. Pure but for reading the live server's WAL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.clock import human_seconds
from runbook.model import Check, Severity, Status
from runbook.params.schema import Budgets
from runbook.postgres.tools import Tools
from runbook.postgres.wal import SEGMENT_NAME, WalRecord, format_lsn, parse_commit, read_records, segment_start


@dataclass(frozen=True)
class Exposure:
    """How much would be lost if production died now. `seconds` is None when nothing shows it."""

    seconds: float | None
    how: str
    is_upper_bound: bool = False


def measure_exposure(
    *,
    live_wal: Path | None,
    timeline: int,
    archive_end: int,
    segment_size: int,
    last_commit: datetime | None,
    tools: Tools,
    timeout: float,
) -> Exposure:
    """The age of the oldest commit that is not in the archive.

    Args:
        live_wal: production's pg_wal when it is within reach: then the figure is exact.
        last_commit: the last commit in the archive: its age is an upper bound.
    """
    now = clock.now()
    end = _end_of_live(live_wal, timeline, segment_size) if live_wal is not None else None
    if live_wal is not None and end is not None:
        nothing = Exposure(
            0.0, f"no commit behind the archive's end ({format_lsn(archive_end)}) in production's own WAL"
        )
        if end <= archive_end:
            return nothing
        # The live log ends where it is being written: pg_waldump's complaint there is expected.
        for item in read_records(tools, live_wal, timeline, archive_end, end, rmgrs=("Transaction",), timeout=timeout):
            commit = parse_commit(item) if isinstance(item, WalRecord) else None
            if commit is not None:
                age = (now - commit.at).total_seconds()
                how = f"oldest commit that is not archived: transaction {commit.xid} at {clock.stamp(commit.at)}"
                return Exposure(max(age, 0.0), how)
        return nothing
    if last_commit is None:
        return Exposure(None, "the archive holds no commit and production's WAL is not within reach")
    return Exposure(
        max((now - last_commit).total_seconds(), 0.0),
        f"age of the last archived commit, {clock.stamp(last_commit)}",
        is_upper_bound=True,
    )


def _end_of_live(live_wal: Path, timeline: int, segment_size: int) -> int | None:
    """Behind the last segment that production has of its timeline; None when its WAL is out of reach or of another one."""
    try:
        names = [path.name for path in live_wal.iterdir() if SEGMENT_NAME.match(path.name)]
    except OSError:
        # Production's own folder may be closed to us: the archive then gives an upper bound.
        return None
    starts = [segment_start(name, segment_size) for name in names]
    if not starts or max(number for number, _ in starts) != timeline:
        return None
    return max(begin for number, begin in starts if number == timeline) + segment_size


def check_rpo(exposure: Exposure, budgets: Budgets) -> Check:
    """The exposure is within the recovery point objective."""
    expected = f"at most {human_seconds(budgets.rpo)}"
    title = "The recovery point objective is met"
    if exposure.seconds is None or (exposure.is_upper_bound and exposure.seconds > budgets.rpo):
        shown = "not measured" if exposure.seconds is None else f"at most {human_seconds(exposure.seconds)}"
        return Check(
            id="rpo",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed=shown,
            reason=f"Nothing shows whether production wrote since: {exposure.how}.",
            next="Give cluster.data_directory in params, so that unarchived WAL can be read, or check the archiver.",
            source=budgets.source,
        )
    within = exposure.seconds <= budgets.rpo
    return Check(
        id="rpo",
        title=title,
        status=Status.PASS if within else Status.FAIL,
        expected=expected,
        observed=human_seconds(exposure.seconds),
        severity=Severity.CRITICAL,
        source=budgets.source,
        reason=None
        if within
        else f"If production died now, {human_seconds(exposure.seconds)} of commits would be lost: {exposure.how}.",
        next=None if within else "Look at pg_stat_archiver and archive_timeout on production.",
    )


def check_rto(seconds: float, budgets: Budgets) -> Check:
    """Restore and recovery took no longer than the recovery time objective."""
    within = seconds <= budgets.rto
    return Check(
        id="rto",
        title="The recovery time objective is met",
        status=Status.PASS if within else Status.FAIL,
        expected=f"at most {human_seconds(budgets.rto)}",
        observed=human_seconds(seconds),
        severity=Severity.CRITICAL,
        source=budgets.source,
        reason=None
        if within
        else f"Restore and recovery took {human_seconds(seconds)}; the budget is {human_seconds(budgets.rto)}.",
        next=None if within else "Take base backups more often, or copy and replay faster.",
    )


def measure_rto(seconds: float, budget: Budgets) -> tuple[list[dict[str, Any]], list[Check]]:
    """The recovery time as a measure, and its check."""
    title = "Recovery time: copy, manifest and replay"
    return [_measure("rto", title, seconds, budget.rto, budget.source)], [check_rto(seconds, budget)]


def measure_rpo(exposure: Exposure, budget: Budgets) -> tuple[list[dict[str, Any]], list[Check]]:
    """What would be lost now as a measure (none where nothing shows it), and its check."""
    checks = [check_rpo(exposure, budget)]
    if exposure.seconds is None:
        return [], checks
    return [_measure("rpo", f"Exposure now ({exposure.how})", exposure.seconds, budget.rpo, budget.source)], checks


def _measure(name: str, title: str, seconds: float, budget: float, source: str) -> dict[str, Any]:
    return {"name": name, "title": title, "value": round(seconds, 3), "unit": "s", "budget": budget, "source": source}
