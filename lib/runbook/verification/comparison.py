"""A restored database against its fence: to the last row."""

from __future__ import annotations

from typing import Any

from runbook.errors import RunbookError, TargetError
from runbook.model import Check, Finding, Severity, Status
from runbook.postgres import causes
from runbook.postgres.wal import Timeline, format_lsn
from runbook.texts import many
from runbook.verification.content import Content, SequencePosition, is_no_evidence
from runbook.verification.fencefile import DatabaseFence, Fence

_MOST_FINDINGS = 50


def choose_fence(
    fences: list[Fence], *, system_identifier: str | None, lineage: tuple[Timeline, ...], consistent: int, reached: int
) -> tuple[Fence | None, str]:
    """The newest fence between the backup's end and the point, on the same lineage; or why there is none. Pure.

    Args:
        lineage: the way to the point.
    """
    if not fences:
        return None, "no fence has been taken"
    reasons = []
    for fence in sorted(fences, key=lambda item: item.first_lsn, reverse=True):
        when = f"the fence of {fence.taken_at:%Y-%m-%d %H:%M:%S} UTC"
        if system_identifier is not None and fence.system_identifier != system_identifier:
            reasons.append(f"{when} is of another system ({fence.system_identifier})")
        elif fence.first_lsn < consistent:
            reasons.append(
                f"{when} lies before the backup is consistent ({format_lsn(fence.first_lsn)} < {format_lsn(consistent)})"
            )
        elif fence.last_lsn > reached:
            reasons.append(f"{when} lies behind the point ({format_lsn(fence.last_lsn)} > {format_lsn(reached)})")
        elif not all(_is_on(lineage, item.timeline, item.lsn) for item in fence.databases):
            reasons.append(f"{when} was taken on another timeline")
        else:
            return fence, ""
    return None, "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def _is_on(lineage: tuple[Timeline, ...], number: int, position: int) -> bool:
    return any(
        part.number == number and part.begin <= position and (part.end is None or position <= part.end)
        for part in lineage
    )


def no_fence_check(reason: str) -> Check:
    """The comparison that could not be made: UNKNOWN, never a pass."""
    return Check(
        id="fence",
        title="The restored rows are those that production had",
        status=Status.UNKNOWN,
        expected="counts and hashes equal to a fence",
        observed="not compared",
        severity=Severity.CRITICAL,
        reason=f"There is no usable fence: {reason}.",
        next="runbook fence take --target NAME after each base backup, and choose a point behind it.",
        source="runbook fence",
    )


def database_gone_check(fence: DatabaseFence) -> Check:
    """A database that production had and the restore has not."""
    return Check(
        id=f"fence@{fence.database}",
        title="The restored rows are those that production had",
        status=Status.FAIL,
        expected=f"{many(fence.rows, 'row')} in {many(len(fence.relations), 'relation')}",
        observed="no such database",
        object=fence.database,
        severity=Severity.CRITICAL,
        reason=f"The database {fence.database} is not in the restored cluster; the fence has {many(fence.rows, 'row')} of it.",
        next="Do not rely on this backup: a whole database is missing.",
        source=f"fence at {format_lsn(fence.lsn)} ({fence.why})",
    )


def database_not_read_check(fence: DatabaseFence, problem: RunbookError) -> Check:
    """A database that could not be read: damage is a FAIL, anything else UNKNOWN."""
    return Check(
        id=f"fence@{fence.database}",
        title="The restored rows are those that production had",
        status=Status.FAIL if isinstance(problem, TargetError) else Status.UNKNOWN,
        expected=f"{fence.rows} rows in {len(fence.relations)} relations, hashes equal",
        observed="not compared",
        object=fence.database,
        severity=Severity.CRITICAL,
        reason=problem.message,
        next=problem.next,
        source=f"fence at {format_lsn(fence.lsn)} ({fence.why})",
    )


def compare_database(
    fence: DatabaseFence, contents: list[Content], sequences: list[SequencePosition], seconds: float
) -> Check:
    """One database against its fence. Tables and rows must be equal; sequences may run ahead, never behind. Pure."""
    wanted = {item.title: item for item in fence.relations}
    seen = {item.title: item for item in contents}
    wrong: list[Finding] = []
    unknown: list[Finding] = []
    problems = [item.problem for item in contents] + [item.problem for item in sequences]
    unread = [problem for problem in problems if is_no_evidence(problem)]

    def add(into: list[Finding], name: str, observed: str, expected: str, message: str) -> None:
        into.append(
            Finding(
                id="fence",
                object=f"{fence.database}.{name}",
                severity=Severity.CRITICAL,
                observed=observed,
                expected=expected,
                unit="rows",
                message=message,
            )
        )

    for name, then in wanted.items():
        now = seen.get(name)
        if then.rows is None:
            add(unknown, name, "not compared", "figures", f"the fence could not read it: {then.problem}")
        elif now is not None and is_no_evidence(now.problem):
            add(unknown, name, "not compared", "figures", f"it cannot be read here: {now.problem}")
        elif now is None:
            add(wrong, name, "no such relation", f"{then.rows}", "the relation is missing")
        elif now.rows is None:
            add(wrong, name, "unreadable", f"{then.rows}", f"it cannot be read: {now.problem}")
        elif now.rows != then.rows:
            add(
                wrong,
                name,
                f"{now.rows}",
                f"{then.rows}",
                f"{then.rows - now.rows:+d} rows are missing"
                if now.rows < then.rows
                else f"{now.rows - then.rows} rows too many",
            )
        elif now.method != then.method:
            how = (
                f"the fence read it by {then.method}, this copy by {now.method}: only its {now.rows} rows are compared"
            )
            add(unknown, name, "contents not compared", "hashes of one kind", how)
        elif now.hash != then.hash:
            add(
                wrong,
                name,
                f"{now.rows} with hash {now.hash}",
                f"{then.rows} with hash {then.hash}",
                "the rows' contents differ",
            )
    for name in sorted(seen.keys() - wanted.keys()):
        add(
            wrong, name, f"{seen[name].rows}", "no such relation", "the relation was not there when the fence was taken"
        )
    standing = {item.title: item for item in sequences}
    for before in fence.sequences:
        after = standing.get(before.title)
        if before.value is None:
            add(unknown, before.title, "not compared", "a position", f"the fence could not read it: {before.problem}")
        elif after is not None and is_no_evidence(after.problem):
            add(unknown, before.title, "not compared", "a position", f"it cannot be read here: {after.problem}")
        elif after is None or after.value is None:
            why = after.problem if after else "it is not there"
            add(wrong, before.title, "missing", f"{before.value}", f"the sequence cannot be read: {why}")
        elif after.is_behind(before):
            add(wrong, before.title, f"{after.value}", f"at least {before.value}", "the sequence is behind")
    total = sum(item.rows or 0 for item in contents)
    common: dict[str, Any] = {
        "id": f"fence@{fence.database}",
        "title": "The restored rows are those that production had",
        "expected": f"{many(fence.rows, 'row')} in {many(len(wanted), 'relation')}, hashes equal",
        "object": fence.database,
        "severity": Severity.CRITICAL,
        "source": f"fence at {format_lsn(fence.lsn)} ({fence.why})",
        "seconds": seconds,
    }
    if wrong:
        first = wrong[0]
        return Check(
            **common,
            status=Status.FAIL,
            observed=f"{many(total, 'row')}; {len(wrong)} differ",
            findings=tuple(wrong[:_MOST_FINDINGS]),
            reason=f"{first.object}: {first.message} (expected {first.expected}, seen {first.observed})"
            + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
            next="Do not rely on this backup: rows were lost or changed between production and the restore.",
        )
    if unknown:
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=f"{many(total, 'row')}; {len(unknown)} not compared",
            findings=tuple(unknown[:_MOST_FINDINGS]),
            reason=f"{unknown[0].object}: {unknown[0].message}",
            next=causes.next_step(unread[0])
            if unread
            else "Take the fence again, as a role that may read everything: runbook fence take --target NAME",
        )
    return Check(
        **common,
        status=Status.PASS,
        observed=f"{many(total, 'row')} in {many(len(contents), 'relation')}, hashes equal",
    )
