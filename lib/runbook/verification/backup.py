"""Backup verification: what a notebook steps through, from the choice of a backup to its proof.

Each public method is one step of the notebook, in order.
"""

from __future__ import annotations

import time
from typing import Any

from runbook import clock, layout
from runbook.clock import human_bytes, human_seconds
from runbook.errors import OperatorError, PlatformError
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.platforms.cluster.replay import Replay, SnapshotMissing
from runbook.platforms.cluster.restore import Restore
from runbook.platforms.cluster.restoring import close_off, refuse_new_tablespaces
from runbook.platforms.cluster.scratch import Scratch
from runbook.platforms.cluster.scratchplace import default_location, folder_for, lent_folder, require_apart, server_user
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.window import RecoveryPoint, Resolved
from runbook.postgres.osuser import service_user
from runbook.verification import backup_checks, budgets, integrity, shown, sqlchecks
from runbook.verification.contents import Progress
from runbook.verification.exposure import measure_exposure
from runbook.verification.fencefile import owned_folder
from runbook.verification.restored import RestoredChecks


def check_parameters(params: Params, values: dict[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError, ParamsError: one does not, or a check file is broken.
    """
    names = ("recovery_point", "timeline", "scratch", "checks")
    BackupVerification(params, "preflight", lambda *seen: None, **{name: values[name] for name in names})


class BackupVerification:
    """The state between the steps of one verification.

    Args:
        params: of a target on platform `cluster`.
        run_id: names the scratch and its connections.
        progress: called with a label, done, total and unit.
        recovery_point, timeline, scratch, checks: as the notebook's parameters say.

    Raises:
        OperatorError, ParamsError: a parameter or a check file is wrong; nothing has been started.
    """

    def __init__(
        self,
        params: Params,
        run_id: str,
        progress: Progress,
        recovery_point: str = "latest",
        timeline: str = "auto",
        scratch: str = "",
        checks: str = "all",
    ) -> None:
        if params.cluster is None:
            raise OperatorError(f"Target '{params.target}' is no cluster.", next="Use a target with platform: cluster.")
        self.params, self.cluster, self.verification = params, params.cluster, params.verification
        self.run_id, self.progress = run_id, progress
        self._timeout = self.verification.check_timeout
        self.files = sqlchecks.select_checks(
            sqlchecks.load_checks(), self.verification.suites, checks, self.verification.skip_checks
        )
        self.limitations = (
            [f"Only these SQL checks were asked for: {checks}."] if checks.strip() not in ("all", "") else []
        )
        production = service_user(self.cluster.os_user, owned_folder(layout.resolve(self.cluster.backup_folder)))
        named = scratch or self.verification.scratch
        self.server_user = server_user(self.cluster, self.verification, production, run_id, named)
        self.user = self.server_user.user
        self.location = layout.resolve(named) if named else default_location(self.user)
        self.scratch_folder = folder_for(self.location, run_id)
        self.selection = Selection(self.cluster, production, recovery_point, timeline, self._timeout, reader=self.user)
        archive = self.selection.archive.directory
        self.lender = production if self.server_user.owns_nothing else None
        live = self.selection.live_folders()
        require_apart(self.location, [self.selection.backup_folder, *([archive] if archive else []), *live])
        self.seconds: dict[str, float] = {}
        asked = {"recovery_point": recovery_point, "timeline": timeline, "scratch": scratch, "checks": checks}
        self._again = shown.promote_command(params.target, asked)
        self.scratch: Scratch | None = None
        self.resolved: Resolved | None = None
        self._system: list[Check] = []
        self._may_promote, self._waiting = False, list[Check]()

    # -- choose and resolve ------------------------------------------------------------------------------

    def choose(self) -> list[Check]:
        """Backups are described, the scratch is made, timeline and candidates are chosen.

        Raises:
            BackupDamaged: there is no backup.
            TargetOutsideWindow: none reaches the point.
            NotReadable, ScratchFull: a folder is closed.
        """
        chosen = self.selection
        wrong = chosen.describe()
        chosen.archive.lent = lent_folder(chosen.archive.directory, self.lender, self.user)
        self.scratch = Scratch(
            self.scratch_folder,
            run_id=self.run_id,
            tools=chosen.tools,
            user=self.user,
            superuser=self.cluster.superuser,
            preload_libraries=self.verification.preload_libraries,
            reader_role=self.cluster.reader_role,
            owns_nothing=self.server_user.owns_nothing,
            hidden=chosen.live_folders(),
            limitation=self.server_user.limitation,
            lender=self.lender,
        ).prepare()
        self.checks = RestoredChecks(self.params, self.scratch, self.progress, self.files, self.seconds)
        self.contents = self.checks.contents
        self.contents.again = self._again
        self.copy = Restore(self.scratch, chosen.live_folders(), self._show_copy, self._timeout)
        chosen.choose(self.scratch.wal)
        newest = chosen.candidates[0]
        checks = [
            backup_checks.check_folders(
                layout.short(chosen.backup_folder), chosen.backups, wrong, len(chosen.passed_over)
            ),
            backup_checks.check_newest(newest, chosen.not_proven(newest)),
            backup_checks.check_system(newest, chosen.live_system()),
            backup_checks.check_timeline(chosen.number, chosen.why, chosen.timeline_question(), self.params.target),
        ]
        return [check for check in checks if check is not None]

    def _show_copy(self, done: int, total: int) -> None:
        self.progress("Copying the backup", done, total, "bytes")

    @property
    def target_facts(self) -> dict[str, str | None]:
        """Which system this is."""
        newest = self.selection.candidates[0]
        return {"system_identifier": newest.system_identifier, "server_version": self.selection.tools.version}

    @property
    def backup_rows(self) -> list[dict[str, object]]:
        """The backups, the chosen one marked."""
        newest = self.selection.candidates[0]
        return [{**backup.facts(), "chosen": "yes" if backup is newest else ""} for backup in self.selection.backups]

    @property
    def timeline_limitations(self) -> tuple[str, ...]:
        """What the archive holds of timelines that were not followed, and what is missing of the one that was."""
        return self.selection.choice.limitations

    @property
    def timeline_caption(self) -> str:
        """Which timeline is followed, and why."""
        return f"Base backups; timeline {self.selection.number} is followed: {self.selection.why}"

    def resolve(self) -> dict[str, Any]:
        """The point as a position, for the caller to write down; the likely backup is copied beside it.

        Raises:
            TargetOutsideWindow, WalDamaged.
        """
        newest = self.selection.candidates[0]
        self.copy.begin(newest)
        self.resolved = self.selection.resolve(
            lambda position: self.progress("Reading WAL", position - newest.start, 0, "WAL bytes")
        )
        return self.resolved.point.facts()

    def check_wal(self, facts: dict[str, Any]) -> list[Check]:
        """What reading the WAL has proven. After an interruption it is read again up to the point written down.

        Raises:
            BackupDamaged: the backup that was chosen then is gone.
            RecoveryRefused: replaying would write outside the scratch.
        """
        if self.resolved is None:
            point = RecoveryPoint.from_facts(facts)
            self.copy.begin(self.selection.backup_of(point))
            self.resolved = self.selection.resolve_again(point)
        scan, stage = self.resolved.scan, self.resolved.stage
        self.seconds["read WAL"] = scan.seconds
        refuse_new_tablespaces(
            scan.tablespaces,
            self.resolved.backup.label,
            "Take a new base backup (it will hold the tablespace), then verify that one.",
        )
        missing = [name for name in stage.from_backup if stage.later_than(name)]
        is_empty = len(stage.from_backup) == len(stage.laid)
        archive = backup_checks.check_archive(missing, stage.archive.where(), is_empty=is_empty)
        return [backup_checks.check_wal(scan), archive]

    # -- restore -----------------------------------------------------------------------------------------

    def restore(self) -> list[dict[str, Any]]:
        """The backup's files stand in the scratch.

        Raises:
            BackupDamaged, RecoveryRefused, ScratchFull.
        """
        assert self.scratch is not None and self.resolved is not None
        size = self.copy.finish(self.resolved.backup)
        took = self.seconds["copy"] = self.copy.seconds
        return [
            {
                "scratch": layout.short(self.scratch.folder),
                "runs as": self.user.name if self.user else "this user",
                "restored": human_bytes(size),
                "took": human_seconds(took),
                "rate": f"{human_bytes(size / max(took, 0.001))}/s",
            }
        ]

    def check_manifest(self) -> list[Check]:
        """pg_verifybackup on the restored copy, before any server has touched it: backup and copy are proven at once."""
        assert self.scratch is not None and self.resolved is not None
        backup = self.resolved.backup
        self._manifest = self.checks.check_manifest(backup)[0]
        self._system = self.checks.check_unpacked_system(backup, self.selection.live_system())
        outside = self.selection.unclear_tablespaces(backup)
        return [self._manifest, *self._system, *backup_checks.check_tablespaces(backup, outside)]

    def isolate(self) -> list[dict[str, Any]]:
        """The scratch is configured so that it can reach nothing.

        Raises:
            PlatformError: its files are not as their manifest says, or of another system; no server is started on them.
            BackupDamaged: pg_control cannot be read.
            RecoveryRefused: a link leads out of the scratch.
        """
        assert self.scratch is not None and self.resolved is not None
        for check in (self._manifest, *self._system):
            if check.status is Status.FAIL:
                # The check has failed already; this only keeps what follows from running.
                label = self.resolved.backup.label
                raise PlatformError(
                    f"No server is started on backup {label}: the check '{check.title}' failed.", next=check.next
                )
        close_off(self.scratch.folder, self.user)
        settings = self.scratch.configure(self.resolved.point.timeline, self.resolved.scan.raised)
        self.replay = Replay(
            self.scratch, self.resolved.stage, self.verification.replay_stall_timeout, self._show_replay
        )
        return shown.isolation_rows(settings)

    def _show_replay(self, position: int) -> None:
        assert self.resolved is not None
        start, end = self.resolved.scan.start, self.resolved.point.reached
        self.progress("Replaying WAL", max(position - start, 0), end - start, "WAL bytes")

    # -- recover -----------------------------------------------------------------------------------------

    def compare_with_fence(self) -> list[Check]:
        """Recovered to each database's fence in turn; every table compared to the last row. UNKNOWN without a usable fence."""
        assert self.resolved is not None
        return self.checks.compare_with_fence(self.resolved, self.replay)

    def recover(self, may_promote: bool) -> tuple[dict[str, Any], list[Check]]:
        """The scratch stands at the point, read-only; the position that it reports decides.

        Args:
            may_promote: a scratch that cannot be read at the point (too many open subtransactions) is promoted there.

        Raises:
            RecoveryFailed: it does not get there.
            SnapshotMissing: it is there, cannot be read, and may not be promoted.
        """
        assert self.scratch is not None and self.resolved is not None
        self._may_promote = may_promote
        began = time.monotonic()
        point = self.resolved.point
        try:
            seen = self.replay.go_to(point.gate, point.reached)
        except SnapshotMissing:
            if not may_promote:
                raise
            timeline = self.replay.promote(point.reached)
            self.checks.add_seconds("replay", began)
            return {"state": "promoted at the point"}, [backup_checks.check_promoted(timeline, point.reached)]
        self.checks.add_seconds("replay", began)
        control = self.scratch.control()
        facts = {
            "reached": seen["lsn"],
            "last commit replayed": clock.stamp(seen["last_commit"]) if seen["last_commit"] else None,
            "system identifier": control.get("Database system identifier"),
            "data checksums": control.get("Data page checksum version", "0") != "0",
            "databases": self.contents.databases(),
        }
        state = "in recovery, timeline " + control.get("Latest checkpoint's TimeLineID", "?")
        return facts, [
            backup_checks.check_reached(point.reached, seen["lsn"], time.monotonic() - began),
            backup_checks.check_not_promoted(self.scratch.log.read_text("utf-8", "replace"), state),
        ]

    # -- check -------------------------------------------------------------------------------------------

    def check_contents(self) -> list[Check]:
        """Every relation and sequence read to its end; pg_amcheck of every database. What only a promoted scratch can answer waits for `promote`."""
        return self._wait_for_promotion(self.checks.check_contents())

    def _wait_for_promotion(self, checks: list[Check]) -> list[Check]:
        """Return the checks without those that are made on the promoted scratch, when there will be one."""
        if not self._may_promote:
            return checks
        waiting = [check for check in checks if check.status is Status.UNKNOWN and integrity.may_pass_promoted(check)]
        self._waiting += waiting
        return [check for check in checks if check not in waiting]

    @property
    def unread_limitations(self) -> list[str]:
        """What this kind of proof leaves open, for the top of the report."""
        assert self.resolved is not None
        chosen = self.selection
        not_proven = chosen.not_proven(chosen.candidates[0])
        store = backup_checks.limits_of_store(layout.short(chosen.backup_folder), not_proven, chosen.passed_over)
        return [*store, *chosen.unfinished, *self.resolved.read_in_part, *self.checks.unread_limitations]

    @property
    def promoted_limitations(self) -> list[str]:
        """Which checks waited for the promotion, for the top of the report."""
        names = ", ".join(f"{check.id} ({check.reason})" for check in self._waiting)
        return [f"Checked on the promoted copy, not at the point: {names}."] if names else []

    def check_sql(self) -> list[Check]:
        """Every check file against every database it is for."""
        assert self.resolved is not None
        return self._wait_for_promotion(self.checks.check_sql(self.resolved.point))

    def promote(self) -> list[Check]:
        """The isolated scratch is promoted and checked as only a writable server can be.

        Raises:
            RecoveryFailed: it does not promote, or forks elsewhere.
        """
        assert self.scratch is not None and self.resolved is not None
        began = time.monotonic()
        checks = []
        if not self.scratch.promoted:
            timeline = self.replay.promote(self.resolved.point.reached)
            checks.append(backup_checks.check_promoted(timeline, self.resolved.point.reached))
        checks += self.contents.check_parents()
        made = {check.id for check in checks}
        left = [check for check in self._waiting if check.id not in made]
        again = self.checks.check_again(left, self.resolved.point, ()) if left else []
        made |= {check.id for check in again}
        checks += [*again, *(check for check in left if check.id not in made)]
        self.checks.add_seconds("promotion", began)
        return checks

    # -- measure and show ----------------------------------------------------------------------------------

    def measure(self) -> tuple[list[dict[str, Any]], list[Check]]:
        """RTO as measured, and what would be lost now when the archive's end was asked for."""
        assert self.resolved is not None
        spent = self.seconds
        rto = max(spent["copy"], spent["read WAL"]) + spent["manifest"] + spent["replay"]
        measures, checks = budgets.measure_rto(rto, self.params.budgets)
        choice = self.selection.choice
        is_of_another = choice.is_asked_for and choice.production not in (None, self.resolved.point.timeline)
        if self.selection.point == "latest" and not is_of_another:  # a limitation says what production writes
            exposure = measure_exposure(self.cluster, self.run_id, self.resolved, self.selection.tools)
            more, found = budgets.measure_rpo(exposure, self.params.budgets)
            return [*measures, *more], [*checks, *found]
        return measures, checks

    @property
    def timing_rows(self) -> list[dict[str, Any]]:
        """Where the time went; the copy runs beside reading the WAL, pg_amcheck beside reading every relation."""
        return [
            {"part": name, "seconds": round(seconds, 2)}
            for name, seconds in {**self.seconds, **self.contents.seconds}.items()
        ]

    def volume_and_sizes(self) -> tuple[shown.Plot | None, shown.Plot | None]:
        """The arguments of two plots: rows by day, and the largest tables; None where there is nothing to draw."""
        assert self.resolved is not None
        return self.checks.volume_and_sizes(self.resolved.point)

    # -- clean up ----------------------------------------------------------------------------------------

    def clean_up(self, keep: bool = False) -> str:
        """Server down and scratch gone, or kept for inspection; what was done. Safe twice, and after a failure.

        Raises:
            PlatformError: something could not be removed.
        """
        if self.scratch is None:
            return "There was no scratch."
        if hasattr(self, "copy"):
            self.copy.end()
        if keep:
            self.scratch.stop()
            self.scratch.keep()
            return f"The scratch is kept in {layout.short(self.scratch.folder)}."
        self.scratch.remove()
        return "The scratch is gone."
