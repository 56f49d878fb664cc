"""The recovery point: the window that backups and WAL leave open, the damage as WAL tells it, and the target just before it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import PlatformError, TargetOutsideWindow, WalDamaged
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.live import LiveServer, read_position
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.walstage import Stage
from runbook.platforms.cluster.window import RecoveryPoint, Resolved, lineage_of
from runbook.postgres.connect import SqlError
from runbook.postgres.wal import format_lsn, same_position
from runbook.recovery.catalogfiles import backup_page, read_backup_catalogs
from runbook.recovery.catalogrows import NAMING
from runbook.recovery.cutoff import CutOff, Lineage, cut_off, shared_until
from runbook.recovery.filechanges import altered_tables
from runbook.recovery.forensics import WalSearch, search_wal, unread_words
from runbook.recovery.loss import Loss, count_loss
from runbook.recovery.relnames import NameBook, read_columns, read_names
from runbook.recovery.repairs import EarlierCopyBack, mark_repaired
from runbook.recovery.suspectchoice import FIND, pick
from runbook.recovery.suspects import RecoveryTarget, Suspect, propose_target, rank_suspects, target_of
from runbook.recovery.transactions import PG_ATTRIBUTE

Progress = Callable[[str, float, float, str], None]
MakeSelection = Callable[[str], Selection]


@dataclass
class Evidence:
    """What WAL has told: the search, the names it was told with, who is suspected, and where it was looked."""

    search: WalSearch
    names: NameBook
    suspects: list[Suspect]
    backup: Backup
    missed: list[str]


class Identification:
    """Finds the damage and the point before it.

    Args:
        make_selection: a selection of backups, archive and timelines for a point as the operator writes it.
        live: the damaged server, asked for today's names when it answers.
        folder: where WAL is laid to be read; it is ours and is removed by `clean_up`.
        look_back: seconds; the search begins at the newest backup that is older than that, else at the oldest.
        timeout: seconds for each pass over WAL.
        earlier: reads what earlier runs have copied back.
    """

    def __init__(
        self,
        make_selection: MakeSelection,
        live: LiveServer | None,
        folder: Path,
        progress: Progress,
        *,
        look_back: float,
        timeout: float,
        earlier: Callable[[], list[EarlierCopyBack]] = list,
    ) -> None:
        self._earlier = earlier
        self._make_selection, self._live, self._folder = make_selection, live, folder
        self._progress, self._look_back, self._timeout = progress, look_back, timeout
        self.selection: Selection | None = None
        self.evidence: Evidence | None = None
        self.loss_stage: Stage | None = None
        #: Production's WAL is read to before this position: what comes then is this run's own copy-back. None: all of it.
        self.until: int | None = None

    # -- the window ----------------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """Backups, timelines and the archive are known; what is wrong with folders that are no whole backup.

        Raises:
            BackupDamaged, TargetOutsideWindow, WalDamaged, NotReadable, OperatorError.
        """
        self.clean_up()  # what an attempt that was killed has laid may be older than what the archive has now
        self.selection = self._choose("latest")
        return [*(problem.message for problem in self._wrong), *self.selection.unfinished]

    def _choose(self, point: str) -> Selection:
        selection = self._make_selection(point)
        self._wrong = selection.describe()
        folder = self._folder / "wal"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        selection.choose(folder)
        return selection

    def window_rows(self) -> list[dict[str, Any]]:
        """What can be recovered to: each backup, from when on it serves, and on which timeline."""
        selection = self._known()
        return [
            {
                "backup": backup.label,
                "timeline": backup.timeline,
                "taken": clock.stamp(backup.started_at) if backup.started_at else "not said",
                "serves from": format_lsn(backup.end) if backup.end else "its end record",
                "on the live timeline": "yes" if backup in selection.candidates else "no",
            }
            for backup in selection.backups
        ]

    @property
    def followed(self) -> int:
        """The number of the timeline that is followed."""
        return self._known().choice.number

    @property
    def is_open(self) -> bool:
        """True when people must say which timeline is production's."""
        return self._known().choice.is_open

    def timeline_facts(self) -> dict[str, Any]:
        """Which timeline is followed, for a question to people where nobody confirms it: question, options, given (the answer where there is
        nothing to decide) and rows of evidence."""
        selection = self._known()
        choice, asked = selection.choice, selection.timeline_question()
        may_be = {str(one.number): one.words() for one in choice.rivals if one.number in selection.lineages}
        return {
            "question": asked or f"Timeline {choice.number} is followed: {choice.why}.",
            "options": {str(choice.number): choice.why, **(may_be if asked else {})},
            "given": "" if asked else str(choice.number),
            "rows": [one.row() for one in (*choice.rivals, *choice.strays)],
            "limits": list(choice.limitations),
        }

    @property
    def window_caption(self) -> str:
        """Which timeline is live, and why."""
        selection = self._known()
        others = sorted(set(selection.lineages) - {selection.number})
        more = f"; the archive holds timelines {', '.join(map(str, others))} too" if others else ""
        return f"The recovery window on timeline {selection.number} ({selection.why}){more}"

    def _known(self) -> Selection:
        if self.selection is None:
            raise RuntimeError("look() comes first")
        return self.selection

    # -- the damage ----------------------------------------------------------------------------------------

    def search(self, look_back: float | None = None) -> Evidence:
        """WAL has been read from a backup before the damage to its end; the suspects are ranked.

        Args:
            look_back: seconds; None: as asked for.

        Raises:
            WalDamaged: WAL on the way is missing or damaged.
        """
        selection = self._known()
        backup = self._start_backup(selection.candidates, self._look_back if look_back is None else look_back)
        stage = self._stage(backup)
        names = self._names_of_backups()
        found = search_wal(
            stage,
            stage.lineage,
            selection.tools,
            backup.start,
            self.until,
            lambda position: self._progress("Searching WAL", max(0, position - backup.start), 0, "WAL bytes"),
            columns=names.files_of(PG_ATTRIBUTE),
            catalogs=names.catalogs(NAMING),
            seed=partial(backup_page, backup.path),
            timeout=self._timeout,
        )
        names.add_wal(found.names)
        missed = [*self._add_present(names), *unread_words(found)]
        missed += name_columns(found, names, self._open if self._live is not None and names.knows_the_present else None)
        suspects = mark_repaired(rank_suspects(found, names), found, names, self._earlier(), backup.system_identifier)
        self.evidence = Evidence(found, names, suspects, backup, missed)
        return self.evidence

    def unarchived_words(self, reached: int) -> str:
        """Which WAL is not in the archive yet, and was not searched; in words."""
        said = f"A dry run does not secure the end of WAL: what comes after {format_lsn(reached)}, where the archive ends, was not searched"
        if self._live is None or not self._live.is_up():
            return f"{said}; the server does not answer, so where production's WAL ends is not known."
        try:
            with self._live.connect("postgres") as connection:
                position = read_position(connection)[1]
        except (PlatformError, SqlError) as problem:
            return f"{said}; where production's WAL ends is not known: {str(problem).strip()}"
        if position <= reached or same_position(position, reached):
            return f"{said}; production's WAL ends there too."
        return f"{said}; production writes at {format_lsn(position)}. Damage in between is not among the suspects."

    @staticmethod
    def _start_backup(candidates: Sequence[Backup], look_back: float) -> Backup:
        """The newest backup from before the time to look back to; the oldest when all are younger."""
        since = clock.now() - timedelta(seconds=look_back)
        old = [backup for backup in candidates if backup.started_at is not None and backup.started_at <= since]
        return old[0] if old else candidates[-1]

    def _stage(self, backup: Backup) -> Stage:
        selection = self._known()
        return selection.stage(backup, lineage_of(selection.number, selection.lineages))

    def _names_of_backups(self, lineage: Lineage | None = None) -> NameBook:
        """Names from every base backup of the timeline, the oldest first; one that is packed in tar files names nothing.

        Args:
            lineage: another timeline's: after they part, the same numbers stand for other relations, so it has a book of its own.
        """
        names = NameBook()
        for backup in reversed(self._known().candidates):
            if lineage is not None and not any(
                one.number == backup.timeline and (one.end is None or (backup.end or backup.start) <= one.end)
                for one in lineage
            ):
                continue
            found = read_backup_catalogs(backup.path, self._known().tools.major)
            names.add(found.names)
            names.add_schemas(found.schemas)
        return names

    def _add_present(self, names: NameBook) -> list[str]:
        """Today's names are known too; what could not be read."""
        before = "names are those of the backups and of WAL"
        if self._live is None:
            return [f"The damaged server does not answer: {before}."]
        missed: list[str] = []
        try:
            present = read_names(self._open, "postgres", "the damaged server", missed)
        except PlatformError as problem:
            return [f"{before[0].upper()}{before[1:]}: {problem.message}"]
        names.add(present, is_present=not missed)
        return missed

    def _open(self, database: str) -> Any:
        assert self._live is not None
        return self._live.connect(database)

    # -- the point -----------------------------------------------------------------------------------------

    def propose(self, asked: str, chosen: str) -> tuple[RecoveryTarget | None, list[Suspect]]:
        """The target and the suspects that it undoes; None where `asked` says to find it and nothing is suspected.

        Args:
            asked: `find`, a time, or a position.
            chosen: the transactions of the suspects to undo, separated by commas; empty: the one that is proposed.

        Raises:
            OperatorError: one is not among the suspects that the search has found.
            TargetOutsideWindow: the point cannot be had; the nearest ones are named.
        """
        evidence = self._evidence()
        if asked.strip() == FIND:
            picked = pick(evidence.suspects, chosen)
            return (propose_target(*picked), picked) if picked else (None, [])
        target = target_of(self.resolve(asked).point)
        return target, [one for one in evidence.suspects if one.commit.lsn >= target.gate and not one.is_ours]

    def resolve(self, asked: str) -> Resolved:
        """The point with the newest backup that reaches it, WAL up to it proven.

        Raises:
            TargetOutsideWindow, WalDamaged, BackupDamaged, ParamsError.
        """
        selection = self._choose(asked)
        return selection.resolve(lambda position: self._progress("Proving WAL", 0, 0, "WAL bytes"))

    def refuse_point(self, asked: str) -> None:
        """The point can be recovered to, it leaves something out, and what it cuts off can be counted: asked before it is written down.

        Raises:
            as `resolve`, `target_of` and `count_loss`.
        """
        stage = self.loss_stage
        try:
            point = self.resolve(asked).point
            target_of(point)
            self.count_loss(point, [])
        finally:
            self.loss_stage = stage

    def nearest_points(self) -> list[dict[str, Any]]:
        """The oldest and the newest point that can be had, for a target outside the window."""
        selection = self._known()
        oldest = selection.candidates[-1]
        search = self._evidence().search
        return [
            {"point": "oldest", "position": format_lsn(oldest.end or oldest.start), "of": _stamp(oldest.started_at)},
            {
                "point": "newest",
                "position": format_lsn(search.reached),
                "of": _stamp(search.last.at if search.last else None),
            },
        ]

    def _evidence(self) -> Evidence:
        if self.evidence is None:
            raise RuntimeError("search() comes first")
        return self.evidence

    # -- what is lost --------------------------------------------------------------------------------------

    def count_loss(self, point: RecoveryPoint, damage: Sequence[Suspect]) -> Loss:
        """The transactions that the point cuts off on every timeline, production's first, the damage's apart.

        Raises:
            WalDamaged: production's own cannot be read.
            TargetOutsideWindow: the point is the end of the archive.
        """
        selection = self._known()
        if point.gate is None:
            raise TargetOutsideWindow(f"{point.asked} leaves nothing out.", next="Choose an earlier point.")
        backup = selection.backup_of(point)
        searched = lineage_of(selection.number, selection.lineages)
        parts = cut_off(lineage_of(point.timeline, selection.lineages), point.gate, selection.lines())
        self.loss_stage = selection.stage(backup, parts[0].lineage)
        found = self._count(self.loss_stage, parts[0], backup, _on(damage, parts[0].lineage, searched), self.until)
        missed = [f"What the point cuts off of timeline {one.number} was not counted: {one.problem}"
                  for one in selection.choice.rivals if one.number not in selection.lineages]  # fmt: skip
        elsewhere = []
        for part in parts[1:]:
            try:
                stage = selection.stage(backup, part.lineage)
                elsewhere.append(self._count(stage, part, backup, _on(damage, part.lineage, searched)))
            except WalDamaged as cause:
                missed.append(f"What the point cuts off of timeline {part.number} was not counted: {cause.message}")
        return replace(found, elsewhere=tuple(elsewhere), uncounted=tuple(missed))

    def _count(
        self, stage: Stage, part: CutOff, backup: Backup, damage: Sequence[Suspect], until: int | None = None
    ) -> Loss:
        is_searched = part.number == self._known().number
        names = self._evidence().names if is_searched else self._names_of_backups(part.lineage)
        # The backup may have been taken after the line had parted from its own: then what ran at the parting counts from there on.
        stage.start = min(backup.start, part.since)
        return count_loss(
            stage,
            stage.lineage,
            self._known().tools,
            start=stage.start,
            gate=part.since,
            end=until,
            names=names,
            seed=partial(backup_page, backup.path),
            damage=frozenset().union(*(one.xids for one in damage)),
            progress=lambda position: self._progress(
                "Counting the loss", max(0, position - stage.start), 0, "WAL bytes"
            ),
            timeout=self._timeout,
        )

    def clean_up(self) -> None:
        """The WAL that was laid to be read is gone; safe twice."""
        shutil.rmtree(self._folder / "wal", ignore_errors=True)


def _on(damage: Sequence[Suspect], lineage: Lineage, searched: Lineage) -> list[Suspect]:
    """The damage that a line has, of what was found on the one that was searched."""
    until = shared_until(lineage, searched)
    return [one for one in damage if until is None or one.commit.lsn < until]


def name_columns(found: WalSearch, names: NameBook, open_: Callable[[str], Any] | None) -> list[str]:
    """The names know which columns the transactions that changed pg_attribute have dropped or changed; what could not be read.

    Args:
        open_: a connection to a database of the damaged server, whose catalog says it; None: it cannot be asked.
    """
    altered = [one.files for one in found.file_changes if one.files is not None and one.files.changed_columns]
    tables = {known for evidence in altered for known in altered_tables(evidence, names)}
    names.knows_columns = open_ is not None
    if open_ is None:
        lacking = "The damaged server's catalogs were not read: which columns were dropped or changed is not known."
        return [lacking] if tables else []
    missed = []
    for database in sorted({known.database_name for known in tables}):
        try:
            with open_(database) as connection:
                read_columns(connection, names, [known for known in tables if known.database_name == database])
        except (PlatformError, SqlError) as problem:
            names.knows_columns = False
            missed.append(f"Columns that were dropped or changed in {database}: {str(problem).strip()}")
    return missed


def _stamp(at: datetime | None) -> str:
    return clock.stamp(at) if at is not None else "not said"
