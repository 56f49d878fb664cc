"""Production's files on another disk, with a link in their place: for a recovery that has no room beside them.

Each file is read back from the disk and its hash compared before the link takes the place; until then the files are where they were.
What was done is read from the disk each time, so that a move that was cut short anywhere is finished by calling it again. The server is down.
A copy that did not get its link is not used by a later attempt: a server may have run on the files meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from runbook.disk import sync_folder
from runbook.errors import OperatorError, PlatformError, ScratchFull
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.copying import Progress, remove_tree, tree_size
from runbook.postgres.osuser import closed_at, give

_MOST_LINKS = 40  # as the kernel follows


def place_of(data_directory: Path) -> Path:
    """Where a data directory really stands: behind all links, but for one that a recovery has laid in its place.

    Raises:
        OperatorError: the links lead in a circle.
    """
    path = data_directory
    for _ in range(_MOST_LINKS):
        path = path.parent.resolve() / path.name
        if not path.is_symlink() or path.readlink().name.startswith(f"{path.name}.moved-"):
            return path
        path = path.parent / path.readlink()
    raise OperatorError(f"The links of {data_directory} lead in a circle.", next="Mend cluster.data_directory.")


class MoveFirst:
    """The move of one run.

    Args:
        data_directory: production's, as params name it.
        folder: on another disk; its files go into a folder of this run in it.
        user: who runs the server.
    """

    def __init__(self, data_directory: Path, folder: Path, run_id: str, user: OsUser | None) -> None:
        self.place, self.user = place_of(data_directory), user
        self.folder = folder
        self.to = folder / f"{self.place.name}.moved-{run_id}"
        self._part = self.to.with_name(f"{self.to.name}.part")
        self._leaving = self.place.with_name(f"{self.place.name}.leaving-{run_id}")

    @property
    def is_begun(self) -> bool:
        """True once the files have left their place: no server can have changed them there since they were copied."""
        return self._is_linked or self._leaving.exists()

    @property
    def is_done(self) -> bool:
        """True when the link stands and the files in its place are gone."""
        return self._is_linked and not self._leaving.exists()

    @property
    def _is_linked(self) -> bool:
        return self.place.is_symlink() and self.place.readlink() == self.to

    def refuse_impossible(self) -> None:
        """The files can be moved, and that makes room; asked before anybody approves it.

        Raises:
            OperatorError: the folder is no place for them, or moving them frees nothing.
        """
        advice = "Name a folder on another disk as recovery.move_first_to in params."
        if not self.folder.is_dir():
            raise OperatorError(
                f"{self.folder} is no folder: perhaps its disk is not mounted.", next=f"Mount it. {advice}"
            )
        if os.path.ismount(self.place) or self.place.is_symlink():
            what = "a mount point" if os.path.ismount(self.place) else "a link of an earlier recovery already"
            raise OperatorError(
                f"{self.place} is {what}: its files cannot be moved away to make room.",
                next="Make room beside it by hand.",
            )
        if self.folder.stat().st_dev == self.place.stat().st_dev:
            raise OperatorError(
                f"{self.folder} is on the disk of {self.place}: moving files there makes no room.", next=advice
            )
        closed = closed_at(self.folder, self.user)
        if closed is not None:
            raise OperatorError(
                f"{self.folder} is closed to user {self.user.name if self.user else 'this'}, who runs PostgreSQL: "
                f"{closed} cannot be entered.",
                next=f"chmod o+x {closed}. {advice}",
            )

    def leftovers(self) -> list[Path]:
        """What earlier attempts have copied and never linked to: of no use, and in the way."""
        return [] if self.is_begun else [one for one in (self.to, self._part) if one.exists()]

    # -- doing it

    def mend(self) -> None:
        """The link stands, where a crash came between the two renames: until then there is nothing in production's place."""
        if self._leaving.exists() and not os.path.lexists(self.place):
            self._link()

    def carry_out(self, progress: Progress) -> None:
        """The files stand on the other disk, proven, a link to them in their place, and the room is free. Safe again after a crash.

        Args:
            progress: called with bytes copied and in total.

        Raises:
            ScratchFull: the other disk filled up; nothing was moved.
            PlatformError: a file cannot be read or written, or came out otherwise; nothing was moved.
        """
        try:
            if not self.is_begun:
                self._copy(progress)
                self.place.rename(self._leaving)
            self.mend()
            if self._leaving.exists():
                remove_tree(self._leaving)
        except OSError as cause:
            raise PlatformError(
                f"Moving {self.place} to {self.to} failed: {cause.strerror} ({cause.filename or self.folder}).",
                next="Mend what is named, then resume: the move goes on.",
            ) from cause

    def _link(self) -> None:
        self.place.symlink_to(self.to)
        give(self.place, self.user)
        sync_folder(self.place.parent)

    def _copy(self, progress: Progress) -> None:
        for earlier in self.leftovers():
            remove_tree(earlier)
        total, done = tree_size(self.place), 0
        digests: dict[Path, str] = {}
        try:
            for source, target in self._pairs():
                digest = _copy_one(source, target)
                if digest is not None:
                    digests[target] = digest
                    done += target.stat().st_size
                    progress(done, total)
        except OSError as cause:
            shutil.rmtree(self._part, ignore_errors=True)
            if cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ScratchFull(
                    f"{self.folder} filled up: {self.place} was not moved.", next="Free space there, then resume."
                ) from cause
            raise
        for target, digest in digests.items():
            if _read_back(target) != digest:
                raise PlatformError(
                    f"{target} was read back otherwise than it was written: this disk is not to be trusted.",
                    next="Nothing was moved. Name a folder on another disk as recovery.move_first_to, then resume.",
                )
        for folder, _, _ in os.walk(self._part):
            sync_folder(Path(folder))
        self._part.rename(self.to)
        sync_folder(self.folder)

    def _pairs(self) -> Iterator[tuple[Path, Path]]:
        """Each folder, file and link with its place in the copy, folders ahead of what they hold."""
        yield self.place, self._part
        for folder, names, files in os.walk(self.place):
            here = self._part / Path(folder).relative_to(self.place)
            for name in (*names, *files):
                if not stat.S_ISSOCK((Path(folder) / name).lstat().st_mode):  # left by a server that was killed
                    yield Path(folder) / name, here / name


def _copy_one(source: Path, target: Path) -> str | None:
    """Copied with its owner and mode, and on the disk; the SHA-256 of a file, None for a folder or link."""
    digest = None
    if source.is_symlink():
        leads = source.readlink()
        # A relative link would lead elsewhere from its new place.
        target.symlink_to(leads if leads.is_absolute() else source.parent.resolve() / leads)
    elif source.is_dir():
        target.mkdir(mode=0o700)
    else:
        digest = _copy_file(source, target)
    owner = source.lstat()
    os.chown(target, owner.st_uid, owner.st_gid, follow_symlinks=False)
    if not source.is_symlink():
        shutil.copystat(source, target)
    return digest


def _copy_file(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        while chunk := reading.read(1 << 20):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
        # What is compared later comes from the disk.
        os.posix_fadvise(writing.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def _read_back(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
