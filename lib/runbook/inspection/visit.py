"""A visit to a living server: the way in, its checks with what is excepted, the findings and the ready changes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from runbook import clock, layout
from runbook.errors import OperatorError, ParamsError
from runbook.inspection.changes import make_changes, write_changes
from runbook.inspection.checkfiles import for_version, load_files, select_files
from runbook.inspection.looking import Look, Open, Rights
from runbook.inspection.states import Looked, SignedException, State, accepted, as_check, except_findings, in_order
from runbook.model import Check
from runbook.params.loading import nearest, resolve_secret
from runbook.params.schema import Inspection, Params
from runbook.postgres.connect import Connection, connect


def open_read_only(params: Params, place: str, settings: Inspection, application: str) -> Open:
    """Opens a read-only connection to a database, by None to the connection string's own; each statement has a timeout.

    Args:
        place: the section of params that `settings` is, such as 'health'.
        application: shows in pg_stat_activity; the run id.

    Raises:
        OperatorError: the params say no way into the server.
    """
    cluster = params.cluster
    own = (cluster.reader or cluster.connection) if cluster else None
    secret = settings.connection or params.health.connection or own
    if secret is None:
        raise OperatorError(
            f"The params of '{params.target}' say no way into the running server.",
            next=f"Name a connection under {place}.connection (env: or file:); a role with pg_monitor will do for most.",
        )

    def open_(database: str | None) -> Connection:
        return connect(
            conninfo=resolve_secret(secret, f"{place}.connection"),
            database=database,
            application=application,
            statement_timeout=settings.statement_timeout,
            lock_timeout=1,
        )

    return open_


class Visit:
    """The state between the steps of one visit.

    Attributes:
        area: the folder of its check files below `sql/`, which is its section of params too.

    Args:
        application: shows in pg_stat_activity; the run id.
        checks: 'all', or names separated by commas.
        fail_on: the state from which on a check fails the run, 'warning' or 'critical'.
        excepted: signed exceptions that hold now, by the finding's key.

    Raises:
        OperatorError, ParamsError: a parameter or a check file is wrong; the server has not been asked.
    """

    area: ClassVar[str]

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
        settings: Inspection = getattr(params, self.area)
        self.params, self.settings, self.application, self.fail_on = params, settings, application, State(fail_on)
        self._open = open_read_only(params, self.area, settings, application)
        self.excepted = dict(excepted or {})
        self.files = select_files(load_files(self.area), checks, settings.skip_checks, settings.thresholds)
        self.limitations = [
            *([f"Only these checks were asked for: {checks}."] if checks.strip() not in ("all", "") else []),
            *([f"Params leave out: {', '.join(settings.skip_checks)}."] if settings.skip_checks else []),
        ]
        self.look = Look(self._open, settings.thresholds, settings.statement_timeout)
        self.looked: list[Looked] = []
        self.at: datetime = clock.now()

    def arrive(self) -> list[dict[str, str]]:
        """Who we are to the server, and which databases are looked at.

        Raises:
            PlatformError: it cannot be reached.
        """
        self.rights: Rights = self.look.rights()
        self.databases = self.look.databases(self.settings.databases)
        return [
            {"what": "role", "value": self.rights.role},
            {"what": "predefined roles that are its own", "value": ", ".join(sorted(self.rights.roles)) or "none"},
            {"what": "server", "value": f"PostgreSQL {self.rights.version}"},
            {"what": "databases", "value": ", ".join(str(row["name"]) for row in self.databases)},
            {"what": "checks", "value": str(len({file.name for file in self.files}))},
        ]

    @property
    def target_facts(self) -> dict[str, str | None]:
        return {"server_version": self.rights.version, "system_identifier": self.rights.system_identifier}

    def check(self) -> list[Check]:
        """Every check file, by its rank."""
        self.at = clock.now()
        return self.judge(
            self.look.run(for_version(self.files, self.rights.version_number), self.databases, self.rights)
        )

    def judge(self, looked: list[Looked]) -> list[Check]:
        """The checks for the run, without what is excepted."""
        left = [except_findings(one, self.excepted) for one in looked]
        self.looked += left
        return [as_check(one, self.fail_on) for one in left]

    @property
    def accepted(self) -> list[str]:
        """What a PASS must not hide: what signed exceptions cover, and how many warnings there are."""
        return accepted(self.looked, self.excepted, self.fail_on)

    def findings(self) -> list[dict[str, Any]]:
        """Findings by what to do first, each with the key by which an exception names it."""
        return [
            {
                "first": number, "state": str(one.state), "check": one.check,
                "object": f"{one.database}: {one.object}" if one.database else one.object, "observed": one.observed, "expected": one.expected, "why it is so": one.note,
                "key": one.key,
            }
            for number, one in enumerate(in_order(seen for look in self.looked for seen in look.seen), start=1)
        ]  # fmt: skip

    def unmeasured(self) -> list[dict[str, str]]:
        """What was not seen, and why."""
        return [
            {
                "check": one.check, "database": one.database or "–", "object": one.object, "why": one.note,
                "key": one.key,
            }
            for look in self.looked
            for one in look.unmeasured
        ]  # fmt: skip

    def write_changes(self, folder: Path) -> list[dict[str, str]]:
        """The ready changes are in the folder; a row each."""
        changes = make_changes(in_order(seen for look in self.looked for seen in look.seen), self.at)
        write_changes(changes, folder)
        return [
            {
                "file": layout.short(folder / change.name), "database": change.seen.run_in or change.seen.database or "any",
                "change": change.seen.change or "", "undo": change.seen.undo or "none",
            }
            for change in changes
        ]  # fmt: skip
