"""What a recovery starts from: the timeline, the backup and the WAL that reach a point, found on a cluster's files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runbook import layout
from runbook.errors import BackupDamaged, CommandFailed, NotMeasured, StillArriving, TargetError, WalDamaged
from runbook.outside.commands import OsUser
from runbook.params.schema import Cluster
from runbook.platforms.cluster import timelinechoice, window
from runbook.platforms.cluster.arrival import PATIENCE, Archiver
from runbook.platforms.cluster.backuparrival import find_unfinished
from runbook.platforms.cluster.backups import (
    Backup,
    NotProven,
    describe_all,
    list_passed_over,
)
from runbook.platforms.cluster.backuptar import system_in_tar, version_in_tar
from runbook.platforms.cluster.live import LiveServer
from runbook.platforms.cluster.timelineevidence import EvidenceReader
from runbook.platforms.cluster.timelines import (
    ServerTimeline,
    ask_server,
    hold_numbers,
    parse_number,
    read_directory,
    read_histories,
)
from runbook.platforms.cluster.walarchive import WalArchive, check_user_can_read
from runbook.platforms.cluster.walscan import scan_to
from runbook.platforms.cluster.walstage import Stage
from runbook.platforms.cluster.window import RecoveryPoint, Resolved
from runbook.postgres.tools import Tools, find_tools, read_control
from runbook.postgres.wal import Commit, Timeline, format_lsn, segment_name

_SEGMENT_SIZE = 16 << 20


class Selection:
    """Backups, archive and timelines of a cluster, and the choice among them for one point.

    Args:
        asked: 'latest', a time, '24 hours ago' or a position, as the operator wrote it.
        asked_timeline: 'auto' or a number.
        timeout: seconds for each pass over WAL.
        extra: a folder with WAL that the archive lacks (`tail.secure_tail`).
        user: who runs the commands of params (fetching WAL).
        reader: who runs the restored server, and must be able to read the WAL; None: the same user.
        ask: asks the server which timeline it writes, given the identifiers of the backups' systems; None: by the reader's connection.

    Raises:
        ParamsError: the point is naive, in the future, or none.
    """

    def __init__(
        self,
        cluster: Cluster,
        user: OsUser | None,
        asked: str,
        asked_timeline: str,
        timeout: float,
        extra: Path | None = None,
        reader: OsUser | None = None,
        ask: Callable[[frozenset[str]], ServerTimeline] | None = None,
    ) -> None:
        self._ask = ask or self._ask_server
        self.cluster, self.user, self.timeout = cluster, user, timeout
        self.reader = reader or user
        self.asked, self.asked_timeline = asked, asked_timeline
        self.point = window.parse_point(asked)
        self.backup_folder = layout.resolve(cluster.backup_folder)
        self.archive = WalArchive(cluster.wal_archive, user, extra, reader=self.reader)
        self.unfinished: list[str] = []

    def describe(self) -> list[TargetError]:
        """Backups are described and the programs of their version found; what is wrong with the other folders.

        Raises:
            BackupDamaged: there is no backup.
            NotReadable: the archive is closed.
            OperatorError: no PostgreSQL of that version is there.
        """
        check_user_can_read(self.archive)
        self.backups, wrong = describe_all(self.backup_folder)
        wrong = self._leave_out_unfinished(wrong)
        if not self.backups:
            raise BackupDamaged(wrong[0].message, next=wrong[0].next)
        self.tools = self._find_tools()
        self.backups = [self._identified(backup) for backup in self.backups]
        self.segment_size = self._find_segment_size()
        self.passed_over = list_passed_over(self.backup_folder, filter(None, [self.archive.directory]))
        return wrong

    def _leave_out_unfinished(self, wrong: list[TargetError]) -> list[TargetError]:
        """A backup that is still being written is no backup yet, and no damage; what is wrong with the others.

        Raises:
            StillArriving: there is no other.
        """
        folders = [backup.path for backup in self.backups] + [Path(str(one.facts["folder"])) for one in wrong]
        found = find_unfinished(self.cluster, folders)
        self.unfinished = [
            f"Backup {path.name} is still being written ({how}): it was left out." for path, how in found.items()
        ]
        self.backups = [backup for backup in self.backups if backup.path not in found]
        wrong = [one for one in wrong if Path(str(one.facts["folder"])) not in found]
        if found and not self.backups and not wrong:
            raise StillArriving(" ".join(self.unfinished), next="Wait until it is finished, then run again.")
        return wrong

    def choose(self, wal: Path) -> None:
        """Timeline and candidate backups are chosen; history files lie in the folder `wal`.

        Raises:
            TargetOutsideWindow: no backup reaches the point.
            WalDamaged: a history file is missing or damaged.
        """
        self.wal = wal
        own = self._own() or self.backups
        self.server = self._ask(self._systems(own))
        self.histories = read_histories(
            self.archive,
            wal,
            {backup.timeline for backup in own},
            server=self.server.number,
            asked=parse_number(self.asked_timeline),
        )
        self.lineages = self.histories.lineages
        reading = EvidenceReader(
            self.archive, self.tools, wal, self.histories, own, self.segment_size, self.user, self.timeout
        )
        self.choice = timelinechoice.choose(
            self.asked_timeline, self.server, self.histories, own, reading.read, self._first_commit
        )
        self.number, self.why = self.choice.number, self.choice.why
        if not self.choice.is_asked_for:
            self.number, why = window.choose_timeline(self.point, self.number, self.lineages, self._first_commit)
            self.why = why or self.why
        hold_numbers(self.histories, wal)
        self.candidates = window.candidates(own, window.lineage_of(self.number, self.lineages), self.point)
        if not self.candidates:
            raise window.refuse_before_oldest(self.asked, own, self.number)

    def _ask_server(self, systems: frozenset[str]) -> ServerTimeline:
        if self.cluster.connection is None:
            return ServerTimeline(None, "params name no connection to the running server")
        live = LiveServer(self.cluster, "runbook-timeline")
        return ask_server(lambda: live.connect_reader(statement_timeout=10), systems)

    def _systems(self, own: list[Backup]) -> frozenset[str]:
        """The systems that the backups are of; of tar backups from before 17 the archived segments say it."""
        known = {backup.system_identifier for backup in own if backup.system_identifier is not None}
        if not known and (
            system := self.archive.system_identifier(self.wal, [self._first_segment(one) for one in own])
        ):
            known = {system}
        return frozenset(known)

    def _first_segment(self, backup: Backup) -> str:
        return segment_name(backup.timeline, backup.start, self.segment_size)

    def lines(self) -> list[tuple[Timeline, ...]]:
        """The lineages that a recovery discards from its point on: production's, or where nobody confirms it each that may be; and the
        one that is followed."""
        choice = self.choice
        numbers = [*([choice.production] if choice.production is not None else []), choice.number]
        numbers += [one.number for one in choice.rivals]
        return [window.lineage_of(one, self.lineages) for one in dict.fromkeys(numbers) if one in self.lineages]

    def timeline_question(self) -> str | None:
        """Return why nobody knows which timeline is production's, with the evidence; None when it is known or was asked for."""
        if not self.choice.is_open:
            return None
        data = self.cluster.data_directory
        directory = read_directory(self.tools, layout.resolve(data)) if data is not None else None
        return timelinechoice.question(self.choice, self.server.why, directory)

    def _own(self) -> list[Backup]:
        """The backups that may serve this system: a folder may hold some from before an upgrade, which never do.

        One that does not say its system may be the newest, and is no better than its pg_control, once it is unpacked. Where a backup that
        is known to be of this system is newer, it is not needed for the newest point.
        """
        live = self.live_system()
        known = [backup for backup in self.backups if live is not None and backup.system_identifier == live]
        return [
            backup
            for backup in self.backups
            if live in (None, backup.system_identifier)
            or (
                backup.system_identifier is None
                and not (self.point == "latest" and any(one.is_newer(backup) for one in known))
            )
        ]

    def _find_tools(self) -> Tools:
        majors = {backup.major for backup in self.backups if backup.major}
        version = layout.resolve(self.cluster.data_directory) / "PG_VERSION" if self.cluster.data_directory else None
        with contextlib.suppress(OSError, ValueError):  # closed to us, or not there: the backups say it
            live = {int(version.read_text("utf-8").strip())} if version is not None else set[int]()
            # Backups of several versions: those of the others are from before an upgrade, or of another system.
            majors = live if not majors or (live and live < majors) else majors
        if not majors:
            majors = {found for backup in self.backups if (found := version_in_tar(backup.path)) is not None}
        if not majors:
            raise NotMeasured(
                "Nothing says which major version of PostgreSQL made the backups.",
                next="Name cluster.data_directory in params.",
            )
        return find_tools(max(majors), self.cluster.bin_directory, self.reader)

    def _identified(self, backup: Backup) -> Backup:
        """With its system, which manifests name since PostgreSQL 17 only; pg_control knows it, too."""
        if backup.system_identifier is not None:
            return backup
        if backup.layout == "tar":
            return replace(backup, system_identifier=system_in_tar(backup.path))
        try:
            system = read_control(self.tools, backup.path).get("Database system identifier")
        except CommandFailed:
            return backup  # pg_control is gone or damaged: the manifest check says so
        return replace(backup, system_identifier=system)

    def _find_segment_size(self) -> int:
        live = [layout.resolve(self.cluster.data_directory)] if self.cluster.data_directory else []
        for folder in [*(backup.path for backup in reversed(self.backups)), *live]:
            try:
                return int(read_control(self.tools, folder)["Bytes per WAL segment"])
            except (CommandFailed, KeyError, ValueError):
                # A tar backup, or a pg_control that is gone: the manifest check will say so.
                continue
        return self.archive.segment_size() or _SEGMENT_SIZE

    def live_system(self) -> str | None:
        """The running cluster's system identifier; None when its files are out of reach."""
        if self.cluster.data_directory is None:
            return None
        try:
            return read_control(self.tools, layout.resolve(self.cluster.data_directory)).get(
                "Database system identifier"
            )
        except CommandFailed:
            # Its files are closed to us or gone; what is looked at here is the backup.
            return None

    def live_folders(self) -> tuple[Path, ...]:
        """Folders of the running cluster that nothing may write to: its data and its tablespaces."""
        folders = [layout.resolve(path) for path in self.cluster.tablespaces]
        if self.cluster.data_directory is None:
            return tuple(folders)
        data = layout.resolve(self.cluster.data_directory)
        try:
            links = [link.resolve() for link in (data / "pg_tblspc").iterdir()]
        except OSError:
            links = []  # the server's own folder is out of reach; the tablespaces that params name still count
        return (*folders, data, *links)

    def unclear_tablespaces(self, backup: Backup) -> list[str]:
        """Where tablespaces of a plain backup lie that may be the live ones, since params do not say where those are."""
        return [] if self.live_folders() else backup.links_outside(self.backup_folder)

    def stage(self, backup: Backup, lineage: tuple[Timeline, ...]) -> Stage:
        """Where the WAL is laid that the backup needs on that lineage."""
        own = self.wal.parent / "backup_wal" if backup.layout == "tar" else backup.path / "pg_wal"
        return Stage(
            self.archive,
            self.wal,
            lineage,
            backup.start,
            self.segment_size,
            fallback=own,
            needed_by=f"backup {backup.label}",
            system_identifier=backup.system_identifier,
            forks=self._forks(lineage[-1].number),
            archiver=Archiver(self.cluster),
            patience=max(PATIENCE, self.cluster.wal_archive.fetch_timeout),
        )

    def _forks(self, number: int) -> dict[int, int]:
        """Where other timelines left this one: for a point on a timeline that others have left, never for the end of production's."""
        confirmed = self.choice.production
        may_go_on = number == self.number and (
            confirmed == number or (confirmed is None and not self.choice.is_asked_for)
        )
        return {} if self.point == "latest" and may_go_on else self.histories.children(number)

    def _first_commit(self, lineage: tuple[Timeline, ...]) -> Commit | None:
        # Apart from the WAL to replay: where a timeline ends inside a segment, the names of the older one stand for the
        # newer one's file there, and the older one may be the timeline that is chosen.
        apart = self.wal / f"timeline-{lineage[-1].number}"
        apart.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None:
            apart.chmod(0o711)  # who fetches WAL has a folder in it
        stage = Stage(
            self.archive, apart, lineage, lineage[-1].begin, self.segment_size, archiver=Archiver(self.cluster)
        )
        if not self.archive.has(stage.next_name(), apart):
            return None
        return scan_to(stage, self.tools, until=window.EVER, timeout=self.timeout).after

    def not_proven(self, chosen: Backup) -> list[NotProven]:
        """Return the backups of other systems, and those as new as the chosen one that are not restored in its place."""
        lineage, found = window.lineage_of(self.number, self.lineages), []
        for backup in self.backups:
            systems, is_newer = {backup.system_identifier, chosen.system_identifier}, backup.is_newer(chosen)
            if None not in systems and len(systems) > 1:
                found.append(NotProven(backup, f"it is of another system ({backup.system_identifier})", is_newer))
            elif backup is chosen or not is_newer:
                continue
            elif backup.incremental:
                found.append(NotProven(backup, "it is incremental, and restores nothing alone"))
            elif not window.candidates([backup], lineage, "latest"):
                why = f"it is of timeline {backup.timeline}, and timeline {self.number} is followed"
                found.append(NotProven(backup, why))
            elif backup.start < chosen.start and not chosen.is_newer(backup):
                why = f"it was taken later, and begins earlier in WAL ({format_lsn(backup.start)})"
                # A standby's backup begins at its last restartpoint; of one that does not say its system nothing is known.
                found.append(NotProven(backup, why, is_open=None in systems))
        return found

    def resolve(self, progress: Callable[[int], None]) -> Resolved:
        """The point as a position, the WAL up to it read.

        Raises:
            TargetOutsideWindow, WalDamaged.
        """
        return window.resolve(
            self.asked,
            point=self.point,
            timeline=self.number,
            why=self.why,
            lineages=self.lineages,
            chosen=self.candidates,
            make_stage=self.stage,
            tools=self.tools,
            timeout=self.timeout,
            progress=progress,
        )

    def backup_of(self, point: RecoveryPoint) -> Backup:
        """The backup that was chosen when the point was written down.

        Raises:
            BackupDamaged: it is gone.
        """
        for backup in self.candidates:
            if backup.label == point.backup:
                return backup
        raise BackupDamaged(
            f"Backup {point.backup}, chosen before the interruption, is not there any more.", next="Start a new run."
        )

    def resolve_again(self, point: RecoveryPoint) -> Resolved:
        """The point as an earlier attempt wrote it down; the WAL up to it is read again.

        Raises:
            BackupDamaged, WalDamaged.
        """
        backup = self.backup_of(point)
        stage = self.stage(backup, window.lineage_of(point.timeline, self.lineages))
        until = point.gate if point.gate is not None else point.reached
        scan = scan_to(stage, self.tools, until=until, timeout=self.timeout)
        if scan.reached != point.reached:
            raise WalDamaged(
                f"WAL reaches to {format_lsn(scan.reached)} now, and {format_lsn(point.reached)} was written down as the point: "
                "the archive has changed since.",
                next="Look at what changed archived WAL; start a new run.",
            )
        # What was the archive's end may have more behind it by now: the point stays where it was.
        return Resolved(
            replace(point, gate=scan.gate), backup, stage, scan, "as resolved before the interruption", self.number
        )
