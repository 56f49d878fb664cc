"""Replay, gate by gate: WAL is laid ready up to a position and ends there; the server waits, and is never told to stop.

The scratch runs as a standby without a recovery target. The segment that holds the wanted position is laid cut off at
it, zeros behind, so the server can neither pass the position nor promote; laying the whole segment lets it go on, without
a restart. See docs/decisions/0001-wal-gate.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from runbook.errors import CommandFailed, PlatformError, RecoveryFailed, ScratchFull
from runbook.outside import commands
from runbook.platforms.cluster.datafolder import link_in, opened, read_in, replacing
from runbook.platforms.cluster.scratch import Scratch
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres import causes, server
from runbook.postgres.causes import Cause
from runbook.postgres.connect import Connection, SqlError, one
from runbook.postgres.wal import (
    Timeline,
    format_lsn,
    history_problem,
    parse_history,
    parse_lsn,
    same_position,
    segment_start,
)

_POLL_SECONDS = 0.05


class SnapshotMissing(PlatformError):
    """The scratch stands at its gate and cannot be read there: too many subtransactions were open."""


@dataclass
class Replay:
    """A scratch on its way through the WAL of a stage."""

    scratch: Scratch
    stage: Stage
    stall_timeout: float
    progress: Callable[[int], None]
    _whole: set[str] = field(default_factory=set)
    _is_started: bool = False
    _log_before: int = 0

    def go_to(self, gate: int | None, expected: int) -> dict[str, Any]:
        """The scratch stands at the gate, in recovery and readable; what it says of itself.

        Args:
            gate: the first record that is not replayed; None: the end of what is laid in the stage.
            expected: the end of the last record that is.

        Raises:
            RecoveryFailed: it ends before, or goes elsewhere.
            PlatformError: it pauses or stands still.
            SnapshotMissing: it is there and cannot be read.
        """
        log = self.scratch.log
        self._log_before = log.stat().st_size if log.exists() else 0
        if not self._is_started:
            self._refuse_earlier(expected)
        self._open_gate(gate)
        if not self._is_started:
            self.scratch.start()
            self._is_started = True
        return self._wait_for(expected)

    def _refuse_earlier(self, expected: int) -> None:
        """The files have not been replayed past the point: a server would wait there for ever to become consistent."""
        lowest = parse_lsn(self.scratch.control().get("Minimum recovery ending location", "0/0"))
        if lowest > expected:
            raise RecoveryFailed(
                f"The copy was replayed to {format_lsn(lowest)} at least, past the point {format_lsn(expected)}.",
                next="An earlier point needs a new restore.",
            )

    def _open_gate(self, position: int | None) -> None:
        with opened(self.scratch.data, "pg_wal") as pg_wal:
            for name in self.stage.laid:
                _, begin = segment_start(name, self.stage.segment_size)
                if position is not None and begin >= position:
                    break
                if position is not None and position < begin + self.stage.segment_size:
                    self._lay_cut(self.stage.folder / name, pg_wal, position - begin)
                    break
                if name not in self._whole:
                    link_in(pg_wal, name, self.stage.folder / name)
                    self._whole.add(name)

    def _lay_cut(self, source: Path, pg_wal: int, keep: int) -> None:
        with source.open("rb") as reading, replacing(pg_wal, source.name, self.scratch.user) as writing:
            while keep:
                chunk = reading.read(min(keep, 1 << 20))
                writing.write(chunk)
                keep -= len(chunk)
            writing.truncate(self.stage.segment_size)

    def _wait_for(self, expected: int) -> dict[str, Any]:
        """The position that the server reports decides; a state alone never does."""
        connection: Connection | None = None
        last, moved_at, tries = -1, time.monotonic(), 0
        try:
            while True:
                tries += 1
                if connection is None and (tries < 20 or tries % 5 == 0):
                    connection = self._try_connect()
                seen = None
                if connection is not None:
                    try:
                        seen = _look(connection)
                    except SqlError:
                        # The server ended under us; what follows looks at its process and its log.
                        connection.close()
                        connection = None
                if seen is not None and self._has_arrived(seen, expected):
                    return seen
                position = parse_lsn(seen["lsn"]) if seen is not None else self._segment_in_title()
                if position is not None and position != last:
                    last, moved_at = position, time.monotonic()
                    self.progress(position)
                self._refuse_standstill(expected, last, time.monotonic() - moved_at, is_readable=connection is not None)
                time.sleep(_POLL_SECONDS)
        finally:
            if connection is not None:
                connection.close()

    def _has_arrived(self, seen: dict[str, Any], expected: int) -> bool:
        if not seen["recovering"]:
            raise RecoveryFailed(
                "The scratch promoted itself, which nobody asked for.", next=f"Read {self.scratch.log}."
            )
        position = parse_lsn(seen["lsn"])
        if position == expected or same_position(position, expected):
            return True
        if position > expected:
            raise RecoveryFailed(
                f"The scratch replayed to {format_lsn(position)}, past the point {format_lsn(expected)}.",
                next="Do not trust this restore; report it with the server's log.",
            )
        if seen["pause"] == "paused":
            raise PlatformError(
                f"Replay paused at {format_lsn(position)}, before the point {format_lsn(expected)}: a setting is lower than "
                f"the primary's. The log ends:\n{self.scratch.log_tail()}",
                next="Look which setting the log names; report it: it should have been taken from WAL.",
            )
        return False

    def _refuse_standstill(self, expected: int, last: int, standing: float, *, is_readable: bool) -> None:
        if not self._is_alive():
            self._refuse_surroundings()
            raise RecoveryFailed(
                f"The scratch stopped before the point. Its log ends:\n{self.scratch.log_tail()}",
                next="The log's last line names the cause; a damaged backup or WAL wants a new base backup.",
            )
        if not is_readable and self._has_no_snapshot():
            raise SnapshotMissing(
                f"The scratch stands at {format_lsn(expected)} and cannot be read there: a transaction with more than 64 "
                "open subtransactions leaves a standby without a snapshot until the first checkpoint behind its end.",
                next="Choose a point behind that checkpoint, or run again with -p promote true.",
            )
        if standing > self.stall_timeout:
            # The WAL up to the point was read and is whole: a server that is alive and does not move proves no damage.
            raise PlatformError(
                f"Replay stands still at {format_lsn(max(last, 0))} for {standing:.0f} s, before the point "
                f"{format_lsn(expected)}. The log ends:\n{self.scratch.log_tail()}",
                next="If it only needs longer, raise verification.replay_stall_timeout in params.",
            )

    def _refuse_surroundings(self) -> None:
        """A server that ended for want of something that this host lacks has proven nothing about the backup.

        Raises:
            ScratchFull, PlatformError.
        """
        tail, found = self.scratch.log_tail(), causes.find_in_log(server.log_tail(self.scratch.log, 100))
        if found is None:
            return
        cause, line = found
        if cause is Cause.DISK:
            raise ScratchFull(
                f"The scratch location {self.scratch.folder.parent} filled up during replay. The log ends:\n{tail}",
                next=causes.next_step(line),
            )
        raise PlatformError(
            f"This host lacks {cause} and could not run the scratch: {line}. The log ends:\n{tail}",
            next=causes.next_step(line),
        )

    def _try_connect(self) -> Connection | None:
        """A connection, or None while the server accepts none: its process and log are looked at then.

        Raises:
            PlatformError: it will accept none on this host, such as for a locale that is not there.
        """
        try:
            return self.scratch.connect("template1", statement_timeout=30)
        except PlatformError as problem:
            cause = causes.cause_of(problem.message)
            if cause in (Cause.LOCALE, Cause.LIBRARY, Cause.ZONES):
                raise PlatformError(
                    f"This host lacks {cause} and cannot enter the scratch: {problem.message}",
                    next=causes.next_step(problem.message),
                ) from problem
            return None

    def _postmaster(self) -> psutil.Process | None:
        try:
            return psutil.Process(int(read_in(self.scratch.data, "postmaster.pid").split()[0]))
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None

    def _is_alive(self) -> bool:
        if self._postmaster() is not None:
            return True
        # The pid file appears a moment after pg_ctl returns; it is gone once the log has said why.
        log = self.scratch.log
        said_why = re.search(r"FATAL|PANIC|database system is shut down", self.scratch.log_tail())
        return said_why is None and time.time() - log.stat().st_mtime < 10

    def _segment_in_title(self) -> int | None:
        """The start of the segment named in the startup process's title, before connections are possible."""
        postmaster = self._postmaster()
        if postmaster is None:
            return None
        try:
            titles = [" ".join(child.cmdline()) for child in postmaster.children()]
        except psutil.Error:
            return None  # it ended between two looks; the next look says so
        found = re.search(r"(?:recovering|waiting for) ([0-9A-F]{24})", "\n".join(titles))
        return segment_start(found[1], self.stage.segment_size)[1] if found else None

    def _has_no_snapshot(self) -> bool:
        """Consistent, at the end of its WAL for a while, and still not open: the server waits for a snapshot."""
        log = self.scratch.log.read_bytes()
        return (
            b"consistent recovery state reached" in log
            and b"ready to accept read-only connections" not in log
            # Polling at an earlier gate says nothing about this one.
            and log.count(server.POLLING_LINE.encode(), self._log_before) > 10
        )

    def promote(self, expected: int, timeout: float = 120) -> int:
        """The scratch is a writable server on a timeline of its own, which forks at `expected`; the timeline's number.

        Works without a connection, so also when the scratch cannot be read at its gate.

        Raises:
            RecoveryFailed: it did not promote, or forked elsewhere.
        """
        argv = [
            self.scratch.tools.path("pg_ctl"),
            "-D",
            str(self.scratch.data),
            "-w",
            "-t",
            str(int(timeout)),
            "promote",
        ]
        try:
            commands.run(argv, timeout=timeout + 10, user=self.scratch.user)
        except CommandFailed as cause:
            self._refuse_surroundings()
            raise RecoveryFailed(
                f"The scratch did not promote: {cause.message}", next=f"Read {self.scratch.log}."
            ) from cause
        self.scratch.promoted = True
        with self.scratch.connect("template1", read_only=False, statement_timeout=timeout) as connection:
            connection.execute("CHECKPOINT")
            number = int(one(connection, "SELECT timeline_id FROM pg_control_checkpoint()")["timeline_id"])
        forked = read_own_history(self.scratch, number)[-1].begin
        if not (forked == expected or same_position(forked, expected)):
            raise RecoveryFailed(
                f"The scratch promoted at {format_lsn(forked)}, and the point is {format_lsn(expected)}.",
                next="Do not trust this restore; report it with the server's log.",
            )
        return number


def read_own_history(scratch: Scratch, number: int) -> tuple[Timeline, ...]:
    """The lineage that a promoted copy has written down for its own timeline.

    Raises:
        FileNotFoundError: there is none.
        RecoveryFailed: it contradicts itself, or its number is in use in the archive: it must reach no archive.
    """
    name = f"{number:08X}.history"
    text = read_in(scratch.data, "pg_wal", name).decode(errors="replace")
    problem = history_problem(number, text)
    if problem is None and (scratch.wal / name).exists():
        problem = f"the archive has a timeline {number} already"
    if problem is not None:
        raise RecoveryFailed(
            f"The history of the copy's new timeline, {name}, cannot be that of a recovery: {problem}.",
            next="Do not use this copy: its history must not reach the archive. Report it with the server's log.",
        )
    return parse_history(number, text)


def _look(connection: Connection) -> dict[str, Any]:
    return one(
        connection,
        "SELECT pg_is_in_recovery() AS recovering, pg_last_wal_replay_lsn()::text AS lsn, "
        "CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS pause, "
        "pg_last_xact_replay_timestamp() AS last_commit",
    )
