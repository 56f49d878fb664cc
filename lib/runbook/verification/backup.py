"""Backup verification: one object that a notebook steps through, from the choice of a backup to its proof.

Each method is one step; it returns rows to show and leaves checks in what it returns. The order is guarded: a step
that needs an earlier one says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.clock import human_bytes, human_seconds
from runbook.errors import BackupDamaged, CommandFailed, NotMeasured, OperatorError, PlatformError, RecoveryRefused
from runbook.model import Check, Finding, Severity, Status
from runbook.params.schema import Cluster, Params
from runbook.platforms.cluster.backups import Backup, describe_all
from runbook.platforms.cluster.scratch import Scratch
from runbook.platforms.cluster.walarchive import Stage, WalArchive, check_user_can_read
from runbook.postgres.connect import Connection, SqlError, one, rows
from runbook.postgres.osuser import service_user
from runbook.postgres.tools import Tools, find_tools, read_control
from runbook.postgres.wal import Commit, Timeline, format_lsn, parse_lsn
from runbook.recovery import window
from runbook.recovery.walscan import scan_to
from runbook.recovery.window import RecoveryPoint, Resolved
from runbook.verification import budgets, comparison, content, integrity, sqlchecks
from runbook.verification.fence import Fence, list_fences

Progress = Callable[[str, float, float, str], None]
_SEGMENT_SIZE = 16 << 20
_READERS = 2


@dataclass
class BackupVerification:
    """The state between the steps of one verification.

    Args:
        progress: called with a label, done, total and unit.
        keep: the scratch stays for inspection when the run does not pass.
    """

    params: Params
    run_id: str
    progress: Progress
    recovery_point: str = "latest"
    timeline: str = "auto"
    scratch_location: str = ""
    checks: str = "all"
    timings: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.params.cluster is None:
            raise OperatorError(
                f"Target '{self.params.target}' is no cluster.", next="Use a target with platform: cluster."
            )
        self.cluster: Cluster = self.params.cluster
        self.asked = window.parse_point(self.recovery_point)
        self.files = sqlchecks.select_checks(
            sqlchecks.load_checks(), self.params.verification.suites, self.checks, self.params.verification.skip_checks
        )
        self.backup_folder = layout.resolve(self.cluster.backup_folder)
        self.user = service_user(self.cluster.os_user, self._owned())
        self.archive = WalArchive(self.cluster.wal_archive, self.user)
        self.scratch: Scratch | None = None
        self.resolved: Resolved | None = None
        self.fence: Fence | None = None
        self._copy: Future[int] | None = None
        self._copied: Backup | None = None
        self._databases: list[str] = []

    def _owned(self) -> Path:
        folders = [path for path in self.backup_folder.glob("*") if path.is_dir() and path.name != "fences"]
        return folders[0] if folders else self.backup_folder

    @property
    def reduced(self) -> str | None:
        """What this run leaves out on request, or None."""
        if self.checks.strip() not in ("all", ""):
            return f"only these SQL checks were asked for: {self.checks}"
        return None

    # -- step: choose ------------------------------------------------------------------------------------

    def choose(self) -> list[Check]:
        """Backups described, timeline chosen, candidates listed, the scratch made.

        Raises:
            BackupDamaged: there is no backup.
            TargetOutsideWindow: none reaches the point.
        """
        check_user_can_read(self.archive)
        self.backups, wrong = describe_all(self.backup_folder)
        if not self.backups:
            raise BackupDamaged(wrong[0].message, next=wrong[0].next)
        self.tools = self._find_tools()
        location = layout.resolve(self.scratch_location or self.params.verification.scratch or str(layout.scratch()))
        self.scratch = Scratch.create(
            location,
            run_id=self.run_id,
            tools=self.tools,
            user=self.user,
            superuser=self.cluster.superuser,
            preload_libraries=self.params.verification.preload_libraries,
        )
        self.segment_size = self._segment_size()
        self.lineages = window.find_lineages(self.archive, self.scratch.wal, self.backups)
        self.number, self.why = window.choose_timeline(self.asked, self.timeline, self.lineages, self._first_commit)
        lineage = window.lineage_of(self.number, self.lineages)
        self.candidates = window.candidates(self.backups, lineage, self.asked)
        if not self.candidates:
            raise window.refuse_before_oldest(self.recovery_point, self.backups, self.number)
        return [self._check_readable(wrong), *self._check_system()]

    def _find_tools(self) -> Tools:
        majors = {backup.major for backup in self.backups if backup.major}
        live = layout.resolve(self.cluster.data_directory) / "PG_VERSION" if self.cluster.data_directory else None
        if not majors and live is not None and live.is_file():
            majors = {int(live.read_text().strip())}
        if not majors:
            raise NotMeasured(
                "Nothing says which major version of PostgreSQL made the backups.", next="Name cluster.data_directory."
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

    def _stage(self, backup: Backup, lineage: tuple[Timeline, ...]) -> Stage:
        assert self.scratch is not None
        own = self.scratch.folder / "backup_wal" if backup.layout == "tar" else backup.path / "pg_wal"
        return Stage(self.archive, self.scratch.wal, lineage, backup.start, self.segment_size, fallback=own)

    def _first_commit(self, lineage: tuple[Timeline, ...]) -> Commit | None:
        assert self.scratch is not None
        last = lineage[-1]
        stage = Stage(self.archive, self.scratch.wal, lineage, last.begin, self.segment_size)
        if not self.archive.has(stage.next_name(), self.scratch.wal):
            return None
        return scan_to(stage, self.tools, until=window.EVER, timeout=self._timeout).after

    @property
    def _timeout(self) -> float:
        return self.params.verification.check_timeout

    def _check_readable(self, wrong: list[Any]) -> Check:
        title = "Every folder in the backup folder is a whole backup"
        if not wrong:
            return Check(
                id="backups",
                title=title,
                status=Status.PASS,
                expected="all",
                observed=f"all {len(self.backups)}",
                source="manifests and labels",
            )
        return Check(
            id="backups",
            title=title,
            status=Status.FAIL,
            expected="all",
            observed=f"{len(wrong)} cannot be described",
            reason=wrong[0].message,
            next=wrong[0].next,
            severity=Severity.CRITICAL,
            findings=tuple(
                Finding(
                    id="backups",
                    object=str(self.backup_folder),
                    severity=Severity.CRITICAL,
                    observed=item.message,
                    expected="a backup",
                )
                for item in wrong
            ),
        )

    def _check_system(self) -> list[Check]:
        """Backups and the live server are the same system, where both say which they are."""
        newest = self.candidates[0]
        if self.cluster.data_directory is None or newest.system_identifier is None:
            return []
        try:
            live = read_control(self.tools, layout.resolve(self.cluster.data_directory)).get(
                "Database system identifier"
            )
        except CommandFailed:
            # The server's files are out of reach; the backup is what is verified.
            return []
        same = live == newest.system_identifier
        return [
            Check(
                id="system",
                title="The backup is of this system",
                status=Status.PASS if same else Status.FAIL,
                expected=f"{live}",
                observed=newest.system_identifier,
                object=newest.label,
                severity=Severity.CRITICAL,
                reason=None
                if same
                else f"Backup {newest.label} is of system {newest.system_identifier}, production is {live}.",
                next=None if same else "Correct backup_folder in the params file.",
                source="pg_controldata and backup_manifest",
            )
        ]

    # -- step: resolve -----------------------------------------------------------------------------------

    def resolve(self) -> dict[str, Any]:
        """The point as a position, written down by the caller; the copy of the likely backup runs beside it.

        Raises:
            TargetOutsideWindow, WalDamaged.
        """
        self._begin_copy(self.candidates[0])
        assert self.scratch is not None
        self.resolved = window.resolve(
            self.recovery_point,
            point=self.asked,
            timeline=self.number,
            why=self.why,
            lineages=self.lineages,
            chosen=self.candidates,
            make_stage=self._stage,
            tools=self.tools,
            timeout=self._timeout,
            progress=lambda position: self.progress("Reading WAL", position - self.candidates[0].start, 0, "WAL bytes"),
        )
        self.timings["read WAL"] = self.resolved.scan.seconds
        return self.resolved.point.facts()

    def resume_at(self, facts: dict[str, Any]) -> None:
        """The point as an earlier attempt wrote it down: WAL is read again, the position must still be there.

        Raises:
            BackupDamaged: its backup is gone.
        """
        if self.resolved is not None:
            return
        point = RecoveryPoint.from_facts(facts)
        backup = next((item for item in self.candidates if item.label == point.backup), None)
        if backup is None:
            raise BackupDamaged(
                f"Backup {point.backup}, chosen before the interruption, is not there any more.",
                next="Start a new run.",
            )
        self._begin_copy(backup)
        stage = self._stage(backup, window.lineage_of(point.timeline, self.lineages))
        scan = scan_to(stage, self.tools, until=point.gate or point.reached, timeout=self._timeout)
        self.resolved = Resolved(point, backup, stage, scan, "as resolved before the interruption")

    def _begin_copy(self, backup: Backup) -> None:
        assert self.scratch is not None
        began = time.monotonic()
        pool = ThreadPoolExecutor(1)
        self._copied = backup

        def copy() -> int:
            assert self.scratch is not None
            done = self.scratch.restore(backup, self._live_folders(), self._show_copy, self._timeout)
            self.timings["copy"] = time.monotonic() - began
            return done

        self._restore_began = began
        self._copy = pool.submit(copy)
        pool.shutdown(wait=False)

    def _show_copy(self, done: int, total: int) -> None:
        self.progress("Copying the backup", done, total, "bytes")

    def _live_folders(self) -> tuple[Path, ...]:
        folders = [layout.resolve(path) for path in self.cluster.tablespaces]
        if self.cluster.data_directory:
            data = layout.resolve(self.cluster.data_directory)
            folders.append(data)
            try:
                folders += [link.resolve() for link in (data / "pg_tblspc").iterdir()]
            except OSError:
                # The server's own folder is out of reach; the links that params name still count.
                return tuple(folders)
        return tuple(folders)

    def wal_checks(self) -> list[Check]:
        """What reading the WAL has proven, and what would reach out of the scratch.

        Raises:
            RecoveryRefused: a tablespace is created on the way, at a path outside the scratch.
        """
        assert self.resolved is not None
        scan, stage = self.resolved.scan, self.resolved.stage
        checks = [
            Check(
                id="wal",
                title="WAL from the backup to the point is whole",
                status=Status.PASS,
                expected="every record readable",
                observed=f"{scan.segments} segments, {scan.commits} commits, {format_lsn(scan.start)} to {format_lsn(scan.reached)}",
                source="pg_waldump",
                seconds=scan.seconds,
            )
        ]
        beyond = [item for item in stage.from_backup if stage.later_than(item)]
        if beyond:
            checks.append(
                Check(
                    id="archive",
                    title="The archive holds every segment",
                    status=Status.FAIL,
                    expected="none missing",
                    observed=f"{len(beyond)} missing",
                    object=beyond[0],
                    severity=Severity.CRITICAL,
                    reason=f"WAL segment {beyond[0]} is missing from {self.archive.where()}; the backup's own copy of it was used.",
                    next="Older backups cannot be recovered past this segment: copy it back from the backup's pg_wal.",
                )
            )
        if scan.tablespaces:
            position, path = scan.tablespaces[0]
            raise RecoveryRefused(
                f"WAL creates the tablespace {path} at {format_lsn(position)}, after backup {self.resolved.backup.label}: replaying it "
                "beside production would write into production's own folder.",
                next="Take a new base backup (it will hold the tablespace), then verify that one.",
            )
        return checks

    # -- step: restore -----------------------------------------------------------------------------------

    def restore(self) -> dict[str, Any]:
        """The backup's files stand in the scratch.

        Raises:
            BackupDamaged, RecoveryRefused, ScratchFull.
        """
        assert self.resolved is not None and self.scratch is not None and self._copy is not None
        if self._copied is not self.resolved.backup:
            self._copy.result()
            shutil.rmtree(self.scratch.data)
            self._begin_copy(self.resolved.backup)
        size = self._copy.result()
        return {
            "scratch": layout.short(self.scratch.folder),
            "runs as": self.user.name if self.user else "this user",
            "restored": human_bytes(size),
            "took": human_seconds(self.timings["copy"]),
            "rate": f"{human_bytes(size / max(self.timings['copy'], 0.001))}/s",
        }

    def check_manifest(self) -> Check:
        """pg_verifybackup on the restored copy, before any server has touched it.

        Raises:
            BackupDamaged: it is not as its manifest says; no server is started on it.
        """
        assert self.resolved is not None and self.scratch is not None
        began = time.monotonic()
        check = integrity.check_manifest(self.tools, self.resolved.backup, self.scratch.data, self.user, self._timeout)
        self.timings["manifest"] = time.monotonic() - began
        return check

    # -- step: recover -----------------------------------------------------------------------------------

    def prepare(self) -> dict[str, str]:
        """The scratch is configured so that it can reach nothing, and a fence is chosen.

        Raises:
            BackupDamaged, RecoveryRefused.
        """
        assert self.resolved is not None and self.scratch is not None
        self.scratch.assert_closed()
        settings = self.scratch.configure(self.resolved.point.timeline, self.resolved.scan.raised)
        self.scratch.lay_histories()
        fences, wrong = list_fences(self.cluster)
        self.fence, self.no_fence = comparison.choose_fence(
            fences,
            system_identifier=self.resolved.backup.system_identifier,
            on_lineage=self._on_lineage,
            consistent=self._consistent_at(),
            reached=self.resolved.point.reached,
        )
        if self.fence is None and wrong:
            self.no_fence += "; " + "; ".join(wrong)
        return {
            name: settings[name]
            for name in ("listen_addresses", "archive_mode", "restore_command", "recovery_target_timeline")
        }

    def fence_ahead(self) -> list[Check]:
        """A fence of this timeline that lies behind the archive's end tells of WAL that is gone."""
        assert self.resolved is not None
        if self.resolved.point.gate is not None:
            return []
        lost = [
            fence
            for fence in list_fences(self.cluster)[0]
            if fence.last_lsn > self.resolved.point.reached
            and fence.system_identifier == (self.resolved.backup.system_identifier or fence.system_identifier)
            and all(item.timeline == self.resolved.point.timeline for item in fence.databases)
        ]
        if not lost:
            return []
        return [
            Check(
                id="archive-end",
                title="The archive reaches as far as its fences",
                status=Status.FAIL,
                expected=f"WAL to at least {format_lsn(lost[-1].last_lsn)}",
                observed=format_lsn(self.resolved.point.reached),
                object=lost[-1].path.name,
                severity=Severity.CRITICAL,
                reason=f"A fence saw archived WAL up to {format_lsn(lost[-1].last_lsn)}; the archive now ends at "
                f"{format_lsn(self.resolved.point.reached)}: its newest segments are gone.",
                next="Look for the missing segments; take a new base backup now.",
            )
        ]

    def _on_lineage(self, timeline: int, position: int) -> bool:
        assert self.resolved is not None
        for part in self.resolved.stage.lineage:
            if part.begin <= position and (part.end is None or position <= part.end) and part.number == timeline:
                return True
        return False

    def _consistent_at(self) -> int:
        assert self.resolved is not None
        return self.resolved.backup.end or self.resolved.scan.backup_end or self.resolved.backup.start

    def compare_with_fence(self) -> list[Check]:
        """Recovered to each database's fence in turn, every table compared to the last row."""
        assert self.resolved is not None and self.scratch is not None
        if self.fence is None:
            return [comparison.no_fence_check(self.no_fence)]
        began = time.monotonic()
        checks = []
        for item in sorted(self.fence.databases, key=lambda item: item.lsn):
            began_one = time.monotonic()
            self._go_to(item.lsn, item.lsn)
            self.timings["fence: replay"] = self.timings.get("fence: replay", 0) + time.monotonic() - began_one
            began_one = time.monotonic()
            contents, sequences = self._read(item.database, lambda relation: not relation.is_catalog)
            checks.append(comparison.compare_database(item, contents, sequences, time.monotonic() - began_one))
            self.timings["fence: read and compare"] = (
                self.timings.get("fence: read and compare", 0) + time.monotonic() - began_one
            )
        self.timings["fence"] = time.monotonic() - began
        checks += self._check_databases_fenced()
        return checks

    def _check_databases_fenced(self) -> list[Check]:
        assert self.fence is not None and self.scratch is not None
        with self.scratch.connect("template1") as connection:
            found = content.list_databases(connection, self.cluster.databases)
        fenced = {item.database for item in self.fence.databases}
        return [
            comparison.no_fence_check(f"the fence does not hold database {name}").model_copy(
                update={"id": f"fence@{name}", "object": name}
            )
            for name in found
            if name not in fenced
        ]

    def _go_to(self, gate: int | None, expected: int) -> dict[str, Any]:
        """The scratch stands at the position; started when it is not running."""
        assert self.resolved is not None and self.scratch is not None
        self.scratch.open_gate(self.resolved.stage, gate)
        if not self._started:
            self.scratch.start()
            self._started = True
        start, end = self.resolved.scan.start, self.resolved.point.reached
        return self.scratch.wait_for(
            expected,
            stall_timeout=self.params.verification.replay_stall_timeout,
            progress=lambda position: self.progress("Replaying WAL", position - start, end - start, "WAL bytes"),
        )

    _started = False

    def recover(self) -> tuple[dict[str, Any], list[Check]]:
        """The scratch stands at the point, read-only; the position that it reports decides.

        Raises:
            RecoveryFailed: it does not get there.
        """
        assert self.resolved is not None and self.scratch is not None
        began = time.monotonic()
        point = self.resolved.point
        seen = self._go_to(point.gate, point.reached)
        self.timings["replay to the point"] = time.monotonic() - began
        control = self.scratch.control()
        self._databases = self._list_databases()
        timeline = control.get("Latest checkpoint's TimeLineID", "")
        facts = {
            "reached": seen["lsn"],
            "expected": format_lsn(point.reached),
            "last commit replayed": clock.stamp(seen["last_commit"]) if seen["last_commit"] else "none",
            "state": "in recovery, read-only",
            "system identifier": control.get("Database system identifier", ""),
            "data checksums": "on" if control.get("Data page checksum version", "0") != "0" else "off",
            "databases": ", ".join(self._databases),
        }
        is_stray = "selected new timeline" in self.scratch.log.read_text(errors="replace")
        checks = [
            Check(
                id="reached",
                title="The recovery reached the point and stopped there",
                status=Status.PASS,
                expected=format_lsn(point.reached),
                observed=seen["lsn"],
                source="pg_last_wal_replay_lsn()",
                seconds=self.timings["replay to the point"],
            ),
            Check(
                id="not-promoted",
                title="The scratch did not promote itself",
                status=Status.FAIL if is_stray else Status.PASS,
                expected="in recovery",
                observed="promoted" if is_stray else f"in recovery, timeline {timeline}",
                reason="The server selected a new timeline without being asked." if is_stray else None,
                severity=Severity.CRITICAL,
                source="pg_is_in_recovery(), server log",
            ),
        ]
        if not self._databases:
            raise NotMeasured(
                "The restored cluster has no database that could be checked.",
                next="Look at cluster.databases in params.",
            )
        return facts, checks

    def _list_databases(self) -> list[str]:
        assert self.scratch is not None
        with self.scratch.connect("template1") as connection:
            found = content.list_databases(connection, self.cluster.databases)
        missing = set(self.cluster.databases or ()) - set(found)
        if missing:
            raise NotMeasured(
                f"The restored cluster has no database {', '.join(sorted(missing))}.", next="Correct cluster.databases."
            )
        return found

    # -- step: contents ----------------------------------------------------------------------------------

    def _read(
        self, database: str, wanted: Callable[[content.Relation], bool]
    ) -> tuple[list[content.Content], list[content.SequencePosition]]:
        assert self.scratch is not None
        with ExitStack() as stack:
            connections: list[Connection] = []
            for _ in range(_READERS):
                connection = stack.enter_context(self.scratch.connect(database))
                content.prepare(connection)
                connections.append(connection)
            relations, skipped = content.readable(
                [item for item in content.list_relations(connections[0]) if wanted(item)],
                in_recovery=not self.scratch.promoted,
            )
            self.unread = [*self.unread, *(f"{database}.{item.title}" for item in skipped)]
            contents = content.read_contents(
                connections, relations, lambda done, total: self.progress(f"Reading {database}", done, total, "bytes")
            )
            return contents, content.read_sequences(connections[0], in_recovery=not self.scratch.promoted)

    unread: list[str] = field(default_factory=list)

    def check_contents(self) -> list[Check]:
        """Every relation and sequence read to the end, and pg_amcheck of every database beside it."""
        assert self.scratch is not None
        began = time.monotonic()
        self.unread = []
        checks: list[Check] = []
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(self._amcheck_all)
            for database in self._databases:
                began_one = time.monotonic()
                contents, sequences = self._read(database, lambda relation: True)
                failures = [(item.title, item.problem) for item in contents if item.problem]
                failures += [(item.title, item.problem) for item in sequences if item.problem]
                checks.append(
                    integrity.read_failures_as_check(
                        database,
                        failures,
                        time.monotonic() - began_one,
                        len(contents) + len(sequences),
                        sum(item.rows or 0 for item in contents),
                    )
                )
            self.timings["read every relation"] = time.monotonic() - began
            checks += beside.result()
        self.timings["contents"] = time.monotonic() - began
        return checks

    def _amcheck_all(self) -> list[Check]:
        assert self.scratch is not None
        began = time.monotonic()
        checks = [
            integrity.check_amcheck(self.scratch, name, jobs=2, timeout=self._timeout) for name in self._databases
        ]
        self.timings["pg_amcheck"] = time.monotonic() - began
        return checks

    def check_sql(self) -> list[Check]:
        """Every check file against every database it is for."""
        assert self.resolved is not None and self.scratch is not None
        given = self._variables()
        main = self.params.verification.database
        checks: list[Check] = []
        for database in self._databases:
            with self.scratch.connect(database, statement_timeout=self._timeout) as connection:
                # Check files may name tables of the public schema; the pinned search_path is for hashing.
                connection.execute("SET search_path = public, pg_catalog")
                for file in self.files:
                    if file.is_for_main and main is not None and database != main:
                        continue
                    checks.append(sqlchecks.run_check(file, connection, database, given))
        if main is not None and main not in self._databases:
            raise NotMeasured(
                f"The database {main} that params name is not in the restored cluster.",
                next="Correct verification.database.",
            )
        return checks

    def _variables(self) -> dict[str, Any]:
        assert self.resolved is not None
        verification = self.params.verification

        def array(values: tuple[str, ...]) -> str:
            return "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"

        return {
            **verification.thresholds,
            "recovery_time": clock.stamp(self.resolved.point.moment),
            "required_extensions": array(verification.required_extensions),
            "required_roles": array(verification.required_roles),
        }

    # -- step: promote -----------------------------------------------------------------------------------

    def promote(self) -> list[Check]:
        """The isolated scratch is promoted and checked as only a writable server can be: parents, descents, unlogged tables.

        Raises:
            RecoveryFailed: it does not promote.
        """
        assert self.scratch is not None
        began = time.monotonic()
        timeline = self.scratch.promote()
        checks = [
            Check(
                id="promoted",
                title="The scratch can be promoted",
                status=Status.PASS,
                expected="a timeline of its own",
                observed=f"timeline {timeline}",
                source="pg_promote()",
            )
        ]
        checks += [
            integrity.check_amcheck(self.scratch, name, jobs=2, timeout=self._timeout, parent=True)
            for name in self._databases
        ]
        self.timings["promote and parent checks"] = time.monotonic() - began
        return checks

    # -- step: measure -----------------------------------------------------------------------------------

    def measure(self) -> tuple[float, budgets.Exposure | None, list[Check]]:
        """RTO as measured, and what would be lost now when the archive's end was asked for."""
        assert self.resolved is not None
        fenced = self.timings.get("fence: read and compare", 0.0)
        replay = self.timings.get("fence: replay", 0.0) + self.timings["replay to the point"]
        prepared = max(self.timings["copy"], self.timings.get("read WAL", 0.0)) + self.timings["manifest"]
        rto = prepared + replay
        self.timings["RTO"] = rto
        checks = [budgets.check_rto(rto, self.params.budgets)]
        exposure = None
        if self.asked == "latest":
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
            checks.append(budgets.check_rpo(exposure, self.params.budgets))
        self.timings["fence: extra"] = fenced
        return rto, exposure, checks

    def sizes(self, most: int = 12) -> list[dict[str, Any]]:
        """The largest tables of the main database: name and bytes."""
        return self._ask("verification_shown/table_sizes", most)

    def volume(self) -> list[dict[str, Any]]:
        """New vehicles by day before the point, where the application's suite is chosen."""
        if not self.params.verification.suites:
            return []
        file = next((item for item in self.files if item.name == "daily_volume"), None)
        if file is None:
            return []
        assert self.scratch is not None
        with self.scratch.connect(self._main()) as connection:
            connection.execute("SET search_path = public, pg_catalog")
            try:
                return rows(connection, file.sql.text, file.sql.values(self._variables()))
            except SqlError:
                # The check of the same file has said UNKNOWN with the reason; there is nothing to draw.
                return []

    def _main(self) -> str:
        return self.params.verification.database or self._databases[0]

    def _ask(self, name: str, most: int) -> list[dict[str, Any]]:
        from runbook.postgres.sqlfiles import load_sql

        assert self.scratch is not None
        file = load_sql(name)
        with self.scratch.connect(self._main()) as connection:
            return rows(connection, file.text, file.values({"most": most}))

    # -- clean-up ------------------------------------------------------------------------------------------

    def clean_up(self) -> None:
        """Server down, scratch gone; safe twice, and after a failure.

        Raises:
            PlatformError: something could not be removed.
        """
        if self._copy is not None:
            self._copy.cancel()
            try:
                self._copy.result(timeout=600)
            except Exception as problem:  # noqa: BLE001 - the step that waited for the copy has raised it already
                self.progress(f"copy ended: {type(problem).__name__}", 0, 0, "")
        if self.scratch is not None:
            self.scratch.remove()


def one_line(facts: dict[str, Any]) -> str:
    """Facts in a line."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


__all__ = ["BackupVerification", "PlatformError", "one", "one_line", "parse_lsn", "partial"]
