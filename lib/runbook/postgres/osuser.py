"""Who runs PostgreSQL, since it refuses to run as root, and what that user can reach."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from runbook import layout
from runbook.errors import CommandFailed, NotReadable, OperatorError, PlatformError
from runbook.outside import commands
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
        try:
            entry = pwd.getpwuid(owned.stat().st_uid)
        except KeyError:  # files of a container, or of a user who was removed
            return owner_of(owned)
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


def is_readable(path: Path, user: OsUser | None) -> bool:
    """True when the user can reach the file and read it, by mode bits."""
    return closed_at(path, user) is None and (user is None or _allowed(path, user, 4))


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
            f"{stat.S_IMODE(facts.st_mode):04o} and belongs to {owner_name(facts.st_uid)}.",
            next=f"chmod o+rx {closed}, or choose another place or os_user in the params file.",
        )


def owner_of(path: Path) -> OsUser | None:
    """Who owns the path, as somebody to run a command as; None: root or, when we are not root, ourselves."""
    facts = path.lstat()
    if os.geteuid() != 0 or facts.st_uid == 0:
        return None
    return OsUser(owner_name(facts.st_uid), facts.st_uid, facts.st_gid)


def owner_name(uid: int) -> str:
    """Return the user's name, or the number of one without an account."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def give(path: Path, user: OsUser | None) -> Path:
    """The path belongs to the user who runs PostgreSQL (no-op when that is ourselves)."""
    if user is not None:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return path


# -- who runs a scratch server ---------------------------------------------------------------------------------

#: The system user that is made for scratch servers, where params name no other.
SCRATCH_USER = "runbook-scratch"
#: User ids that nobody has but a service while it runs (systemd's range for them), and that no user is ever given.
_UNASSIGNED = range(61184, 65520)


def how_to_make(name: str = SCRATCH_USER) -> str:
    """The command that makes the user; a system user, since logind removes the shared memory of others when they log out."""
    return f"useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin {name}"


def is_unassigned(uid: int) -> bool:
    """True when no account has this user id or group id."""
    for look in (pwd.getpwuid, grp.getgrgid):
        try:
            look(uid)
        except KeyError:
            continue
        return False
    return True


def scratch_user(
    named: str | None, production: OsUser | None, owners: Collection[int], run_id: str, location: str | None = None
) -> tuple[OsUser | None, str | None]:
    """Return who runs the scratch server of a run, and what of that is a limitation of its isolation; None: nothing.

    Args:
        production: who runs production's server.
        owners: the user ids that own files of production (`owners_of`).
        location: where params put the scratch; None: where its user can enter.

    As root: the user named in params; else `runbook-scratch`, if there is such a user; else a user id that no account and no
    process has. A user who cannot be had here, or cannot enter the location, is replaced by production's, unless params name it.

    Raises:
        OperatorError: the named user does not exist, or is root.
    """
    if os.geteuid() != 0:
        me = owner_name(os.geteuid())
        return None, f"The scratch server ran as user {me}, as this run did: only root can start it as another user."
    if named is not None:
        user = _named(named)
        if user.uid in owners:
            return (
                user,
                f"The scratch server ran as user {user.name}, who owns files of production.",
            )
        return user, None
    try:
        user = OsUser.named(SCRATCH_USER)
    except OperatorError:
        user = _unassigned_user(run_id, owners)
    why = _unusable(user, location)
    if why is None:
        return user, None
    who = production.name if production else "?"
    return production, f"The scratch server ran as user {who}, who owns files of production: {why}"


def owners_of(production: OsUser | None, *folders: Path | None) -> frozenset[int]:
    """The user ids that own production's server and those of its folders that are there."""
    found = {folder.stat().st_uid for folder in folders if folder is not None and folder.exists()}
    return frozenset(found | ({production.uid} if production is not None else set()))


def _named(name: str) -> OsUser:
    try:
        user = OsUser.named(name)
    except OperatorError as cause:
        raise OperatorError(f"verification.scratch_user: {cause.message}", next=how_to_make(name)) from cause
    if user.uid == 0:
        raise OperatorError(
            "verification.scratch_user is root, as whom PostgreSQL does not run.",
            next=f"{how_to_make()}, then name {SCRATCH_USER}.",
        )
    return user


def _unassigned_user(run_id: str, owners: Collection[int]) -> OsUser:
    taken = {one for process in psutil.process_iter(["uids"]) for one in process.info["uids"] or ()} | set(owners)
    first = zlib.crc32(run_id.encode())
    for step in range(len(_UNASSIGNED)):
        uid = _UNASSIGNED[(first + step) % len(_UNASSIGNED)]
        if uid not in taken and is_unassigned(uid):
            return OsUser(str(uid), uid, uid)
    raise OperatorError("Every user id for scratch servers is taken.", next=how_to_make())


def _unusable(user: OsUser, location: str | None) -> str | None:
    """Why this user cannot run a scratch server here, tried with a command; None: it can."""
    closed = closed_at(layout.resolve(location), user) if location else None
    if closed is not None:
        return f"{closed} is closed to user {user.name} (chmod o+x {closed})."
    try:
        commands.run([shutil.which("true") or "/bin/true"], timeout=20, user=user)
    except (CommandFailed, OSError) as cause:
        return f"this host lets nobody become user {user.name} ({cause})."
    return None


@contextlib.contextmanager
def ending_strays(user: OsUser | None, run_id: str) -> Iterator[None]:
    """After the block, in which a server of the run is stopped, no process is left in the namespaces that it ran in.

    The namespaces are those of the user's processes that carry the run's mark, never our own; they are held open, so that their
    numbers mean nothing else meanwhile. Elsewhere than on Linux nothing happens.
    """
    uid, own = user.uid if user is not None else os.geteuid(), Path("/proc/self/ns/mnt")
    if not own.exists():
        yield
        return
    with contextlib.ExitStack() as held:
        found = set()
        for process in psutil.process_iter(["uids"]):
            with contextlib.suppress(psutil.Error, OSError):  # it ended meanwhile, or is another's
                if process.info["uids"].real != uid or process.environ().get(layout.RUN_MARK) != run_id:
                    continue
                handle = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
                held.callback(os.close, handle)
                found.add(os.fstat(handle).st_ino)
        found.discard(own.stat().st_ino)
        try:
            yield
        finally:
            killed = []
            for process in psutil.process_iter(["uids"]) if found else ():
                with contextlib.suppress(psutil.Error, OSError):
                    is_inside = Path(f"/proc/{process.pid}/ns/mnt").stat().st_ino in found
                    if is_inside and process.info["uids"].real == uid:
                        process.kill()
                        killed.append(process)
            psutil.wait_procs(killed, timeout=3)


def end_processes_of(user: OsUser, run_id: str) -> None:
    """No process is left that a scratch server of the run started, whatever became of the server.

    Args:
        user: who owns nothing of production. A user id without an account is this scratch's alone; of an account's processes only
            those are ended that carry the run's mark, since others may use the account.

    Raises:
        PlatformError: one outlives SIGKILL.
    """
    for _ in range(50):
        found = [process for process in psutil.process_iter(["uids"]) if _is_of(process, user, run_id)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if not found:
            return
        psutil.wait_procs(found, timeout=0.2)
    raise PlatformError(
        f"Processes of the scratch server's user {user.name} do not end: {', '.join(str(one.pid) for one in found)}.",
        next=f"ps -u {user.uid} -f",
    )


def _is_of(process: psutil.Process, user: OsUser, run_id: str) -> bool:
    if process.info["uids"] is None or user.uid not in process.info["uids"]:
        return False
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return is_unassigned(user.uid) or process.environ().get(layout.RUN_MARK) == run_id
    except (psutil.Error, OSError):
        return False  # it ended between two looks
