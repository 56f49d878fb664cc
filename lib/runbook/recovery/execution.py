"""Phase 2 of a recovery: the backup restored beside production, replayed to the point, paused there; and what it then shows.

A copy that stands from an earlier attempt is gone on with, not restored again: its checks count as long as it has not moved.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.clock import human_bytes, human_seconds
from runbook.errors import OperatorError, PlatformError
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster.beside import Beside
from runbook.platforms.cluster.replay import Replay
from runbook.platforms.cluster.restore import Restore
from runbook.platforms.cluster.restoring import refuse_new_tablespaces
from runbook.platforms.cluster.window import RecoveryPoint, Resolved
from runbook.postgres.connect import Connection
from runbook.postgres.tools import find_tools
from runbook.postgres.wal import format_lsn
from runbook.recovery.course import Seen, not_done
from runbook.recovery.keeping import KeptForCopy
from runbook.recovery.loss import Loss
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossreport import tell
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from runbook.recovery.pitr import PointInTimeRecovery
from runbook.recovery.relnames import read_names
from runbook.recovery.revenants import compare, read_inventory
from runbook.recovery.sideeffects import lost_with_server, read_side_effects


class Execution:
    """The copy of one recovery, from its files to its pause.

    Args:
        recovery: whose point it is.
    """

    def __init__(self, recovery: PointInTimeRecovery) -> None:
        self.recovery, self.run, self.course = recovery, recovery.run, recovery.course
        self.cluster, self.user, self.live = recovery.cluster, recovery.user, recovery.live
        self.verification = recovery.params.verification
        self._beside: Beside | None = None
        self._resolved: Resolved | None = None
        self._replay: Replay | None = None

    # -- what there is -------------------------------------------------------------------------------------

    @property
    def beside(self) -> Beside:
        """The copy."""
        if self._beside is None:
            tools = find_tools(self.recovery.major(), self.cluster.bin_directory, self.user)
            self._beside = Beside.open_or_create(
                self.cluster, self.recovery.folder, run_id=self.run.id, tools=tools, user=self.user
            )
        return self._beside

    @property
    def resolved(self) -> Resolved:
        """The point with its backup and its WAL, as this attempt has proven it."""
        if self._resolved is None:
            raise OperatorError("Nothing is restored yet in this attempt.", next="Run the step that restores first.")
        return self._resolved

    @property
    def replay(self) -> Replay:
        """The copy on its way through WAL."""
        if self._replay is None:
            raise OperatorError("The copy is not isolated yet.", next="Run the step that isolates it first.")
        return self._replay

    @property
    def is_over(self) -> bool:
        """True in a dry run, and once the way on is being carried out: there is no copy to look at here."""
        return self.recovery.dry_run or self.course.way is not None

    def _show(self, name: str, look: Callable[[], Seen]) -> Seen:
        if self.recovery.dry_run:
            return not_done(name)
        return self.course.keep(name, look)

    @property
    def kept(self) -> KeptForCopy:
        """What was seen of the copy that stands there."""
        return KeptForCopy(self.course, self.beside, self.recovery.point.facts()["reached"])

    def once_a_copy(
        self,
        name: str,
        look: Callable[[], list[Check]],
        *,
        at_the_point: bool = True,
        limits: Callable[[], list[str]] = list,
    ) -> Seen:
        """Checks of the copy: they count as long as it is the same copy (`at_the_point`: at the same point).

        Args:
            limits: what these checks leave open, asked after them.
        """
        return self._show(name, lambda: self.kept.checks(name, look, at_the_point=at_the_point, limits=limits))

    def check_put_off(self, look: Callable[[list[Check]], list[Check]]) -> list[Check]:
        """The checks that were put off, made on the promoted copy before anything is swapped; kept for later attempts.

        Args:
            look: makes these checks of the copy again.
        """

        def look_at_promoted(waiting: list[Check]) -> list[Check]:
            self.beside.start_promoted()
            return look(waiting)

        return self.kept.make_up_for(look_at_promoted)

    # -- restore -------------------------------------------------------------------------------------------

    def make_room(self) -> Seen:
        """There is room for the copy; production's files are moved to another disk where that was approved.

        Raises:
            ScratchFull, PlatformError, CommandFailed, CommandTimedOut.
        """

        def look() -> Seen:
            if self.recovery.room.moved_to:
                self.recovery.lockdown.require_ha_paused()
            return self.recovery.room.make(
                lambda done, total: self.recovery.show("Moving production's files", done, total, "bytes")
            )

        return self._show("room", look)

    def restore(self) -> Seen:
        """The backup's files stand beside production. A copy that was cut short begins anew; one that stands is kept.

        Raises:
            BackupDamaged, WalDamaged, RecoveryRefused, ScratchFull.
        """
        return self._show("restore", self._restore)

    def _restore(self) -> Seen:
        point = self.recovery.point
        selection = self.recovery.selection(format_lsn(point.gate) if point.gate is not None else "latest")
        selection.describe()
        beside = self.beside
        beside.forget_wal()
        selection.choose(beside.wal)
        backup = selection.backup_of(point)
        copy = Restore(beside, selection.live_folders(), self._show_copy, self.verification.check_timeout)
        is_new = not self._can_go_on(beside, backup.label, point)
        size = 0
        if is_new:
            beside.begin_anew(backup)
            copy.begin(backup)
        try:
            self._resolved = selection.resolve_again(point)
            refuse_new_tablespaces(
                self._resolved.scan.tablespaces,
                backup.label,
                "Choose a point before it; to reach one behind it, take a later backup or restore on another machine.",
            )
            if is_new:
                size = copy.finish(backup)
        finally:
            copy.end()
        if is_new:
            beside.note(**{"copied": True, "copied at": clock.stamp(clock.now())})
        self.course.reach("restored", point.key)
        return Seen(
            rows=[
                {
                    "copy": str(beside.folder),
                    "backup": backup.label,
                    "copied": human_bytes(size) if is_new else "kept: no new restore is needed",
                    "took": human_seconds(copy.seconds) if is_new else "–",
                    "WAL proven": f"{format_lsn(self.resolved.scan.start)} to {format_lsn(point.reached)}",
                },
                *({"copy": said} for said in self.resolved.read_in_part),
            ],
            facts={"new": is_new},
        )

    @staticmethod
    def _can_go_on(beside: Beside, backup: str, point: RecoveryPoint) -> bool:
        """True when the copy that stands there is of this backup and not past the point."""
        if not beside.is_copied or beside.noted("backup") != backup:
            return False
        return int(beside.noted("gate", 0)) <= (point.gate if point.gate is not None else point.reached)

    def _show_copy(self, done: int, total: int) -> None:
        self.recovery.show("Copying the backup", done, total, "bytes")

    def isolate(self, manifest: Seen) -> Seen:
        """The copy is configured so that it can reach nothing; no server is started on files that are not as they should be.

        Raises:
            PlatformError: the manifest check has failed.
            RecoveryRefused: WAL would create a tablespace outside, or a link leads out.
        """

        def look() -> Seen:
            failed = [check for check in manifest.checks if check.status is Status.FAIL]
            if failed:
                raise PlatformError(
                    f"No server is started on backup {self.resolved.backup.label}: its files are not as its manifest says.",
                    next="Recover from another backup: it needs an earlier one, or a copy of the damaged files.",
                )
            settings = self._configure()
            shown = (
                "listen_addresses",
                "archive_mode",
                "archive_command",
                "archive_library",
                "restore_command",
                "fsync",
            )
            return Seen(rows=[{"setting": name, "value": settings.get(name) or "(nothing)"} for name in shown])

        return self._show("isolate", look)

    def _show_replay(self, position: int) -> None:
        start, end = self.resolved.scan.start, self.recovery.point.reached
        self.recovery.show("Replaying WAL", max(position - start, 0), end - start, "WAL bytes")

    # -- the pause -----------------------------------------------------------------------------------------

    def recover(self) -> Seen:
        """The copy stands at the point, read-only; the position that it reports decides.

        Raises:
            RecoveryFailed, PlatformError: it does not get there, or cannot be read there.
        """

        def look() -> Seen:
            point = self.recovery.point
            self.beside.note(gate=point.gate if point.gate is not None else point.reached)
            seen = self.replay.go_to(point.gate, point.reached)
            self.course.reach("paused", point.key)
            at = clock.stamp(seen["last_commit"]) if seen["last_commit"] else "none replayed"
            check = Check(
                id="recovery-reached",
                title="The copy stands exactly at the point, in recovery",
                status=Status.PASS,
                expected=format_lsn(point.reached),
                observed=f"{seen['lsn']}, last commit {at}",
                severity=Severity.CRITICAL,
                source="pg_last_wal_replay_lsn()",
            )
            return Seen([check], facts={"reached": seen["lsn"], "last commit": at, "limits": self.beside.limitations})

        return self._show("recover", look)

    def stand_at_the_point(self) -> None:
        """The copy's server runs at its point, or was promoted there: also in an attempt that looks at nothing else.

        Raises:
            as `restore` and `recover`.
        """
        if self._replay is not None:
            return
        self._restore()
        self._configure()
        if not self.beside.promoted:
            point = self.recovery.point
            self.replay.go_to(point.gate, point.reached)

    def _configure(self) -> dict[str, str]:
        settings = self.beside.configure(self.resolved.point.timeline, self.resolved.scan.raised)
        self._replay = Replay(
            self.beside, self.resolved.stage, self.verification.replay_stall_timeout, self._show_replay
        )
        return settings

    def open_copy(self, database: str) -> Connection:
        """A reader's connection to the copy; it waits for a lock no longer than it must."""
        return self.beside.connect_reader(database)

    def open_damaged(self, database: str) -> Connection:
        """A reader's connection to the closed production, where reading a whole table may take its time."""
        return self.live.connect_reader(database, statement_timeout=self.verification.check_timeout)

    def write_losses(self) -> Seen:
        """The rows that a recovery discards lie in files, as far as they can be had; personal data minimised. Once for a copy at its
        point: written anew when a file is gone, or when a table could not be read for a cause that may have passed.

        Raises:
            PlatformError: a server was lost, or the files cannot be written.
        """

        def look() -> Seen:
            seen = self._write_losses()
            return replace(seen, checks=[*seen.checks, check_names(self.recovery.loss)])

        return self._show("loss files", look)

    def name_from_copy(self, loss: Loss) -> None:
        """Relations that neither the backups, WAL nor production name have the names that the copy has at the point.

        Raises:
            PlatformError: the copy cannot be read.
        """
        evidence = self.recovery.evidence
        if evidence is None or not loss.unnamed():
            return
        evidence.names.add_missing(copied := read_names(self.beside.connect, "postgres", "the restored copy", []))
        loss.name_again(evidence.names, copied)

    def _write_losses(self) -> Seen:
        loss = self.recovery.loss
        if loss is None:
            raise OperatorError("The loss was not counted in this attempt.", next="Run that step first.")
        self.name_from_copy(loss)
        rules, is_up = self.recovery.params.recovery.personal_data, self.live.is_up()
        files = LossFiles(self.run.dir / "loss", Minimiser(rules))

        def write() -> Seen:
            found = write_loss_rows(
                loss,
                files,
                open_damaged=self.open_damaged if is_up else None,
                open_restored=self.open_copy,
                deleted_by_others=self.recovery.fates(),
                progress=lambda label, done, total: self.recovery.show(label, done, total, "tables"),
            )
            return tell(found, files.folder)

        # Where WAL ends moves on by itself: a closed server still writes checkpoints.
        counted = {name: value for name, value in loss.facts().items() if name not in ("to", "timelines")}
        return self.kept.keep(
            "loss files",
            write,
            of={"loss": counted, "damaged server": is_up, "personal data": rules},
            is_whole=lambda kept: not kept.facts["open"] and files.are_there(),
        )

    def list_revenants(self) -> Seen:
        """What would come back from the past, or be lost, beside the rows: with what to do."""

        def look() -> Seen:
            is_up = self.live.is_up()
            emptied, unread = read_side_effects(self.beside.connect, self.open_damaged if is_up else None)
            with self.live.connect() if is_up else nullcontext() as connection:
                lost = [*emptied.emptied_words(), *lost_with_server(connection, *self._beside_the_point())]
            facts = {"promotion": lost, "limits": emptied.collation_words()}
            if not is_up:
                lacking = "the damaged server does not answer: nothing to compare with"
                return Seen(rows=emptied.rows(), facts={"missed": [*unread, lacking], **facts})
            self.course.reach("checked", self.recovery.point.key)
            damaged, missed = read_inventory(self.live.connect, self.verification.database)
            restored, also = read_inventory(self.beside.connect, self.verification.database)
            found = [*compare(damaged, restored), *emptied.rows()]
            return Seen(rows=found, facts={"missed": sorted({*missed, *also, *unread}), **facts})

        return self._show("revenants", look)

    def _beside_the_point(self) -> tuple[datetime | None, datetime | None]:
        """When the last commit that is kept, and the first that is discarded, happened."""
        point, loss = self.recovery.point, self.recovery.loss
        after = [point.after] + ([loss.first, *(one.commit for one in loss.damage)] if loss is not None else [])
        kept = point.before.at if point.before is not None else None
        return kept, min((commit.at for commit in after if commit is not None), default=None)

    def stop(self) -> None:
        """The copy's server is down, its files stay: the clean-up of an attempt. Safe twice."""
        if self._beside is not None and self._beside.data.exists():
            self._beside.stop()
        self.recovery.clean_up()


def check_names(loss: Loss | None) -> Check:
    """Return whether every relation that the damage touched is known by name: what nobody can name, nobody can account for."""
    unnamed = [table.title for table in loss.unnamed() if table.is_damaged] if loss is not None else []
    return Check(
        id="recovery-names",
        title="Every relation that the damage touched is known by name",
        status=Status.UNKNOWN if unnamed else Status.PASS,
        expected="all of them",
        observed=f"{len(unnamed)} not known" if unnamed else "all of them",
        severity=Severity.ERROR,
        reason=f"{unnamed[0]}: no backup, no catalog row in WAL, neither production nor the restored copy names this file."
        if unnamed
        else None,
        next="Look for its pg_class.relfilenode in a plain base backup from before the damage; keep it in backup_folder and run again."
        if unnamed
        else None,
        source="pg_class of the base backups, of WAL, of production and of the restored copy",
    )


def limits_of(seen: Seen) -> list[Any]:
    """What a step could not do, for the top of the report."""
    return [*seen.facts.get("limits", []), *seen.facts.get("left open", []), *seen.facts.get("missed", [])]
