"""The stage: WAL segments of one lineage, laid ready in order out of an archive, each looked at before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from runbook.errors import CommandFailed, OperatorError, RunbookError, StillArriving, TargetOutsideWindow, WalDamaged
from runbook.platforms.cluster.arrival import PATIENCE, Archiver, Ending, Word, wait_for_whole
from runbook.platforms.cluster.walarchive import WalArchive, drop_alias, link_or_copy
from runbook.postgres.segmentfile import SegmentFile, look_at
from runbook.postgres.wal import (
    PAGE,
    SEGMENT_NAME,
    SegmentHeader,
    Timeline,
    format_lsn,
    segment_name,
    segment_start,
)

#: How many segments behind a missing one a fetch command is asked for, to tell a gap from the end.
_LOOK_AHEAD = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
#: How often a stage waits for a segment at most: a file that is whole now and not at the next look would never end.
_MOST_SETTLED = 100
#: So many of the later names that a list has are fetched before a gap is believed.
_TRIED = 3
#: What archiving commands append to a segment's name when they compress it.
_PACKED = (".gz", ".zst", ".lz4", ".xz", ".bz2")


@dataclass
class Stage:
    """Segments of one lineage from a start on, laid ready in order.

    `fallback` is the backup's own pg_wal: used, and noted in `from_backup`, when the archive lacks a segment.
    `problem` is why no more can be laid: a gap, or a segment that is not what its name says. It matters only when the
    point lies behind it: then `settle` waits for what may still be arriving (`awaited`), up to `patience` seconds.
    `archiver` tells which segments production has finished archiving. `forks` says where other timelines left the last one: a segment
    of that one that the archive does not have whole is read up to there from its `.partial`, or from the other timeline's file, which
    holds the same WAL; `cut` names those.
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
    problem: RunbookError | None = None
    forks: Mapping[int, int] = field(default_factory=dict)
    cut: dict[str, tuple[str, int]] = field(default_factory=dict)
    archiver: Archiver | None = None
    patience: float = PATIENCE
    awaited: str | None = None
    in_part: dict[str, StillArriving] = field(default_factory=dict)
    _settled: int = 0

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
            listed = self.archive.names() or frozenset()
            with ThreadPoolExecutor(2) as pool:  # what cannot be linked is copied
                present = list(pool.map(lambda name: name in listed and self._lay(name), names))
        else:
            with ThreadPoolExecutor(4) as pool:
                present = list(pool.map(self._lay, names))
        laid = 0
        for name, there in zip(names, present, strict=True):
            if not there and not self._lay_after_all(name):
                break
            self.problem = self._problem_of(name)
            if self.problem is not None:
                # pg_waldump takes the size of segments from any file in the folder.
                (self.folder / name).unlink(missing_ok=True)
                return laid
            if there:
                self.archive.require_listed(name)
            self.laid.append(name)
            laid += 1
            if self._is_at_open_end():
                return laid
        if laid < count:
            self.problem = self._gap_at(self.next_name())
            if self.problem is None and not self.laid:
                self.problem = self._absent_at_start(self.next_name())
            if self.problem is None and self.laid and self.archive.names() is None and not self.from_backup:
                self.archive.prove_fetching(self.laid[-1], self.folder)
        return laid

    def _lay(self, name: str) -> bool:
        """True when the archive has delivered the file; of a part of it, it is noted why."""
        try:
            return self.archive.lay(name, self.folder)
        except StillArriving as cause:
            self.in_part[name] = cause
            return False

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
        """What is wrong with a segment as a whole: its place, its system, its size.

        A header that contradicts its name is damage, whatever is still to come behind it.
        """
        timeline, begin = segment_start(name, self.segment_size)
        file = look_at(self.folder / name)
        header = file.header
        may_be_arriving = name not in {*self.from_backup, *self.cut} and self.archive.open_end(name) is None
        if header is not None and header.size != self.segment_size:
            what = f"says that segments have {header.size} bytes, and this cluster's have {self.segment_size}"
        elif header is not None and (header.begin != begin or not self._may_begin_with(header, timeline)):
            what = (
                f"holds the WAL of another place: it says {format_lsn(header.begin)} on timeline {header.timeline}, "
                f"and its name means {format_lsn(begin)} on timeline {timeline}"
            )
        elif header is not None and header.system_identifier != (self.system_identifier or header.system_identifier):
            what = (
                f"is of system {header.system_identifier}, and {self.needed_by} is of system {self.system_identifier}"
            )
        elif file.size > self.segment_size:
            what = f"has {file.size} bytes; a segment has {self.segment_size}"
        elif file.is_contradictory:
            what = "ends in a segment switch whose checksum is wrong"
        elif file.size < self.segment_size or (may_be_arriving and not file.is_whole(self.segment_size)):
            what = file.lack(self.segment_size)
            self.awaited = name if may_be_arriving else None
        elif header is None:
            what = "does not begin as WAL does: its header is damaged"
        else:
            self.system_identifier = header.system_identifier
            return None
        return WalDamaged(
            f"WAL segment {name} in {self.archive.where()} {what}.",
            next="Look for a whole copy of it (standby, pg_wal of the primary); take a new base backup now.",
            segment=name,
        )

    def _may_begin_with(self, header: SegmentHeader, timeline: int) -> bool:
        """True when a segment of that timeline may begin with a page of the header's: where timelines meet, the older one's page is copied."""
        if header.timeline == timeline:
            return True
        older = [line for line in self.lineage if line.number < timeline]
        if not older:  # nothing is known of where this timeline began
            return header.timeline < timeline
        return any(
            line.number == header.timeline and line.begin <= header.begin + PAGE and (line.end or 0) >= header.begin
            for line in older
        )

    # -- what may still be arriving ------------------------------------------------------------------------

    def settle(self) -> None:
        """`problem` is gone, since the segment has become whole meanwhile, and more can be laid; else it is raised.

        Raises:
            WalDamaged: it is damage: production's archiver has finished the segment, or later ones prove that it will not change.
            StillArriving: nothing proves that the segment will not become whole.
        """
        assert self.problem is not None
        name, problem = self.awaited, self.problem
        self._settled += 1
        if name is None or self._settled > _MOST_SETTLED:
            raise problem
        ending, said = wait_for_whole(
            lambda: self._look_again(name),
            lambda: self._word(name),
            segment_size=self.segment_size,
            seconds=self.patience,
        )
        if ending is Ending.WHOLE:
            self.problem = self.awaited = None
            self.archive.refresh()
            return
        nobody_can_tell = self._word(name).is_finished is None
        if ending is Ending.DAMAGED or (
            nobody_can_tell and (self._is_absent(name) or self._is_behind_whole_ones(name))
        ):
            raise problem
        place = self.archive.directory
        raise StillArriving(
            f"{problem.message.rstrip('.')}. Nothing proves that this is damage: {said}.",
            next=f"Look whether it is still being written (ls -l {place / name}); then run again."
            if place is not None
            else "Look whether it is still being archived (pg_stat_archiver of production); then run again.",
            segment=name,
        ) from problem

    def _look_again(self, name: str) -> SegmentFile | None:
        staged = self.folder / name
        staged.unlink(missing_ok=True)
        return look_at(staged) if self._lay(name) else None

    def _word(self, name: str) -> Word:
        if self.archiver is None:
            return Word(None, "nobody was named who could tell whether it has been archived")
        return self.archiver.word(name, self.system_identifier)

    def _is_absent(self, name: str) -> bool:
        return not (self.folder / name).exists() and name not in {*(self.archive.names() or ()), *self.in_part}

    def _is_behind_whole_ones(self, name: str) -> bool:
        """True when a later segment is whole: an archive that is filled in order will not change the one before."""
        for later in self.later_than(name)[:1]:
            file = self._look_again(later)
            if later not in self.laid:
                (self.folder / later).unlink(missing_ok=True)
            return file is not None and file.is_whole(self.segment_size)
        return False

    def _absent_at_start(self, name: str) -> WalDamaged:
        self.awaited = name
        return WalDamaged(
            f"WAL segment {name}, the first that {self.needed_by} needs, is not in {self.archive.where()}.",
            next="Look for a copy of it; take a new base backup now.",
            segment=name,
        )

    def refuse_end(self, message: str, next: str) -> NoReturn:
        """The archive ends too early: not yet, where production's archiver has not finished the next segment, and for good otherwise.

        Raises:
            StillArriving, TargetOutsideWindow.
        """
        word = self._word(self.next_name())
        if word.is_finished is False:
            raise StillArriving(
                f"{message.rstrip('.')}. Its WAL is not archived yet: {word.said}.",
                next="Wait until production has archived it (SELECT pg_switch_wal()), then run again.",
            )
        raise TargetOutsideWindow(message, next=next)

    def require_reach(self, position: int) -> None:
        """The archive may reach a position: its own segment, or a later one, is there.

        Raises:
            TargetOutsideWindow: it ends before; with the last segment that is known.
        """
        begin = max(position - 1, 0) // self.segment_size * self.segment_size
        own = segment_name(self._timeline_at(begin), begin, self.segment_size)
        if any(begin < at < begin + self.segment_size for at in self.forks.values()):
            return  # its WAL may be had from the `.partial`, or from the timeline that left there
        numbers = {timeline.number for timeline in self.lineage}
        # What an archiving command has compressed counts as well: reading it says why it cannot be read.
        ours = {
            name[:24]
            for name in self.archive.names() or ()
            if SEGMENT_NAME.match(name[:24]) and name[24:] in ("", *_PACKED) and int(name[:8], 16) in numbers
        }
        last = max(ours, key=lambda name: name[8:], default=None)
        if last is not None and segment_start(last, self.segment_size)[1] >= begin:
            return
        if own[:16] in (self.archive.names() or ()):
            return  # a folder of segments: reading it says why it cannot be read
        if self.fallback is not None and (self.fallback / own).is_file():
            return
        if self.archive.directory is None and (self._lay(own) or self.later_than(own)):
            return
        until = f"its last segment is {last}" if last is not None else f"it does not hold {own}"
        raise TargetOutsideWindow(
            f"The position {format_lsn(position)} lies after the end of {self.archive.where()}: {until}.",
            next="The nearest possible point is latest. If the server lives, wait for archiving (pg_switch_wal()) and try again.",
        )

    def _lay_after_all(self, name: str) -> bool:
        """Asked for once more, since a command may fail now and then; else taken from the backup."""
        if self.archive.directory is None and self._lay(name):
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
            return sorted(
                other
                for other in names
                if SEGMENT_NAME.match(other)
                and (at := segment_start(other, self.segment_size)[1]) > begin
                and other == segment_name(self._timeline_at(at), at, self.segment_size)
            )
        ahead = [begin + step * self.segment_size for step in _LOOK_AHEAD]
        candidates = [segment_name(self._timeline_at(at), at, self.segment_size) for at in ahead]
        return [other for other in candidates if self._lay(other)]

    def _gap_at(self, missing: str) -> RunbookError | None:
        """What to say when a segment is not there and later ones are; None at the archive's end.

        Raises:
            CommandFailed: the command that delivered later ones delivers nothing any more.
        """
        names = self.archive.names() or frozenset()
        packed = next((missing + suffix for suffix in _PACKED if missing + suffix in names), None)
        if packed is not None:
            return OperatorError(
                f"WAL segment {missing} is in {self.archive.where()} only as {packed}: the files of a directory are read as they are.",
                next="Name a wal_archive.fetch_command in params that unpacks it, in place of the directory.",
                segment=missing,
            )
        if missing[:16] in names:
            return OperatorError(
                f"{self.archive.where()} keeps WAL in folders such as {missing[:16]}, as Barman does: only files that lie in the directory itself "
                "are read.",
                next="Name a wal_archive.fetch_command in params, in place of the directory (barman-wal-restore, or cp with the folder's name).",
                segment=missing,
            )
        if missing in self.in_part:
            self.awaited = missing
            return WalDamaged(
                f"WAL segment {missing} cannot be fetched whole. {self.in_part[missing].message}",
                next=self.in_part[missing].next,
                segment=missing,
            )
        if missing in names:
            if self.archive.directory is not None:
                return self.archive.no_file(missing)
            if self.laid and not self.from_backup:  # a command that delivers nothing any more proves nothing
                self.archive.prove_fetching(self.laid[-1], self.folder)
            self.awaited = missing
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
        elif self.archive.directory is None and not any(self._lay(other) for other in later[:_TRIED]):
            raise CommandFailed(
                f"The command that lists WAL names {later[0]}, and the fetch command delivers neither it nor {missing} before it: what "
                "the archive holds is not known.",
                next="Fetch one of them by hand; correct wal_archive.list_command or fetch_command in params.",
            )
        self.awaited = missing
        return WalDamaged(
            f"WAL segment {missing} is missing from {self.archive.where()}, and {len(later)} later "
            f"segment{'s are' if len(later) > 1 else ' is'} there ({later[0]} …): nothing behind the gap can be recovered.",
            next="Look for a copy of the segment (standby, pg_wal of the primary); take a new base backup now.",
            segment=missing,
        )
