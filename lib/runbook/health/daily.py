"""The daily look: what the notebook steps through. The target is only read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import NotMeasured, OperatorError, ParamsError
from runbook.health.rates import rates, statement_rates
from runbook.health.trend import compare, exhaustion, remember
from runbook.inspection.changes import Change, make_changes, write_changes
from runbook.inspection.checkfiles import for_version, load_files, select_files
from runbook.inspection.looking import Look, Rights
from runbook.inspection.states import Looked, SignedException, State, accepted, as_check, except_findings, in_order
from runbook.model import Check
from runbook.params.loading import nearest, resolve_secret
from runbook.params.schema import Params
from runbook.postgres.connect import Connection, SqlError, connect
from runbook.postgres.sqlfiles import load_sql

#: The folder of its check files below `sql/`.
AREA = "health"
_MOST_BARS = 12


def check_parameters(params: Params, values: Mapping[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError, ParamsError: one does not, or a check file is broken.
    """
    DailyHealth(params, "preflight", checks=values["checks"], fail_on=values["fail_on"])


class DailyHealth:
    """The state between the steps of one look.

    Args:
        application: shows in pg_stat_activity; the run id.
        checks: 'all', or names separated by commas.
        fail_on: the state from which on a check fails the run, 'warning' or 'critical'.
        excepted: signed exceptions that hold now, by the finding's key.

    Raises:
        OperatorError, ParamsError: a parameter or a check file is wrong; the server has not been asked.
    """

    def __init__(
        self,
        params: Params,
        application: str,
        *,
        checks: str = "all",
        fail_on: str = "critical",
        excepted: Mapping[str, SignedException] | None = None,
    ) -> None:
        if fail_on not in (State.WARNING, State.CRITICAL):
            raise ParamsError(f"fail_on is '{fail_on}'; {nearest(fail_on, ('warning', 'critical'))}")
        self.health = params.health
        self.secret = self.health.connection or (params.cluster.connection if params.cluster else None)
        if self.secret is None:
            raise OperatorError(
                f"The params of '{params.target}' say no way into the running server.",
                next="Name a connection under health.connection (env: or file:); a role with pg_monitor will do.",
            )
        self.fail_on, self.application = State(fail_on), application
        self.excepted = dict(excepted or {})
        self.files = select_files(load_files(AREA), checks, self.health.skip_checks, self.health.thresholds)
        narrowed = [
            *([f"Only these checks were asked for: {checks}."] if checks.strip() not in ("all", "") else []),
            *([f"Params leave out: {', '.join(self.health.skip_checks)}."] if self.health.skip_checks else []),
        ]
        self.limitations = narrowed
        self.look = Look(self._open, self.health.thresholds)
        self.looked: list[Looked] = []
        self.at: datetime = clock.now()

    def _open(self, database: str | None) -> Connection:
        assert self.secret is not None
        return connect(
            conninfo=resolve_secret(self.secret, "health.connection"),
            database=database,
            application=self.application,
            statement_timeout=self.health.statement_timeout,
            lock_timeout=1,
        )

    def arrive(self) -> list[dict[str, str]]:
        """Who we are to the server, and which databases are looked at; the first reading of the counters is taken.

        Raises:
            PlatformError: it cannot be reached.
        """
        self.rights: Rights = self.look.rights()
        self.databases = self.look.databases(self.health.databases)
        self.first, self.first_statements = self._counters(), self._statements()
        names = [str(row["name"]) for row in self.databases]
        return [
            {"what": "role", "value": self.rights.role},
            {"what": "predefined roles that are its own", "value": ", ".join(sorted(self.rights.roles)) or "none"},
            {"what": "server", "value": f"PostgreSQL {self.rights.version}"},
            {"what": "databases", "value": ", ".join(names)},
            {"what": "checks", "value": str(len({file.name for file in self.files}))},
        ]

    @property
    def target_facts(self) -> dict[str, str | None]:
        return {"server_version": self.rights.version, "system_identifier": self.rights.system_identifier}

    def check(self) -> list[Check]:
        """Every check, by its rank."""
        self.at = clock.now()
        files = for_version(self.files, self.rights.version_number)
        found = self.look.run(files, self.databases, self.rights)
        self.looked = [except_findings(one, self.excepted) for one in found]
        return [as_check(one, self.fail_on) for one in self.looked]

    @property
    def accepted(self) -> list[str]:
        """What a PASS must not hide: what signed exceptions cover, and how many warnings there are."""
        return accepted(self.looked, self.excepted, self.fail_on)

    def findings(self) -> list[dict[str, Any]]:
        """Findings by what to do first."""
        return [
            {
                "first": number,
                "state": str(one.state),
                "check": one.check,
                "database": one.database or "–",
                "object": one.object,
                "observed": one.observed,
                "expected": one.expected,
                "why it is so": one.note,
                "key": one.key,
            }
            for number, one in enumerate(in_order(seen for look in self.looked for seen in look.seen), start=1)
        ]

    def unmeasured(self) -> list[dict[str, str]]:
        """What was not seen, and why."""
        return [
            {"check": one.check, "database": one.database or "–", "object": one.object, "why": one.note}
            for look in self.looked
            for one in look.unmeasured
        ]

    def write_changes(self, folder: Path) -> list[dict[str, str]]:
        """The ready changes are in the folder; a row each."""
        changes: list[Change] = make_changes(in_order(seen for look in self.looked for seen in look.seen), self.at)
        write_changes(changes, folder)
        return [
            {
                "file": layout.short(folder / change.name),
                "database": change.seen.database or "any",
                "change": change.seen.change or "",
                "undo": change.seen.undo or "none",
            }
            for change in changes
        ]

    def remember(self) -> dict[str, Any]:
        """This look for later ones to compare with; JSON."""
        return remember(self.looked, self.at)

    def compare(self, earlier: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """What became of each finding since the earlier look."""
        return compare(self.looked, earlier)

    def exhaustion(self, earlier: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Days until transaction ids and sequences are used up."""
        return exhaustion(self.looked, earlier, self.at)

    def exhaustion_plot(self) -> dict[str, Any] | None:
        """The arguments of a plot of what is used of each resource that has an end; None without one."""
        found = sorted(exhaustion(self.looked, None, self.at), key=lambda row: -float(row["used_percent"]))[:_MOST_BARS]
        if not found:
            return None
        return {
            "labels": [row["resource"] for row in found],
            "values": [row["used_percent"] for row in found],
            "title": "Used of what has an end: transaction ids and sequences",
            "unit": "%",
            "finding": f"{found[0]['resource']} is the nearest to its end: {found[0]['used_percent']:g} % are used.",
        }

    def rates(self) -> list[dict[str, Any]]:
        """Rates between the first reading and one now, at least `health.sample` later."""
        passed = (clock.now() - self.at).total_seconds()
        time.sleep(max(0.0, self.health.sample - passed))
        return rates(self.first, self._counters())

    def statements(self) -> list[dict[str, Any]]:
        """The statements that took most time since the first reading; why they were not measured, where they were not."""
        second = self._statements()
        if isinstance(self.first_statements, str) or isinstance(second, str):
            return [{"statement": f"not measured: {second if isinstance(second, str) else self.first_statements}"}]
        return statement_rates(self.first_statements, second) or [{"statement": "none ran meanwhile"}]

    def _statements(self) -> list[dict[str, Any]] | str:
        try:
            return self.look.statements(self.databases)
        except NotMeasured as why:
            return why.message

    def cost(self) -> list[dict[str, Any]]:
        """What this look has cost the target."""
        return [
            {"what": "queries", "value": self.look.load.queries, "unit": ""},
            {"what": "time in queries", "value": round(self.look.load.seconds, 3), "unit": "s"},
        ]

    def _counters(self) -> dict[str, Any]:
        with self._open(None) as connection:
            try:
                return self.look.load.ask(connection, load_sql("rates/read_counters").text, [])[0]
            except SqlError as cause:
                raise NotMeasured(f"The counters cannot be read: {cause}", next="Look at the role's rights.") from None
