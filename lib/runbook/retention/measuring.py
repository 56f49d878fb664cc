"""How long a cluster's base backups and WAL are really kept, against the rules of how long they must be.

Nothing is changed, no server is asked: backups and archive are read as they lie.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.clock import human_days
from runbook.errors import BackupDamaged, NotMeasured, OperatorError, ParamsError
from runbook.model import Check
from runbook.params.schema import Params, Retention
from runbook.platforms.cluster.selection import Selection
from runbook.platforms.cluster.window import find_lineages
from runbook.postgres.osuser import give, service_user
from runbook.postgres.wal import WalRecord, parse_commit, segment_start
from runbook.postgres.waldump import read_records
from runbook.retention.kept import Duty, Gap, check_backups, check_wal_age, check_wal_gaps
from runbook.retention.segments import archived_segments, missing_runs, neighbours

#: So many segments are looked through for a commit that tells their time.
_LOOKED_THROUGH = 8
#: So many gaps get the times of their neighbours; the rest is named without.
_TIMED_GAPS = 20


def born_at(system_identifier: str | None) -> datetime | None:
    """When initdb made a system: the upper half of its identifier is that moment. None when there is none to read.

    Source: PostgreSQL 17, BootStrapXLOG in xlog.c.

    >>> born_at("7576145327812345678").isoformat()
    '2025-11-24T04:33:13+00:00'
    """
    if not system_identifier or not system_identifier.isdigit():
        return None
    return datetime.fromtimestamp(int(system_identifier) >> 32, UTC)


class Kept:
    """The state between the steps of one measurement.

    Raises:
        OperatorError: the target is no cluster.
        ParamsError: its params name no retention.
    """

    def __init__(self, params: Params) -> None:
        if params.cluster is None:
            raise OperatorError(f"Target '{params.target}' is no cluster.", next="Use a target with platform: cluster.")
        if params.retention is None:
            raise ParamsError(
                f"params/{params.target}.yaml has no section 'retention:': nothing says how long things must be kept.",
                next="Add backups, transaction_logs, audit_logs and source; see params/sandbox.yaml.",
            )
        self.cluster, self.retention = params.cluster, params.retention
        self.now = clock.now()
        self._timeout = params.verification.check_timeout
        self.user = service_user(self.cluster.os_user)
        self.selection = Selection(self.cluster, self.user, "latest", "auto", self._timeout)
        self._stage: Path | None = None
        self.born: datetime | None = None
        self.system_identifier: str | None = None
        self.limitations: list[str] = []
        self._unreadable: set[str] = set()

    def clean_up(self) -> None:
        """Nothing that was laid ready is left."""
        if self._stage is not None:
            shutil.rmtree(self._stage, ignore_errors=True)

    @property
    def stage(self) -> Path:
        """A folder of this review's own, where segments are laid ready."""
        if self._stage is None:
            self._stage = give(Path(tempfile.mkdtemp(prefix="runbook-retention-")), self.user)
            self._stage.chmod(0o755)
        return self._stage

    # -- what is asked for -------------------------------------------------------------------------------

    def rules(self) -> list[dict[str, Any]]:
        """The rules, and since when they can be kept at all. Backups are described on the way."""
        try:
            self.wrong = [problem.message for problem in self.selection.describe()]
        except BackupDamaged as cause:
            self.wrong, self.selection.backups = [cause.message], []
        own = [one.system_identifier for one in self.selection.backups if one.system_identifier is not None]
        self.system_identifier = self.selection.live_system() if self.selection.backups else None
        self.system_identifier = self.system_identifier or (own[-1] if own else None)
        self.born = _began(self.retention, self.system_identifier)
        others = sorted(set(own) - {self.system_identifier})
        if others:
            self.limitations.append(
                f"Backups of other systems lie in the same folder and do not count: {', '.join(others)}."
            )
        if self.born is not None and self.retention.since is None:
            self.limitations.append(
                f"Nothing from before {clock.stamp(self.born)} is asked for: this system was made then (initdb). A system that "
                "followed another one names the day in retention.since."
            )
        return [
            {
                "what": what,
                "kept for": human_days(duty.keep_seconds),
                "must reach back to": duty.since,
                "source": duty.source,
            }
            for what, duty in self.duties().items()
        ]

    def duties(self) -> dict[str, Duty]:
        """What must be kept, by what it is."""
        rules = self.retention
        asked = {
            "base backups": rules.backups,
            "transaction logs (WAL archive)": rules.transaction_logs,
            "audit logs": rules.audit_logs,
        }
        return {what: Duty(what, keep, rules.source, self.born, self.now) for what, keep in asked.items()}

    # -- what is there -----------------------------------------------------------------------------------

    def backups(self) -> list[Check]:
        """Base backups against their rule."""
        own = [one for one in self.selection.backups if one.system_identifier in (None, self.system_identifier)]
        return [check_backups(self.duties()["base backups"], own, self.wrong)]

    def backup_rows(self) -> list[dict[str, object]]:
        return [backup.facts() for backup in self.selection.backups]

    def wal(self) -> list[Check]:
        """The WAL archive against its rule, and its gaps.

        Raises:
            NotMeasured: the archive can only be asked for one file at a time.
        """
        archive, duty = self.selection.archive, self.duties()["transaction logs (WAL archive)"]
        names = archive.names()
        if names is None:
            raise NotMeasured(
                "The WAL archive can only be asked for one file at a time: how far back it reaches is not known.",
                next="Name wal_archive.list_command in params: it prints the names of all archived files.",
            )
        segments = archived_segments(names)
        if not segments or not self.selection.backups:
            return [check_wal_age(duty, segments[0] if segments else None, None, from_the_first=False, how="")]
        lineages = find_lineages(archive, self.stage, self.selection.backups)
        self.size = self.selection.segment_size
        oldest = min(segments, key=lambda name: segment_start(name, self.size)[1])
        from_the_first = segment_start(oldest, self.size) == (1, self.size) and self.retention.since is None
        moment, how = self._oldest_moment(sorted(segments, key=lambda name: name[8:]))
        runs = missing_runs(segments, lineages, self.size)
        gaps = [self._gap(segments, run, timed=index < _TIMED_GAPS) for index, run in enumerate(runs)]
        return [
            check_wal_age(duty, oldest, moment, from_the_first=from_the_first, how=how),
            check_wal_gaps(gaps, len(segments), archive.where()),
        ]

    def _gap(self, segments: list[str], run: tuple[str, str, int], *, timed: bool) -> Gap:
        before, after = neighbours(segments, run[0], run[1]) if timed else (None, None)
        earlier = self._commits(before)[-1:] if before is not None else []
        later = self._commits(after)[:1] if after is not None else []
        return Gap(*run, earlier[0] if earlier else None, later[0] if later else None)

    def _oldest_moment(self, segments: list[str]) -> tuple[datetime | None, str]:
        for name in segments[:_LOOKED_THROUGH]:
            found = self._commits(name)
            if found:
                return found[0], f"the first commit in {name}"
        directory = self.selection.archive.directory
        if directory is None or self._unreadable:
            return None, ""  # what could not be read may hold a commit
        written = (directory / segments[0]).stat().st_mtime
        return datetime.fromtimestamp(written, UTC), "the time of the file: its WAL holds no commit"

    def _commits(self, name: str) -> list[datetime]:
        """The times of the first and the last commit in a segment, as far as it can be read."""
        if not self.selection.archive.lay(name, self.stage):
            return []
        timeline, begin = segment_start(name, self.size)
        found: list[datetime] = []
        for item in read_records(
            self.selection.tools, self.stage, timeline, begin, begin + self.size, rmgrs=("Transaction",),
            timeout=self._timeout,
        ):  # fmt: skip
            if not isinstance(item, WalRecord):
                self._note_unreadable(name, item)
                continue
            commit = parse_commit(item)
            if commit is not None:
                found[1:] = [commit.at]
        return found

    def _note_unreadable(self, name: str, said: str) -> None:
        """A segment that could not be read to its end stands in the report: a commit in it may not have been seen."""
        if said and name not in self._unreadable:
            self._unreadable.add(name)
            self.limitations.append(f"{name} could not be read to its end: {said.removeprefix('pg_waldump: error: ')}.")


def _began(retention: Retention, system_identifier: str | None) -> datetime | None:
    if retention.since is not None:
        return datetime.combine(date.fromisoformat(retention.since), time(), UTC)
    return born_at(system_identifier)
