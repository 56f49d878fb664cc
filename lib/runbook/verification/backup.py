"""Backup verification: what a notebook steps through, from the choice of a backup to its proof.

Each public method is one step of the notebook, in order.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.clock import human_bytes, human_seconds
from runbook.errors import BackupDamaged, CommandFailed, NotMeasured, OperatorError, RecoveryRefused
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.platforms.cluster import restoring
from runbook.platforms.cluster.backups import Backup, describe_all
from runbook.platforms.cluster.replay import Replay, SnapshotMissing
from runbook.platforms.cluster.scratch import Scratch, folder_for
from runbook.platforms.cluster.walarchive import Stage, WalArchive, check_user_can_read
from runbook.postgres.connect import SqlError, rows
from runbook.postgres.osuser import service_user
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, find_tools, read_control
from runbook.postgres.wal import Commit, Timeline, format_lsn
from runbook.recovery import window
from runbook.recovery.walscan import scan_to
from runbook.recovery.window import RecoveryPoint, Resolved
from runbook.verification import backup_checks, budgets, comparison, content, integrity, sqlchecks
from runbook.verification.contents import Contents, Progress
from runbook.verification.fence import FOLDER as FENCES
from runbook.verification.fence import Fence, list_fences

_SEGMENT_SIZE = 16 << 20
_MOST_TABLES = 12


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
        self.asked, self.asked_timeline = recovery_point, timeline
        self.point = window.parse_point(recovery_point)
        self.files = sqlchecks.select_checks(
            sqlchecks.load_checks(), self.verification.suites, checks, self.verification.skip_checks
        )
        self.limitations = (
            [f"Only these SQL checks were asked for: {checks}."] if checks.strip() not in ("all", "") else []
        )
        self.location = layout.resolve(scratch or self.verification.scratch or str(layout.scratch()))
        self.scratch_folder = folder_for(self.location, run_id)
        self.backup_folder = layout.resolve(self.cluster.backup_folder)
        self.user = service_user(self.cluster.os_user, self._owned_folder())
        self.archive = WalArchive(self.cluster.wal_archive, self.user)
        self.seconds: dict[str, float] = {}
        self.scratch: Scratch | None = None
        self._copy: Future[int] | None = None
        self._copied: Backup | None = None
        self._fence: Fence | None = None

    def _owned_folder(self) -> Path:
        """A folder whose owner is the user of the server that was backed up."""
        if not self.backup_folder.is_dir():
            return self.backup_folder
        return next(
            (path for path in sorted(self.backup_folder.iterdir()) if path.is_dir() and path.name != FENCES),
            self.backup_folder,
        )

    @property
    def _timeout(self) -> float:
        return self.verification.check_timeout

    # -- choose ------------------------------------------------------------------------------------------

    def choose(self) -> list[Check]:
        """Backups are described, the timeline is chosen, the scratch is made.

        Raises:
            BackupDamaged: there is no backup.
            TargetOutsideWindow: none reaches the point.
            NotReadable, ScratchFull: a folder is closed.
        """
        check_user_can_read(self.archive)
        self.backups, wrong = describe_all(self.backup_folder)
        if not self.backups:
            raise BackupDamaged(wrong[0].message, next=wrong[0].next)
        self.tools = self._find_tools()
        self.scratch = Scratch.create(
            self.location,
            run_id=self.run_id,
            tools=self.tools,
            user=self.user,
            superuser=self.cluster.superuser,
            preload_libraries=self.verification.preload_libraries,
        )
        self.contents = Contents(self.scratch, self.progress, self._timeout, self.cluster.databases)
        self.segment_size = self._segment_size()
        self.lineages = window.find_lineages(self.archive, self.scratch.wal, self.backups)
        self.number, self.why = window.choose_timeline(
            self.point, self.asked_timeline, self.lineages, self._first_commit
        )
        self.lineage = window.lineage_of(self.number, self.lineages)
        self.candidates = window.candidates(self.backups, self.lineage, self.point)
        if not self.candidates:
            raise window.refuse_before_oldest(self.asked, self.backups, self.number)
        checks = [
            backup_checks.check_folders(layout.short(self.backup_folder), self.backups, wrong),
            backup_checks.check_system(self.candidates[0], self._live_system()),
        ]
        return [check for check in checks if check is not None]

    def _find_tools(self) -> Tools:
        majors = {backup.major for backup in self.backups if backup.major}
        version = layout.resolve(self.cluster.data_directory) / "PG_VERSION" if self.cluster.data_directory else None
        if not majors and version is not None and version.is_file():
            majors = {int(version.read_text().strip())}
        if not majors:
            raise NotMeasured(
                "Nothing says which major version of PostgreSQL made the backups.",
                next="Name cluster.data_directory in params.",
            )
        return find_tools(max(majors), self.cluster.bin_directory, self.user)

    def _segment_size(self) -> int:
        for backup in reversed(self.backups):
            try:
                return int(read_control(self.tools, backup.path)["Bytes per WAL segment"])
            except (CommandFailed, KeyError, ValueError):
                # A tar backup, or a pg_control that is gone: the manifest check will say so.
                continue
        return _SEGMENT_SIZE

    def _live_system(self) -> str | None:
        if self.cluster.data_directory is None:
            return None
        try:
            return read_control(self.tools, layout.resolve(self.cluster.data_directory)).get(
                "Database system identifier"
            )
        except CommandFailed:
            # The server's own files are out of reach; it is the backup that is verified.
            return None

    def _stage(self, backup: Backup, lineage: tuple[Timeline, ...]) -> Stage:
        assert self.scratch is not None
        own = self.scratch.folder / "backup_wal" if backup.layout == "tar" else backup.path / "pg_wal"
        return Stage(self.archive, self.scratch.wal, lineage, backup.start, self.segment_size, fallback=own)

    def _first_commit(self, lineage: tuple[Timeline, ...]) -> Commit | None:
        assert self.scratch is not None
        stage = Stage(self.archive, self.scratch.wal, lineage, lineage[-1].begin, self.segment_size)
        if not self.archive.has(stage.next_name(), self.scratch.wal):
            return None
        return scan_to(stage, self.tools, until=window.EVER, timeout=self._timeout).after

    @property
    def target_facts(self) -> dict[str, str | None]:
        """Which system this is."""
        return {"system_identifier": self.candidates[0].system_identifier, "server_version": self.tools.version}

    @property
    def backup_rows(self) -> list[dict[str, object]]:
        """The backups, the chosen one marked."""
        return [{**backup.facts(), "chosen": "yes" if backup is self.candidates[0] else ""} for backup in self.backups]

    # -- resolve -----------------------------------------------------------------------------------------

    def resolve(self) -> dict[str, Any]:
        """The point as a position, for the caller to write down; the likely backup is copied beside it.

        Raises:
            TargetOutsideWindow, WalDamaged.
        """
        newest = self.candidates[0]
        self._begin_copy(newest)
        self.resolved = window.resolve(
            self.asked,
            point=self.point,
            timeline=self.number,
            why=self.why,
            lineages=self.lineages,
            chosen=self.candidates,
            make_stage=self._stage,
            tools=self.tools,
            timeout=self._timeout,
            progress=lambda position: self.progress("Reading WAL", position - newest.start, 0, "WAL bytes"),
        )
        return self.resolved.point.facts()

    def check_wal(self, facts: dict[str, Any]) -> list[Check]:
        """What reading the WAL has proven. After an interruption it is read again up to the point written down.

        Raises:
            BackupDamaged: the backup that was chosen then is gone.
            RecoveryRefused: replaying would write outside the scratch.
        """
        if not hasattr(self, "resolved"):
            self._resolve_again(RecoveryPoint.from_facts(facts))
        scan, stage = self.resolved.scan, self.resolved.stage
        self.seconds["read WAL"] = scan.seconds
        if scan.tablespaces:
            position, path = scan.tablespaces[0]
            raise RecoveryRefused(
                f"WAL creates the tablespace {path} at {format_lsn(position)}, after backup {self.resolved.backup.label}: "
                "replaying it beside production would write into production's own folder.",
                next="Take a new base backup (it will hold the tablespace), then verify that one.",
            )
        missing = [name for name in stage.from_backup if stage.later_than(name)]
        return [backup_checks.check_wal(scan), backup_checks.check_archive(missing, self.archive.where())]

    def _resolve_again(self, point: RecoveryPoint) -> None:
        backup = next((item for item in self.candidates if item.label == point.backup), None)
        if backup is None:
            raise BackupDamaged(
                f"Backup {point.backup}, chosen before the interruption, is not there any more.",
                next="Start a new run.",
            )
        self._begin_copy(backup)
        stage = self._stage(backup, window.lineage_of(point.timeline, self.lineages))
        until = point.gate if point.gate is not None else point.reached
        scan = scan_to(stage, self.tools, until=until, timeout=self._timeout)
        self.resolved = Resolved(point, backup, stage, scan, "as resolved before the interruption")

    def point_rows(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        """The point, for people."""
        commits = ("last commit included", "first commit left out")
        shown = {name: facts[name] for name in facts if name not in commits}
        for name in commits:
            commit = facts[name]
            shown[name] = (
                f"transaction {commit['xid']} at {commit['at']}, {commit['lsn']}" if commit else "none in the archive"
            )
        return [
            {"what": name, "value": value if value is not None else "the archive's end"}
            for name, value in shown.items()
        ]

    # -- restore -----------------------------------------------------------------------------------------

    def _begin_copy(self, backup: Backup) -> None:
        assert self.scratch is not None
        folder = self.scratch.folder
        began = time.monotonic()

        def copy() -> int:
            done = restoring.restore_files(
                backup,
                folder,
                self.user,
                live=self._live_folders(),
                progress=lambda done, total: self.progress("Copying the backup", done, total, "bytes"),
                timeout=self._timeout,
            )
            self.seconds["copy"] = time.monotonic() - began
            return done

        pool = ThreadPoolExecutor(1)
        self._copied, self._copy = backup, pool.submit(copy)
        pool.shutdown(wait=False)

    def _live_folders(self) -> tuple[Path, ...]:
        folders = [layout.resolve(path) for path in self.cluster.tablespaces]
        if self.cluster.data_directory is None:
            return tuple(folders)
        data = layout.resolve(self.cluster.data_directory)
        try:
            links = [link.resolve() for link in (data / "pg_tblspc").iterdir()]
        except OSError:
            links = []  # the server's own folder is out of reach; the tablespaces that params name still count
        return (*folders, data, *links)

    def restore(self) -> list[dict[str, Any]]:
        """The backup's files stand in the scratch.

        Raises:
            BackupDamaged, RecoveryRefused, ScratchFull.
        """
        assert self.scratch is not None and self._copy is not None
        if self._copied is not self.resolved.backup:
            self._copy.result()
            for name in ("data", "tablespaces"):
                shutil.rmtree(self.scratch.folder / name)
            (self.scratch.folder / "tablespaces").mkdir(mode=0o700)
            self._begin_copy(self.resolved.backup)
        size = self._copy.result()
        took = self.seconds["copy"]
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
        assert self.scratch is not None
        began = time.monotonic()
        self._manifest = integrity.check_manifest(
            self.tools, self.resolved.backup, self.scratch.data, self.user, self._timeout
        )
        self.seconds["manifest"] = time.monotonic() - began
        return [self._manifest]

    def isolate(self) -> list[dict[str, Any]]:
        """The scratch is configured so that it can reach nothing.

        Raises:
            BackupDamaged: its files are not as their manifest says; no server is started on them.
            RecoveryRefused: a link leads out of the scratch.
        """
        assert self.scratch is not None
        if self._manifest.status is Status.FAIL:
            raise BackupDamaged(
                f"No server is started on backup {self.resolved.backup.label}: its files are not as its manifest says.",
                next=self._manifest.next,
            )
        restoring.close_off(self.scratch.folder, self.user)
        settings = self.scratch.configure(self.resolved.point.timeline, self.resolved.scan.raised)
        self.replay = Replay(
            self.scratch, self.resolved.stage, self.verification.replay_stall_timeout, self._show_replay
        )
        shown = {
            "listen_addresses": "no network",
            "archive_mode": "no archive is written",
            "restore_command": "no command; WAL is laid ready by the run",
            "recovery_target_timeline": "explicit, never latest",
            "shared_preload_libraries": "only what params name",
            "max_connections": "at least what the primary had, WAL included",
        }
        return [
            {"setting": name, "value": settings[name] or "(empty)", "means": means} for name, means in shown.items()
        ]

    def _show_replay(self, position: int) -> None:
        start, end = self.resolved.scan.start, self.resolved.point.reached
        self.progress("Replaying WAL", max(position - start, 0), end - start, "WAL bytes")

    # -- recover -----------------------------------------------------------------------------------------

    def compare_with_fence(self) -> list[Check]:
        """Recovered to each database's fence in turn; every table compared to the last row. UNKNOWN without a usable fence."""
        fences, wrong = list_fences(self.cluster)
        fence, reason = comparison.choose_fence(
            fences,
            system_identifier=self.resolved.backup.system_identifier,
            on_lineage=self._is_on_the_way,
            consistent=self._consistent_at(),
            reached=self.resolved.point.reached,
        )
        lost = self._archive_lost(fences)
        checks = [lost] if lost is not None else []
        if fence is None:
            return [*checks, comparison.no_fence_check("; ".join([reason, *wrong]))]
        for item in sorted(fence.databases, key=lambda item: item.lsn):
            began = time.monotonic()
            try:
                self.replay.go_to(item.lsn, item.lsn)
            except SnapshotMissing as problem:
                return [*checks, comparison.no_fence_check(problem.message)]
            self._add_seconds("replay", began)
            began = time.monotonic()
            contents, sequences = self.contents.read(item.database, lambda relation: not relation.is_catalog)
            checks.append(comparison.compare_database(item, contents, sequences, time.monotonic() - began))
            self._add_seconds("fence", began)
        fenced = {item.database for item in fence.databases}
        for name in self.contents.databases():
            if name not in fenced:
                check = comparison.no_fence_check(f"the fence does not hold database {name}")
                checks.append(check.model_copy(update={"id": f"fence@{name}", "object": name}))
        return checks

    def _add_seconds(self, name: str, began: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def _archive_lost(self, fences: list[Fence]) -> Check | None:
        """A fence that saw more WAL than the archive now has, when the archive's end was asked for."""
        if self.resolved.point.gate is not None:
            return None
        system = self.resolved.backup.system_identifier
        ours = [
            fence
            for fence in fences
            if system in (None, fence.system_identifier)
            and all(item.timeline == self.resolved.point.timeline for item in fence.databases)
        ]
        return backup_checks.check_archive_end(ours, self.resolved.point.reached)

    def _is_on_the_way(self, timeline: int, position: int) -> bool:
        return any(
            part.number == timeline and part.begin <= position and (part.end is None or position <= part.end)
            for part in self.resolved.stage.lineage
        )

    def _consistent_at(self) -> int:
        return self.resolved.backup.end or self.resolved.scan.backup_end or self.resolved.backup.start

    def recover(self, may_promote: bool) -> tuple[dict[str, Any], list[Check]]:
        """The scratch stands at the point, read-only; the position that it reports decides.

        Args:
            may_promote: a scratch that cannot be read at the point (too many open subtransactions) is promoted there.

        Raises:
            RecoveryFailed: it does not get there.
            SnapshotMissing: it is there, cannot be read, and may not be promoted.
        """
        assert self.scratch is not None
        began = time.monotonic()
        point = self.resolved.point
        try:
            seen = self.replay.go_to(point.gate, point.reached)
        except SnapshotMissing:
            if not may_promote:
                raise
            timeline = self.replay.promote(point.reached)
            self._add_seconds("replay", began)
            return {"state": "promoted at the point"}, [backup_checks.check_promoted(timeline, point.reached)]
        self._add_seconds("replay", began)
        control = self.scratch.control()
        facts = {
            "reached": seen["lsn"],
            "last commit replayed": clock.stamp(seen["last_commit"]) if seen["last_commit"] else None,
            "system identifier": control.get("Database system identifier"),
            "data checksums": control.get("Data page checksum version", "0") != "0",
            "databases": self.contents.databases(),
        }
        state = f"in recovery, timeline {control.get('Latest checkpoint' + chr(39) + 's TimeLineID', '?')}"
        return facts, [
            backup_checks.check_reached(point.reached, seen["lsn"], time.monotonic() - began),
            backup_checks.check_not_promoted(self.scratch.log.read_text(errors="replace"), state),
        ]

    # -- check -------------------------------------------------------------------------------------------

    def check_contents(self) -> list[Check]:
        """Every relation and sequence read to its end; pg_amcheck of every database."""
        began = time.monotonic()
        checks = self.contents.check()
        self._add_seconds("contents", began)
        return checks

    @property
    def unread_limitations(self) -> list[str]:
        """What this kind of proof leaves open, for the top of the report."""
        said = []
        if self.contents.unread:
            names = ", ".join(self.contents.unread[:5])
            said.append(f"Not readable while in recovery (unlogged or not populated): {names}.")
        other = self.contents.unchecked_indexes()
        if other:
            said.append(f"pg_amcheck looks at btree indexes only; not checked inside: {', '.join(other)} indexes.")
        return said

    def check_sql(self) -> list[Check]:
        """Every check file against every database it is for."""
        began = time.monotonic()
        checks = self.contents.check_sql(self.files, self.verification.database, self._variables())
        self._add_seconds("SQL checks", began)
        return checks

    def _variables(self) -> dict[str, Any]:
        return {
            **self.verification.thresholds,
            "recovery_time": clock.stamp(self.resolved.point.moment),
            "required_extensions": _array(self.verification.required_extensions),
            "required_roles": _array(self.verification.required_roles),
        }

    def promote(self) -> list[Check]:
        """The isolated scratch is promoted and checked as only a writable server can be.

        Raises:
            RecoveryFailed: it does not promote, or forks elsewhere.
        """
        assert self.scratch is not None
        began = time.monotonic()
        checks = []
        if not self.scratch.promoted:
            timeline = self.replay.promote(self.resolved.point.reached)
            checks.append(backup_checks.check_promoted(timeline, self.resolved.point.reached))
        checks += self.contents.amcheck(self.contents.databases(), parent=True)
        self._add_seconds("promotion", began)
        return checks

    # -- measure and show ----------------------------------------------------------------------------------

    def measure(self) -> tuple[list[dict[str, Any]], list[Check]]:
        """RTO as measured, and what would be lost now when the archive's end was asked for."""
        spent = self.seconds
        rto = max(spent["copy"], spent["read WAL"]) + spent["manifest"] + spent["replay"]
        budget = self.params.budgets
        measures: list[dict[str, Any]] = [
            {"name": "rto", "title": "Recovery time: copy, manifest and replay", "value": round(rto, 3), "unit": "s"}
            | {"budget": budget.rto, "source": budget.source}
        ]
        checks = [budgets.check_rto(rto, budget)]
        if self.point == "latest":
            data = self.cluster.data_directory
            exposure = budgets.measure_exposure(
                live_wal=layout.resolve(data) / "pg_wal" if data else None,
                timeline=self.resolved.point.timeline,
                archive_end=self.resolved.point.reached,
                segment_size=self.segment_size,
                last_commit=self.resolved.point.before.at if self.resolved.point.before else None,
                tools=self.tools,
                timeout=60,
            )
            checks.append(budgets.check_rpo(exposure, budget))
            if exposure.seconds is not None:
                measures.append(
                    {
                        "name": "rpo",
                        "title": f"Exposure now ({exposure.how})",
                        "value": round(exposure.seconds, 3),
                        "unit": "s",
                    }
                    | {"budget": budget.rpo, "source": budget.source}
                )
        return measures, checks

    @property
    def timing_rows(self) -> list[dict[str, Any]]:
        """Where the time went; the copy runs beside reading the WAL, pg_amcheck beside reading every relation."""
        return [
            {"part": name, "seconds": round(seconds, 2)}
            for name, seconds in {**self.seconds, **self.contents.seconds}.items()
        ]

    def volume_and_sizes(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """The two plots: rows by day, and the largest tables; None where there is nothing to draw."""
        assert self.scratch is not None
        main = self.verification.database or self.contents.databases()[0]
        with self.scratch.connect(main) as connection:
            file = load_sql("shown/table_sizes")
            tables = rows(connection, file.text, file.values({"most": _MOST_TABLES}))
            connection.execute("SET search_path = public, pg_catalog")
            days = self._daily_volume(lambda text, values: rows(connection, text, values))
        sizes = None
        if tables:
            sizes = {
                "labels": [row["relation"] for row in tables],
                "values": [row["size_bytes"] / (1 << 20) for row in tables],
                "title": f"Largest tables of {main}",
                "unit": "MiB",
                "finding": f"{tables[0]['relation']} is the largest with {human_bytes(tables[0]['size_bytes'])}, indexes included.",
            }
        return days, sizes

    def _daily_volume(self, ask: Callable[[str, list[object]], list[dict[str, Any]]]) -> dict[str, Any] | None:
        file = next((item for item in self.files if item.name == "daily_volume"), None)
        if file is None:
            return None
        try:
            days = ask(file.sql.text, file.sql.values(self._variables()))
        except SqlError:
            return None  # the check of the same file has said UNKNOWN with the reason; there is nothing to draw
        least = min(days, key=lambda row: row["daily_volume"])
        return {
            "labels": [f"{row['day_begins']:%Y-%m-%d %H:%M}" for row in days],
            "values": [row["daily_volume"] for row in days],
            "title": "New vehicles in each of the seven days before the point",
            "unit": "rows",
            "finding": f"The weakest day, from {least['day_begins']:%Y-%m-%d %H:%M} UTC, has {least['daily_volume']} new vehicles.",
        }

    # -- clean up ----------------------------------------------------------------------------------------

    def clean_up(self, keep: bool = False) -> str:
        """Server down and scratch gone, or kept for inspection; what was done. Safe twice, and after a failure.

        Raises:
            PlatformError: something could not be removed.
        """
        if self._copy is not None and not self._copy.cancel():
            # Wait, so that nothing is written behind the removal; its error was raised by the step that needed it.
            self._copy.exception(timeout=self._timeout)
        if self.scratch is None:
            return "There was no scratch."
        if keep:
            self.scratch.stop()
            return f"The scratch is kept in {layout.short(self.scratch.folder)}."
        self.scratch.remove()
        return "The scratch is gone."


def _array(values: tuple[str, ...]) -> str:
    """A PostgreSQL array literal.

    >>> _array(("a", 'b"c'))
    '{"a","b\\\\\\\\"c"}'
    """
    return "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"


__all__ = ["BackupVerification", "content"]
