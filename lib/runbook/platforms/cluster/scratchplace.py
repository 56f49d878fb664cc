"""Where a scratch stands, and who runs its server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runbook import layout
from runbook.errors import OperatorError
from runbook.outside.commands import OsUser
from runbook.outside.namespaces import Namespaces
from runbook.params.schema import Cluster, Verification
from runbook.postgres.osuser import closed_at, is_readable, owners_of, scratch_user
from runbook.postgres.tools import shared_folder
from runbook.postgres.wal import SEGMENT_NAME


def folder_for(location: Path, run_id: str) -> Path:
    """Where the scratch of a run stands."""
    return location / f"scratch-{run_id}"


def default_location(user: OsUser | None) -> Path:
    """Where scratches stand unless told otherwise: in the home, or outside it when it is closed to the server's user."""
    layout.var().mkdir(parents=True, exist_ok=True)
    return layout.scratch() if closed_at(layout.var(), user) is None else shared_folder() / "scratch"


def require_apart(location: Path, folders: Iterable[Path]) -> None:
    """The location lies in none of these folders: a scratch there would become part of them.

    Raises:
        OperatorError: it lies in one.
    """
    real = location.resolve()
    for folder in folders:
        if real.is_relative_to(folder.resolve()):
            raise OperatorError(
                f"The scratch location {location} lies in {folder}, which a restore must not touch.",
                next="Name another place with -p scratch /path (or verification.scratch in params).",
            )


@dataclass(frozen=True)
class ServerUser:
    """Who runs a scratch server. `owns_nothing`: of production; `limitation`: what is to be said of it."""

    user: OsUser | None
    owns_nothing: bool
    limitation: str | None


def server_user(
    cluster: Cluster, verification: Verification, production: OsUser | None, run_id: str, location: str | None = None
) -> ServerUser:
    """Return who runs the scratch server of a run.

    Args:
        production: who runs production's server.
        location: where the scratch is to stand, if that is not left to us.

    Raises:
        OperatorError: the user that params name cannot run it.
    """
    named = (cluster.data_directory, cluster.backup_folder, cluster.wal_archive.directory, *cluster.tablespaces)
    owners = owners_of(production, *(layout.resolve(path) for path in named if path))
    user, limitation = scratch_user(verification.scratch_user, production, owners, run_id, location)
    return ServerUser(user, user is not None and user.uid not in owners, limitation)


def linked_folders(stage: Path) -> list[Path]:
    """The folders outside the scratch that links of its stage lead to."""
    scratch = stage.parent.resolve()
    found = {path.resolve().parent for path in stage.rglob("*") if path.is_symlink()}
    return sorted(folder for folder in found if not folder.is_relative_to(scratch))


def has_closed_links(stage: Path, user: OsUser | None) -> bool:
    """Whether a link of the stage leads to a file that the user cannot read by itself."""
    return any(not is_readable(path, user) for path in stage.iterdir() if path.is_symlink())


def lent_folder(folder: Path | None, lender: OsUser | None, user: OsUser | None) -> Path | None:
    """Return the archive's folder when a server of `user` can be shown the lender's files in it as its own, tried with one of them.

    None: it cannot, on this host or file system, or there is nothing to lend. The WAL that the user cannot read has to be copied then.
    """
    if folder is None or lender is None or user is None or not folder.is_dir():
        return None
    real = folder.resolve()
    files = (path for path in real.iterdir() if SEGMENT_NAME.match(path.name) and not path.is_symlink())
    probe = next(files, None)
    if probe is None or probe.stat().st_uid != lender.uid or is_readable(probe, user):
        return None
    inside = Namespaces(lent=(probe,), lender=lender)
    return real if inside.refusal(["/usr/bin/test", "-r", str(probe)], user) is None else None
