"""The session of one check file: a connection of its own, judged before the statement is sent, ended from outside when it takes too long.

What a statement leaves in a session may outlive a ROLLBACK (advisory locks, prepared statements, settings), so no two check files share one;
the settings are read back before the ROLLBACK, which would hide a change, and answers under changed settings are not believed. A statement timeout can be switched
off from inside, and a cancel request can be caught there: so the session is cancelled from another thread, then terminated, then left.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runbook.errors import NotMeasured, PlatformError
from runbook.postgres.allowlist import Judge, Runner
from runbook.postgres.batch import Batch
from runbook.postgres.connect import Connection, SqlError, rows
from runbook.postgres.parse import Statement

#: Seconds that the server gets to follow each step: its own timeout, a cancel request, a termination.
GRACE = 3.0
_SETTINGS = """
SELECT s.name, s.setting, s.source
FROM pg_catalog.pg_settings AS s
WHERE s.source IN ('client', 'session')
UNION ALL
SELECT 'role', current_user::text, session_user::text
"""


@dataclass(frozen=True)
class Way:
    """How a check file comes to its session.

    Args:
        open_: a new connection to the database that is asked.
        runner: who asks where.
        seconds: after which a statement is ended from outside; the connection's statement_timeout should come first. 0: never.
    """

    open_: Callable[[], Connection]
    runner: Runner
    seconds: float


@dataclass
class CheckSession:
    """A session in which the statements of one check file are run."""

    connection: Connection
    way: Way
    judge: Judge

    def ask(self, text: str | Batch, statement: Statement, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the statement's rows, from a READ ONLY transaction of its own.

        Args:
            text: one statement; the extended protocol lets no second one through.
            statement: what it names.

        Raises:
            NotMeasured: the statement is not sent, and why; it was ended from outside; or it changed its session's settings.
            SqlError: what the server said.
        """
        with _ended_in_time(self.connection, self.way):
            try:
                self.connection.execute("BEGIN READ ONLY")
                why = self.judge.refusal(statement)
                if why is not None:
                    raise NotMeasured(why)
                before = self._settings()
                found = rows(self.connection, text, values, alone=True)
                changed = sorted({name for name, *_ in self._settings() ^ before})
                if changed:
                    raise NotMeasured(
                        f"The check changed its session's setting {changed[0]}: its answers are not believed."
                    )
                return found
            finally:
                if not self.connection.closed:
                    self.connection.execute("ROLLBACK")

    def _settings(self) -> set[tuple[str, ...]]:
        return {(row["name"], row["setting"], row["source"]) for row in rows(self.connection, _SETTINGS)}


@contextmanager
def check_session(way: Way, uses: Sequence[str] = (), extensions: Sequence[str] = ()) -> Iterator[CheckSession]:
    """A session for one check file, closed at the end.

    Args:
        uses: what its header names outside pg_catalog.
        extensions: those that its header needs.

    Raises:
        PlatformError: the server accepts no connection.
    """
    with way.open_() as connection:
        yield CheckSession(connection, way, Judge(connection, way.runner, uses, extensions))


@contextmanager
def _ended_in_time(connection: Connection, way: Way) -> Iterator[None]:
    """What runs inside is ended from outside after its time.

    Raises:
        NotMeasured: it was.
    """
    if not way.seconds:
        yield
        return
    done, ended = threading.Event(), threading.Event()
    pid, descriptor = connection.info.backend_pid, os.dup(connection.fileno())
    watcher = threading.Thread(target=_end, args=(connection, way, pid, descriptor, done, ended), daemon=True)
    watcher.start()
    try:
        yield
    except SqlError as problem:
        if ended.is_set():
            raise NotMeasured(f"No answer within {way.seconds:g} s; the check was ended from outside.") from problem
        raise
    finally:
        done.set()
        watcher.join()
        os.close(descriptor)


def _end(
    connection: Connection, way: Way, pid: int, descriptor: int, done: threading.Event, ended: threading.Event
) -> None:
    """Cancel, then terminate, then leave: each only when the step before was not followed in time."""
    if done.wait(way.seconds + GRACE):
        return
    ended.set()
    steps: tuple[Callable[[], None], ...] = (
        lambda: connection.cancel_safe(timeout=GRACE),
        lambda: _terminate(way, pid),
    )
    for step in steps:
        try:
            step()
        except (SqlError, PlatformError):
            continue  # the next step does not need this one; the last needs no server
        if done.wait(GRACE):
            return
    with socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _terminate(way: Way, pid: int) -> None:
    with way.open_() as other:
        rows(other, "SELECT pg_catalog.pg_terminate_backend($1::integer)", [pid])
