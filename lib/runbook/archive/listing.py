"""The names of all records, remembered: listing ten thousand folders takes as long as writing one record.

`reports/.names` is disposable. It counts only for the very state of the folder, and the boot of the machine, that it was written for;
else the folder is listed. Read and write it under the archive's lock.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from runbook.archive.tree import FOLDER, Tree
from runbook.plain import NotPlain, is_plain, read_plain


def read_names(tree: Tree) -> list[str]:
    """The names of records, ascending. Whether each is a folder is for the reader to see."""
    try:
        head, _, rest = read_plain(tree.root / ".names").partition(b"\n")
        if head == _state(tree, rest):
            return rest.decode("ascii").splitlines()
    except (FileNotFoundError, NotPlain, UnicodeDecodeError):
        pass
    listed = os.listdir(tree.records) if tree.records.is_dir() else []  # noqa: PTH208 - names, no paths
    return sorted(name for name in listed if FOLDER.fullmatch(name))


def remember_names(tree: Tree, names: list[str]) -> None:
    """The next reader need not list the folder. A failure to write costs time, nothing else."""
    rest = "".join(f"{name}\n" for name in names).encode("ascii")
    with contextlib.suppress(OSError):
        if os.path.lexists(tree.root / ".names") and not is_plain(tree.root / ".names"):
            return  # writing would wait for a reader
        (tree.root / ".names").write_bytes(_state(tree, rest) + b"\n" + rest)


def newest(tree: Tree, names: list[str]) -> Path | None:
    """The record with the highest number."""
    for name in reversed(names):
        folder = tree.records / name
        if folder.is_dir() and not folder.is_symlink():
            return folder
    return None


def _state(tree: Tree, rest: bytes) -> bytes:
    """What changes when anything is put into the folder, taken out or renamed, and when a power cut may have torn the list."""
    found = tree.records.stat()
    boot = Path("/proc/sys/kernel/random/boot_id")
    known = boot.read_text("utf-8").strip() if boot.is_file() else "-"
    return f"{known} {found.st_ino} {found.st_mtime_ns} {found.st_nlink} {len(rest)}".encode("ascii")
