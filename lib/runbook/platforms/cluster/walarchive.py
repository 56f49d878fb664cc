"""Archived WAL: a directory, or a command that fetches one file; and the stage where segments are laid ready.

The stage holds every segment under its plain name, as a symbolic link where the server's user can read the
archived file, else as a copy. Never a hard link: a promoted server renames and overwrites segments.
"""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from runbook import layout
from runbook.errors import CommandFailed, CommandTimedOut, NotReadable, OperatorError, WalDamaged
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.params.schema import WalArchive as WalArchiveParams
from runbook.postgres.osuser import _allowed, closed_at, give
from runbook.postgres.wal import HISTORY_NAME, SEGMENT_NAME, Timeline, parse_history, segment_name, segment_start

#: How far behind a missing segment a fetch command is asked for a later one, to tell a gap from the end.
_LOOK_AHEAD = 4


@dataclass
class WalArchive:
    """The archive as params describe it."""

    params: WalArchiveParams
    user: OsUser | None
    _names: frozenset[str] | None = None

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
                said = commands.run(self.params.list_command, timeout=self.params.fetch_timeout, user=self.user)
                self._names = frozenset(Path(line.strip()).name for line in said.stdout.splitlines() if line.strip())
        return self._names

    def lay(self, name: str, stage: Path) -> bool:
        """The file is in the stage under its name; False when the archive does not have it.

        Raises:
            CommandTimedOut: the fetch command hangs.
        """
        ready = stage / name
        if ready.exists():
            return True
        if self.directory is not None:
            return _link_or_copy(self.directory / name, ready, self.user)
        assert self.params.fetch_command is not None
        part = give(stage, self.user) / f".{name}.part"
        argv = [word.replace("%f", name).replace("%p", str(part)) for word in self.params.fetch_command]
        try:
            result = commands.run(argv, timeout=self.params.fetch_timeout, user=self.user, check=False)
        except CommandTimedOut as cause:
            raise CommandTimedOut(
                f"The command that fetches WAL did not deliver {name} within {self.params.fetch_timeout:.0f} s.",
                next="Look at what it waits for; fetch_timeout in the params file says how long it may take.",
            ) from cause
        if result.code != 0 or not part.exists():
            part.unlink(missing_ok=True)
            return False
        part.rename(ready)
        return True

    def has(self, name: str, stage: Path) -> bool:
        """True when the archive has the file."""
        names = self.names()
        return name in names if names is not None else self.lay(name, stage)


def _link_or_copy(source: Path, ready: Path, user: OsUser | None) -> bool:
    if not source.is_file():
        return False
    real = source.resolve()
    if closed_at(real, user) is None and (user is None or _allowed(real, user, 4)):
        ready.symlink_to(real)
        return True
    try:
        shutil.copyfile(real, ready)
    except PermissionError as cause:
        raise NotReadable(
            f"The archived file {source} cannot be read.", next="Open it for the user who runs this."
        ) from cause
    give(ready, user)
    return True


@dataclass
class Stage:
    """Segments of one lineage from a start on, laid ready in order.

    `fallback` is the backup's own pg_wal: used, and noted in `from_backup`, when the archive lacks a segment.
    """

    archive: WalArchive
    folder: Path
    lineage: tuple[Timeline, ...]
    start: int
    segment_size: int
    fallback: Path | None = None
    laid: list[str] = field(default_factory=list)
    from_backup: list[str] = field(default_factory=list)

    def _timeline_at(self, begin: int) -> int:
        """A segment is read from the newest timeline that has begun by its end, as PostgreSQL does."""
        holding = [t for t in self.lineage if t.begin < begin + self.segment_size]
        return holding[-1].number

    def next_name(self) -> str:
        """The segment that would be laid next."""
        first = self.start // self.segment_size * self.segment_size
        begin = first + len(self.laid) * self.segment_size
        return segment_name(self._timeline_at(begin), begin, self.segment_size)

    def extend(self, count: int) -> int:
        """Up to `count` further segments are laid; the number that were. 0 means: the archive ends here.

        Raises:
            WalDamaged: a segment is missing while later ones are there.
        """
        names: list[str] = []
        for ahead in range(count):
            begin = self.start // self.segment_size * self.segment_size + (len(self.laid) + ahead) * self.segment_size
            names.append(segment_name(self._timeline_at(begin), begin, self.segment_size))
        if self.archive.directory is not None:
            done = [self.archive.lay(name, self.folder) for name in names if name in (self.archive.names() or ())]
            present = [name in (self.archive.names() or ()) for name in names]
            assert len(done) == sum(present)
        else:
            with ThreadPoolExecutor(4) as pool:
                present = list(pool.map(lambda name: self.archive.lay(name, self.folder), names))
        laid = 0
        for name, there in zip(names, present, strict=True):
            if not there and not self._lay_from_backup(name):
                break
            self.laid.append(name)
            laid += 1
        if laid < count:
            self._refuse_gap(self.next_name())
        return laid

    def _lay_from_backup(self, name: str) -> bool:
        if self.fallback is None or not _link_or_copy(self.fallback / name, self.folder / name, self.archive.user):
            return False
        self.from_backup.append(name)
        return True

    def later_than(self, name: str) -> list[str]:
        """Archived segments of this lineage behind `name`."""
        _, begin = segment_start(name, self.segment_size)
        names = self.archive.names()
        if names is not None:
            numbers = {timeline.number for timeline in self.lineage}
            return sorted(
                other
                for other in names
                if SEGMENT_NAME.match(other)
                and segment_start(other, self.segment_size)[1] > begin
                and segment_start(other, self.segment_size)[0] in numbers
                and segment_start(other, self.segment_size)[0]
                == self._timeline_at(segment_start(other, self.segment_size)[1])
            )
        ahead = [begin + step * self.segment_size for step in range(1, _LOOK_AHEAD + 1)]
        candidates = [segment_name(self._timeline_at(at), at, self.segment_size) for at in ahead]
        return [other for other in candidates if self.archive.lay(other, self.folder)]

    def _refuse_gap(self, missing: str) -> None:
        later = self.later_than(missing)
        if later:
            raise WalDamaged(
                f"WAL segment {missing} is missing from {self.archive.where()}, and {len(later)} later "
                f"segment{'s are' if len(later) > 1 else ' is'} there ({later[0]} …): nothing behind the gap can be recovered.",
                next="Look for a copy of the segment (standby, pg_wal of the primary); take a new base backup now.",
                segment=missing,
            )


def read_timelines(archive: WalArchive, stage: Path) -> dict[int, tuple[Timeline, ...]]:
    """Every timeline the archive has a history of, with its lineage; their history files lie in the stage.

    Raises:
        WalDamaged: a history file cannot be understood.
    """
    names = archive.names()
    if names is not None:
        wanted = [name for name in sorted(names) if HISTORY_NAME.match(name)]
    else:
        wanted = []
        number = 2
        while archive.lay(f"{number:08X}.history", stage):
            wanted.append(f"{number:08X}.history")
            number += 1
    found: dict[int, tuple[Timeline, ...]] = {}
    for name in wanted:
        if not archive.lay(name, stage):
            continue
        match = HISTORY_NAME.match(name)
        assert match is not None
        number = int(match[1], 16)
        lineage = parse_history(number, (stage / name).read_text(errors="replace"))
        if len(lineage) < 2 or any(a.number >= b.number for a, b in itertools.pairwise(lineage)):
            raise WalDamaged(
                f"The timeline history {name} in {archive.where()} is damaged.", next="Restore it from a copy."
            )
        found[number] = lineage
    return found


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


__all__ = ["CommandFailed", "Stage", "WalArchive", "check_user_can_read", "read_timelines"]
