"""The access audit: what the notebook steps through. The target is only read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.access.judging import AREA, differences, leavers, look_at_list
from runbook.errors import OperatorError, ParamsError, PlatformError
from runbook.gates.plan import Action, Plan
from runbook.inspection.changes import make_changes, write_changes
from runbook.inspection.checkfiles import for_version, load_files, select_files
from runbook.inspection.looking import Look, Rights
from runbook.inspection.states import Looked, SignedException, State, accepted, as_check, except_findings, in_order
from runbook.inventory.differences import Difference
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import AccessList, Approved
from runbook.inventory.reading import take_inventory
from runbook.model import Check
from runbook.params.loading import nearest, resolve_secret
from runbook.params.schema import Params
from runbook.postgres.connect import Connection, connect, rows
from runbook.postgres.sqlfiles import load_sql


def check_parameters(params: Params, values: Mapping[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError, ParamsError: one does not, or a check file is broken.
    """
    AccessAudit(params, "preflight", checks=values["checks"], fail_on=values["fail_on"])


class AccessAudit:
    """The state between the steps of one audit.

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
        self.params, self.access = params, params.access
        self.secret = (
            self.access.connection
            or params.health.connection
            or (params.cluster.connection if params.cluster else None)
        )
        if self.secret is None:
            raise OperatorError(
                f"The params of '{params.target}' say no way into the running server.",
                next="Name a connection under access.connection (env: or file:); a role with pg_monitor will do for most.",
            )
        self.fail_on, self.application = State(fail_on), application
        self.excepted = dict(excepted or {})
        self.files = select_files(load_files(AREA), checks, self.access.skip_checks, self.access.thresholds)
        self.limitations = [
            *([f"Only these checks were asked for: {checks}."] if checks.strip() not in ("all", "") else []),
            *([f"Params leave out: {', '.join(self.access.skip_checks)}."] if self.access.skip_checks else []),
        ]
        self.look = Look(self._open, self.access.thresholds)
        self.looked: list[Looked] = []
        self.differences: list[Difference] = []
        self.at: datetime = clock.now()

    def _open(self, database: str | None) -> Connection:
        assert self.secret is not None
        return connect(
            conninfo=resolve_secret(self.secret, "access.connection"),
            database=database,
            application=self.application,
            statement_timeout=self.access.statement_timeout,
            lock_timeout=1,
        )

    # -- observing

    def arrive(self) -> list[dict[str, str]]:
        """Who we are to the server, and which databases are looked at.

        Raises:
            PlatformError: it cannot be reached.
        """
        self.rights: Rights = self.look.rights()
        self.databases = self.look.databases(self.access.databases)
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

    def take(self) -> list[dict[str, Any]]:
        """The inventory is taken; a row a kind: how many items, or why it was not seen."""
        self.at = clock.now()
        self.inventory: Inventory = take_inventory(self.look, self.databases, self.rights)
        rows_ = [
            {"kind": kind, "database": database or "–", "items": len(items), "not seen": ""}
            for kind, database, items in self.inventory.places()
        ]
        for key, why in sorted(self.inventory.unseen.items()):
            kind, _, database = key.partition("@")
            rows_.append({"kind": kind, "database": database or "–", "items": None, "not seen": why})
        return rows_

    # -- judging

    def check_list(self, approved: Approved) -> list[Check]:
        """The approved list counts or does not; no exception makes up for it."""
        looked = look_at_list(approved, self.rights.system_identifier)
        self.looked.append(looked)
        return [as_check(looked, self.fail_on)]

    def compare(self, approved: Approved) -> list[Check]:
        """Nothing differs from the approved list."""
        self.differences, looked = differences(approved, self.inventory)
        return self._judge([looked])

    def difference_rows(self) -> list[dict[str, str]]:
        """What is new, gone or changed since the list was approved."""
        return [
            {
                "became": str(one.became), "kind": one.kind, "database": one.database or "–", "item": one.name,
                "facts": one.said,
            }
            for one in self.differences
        ]  # fmt: skip

    def check(self) -> list[Check]:
        """Every check file, by its rank."""
        files = for_version(self.files, self.rights.version_number)
        return self._judge(self.look.run(files, self.databases, self.rights))

    def check_leavers(self) -> list[Check]:
        """Nobody who has left can log in."""
        people = self.access.leavers
        with self._open(None) as connection:
            names = [role for person in people or () for role in person.roles]
            found = rows(connection, load_sql("rates/quote_names").text, [names])
        quoted = {str(row["name"]): str(row["quoted"]) for row in found}
        return self._judge([leavers(people, self.inventory.server.get("roles"), quoted)])

    def _judge(self, looked: list[Looked]) -> list[Check]:
        left = [except_findings(one, self.excepted) for one in looked]
        self.looked += left
        return [as_check(one, self.fail_on) for one in left]

    # -- showing

    @property
    def accepted(self) -> list[str]:
        """What a PASS must not hide: findings that an exception covers, and how many warnings there are."""
        return accepted(self.looked, self.excepted, self.fail_on)

    def findings(self) -> list[dict[str, Any]]:
        """Findings by what to do first, each with the key by which an exception names it."""
        return [
            {
                "first": number, "state": str(one.state), "check": one.check, "database": one.database or "–",
                "object": one.object, "observed": one.observed, "why it is so": one.note, "key": one.key,
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
                "file": layout.short(folder / change.name), "database": change.seen.database or "any",
                "change": change.seen.change or "", "undo": change.seen.undo or "none",
            }
            for change in changes
        ]  # fmt: skip

    # -- the next list, and the sign-off

    def propose(self, folder: Path, operators: Iterable[str]) -> dict[str, str]:
        """What is there now is written as a list that a second person may approve. Returns where, its digest, and how.

        Args:
            operators: who worked on this run; none of them can approve it.

        Raises:
            PlatformError: it cannot be written.
        """
        made = AccessList(
            target=self.params.target,
            system_identifier=self.rights.system_identifier,
            made_at=self.at,
            made_by=tuple(operators),
            run=self.application,
            server=self.inventory.server,
            databases=self.inventory.databases,
            unseen=self.inventory.unseen,
        )
        path, text = folder / f"{self.params.target}.yaml", made.text()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            path.write_text(text)
        except OSError as cause:
            raise PlatformError(
                f"{layout.short(path)} cannot be written: {cause.strerror}.", next="Make room."
            ) from cause
        return {
            "proposed": layout.short(path),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "items": str(self.inventory.count),
            "to adopt it": f"runbook access approve {self.application} --key KEY   (a second person)",
        }

    def plan(self) -> Plan:
        """What the reviewer signs: this audit, of exactly what was found."""
        found = sorted(
            f"{seen.key}={seen.state}"
            for look in self.looked
            for seen in [*look.findings, *look.unmeasured, *look.excepted]
        )
        states = [seen.state for look in self.looked for seen in look.findings]
        return Plan(
            title="Accept the access audit",
            target=self.params.target,
            actions=(Action(what="The accesses as they are count as reviewed; warnings and exceptions are accepted"),),
            blast_radius=(
                f"{self.inventory.count} items in {len(self.inventory.databases)} databases",
                f"{states.count(State.WARNING)} warnings accepted",
                f"{sum(len(look.excepted) for look in self.looked)} findings excepted",
            ),
            reversible=True,
            undo="Run the audit again; nothing on the server is changed by it.",
            facts={
                "inventory_sha256": self.inventory.sha256,
                "findings_sha256": hashlib.sha256(json.dumps(found).encode()).hexdigest(),
            },
        )

    def remember(self, approved: Approved) -> dict[str, Any]:
        """What later audits need to know of this one; JSON."""
        return {
            "at": clock.stamp(self.at), "approval": approved.number, "list_sha256": approved.sha256,
            "inventory_sha256": self.inventory.sha256, "items": self.inventory.count,
            "differences": len(self.differences),
        }  # fmt: skip
