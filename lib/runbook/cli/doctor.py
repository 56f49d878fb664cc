"""`runbook doctor`: is everything here that a run needs, and is anything left that should not be."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from runbook import clock, layout
from runbook.cli.output import say
from runbook.errors import RunbookError
from runbook.gates import signing
from runbook.gates.operators import user_name
from runbook.params.schema import Cluster


@dataclass(frozen=True)
class Finding:
    """One line: fine, or what to do; or not known, where nothing here could be asked."""

    fine: bool
    what: str
    next: str = ""
    known: bool = True


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor() -> int:
    """Look for what is missing, dead or left over; each line says what to do."""
    findings = [
        finding
        for look in (
            _python,
            _openssh,
            _folders,
            _targets,
            _readers,
            _scratch_users,
            _timelines,
            _contacts,
            _runs,
            _scratch,
            _archive,
        )
        for finding in look()
    ]
    for finding in findings:
        line = " ".join(finding.what.split())
        mark = "ok  " if finding.fine else "FIX "
        say(f"{mark if finding.known else '?   '} {line}" + (f" Next: {finding.next}" if finding.next else ""))
    ill = [finding for finding in findings if not finding.fine]
    say(f"Next: {ill[0].next}" if ill else "Next: runbook list")
    return 4 if ill else 0


def _python() -> Iterator[Finding]:
    fine = sys.version_info >= (3, 11)
    yield Finding(
        fine, f"Python {platform.python_version()} as user {user_name(os.geteuid())}", "" if fine else "use 3.11"
    )


def _openssh() -> Iterator[Finding]:
    try:
        yield Finding(True, f"ssh-keygen, for approvals and evidence: {signing.program()}")
    except RunbookError as cause:
        yield Finding(False, cause.message, cause.next or "install OpenSSH's client")


def _folders() -> Iterator[Finding]:
    for folder, what in ((layout.notebooks(), "notebooks"), (layout.params(), "params"), (layout.sql(), "SQL files")):
        fine = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
        yield Finding(fine, f"{what}: {layout.short(folder)}", "" if fine else f"make {folder} and let it be read")
    for folder in (layout.reports(), layout.var()):
        place: Path = folder
        while not place.exists():
            place = place.parent
        fine = os.access(place, os.W_OK | os.X_OK)
        yield Finding(fine, f"writable: {folder}", "" if fine else f"chown {user_name(os.geteuid())} {place}")


def _targets() -> Iterator[Finding]:
    from runbook.params import load_params
    from runbook.postgres.osuser import service_user
    from runbook.postgres.tools import find_tools

    names = [path.stem for path in _target_files()]
    directories: dict[tuple[str | None, str | None], str] = {}
    for name in names:
        try:
            params = load_params(name)
        except RunbookError as cause:
            yield Finding(False, cause.message, cause.next or f"correct params/{name}.yaml")
            continue
        yield Finding(True, f"target {name}: {params.environment}, {params.platform}")
        if params.cluster is not None:
            directories.setdefault((params.cluster.bin_directory, params.cluster.os_user), name)
    for (bin_directory, os_user), name in directories.items():
        try:
            user = service_user(os_user)
            tools = find_tools(17, bin_directory, user)
            who = user.name if user else user_name(os.geteuid())
            yield Finding(True, f"PostgreSQL {tools.version} for target {name}: {tools.bin}, run by user {who}")
        except RunbookError as cause:
            yield Finding(False, cause.message, cause.next or "install PostgreSQL")


def _readers() -> Iterator[Finding]:
    """The role that reads tables, on each server that can be asked from here."""
    from runbook.params import load_params
    from runbook.platforms.cluster.reader import inspect_reader

    for path in _target_files():
        try:
            params = load_params(path.stem)
        except RunbookError:
            continue  # _targets has reported it
        cluster = params.cluster
        if cluster is None or cluster.connection is None:
            continue
        what = f"reader of target {params.target}, {cluster.reader_role}"
        try:
            state = inspect_reader(cluster, "runbook-doctor")
        except RunbookError as cause:
            yield Finding(True, f"{what}: not checked: {cause.message}", known=False)
            continue
        for database, why in state.unseen.items():
            yield Finding(True, f"{what}: not checked in database {database}: {why}", known=False)
        for database, statements in state.missing.items():
            text = "; ".join(statements)
            yield Finding(
                False,
                f"{what}: database {database} lacks {len(statements)} of its grants",
                _psql(cluster, database, text),
            )
        if state.is_complete:
            since = (
                f"every base backup since {clock.stamp(state.since)} has it"
                if state.since
                else "base backups from before it was made lack it"
            )
            yield Finding(True, f"{what}: may read every database; {since}")
        if cluster.reader is None:
            yield Finding(
                False,
                f"{what}: params name no cluster.reader, so that {cluster.connection.env or cluster.connection.file} reads the tables of production",
                f"name the secret with the reader's connection as cluster.reader in params/{params.target}.yaml",
            )
        yield Finding(
            True,
            f"target {params.target}: only lock-down, hand-over and copy-back of a recovery use cluster.connection, which must be a superuser's",
        )


def _psql(cluster: Cluster, database: str, statements: str) -> str:
    """The command that gives a superuser's statements to a database."""
    assert cluster.connection is not None
    secret = cluster.connection
    where = f'"${secret.env}"' if secret.env is not None else f'"$(cat {secret.file})"'
    connect = "\\connect '{}'".format(database.replace("'", "''"))
    return f"psql -d {where} -c {shlex.quote(connect)} -c {shlex.quote(statements)}"


def _scratch_users() -> Iterator[Finding]:
    """Who would run the scratch server of each target: nobody who owns files of production."""
    from runbook.params import load_params
    from runbook.platforms.cluster.scratchplace import server_user
    from runbook.postgres.osuser import how_to_make, is_unassigned, service_user
    from runbook.verification.fencefile import owned_folder

    for name in [path.stem for path in _target_files()]:
        try:
            params = load_params(name)
        except RunbookError:
            continue  # _targets has reported it
        if params.cluster is None:
            continue
        cluster, verification = params.cluster, params.verification
        try:
            production = service_user(cluster.os_user, owned_folder(layout.resolve(cluster.backup_folder)))
            found = server_user(cluster, verification, production, "doctor", verification.scratch)
        except RunbookError as cause:
            yield Finding(False, f"target {name}: {cause.message}", cause.next or how_to_make())
            continue
        if found.user is None:
            yield Finding(
                True,
                f"scratch servers of {name} run as {user_name(os.getuid())}, as runs do: root could use another user",
            )
        elif not found.owns_nothing:
            wanted = f"{how_to_make()} (and name it as verification.scratch_user)"
            yield Finding(False, f"scratch servers of {name}: {found.limitation}", wanted)
        else:
            kind = ", a user id without an account" if is_unassigned(found.user.uid) else ""
            yield Finding(
                True, f"scratch servers of {name} run as user {found.user.name}{kind}, who owns nothing of production"
            )


def _timelines() -> Iterator[Finding]:
    """Timelines in each target's archive that its running server has not reached: PostgreSQL's default would follow them."""
    from runbook.params import load_params
    from runbook.platforms.cluster.archivedtimelines import find_later

    for path in _target_files():
        try:
            params = load_params(path.stem)
        except RunbookError:
            continue  # _targets has reported it
        if params.cluster is None or params.cluster.connection is None:
            continue
        what = f"timelines of target {params.target}"
        try:
            number, later = find_later(params.cluster, "runbook-doctor")
        except RunbookError as cause:
            yield Finding(True, f"{what}: not checked: {cause.message}", known=False)
            continue
        for other, files in later.items():
            yield Finding(
                False,
                f"{what}: the archive holds timeline {other} ({files[0]}, {len(files)} files), and the running server writes timeline {number}: "
                "PostgreSQL's default would follow it",
                "find out who archived it (a restored copy that was promoted with production's archive_command?), then move these files away",
            )
        if not later:
            yield Finding(True, f"{what}: the running server writes timeline {number}; the archive holds no later one")


def _contacts() -> Iterator[Finding]:
    """Of the environments that have a target: who would be called there."""
    from runbook.escalation.readiness import check_readiness
    from runbook.model import Status
    from runbook.params.contacts import FILE, load_contacts

    where = f"params/{FILE}"
    try:
        ready = check_readiness(load_contacts(), _environments(), clock.now())
    except RunbookError as cause:
        yield Finding(False, cause.message, cause.next or f"correct {where}")
        return
    for environments, checks in ready.items():
        ill = [check for check in checks if check.status is not Status.PASS]
        for check in ill:
            yield Finding(False, f"contacts of {environments}: {check.reason}", check.next or f"correct {where}")
        if not ill:
            yield Finding(True, f"contacts of {environments}: filled in, confirmed, on call now, with addresses")


def _environments() -> set[str]:
    from runbook.params import load_params

    found: set[str] = set()
    for path in _target_files():
        with contextlib.suppress(RunbookError):  # _targets has told of it
            found.add(load_params(path.stem).environment)
    return found


def _target_files() -> list[Path]:
    return sorted(path for path in layout.params().glob("*.yaml") if path.stem not in ("contacts", "controls"))


def _runs() -> Iterator[Finding]:
    from runbook.runner.dead import close_dead_runs, is_alive, open_runs
    from runbook.runner.unopened import clear_never_opened, never_opened
    from runbook.session.lock import UNREADABLE, read_holder, way_on

    for state in close_dead_runs():
        yield Finding(True, f"found dead and archived: {state.run}: {state.verdict}: {state.reason}")
    for folder in never_opened():
        try:
            outcome = clear_never_opened(folder)
            yield Finding(True, f"never opened, and cleared: {folder.name}: {outcome.reason}")
        except (RunbookError, OSError) as cause:
            yield Finding(False, f"never opened: {folder.name}: {cause}", f"runbook abort {folder.name}")
    for _, state in open_runs():
        if is_alive(state):
            yield Finding(True, f"at work: {state.run}")
        else:
            yield Finding(False, f"not archived: {state.run}", f"runbook close {state.run}")
    for path in sorted(layout.locks().glob("*.lock")) if layout.locks().is_dir() else ():
        holder = read_holder(path.stem)
        if holder is not None and holder["run"] == UNREADABLE:
            way = f"runbook runs; when none of them has left anything on {path.stem}: rm {layout.short(path)}"
            yield Finding(False, f"{path.stem} is locked: {holder['effects_what']}", way)
        elif holder is not None and holder.get("effects"):
            yield Finding(False, f"{path.stem} is locked by {holder['run']}: {holder['effects_what']}", way_on(holder))


def _scratch() -> Iterator[Finding]:
    from runbook.runner.processes import orphaned_scratch

    for folder, label in orphaned_scratch([layout.scratch(), layout.shared()]):
        yield Finding(False, f"scratch of {label.get('run')} is past its time: {folder}", f"rm -r {folder}")


def _archive() -> Iterator[Finding]:
    from runbook.runner.closing import archive_problems

    problems = archive_problems()
    for problem in problems:
        yield Finding(False, f"archive: {problem}", "compare with a copy of the archive; records are never changed")
    if not problems:
        yield Finding(True, f"archive: {layout.short(layout.records())}")
