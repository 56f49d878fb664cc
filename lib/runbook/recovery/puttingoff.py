"""Checks of the paused copy that wait for its promotion (docs/decisions/0012): put off, and made up for. Pure."""

from __future__ import annotations

from runbook.model import Check, Severity, Status
from runbook.postgres.causes import is_lock_timeout
from runbook.recovery.course import Seen


def put_off(found: Seen) -> Seen:
    """Without the checks that must wait for the promotion, which are named in the facts and at the top of the report."""
    waiting = [check for check in found.checks if check.status is Status.UNKNOWN and is_lock_timeout(check.reason)]
    limits = [
        f"NOT CHECKED YET: {check.title} ({check.id}). While paused, a transaction that was under way at the point holds it; it is looked at "
        f"once the copy is promoted, before it is swapped in; on another way on it is never looked at. {check.reason}"
        for check in waiting
    ]
    rest = [check for check in found.checks if check not in waiting]
    return Seen(rest, found.rows, {"put off": Seen(waiting).dump()["checks"], "limits": limits})


def made_up_for(waiting: list[Check], found: list[Check]) -> list[Check]:
    """The checks that were put off, as they were found now; one that was not made after all is UNKNOWN, else nobody would miss it."""
    ids = {check.id for check in waiting}
    made = [check for check in found if check.id in ids]
    lacking = [
        Check(
            id=one,
            title="A check that was put off until the promotion is made",
            status=Status.UNKNOWN,
            expected="a result",
            observed="not made",
            severity=Severity.CRITICAL,
            reason=f"The promoted copy was not asked for {one}: the params or the check files have changed meanwhile.",
            next="Look at what it would have told before you swap the copy in.",
        )
        for one in sorted(ids - {check.id for check in made})
    ]
    return [*made, *lacking]
