"""Integrity of files, pages and indexes: pg_verifybackup before the start, pg_amcheck once readable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from runbook.model import Check, Finding, Severity, Status
from runbook.outside import commands
from runbook.outside.commands import OsUser
from runbook.platforms.cluster.backups import Backup
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres.connect import is_lock_timeout, quote, rows
from runbook.postgres.guard import GUARDED, PINNED, session_options
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools
from runbook.postgres.wal import HOST_AT_FAULT
from runbook.verification.content import NO_WAY, says_nothing
from runbook.verification.indexfunctions import check_without_rows, is_not_rebuilt
from runbook.verification.manifestfile import files_without_checksum

_MOST_FINDINGS = 50
_AMCHECK_CORRUPT = 2
_INSTALL = "Install production's extensions here, or name the bin_directory of an installation that has them in params."
_HELD = (
    "A transaction that was under way at this point holds it, and a server in recovery keeps its lock: choose another point, or "
    "look again once it is promoted."
)
#: Longest wait for a relation's lock, seconds: a transaction that was under way at the point holds it as long as recovery stands there.
_LOCK_SECONDS = 5
#: What was observed where pg_amcheck could not look.
NOT_CHECKED = "not checked"


def verifybackup_argv(tools: Tools, folder: Path) -> list[str]:
    """pg_verifybackup on restored files; their WAL is read separately, from the archive."""
    return [tools.path("pg_verifybackup"), "--no-parse-wal", str(folder)]


def check_manifest(tools: Tools, backup: Backup, restored: Path, user: OsUser | None, timeout: float) -> Check:
    """Every restored file is there, has its size and its checksum, and none is extra: the copy and the backup are proven.

    A backup without a manifest is UNKNOWN: nothing proves it.
    """
    title = "Every file of the backup is as its manifest says"
    expected = "no file missing, altered or extra"
    if not (restored / "backup_manifest").exists():
        return Check(
            id="manifest",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed="no backup_manifest",
            object=backup.label,
            severity=Severity.CRITICAL,
            reason=f"Backup {backup.label} has no backup_manifest: files that are missing or zeroed could not be told from good ones.",
            next="Take backups with a manifest (pg_basebackup writes one by default).",
            source="pg_verifybackup",
        )
    result = commands.run(verifybackup_argv(tools, restored), timeout=timeout, user=user, check=False)
    if result.code == 0:
        bare, count = files_without_checksum(restored / "backup_manifest")
        if bare:
            return Check(
                id="manifest",
                title=title,
                status=Status.UNKNOWN,
                expected=expected,
                observed=f"{len(bare)} of {count} files by their sizes alone",
                object=backup.label,
                severity=Severity.CRITICAL,
                reason=f"The manifest of backup {backup.label} holds no checksum for {len(bare)} of {count} files, such as {bare[0]}: that they "
                "have their sizes proves nothing about their contents. A fence and page checksums prove tables, catalogs and their pages; "
                "nothing proves transaction status (pg_xact, pg_multixact), relation maps, configuration, and databases without a fence.",
                next="Take backups with pg_basebackup --manifest-checksums=CRC32C (the default) or SHA256.",
                source="pg_verifybackup, backup_manifest",
                seconds=result.seconds,
            )
        return Check(
            id="manifest",
            title=title,
            status=Status.PASS,
            expected=expected,
            observed="none",
            object=backup.label,
            source="pg_verifybackup",
            seconds=result.seconds,
        )
    problems = [
        line.removeprefix("pg_verifybackup: error: ").strip()
        for line in (result.stderr + result.stdout).splitlines()
        if "error:" in line
    ]
    if result.code != 1 or not problems or all(HOST_AT_FAULT.search(problem) for problem in problems):
        return Check(
            id="manifest",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed="not finished",
            object=backup.label,
            severity=Severity.CRITICAL,
            reason=f"pg_verifybackup ended with code {result.code}, which says nothing about backup {backup.label}: "
            f"{problems[0] if problems else result.said or 'it said nothing'}",
            next="Repair what the message names on this machine (memory, rights, disk), then run again.",
            source="pg_verifybackup",
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
        id="manifest",
        title=title,
        status=Status.FAIL,
        expected=expected,
        observed=f"{len(problems)} problem{'s' if len(problems) > 1 else ''}",
        object=backup.label,
        severity=Severity.CRITICAL,
        reason=f"Backup {backup.label} is damaged: {problems[0]}{more}.",
        next="Do not rely on this backup: take a new base backup now, and find out what altered this one.",
        source="pg_verifybackup",
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
        argv += ["--parent-check", "--rootdescend", "--install-missing"]
    for schema, name in relations:
        argv += ["--relation", f"{quote(schema)}.{quote(name)}"]
    # A database name may look like a conninfo string; --database takes patterns, so the name is given quoted.
    return [*argv, "--database", quote(database)]


def check_amcheck(
    scratch: Scratch,
    database: str,
    *,
    jobs: int,
    timeout: float,
    parent: bool = False,
    relations: Iterable[tuple[str, str]] = (),
) -> Check:
    """Every heap and btree of the database is consistent, each row in each index.

    A database without the amcheck extension is UNKNOWN: pg_amcheck would skip it and end with 0.
    """
    name = "amcheck-parent" if parent else "amcheck"
    title = "Heaps and btree indexes are consistent" + (", parents and descents too" if parent else "")
    expected = "no corruption"
    argv = amcheck_argv(scratch, database, jobs=jobs, parent=parent, relations=relations)
    source = " ".join(Path(word).name if word.startswith("/") else word for word in argv)
    with scratch.connect(database) as connection:
        installed = rows(connection, load_sql("integrity/read_amcheck").text)
    if not installed and not parent:
        return Check(
            id=f"{name}@{database}",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed=NOT_CHECKED,
            object=database,
            reason=f"The extension amcheck is not in database {database}, so pg_amcheck cannot look at it.",
            next=f'CREATE EXTENSION amcheck in "{database}" of production, or run again with -p promote true: '
            "the promoted scratch gets it.",
            source=source,
        )
    if installed and installed[0]["shadows"]:
        shadow = installed[0]["shadows"][0]
        return Check(
            id=f"{name}@{database}",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed="not called",
            object=database,
            reason=f"Database {database} has a function {shadow} beside the extension amcheck's of that name: pg_amcheck would call it, with a "
            "superuser's rights, and believe what it returns.",
            next=f"Look at who made {shadow} in production, and drop it, or move it out of the extension's schema.",
            source=source,
        )
    session = {
        **PINNED,
        **GUARDED,
        **scratch.session,
        "statement_timeout": "0",
        "lock_timeout": f"{_LOCK_SECONDS}s",
        "default_transaction_read_only": "off" if parent else "on",  # a missing extension is installed then
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
            id=f"{name}@{database}",
            title=title,
            status=Status.PASS,
            expected=expected,
            observed="none",
            object=database,
            source=source,
            seconds=result.seconds,
        )
    if result.code != _AMCHECK_CORRUPT:
        return Check(
            id=f"{name}@{database}",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed="not finished",
            object=database,
            reason=f"pg_amcheck ended with code {result.code}: {result.said}",
            next="Read the message; run again when its cause is gone.",
            source=source,
            seconds=result.seconds,
        )
    found = _parse_amcheck(result.stdout)
    if installed:
        found = check_without_rows(scratch, database, installed[0]["schema"], found)
    findings = tuple(item for item in found if not says_nothing(item.observed) and not is_not_rebuilt(item.observed))
    if found and not findings:
        return Check(
            id=f"{name}@{database}",
            title=title,
            status=Status.UNKNOWN,
            expected=expected,
            observed=f"{len(found)} not checked",
            object=database,
            reason=f"{found[0].object}: {found[0].observed}",
            next=_next(found[0].observed),
            source=source,
            seconds=result.seconds,
            findings=found[:_MOST_FINDINGS],
        )
    return Check(
        id=f"{name}@{database}",
        title=title,
        status=Status.FAIL,
        expected=expected,
        observed=f"{len(findings)} corruption{'s' if len(findings) != 1 else ''}",
        object=database,
        severity=Severity.CRITICAL,
        reason=f"Corruption in {findings[0].object}: {findings[0].message}"
        if findings
        else f"pg_amcheck: {result.said}",
        next="Look whether production has it too (pg_amcheck there); if so, this backup is too late, find an older one.",
        source=source,
        seconds=result.seconds,
        findings=findings[:_MOST_FINDINGS],
    )


def relations_not_seen(check: Check) -> frozenset[str] | None:
    """The relations (schema and name) that a check could not look at; None: more than it names, or none by name."""
    names = frozenset(finding.object.removeprefix(f"{check.object}.") for finding in check.findings)
    return names if 0 < len(check.findings) < _MOST_FINDINGS else None


def _next(words: str) -> str:
    if words.startswith(NO_WAY):
        return "Give the copy its reader (runbook doctor prints how): it queries such a view there."
    if is_not_rebuilt(words):
        return "In production, write the schema before each name in the index's function, or give the function a search_path (ALTER FUNCTION ... SET)."
    return _HELD if is_lock_timeout(words) else _INSTALL


def _parse_amcheck(text: str) -> tuple[Finding, ...]:
    """pg_amcheck's report: an unindented line names the object, indented ones say what is wrong.

    >>> _parse_amcheck('btree index "d.public.i":\\n    ERROR:  high key invariant violated\\n')[0].object
    'd.public.i'
    """
    findings: list[Finding] = []
    where, place = "", ""
    said: list[str] = []

    def flush() -> None:
        if where and said:
            findings.append(
                Finding(
                    id="amcheck",
                    object=where,
                    severity=Severity.CRITICAL,
                    observed=" ".join(said),
                    expected="consistent",
                    message=(place + ": " if place else "") + " ".join(said),
                )
            )

    for line in text.splitlines():
        if line and not line[0].isspace() and line.rstrip().endswith(":"):
            flush()
            said = []
            where = _quoted(line) or line.rstrip(":")
            place = line.rstrip(":").rpartition('", ')[2] if '", ' in line else ""
        elif line.strip() and not line.startswith(("pg_amcheck:", "query was")):
            said.append(line.strip())
    flush()
    return tuple(findings)


def check_read(database: str, failures: list[tuple[str, str]], seconds: float, count: int, total_rows: int) -> Check:
    """Every relation and sequence was read from end to end.

    Args:
        failures: name and the server's words.
    """
    title = "Every relation and sequence can be read from end to end"

    def findings_of(some: list[tuple[str, str]]) -> tuple[Finding, ...]:
        return tuple(
            Finding(
                id="read", object=name, severity=Severity.CRITICAL, observed=words, expected="readable", message=words
            )
            for name, words in some[:_MOST_FINDINGS]
        )

    lacking = [(name, words) for name, words in failures if says_nothing(words)]
    if failures and len(lacking) == len(failures):
        return Check(
            id=f"read@{database}",
            title=title,
            status=Status.UNKNOWN,
            expected="no error",
            observed=f"{len(lacking)} of {count} not read",
            object=database,
            reason=f"{lacking[0][0]}: {lacking[0][1]}",
            next=_next(lacking[0][1]),
            source="sequential scans",
            seconds=seconds,
            findings=findings_of(lacking),
        )
    failures = [item for item in failures if item not in lacking]
    if not failures:
        return Check(
            id=f"read@{database}",
            title=title,
            status=Status.PASS,
            expected="no error",
            observed=f"{count} read, {total_rows} rows",
            object=database,
            source="sequential scans",
            seconds=seconds,
        )
    return Check(
        id=f"read@{database}",
        title=title,
        status=Status.FAIL,
        expected="no error",
        observed=f"{len(failures)} of {count} failed",
        object=database,
        severity=Severity.CRITICAL,
        reason=f"{failures[0][0]} cannot be read: {failures[0][1]}",
        next="Treat the backup as damaged; look whether production can read the same relation.",
        source="sequential scans",
        seconds=seconds,
        findings=findings_of(failures),
    )
