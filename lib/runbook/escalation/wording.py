"""What a page says. The most important first: a telephone shows the beginning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Incident:
    """What a run's journal says to somebody who has just been woken. `waits`: the gate or question, empty when none does."""

    run: str
    runbook: str
    title: str
    target: str
    environment: str
    standing: str
    reason: str
    waits: str
    next: str
    record: str | None


def page_title(role: str, incident: Incident) -> str:
    """The subject.

    >>> page_title("dba", Incident("r", "drill", "Drill", "billing", "production", "WAITING", "", "", "", None))
    'PAGE dba: WAITING on billing: drill'
    """
    return f"PAGE {role}: {incident.standing} on {incident.target}: {incident.runbook}"


def page_body(
    role_title: str,
    incident: Incident,
    message: str,
    operator: str,
    host: str,
    at: str,
    page: str,
    before: str | None = None,
) -> str:
    """The message: what, where, what waits, the next command, and where to read on.

    Args:
        page: its id, the same in each channel.
        before: an earlier page that broke off, in a sentence: somebody may get both.
    """
    report = f"{incident.record}/report.html" if incident.record else "not archived yet"
    lines = [
        *([f"{operator} says: {message}", ""] if message else []),
        f"State: {incident.standing}: {incident.reason}",
        *([f"Waits: {incident.waits}"] if incident.waits else []),
        f"Next: {incident.next}",
        "",
        f"Runbook: {incident.title} ({incident.runbook})",
        f"Target: {incident.target} ({incident.environment})",
        f"Run: {incident.run}",
        f"Read on: runbook status {incident.run}",
        f"Report: {report}",
        "",
        f"You are called as {role_title}, by {operator} on {host} at {at} (page {page}).",
        *([f"It is sent again: {before} You may have had that one."] if before else []),
        "Nobody sees whether you have read this: call back.",
    ]
    return "\n".join(lines)


def check_title(target: str) -> str:
    """The subject of a test message."""
    return f"TEST, nothing has happened: can you be reached about {target}?"


def check_body(name: str, roles: str, run: str, operator: str, host: str) -> str:
    """The test message."""
    return (
        f"This is a test of the emergency contacts. Nothing has happened, nothing is to be done.\n\n"
        f"To: {name}, as {roles}\nSent by: {operator} on {host}, run {run}\n"
        f"If this is not for you, or not the right way, tell {operator}."
    )
