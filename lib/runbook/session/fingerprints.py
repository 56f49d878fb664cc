"""Which code, library and tools a run was made with."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runbook import layout

_TOOLS = ("papermill", "nbclient", "ipykernel", "psycopg")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def library_sha256() -> str:
    """One fingerprint of all Python and SQL files of the library, with their names."""
    digest = hashlib.sha256()
    library = layout.CHECKOUT / "lib" / "runbook"
    files = sorted(library.rglob("*.py")) + sorted(layout.sql().rglob("*.sql"))
    for path in files:
        digest.update(f"{path.name}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def tools() -> dict[str, str]:
    """Versions of Python and the packages that execute a notebook."""
    found = {"python": platform.python_version()}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str | None:
    """The checkout's commit, read from `.git` as it stands; None when this is no checkout."""
    git = layout.CHECKOUT / ".git"
    if git.is_file():  # a worktree: the file names the real folder
        git = (layout.CHECKOUT / git.read_text("utf-8").partition("gitdir:")[2].strip()).resolve()
    head = git / "HEAD"
    if not head.is_file():
        return None
    content = head.read_text("utf-8").strip()
    if not content.startswith("ref: "):
        return content
    ref = content[5:]
    common = git / "commondir"
    base = (git / common.read_text("utf-8").strip()).resolve() if common.is_file() else git
    for folder in (git, base):
        if (folder / ref).is_file():
            return (folder / ref).read_text("utf-8").strip()
    packed = base / "packed-refs"
    if packed.is_file():
        for line in packed.read_text("utf-8").splitlines():
            if line.endswith(" " + ref):
                return line.split(" ")[0]
    return None
