"""A base backup of the living cluster, with its manifest, into the backup folder: wholly or not at all."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from runbook import clock, layout
from runbook.disk import sync_folder
from runbook.errors import OperatorError
from runbook.outside import commands
from runbook.params.schema import Cluster
from runbook.platforms.cluster.backups import looks_like_backup
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import conninfo_parts
from runbook.postgres.osuser import give

TIMEOUT = 12 * 3600.0
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "passfile": "PGPASSFILE",
}


def backup_argv(program: str, folder: Path, label: str, mapping: dict[Path, Path]) -> list[str]:
    """pg_basebackup in plain format, with its manifest and without WAL: the archive holds that. The way in is in the environment.

    >>> backup_argv("/bin/pg_basebackup", Path("/b"), "after", {Path("/t"): Path("/u")})[-2:]
    ['--no-password', '--tablespace-mapping=/t=/u']
    """
    return [
        program,
        f"--pgdata={folder}",
        "--format=plain",
        "--checkpoint=fast",
        "--wal-method=none",
        f"--label={label}",
        "--no-password",
        *(f"--tablespace-mapping={old}={new}" for old, new in mapping.items()),
    ]


def take_backup(cluster: Cluster, live: LiveServer, label: str) -> Path:
    """A base backup stands in the backup folder, verified against its own manifest; its folder.

    Raises:
        OperatorError: the backup folder is itself one backup.
        CommandFailed, CommandTimedOut: it could not be taken, or is not as its manifest says; nothing is left of it.
    """
    parent = layout.resolve(cluster.backup_folder)
    if looks_like_backup(parent):
        raise OperatorError(
            f"{parent} is itself a backup: there is no room beside it.",
            next="Name the folder above it as cluster.backup_folder, or take the base backup by your own means.",
        )
    tools, user = live.tools(), live.user
    name = clock.compact(clock.now())
    while (parent / name).exists():
        time.sleep(0.2)
        name = clock.compact(clock.now())
    part = parent / f"{name}.part"
    mapping = _tablespaces(live.need_data(), parent, name)
    for folder in mapping.values():
        folder.mkdir(mode=0o700, parents=True)
        give(folder.parent, user)
        give(folder, user)
    env = {
        variable: value for key, variable in _VARIABLES.items() if (value := conninfo_parts(live.conninfo()).get(key))
    }
    env["PGAPPNAME"] = live.application[:63]
    try:
        commands.run(
            backup_argv(tools.path("pg_basebackup"), part, label, mapping), timeout=TIMEOUT, user=user, env=env
        )
        commands.run([tools.path("pg_verifybackup"), "--no-parse-wal", str(part)], timeout=TIMEOUT, user=user)
        part.rename(parent / name)
    except BaseException:
        for folder in (part, *mapping.values()):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(parent)
    return parent / name


def _tablespaces(data: Path, parent: Path, name: str) -> dict[Path, Path]:
    """Where each tablespace goes: beside the backups, since a link into a folder that is renamed would break."""
    links = sorted(link for link in (data / "pg_tblspc").iterdir() if link.is_symlink())
    beside = parent.with_name(f"{parent.name}-tablespaces")
    return {link.readlink(): beside / f"{name}-{link.name}" for link in links}
