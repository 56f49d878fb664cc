"""A data directory whose server may have run hostile code: read and written without following a link that was planted there.

We are root, and its files belong to another user: a link in place of `pg_wal` or of a configuration file would have us write to, or
read from, whatever it leads to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from runbook.errors import RecoveryRefused
from runbook.outside.commands import OsUser

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REPLACED = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO)
_MOST_BYTES = 4 << 20


@contextlib.contextmanager
def opened(root: Path, *names: str) -> Iterator[int]:
    """Open a folder below `root`, to be used as dir_fd. No step on the way from `root` on is a link.

    Raises:
        RecoveryRefused: one is, or what is done in the block meets a link or a folder in place of a file.
    """
    handles = []
    try:
        handles.append(os.open(root, _FOLDER))
        for name in names:
            handles.append(os.open(name, _FOLDER, dir_fd=handles[-1]))
        yield handles[-1]
    except OSError as cause:
        if cause.errno not in _REPLACED:
            raise
        raise RecoveryRefused(
            f"{root.joinpath(*names)} was altered while its server ran: {cause.filename or names[-1:]} is no file or folder of its own "
            f"({cause.strerror}).",
            next="Do not use this copy; see who could run programs in it (superusers, untrusted languages).",
        ) from cause
    finally:
        for handle in handles:
            os.close(handle)


@contextlib.contextmanager
def replacing(folder: int, name: str, user: OsUser | None) -> Iterator[IO[bytes]]:
    """A new file, of the user alone, is in place of whatever had that name in the open folder."""
    new = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):  # of an attempt that was killed here
        os.unlink(new, dir_fd=folder)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        if user is not None:
            os.fchown(handle, user.uid, user.gid)
        yield file
    os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def link_in(folder: int, name: str, target: Path) -> None:
    """A symbolic link to the target is in place of whatever had that name in the open folder."""
    new = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):  # of an attempt that was killed here
        os.unlink(new, dir_fd=folder)
    os.symlink(target, new, dir_fd=folder)
    os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def read_in(root: Path, *names: str) -> bytes:
    """Return the content (of 4 MiB at most) of the last name, a plain file in the folders before it.

    Raises:
        FileNotFoundError: there is none.
        RecoveryRefused: it is something else than a plain file, or on the way to it is a link.
    """
    with opened(root, *names[:-1]) as folder:
        handle = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.ENXIO, "no plain file", names[-1])
            return file.read(_MOST_BYTES)


def find_planted(folder: Path, links: Collection[str] = ()) -> list[str]:
    """What PostgreSQL does not make below a folder: links, hard links, devices, pipes, sockets, files that run as their owner.

    Args:
        links: paths relative to the folder that may be symbolic links.

    Returns:
        Each as "path: what it is", at most a hundred.
    """
    found: list[str] = []
    for here, folders, names, handle in os.fwalk(folder, follow_symlinks=False, onerror=_raise):
        for name in [*folders, *names]:
            path = str((Path(here) / name).relative_to(folder))
            what = _planted(os.stat(name, dir_fd=handle, follow_symlinks=False))
            if what is not None and not (what == "a symbolic link" and path in links):
                found.append(f"{path}: {what}")
                if len(found) >= 100:
                    return found
    return found


def _planted(facts: os.stat_result) -> str | None:
    if stat.S_ISDIR(facts.st_mode):
        return None
    if stat.S_ISLNK(facts.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(facts.st_mode):
        return "a device, a pipe or a socket"
    if facts.st_nlink > 1:
        return f"a file with {facts.st_nlink} names (hard links)"
    if facts.st_mode & (stat.S_ISUID | stat.S_ISGID):
        return "a file that runs as its owner or group"
    return None


def _raise(cause: OSError) -> None:
    raise cause
