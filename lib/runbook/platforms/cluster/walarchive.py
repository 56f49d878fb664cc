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
from runbook.platforms.cluster import tailnote
from runbook.postgres.osuser import _allowed, closed_at, give
from runbook.postgres.wal import (
    HISTORY_NAME,
    SEGMENT_NAME,
    Timeline,
    format_lsn,
    parse_history,
    read_segment_header,
    segment_name,
    segment_start,
)

#: How many segments behind a missing one a fetch command is asked for, to tell a gap from the end.
_LOOK_AHEAD = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
#: How many timelines behind the last known one are asked for: one whose history is missing hides those behind it.
_HISTORIES_AHEAD = 3
#: The highest code by which a fetch command says that there is no such file, as PostgreSQL reads restore_command.
_NO_SUCH_FILE = 125
#: What archiving commands append to a segment's name when they compress it.
_PACKED = (".gz", ".zst", ".lz4", ".xz", ".bz2")


@dataclass
class WalArchive:
    """The archive as params describe it, and `extra`: a folder with WAL that the archive lacks, secured by a lock-down.

    What lies in `extra` counts before the archive's own file, which may have been cut short.
    """

    params: WalArchiveParams
    user: OsUser | None
    extra: Path | None = None
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
            if self._names is not None and self.extra is not None and self.extra.is_dir():
                self._names |= {path.name for path in self.extra.iterdir()}
        return self._names

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

    def lay(self, name: str, stage: Path) -> bool:
        """The file is in the stage under its name; False when the archive does not have it.

        Raises:
            CommandTimedOut: the fetch command hangs.
            CommandFailed: it could not do its work (a code above 125, or a signal).
        """
        ready = stage / name
        if ready.exists():
            return True
        if self.extra is not None and _link_or_copy(self.extra / name, ready, self.user):
            return True
        if self.directory is not None:
            return _link_or_copy(self.directory / name, ready, self.user)
        part = give(stage, self.user) / f".{name}.part"
        try:
            if not self._fetch(name, part):
                return False
            part.rename(ready)
            return True
        finally:
            part.unlink(missing_ok=True)

    def _fetch(self, name: str, part: Path) -> bool:
        """The fetch command has put the file at `part`; False when it says that there is none."""
        assert self.params.fetch_command is not None
        argv = [word.replace("%f", name).replace("%p", str(part)) for word in self.params.fetch_command]
        try:
            result = commands.run(argv, timeout=self.params.fetch_timeout, user=self.user, check=False)
        except CommandTimedOut as cause:
            raise CommandTimedOut(
                f"The command that fetches WAL did not deliver {name} within {self.params.fetch_timeout:.0f} s.",
                next="Look at what it waits for; fetch_timeout in the params file says how long it may take.",
            ) from cause
        if result.code < 0 or result.code > _NO_SUCH_FILE:
            raise CommandFailed(
                f"The command that fetches WAL ended with code {result.code} for {name}: {result.said or 'it said nothing'}",
                next="Look at wal_archive.fetch_command in params; for a file that is not there it ends with 1 to 125.",
            )
        return result.code == 0 and part.exists()

    def prove_fetching(self, name: str, stage: Path) -> None:
        """A file that was fetched before can be fetched again: what was not delivered since is not there.

        Raises:
            CommandFailed: the command delivers nothing any more, so that the archive's end is not known.
        """
        part = stage / f".{name}.again"
        try:
            if not self._fetch(name, part):
                raise CommandFailed(
                    f"The command that fetches WAL delivered {name} and does not deliver it any more: where the archive "
                    "ends is not known.",
                    next="Look at what it depends on (network, credentials), then run again.",
                )
        finally:
            part.unlink(missing_ok=True)

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
    `problem` is why no more can be laid: a gap, or a segment that is not what its name says. It matters only when the
    point lies behind it.
    """

    archive: WalArchive
    folder: Path
    lineage: tuple[Timeline, ...]
    start: int
    segment_size: int
    fallback: Path | None = None
    laid: list[str] = field(default_factory=list)
    from_backup: list[str] = field(default_factory=list)
    needed_by: str = "the backup"
    system_identifier: str | None = None
    problem: WalDamaged | None = None

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
        """Up to `count` further segments are laid; the number that were. Fewer: the archive ends here, or `problem` says why."""
        if self.problem is not None or self._is_at_open_end():
            return 0
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
            if not there and not self._lay_after_all(name):
                break
            self.problem = self._problem_of(name)
            if self.problem is not None:
                return laid
            self.laid.append(name)
            laid += 1
            if self._is_at_open_end():
                return laid
        if laid < count:
            self.problem = self._gap_at(self.next_name())
            if self.problem is None and self.laid and self.archive.names() is None and not self.from_backup:
                self.archive.prove_fetching(self.laid[-1], self.folder)
        return laid

    def _is_at_open_end(self) -> bool:
        """True when WAL ends inside the last segment laid: what an archive holds behind it belongs to another life."""
        return bool(self.laid) and self.archive.open_end(self.laid[-1]) is not None

    def end(self) -> int:
        """The first byte behind the WAL that is laid."""
        last = self.laid[-1]
        return self.archive.open_end(last) or segment_start(last, self.segment_size)[1] + self.segment_size

    def _problem_of(self, name: str) -> WalDamaged | None:
        """What is wrong with a segment as a whole: its size, its place, its system."""
        path, (timeline, begin) = self.folder / name, segment_start(name, self.segment_size)
        size = path.stat().st_size
        header = read_segment_header(path)
        if size != self.segment_size:
            what = f"has {size} bytes; a segment has {self.segment_size}: it is truncated"
            if size > self.segment_size:
                what = f"has {size} bytes; a segment has {self.segment_size}"
        elif header is None:
            what = "does not begin as WAL does: its header is damaged"
        elif header.size != self.segment_size:
            what = f"says that segments have {header.size} bytes, and this cluster's have {self.segment_size}"
        elif header.begin != begin or header.timeline > timeline:
            what = (
                f"holds the WAL of another place: it says {format_lsn(header.begin)} on timeline {header.timeline}, "
                f"and its name means {format_lsn(begin)} on timeline {timeline}"
            )
        elif header.system_identifier != (self.system_identifier or header.system_identifier):
            what = (
                f"is of system {header.system_identifier}, and {self.needed_by} is of system {self.system_identifier}"
            )
        else:
            self.system_identifier = header.system_identifier
            return None
        return WalDamaged(
            f"WAL segment {name} in {self.archive.where()} {what}.",
            next="Look for a whole copy of it (standby, pg_wal of the primary); take a new base backup now.",
            segment=name,
        )

    def _lay_after_all(self, name: str) -> bool:
        """Asked for once more, since a command may fail now and then; else taken from the backup."""
        if self.archive.directory is None and self.archive.lay(name, self.folder):
            return True
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
        ahead = [begin + step * self.segment_size for step in _LOOK_AHEAD]
        candidates = [segment_name(self._timeline_at(at), at, self.segment_size) for at in ahead]
        return [other for other in candidates if self.archive.lay(other, self.folder)]

    def _gap_at(self, missing: str) -> WalDamaged | None:
        """What to say when a segment is not there and later ones are; None at the archive's end."""
        names = self.archive.names() or frozenset()
        packed = next((missing + suffix for suffix in _PACKED if missing + suffix in names), None)
        if packed is not None:
            return WalDamaged(
                f"WAL segment {missing} stands in {self.archive.where()} only as {packed}: a directory is read as it is.",
                next="Name a wal_archive.fetch_command in params that unpacks it, in place of the directory.",
                segment=missing,
            )
        if missing in names:
            return WalDamaged(
                f"WAL segment {missing} is listed in {self.archive.where()}, and the command does not deliver it.",
                next="Fetch it by hand and read what the command says; look for a copy of it.",
                segment=missing,
            )
        later = self.later_than(missing)
        if not later:
            return None
        return WalDamaged(
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
        number, last = 2, 1
        while number <= last + _HISTORIES_AHEAD:
            if archive.lay(f"{number:08X}.history", stage):
                wanted.append(f"{number:08X}.history")
                last = number
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
