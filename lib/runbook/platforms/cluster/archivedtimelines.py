"""Timelines in an archive that the running server has not reached."""

from __future__ import annotations

from runbook import layout
from runbook.errors import NotMeasured
from runbook.params.schema import Cluster
from runbook.platforms.cluster.backups import describe_all
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.timelines import ask_server, later_than
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.postgres.osuser import service_user


def find_later(cluster: Cluster, application: str) -> tuple[int, dict[int, list[str]]]:
    """Return the timeline that the running server writes, and the files of later ones in the archive.

    Raises:
        NotMeasured: no server confirms a timeline, or the archive cannot be listed.
        BackupDamaged, NotReadable, PlatformError: backups or archive cannot be read.
    """
    backups, _ = describe_all(layout.resolve(cluster.backup_folder))
    systems = {backup.system_identifier for backup in backups if backup.system_identifier is not None}
    live = LiveServer(cluster, application)
    server = ask_server(lambda: live.connect_reader(statement_timeout=10), systems)
    if server.number is None:
        raise NotMeasured(server.why, next="Start the server, or correct cluster.connection.")
    names = WalArchive(cluster.wal_archive, service_user(cluster.os_user)).names()
    if names is None:
        raise NotMeasured(
            "the WAL archive can only be asked for one file at a time", next="Name wal_archive.list_command in params."
        )
    return server.number, later_than(names, server.number)
