"""Staging folders beside the records: private to their writer, removed when the writer is dead.

A writer holds an exclusive flock on `<folder>.writer` as long as it lives: the kernel lets go of it however the
process ends. Folders are made and removed under the archive's lock, so that none is taken for dead at birth.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook import layout
from runbook.errors import PlatformError

_WRITER = ".writer"


def write_file(path: Path, content: bytes) -> None:
    """The file is on the disk, read-only. It must not have existed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, 0o444)  # whatever the umask
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)


@contextmanager
def archive_lock() -> Iterator[None]:
    """Nobody else numbers, chains or cleans while this is held. Waits for its turn."""
    reports = layout.reports()
    reports.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(reports / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def staging_folder(root: Path | None = None) -> Iterator[Path]:
    """A folder of one's own; gone afterwards, unless it was renamed away. What a killed writer left is removed by the next one.

    Args:
        root: where it is made; default: on the records' file system.

    Raises:
        PlatformError: somebody else has put something in its place.
    """
    root = root or layout.reports() / ".staging"
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    folder, mark = root / name, root / (name + _WRITER)
    with archive_lock():
        root.mkdir(exist_ok=True)
        found = root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PlatformError(f"{root} is no folder of this user.", next=f"ls -ld {shlex.quote(str(root))}")
        remove_dead(root)
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            folder.mkdir(mode=0o755)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield folder
    finally:
        try:
            if folder.exists():
                shutil.rmtree(folder)
            mark.unlink()
        finally:
            os.close(descriptor)


def remove_dead(root: Path) -> None:
    """Folders whose writer is dead are gone. Call under the archive's lock."""
    for folder in sorted(root.iterdir()):
        if folder.name.endswith(_WRITER):
            if not folder.with_name(folder.name.removesuffix(_WRITER)).exists() and _is_dead(folder):
                folder.unlink(missing_ok=True)
            continue
        mark = folder.with_name(folder.name + _WRITER)
        if not mark.exists() or _is_dead(mark):
            shutil.rmtree(folder)
            mark.unlink(missing_ok=True)


def _is_dead(mark: Path) -> bool:
    try:
        descriptor = os.open(mark, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
