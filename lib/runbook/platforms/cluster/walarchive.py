"""Archived WAL: a directory, or a command that fetches one file.

A file is laid ready under its plain name, as a symbolic link where the server's user can read the archived file, else as a
copy that it may read and not write: a linked segment that cannot be opened is a PANIC. Where the server sees production's files as its
own in an idmapped mount (`lent`), it can read those. Never a hard link: a promoted server renames
and overwrites segments.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from runbook import environment, layout
from runbook.errors import BackupDamaged, CommandFailed, NotReadable, OperatorError
from runbook.outside.commands import OsUser
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.platforms.cluster import archivecommands, tailnote
from runbook.platforms.cluster.copying import copy_file, require_room
from runbook.postgres.osuser import give, is_readable
from runbook.postgres.segmentfile import look_at
from runbook.postgres.wal import (
    HISTORY_NAME,
    SEGMENT_NAME,
    read_segment_header,
)

#: A file that no archive holds: a command that delivers it delivers anything.
_NEVER_THERE = "FFFFFFFF.history"


@dataclass
class WalArchive:
    """The archive as params describe it, and `extra`: a folder with WAL that the archive lacks, secured by a lock-down.

    What lies in `extra` counts before the archive's own file, which may have been cut short. `user` runs the commands of params;
    `reader` runs the server that reads the stage, if that is another. `lent`: the archive's folder, when the server sees what belongs to
    `user` there as its own.
    """

    params: WalArchiveParams
    user: OsUser | None
    extra: Path | None = None
    _names: frozenset[str] | None = None
    reader: OsUser | None = None
    lent: Path | None = None

    @property
    def _server_user(self) -> OsUser | None:
        return self.reader or self.user

    @property
    def directory(self) -> Path | None:
        return layout.resolve(self.params.directory) if self.params.directory else None

    def where(self) -> str:
        """For messages."""
        return str(self.directory) if self.directory else "the archive behind " + self.params.fetch_command[0]  # type: ignore[index]

    def names(self) -> frozenset[str] | None:
        """All file names in the archive as of the first look; None when only fetching is possible.

        Raises:
            NotReadable: the directory is missing or closed.
        """
        if self._names is None:
            if self.directory is not None:
                try:
                    self._names = frozenset(path.name for path in self.directory.iterdir())
                except OSError as cause:
                    raise NotReadable(
                        f"The WAL archive {self.directory} cannot be read: {cause.strerror}.",
                        next="Correct wal_archive.directory in the params file, or open the folder.",
                    ) from cause
            elif self.params.list_command is not None:
                self._names = archivecommands.list_names(self.params, self.user, self._variables())
            if self._names is not None and self.extra is not None and self.extra.is_dir():
                self._names |= {path.name for path in self.extra.iterdir()}
        return self._names

    def refresh(self) -> None:
        """What was listed is listed again when it is needed next."""
        self._names = None

    def require_listed(self, name: str) -> None:
        """The list command names a file that the fetch command has delivered.

        Raises:
            CommandFailed: it does not, so that what it does not name proves nothing.
        """
        if self.params.list_command is None or self.directory is not None or name in (self.names() or ()):
            return
        self.refresh()  # it may have arrived since
        names = self.names() or frozenset()
        if name not in names:
            raise CommandFailed(
                f"The command that lists WAL names {len(names)} files and not {name}, which the fetch command has delivered: what "
                "the archive holds is not known.",
                next="Correct wal_archive.list_command in params: it prints the name of every archived file, one a line.",
            )

    def no_file(self, name: str) -> NotReadable:
        """The error for an entry of the directory that cannot be read as a file."""
        return NotReadable(
            f"{name} in {self.where()} is no file that can be read: a folder, or a link that leads nowhere.",
            next="Look what put it there (ls -ld); where archived files are links, mount what they lead to.",
            segment=name,
        )

    def whole_file(self, name: str, stage: Path, segment_size: int) -> bool:
        """True when the archive itself has the file; of a segment, when it is whole."""
        if self.directory is None:
            if not self.lay(name, stage):
                return False
            found = stage / name
        else:
            found = self.directory / name
            if not found.is_file():
                return False
        if HISTORY_NAME.match(name):
            return found.read_bytes().endswith(b"\n")
        return not SEGMENT_NAME.match(name) or look_at(found).is_whole(segment_size)

    def open_end(self, name: str) -> int | None:
        """Where WAL ends inside a segment of `extra`, because its server died there; None for whole segments."""
        return tailnote.read(self.extra).get(name) if self.extra is not None else None

    def segment_size(self) -> int | None:
        """Bytes of a segment, as one in the directory says itself; None when none can be looked at."""
        if self.directory is None:
            return None
        for name in sorted(self.names() or ()):
            header = read_segment_header(self.directory / name) if SEGMENT_NAME.match(name) else None
            if header is not None:
                return header.size
        return None

    def _is_lent(self, source: Path) -> bool:
        """Whether the server reads the file as its own: production's user owns it, and may read it."""
        if self.lent is None or self.user is None or not source.is_file():
            return False
        real = source.resolve()
        facts = real.stat()
        return real.parent == self.lent and facts.st_uid == self.user.uid and bool(facts.st_mode & 0o400)

    def system_identifier(self, stage: Path, wanted: Collection[str]) -> str | None:
        """The system that archived segments are of, as the first of these that is there says; None when none is.

        Raises:
            CommandTimedOut, CommandFailed: as `lay`.
        """
        for name in wanted:
            header = read_segment_header(stage / name) if self.lay(name, stage) else None
            if header is not None:
                return header.system_identifier
        return None

    def lay(self, name: str, stage: Path) -> bool:
        """The file is in the stage under its name; False when the archive does not have it.

        Raises:
            CommandTimedOut: the fetch command hangs.
            CommandFailed: it could not do its work (a code above 125, or a signal).
        """
        ready = stage / name
        drop_alias(ready)
        if ready.exists():
            return True
        if self.extra is not None and link_or_copy(self.extra / name, ready, self._server_user):
            return True
        if self.directory is not None:
            if self._is_lent(self.directory / name):
                ready.symlink_to((self.directory / name).resolve())
                return True
            return link_or_copy(self.directory / name, ready, self._server_user)
        return self._fetch(name, stage, ready)

    def _variables(self) -> dict[str, str | None]:
        return environment.named(self.params.env, "cluster.wal_archive")

    def _inbox(self, stage: Path) -> Path:
        """Where the user who fetches may write: not the stage itself, which the server reads from."""
        if self.user is None:
            return stage
        inbox = stage / ".fetched"
        inbox.mkdir(mode=0o700, exist_ok=True)
        return give(inbox, self.user)

    def _fetch(self, name: str, stage: Path, ready: Path) -> bool:
        """The fetch command has delivered the file, which lies at `ready`; False when it says that there is none.

        Raises:
            CommandTimedOut, CommandFailed, StillArriving.
        """
        part, taken = self._inbox(stage) / f"{name}.part", stage / f".{name}.taken"
        try:
            if not archivecommands.fetch(self.params, self.user, self._variables(), name, part, taken):
                return False
            if taken.is_symlink():
                self._require_readable(taken, name)
                return link_or_copy(taken, ready, self._server_user)
            taken.rename(ready)
            _let_read(ready, self._server_user)
            return True
        finally:
            archivecommands.remove(part)
            archivecommands.remove(taken)

    def _require_readable(self, link: Path, name: str) -> None:
        """A link that the fetch command has left leads to a file that its own user may read.

        Raises:
            CommandFailed: it does not.
        """
        real = link.resolve()
        if not real.is_file() or not is_readable(real, self.user):
            raise CommandFailed(
                f"The command that fetches WAL left a link to {real} for {name}, which is no file that its user may read.",
                next="Correct wal_archive.fetch_command in params: it puts a copy of the file at %p.",
            )

    def prove_fetching(self, name: str, stage: Path) -> None:
        """A file that was fetched before can be fetched again: what was not delivered since is not there.

        Raises:
            CommandFailed: the command delivers nothing any more, so that the archive's end is not known.
        """
        again = stage / f".{name}.again"
        try:
            if not self._fetch(name, stage, again):
                raise CommandFailed(
                    f"The command that fetches WAL delivered {name} and does not deliver it any more: where the archive "
                    "ends is not known.",
                    next="Look at what it depends on (network, credentials), then run again.",
                )
        finally:
            archivecommands.remove(again)

    def prove_refusing(self, stage: Path) -> None:
        """The fetch command says of a file that no archive holds that it is not there.

        Raises:
            CommandFailed: it delivers it, so that nothing it delivers proves anything.
        """
        nothing = stage / f".{_NEVER_THERE}"
        try:
            if self._fetch(_NEVER_THERE, stage, nothing):
                raise CommandFailed(
                    f"The command that fetches WAL delivers {_NEVER_THERE}, which no archive holds: it ends with 0 for files that are not there.",
                    next="Correct wal_archive.fetch_command in params: for a file that is not there it ends with 1 to 125.",
                )
        finally:
            archivecommands.remove(nothing)

    def lay_part(self, source: str, name: str, stage: Path, keep: int) -> bool:
        """The first bytes of an archived file are in the stage under another name, zeros behind them; False when it is not there.

        Args:
            source: a segment that holds the same WAL up to there: a `.partial`, or the next timeline's.
            keep: how many bytes.
        """
        apart = stage / f".{name}.of"
        apart.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            apart.chmod(0o711)  # who fetches WAL has a folder in it
        if not self.lay(source, apart):
            return False
        part, size = stage / f".{name}.cut", (apart / source).stat().st_size
        require_room(stage, size)
        with (apart / source).open("rb") as reading, part.open("wb") as writing:
            writing.write(reading.read(keep))
            writing.truncate(size)
        part.replace(stage / name)
        _let_read(stage / name, self._server_user)
        shutil.rmtree(apart)
        return True

    def has(self, name: str, stage: Path) -> bool:
        """True when the archive has the file."""
        names = self.names()
        return name in names if names is not None else self.lay(name, stage)


def drop_alias(ready: Path) -> None:
    """Another timeline's file does not stand under this name (`walscan.lay_aliases`): the timeline's own counts before it."""
    if ready.is_symlink() and ready.readlink().parent == ready.parent:
        ready.unlink(missing_ok=True)


def link_or_copy(source: Path, ready: Path, user: OsUser | None) -> bool:
    """The file is ready under that name: a link where the server's user can read it, else a copy. False when it is not there.

    Raises:
        NotReadable: we cannot read it.
        ScratchFull: there is no room for the copy.
    """
    if not source.is_file():
        return False
    real = source.resolve()
    if is_readable(real, user):
        ready.symlink_to(real)
        return True
    part = ready.with_name(f".{ready.name}.copied")
    part.unlink(missing_ok=True)
    require_room(ready.parent, real.stat().st_size)
    try:
        for _ in copy_file(real, part, None):
            continue
    except BackupDamaged as cause:
        raise NotReadable(
            f"The archived file {source} cannot be read.", next="Open it for the user who runs this."
        ) from cause
    part.rename(ready)
    _let_read(ready, user)
    return True


def _let_read(ready: Path, user: OsUser | None) -> None:
    """The staged file is ours, and the server's user may read it."""
    if user is None:
        return
    handle = os.open(ready, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(handle, 0, user.gid)
        os.fchmod(handle, 0o640)
    finally:
        os.close(handle)


def check_user_can_read(archive: WalArchive) -> None:
    """A directory archive can be listed by us.

    Raises:
        NotReadable, OperatorError: it cannot, or the fetch command is not there.
    """
    if archive.directory is not None:
        archive.names()
    elif shutil.which(archive.params.fetch_command[0]) is None:  # type: ignore[index]
        raise OperatorError(
            f"The fetch command {archive.params.fetch_command[0]} is not there.",  # type: ignore[index]
            next="Correct wal_archive.fetch_command in the params file.",
        )
