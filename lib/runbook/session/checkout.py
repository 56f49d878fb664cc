"""Which commit a run was made with, and what differed from it: a record must not name a commit that did not run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.outside import git
from runbook.session import fingerprints

#: So many of the files that differ are named; all are counted, and in the digest.
_NAMED = 20


@cache
def describe() -> dict[str, Any]:
    """Commit, difference and what is not of it, of the folders that a run executes and reads.

    `modified` is None when nobody knows, and `unknown` says why. `elsewhere` are folders that are not in the checkout.
    """
    library = fingerprints.library()
    folders = {"lib": library.parent, "notebooks": layout.notebooks(), "sql": layout.sql(), "params": layout.params()}
    if library.parent.name != "lib":  # installed: what lies beside it is not ours
        folders["lib"] = library
    top = git.find_top(library)
    if top is None:
        return _facts(None, None, elsewhere=list(folders), unknown="the library is in no git checkout")
    real = {name: folder.resolve() for name, folder in folders.items()}
    inside = {name: folder for name, folder in real.items() if folder.is_relative_to(top.resolve())}
    found = git.compare(top.resolve(), inside.values())
    elsewhere = sorted(folders.keys() - inside.keys())
    if found.unknown is not None:
        return _facts(None, None, elsewhere=elsewhere, unknown=found.unknown)
    if not found.is_tracked:
        return _facts(None, None, elsewhere=list(folders), unknown=f"the checkout {top} does not hold the library")
    return _facts(found.commit, bool(found.differs), elsewhere=elsewhere, differs=found.differs, digest=found.digest)


def _facts(
    commit: str | None,
    modified: bool | None,
    *,
    elsewhere: list[str],
    differs: tuple[str, ...] = (),
    digest: str = "",
    unknown: str | None = None,
) -> dict[str, Any]:
    return {
        "commit": commit,
        "modified": modified,
        "differs": list(differs[:_NAMED]),
        "differing_files": len(differs),
        "difference_sha256": digest or None,
        "elsewhere": elsewhere,
        "unknown": unknown,
    }


def committed(path: Path) -> str | None:
    """None when the file is committed in its checkout as it is, else why that is not so or not known."""
    top = git.find_top(path.absolute())
    if top is None:
        return "is in no git checkout: who has changed it, and when, is not known"
    found = git.compare(top.resolve(), [path.parent.resolve()])
    if found.unknown is not None:
        return f"may be uncommitted: {found.unknown}"
    name = str(path.parent.resolve() / path.name)
    if any(str(top.resolve() / one) == name for one in found.differs):
        return "is not committed as it is"
    return None
