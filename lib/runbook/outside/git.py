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
        about = _git(program, top, "cat-file", "commit", commit)
        listed = _git(program, top, "ls-tree", "-r", "-t", "-z", "--full-tree", commit)
    except PlatformError as cause:
        return Checkout(unknown=_first_line(cause.message))
    entries = list(_entries(listed))
    if not _is_of_commit(entries, about, commit):
        return Checkout(
            unknown=f"the objects of the commit {commit[:12]} are not those that its name stands for: .git was altered"
        )
    known = {one.path: one.content for one in entries if one.kind != "tree"}
    wanted = {path: entry for path, entry in known.items() if any(Path(path).is_relative_to(root) for root in inside)}
    there = {str(path.relative_to(top)): path for root in inside for path in _files(top / root)}
    compared = [top / root for root in inside]
    found = {path: _content_of(file, commit, compared) for path, file in there.items()}
    differs = sorted(
        path for path in {*wanted, *found} if path not in found or path not in wanted or found[path] != wanted[path]
    )
    lines = "".join(f"{path}\0{found.get(path, 'missing')}\n" for path in differs)
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest() if differs else ""
    tracked = bool(inside) and any(Path(path).is_relative_to(inside[0]) for path in wanted)
    return Checkout(commit, tuple(differs), digest, is_tracked=tracked)


def _git(program: str, top: Path, *words: str) -> str:
    config = [part for setting in _CONFIG for part in ("-c", setting)]
    argv = [program, "-C", str(top), "--no-pager", "--literal-pathspecs", *config, *words]
    return run(argv, timeout=_SECONDS, env=_ENVIRONMENT).stdout


@dataclass(frozen=True)
class _Entry:
    mode: str
    kind: str
    object: str
    path: str

    @property
    def content(self) -> str:
        """As `_content_of` says it of a file on the disk."""
        return f"{'link' if self.mode == '120000' else 'file'} {self.object}"


def _entries(listed: str) -> Iterator[_Entry]:
    """Every folder and file of a tree, a folder's in the order in which its own object holds them."""
    for line in filter(None, listed.split("\0")):
        about, _, path = line.partition("\t")
        mode, kind, name = about.split(" ")
        yield _Entry(mode, kind, name, path)


def _is_of_commit(entries: Iterable[_Entry], about: str, commit: str) -> bool:
    """True when the trees hash to what the commit names, and the commit to its own name: git reads objects without asking.

    Args:
        about: the commit object's text.
    """
    held: dict[str, bytes] = {"": b""}
    named = {"": about.removeprefix("tree ").split("\n", 1)[0]}
    for one in entries:
        parent, _, name = one.path.rpartition("/")
        held[parent] = held.get(parent, b"") + f"{one.mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(one.object)
        if one.kind == "tree":
            named[one.path] = one.object
    if any(_object_id("tree", held.get(path, b""), commit) != name for path, name in named.items()):
        return False
    # A message in another encoding than UTF-8 has not come to us byte by byte.
    return "\ufffd" in about or _object_id("commit", about.encode(), commit) == commit


def _object_id(kind: str, data: bytes, commit: str) -> str:
    """The name that git gives to an object, in the hash of the repository."""
    made = hashlib.sha256() if len(commit) == 64 else hashlib.sha1(usedforsecurity=False)
    made.update(f"{kind} {len(data)}\0".encode() + data)
    return made.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [
            one for one in folders if one not in _IGNORED and not one.endswith(".egg-info") and one not in links
        ]
        yield from (Path(folder, name) for name in (*names, *links))


def _content_of(path: Path, commit: str, compared: Iterable[Path]) -> str:
    """Kind and object id that git would give the file; not a pipe's, which would wait for ever.

    A link that leads out of the folders that are compared is not as committed, whatever it says: what it leads to is not.
    """
    if path.is_symlink():
        link, target = f"link {_object_id('blob', os.fsencode(path.readlink()), commit)}", path.resolve()
        if any(target.is_relative_to(root) for root in compared):
            return link
        return f"{link} to {_object_id('blob', target.read_bytes(), commit) if target.is_file() else target}"
    if path.is_file():
        return f"file {_object_id('blob', path.read_bytes(), commit)}"
    return "neither file nor link"


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0][:300]
