"""Files as anybody may have left them, such as those of an archive: only a regular file is opened, and only so much of it is read.

A pipe would wait for ever, a device may never end, and a sparse file of some exabytes takes no room on the disk that holds it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

#: No record's file is larger: `commit_record` refuses it.
LARGEST_FILE = 1 << 30
#: Manifests, signatures, statements, lists of keys.
LARGEST_TEXT = 16 << 20
#: RUNS: three million runs.
LARGEST_LEDGER = 256 << 20


class NotPlain(OSError):
    """It is no regular file, or a larger one than any that an archive writes."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))
        self.reason = reason


def kind_problem(mode: int, size: int, most: int = LARGEST_FILE) -> str | None:
    """Why a file is not opened; None for a regular one of at most that many bytes."""
    if stat.S_ISLNK(mode):
        return "is a symbolic link, which may lead anywhere"
    if not stat.S_ISREG(mode):
        return "is not a regular file"
    if size > most:
        return f"has {size} bytes, more than any file that an archive writes"
    return None


def is_plain(path: Path, most: int = LARGEST_FILE) -> bool:
    """True for a regular file, not a link, of at most that many bytes."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return kind_problem(found.st_mode, found.st_size, most) is None


def _open(path: Path, most: int, follow: bool) -> BufferedReader:
    found = path.stat() if follow else path.lstat()
    problem = kind_problem(found.st_mode, found.st_size, most)
    if problem is None:
        # Another one may have been put there since: it is opened without waiting, and judged once more.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        opened = os.fdopen(os.open(path, flags), "rb")
        found = os.fstat(opened.fileno())
        problem = kind_problem(found.st_mode, found.st_size, most)
        if problem is None:
            return opened
        opened.close()
    raise NotPlain(path, problem)


def read_plain(path: Path, most: int = LARGEST_TEXT, *, follow: bool = False) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file.
        most: the largest size that is read, in bytes.
        follow: read the file that a symbolic link names; for a path that the user has given.

    Raises:
        NotPlain: it is no regular file, or too large.
        OSError: it is not there, or cannot be read.
    """
    with _open(path, most, follow) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise NotPlain(path, f"has more than {most} bytes, more than any file that an archive writes")
    return content


def sha256_of_file(path: Path, most: int = LARGEST_FILE) -> str:
    """Return the digest of a regular file's bytes; memory stays small whatever its size.

    Raises:
        NotPlain: it is no regular file, or too large.
        OSError: it is not there, or cannot be read.
    """
    with _open(path, most, follow=False) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
