"""The stage: WAL segments of one lineage, laid ready in order out of an archive, each looked at before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from runbook.errors import WalDamaged
from runbook.platforms.cluster.walarchive import WalArchive, drop_alias, link_or_copy
from runbook.postgres.wal import (
    SEGMENT_NAME,
    Timeline,
    format_lsn,
    read_segment_header,
    segment_name,
    segment_start,
)

#: How many segments behind a missing one a fetch command is asked for, to tell a gap from the end.
_LOOK_AHEAD = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
#: What archiving commands append to a segment's name when they compress it.
_PACKED = (".gz", ".zst", ".lz4", ".xz", ".bz2")


@dataclass
class Stage:
    """Segments of one lineage from a start on, laid ready in order.

    `fallback` is the backup's own pg_wal: used, and noted in `from_backup`, when the archive lacks a segment.
    `problem` is why no more can be laid: a gap, or a segment that is not what its name says. It matters only when the
    point lies behind it. `forks` says where other timelines left the last one: a segment of that one that the archive does not have
    whole is read up to there from its `.partial`, or from the other timeline's file, which holds the same WAL; `cut` names those.
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
    forks: Mapping[int, int] = field(default_factory=dict)
    cut: dict[str, tuple[str, int]] = field(default_factory=dict)

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
            present = [name in (self.archive.names() or ()) for name in names]
            archived = [name for name, is_there in zip(names, present, strict=True) if is_there]
            with ThreadPoolExecutor(2) as pool:  # what cannot be linked is copied
                done = list(pool.map(lambda name: self.archive.lay(name, self.folder), archived))
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
        return bool(self.laid) and (self.laid[-1] in self.cut or self.archive.open_end(self.laid[-1]) is not None)

    def end(self) -> int:
        """The first byte behind the WAL that is laid."""
        last = self.laid[-1]
        if last in self.cut:
            return self.cut[last][1]
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
        drop_alias(self.folder / name)
        if self.fallback is None or not link_or_copy(
            self.fallback / name, self.folder / name, self.archive.reader or self.archive.user
        ):
            return self._lay_up_to_fork(name)
        self.from_backup.append(name)
        return True

    def _lay_up_to_fork(self, name: str) -> bool:
        """The segment's WAL up to where another timeline left this one; recovery never asks for a `.partial` by itself."""
        timeline, begin = segment_start(name, self.segment_size)
        inside = {number: at for number, at in self.forks.items() if begin < at < begin + self.segment_size}
        if timeline != self.lineage[-1].number or not inside:
            return False
        last, first = max(inside, key=lambda number: inside[number]), min(inside.values())
        # Of several forks in one segment nobody knows at which one its `.partial` was left: it holds the first for sure.
        for source, at in ((segment_name(last, begin, self.segment_size), inside[last]), (f"{name}.partial", first)):
            if self.archive.lay_part(source, name, self.folder, at - begin):
                self.cut[name] = (source, at)
                return True
        return False

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
        """What to say when a segment is not there and later ones are; None at the archive's end.

        Raises:
            CommandFailed: the command that delivered later ones delivers nothing any more.
        """
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
        if self.archive.names() is None:  # several are fetched at once: a later one may be from before the command died
            self.archive.prove_fetching(later[0], self.folder)
        return WalDamaged(
            f"WAL segment {missing} is missing from {self.archive.where()}, and {len(later)} later "
            f"segment{'s are' if len(later) > 1 else ' is'} there ({later[0]} …): nothing behind the gap can be recovered.",
            next="Look for a copy of the segment (standby, pg_wal of the primary); take a new base backup now.",
            segment=missing,
        )
