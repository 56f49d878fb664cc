"""What the steps of a backup verification have shown, as checks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook.errors import TargetError
from runbook.model import Check, Finding, Severity, Status
from runbook.platforms.cluster.backups import Backup, NotProven
from runbook.platforms.cluster.walscan import Scan
from runbook.postgres.wal import format_lsn
from runbook.texts import many
from runbook.verification.fencefile import Fence

#: As many of what was left out are named in a limitation.
_MOST_NAMED = 10


def check_folders(folder: str, backups: Sequence[Backup], wrong: Sequence[TargetError], passed_over: int = 0) -> Check:
    """Every folder in the backup folder is a whole backup.

    Args:
        passed_over: how many others lie there that are no backup by their names or contents; a limitation names them.
    """
    common: dict[str, Any] = {
        "id": "backups",
        "title": "Every folder in the backup folder is a backup that says what it is",
        "expected": "all",
        "object": folder,
        "source": "backup_manifest, backup_label",
    }
    if not wrong:
        others = f", without {passed_over} that are not read as one" if passed_over else ""
        return Check(**common, status=Status.PASS, observed=f"all {len(backups)}{others}")
    return Check(
        **common,
        status=Status.FAIL,
        observed=f"{len(wrong)} of {len(wrong) + len(backups)} do not",
        reason=wrong[0].message,
        next=wrong[0].next,
        severity=Severity.CRITICAL,
        findings=tuple(
            Finding(id="backups", object=folder, severity=Severity.CRITICAL, observed=item.message, expected="a backup")
            for item in wrong
        ),
    )


def check_system(backup: Backup, live: str | None) -> Check | None:
    """The backup is of the live system; None where one of them does not say which it is."""
    if live is None or backup.system_identifier is None:
        return None
    same = live == backup.system_identifier
    return Check(
        id="system",
        title="The backup is of this system",
        status=Status.PASS if same else Status.FAIL,
        expected=live,
        observed=backup.system_identifier,
        object=backup.label,
        severity=Severity.CRITICAL,
        reason=None
        if same
        else f"Backup {backup.label} is of system {backup.system_identifier}; production is {live}.",
        next=None if same else "Correct backup_folder in the params file.",
        source="pg_controldata, backup_manifest",
    )


def check_timeline(number: int, why: str, question: str | None, target: str) -> Check:
    """The timeline that was followed is production's, as far as the server, the backups and the archive show it.

    Args:
        question: why nobody knows it, with the evidence of each timeline that may be; None: it is known, or was asked for.
        target: whose backup is verified.
    """
    command = f"runbook run backup-verification --target {target} -p timeline {number}"
    return Check(
        id="timeline",
        title="The timeline that is followed is production's",
        status=Status.UNKNOWN if question else Status.PASS,
        expected="confirmed by the running server, asked for, or the newest backup's with no other WAL since",
        observed=f"timeline {number}: {why}",
        severity=Severity.CRITICAL,
        reason=question,
        next=f"Start the server (or correct cluster.connection), then run again; or decide, and name the timeline: {command}"
        if question
        else None,
        source="pg_walfile_name(pg_current_wal_insert_lsn()), timeline history files",
    )


def check_newest(chosen: Backup, not_proven: Sequence[NotProven]) -> Check:
    """The backup that is proven is the newest of the folder; UNKNOWN where another one is as new, and nothing explains it.

    Args:
        not_proven: the others that are as new, or of another system.
    """
    found = [one for one in not_proven if one.is_open]
    common: dict[str, Any] = {
        "id": "newest-backup",
        "title": "The newest backup of the folder is the one that is proven",
        "expected": "no newer one that this run leaves out",
        "object": chosen.label,
        "severity": Severity.CRITICAL,
        "source": "backup_manifest, backup_label, pg_control",
    }
    if not found:
        return Check(**common, status=Status.PASS, observed=f"{chosen.label} is restored")
    last = found[-1]
    return Check(
        **common,
        status=Status.UNKNOWN,
        observed=f"{len(found)} left out: {', '.join(one.backup.label for one in found[-5:])}",
        reason=f"Backup {last.backup.label} is as new as {chosen.label}, and is not proven: {last.why}.",
        next="Look at what writes into this backup folder; move backups of other systems elsewhere, and run again.",
    )


def limits_of_store(folder: str, not_proven: Sequence[NotProven], passed_over: Sequence[str]) -> list[str]:
    """Return what lies in the backup folder and was not proven, for the top of the report."""
    said = [f"{one.backup.label}: {one.why}" for one in not_proven] + list(passed_over)
    if not said:
        return []
    more = f"; and {len(said) - _MOST_NAMED} more" if len(said) > _MOST_NAMED else ""
    return [f"Not proven in {folder}: {'; '.join(said[:_MOST_NAMED])}{more}."]


def check_tablespaces(backup: Backup, outside: Sequence[str]) -> list[Check]:
    """The backup holds its tablespaces itself; nothing to check when that is plain.

    Args:
        outside: its tablespaces that may be the live ones, for all that params say.
    """
    if not outside:
        return []
    found = Check(
        id="tablespaces",
        title="The backup holds its own tablespaces",
        status=Status.UNKNOWN,
        expected="inside the backup folder, or known not to be the live ones",
        observed=", ".join(outside),
        object=backup.label,
        severity=Severity.CRITICAL,
        reason=f"Backup {backup.label} links to tablespaces outside the backup folder ({', '.join(outside)}), and params do not "
        "say where the live ones are: these may be the live ones, which no backup holds.",
        next="Name cluster.data_directory or cluster.tablespaces in params.",
        source="pg_tblspc of the backup",
    )
    return [found]


def check_wal(scan: Scan) -> Check:
    """Reading every record has proven the WAL from the backup to the point."""
    return Check(
        id="wal",
        title="WAL from the backup to the point is whole",
        status=Status.PASS,
        expected="every record readable",
        observed=f"{many(scan.segments, 'segment')}, {many(scan.commits, 'commit')}, {format_lsn(scan.start)} to {format_lsn(scan.reached)}",
        source="pg_waldump",
        seconds=scan.seconds,
    )


def check_archive(missing: Sequence[str], where: str, *, is_empty: bool = False) -> Check:
    """The archive itself holds every segment that was needed.

    Args:
        missing: segments that the backup's own pg_wal had to give while the archive has later ones.
        is_empty: the archive gave none at all.
    """
    if is_empty:
        return Check(
            id="archive",
            title="The archive holds every segment",
            status=Status.UNKNOWN,
            expected="none missing",
            observed="none there",
            severity=Severity.CRITICAL,
            reason=f"{where} holds none of the WAL that this backup needs; all of it came from the backup's own pg_wal. "
            "Nothing shows that WAL is archived at all.",
            next="Look at pg_stat_archiver of production and at wal_archive in params.",
            source="the archive's listing",
        )
    return Check(
        id="archive",
        title="The archive holds every segment",
        status=Status.FAIL if missing else Status.PASS,
        expected="none missing",
        observed=f"{len(missing)} missing" if missing else "none missing",
        object=missing[0] if missing else None,
        severity=Severity.CRITICAL,
        reason=f"WAL segment {missing[0]} is missing from {where}; the backup's own copy of it was used."
        if missing
        else None,
        next="Older backups cannot be recovered past this segment: copy it back from the backup's pg_wal."
        if missing
        else None,
        source="the archive's listing",
    )


def check_archive_end(fences: Sequence[Fence], reached: int) -> Check | None:
    """No fence has seen archived WAL behind what is now the archive's end; None when none has seen that far."""
    lost = [fence for fence in fences if fence.last_lsn > reached]
    if not lost:
        return None
    return Check(
        id="archive-end",
        title="The archive reaches as far as its fences",
        status=Status.FAIL,
        expected=f"WAL to at least {format_lsn(lost[-1].last_lsn)}",
        observed=format_lsn(reached),
        object=lost[-1].path.name,
        severity=Severity.CRITICAL,
        reason=f"A fence saw archived WAL up to {format_lsn(lost[-1].last_lsn)}; the archive now ends at {format_lsn(reached)}: "
        "its newest segments are gone.",
        next="Look for the missing segments; take a new base backup now.",
        source="runbook fence",
    )


def check_reached(expected: int, reported: str, seconds: float) -> Check:
    """The server itself says that it stands at the point; `Replay` has raised otherwise."""
    return Check(
        id="reached",
        title="The recovery reached the point and stopped there",
        status=Status.PASS,
        expected=format_lsn(expected),
        observed=reported,
        source="pg_last_wal_replay_lsn()",
        seconds=seconds,
    )


def check_not_promoted(log: str, state: str) -> Check:
    """The server never chose a timeline of its own."""
    stray = "selected new timeline" in log
    return Check(
        id="not-promoted",
        title="The scratch did not promote itself",
        status=Status.FAIL if stray else Status.PASS,
        expected="in recovery",
        observed="promoted" if stray else state,
        severity=Severity.CRITICAL,
        reason="The server selected a new timeline without being asked." if stray else None,
        next="Do not trust this restore; read the server's log." if stray else None,
        source="pg_is_in_recovery(), the server's log",
    )


def check_promoted(timeline: int, forked_at: int) -> Check:
    """The scratch can be promoted, and its timeline forks at the point."""
    return Check(
        id="promoted",
        title="The scratch can be promoted at the point",
        status=Status.PASS,
        expected=f"a timeline of its own that forks at {format_lsn(forked_at)}",
        observed=f"timeline {timeline}",
        source="pg_ctl promote, the timeline's history",
    )
