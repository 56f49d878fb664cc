"""The proof that writes have stopped: for some seconds WAL shows no commit that is not our own.

A count of active sessions proves nothing: what writes past pg_hba.conf (a superuser's session, a COMMIT PREPARED, a background
worker, a subscription) shows there for milliseconds, or not at all. It cannot commit without WAL.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from runbook import clock
from runbook.errors import CommandTimedOut, OperatorError, PlatformError, RunbookError
from runbook.model import Check, Finding, Severity, Status
from runbook.platforms.cluster import service
from runbook.platforms.cluster.live import LiveServer, read_facts, read_position
from runbook.platforms.cluster.sessions import list_prepared, session_words
from runbook.postgres.connect import Connection, SqlError, one, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.wal import Commit, format_lsn, format_range, parse_commit, same_position
from runbook.postgres.waldump import read_records
from runbook.texts import many

_POLL_SECONDS = 0.1
_FLUSH_SECONDS = 30.0
_MOST_SHOWN = 20


@dataclass
class _Watch:
    """Who was seen meanwhile: with a transaction number, with a prepared transaction, or at all."""

    by_xid: dict[int, str] = field(default_factory=dict)
    present: dict[str, None] = field(default_factory=dict)
    own: set[int] = field(default_factory=set)

    def look(self, connection: Connection, application: str) -> None:
        """One look around."""
        query = load_sql("lockdown/list_writers")
        for row in rows(connection, query.text, query.values({"application": application})):
            xid = int(row["xid"]) if row["xid"] else None
            if row["own"]:
                self.own |= {xid} if xid else set()
                continue
            self.present[session_words(row)] = None
            if xid:
                self.by_xid[xid] = session_words(row)
        for row in list_prepared(connection):
            who = f"prepared transaction '{row['gid']}' of role {row['role']} in database {row['database']}"
            self.by_xid[int(row["xid"])] = who


def prove_quiet(server: LiveServer, *, seconds: float, own_xids: Collection[int] = ()) -> Check:
    """For so many seconds no transaction but ours was committed: PASS; FAIL names each commit that was, and who if it was seen.

    Args:
        own_xids: transactions of ours that may be committed meanwhile.
    """
    began = time.monotonic()
    try:
        if not server.is_up():
            return _down(server, seconds)
        timeline, start, end, watch = _watch_for(server, seconds)
        commits = _commits(server, timeline, start, end)
    except SqlError as cause:
        return _unknown(
            seconds, f"the server broke off: {str(cause).strip()}", "Look at the server's log, then redo this step."
        )
    except RunbookError as cause:
        return _unknown(seconds, cause.message, cause.next or "Correct what is named, then redo this step.")
    foreign = [commit for commit in commits if commit.xid not in watch.own and commit.xid not in own_xids]
    watched = f"{format_range(start, end)}, {clock.human_seconds(time.monotonic() - began)}"
    if not foreign:
        return _check(Status.PASS, seconds, f"no commit in {watched}" if end > start else watched)
    findings = tuple(_finding(commit, watch) for commit in foreign[:_MOST_SHOWN])
    named = "; ".join(finding.message for finding in findings[:3])
    return _check(
        Status.FAIL,
        seconds,
        f"{many(len(foreign), 'commit')} in {watched}",
        reason=f"Something still writes: {named}{' …' if len(foreign) > 3 else ''}",
        next="End who is named (see the list of what stays open), then redo this step.",
        findings=findings,
    )


def _watch_for(server: LiveServer, seconds: float) -> tuple[int, int, int, _Watch]:
    watch = _Watch()
    with server.connect() as connection:
        if read_facts(connection).in_recovery:
            raise OperatorError("The server is in recovery: the WAL that it shows is another server's.")
        timeline, start, _ = read_position(connection)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            watch.look(connection, server.application)
            time.sleep(_POLL_SECONDS)
        watch.look(connection, server.application)
        _, end, flushed = read_position(connection)
        waited = time.monotonic() + _FLUSH_SECONDS
        # A commit that was not waited for reaches the disk within a moment; behind a switch there is only a header, of nothing yet.
        while flushed < end and not same_position(flushed, end):
            if time.monotonic() > waited:
                raise PlatformError(
                    f"WAL up to {format_lsn(end)} does not reach the disk ({format_lsn(flushed)}): it cannot be read.",
                    next="Look at the server's log and disk.",
                )
            with server.connect(read_only=False) as writing:  # finishing the segment flushes it, without a commit
                one(writing, load_sql("lockdown/switch_wal").text)
            flushed = read_position(connection)[2]
    return timeline, start, min(end, flushed), watch


def _commits(server: LiveServer, timeline: int, start: int, end: int) -> list[Commit]:
    """Commits that changed something, in WAL on disk."""
    found: list[Commit] = []
    if end <= start:
        return found
    pg_wal = server.need_data() / "pg_wal"
    try:
        for item in read_records(server.tools(), pg_wal, timeline, start, end, rmgrs=("Transaction",), timeout=300):
            if isinstance(item, str):
                if item:
                    raise PlatformError(f"WAL in {pg_wal} cannot be read: {item.removeprefix('pg_waldump: error: ')}")
                continue
            commit = parse_commit(item)
            if commit is not None and commit.xid:
                found.append(commit)
    except CommandTimedOut as cause:
        raise PlatformError(cause.message, next="Redo this step.") from cause
    return found


def _finding(commit: Commit, watch: _Watch) -> Finding:
    who = watch.by_xid.get(commit.xid)
    if who is None:
        there = list(watch.present)
        who = (
            f"not seen; there meanwhile: {'; '.join(there[:5])}" if there else "not seen, and nobody else was connected"
        )
    return Finding(
        id="unexplained-commit",
        object=f"xid {commit.xid}",
        severity=Severity.CRITICAL,
        observed=f"COMMIT at {format_lsn(commit.lsn)}, {clock.stamp(commit.at)}",
        expected="no commit but ours",
        message=f"xid {commit.xid} at {clock.stamp(commit.at)}: {who}",
    )


def _down(server: LiveServer, seconds: float) -> Check:
    if service.is_running(server.cluster):
        return _unknown(
            seconds,
            "a server runs on the data directory and accepts no connections, so nobody can ask where its WAL stands",
            "Look at the server's log: it may be starting, or recovering from a crash; then redo this step.",
        )
    return _check(Status.PASS, seconds, "no server runs on the data directory: nothing can commit")


def _unknown(seconds: float, reason: str, next: str) -> Check:
    return _check(Status.UNKNOWN, seconds, "not proven", reason=reason, next=next)


def _check(
    status: Status,
    seconds: float,
    observed: str,
    *,
    reason: str | None = None,
    next: str | None = None,
    findings: tuple[Finding, ...] = (),
) -> Check:
    return Check(
        id="lockdown-quiet",
        title="Writes have stopped",
        status=status,
        expected=f"no commit but ours in WAL for {clock.human_seconds(seconds)}",
        observed=observed,
        severity=Severity.CRITICAL,
        reason=reason,
        next=next,
        source="pg_waldump on the server's pg_wal",
        findings=findings,
    )
