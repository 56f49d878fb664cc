"""What an earlier run has kept among its facts, for the next one to compare with."""

from __future__ import annotations

from typing import Any

from runbook.archive.records import numbered_folders, read_record
from runbook.errors import PlatformError
from runbook.model import Check, Finding, Severity

#: Older ones are not looked for: each is a file to read.
_MOST_READ = 20
_STATES = {Severity.INFO: "not measured", Severity.WARNING: "warning", Severity.CRITICAL: "critical"}


def earlier_states(runbook: str, target: str) -> dict[str, str]:
    """The state of each finding, by its key, in the newest record of that runbook and target that made any check; empty without."""
    suffix = f"-{runbook}-{target}"
    for _, folder in reversed(numbered_folders()):
        if not folder.name.endswith(suffix):
            continue
        try:
            record = read_record(folder)
        except PlatformError:
            continue
        if (record.runbook, record.target.name) == (runbook, target) and record.checks:
            return {_key(check, one): _STATES[one.severity] for check in record.checks for one in check.findings}
    return {}


def _key(check: Check, finding: Finding) -> str:
    """As `Seen.key` of the inspection."""
    name, database = finding.id.rpartition("/")[2], check.object or ""
    return f"{name}@{database}/{finding.object.removeprefix(f'{database}: ') if database else finding.object}"


def earlier_fact(runbook: str, target: str, name: str, system_identifier: str | None = None) -> Any:
    """The fact of that name in the newest record of that runbook and target that has one; None without.

    Args:
        system_identifier: given, records of another system under the same name do not count.
    """
    suffix = f"-{runbook}-{target}"
    read = 0
    for _, folder in reversed(numbered_folders()):
        if not folder.name.endswith(suffix):
            continue
        if read == _MOST_READ:
            return None
        read += 1
        try:
            record = read_record(folder)
        except PlatformError:
            continue  # `runbook archive verify` tells of it; nothing can be compared with it
        known = record.target.system_identifier
        if system_identifier and known and known != system_identifier:
            return None
        if (record.runbook, record.target.name) == (runbook, target) and name in record.facts:
            return record.facts[name]
    return None
