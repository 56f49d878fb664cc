"""The daily look: what the notebook steps through. The target, its backups and its archive are only read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from runbook import clock
from runbook.errors import NotMeasured
from runbook.health.rates import given_statements, keep_statements, rates, statement_rates
from runbook.health.stores import look_at_stores, thresholds
from runbook.health.trend import compare, exhaustion, remember
from runbook.inspection.visit import Visit
from runbook.model import Check
from runbook.params.schema import Params
from runbook.postgres.connect import SqlError
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


class DailyHealth(Visit):
    """The state between the steps of one look; arguments and errors are those of `Visit`."""

    area = AREA
    before: Mapping[str, Any] | None = None

    def arrive(self) -> list[dict[str, str]]:
        """As `Visit.arrive`; the first reading of the counters is taken."""
        seen = super().arrive()
        self.look.overrides = {**thresholds(self.params), **self.settings.thresholds}
        self.first, self.first_statements = self._counters(), self._statements()
        return seen

    def since(self, before: Mapping[str, Any] | None) -> None:
        """Statements are judged by what they took since that reading, which an earlier look has kept."""
        self.before = before

    def keep_statements(self) -> dict[str, Any] | None:
        """This look's first reading for later ones, JSON; None where statements were not measured."""
        return (
            None if isinstance(self.first_statements, str) else keep_statements(self.first_statements, self.first["at"])
        )

    def check(self) -> list[Check]:
        """As `Visit.check`; the stores of backups and WAL are looked at too, and statements since an earlier look."""
        stores = look_at_stores(self.params, self.rights.system_identifier, self.rights.timeline)
        self.look.given = {**stores, **given_statements(self.before), "statement_texts": self.look.has_texts}
        return super().check()

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
        time.sleep(max(0.0, self.params.health.sample - passed))
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
