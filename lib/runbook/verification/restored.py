"""The checks of a restored copy that stands at its point: against the fence, by reading all of it, and by SQL."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from runbook import clock
from runbook.errors import CommandFailed
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.replay import Replay
from runbook.platforms.cluster.scratch import Scratch
from runbook.platforms.cluster.window import RecoveryPoint, Resolved
from runbook.postgres import causes, server
from runbook.verification import backup_checks, fencing, integrity, shown
from runbook.verification.contents import Contents, Progress
from runbook.verification.sqlchecks import CheckFile, load_checks, select_checks

#: As many indexes that were not looked into are named.
_MOST_NAMED = 10


def _some(names: set[str]) -> str:
    more = f"; and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{'; '.join(sorted(names)[:_MOST_NAMED])}{more}"


class RestoredChecks:
    """What a restored copy is asked.

    Args:
        params: of a target on platform `cluster`.
        scratch: the copy.
        files: the SQL checks to run; None: those of the target's suites.
        seconds: gets how long each part took.
    """

    def __init__(
        self,
        params: Params,
        scratch: Scratch,
        progress: Progress,
        files: list[CheckFile] | None = None,
        seconds: dict[str, float] | None = None,
    ) -> None:
        assert params.cluster is not None
        self.params, self.scratch = params, scratch
        self.verification, self.cluster = params.verification, params.cluster
        self.files = files if files is not None else self._files_of(self.verification.suites)
        self.seconds = seconds if seconds is not None else {}
        self.contents = Contents(scratch, progress, self.verification.check_timeout, params.cluster.databases)

    def _files_of(self, suites: tuple[str, ...]) -> list[CheckFile]:
        return select_checks(load_checks(), suites, "all", self.verification.skip_checks)

    def add_seconds(self, name: str, began: float) -> None:
        """A part has taken so much longer, from `began` (monotonic) on."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began

    def check_manifest(self, backup: Backup) -> list[Check]:
        """pg_verifybackup on the restored files, before any server has touched them."""
        began = time.monotonic()
        check = integrity.check_manifest(
            self.scratch.tools, backup, self.scratch.data, self.scratch.user, self.verification.check_timeout
        )
        self.add_seconds("manifest", began)
        self.scratch.note_manifest(check.status is Status.PASS)
        return [check]

    def check_unpacked_system(self, backup: Backup, live: str | None) -> list[Check]:
        """Of a backup that did not say its system before it was unpacked: its pg_control now does.

        Args:
            live: the running cluster's system; None: not known.
        """
        if backup.system_identifier is not None or live is None:
            return []
        try:
            system = self.scratch.control().get("Database system identifier")
        except CommandFailed:
            return []  # configuring the copy says what is wrong with pg_control
        check = backup_checks.check_system(replace(backup, system_identifier=system), live)
        return [check] if check is not None else []

    def compare_with_fence(self, resolved: Resolved, replay: Replay) -> list[Check]:
        """Recovered to each database's fence in turn; every table compared to the last row. UNKNOWN without a usable fence."""
        return fencing.compare_with_fence(self.cluster, resolved, replay, self.contents, self.add_seconds)

    def check_contents(self) -> list[Check]:
        """Every relation and sequence read to its end; pg_amcheck of every database."""
        began = time.monotonic()
        checks = self.contents.check()
        self.add_seconds("contents", began)
        return checks

    @property
    def unread_limitations(self) -> list[str]:
        """What this kind of proof leaves open, for the top of the report."""
        said = self.scratch.limitations
        if self.contents.unread:
            names = ", ".join(self.contents.unread[:5])
            said.append(f"Not readable while in recovery (unlogged or not populated): {names}.")
        if self.contents.left_out:
            names = ", ".join(sorted(self.contents.left_out)[:5])
            said.append(f"Not compared: stored generated columns of tables that may only be read by COPY: {names}.")
        said += self.contents.not_compared
        wanted = self.cluster.databases
        skipped = [name for name in self.contents.all_databases() if wanted is not None and name not in wanted]
        if skipped:
            said.append(
                f"Neither read nor compared, since cluster.databases in params leaves them out: {', '.join(skipped)}."
            )
        closed = self.contents.closed_databases()
        if closed:
            said.append(f"Databases that nobody can look into: {', '.join(closed)}.")
        said += [
            f"The copy's server warned: {warning}" for warning in causes.warnings_in(server.read_log(self.scratch.log))
        ]
        if self.contents.unchecked_indexes:
            said.append(f"Indexes that were not looked into: {_some(self.contents.unchecked_indexes)}.")
        if self.contents.computed_indexes:
            said.append(
                "Indexes that functions of the application compute were checked under the settings of the checks (TimeZone UTC and others): "
                f"whether sessions with production's settings find each row by them is not proven: {_some(self.contents.computed_indexes)}."
            )
        return said

    def check_sql(self, point: RecoveryPoint, suites: tuple[str, ...] | None = None) -> list[Check]:
        """Every check file against every database it is for.

        Args:
            suites: other suites than the target's own (spot checks).
        """
        began = time.monotonic()
        self.contents.own.files_are_proven = self.scratch.files_are_proven
        files = self.files if suites is None else [file for file in self._files_of(suites) if file.suite in suites]
        checks = self.contents.check_sql(files, self.verification.database, self.variables(point))
        self.add_seconds("SQL checks", began)
        return checks

    def check_again(self, checks: list[Check], point: RecoveryPoint, spots: tuple[str, ...]) -> list[Check]:
        """These checks once more, of a promoted copy: of relations no more than could not be looked at while it was paused.

        Args:
            checks: as `check_contents` and `check_sql` have made them.
            spots: further suites that they may come from.
        """
        files = {file.name: file for file in [*self.files, *self._files_of(spots)]}
        only = {check.id for check in checks}
        self.contents.own.files_are_proven = self.scratch.files_are_proven
        found = self.contents.check_again(checks)
        main, given = self.verification.database, self.variables(point)
        return found + self.contents.check_sql(files.values(), main, given, only)

    def variables(self, point: RecoveryPoint) -> dict[str, Any]:
        """The values that check files may name."""
        return {
            **self.verification.thresholds,
            "recovery_time": clock.stamp(point.moment),
            "required_extensions": _array(self.verification.required_extensions),
            "required_roles": _array(self.verification.required_roles),
        }

    def volume_and_sizes(self, point: RecoveryPoint) -> tuple[shown.Plot | None, shown.Plot | None]:
        """The arguments of two plots: rows by day, and the largest tables; None where there is nothing to draw."""
        main = self.verification.database or self.contents.databases()[0]
        volume = shown.plot_daily_volume(self.contents.way_to(main), self.files, self.variables(point))
        return volume, shown.plot_sizes(self.scratch, main)


def _array(values: tuple[str, ...]) -> str:
    """A PostgreSQL array literal.

    >>> _array(("a", 'b"c'))
    '{"a","b\\\\"c"}'
    """
    return "{" + ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "}"
