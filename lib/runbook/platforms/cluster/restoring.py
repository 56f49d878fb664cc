"""A backup's files into a scratch: plain or tar, its tablespaces inside the scratch, nothing that leads out of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from runbook.errors import BackupDamaged, RecoveryRefused
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.copying import Progress, copy_tree, require_room, tree_size, unpack_tar
from runbook.postgres.osuser import give
from runbook.postgres.wal import format_lsn

#: How much larger a tar backup may become when it is unpacked, for the room that is asked for.
_UNPACKED = 4


def size_of(backup: Backup, live: tuple[Path, ...]) -> int:
    """Bytes that the backup's files take once they are restored; of a tar backup, the most they may take.

    Args:
        live: folders of the running cluster.

    Raises:
        RecoveryRefused, BackupDamaged: a tablespace of the backup is the live one, or is not there.
    """
    if backup.layout == "tar":
        return _UNPACKED * tree_size(backup.path)
    return tree_size(backup.path) + sum(tree_size(one) for one in _tablespaces(backup.path, live).values())


def restore_files(
    backup: Backup, scratch: Path, user: OsUser | None, *, live: tuple[Path, ...], progress: Progress, timeout: float
) -> int:
    """The backup's files stand in `scratch/data`, its tablespaces in `scratch/tablespaces`; bytes copied.

    Args:
        live: folders of the running cluster; a tablespace link into one of them is refused.

    Raises:
        RecoveryRefused: a tablespace of the backup is the live one.
        BackupDamaged: a file or tablespace of the backup cannot be read.
        ScratchFull: no room.
    """
    data = scratch / "data"
    if backup.layout == "tar":
        require_room(scratch, size_of(backup, live))
        done = _unpack(backup, scratch, user, progress, timeout)
        links = {path.name: path for path in (scratch / "tablespaces").iterdir()}
    else:
        sources = _tablespaces(backup.path, live)
        require_room(scratch, size_of(backup, live))
        done = copy_tree(backup.path, data, user, skip=frozenset({"pg_wal"}), progress=progress)
        links = {oid: scratch / "tablespaces" / oid for oid in sources}
        for oid, source in sources.items():
            done += copy_tree(source, links[oid], user, skip=frozenset(), progress=progress)
    for folder in ("pg_wal", "pg_tblspc"):
        (data / folder).mkdir(mode=0o700, exist_ok=True)
        give(data / folder, user)
    for oid, own in links.items():
        (data / "pg_tblspc" / oid).unlink(missing_ok=True)
        (data / "pg_tblspc" / oid).symlink_to(own)
    return done


def _unpack(backup: Backup, scratch: Path, user: OsUser | None, progress: Progress, timeout: float) -> int:
    archives = sorted(path for path in backup.path.iterdir() if ".tar" in path.name)
    total = sum(path.stat().st_size for path in archives)
    done = 0
    for archive in archives:
        stem = archive.name.split(".tar")[0]
        folder = {"base": scratch / "data", "pg_wal": scratch / "backup_wal"}.get(stem, scratch / "tablespaces" / stem)
        # WAL is read from the stage: it stays ours, so that the server cannot alter what the stage leads to.
        unpack_tar(archive, folder, None if stem == "pg_wal" else user, timeout)
        done += archive.stat().st_size
        progress(done, total)
    manifest = backup.path / "backup_manifest"
    if manifest.exists():
        shutil.copyfile(manifest, scratch / "data" / "backup_manifest")
        give(scratch / "data" / "backup_manifest", user)
    return tree_size(scratch / "data")


def _tablespaces(backup: Path, live: tuple[Path, ...]) -> dict[str, Path]:
    """Where the backup's tablespaces really are, by OID."""
    found: dict[str, Path] = {}
    for path in sorted((backup / "pg_tblspc").glob("*")):
        if not path.is_symlink():
            continue
        source = path.resolve()
        for folder in live:
            if source.is_relative_to(folder.resolve()):
                raise RecoveryRefused(
                    f"The backup's tablespace {path.name} is a link to the live tablespace {source}: the backup does not hold it.",
                    next="Take the backup with pg_basebackup --tablespace-mapping, or in tar format.",
                )
        if not source.is_dir():
            raise BackupDamaged(
                f"The backup's tablespace {path.name} leads to {source}, which is not there.",
                next="Take a new base backup.",
            )
        found[path.name] = source
    return found


def close_off(scratch: Path, user: OsUser | None) -> None:
    """Every tablespace link and map line leads inside the scratch; files of another cluster's life are gone.

    Raises:
        RecoveryRefused: a link leads elsewhere.
        BackupDamaged: there is no backup_label.
    """
    data = scratch / "data"
    if not (data / "backup_label").exists():
        raise BackupDamaged(
            "The backup has no backup_label: recovery would begin at the last checkpoint, behind changes that the files lack.",
            next="Take a new base backup; look at who removed this file.",
        )
    tablespace_map = data / "tablespace_map"
    if tablespace_map.exists():
        oids = [line.split(" ", 1)[0] for line in tablespace_map.read_text("utf-8", "surrogateescape").splitlines()]
        for oid in oids:
            (scratch / "tablespaces" / oid).mkdir(mode=0o700, exist_ok=True)
            give(scratch / "tablespaces" / oid, user)
        tablespace_map.write_text(
            "".join(f"{oid} {scratch / 'tablespaces' / oid}\n" for oid in oids), "utf-8", "surrogateescape"
        )
    for path in (data / "pg_tblspc").glob("*"):
        if not path.resolve().is_relative_to(scratch.resolve()):
            raise RecoveryRefused(f"The tablespace link {path.name} leads out of the scratch, to {path.resolve()}.")
    for name in ("postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"):
        (data / name).unlink(missing_ok=True)


def refuse_new_tablespaces(made: Sequence[tuple[int, str]], backup: str, next: str) -> None:
    """No tablespace is created by the WAL that is to be replayed: replay links the original path, whatever the copy's own folders are.

    Args:
        made: position and path of each, as the scan of the WAL found them.
        backup: the label of the backup that lacks them.

    Raises:
        RecoveryRefused: one is.
    """
    if made:
        position, path = made[0]
        raise RecoveryRefused(
            f"WAL creates the tablespace {path} at {format_lsn(position)}, after backup {backup}: "
            "replaying it beside production would write into production's own folder.",
            next=next,
        )
