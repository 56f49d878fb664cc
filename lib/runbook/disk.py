"""What a file system must be told so that it holds after a power cut, what is said when it takes nothing, and where sockets lie."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runbook.errors import PlatformError

#: Linux takes 107 bytes; the longest name of a socket in the folder has 25.
_LONGEST_FOLDER = 80
#: What the disk, its mount, its rights or the system's limits are to blame for: what happened, and the next command.
_CAUSES = {
    errno.ENOSPC: ("the disk is full", "df -h {folder}"),
    errno.EDQUOT: ("the quota is used up", "df -h {folder}"),
    errno.EROFS: ("the file system is mounted read-only", "findmnt -T {folder}"),
    errno.EFBIG: ("the file may not grow further (a limit of this process)", "ulimit -a"),
    errno.EIO: ("the disk reports an input/output error", "dmesg | tail"),
    errno.EACCES: ("this user may not do it", "ls -ld {folder}"),
    errno.EPERM: ("this user may not do it", "ls -ld {folder}"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "runbook doctor"),
    errno.ELOOP: ("a symbolic link leads back to itself", "ls -l {folder}"),
    errno.ENOTDIR: ("a part of the path is no folder", "ls -ld {folder}"),
    errno.EMFILE: ("this process may open no more files", "ulimit -n"),
    errno.ENFILE: ("the system may open no more files", "sysctl fs.file-nr"),
    errno.ENOMEM: ("the system has no memory left", "free -h"),
    errno.ESTALE: ("the network file system has lost the file", "findmnt -T {folder}"),
}


def is_surroundings(cause: OSError) -> bool:
    """True when the disk, its rights or the system's limits are to blame, and not this program."""
    return cause.errno in _CAUSES


def refusal(cause: OSError, path: Path | None = None) -> PlatformError:
    """Return the error in words: the path, why, what is kept, and the next command.

    Args:
        path: the file in question, when the error does not name it.
    """
    why, next_command = _CAUSES.get(cause.errno or 0, (cause.strerror or str(cause), "runbook doctor"))
    named = path or (Path(os.fsdecode(cause.filename)) if isinstance(cause.filename, (str, bytes)) else None)
    place = str(named) if named is not None else "A file"
    folder = shlex.quote(str(named.parent)) if named is not None else "."
    return PlatformError(
        f"{place} could not be read or written: {why}. What was journaled and archived before is kept.",
        next=f"{next_command.format(folder=folder)}  # then: runbook runs",
    )


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within the block an error of a write or a sync, which knows only a descriptor, names the file.

    Raises:
        OSError: as it came, with the file's name.
    """
    try:
        yield
    except OSError as cause:
        if cause.filename is None and cause.errno is not None:
            raise OSError(cause.errno, cause.strerror, str(path)) from cause
        raise


def sync_folder(folder: Path) -> None:
    """Names made, renamed or removed in the folder are on disk.

    Raises:
        OSError: the folder cannot be opened, or the disk does not take it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parent_folder() -> str:
    """Return /tmp, which every user can enter; where it takes no file, what TMPDIR names."""
    return "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()  # noqa: S108


def make_folder() -> Path:
    """Return a new folder of mode 0700, in /tmp; where that takes none, in TMPDIR.

    Raises:
        PlatformError: neither takes it, or the path would be too long for a socket.
    """
    wanted = os.environ.get("TMPDIR")
    refusals = []
    for parent in dict.fromkeys(["/tmp", *([wanted] if wanted else []), "/dev/shm"]):  # noqa: S108 - mkdtemp makes it private
        if len(os.fsencode(parent)) + len("/rb-12345678") > _LONGEST_FOLDER:
            refusals.append(f"{parent}: its path is too long for a socket")
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="rb-", dir=parent))
        except OSError as cause:
            refusals.append(f"{parent}: {cause.strerror}")
    raise PlatformError(
        f"There is no folder for the sockets of a kernel or server ({'; '.join(refusals)}).",
        next="export TMPDIR=/var/tmp  # or another short path of a folder that this user may write to",
    )
