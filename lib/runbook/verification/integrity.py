"""Integrity of files, pages and indexes: pg_verifybackup before the start, pg_amcheck once readable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbook import texts
from runbook.errors import PlatformError, RunbookError, TargetError
from runbook.model import Check, Finding, Severity, Status
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres import causes
from runbook.postgres.causes import Cause
from runbook.postgres.connect import SqlError, quote, rows
from runbook.postgres.guard import GUARDED, PINNED, session_options
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools
from runbook.texts import many
from runbook.verification import amfindings
from runbook.verification.content import NO_WAY, is_no_evidence
from runbook.verification.manifestfile import files_without_checksum

_MOST_FINDINGS = 50
_AMCHECK_CORRUPT = 2
#: Longest wait for a relation's lock, seconds: a transaction that was under way at the point holds it as long as recovery stands there.
_LOCK_SECONDS = 5
#: What was observed where pg_amcheck could not look, and where that is for want of its extension.
NOT_CHECKED, NOT_INSTALLED = "not checked", "not checked: no amcheck"


def verifybackup_argv(tools: Tools, folder: Path) -> list[str]:
    """pg_verifybackup on restored files; their WAL is read separately, from the archive."""
    return [tools.path("pg_verifybackup"), "--no-parse-wal", str(folder)]


def check_manifest(tools: Tools, backup: Backup, restored: Path, user: OsUser | None, timeout: float) -> Check:
    """Every restored file is there, has its size and its checksum, and none is extra: the copy and the backup are proven.

    A backup without a manifest is UNKNOWN: nothing proves it.
    """
    common: dict[str, Any] = {
        "id": "manifest",
        "title": "Every file of the backup is as its manifest says",
        "expected": "no file missing, altered or extra",
        "object": backup.label,
        "severity": Severity.CRITICAL,
        "source": "pg_verifybackup",
    }
    if not (restored / "backup_manifest").exists():
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed="no backup_manifest",
            reason=f"Backup {backup.label} has no backup_manifest: files that are missing or zeroed could not be told from good ones.",
            next="Take backups with a manifest (pg_basebackup writes one by default).",
        )
    result = commands.run(verifybackup_argv(tools, restored), timeout=timeout, user=user, check=False)
    if result.code == 0:
        bare, count = files_without_checksum(restored / "backup_manifest")
        if bare:
            return Check(
                **common | {"source": "pg_verifybackup, backup_manifest"},
                status=Status.UNKNOWN,
                observed=f"{len(bare)} of {count} files by their sizes alone",
                reason=f"The manifest of backup {backup.label} holds no checksum for {len(bare)} of {count} files, such as {bare[0]}: that they "
                "have their sizes proves nothing about their contents. A fence and page checksums prove tables, catalogs and their pages; "
                "nothing proves transaction status (pg_xact, pg_multixact), relation maps, configuration, and databases without a fence.",
                next="Take backups with pg_basebackup --manifest-checksums=CRC32C (the default) or SHA256.",
                seconds=result.seconds,
            )
        return Check(
            **common,
            status=Status.PASS,
            observed="none",
            seconds=result.seconds,
        )
    problems = [
        line.removeprefix("pg_verifybackup: error: ").strip()
        for line in (result.stderr + result.stdout).splitlines()
        if "error:" in line
    ]
    if result.code != 1 or not problems or all(map(causes.is_of_host, problems)):
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed="not finished",
            reason=f"pg_verifybackup ended with code {result.code}, which says nothing about backup {backup.label}: "
            f"{problems[0] if problems else result.said or 'it said nothing'}",
            next=causes.next_step(problems[0] if problems else result.said),
            seconds=result.seconds,
        )
    findings = tuple(
        Finding(
            id="manifest",
            object=_quoted(problem) or backup.label,
            severity=Severity.CRITICAL,
            observed=problem,
            expected="as in backup_manifest",
            message=problem,
        )
        for problem in problems[:_MOST_FINDINGS]
    )
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Check(
        **common,
        status=Status.FAIL,
        observed=many(len(problems), "problem"),
        reason=f"Backup {backup.label} is damaged: {problems[0]}{more}.",
        next="Do not rely on this backup: take a new base backup now, and find out what altered this one.",
        seconds=result.seconds,
        findings=findings,
    )


def _quoted(text: str) -> str | None:
    match = re.search(r'"([^"]+)"', text)
    return match[1] if match else None


def amcheck_argv(
    scratch: Scratch, database: str, *, jobs: int, parent: bool, relations: Iterable[tuple[str, str]] = ()
) -> list[str]:
    """pg_amcheck of one database with all that can be had; parent checks want a promoted server.

    Args:
        relations: schema and name of those to look at, tables with their indexes; none: all.
    """
    argv = [
        scratch.tools.path("pg_amcheck"),
        f"--host={scratch.socket}",
        "--port=5432",
        f"--username={scratch.superuser}",
        f"--jobs={jobs}",
        "--heapallindexed",
    ]
    if scratch.tools.major >= 17:
        argv.append("--checkunique")
    if parent:
        argv += ["--parent-check", "--rootdescend"]
    for schema, name in relations:
        argv += ["--relation", f"{quote(schema)}.{quote(name)}"]
    # A name may look like a connection string, and --database takes patterns, which the server cannot compare with names in other bytes.
    return [*argv, "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"]


def check_amcheck(
    scratch: Scratch,
    database: str,
    *,
    jobs: int,
    timeout: float,
    parent: bool = False,
    relations: Iterable[tuple[str, str]] = (),
    again: str | None = None,
) -> Check:
    """Every heap and btree of the database is consistent, each row in each index.

    A database without the amcheck extension is UNKNOWN: pg_amcheck would skip it and end with 0. For parent checks it is added.

    Args:
        again: the command that verifies once more on a promoted scratch.
    """
    argv = amcheck_argv(scratch, database, jobs=jobs, parent=parent, relations=relations)
    shown = " ".join(Path(word).name if word.startswith("/") else word for word in argv)
    common: dict[str, Any] = {
        "id": f"{'amcheck-parent' if parent else 'amcheck'}@{database}",
        "title": "Heaps and btree indexes are consistent" + (", parents and descents too" if parent else ""),
        "expected": "no corruption",
        "object": database,
        "source": texts.visible_line(shown),
    }
    try:
        if parent:  # only a scratch that is thrown away is asked for these
            amfindings.add_extension(scratch, database)
        with scratch.connect(database) as connection:
            installed = rows(connection, load_sql("integrity/read_amcheck").text)
    except (SqlError, PlatformError) as problem:
        words = causes.words_of(problem)
        return Check(
            **common,
            status=Status.FAIL if causes.is_damage(words) else Status.UNKNOWN,
            observed=NOT_CHECKED,
            severity=Severity.CRITICAL,
            reason=f"pg_amcheck cannot look at database {database}: {words}",
            next=causes.next_step(words),
        )
    if not installed:
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=NOT_INSTALLED,
            reason=f"The extension amcheck is not in database {database}, so pg_amcheck cannot look at it, and a copy that is paused at its point "
            "cannot be given it; a promoted one can.",
            next=again or f"CREATE EXTENSION amcheck in database {database} of production: later points have it.",
        )
    if installed and installed[0]["shadows"]:
        shadow = installed[0]["shadows"][0]
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed="not called",
            reason=f"Database {database} has a function {shadow} beside the extension amcheck's of that name: pg_amcheck would call it, with a "
            "superuser's rights, and believe what it returns.",
            next=f"Look at who made {shadow} in production, and drop it, or move it out of the extension's schema.",
        )
    session = {
        **PINNED,
        **GUARDED,
        **scratch.session,
        "statement_timeout": "0",
        "lock_timeout": f"{_LOCK_SECONDS}s",
        "default_transaction_read_only": "on",
        "client_encoding": "SQL_ASCII",  # names go to the server and come back as they are stored
    }
    client, user = scratch.as_client(argv)
    result = commands.run(
        client,
        timeout=timeout,
        user=user,
        check=False,
        env={
            "PGOPTIONS": session_options(session),
            "PGAPPNAME": scratch.run_id[:63],
        },
    )
    if result.code == 0:
        return Check(
            **common,
            status=Status.PASS,
            observed="none",
            seconds=result.seconds,
        )
    if result.code != _AMCHECK_CORRUPT:
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed="not finished",
            reason=f"pg_amcheck ended with code {result.code}: {result.said}",
            next=causes.next_step(result.said),
            seconds=result.seconds,
        )
    damage, found = amfindings.tell_apart(scratch, database, installed[0]["schema"], amfindings.parse(result.stdout))
    findings = (*damage, *found)
    if found and not damage:
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=f"{len(found)} not checked",
            reason=f"{found[0].object}: {found[0].observed}",
            next=found[0].next,
            seconds=result.seconds,
            findings=findings[:_MOST_FINDINGS],
        )
    return Check(
        **common,
        status=Status.FAIL,
        observed=many(len(damage), "corruption") + (f", {len(found)} not checked" if found else ""),
        severity=Severity.CRITICAL,
        reason=f"Corruption in {findings[0].object}: {findings[0].message}"
        if findings
        else f"pg_amcheck: {result.said}",
        next="Look whether production has it too (pg_amcheck there); if so, this backup is too late, find an older one.",
        seconds=result.seconds,
        findings=findings[:_MOST_FINDINGS],
    )


def may_pass_promoted(check: Check) -> bool:
    """True when it was not made for want of what a promoted scratch has: the extension amcheck, the end of a transaction that held a lock."""
    return check.observed == NOT_INSTALLED or causes.cause_of(check.reason) is Cause.HELD


def relations_not_seen(check: Check) -> frozenset[str] | None:
    """The relations (schema and name) that a check could not look at; None: more than it names, or none by name."""
    names = frozenset(finding.object.removeprefix(f"{check.object}.") for finding in check.findings)
    return names if 0 < len(check.findings) < _MOST_FINDINGS else None


def _next(words: str) -> str:
    if words.startswith(NO_WAY):
        return "Give the copy its reader (runbook doctor prints how): it queries such a view there."
    return causes.next_step(words)


def _read_fields(database: str, seconds: float) -> dict[str, Any]:
    return {
        "id": f"read@{database}",
        "title": "Every relation and sequence can be read from end to end",
        "expected": "no error",
        "object": database,
        "source": "sequential scans",
        "seconds": seconds,
    }


def check_not_entered(database: str, problem: RunbookError, seconds: float) -> Check:
    """Nothing of a database could be read: damage is a FAIL, anything else UNKNOWN."""
    return Check(
        **_read_fields(database, seconds),
        status=Status.FAIL if isinstance(problem, TargetError) else Status.UNKNOWN,
        observed="not read",
        severity=Severity.CRITICAL,
        reason=problem.message,
        next=problem.next,
    )


def check_read(database: str, failures: list[tuple[str, str]], seconds: float, count: int, total_rows: int) -> Check:
    """Every relation and sequence was read from end to end.

    Args:
        failures: name and the server's words.
    """
    common = _read_fields(database, seconds)

    def findings_of(some: list[tuple[str, str]]) -> tuple[Finding, ...]:
        return tuple(
            Finding(
                id="read", object=name, severity=Severity.CRITICAL, observed=words, expected="readable", message=words
            )
            for name, words in some[:_MOST_FINDINGS]
        )

    lacking = [(name, words) for name, words in failures if is_no_evidence(words)]
    if failures and len(lacking) == len(failures):
        return Check(
            **common,
            status=Status.UNKNOWN,
            observed=f"{len(lacking)} of {count} not read",
            reason=f"{lacking[0][0]}: {lacking[0][1]}",
            next=_next(lacking[0][1]),
            findings=findings_of(lacking),
        )
    failures = [item for item in failures if item not in lacking] + lacking
    if not failures:
        return Check(
            **common,
            status=Status.PASS,
            observed=f"{count} read, {many(total_rows, 'row')}",
        )
    return Check(
        **common,
        status=Status.FAIL,
        observed=f"{len(failures) - len(lacking)} of {count} failed"
        + (f", {len(lacking)} not read" if lacking else ""),
        severity=Severity.CRITICAL,
        reason=f"{failures[0][0]} cannot be read: {failures[0][1]}",
        next="Treat the backup as damaged; look whether production can read the same relation.",
        findings=findings_of(failures),
    )
