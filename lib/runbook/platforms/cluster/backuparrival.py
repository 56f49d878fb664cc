"""Base backups that are still being written, told from backups that are damaged or were cut short.

pg_basebackup writes the manifest last. A folder without one is unfinished while it changes between two looks by our clock, or while
production's server says that a base backup is running.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from runbook.errors import RunbookError
from runbook.params.schema import Cluster
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import SqlError, one
from runbook.postgres.sqlfiles import load_sql

#: Seconds between the two looks.
_APART = 1.5


def find_unfinished(cluster: Cluster, folders: Iterable[Path]) -> dict[Path, str]:
    """Return the folders whose backup is still being written, with how that is known. Those with a manifest are finished.

    Nothing is waited for where every folder has a manifest.
    """
    open_ = [folder for folder in folders if not (folder / "backup_manifest").exists()]
    if not open_:
        return {}
    before = {folder: _trace(folder) for folder in open_}
    time.sleep(_APART)
    found = {folder: "it changes" for folder in open_ if _trace(folder) != before[folder]}
    if len(found) < len(open_) and _is_backup_running(cluster):
        # One base backup at a time is the rule: the folder that was written to last.
        newest = max(open_, key=lambda folder: before[folder][2])
        found.setdefault(newest, "production's server says that a base backup is running")
    return found


def _trace(folder: Path) -> tuple[int, int, int]:
    """Files, bytes, and the newest time among them: what changes while a backup is written."""
    files = size = newest = 0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):  # noqa: PTH118  (a Path for each is slow)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # renamed meanwhile, as files that are being written are
            files, size, newest = files + 1, size + status.st_size, max(newest, status.st_mtime_ns)
    return files, size, newest


def _is_backup_running(cluster: Cluster) -> bool:
    """True when production's server says so; a server that cannot be asked says nothing."""
    live = LiveServer(cluster, "runbook-backups")
    try:
        if cluster.connection is None or not live.is_up():
            return False
        with live.connect(statement_timeout=10) as connection:
            return bool(one(connection, load_sql("lockdown/count_base_backups").text)["running"])
    except (RunbookError, SqlError):
        return False  # the two looks alone decide then
