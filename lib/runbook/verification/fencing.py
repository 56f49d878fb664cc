"""A restore taken to its fence: each database recovered to the fence's position in turn, and compared to the last row."""

from __future__ import annotations

import time
from collections.abc import Callable

from runbook.errors import RunbookError
from runbook.model import Check
from runbook.params.schema import Cluster
from runbook.platforms.cluster.replay import Replay, SnapshotMissing
from runbook.platforms.cluster.window import Resolved
from runbook.verification import backup_checks, catalogcheck, comparison
from runbook.verification.contents import Contents
from runbook.verification.fencefile import DatabaseFence, Fence, list_fences
from runbook.verification.ownstate import CATALOGS, ROWS


def compare_with_fence(
    cluster: Cluster, resolved: Resolved, replay: Replay, contents: Contents, spent: Callable[[str, float], None]
) -> list[Check]:
    """Every table of every database against the newest usable fence; UNKNOWN, with the reason, where there is none.

    Args:
        spent: called with 'replay' or 'fence' and the moment (time.monotonic) when that part began.
    """
    fences, wrong = list_fences(cluster)
    system = system_of(resolved)
    fence, reason = comparison.choose_fence(
        fences,
        system_identifier=system,
        lineage=resolved.stage.lineage,
        consistent=resolved.consistent,
        reached=resolved.point.reached,
    )
    lost = _archive_lost(fences, resolved, system)
    checks = [lost] if lost is not None else []
    if fence is None:
        return [*checks, comparison.no_fence_check("; ".join([reason, *wrong]))]
    for item in sorted(fence.databases, key=lambda item: item.lsn):
        began = time.monotonic()
        try:
            replay.go_to(item.lsn, item.lsn)
        except SnapshotMissing as problem:
            return [*checks, comparison.no_fence_check(problem.message)]
        spent("replay", began)
        began = time.monotonic()
        if item.database not in contents.all_databases():
            checks.append(comparison.database_gone_check(item))
            continue
        methods = {relation.title: relation.method for relation in item.relations}
        try:
            found, sequences = contents.read(item.database, lambda relation: not relation.is_catalog, methods)
        except RunbookError as problem:
            checks.append(comparison.database_not_read_check(item, problem))
            continue
        check = comparison.compare_database(item, found, sequences, time.monotonic() - began)
        contents.own.note(ROWS, item.database, check.status)
        if item.catalogs is None:
            check = check.model_copy(
                update={"observed": f"{check.observed}; catalogs not compared, the fence has none"}
            )
        checks.append(check)
        checks += _compare_catalogs(item, contents)
        spent("fence", began)
    fenced = {item.database for item in fence.databases}
    for name in contents.databases():
        if name not in fenced:
            check = comparison.no_fence_check(f"the fence does not hold database {name}")
            checks.append(check.model_copy(update={"id": f"fence@{name}", "object": name}))
    return checks


def _compare_catalogs(item: DatabaseFence, contents: Contents) -> list[Check]:
    """The catalogs, where the fence holds them; what it does not hold is a limitation."""
    began = time.monotonic()
    contents.not_compared += catalogcheck.limits_of_fence(item)
    if item.catalogs is None:
        return []
    try:
        now = contents.read_catalogs(item.database, with_shared=item.catalogs.with_shared)
    except RunbookError as problem:
        check = comparison.database_not_read_check(item, problem)
        return [check.model_copy(update={"id": f"catalogs@{item.database}"})]
    check = catalogcheck.compare_catalogs(item, now, time.monotonic() - began)
    contents.own.note(CATALOGS, item.database, check.status)
    return [check]


def system_of(resolved: Resolved) -> str | None:
    """The backup's system, as its manifest, its control file or its WAL names it."""
    return resolved.backup.system_identifier or resolved.stage.system_identifier


def _archive_lost(fences: list[Fence], resolved: Resolved, system: str | None) -> Check | None:
    """A fence that saw more WAL than the archive now has, when the archive's end was asked for."""
    if resolved.point.gate is not None:
        return None
    ours = [
        fence
        for fence in fences
        if system in (None, fence.system_identifier)
        and all(item.timeline == resolved.point.timeline for item in fence.databases)
    ]
    return backup_checks.check_archive_end(ours, resolved.point.reached)
