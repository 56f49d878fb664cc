"""What an act of a recovery found: checks, and rows for a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runbook.model import Check, Finding, Status


@dataclass
class Done:
    """What an act of the lock-down found: checks, and rows for a table."""

    checks: list[Check] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: What stays, for the top of the report.
    limits: list[str] = field(default_factory=list)

    def say(self, what: str, state: str, detail: str = "") -> None:
        """A row: what, how it stands, and more."""
        self.rows.append({"what": what, "state": state, "detail": detail})


def judge(
    name: str,
    title: str,
    expected: str,
    observed: str,
    *,
    reason: str | None = None,
    next: str | None = None,
    findings: tuple[Finding, ...] = (),
) -> Check:
    """PASS without a reason, else UNKNOWN."""
    return Check(
        id=name,
        title=title,
        status=Status.UNKNOWN if reason else Status.PASS,
        expected=expected,
        observed=observed,
        reason=reason,
        next=next,
        findings=findings,
    )
