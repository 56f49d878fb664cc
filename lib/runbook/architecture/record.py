"""The architecture record: what the notebook steps through. The target is only read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook import clock
from runbook.architecture import declared
from runbook.inspection.looking import Look, Rights
from runbook.inspection.visit import open_read_only
from runbook.inventory.approval import AgainstList, compare_with_list, other_system
from runbook.inventory.differences import compare, difference_rows, not_comparable
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import Approved
from runbook.inventory.reading import take_inventory
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.retention.measuring import Kept
from runbook.texts import many

#: Kinds of the inventory that say how the system is built; who may do what is the access audit's.
KINDS = {"server", "databases", "extensions", "settings", "role_settings"}
_MEASURED = {"sizes", "replicas", "archiving"}


def check_parameters(params: Params, values: Mapping[str, Any]) -> None:
    """The target can be looked at; nothing is started.

    Raises:
        OperatorError: its params say no way into the server.
    """
    ArchitectureRecord(params, "preflight")


class ArchitectureRecord:
    """The state between the steps of one record.

    Args:
        application: shows in pg_stat_activity; the run id.

    Raises:
        OperatorError: the params say no way into the server.
    """

    def __init__(self, params: Params, application: str) -> None:
        self.params = params
        self._open = open_read_only(params, "health", params.health, application)
        self.look = Look(self._open, {}, params.health.statement_timeout)
        self.limitations: list[str] = []
        self.about_list: list[str] = []
        self.kept: Kept | None = None

    def clean_up(self) -> None:
        """Nothing that was laid ready is left."""
        if self.kept is not None:
            self.kept.clean_up()

    # -- declared

    def declared_rows(self) -> list[dict[str, str]]:
        """Every declared fact, labelled so."""
        return declared.rows(self.params.architecture)

    def check_declared(self) -> list[Check]:
        """Nothing is left open."""
        return declared.check_declared(self.params)

    # -- measured

    @property
    def target_facts(self) -> dict[str, str | None]:
        return {"server_version": self.rights.version, "system_identifier": self.rights.system_identifier}

    def measure(self) -> list[dict[str, str]]:
        """What the server shows: a row a fact. What it does not show is in `check_measured`.

        Raises:
            PlatformError: it cannot be reached.
        """
        self.rights: Rights = self.look.rights()
        databases = self.look.databases(self.params.health.databases)
        built = take_inventory(self.look, databases, self.rights).only(KINDS)
        measured = take_inventory(self.look, databases, self.rights, "architecture")
        self.unseen = {**built.unseen, **measured.unseen}
        self.measured = measured
        # Sizes and counters move by themselves: they are shown, and are no change.
        lasting = {kind: items for kind, items in measured.server.items() if kind == "replicas"}
        unseen = {key: why for key, why in self.unseen.items() if not key.startswith(("sizes@", "archiving@"))}
        self.inventory = Inventory({**built.server, **lasting}, built.databases, unseen)
        shown = Inventory(
            {**built.only({"server", "databases"}).server, **measured.server}, built.only({"extensions"}).databases
        )
        return [
            {"kind": kind, "database": database or "–", "item": name, "facts": "; ".join(f"{k}: {v}" for k, v in facts.items() if v)}
            for kind, database, items in shown.places()
            for name, facts in items.items()
        ]  # fmt: skip

    def check_measured(self) -> list[Check]:
        """Everything that was asked was seen; replicas are counted, none is an answer."""
        checks = []
        for kind in sorted(KINDS | _MEASURED):
            why = {key: said for key, said in self.unseen.items() if key.partition("@")[0] == kind}
            seen = sum(len(items) for one, _, items in self._all() if one == kind)
            common: dict[str, Any] = {
                "id": f"measured-{kind.replace('_', '-')}",
                "title": f"The server shows its {kind.replace('_', ' ')}",
                "expected": "seen",
                "observed": many(seen, "item"),
            }
            if not why:
                checks.append(Check(**common, status=Status.PASS))
                continue
            first = next(iter(why.values()))
            checks.append(
                Check(
                    **common, status=Status.UNKNOWN, reason=f"Not measured: {first}",
                    next="Grant what is missing: pg_monitor will do.",
                )
            )  # fmt: skip
        return checks

    def _all(self) -> list[tuple[str, str | None, dict[str, dict[str, str]]]]:
        known = [one for one in self.inventory.places() if one[0] != "replicas"]
        return [*known, *self.measured.places()]

    # -- retention

    def check_retention(self) -> list[Check]:
        """What is really kept, and what the plan keeps, against what compliance asks for.

        Raises:
            NotMeasured: the archive cannot be listed.
            ParamsError: nothing says how long backups must be kept.
        """
        found = declared.check_declared_retention(self.params)
        if self.params.cluster is not None:
            self.kept = Kept(self.params)
            self.kept.rules()
            self.limitations += self.kept.limitations
            found += [*self.kept.backups(), *self.kept.wal()]
        elif not found:
            found = [
                Check(
                    id="retention-backups", title="Base backups are kept as long as they must be", status=Status.UNKNOWN,
                    expected="measured or declared", observed="nothing",
                    reason="The backups are not within reach, and nobody says how long the plan keeps them.",
                    next="Write architecture.backup_retention in params.",
                )
            ]  # fmt: skip
        return found

    def check_cross_region(self) -> list[Check]:
        """Whether backups leave the region."""
        return [declared.check_cross_region(self.params)]

    # -- since last time

    def remember(self) -> dict[str, Any]:
        """This record for the next one to compare with; JSON."""
        said = {key: str(value) for key, value in self.params.architecture.model_dump().items() if value is not None}
        server = {**self.inventory.server, "declared": {key: {"value": value} for key, value in said.items()}}
        whole = Inventory(server, self.inventory.databases, self.inventory.unseen)
        return {"at": clock.stamp(clock.now()), "inventory": whole.facts()}

    def compare(self, earlier: Mapping[str, Any] | None) -> list[dict[str, str]]:
        """What is new, gone or changed since the earlier record, and what cannot be compared; nothing without one."""
        if earlier is None:
            return []
        before, now = Inventory.of(earlier["inventory"]), Inventory.of(self.remember()["inventory"])
        return difference_rows(compare(before, now), not_comparable(before, now))

    # -- against what was approved

    def compare_with_list(self, approved: Approved) -> list[dict[str, str]]:
        """What differs from the list that the access audit compares with, of the kinds that both look at; why, where it cannot be told.

        Nothing fails here: what is to be done about a difference is judged once, by the access audit and its exceptions. What a PASS
        must not hide is then in `about_list`.
        """
        self.about_list = []
        problem = other_system(approved, self.rights.system_identifier)
        against = (
            AgainstList(problem)
            if problem
            else compare_with_list(approved, self.inventory, KINDS, self._looked_at_by_both(approved))
        )
        if against.problem is not None:
            self.about_list.append(f"Nothing was compared with the approved list {approved.where}: {against.problem}.")
        elif against.found:
            first = against.found[0]
            self.about_list.append(
                f"{len(against.found)} differ from the approved list, the first {first.became} in {first.kind}: {first.name}; the "
                "access audit judges them (runbook run access-audit)."
            )
        if against.unseen:
            self.about_list.append(
                f"Not compared with the approved list: {', '.join(sorted({key.partition('@')[0] for key in against.unseen}))}."
            )
        return difference_rows(against.found, against.unseen)

    def _looked_at_by_both(self, approved: Approved) -> set[str] | None:
        """Where params limit one of the two looks, a database that only the other enters is neither new nor gone."""
        if (self.params.health.databases is None and self.params.access.databases is None) or approved.list is None:
            return None
        return set(self.inventory.databases) & set(approved.list.databases)
