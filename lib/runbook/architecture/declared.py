"""What no database shows: provider, place, pooler, who copies backups where. People declare it; it is never called measured. Pure."""

from __future__ import annotations

import re
from typing import Any

from runbook.clock import human_days
from runbook.model import Check, Severity, Status
from runbook.params.schema import Architecture, Params

#: What each declared fact answers, by its key in params.
WANTED = {
    "provider": "who runs the server",
    "location": "where it stands",
    "instance_type": "on what it runs",
    "pooler": "what pools its connections",
    "backup_method": "how it is backed up",
    "backup_frequency": "how often",
}
_PLACEHOLDER = re.compile(r"\[.*\]|<.*>|\b(tbd|tba|todo|to be documented|unknown|fixme)\b", re.I)


def is_placeholder(text: str) -> bool:
    """Whether a text stands for one that nobody has written yet.

    >>> is_placeholder("[To be documented based on actual deployment]"), is_placeholder("none: one session an instance")
    (True, False)
    """
    return not text.strip() or _PLACEHOLDER.search(text) is not None


def rows(declared: Architecture) -> list[dict[str, str]]:
    """Every declared fact, labelled as what it is."""
    return [
        {"what": key, "value": getattr(declared, key) or "–", "known": "declared, not measured" if getattr(declared, key) else "nobody says"}
        for key in (*WANTED, "cross_region_export")
    ]  # fmt: skip


def check_declared(params: Params) -> list[Check]:
    """A check a fact: none is UNKNOWN, a placeholder FAIL."""
    return [_check(key, asks, getattr(params.architecture, key), params.target) for key, asks in WANTED.items()]


def _check(key: str, asks: str, value: str | None, target: str) -> Check:
    common: dict[str, Any] = {
        "id": f"declared-{key.replace('_', '-')}",
        "title": f"It is written down {asks}",
        "expected": "declared",
        "source": f"architecture.{key} (declared, not measured)",
        "severity": Severity.WARNING,
    }
    how = f"Write architecture.{key} in params/{target}.yaml; 'none' and why, when there is none."
    if value is None:
        return Check(**common, status=Status.UNKNOWN, observed="nothing", reason=f"Nobody says {asks}.", next=how)
    if is_placeholder(value):
        return Check(
            **common, status=Status.FAIL, observed=value, reason=f"'{value}' is a placeholder, no fact.", next=how
        )
    return Check(**common, status=Status.PASS, observed=f"{value} (declared, not measured)")


def check_declared_retention(params: Params) -> list[Check]:
    """What the provider keeps, by its plan, against what must be kept; no check when the plan is not declared."""
    declared, rules = params.architecture.backup_retention, params.retention
    if declared is None:
        return []
    common: dict[str, Any] = {
        "id": "declared-retention",
        "title": "The plan's retention of backups is as long as must be kept",
        "observed": f"{human_days(declared)} (declared, not measured)",
        "severity": Severity.CRITICAL,
    }
    if rules is None:
        return [
            Check(
                **common, expected="a rule", status=Status.UNKNOWN, reason="Nothing says how long backups must be kept.",
                next="Add the section retention: to the params.",
            )
        ]  # fmt: skip
    common |= {"expected": f"{human_days(rules.backups)} or more", "source": rules.source}
    if declared >= rules.backups:
        return [Check(**common, status=Status.PASS)]
    return [
        Check(
            **common,
            status=Status.FAIL,
            reason=f"Backups are kept for {human_days(declared)}, and {human_days(rules.backups)} are asked for ({rules.source}).",
            next=f"Order a plan that keeps {human_days(rules.backups)}, or export backups and keep them as long.",
        )
    ]


def check_cross_region(params: Params) -> Check:
    """A production system's backups are somewhere else too; 'none' is an answer, and there a FAIL."""
    said = params.architecture.cross_region_export
    common: dict[str, Any] = {
        "id": "cross-region-export",
        "title": "Backups leave the region",
        "expected": "a copy elsewhere" if params.environment == "production" else "said, whether there is one",
        "source": "architecture.cross_region_export (declared, not measured)",
        "severity": Severity.ERROR,
    }
    how = "Copy base backups and WAL to another region, and write down where: architecture.cross_region_export."
    if said is None or is_placeholder(said):
        return Check(
            **common, status=Status.UNKNOWN, observed=said or "nothing", next=how,
            reason="Nobody says whether backups are copied to another region.",
        )  # fmt: skip
    if said.strip().lower().startswith("none") and params.environment == "production":
        return Check(
            **common, status=Status.FAIL, observed=said, next=how,
            reason="What takes the region takes its backups too: there is no copy elsewhere.",
        )  # fmt: skip
    return Check(**common, status=Status.PASS, observed=f"{said} (declared, not measured)")
