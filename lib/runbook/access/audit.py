"""The access audit: what the notebook steps through. The target is only read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.access.judging import AREA, differences, leavers, look_at_list
from runbook.errors import PlatformError
from runbook.gates.plan import Action, Plan
from runbook.inspection.states import State, as_check
from runbook.inspection.visit import Visit
from runbook.inventory.differences import Difference, difference_rows
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import AccessList, Approved
from runbook.inventory.reading import take_inventory
from runbook.model import Check
from runbook.params.schema import Params
from runbook.postgres.connect import rows
from runbook.postgres.sqlfiles import load_sql
from runbook.texts import many


def check_parameters(params: Params, values: Mapping[str, Any]) -> None:
    """The notebook's parameters mean something on this target; nothing is started.

    Raises:
        OperatorError, ParamsError: one does not, or a check file is broken.
    """
    AccessAudit(params, "preflight", checks=values["checks"], fail_on=values["fail_on"])


class AccessAudit(Visit):
    """The state between the steps of one audit; arguments and errors are those of `Visit`."""

    area = AREA
    differences: Sequence[Difference] = ()

    def check(self) -> list[Check]:
        """Every check file, by its rank."""
        cluster = self.params.cluster
        self.look.given = {"reader_role": cluster.reader_role if cluster is not None else ""}
        return super().check()

    # -- observing

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
        return self.judge([looked])

    def difference_rows(self) -> list[dict[str, str]]:
        """What is new, gone or changed since the list was approved."""
        return difference_rows(self.differences, {})

    def check_leavers(self) -> list[Check]:
        """Nobody who has left can log in."""
        people = self.params.access.leavers
        with self._open(None) as connection:
            names = [role for person in people or () for role in person.roles]
            found = rows(connection, load_sql("rates/quote_names").text, [names])
        quoted = {str(row["name"]): str(row["quoted"]) for row in found}
        return self.judge([leavers(people, self.inventory.server.get("roles"), quoted)])

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
            path.write_text(text, "utf-8")
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
                f"{many(self.inventory.count, 'item')} in {many(len(self.inventory.databases), 'database')}",
                f"{many(states.count(State.WARNING), 'warning')} accepted",
                f"{many(sum(len(look.excepted) for look in self.looked), 'finding')} excepted",
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
