"""What git knows of a checkout: its commit, and what differs from it. Nothing that the checkout configures is executed.

Files are compared by their bytes with the commit's tree, not by `git status`: that one would run filters and a file-system
monitor that the repository's own configuration names, and believe an index that says "assume unchanged".

Source: git-ls-tree(1), git-config(1) safe.directory, gitformat-index; measured with git 2.39.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import PlatformError
from runbook.outside.commands import run

_SECONDS = 10.0
#: Folders that hold nothing that is executed or read: byte code beside its source, copies by JupyterLab, metadata of pip.
_IGNORED = ("__pycache__", ".ipynb_checkpoints")
#: Every variable of git's is taken out of its environment (GIT_DIR would name another repository); these are set instead.
_ENVIRONMENT = {
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
_CONFIG = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "protocol.allow=never")


@dataclass(frozen=True)
class Checkout:
    """A checkout beside its commit. `differs` are the paths of files that are changed, missing, or not of the commit.

    `digest` is one fingerprint of all differences; empty without one. `is_tracked`: the commit has a file of the first folder.
    `unknown` says why git could not tell, else it is None.
    """

    commit: str | None = None
    differs: tuple[str, ...] = ()
    digest: str = ""
    unknown: str | None = None
    is_tracked: bool = True


def find_top(path: Path) -> Path | None:
    """The folder with `.git` that the path is in; None when it is in no checkout."""
    start = path if path.is_dir() else path.parent
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def compare(top: Path, roots: Iterable[Path]) -> Checkout:
    """What of the files below these folders of the checkout differs from its commit."""
    program = shutil.which("git")
    if program is None:
        return Checkout(unknown="git is not installed")
    inside = [root.relative_to(top) for root in roots]
    try:
        commit = _git(program, top, "rev-parse", "--verify", "HEAD^{commit}").strip()
        listed = _git(program, top, "ls-tree", "-r", "-z", "--full-tree", commit)
    except PlatformError as cause:
        return Checkout(unknown=_first_line(cause.message))
    known = dict(_entries(listed))
    wanted = {path: entry for path, entry in known.items() if any(Path(path).is_relative_to(root) for root in inside)}
    there = {str(path.relative_to(top)): path for root in inside for path in _files(top / root)}
    found = {path: _blob(file, commit) for path, file in there.items()}
    differs = sorted(
        path for path in {*wanted, *found} if path not in found or path not in wanted or found[path] != wanted[path]
    )
    lines = "".join(f"{path}\0{found.get(path, 'missing')}\n" for path in differs)
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest() if differs else ""
    tracked = bool(inside) and any(Path(path).is_relative_to(inside[0]) for path in wanted)
    return Checkout(commit, tuple(differs), digest, is_tracked=tracked)


def _git(program: str, top: Path, *words: str) -> str:
    config = [part for setting in _CONFIG for part in ("-c", setting)]
    environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("GIT_")}
    environment |= _ENVIRONMENT
    argv = [program, "-C", str(top), "--no-pager", "--literal-pathspecs", *config, *words]
    return run(argv, timeout=_SECONDS, env=environment).stdout


def _entries(listed: str) -> Iterator[tuple[str, str]]:
    """Path, and kind with object id, of every file in a tree."""
    for line in filter(None, listed.split("\0")):
        about, _, path = line.partition("\t")
        mode, _, blob = about.split(" ")
        yield path, f"{'link' if mode == '120000' else 'file'} {blob}"


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [
            one for one in folders if one not in _IGNORED and not one.endswith(".egg-info") and one not in links
        ]
        yield from (Path(folder, name) for name in (*names, *links))


def _blob(path: Path, commit: str) -> str:
    """Kind and object id that git would give the file; not a pipe's, which would wait for ever."""
    if path.is_symlink():
        kind, data = "link", os.fsencode(path.readlink())
    elif path.is_file():
        kind, data = "file", path.read_bytes()
    else:
        return "neither file nor link"
    made = hashlib.sha256() if len(commit) == 64 else hashlib.sha1(usedforsecurity=False)
    made.update(b"blob %d\0" % len(data) + data)
    return f"{kind} {made.hexdigest()}"


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:300]
