"""The fence: exact figures of every table, taken while the database lived, with the WAL position that makes them exact.

How: under one REPEATABLE READ snapshot all tables are counted and hashed; nothing but schema changes is blocked. Once the
WAL behind it is archived, the position is that of the first commit which the snapshot does not see. A recovery
that stops just before it must show the same figures. If a commit that the snapshot does see stands behind
that position (commits leave WAL and the process array in another order at times), the fence is void.
Source: PostgreSQL 17; measured exact under 3,300 transactions a second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import NotMeasured, OperatorError, PlatformError, StillArriving, WalDamaged
from runbook.params.loading import resolve_secret
from runbook.params.schema import Cluster, Params
from runbook.platforms.cluster.arrival import Archiver
from runbook.platforms.cluster.timelines import read_histories
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walscan import lay_aliases
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres import causes, closure
from runbook.postgres.connect import Connection, SqlError, connect, one, quote, rows
from runbook.postgres.guard import TABLES_ONLY
from runbook.postgres.osuser import service_user
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, find_tools
from runbook.postgres.wal import (
    Timeline,
    WalRecord,
    end_of_record,
    parse_commit,
    parse_lsn,
    same_position,
    segment_name,
    segment_start,
)
from runbook.postgres.waldump import read_records
from runbook.verification import catalogs, content
from runbook.verification.content import Relation
from runbook.verification.fencefile import DatabaseFence, Fence, folder_of, owned_folder, write_fence
from runbook.verification.snapshots import Snapshot, find_first_unseen

_TRIES = 3
_MAY_NOT = "42501"


def take_fence(
    params: Params,
    *,
    application: str = "runbook-fence",
    jobs: int = 1,
    archive_timeout: float = 180,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Fence:
    """A fence of every database lies beside the backups; it needs SELECT on all tables.

    Production is read only; `pg_switch_wal()` is asked for, when allowed, so that the WAL behind it is archived soon.

    Args:
        jobs: connections that read at once.
        archive_timeout: seconds to wait for the WAL behind the snapshot to be archived.

    Raises:
        OperatorError: no connection is named in params.
        PlatformError: the server refused a statement, the WAL was not archived in time, or three fences in a row
            were void.
    """
    cluster = params.cluster
    if cluster is None or cluster.connection is None:
        raise OperatorError(
            f"A fence reads the living database, and params of '{params.target}' name no cluster.connection.",
            next="Name the secret that holds its connection string.",
        )
    reader = cluster.reader or cluster.connection
    conninfo = resolve_secret(reader, "cluster.reader" if cluster.reader else "cluster.connection")

    session = dict(TABLES_ONLY)

    def open_(database: str | None) -> Connection:
        return connect(
            conninfo=conninfo,
            database=database,
            application=application,
            statement_timeout=0,
            settings=session,
        )

    folder = folder_of(cluster)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as cause:
        raise OperatorError(f"The fence folder {folder} cannot be made: {cause.strerror}.", next="Open it.") from cause
    with open_(None) as first:
        version = first.info.server_version
        segment_size = int(one(first, "SELECT setting::int AS n FROM pg_settings WHERE name = 'wal_segment_size'")["n"])
        databases = content.list_databases(first, cluster.databases)
    user = service_user(cluster.os_user, owned_folder(layout.resolve(cluster.backup_folder)))
    tools = find_tools(version // 10000, cluster.bin_directory, user)
    for _ in range(_TRIES):
        taken_at = clock.now()
        try:
            # One snapshot cannot span databases: what the whole server has in common belongs to the first one's.
            pictures = [_picture(open_, name, jobs, progress, with_shared=name == databases[0]) for name in databases]
            fences = _place(pictures, open_, cluster, tools, segment_size, archive_timeout)
        except SqlError as cause:
            raise PlatformError(
                f"The fence of {params.target} was not taken: {causes.words_of(cause)}",
                next="It needs SELECT on every table: GRANT pg_read_all_data, pg_monitor to its role."
                if cause.sqlstate == _MAY_NOT
                else f"Look at what the server says; then: runbook fence take --target {params.target}",
            ) from cause
        if fences is not None:
            return write_fence(folder, taken_at, params.target, pictures[0]["system_identifier"], fences)
    raise PlatformError(
        f"{_TRIES} fences in a row were void: commits left WAL and the process array in different orders each time.",
        next="Take it at a quieter time.",
    )


@contextmanager
def _locked_snapshot(
    open_: Callable[[str | None], Connection], database: str
) -> Iterator[tuple[Connection, dict[str, Any]]]:
    """A snapshot with every table locked against schema changes (ACCESS SHARE) before it was taken.

    A TRUNCATE between snapshot and reading would show an empty table: its files are not kept for older snapshots.
    """
    with open_(database) as connection:
        for _ in range(_TRIES):
            wanted = [item for item in content.list_relations(connection) if item.kind == "r" and not item.is_catalog]
            # From before the snapshot, and as far back as the last checkpoint: a commit may stand in WAL for a while
            # (waiting for a synchronous standby) and still be in progress for the snapshot.
            start = one(connection, "SELECT redo_lsn::text AS lsn FROM pg_control_checkpoint()")["lsn"]
            # Sequences are not transactional: read now, they can only be ahead at the fence's position.
            sequences = content.read_sequences(connection, in_recovery=True)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            allowed = [item for item in wanted if (item.schema, item.name) != ("pg_catalog", "pg_largeobject")]
            if allowed:
                names = ", ".join(f"ONLY {quote(item.schema)}.{quote(item.name)}" for item in allowed)
                connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
            facts = {**one(connection, load_sql("fence/read_snapshot").text), "start": start, "sequences": sequences}
            facts["database"] = database  # as the other databases read its name
            now = {item.oid for item in content.list_relations(connection) if item.kind == "r" and not item.is_catalog}
            if now == {item.oid for item in wanted}:
                try:
                    yield connection, facts
                finally:
                    connection.execute("ROLLBACK")
                return
            connection.execute("ROLLBACK")
    raise PlatformError(
        f"The tables of {database} change faster than they can be locked.", next="Take the fence later."
    )


def _picture(
    open_: Callable[[str | None], Connection],
    database: str,
    jobs: int,
    progress: Callable[[str, int, int], None],
    *,
    with_shared: bool,
) -> dict[str, Any]:
    """The figures of one database under one snapshot; `with_shared`: with the catalogs of the whole server."""
    with _locked_snapshot(open_, database) as (connection, facts), ExitStack() as stack:
        relations = [item for item in content.list_relations(connection) if not item.is_catalog]
        can, _ = content.readable(relations, in_recovery=True)
        exported = one(connection, "SELECT pg_export_snapshot() AS id")["id"]
        readers = []
        for _ in range(max(1, jobs)):
            reader = stack.enter_context(open_(database))
            content.prepare(reader)
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            reader.execute(f"SET TRANSACTION SNAPSHOT '{exported}'")
            readers.append(reader)
        views = {item.title: _filenode(readers[0], item.oid) for item in can if item.kind == "m"}
        contents = content.read_contents(readers, can, lambda done, total: progress(database, done, total))
        defined = catalogs.read_catalogs(readers[0], with_shared=with_shared)
        _require_unchanged(open_, database, can)
        with open_(database) as fresh:
            changed = {
                item.title for item in can if item.kind == "m" and _filenode(fresh, item.oid) != views[item.title]
            }
        contents = [
            replace(item, rows=None, hash=None, problem="refreshed while the fence was taken")
            if item.title in changed
            else item
            for item in contents
        ]
        return {**facts, "relations": contents, "catalogs": defined}


def _require_unchanged(open_: Callable[[str | None], Connection], database: str, relations: list[Relation]) -> None:
    """None of the relations that were planned on came to reach a function of its owner's meanwhile: an index can be made beside a reader.

    Raises:
        PlatformError: one did; the function may have run with the reader's rights.
    """
    with open_(database) as fresh:
        now = closure.untrusted(fresh)
    changed = [item.title for item in relations if item.untrusted is None and item.oid in now and not item.is_catalog]
    if changed:
        raise PlatformError(
            f"While the fence was taken, {changed[0]} of database {database} came to call {now[next(item.oid for item in relations if item.title == changed[0])]} "
            "when it is planned on: that function may have run with the rights of the role that takes the fence.",
            next="Look at who made the index, statistics or constraint; then take the fence again.",
        )


def _filenode(connection: Connection, oid: int) -> int | None:
    found = rows(connection, "SELECT pg_relation_filenode($1::oid::regclass)::bigint AS n", [oid])
    return found[0]["n"] if found else None


def _place(
    pictures: list[dict[str, Any]],
    open_: Callable[[str | None], Connection],
    cluster: Cluster,
    tools: Tools,
    segment_size: int,
    archive_timeout: float,
) -> list[DatabaseFence] | None:
    """Each picture with its position; None when one of them is void."""
    with open_(None) as connection:
        after = parse_lsn(one(connection, "SELECT pg_current_wal_insert_lsn()::text AS lsn")["lsn"])
        _switch(connection)
    begin = after // segment_size * segment_size
    if same_position(begin, after):
        after = begin  # nothing stands in the new segment yet, so it will not be archived soon
    timeline = int(pictures[0]["timeline"])
    with tempfile.TemporaryDirectory(prefix="rb-fence-") as folder:
        start = min(parse_lsn(picture["start"]) for picture in pictures)
        stage = _staged(cluster, Path(folder), timeline, start, after, segment_size, archive_timeout)
        found, committed = _find_positions(pictures, stage, tools)
        if found is None or _committed_earlier(pictures, committed, open_):
            return None
        return found


def _switch(connection: Connection) -> None:
    """Ask for a new segment, so that the current one is archived; without the right to, archive_timeout must do it."""
    allowed = one(connection, "SELECT has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE') AS may")["may"]
    if allowed:
        connection.execute("SELECT pg_switch_wal()")


def _staged(
    cluster: Cluster, folder: Path, timeline: int, start: int, after: int, segment_size: int, archive_timeout: float
) -> Stage:
    """A stage that holds the WAL from `start` to `after`, once all of it is archived and whole.

    Raises:
        PlatformError: it was not archived in time.
        WalDamaged: a segment is damaged, though production's archiver has finished it.
    """
    deadline = time.monotonic() + archive_timeout
    last = segment_name(timeline, after - 1, segment_size)
    wanted = (after - 1) // segment_size - start // segment_size + 1
    while True:
        archive = WalArchive(cluster.wal_archive, None)
        said = "was not archived"
        try:
            if archive.has(last, folder):
                break
        except StillArriving as cause:
            said = f"could not be fetched whole ({cause.message})"
        if time.monotonic() > deadline:
            raise PlatformError(
                f"WAL segment {last}, which holds the position of this fence, {said} within {archive_timeout:.0f} s.",
                next="Look at pg_stat_archiver and archive_timeout; then take the fence again.",
            )
        time.sleep(0.1 if archive.directory is not None else 1.0)
    stage = Stage(
        archive,
        folder,
        _lineage(archive, folder, timeline),
        start,
        segment_size,
        archiver=Archiver(cluster, "runbook-fence"),
    )
    stage.needed_by = "the fence"
    while len(stage.laid) < wanted:
        if not stage.extend(wanted - len(stage.laid)) and stage.problem is None:
            raise PlatformError(
                f"WAL segment {stage.next_name()} is not in {archive.where()}, though a later one was seen there.",
                next="Look at what removed it; then take the fence again.",
            )
        if stage.problem is not None:
            stage.patience = max(0.0, deadline - time.monotonic())
            stage.settle()
    return stage


def _lineage(archive: WalArchive, folder: Path, timeline: int) -> tuple[Timeline, ...]:
    """The lineage of the timeline that is written: soon after a promotion the last checkpoint lies on the one before.

    Raises:
        WalDamaged: its history is damaged.
    """
    histories = read_histories(archive, folder, {timeline})
    if timeline not in histories.lineages:
        raise WalDamaged(histories.problems[timeline], next="Restore it from pg_wal of the server.")
    return histories.lineages[timeline]


def _committed_earlier(
    pictures: list[dict[str, Any]], committed: set[int], open_: Callable[[str | None], Connection]
) -> bool:
    """True when a transaction that a snapshot does not see has committed, and its record lies before the WAL read."""
    pending = {xid for picture in pictures for xid in Snapshot.parse(picture["snapshot"]).in_progress}
    with open_(None) as connection:
        return any(
            one(connection, "SELECT pg_xact_status($1::text::xid8) AS status", [str(xid)])["status"] == "committed"
            for xid in pending
            if xid & 0xFFFFFFFF not in committed
        )


def _find_positions(
    pictures: list[dict[str, Any]], stage: Stage, tools: Tools
) -> tuple[list[DatabaseFence] | None, set[int]]:
    """Each picture with its position (None when one is void), and the transactions whose commits were read."""
    # Without an end, pg_waldump waits 5 s for a segment behind the last one (10 tries of 0.5 s, PostgreSQL 17).
    stop = segment_start(stage.laid[-1], stage.segment_size)[1] + stage.segment_size
    records = _read(stage, tools, stage.start, stop, ("Transaction",))
    commits = (commit for record in records if (commit := parse_commit(record)) is not None)
    first, committed, is_void = find_first_unseen(
        commits, [Snapshot.parse(picture["snapshot"]) for picture in pictures]
    )
    if is_void:
        return None, committed
    end = _end_of_wal(stage, tools, stop) if None in first else stop
    return [
        DatabaseFence(
            database=picture["database"],
            snapshot=picture["snapshot"],
            timeline=stage.lineage[-1].number,
            lsn=end if commit is None else commit.lsn,
            why="no commit behind the snapshot: the end of the archived WAL"
            if commit is None
            else f"first commit not seen: transaction {commit.xid} at {clock.stamp(commit.at)}",
            relations=tuple(picture["relations"]),
            sequences=tuple(picture["sequences"]),
            catalogs=picture["catalogs"],
        )
        for picture, commit in zip(pictures, first, strict=True)
    ], committed


def _read(stage: Stage, tools: Tools, start: int, stop: int, rmgrs: tuple[str, ...]) -> Iterator[WalRecord]:
    """The records of a stage.

    Raises:
        WalDamaged: they cannot be read to the end; a position behind the damage would prove nothing.
    """
    lay_aliases(stage)
    for timeline in stage.lineage:
        begin, end = max(start, timeline.begin), stop if timeline.end is None else min(stop, timeline.end)
        if begin >= end:
            continue
        for item in read_records(tools, stage.folder, timeline.number, begin, end, rmgrs=rmgrs, timeout=3600):
            if isinstance(item, WalRecord):
                yield item
            elif item:
                raise WalDamaged(
                    f"WAL in {stage.archive.where()} is damaged: {item.removeprefix('pg_waldump: error: ')}.",
                    next="Look for a copy of the segment; take a new base backup now.",
                )


def _end_of_wal(stage: Stage, tools: Tools, stop: int) -> int:
    """The end of the last record before `stop`, which is a segment's end; a segment switch fills its segment.

    Raises:
        NotMeasured: there is no record.
    """
    size = stage.segment_size
    begin = max(stage.start, stop - size)
    last: WalRecord | None = None
    while last is None:  # a long record may fill a segment to its end
        for record in _read(stage, tools, begin, stop, ()):
            last = record
        if last is None and begin == stage.start:
            raise NotMeasured("No WAL record was found behind the fence's snapshot.", next="Take the fence again.")
        begin = max(stage.start, begin - size)
    switched = last.rmgr == "XLOG" and last.desc.startswith("SWITCH")
    return stop if switched else end_of_record(last.lsn, last.length, size)
