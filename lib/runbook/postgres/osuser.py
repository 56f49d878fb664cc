"""Who runs PostgreSQL, since it refuses to run as root, and what that user can reach."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from runbook.errors import NotReadable
from runbook.outside.commands import OsUser

_DEFAULTS = ("postgres", "nobody")


def service_user(named: str | None = None, owned: Path | None = None) -> OsUser | None:
    """Who runs PostgreSQL: None when that is ourselves (we are not root).

    As root: the user named in params, else the owner of `owned` (the cluster's files) when that is not root,
    else `postgres`, else `nobody`. `RUNBOOK_PG_USER` comes before the defaults.
    """
    if os.geteuid() != 0:
        return None
    if named:
        return OsUser.named(named)
    if owned is not None and owned.exists() and owned.stat().st_uid != 0:
        entry = pwd.getpwuid(owned.stat().st_uid)
        return OsUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if os.environ.get("RUNBOOK_PG_USER"):
        return OsUser.named(os.environ["RUNBOOK_PG_USER"])
    for name in _DEFAULTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return OsUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise NotReadable(
        "Running as root, and no unprivileged user for PostgreSQL was found.",
        next="Set RUNBOOK_PG_USER to an existing user.",
    )


def _allowed(path: Path, user: OsUser, bits: int) -> bool:
    """True when the mode bits (4 read, 2 write, 1 enter) are open to the user; access lists are not read."""
    facts = path.stat()
    if facts.st_uid == user.uid:
        shift = 6
    elif facts.st_gid == user.gid:
        shift = 3
    else:
        shift = 0
    return (stat.S_IMODE(facts.st_mode) >> shift) & bits == bits


def closed_at(path: Path, user: OsUser | None) -> Path | None:
    """The first folder on the way to `path` that the user cannot enter; None when the way is open."""
    real = path.resolve()
    if user is None:
        return next(
            (part for part in (*reversed(real.parents), real) if part.is_dir() and not os.access(part, os.X_OK)),
            None,
        )
    for part in (*reversed(real.parents), real):
        if part.is_dir() and not _allowed(part, user, 1):
            return part
    return None


def require_readable(path: Path, user: OsUser | None, what: str) -> None:
    """The user can reach and read the path.

    Raises:
        NotReadable: it is missing, or a folder on the way is closed; the message names it, its owner and mode.
    """
    who = user.name if user else pwd.getpwuid(os.geteuid()).pw_name
    try:
        present = path.exists()
    except PermissionError:
        present = True
    if not present:
        raise NotReadable(f"{what} is not there: {path}", next="Correct its path in the params file.")
    closed = closed_at(path, user)
    if closed is None:
        readable = _allowed(path, user, 4) if user else os.access(path, os.R_OK)
        closed = None if readable else path
    if closed is not None:
        facts = closed.stat()
        raise NotReadable(
            f"{what} ({path}) cannot be read by user {who}, who runs PostgreSQL: {closed} has mode "
            f"{stat.S_IMODE(facts.st_mode):04o} and belongs to {_owner(facts.st_uid)}.",
            next=f"chmod o+rx {closed}, or choose another place or os_user in the params file.",
        )


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def give(path: Path, user: OsUser | None) -> Path:
    """The path belongs to the user who runs PostgreSQL (no-op when that is ourselves)."""
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return path
