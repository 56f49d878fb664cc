"""Further servers of an own cluster: restored copies that are promoted, standbys, each with production's archive_command if it is asked for."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from own_cluster import OwnCluster
from runbook.postgres.osuser import give


def restored_copy(cluster: OwnCluster, place: Path, backup: str = "first", **settings: str) -> OwnCluster:
    """A copy of the backup that recovers from production's archive and promotes; started, it archives as production does.

    Args:
        settings: such as recovery_target_lsn, or archive_mode="off".
    """
    (place / "log").mkdir(parents=True)
    for folder in (place, place / "log"):
        folder.chmod(0o755)
        give(folder, cluster.user)
    copy = OwnCluster(place, cluster.tools, cluster.user, cluster.superuser)
    subprocess.run(["cp", "-a", str(cluster.backups / backup), str(copy.data)], check=True)
    (copy.data / "backup_manifest").unlink(missing_ok=True)
    _configure(copy, f"cp {cluster.archive}/%f %p", {"recovery_target_action": "promote", **settings})
    _signal(copy, "recovery.signal")
    return copy


def standby_of(cluster: OwnCluster, place: Path, backup: str = "first", **settings: str) -> OwnCluster:
    """A standby that streams from production; `copies.promote` ends its recovery."""
    copy = restored_copy(
        cluster, place, backup, primary_conninfo=f"host={cluster.socket} port=5432 user={cluster.superuser}", **settings
    )
    (copy.data / "recovery.signal").unlink()
    _signal(copy, "standby.signal")
    return copy


def _configure(copy: OwnCluster, fetch: str, settings: dict[str, str]) -> None:
    with (copy.data / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = '{fetch}'\n")
        conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def _signal(copy: OwnCluster, name: str) -> None:
    (copy.data / name).touch()
    give(copy.data / name, copy.user)


def wait_until_promoted(copy: OwnCluster) -> None:
    deadline = time.monotonic() + 60
    while copy.sql("SELECT pg_is_in_recovery()")[0][0]:
        assert time.monotonic() < deadline, "the copy did not promote"
        time.sleep(0.05)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)


def leave_stray(cluster: OwnCluster, place: Path, *, segments: int = 0, number: int = 2, **settings: str) -> None:
    """A restored copy was promoted with production's archive_command, wrote, and is gone: its history stays in the archive, and so many
    segments of its own (the first is the one that holds the fork)."""
    copy = restored_copy(cluster, place, **settings)
    copy.start()
    try:
        wait_until_promoted(copy)
        wait_for(cluster.archive / f"{number:08X}.history")
        for one in range(segments):
            copy.sql(f"CREATE TABLE public.stray_{one} AS SELECT generate_series(1, 100) AS n")
            name = str(copy.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
            wait_for(cluster.archive / name)
    finally:
        copy.stop("immediate")
        shutil.rmtree(place)
    if not segments:  # the server archives the segment that it was promoted in when it stops in order, and only then
        for path in cluster.archive.glob(f"{number:08X}*[0-9A-F]"):
            if not path.name.endswith(".history"):
                path.unlink()
