"""Base backups of the sandbox, and waiting until its WAL is archived."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from runbook import clock
from runbook.disk import sync_folder
from runbook.errors import PlatformError
from runbook.outside import commands
from runbook.postgres import connect, wal
from runbook.postgres.osuser import give
from runbook.postgres.tools import read_control
from runbook.sandbox import data
from runbook.sandbox.place import BackupFacts, RelationFile, Sandbox

ARCHIVE_TIMEOUT = 60.0


def backup_argv(program: str, conninfo: str, folder: Path, label: str, mapping: dict[Path, Path]) -> list[str]:
    """pg_basebackup in plain format, with its manifest and without WAL: the archive holds that.

    >>> backup_argv("/bin/pg_basebackup", "host=/s", Path("/b"), "nightly", {Path("/t"): Path("/u")})[-1]
    '--tablespace-mapping=/t=/u'
    """
    return [
        program,
        f"--dbname={conninfo}",
        f"--pgdata={folder}",
        "--format=plain",
        "--checkpoint=fast",
        "--wal-method=none",
        f"--label={label}",
        "--no-password",
        *(f"--tablespace-mapping={old}={new}" for old, new in mapping.items()),
    ]


def take_backup(sandbox: Sandbox, label: str) -> tuple[Sandbox, Path]:
    """A base backup stands in backups/<utc>/, wholly or not at all, with all the WAL it needs archived.

    Returns:
        The sandbox with what is known of the backup in its state, and the backup's folder.

    Raises:
        CommandFailed, CommandTimedOut: pg_basebackup failed, or waited in vain for its WAL to be archived.
    """
    name = clock.compact(clock.now())
    while (sandbox.backups / name).exists():
        time.sleep(0.2)
        name = clock.compact(clock.now())
    final = sandbox.backups / name
    part = sandbox.backups / f"{name}.part"
    mapping = _tablespace_mapping(sandbox, name)
    conninfo = sandbox.conninfo("postgres")
    try:
        commands.run(
            backup_argv(sandbox.tools.path("pg_basebackup"), conninfo, part, label, mapping),
            timeout=3600 if sandbox.state.size != "small" else 300,
            user=sandbox.user,
        )
        with sandbox.connect(read_only=True) as connection:
            facts = _describe(sandbox, connection, part)
        part.rename(final)
    except BaseException:
        for folder in (part, *mapping.values()):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    sync_folder(sandbox.backups)
    return sandbox.with_state(backups={**sandbox.state.backups, name: facts}), final


def _tablespace_mapping(sandbox: Sandbox, name: str) -> dict[Path, Path]:
    mapping = {}
    for number, link in enumerate(sorted((sandbox.data / "pg_tblspc").iterdir())):
        folder = sandbox.tablespace_backups / f"{name}-{number}"
        folder.mkdir(mode=0o700)
        mapping[link.readlink()] = give(folder, sandbox.user)
    return mapping


def _describe(sandbox: Sandbox, connection: connect.Connection, folder: Path) -> BackupFacts:
    manifest = json.loads((folder / "backup_manifest").read_text("utf-8"))
    extent = manifest["WAL-Ranges"][0]
    size = int(read_control(sandbox.tools, folder)["Bytes per WAL segment"])
    first, last = (
        wal.segment_name(extent["Timeline"], wal.parse_lsn(extent[key]) - back, size)
        for key, back in (("Start-LSN", 0), ("End-LSN", 1))
    )
    relations = {
        str(row["name"]): RelationFile.model_validate({key: row[key] for key in ("path", "kind", "pages")})
        for row in data.run_file(connection, "list_relation_files")
        if (folder / str(row["path"])).is_file()
    }
    return BackupFacts(first_segment=first, last_segment=last, relations=relations)


def archive_tail(sandbox: Sandbox, timeout: float = ARCHIVE_TIMEOUT) -> str:
    """All that was committed so far is in the archive.

    Returns:
        The last segment's name.

    Raises:
        PlatformError: the archiver did not deliver it in time.
    """
    with sandbox.connect() as connection:
        segment = str(data.run_file(connection, "switch_wal")[0]["segment"])
        wait_archived(sandbox, segment, timeout)
        return segment


def wait_archived(sandbox: Sandbox, segment: str, timeout: float = ARCHIVE_TIMEOUT) -> None:
    """The segment is in the archive.

    Raises:
        PlatformError: it is not, after that many seconds.
    """
    deadline = time.monotonic() + timeout
    while not (sandbox.archive / segment).is_file():
        if time.monotonic() > deadline:
            raise PlatformError(
                f"The WAL segment {segment} was not archived within {timeout:.0f} s.",
                next=f"Read {sandbox.log}; is {sandbox.archive} writable by the server's user?",
            )
        time.sleep(0.05)
