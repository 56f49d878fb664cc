"""Which code, library and tools a run was made with."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import runbook
from runbook import layout

_TOOLS = ("papermill", "nbclient", "ipykernel", "psycopg")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def library() -> Path:
    """The folder that this process imports the library from, wherever that is."""
    return Path(runbook.__file__).resolve().parent


def tree_sha256(root: Path, suffix: str = "") -> str:
    """One fingerprint of a folder's files, each with its path: byte code that Python caches beside its source is left out.

    Args:
        suffix: only files whose names end with it.
    """
    digest = hashlib.sha256()
    for path in sorted(files_below(root)):
        if path.name.endswith(suffix):
            digest.update(f"{path.relative_to(root)}\0{sha256_of(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def files_below(root: Path) -> Iterator[Path]:
    """Every file below a folder, also behind links to folders, which Python follows as well. No pipe is opened."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (path for path in (Path(folder, name) for name in names) if path.is_file())


@cache
def library_sha256() -> str:
    """One fingerprint of all that belongs to the library: Python files, templates, everything below its folder."""
    return tree_sha256(library())


def sql_sha256() -> str:
    """One fingerprint of the SQL files that a run reads."""
    return tree_sha256(layout.sql(), ".sql")


def inputs_of(source: bytes, target: str) -> dict[str, str]:
    """What an attempt executes and reads: the bytes of its notebook, the library, the SQL files, the target's params file."""
    return {
        "source_sha256": sha256_of_bytes(source),
        "library_sha256": library_sha256(),
        "sql_sha256": sql_sha256(),
        "params_sha256": sha256_of(layout.params() / f"{target}.yaml"),
    }


def inputs_sha256(inputs: Mapping[str, str]) -> str:
    """One digest of them all, which an approval holds."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()


def startup_files() -> dict[str, str]:
    """Modules that this Python executed before the library, other than its installation's own: each file with its digest."""
    own = Path(sysconfig.get_path("stdlib")).resolve()
    found = {}
    for name in ("sitecustomize", "usercustomize"):
        file = getattr(sys.modules.get(name), "__file__", None)
        path = Path(file).absolute() if file else None
        if path is not None and path.parent.resolve() != own:
            found[str(path)] = sha256_of(path) if path.is_file() else "gone"
    return found


@cache
def foreign_bytecode() -> tuple[str, ...]:
    """Modules of the library for which this Python executes cached byte code that is not made from their source.

    Python believes a `.pyc` whose header names time and size of the source; the fingerprint and the commit know the source alone.
    """
    root, found = library(), []
    for path in files_below(root):
        cached = Path(importlib.util.cache_from_source(str(path))) if path.suffix == ".py" else None
        if cached is not None and cached.is_file() and not _is_made_from(cached.read_bytes(), path):
            found.append(str(path.relative_to(root)))
    return tuple(sorted(found))


def _is_made_from(data: bytes, source: Path) -> bool:
    """False when Python would execute these bytes of a .pyc, and they are not what the source compiles to."""
    flags, seconds, size = (int.from_bytes(data[start : start + 4], "little") for start in (4, 8, 12))
    status = source.stat()
    if data[:4] != importlib.util.MAGIC_NUMBER:
        return True  # Python compiles the source instead
    if not flags & 1 and (seconds, size) != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF):
        return True
    try:
        made = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
        return bool(marshal.loads(data[16:]) == made)  # noqa: S302 - Python itself loads it on import
    except (ValueError, EOFError, TypeError, SyntaxError):
        return False


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
