"""What stands in the copy's files and PostgreSQL did not make: looked for before they become production's."""

from __future__ import annotations

from runbook.model import Check, Severity, Status

PLANTED = "recovery-copy-files"


def check_planted(found: list[str]) -> Check:
    """Nothing in the copy's files leads out of it: it may have run code that a hostile role had left in it."""
    return Check(
        id=PLANTED,
        title="The copy holds only files that PostgreSQL makes",
        status=Status.FAIL if found else Status.PASS,
        expected="no link, hard link, device, pipe, socket or setuid file but its own tablespaces",
        observed=f"{len(found)} such files, first {found[0]}" if found else "none",
        severity=Severity.CRITICAL,
        reason=f"What ran in the copy has made {found[0]}: in production's place it would lead out of the data directory."
        if found
        else None,
        next="Answer 'back', then recover again; see who may run programs in this database." if found else None,
        source="the copy's data directory and tablespaces",
    )
