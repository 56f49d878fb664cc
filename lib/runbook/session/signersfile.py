"""The file that says whose keys approve, as evidence: who could have changed it, and whether it was changed during the run."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.gates import signers
from runbook.params.schema import Params
from runbook.session import checkout, fingerprints


def facts(params: Params) -> dict[str, Any] | None:
    """The file and its digest (None when it is missing), for the journal; None for the sandbox's own, which is made by itself."""
    path = signers.signers_path(params)
    if path == signers.practice_signers():
        return None
    return {"path": layout.short(path), "sha256": fingerprints.sha256_of(path) if path.is_file() else None}


def limitations(params: Params, opened: dict[str, Any] | None) -> list[str]:
    """Why the file alone does not prove whose keys count: who else could write it, and what was changed.

    Args:
        opened: `facts` as journaled when the run was opened.
    """
    path = signers.signers_path(params)
    if path == signers.practice_signers() or not path.exists():
        return []
    found = [*_links(path), *_writers(path)]
    if not found and (uncommitted := checkout.committed(path)) is not None:
        found.append(uncommitted)
    now = facts(params)
    if opened is not None and now is not None and opened["sha256"] != now["sha256"]:
        found.append("was changed since the run was opened")
    return [f"Whose keys approve: {layout.short(path)} {one}." for one in found]


def _links(path: Path) -> list[str]:
    linked = next((one for one in (path, path.parent) if one.is_symlink()), None)
    if linked is None:
        return []
    which = "is a symbolic link" if linked == path else f"is in {layout.short(linked)}, which is a symbolic link"
    return [f"{which} to {linked.resolve()}"]


def _writers(path: Path) -> list[str]:
    """Who besides root and this user could have written the file, or put another in its place."""
    found = []
    for place in (path, path.parent):
        status = place.stat()
        which = "" if place == path else f"is in the folder {layout.short(place)}, which "
        sticky = place != path and status.st_mode & stat.S_ISVTX
        if status.st_mode & stat.S_IWOTH and not sticky:
            found.append(
                f"{which}can be written by every user of this machine (mode {stat.S_IMODE(status.st_mode):04o})"
            )
        elif status.st_mode & stat.S_IWGRP and not sticky:
            found.append(f"{which}can be written by its group (mode {stat.S_IMODE(status.st_mode):04o})")
        if status.st_uid not in (0, os.geteuid()):
            found.append(f"{which}belongs to another user (uid {status.st_uid})")
    return found
