"""A restored database's catalogs against those of its fence: each policy, grant, function and setting that production had."""

from __future__ import annotations

from typing import Any

from runbook.model import Check, Finding, Severity, Status
from runbook.postgres.wal import format_lsn
from runbook.texts import many
from runbook.verification.catalogs import LEFT_OUT, NOT_ALLOWED, Catalogs
from runbook.verification.content import is_no_evidence
from runbook.verification.fencefile import DatabaseFence

_MOST_NAMED = 5


def compare_catalogs(fence: DatabaseFence, now: Catalogs, seconds: float) -> Check:
    """One database's catalogs against its fence: each catalog that the fence holds has the same rows. Pure.

    Args:
        fence: with catalogs.
        now: those of the copy, at the fence's position.
    """
    assert fence.catalogs is not None
    then = fence.catalogs
    objects = changed_objects(then, now)
    about = f" ({', '.join(objects[:_MOST_NAMED])}{', ...' if len(objects) > _MOST_NAMED else ''})" if objects else ""
    wrong: list[Finding] = []
    unknown: list[Finding] = []
    for name, before in then.tables.items():
        after, why = now.tables.get(name), now.unread.get(name)
        title = f"{fence.database}.pg_catalog.{name}"
        if after is None:
            silent = why is None or is_no_evidence(why)
            message = f"it cannot be read here: {why}" if why is not None else "this copy has no such catalog"
            (unknown if silent else wrong).append(_finding(title, before.rows, "not read", message))
        elif after.how != before.how:
            message = "the fence hashed it by other rules than this version does"
            unknown.append(_finding(title, before.rows, f"{after.rows} rows", message))
        elif after.rows != before.rows:
            wrong.append(
                _finding(title, before.rows, f"{after.rows} rows", f"its rows are not those of production{about}")
            )
        elif after.hash != before.hash:
            observed = f"{after.rows} rows with other contents"
            wrong.append(_finding(title, before.rows, observed, f"its contents are not those of production{about}"))
    for name, why in then.unread.items():
        if why != NOT_ALLOWED:  # what the role may not read is a limitation
            unknown.append(
                _finding(
                    f"{fence.database}.pg_catalog.{name}", None, "not compared", f"the fence could not read it: {why}"
                )
            )
    total = sum(one.rows for one in then.tables.values())
    common: dict[str, Any] = {
        "id": f"catalogs@{fence.database}",
        "title": "The restored catalogs are those that production had",
        "expected": f"{many(total, 'row')} in {many(len(then.tables), 'catalog')}, hashes equal ({LEFT_OUT})",
        "object": fence.database,
        "severity": Severity.CRITICAL,
        "source": f"fence at {format_lsn(fence.lsn)} ({fence.why})",
        "seconds": seconds,
    }
    if wrong:
        first = wrong[0]
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return Check(
            **common,
            status=Status.FAIL,
            observed=f"{len(wrong)} catalogs differ",
            findings=(*wrong, *unknown),
            reason=f"{first.object}: {first.message}: expected {first.expected}, seen {first.observed}{more}",
            next="Do not rely on this backup: definitions, grants or policies were lost between production and the restore.",
        )
    if unknown:
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=f"{len(unknown)} catalogs not compared",
            findings=tuple(unknown),
            reason=f"{unknown[0].object}: {unknown[0].message}",
            next="Take a fence with this version (runbook fence take); choose a point at which no transaction holds the catalogs.",
        )
    return Check(
        **common,
        status=Status.PASS,
        observed=f"{many(total, 'row')} in {many(len(then.tables), 'catalog')}, hashes equal",
    )


def changed_objects(then: Catalogs, now: Catalogs) -> list[str]:
    """Return the names of the objects whose rows are not the same, in whatever catalog; what is gone, what differs, what is new. Pure."""
    gone = [title for oid, (title, _) in then.objects.items() if oid not in now.objects]
    differs = [title for oid, (title, total) in then.objects.items() if now.objects.get(oid, ("", total))[1] != total]
    new = [title for oid, (title, _) in now.objects.items() if oid not in then.objects]
    return [*gone, *differs, *new]


def limits_of_fence(fence: DatabaseFence) -> list[str]:
    """Return what the fence of a database does not hold of its catalogs, for the top of the report. Pure."""
    if fence.catalogs is None:
        return [
            f"The fence of database {fence.database} holds no hash of its catalogs: definitions, grants and policies were not compared "
            "(runbook fence take takes one that does)."
        ]
    closed = sorted(name for name, why in fence.catalogs.unread.items() if why == NOT_ALLOWED)
    if not closed:
        return []
    return [f"Catalogs of database {fence.database} that are not in its fence: {', '.join(closed)} ({NOT_ALLOWED})."]


def _finding(title: str, expected: int | None, observed: str, message: str) -> Finding:
    return Finding(
        id="catalogs",
        object=title,
        severity=Severity.CRITICAL,
        observed=observed,
        expected=f"{expected} rows" if expected is not None else "a hash",
        message=message,
    )
