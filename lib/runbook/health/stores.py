"""What lies where backups and WAL are kept, for the checks that hold it against the server. Read as it lies; nothing is changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from runbook import layout
from runbook.errors import BackupDamaged, NotMeasured, RunbookError, StillArriving
from runbook.params.schema import Cluster, Params, Threshold
from runbook.platforms.cluster.backups import describe_all
from runbook.platforms.cluster.timelines import later_than
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.osuser import service_user
from runbook.postgres.segmentfile import look_at
from runbook.retention.segments import archived_segments

Given = dict[str, object]
_NO_PLACE = "params name no place where base backups and WAL lie: nobody here can tell how old they are"
_RPO = "archived_wal_critical_seconds"
#: So many of the newest segments are looked at for one that is whole: a tool may copy some at the same time.
_LOOKED_AT = 16


def look_at_stores(params: Params, system_identifier: str | None, timeline: int | None) -> Given:
    """The values that check files are given: the newest base backup and the last archived segment, or why they were not seen.

    Args:
        system_identifier: of the server; backups of other systems in the same folder do not count. A manifest names its system since
            PostgreSQL 17: before, every backup in the folder counts.
        timeline: that the server writes; None: it is a standby.
    """
    if params.cluster is None:
        return {**_backup(why=_NO_PLACE), **_segment(why=_NO_PLACE)}
    return {**_newest_backup(params.cluster, system_identifier), **_last_segment(params.cluster, timeline)}


def thresholds(params: Params) -> dict[str, Threshold]:
    """What the params' budgets say about a check; `health.thresholds` comes before it."""
    return {_RPO: Threshold(value=params.budgets.rpo, source=f"budgets.rpo: {params.budgets.source}")}


def _backup(label: str | None = None, at: datetime | None = None, why: str | None = None) -> Given:
    return {"backup_label": label, "backup_at": at, "backup_unseen": why}


def _newest_backup(cluster: Cluster, system_identifier: str | None) -> Given:
    folder = layout.resolve(cluster.backup_folder)
    try:
        found, wrong = describe_all(folder)
    except BackupDamaged as cause:
        # A folder that is not there may be a disk that is not mounted; one that is there and empty is an answer.
        return _backup() if folder.is_dir() else _backup(why=cause.message)
    except RunbookError as cause:
        return _backup(why=cause.message)
    own = [one for one in found if one.system_identifier in (None, system_identifier) or system_identifier is None]
    # The manifest is written last: beside a backup that has one, a folder without is a backup that is under way or was cut short.
    own = [one for one in own if one.has_manifest] or own
    dated = [(one.started_at, one.label) for one in own if one.started_at is not None and not one.incremental]
    if dated:
        at, label = max(dated)
        return _backup(label, at)
    if own or wrong:
        return _backup(why=f"no backup in {layout.short(folder)} says when it was taken")
    return _backup()


def _segment(
    name: str | None = None,
    at: datetime | None = None,
    why: str | None = None,
    later: dict[int, list[str]] | None = None,
) -> Given:
    named = "; ".join(f"timeline {number}: {files[0]}, {len(files)} files" for number, files in (later or {}).items())
    return {
        "segment": name,
        "segment_at": at,
        "segments_unseen": why,
        "later_timelines": str(len(later)) if later else None,
        "later_named": named or None,
    }


def _of_this_server(segments: list[str], names: Iterable[str], timeline: int | None) -> list[str]:
    """Without what stands on a timeline that this server has not reached: left by another, such as a restored copy that was promoted.

    A standby may follow any that a history file leads to.
    """
    there = set(names)
    return [
        one
        for one in segments
        if (
            int(one[:8], 16) <= timeline
            if timeline is not None
            else one[:8] == f"{1:08X}" or f"{one[:8]}.history" in there
        )
    ]


def _last_segment(cluster: Cluster, timeline: int | None) -> Given:
    archive = WalArchive(cluster.wal_archive, service_user(cluster.os_user))
    try:
        names = archive.names()
        if names is None:
            return _segment(
                why="the WAL archive can only be asked for one file at a time: name wal_archive.list_command in params"
            )
        segments = _of_this_server(archived_segments(names), names, timeline)
        later = later_than(names, timeline) if timeline is not None else {}
        last = _newest_whole(archive, segments)
    except RunbookError as cause:
        return _segment(why=cause.message)
    except OSError as cause:
        return _segment(why=f"{cause.filename} cannot be looked at: {cause.strerror}")
    if not segments and archive.directory is None:
        return _segment(
            why="the list command names no segment of this server: the archive is empty, or the list is wrong"
        )
    if last is None:
        newest = ", ".join(reversed(segments[-_LOOKED_AT:]))
        why = f"no whole segment among the newest ones: {newest}" if segments else None
        return _segment(why=why, later=later)
    if archive.directory is None:
        return _segment(last, later=later)  # the server may know when it was archived
    try:
        at = datetime.fromtimestamp((archive.directory / last).stat().st_mtime, UTC)
    except OSError as cause:
        return _segment(why=f"{last} cannot be looked at: {cause.strerror}", later=later)
    return _segment(last, at, later=later)


def _newest_whole(archive: WalArchive, segments: list[str]) -> str | None:
    """The newest segment that has arrived whole: one whose copy is under way is not archived yet.

    Raises:
        RunbookError, OSError: the archive cannot be asked.
    """
    if not segments:
        return None
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as stage:
        Path(stage).chmod(0o755)
        for name in reversed(segments[-_LOOKED_AT:]):
            # A segment names the size of segments in its header; a copy that has none yet is not whole.
            place = archive.directory or Path(stage)
            try:
                if archive.directory is None and not archive.lay(name, place):
                    raise NotMeasured(f"the list of the WAL archive names {name}, and it cannot be fetched")
            except StillArriving:
                continue
            found = look_at(place / name)
            if found.header is not None and found.is_whole(found.header.size):
                return name
    return None
