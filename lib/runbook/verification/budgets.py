"""RTO and RPO, measured, against their budgets. Pure."""

from __future__ import annotations

from typing import Any

from runbook.clock import human_seconds
from runbook.model import Check, Severity, Status
from runbook.params.schema import Budgets
from runbook.postgres.wal import format_lsn
from runbook.verification.exposure import Exposure


def check_lost(exposure: Exposure) -> list[Check]:
    """All WAL that production has written is in the archive or in its pg_wal; nothing to report when it is."""
    checks = []
    if exposure.lost is not None:
        lost = exposure.lost
        checks.append(
            Check(
                id="wal-lost",
                title="All WAL that production has written can be read somewhere",
                status=Status.FAIL,
                expected=f"WAL up to production's position {format_lsn(lost.position)}",
                observed=f"none from {format_lsn(lost.start)} to {format_lsn(lost.end)}",
                severity=Severity.CRITICAL,
                reason=f"WAL from {format_lsn(lost.start)} to {format_lsn(lost.end)} is lost: it is neither in the archive nor in "
                f"production's pg_wal ({lost.how}). No recovery reaches a commit after {format_lsn(lost.start)}.",
                next="Take a new base backup now; look for the segments (standby, a copy of the archive).",
                source="the archive as it is now, pg_wal of production",
            )
        )
    if exposure.unarchived is not None:
        name, who = exposure.unarchived
        checks.append(
            Check(
                id="archiver",
                title="The archive holds what production's archiver has archived",
                status=Status.UNKNOWN,
                expected=f"{name} in the archive",
                observed="not there, or not whole",
                object=name,
                severity=Severity.CRITICAL,
                reason=f"{who}, and the archive does not hold {name}: archive_command ends with 0 without archiving, or what params name is "
                "another archive, or a copy of it that lags.",
                next="Look for it where archive_command writes; if it is nowhere, copy it from pg_wal of production and take a new base backup now.",
                source="pg_stat_archiver",
            )
        )
    return checks


def check_rpo(exposure: Exposure, budgets: Budgets) -> Check:
    """The exposure is within the recovery point objective."""
    common: dict[str, Any] = {
        "id": "rpo",
        "title": "The recovery point objective is met",
        "expected": f"at most {human_seconds(budgets.rpo)}",
        "source": budgets.source,
    }
    if exposure.lost is not None:
        start = format_lsn(exposure.lost.start)
        return Check(
            **common,
            status=Status.FAIL,
            observed=f"no commit after {start} can be recovered",
            severity=Severity.CRITICAL,
            reason=f"WAL after {start} is lost, so the exposure grows until there is a new base backup: {exposure.how}.",
            next="Take a new base backup now.",
        )
    if exposure.seconds is None or (exposure.is_upper_bound and exposure.seconds > budgets.rpo):
        shown = "not measured" if exposure.seconds is None else f"at most {human_seconds(exposure.seconds)}"
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=shown,
            reason=f"Nothing shows whether production wrote since: {exposure.how}.",
            next="Give cluster.data_directory in params, so that unarchived WAL can be read, or check the archiver.",
        )
    within = exposure.seconds <= budgets.rpo
    return Check(
        **common,
        status=Status.PASS if within else Status.FAIL,
        observed=human_seconds(exposure.seconds),
        severity=Severity.CRITICAL,
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
    checks = [*check_lost(exposure), check_rpo(exposure, budget)]
    if exposure.seconds is None:
        return [], checks
    return [_measure("rpo", f"Exposure now ({exposure.how})", exposure.seconds, budget.rpo, budget.source)], checks


def _measure(name: str, title: str, seconds: float, budget: float, source: str) -> dict[str, Any]:
    return {"name": name, "title": title, "value": round(seconds, 3), "unit": "s", "budget": budget, "source": source}
