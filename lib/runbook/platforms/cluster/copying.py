"""Copying and unpacking a base backup, with progress in bytes and flat memory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from runbook.clock import human_bytes
from runbook.errors import BackupDamaged, CommandFailed, PlatformError, RecoveryRefused, ScratchFull
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.datafolder import find_planted
from runbook.postgres.osuser import give

Progress = Callable[[int, int], None]  # bytes done, bytes in total

_CHUNK = 32 << 20
_WORKERS = 2


def tree_size(root: Path) -> int:
    """Bytes of the regular files below a folder."""
    return sum(path.lstat().st_size for path in _files(root))


def allocated(root: Path) -> int:
    """Bytes that become free when the folder is removed; WAL segments may have holes."""
    return sum(path.lstat().st_blocks * 512 for path in _files(root))


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            yield Path(folder) / name


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written there."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def with_spare(wanted: int) -> int:
    """The room to ask for `wanted` bytes: a tenth more."""
    return wanted * 11 // 10


def require_room(folder: Path, wanted: int) -> None:
    """The folder's file system has room for `wanted` bytes and a tenth more.

    Raises:
        ScratchFull: it has not.
    """
    free = free_bytes(folder)
    if free < with_spare(wanted):
        raise ScratchFull(
            f"The scratch location {folder} has {human_bytes(free)} free; the restore needs {human_bytes(with_spare(wanted))}.",
            next="Free space there, or name another place with -p scratch /path (or verification.scratch in params).",
        )


def copy_tree(source: Path, target: Path, user: OsUser | None, *, skip: frozenset[str], progress: Progress) -> int:
    """The source's folders and files stand in the target, owned by `user`; bytes copied.

    Args:
        skip: paths relative to the source that are left out (with all below them).
        progress: called with bytes done and in total.

    Raises:
        ScratchFull: no space, or the target may not be written.
        BackupDamaged: a file of the source cannot be read.
    """
    todo: list[tuple[Path, Path, int]] = []
    for folder, names, files in os.walk(source):
        relative = Path(folder).relative_to(source)
        names[:] = [name for name in names if str(relative / name) not in skip]
        here = target / relative
        _make_folder(here, user)
        for name in list(names):
            if (Path(folder) / name).is_symlink():
                names.remove(name)
        for name in files:
            path = Path(folder) / name
            if str(relative / name) in skip or path.is_symlink():
                continue
            todo.append((path, here / name, path.stat().st_size))
    total = sum(size for _, _, size in todo)
    done = 0
    lock = threading.Lock()

    def copy(item: tuple[Path, Path, int]) -> None:
        nonlocal done
        for count in copy_file(item[0], item[1], user):
            with lock:
                done += count
                progress(done, total)

    with ThreadPoolExecutor(_WORKERS) as pool:
        for _ in pool.map(copy, sorted(todo, key=lambda item: -item[2])):
            continue
    return total


def _make_folder(folder: Path, user: OsUser | None) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as cause:
        raise _scratch_error(folder, cause) from cause
    give(folder, user)


def _scratch_error(path: Path, cause: OSError) -> PlatformError:
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the quota is used up",
        errno.EROFS: "the file system is read-only",
    }.get(cause.errno or 0, cause.strerror or str(cause))
    return ScratchFull(
        f"The scratch location cannot be written: {reason} ({path}).",
        next="Free space or make it writable, or name another place with -p scratch /path.",
    )


def copy_file(source: Path, target: Path, user: OsUser | None) -> Iterator[int]:
    """Copy a file to a new one of the user's; yields the bytes of each part once they are copied.

    Raises:
        BackupDamaged: the source cannot be read.
        ScratchFull: the target cannot be written.
    """
    try:
        reading = source.open("rb", buffering=0)
    except OSError as cause:
        raise BackupDamaged(
            f"The backup file {source} cannot be read: {cause.strerror}.", next="Look at the disk."
        ) from cause
    with reading:
        try:
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as cause:
            raise _scratch_error(target, cause) from cause
        try:
            if user is not None:
                os.fchown(writing, user.uid, user.gid)
            while True:
                try:
                    count = _move_chunk(reading.fileno(), writing)
                except OSError as cause:
                    if cause.errno == errno.EIO:
                        raise BackupDamaged(
                            f"Reading {source} failed: {cause.strerror}.", next="Look at the disk."
                        ) from cause
                    raise _scratch_error(target, cause) from cause
                if count == 0:
                    return
                yield count
        finally:
            os.close(writing)


def _move_chunk(reading: int, writing: int) -> int:
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(reading, writing, _CHUNK)
        except OSError as cause:
            # Not between these file systems; read and write instead.
            if cause.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
    data = os.read(reading, 1 << 20)
    view = memoryview(data)
    while view:
        view = view[os.write(writing, view) :]
    return len(data)


def remove_tree(folder: Path) -> None:
    """The folder is gone with all below it, its files by several threads: large files with unwritten pages take their time.

    Raises:
        FileNotFoundError: there is none.
        OSError: something could not be removed.
    """
    # At the interpreter's end, when cleanups run, concurrent.futures takes no more work (RuntimeError); then one thread removes all.
    with contextlib.suppress(RuntimeError), ThreadPoolExecutor(2 * _WORKERS) as pool:
        # By open folders: whoever owns one could put a link in its place meanwhile.
        for _, _, names, handle in os.fwalk(folder, topdown=False):
            for _ in pool.map(partial(os.unlink, dir_fd=handle), names):
                continue
    shutil.rmtree(folder)


#: What tar says when it, or the program that decompresses for it, cannot be run or cannot read or write here.
_NO_PROGRAM = re.compile(
    r"Cannot exec|command not found|: not found|Permission denied|Cannot allocate memory|Killed|Too many open files"
)


def unpack_tar(archive: Path, target: Path, user: OsUser | None, timeout: float) -> None:
    """The tar file's members stand in the target, owned by `user`.

    Raises:
        BackupDamaged: tar says the file is damaged.
        ScratchFull: no space.
        RecoveryRefused: a member is no plain file or folder, other than the links of tablespaces.
    """
    _make_folder(target, user)
    program = shutil.which("tar") or "/bin/tar"
    packer = {".gz": ["-z"], ".zst": ["--use-compress-program=zstd -d"], ".lz4": ["--use-compress-program=lz4 -d"]}
    argv = [program, *packer.get(archive.suffix, []), "-x", "-f", str(archive), "-C", str(target), "--no-same-owner"]
    try:
        commands.run(argv, timeout=timeout)
    except CommandFailed as cause:
        if "No space left" in cause.message:
            raise ScratchFull(f"The disk filled while unpacking {archive.name}.", next="Free space there.") from cause
        code = cause.facts.get("code")
        if code is None or int(str(code)) not in (1, 2) or _NO_PROGRAM.search(cause.message):
            raise CommandFailed(
                f"{archive} cannot be unpacked here, which says nothing about it: {cause.message}",
                next="Install what is missing (tar, gzip, zstd, lz4) or free memory, then run again.",
            ) from cause
        raise BackupDamaged(f"{archive} cannot be unpacked: {cause.message}", next="Take a new base backup.") from cause
    planted = find_planted(target, [f"pg_tblspc/{path.name}" for path in target.glob("pg_tblspc/*")])
    if planted:
        raise RecoveryRefused(
            f"{archive} holds what pg_basebackup never packs: {planted[0]}.", next="See who can write to the backups."
        )
    if user is not None:
        for folder, _, files in os.walk(target):
            give(Path(folder), user)
            for name in files:
                give(Path(folder) / name, user)
    target.chmod(0o700)
