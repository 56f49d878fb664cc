"""Connections: the only module that imports the driver, with `rawtext`, which says how text is read and written.

Every connection has an application_name (the run id), a lock_timeout and, unless asked otherwise, is read only.
What a session's statements mean depends on settings that the owner of a database, or of a role, may set: they are pinned in the
startup packet, which wins over ALTER DATABASE and ALTER ROLE, set back by DISCARD ALL after the server's own login code
(login event triggers run before the first statement), and read back before the first use. A session that cannot be had like that is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
from psycopg import sql

from runbook import clock, environment, redact, sources, texts
from runbook.errors import NotMeasured, PlatformError
from runbook.postgres import guard, rawtext
from runbook.postgres.batch import Batch
from runbook.postgres.guard import GUARDED, OPTIONAL, PINNED, REFUSED, TABLES_ONLY, session_options

SqlError = psycopg.Error
identifier = sql.Identifier
compose = sql.SQL
literal = sql.Literal


class Connection(psycopg.Connection[dict[str, Any]]):
    """A connection that can always be left.

    A COPY that was left in the middle holds the driver's lock as long as a traceback or a variable keeps its generator: leaving
    would roll back, and wait for that lock for ever. Then the connection is only closed; the server ends what it was doing.

    Attributes:
        snapshot_at: when the snapshot of a repeatable transaction was taken, by our clock; None outside one.
    """

    snapshot_at: datetime | None = None
    is_repeatable = False

    def __init__(self, pgconn: Any, *more: Any) -> None:
        super().__init__(pgconn, *more)
        self._adapters = rawtext.ADAPTERS

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Any:
        opening = rawtext.connecting(conninfo)
        return super()._connect_gen(conninfo) if opening is None else cls._from(opening)

    @classmethod
    def _from(cls, opening: Any) -> Any:
        return cls((yield from opening))

    @property
    def database(self) -> str:
        """The name of its database."""
        return str(self.pgconn.db, "utf-8", "surrogateescape")

    def encoded(self, statement: str) -> bytes:
        """Return a statement as the session's encoding has it; names that were read here come out as they are stored."""
        return rawtext.encode(self.pgconn, statement)

    @property
    def has_failed(self) -> bool:
        """True when a statement of its transaction has failed: it takes nothing but a rollback."""
        return self.info.transaction_status is psycopg.pq.TransactionStatus.INERROR

    def __exit__(self, *cause: Any) -> None:
        if self.lock.locked():
            self.close()
        else:
            super().__exit__(*cause)


class _Noting:
    """A cursor whose statements are known to `sources`, so that what a report shows can be traced to them."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        began = clock.now()
        cursor: Any = self
        text = query.text if isinstance(query, Batch) else query
        sent = rawtext.encode(cursor.connection.pgconn, text) if isinstance(text, str) else text
        result = super().execute(sent, params, **options)  # type: ignore[misc]  # a cursor's
        _follow(cursor.connection, query, began)
        if rawtext.column_count(cursor):
            note_statement(cursor.connection, query, params or (), began, cursor.rowcount)
        return result


class _Cursor(_Noting, psycopg.Cursor[dict[str, Any]]):
    pass


class _RawCursor(_Noting, psycopg.RawCursor[dict[str, Any]]):
    pass


def _follow(connection: Any, query: Any, began: datetime) -> None:
    """Where a repeatable transaction begins and ends: its snapshot is that of its first statement."""
    words = str(query)[:60].upper() if isinstance(query, str) else ""
    if words.startswith("BEGIN"):
        connection.is_repeatable, connection.snapshot_at = "REPEATABLE READ" in words or "SERIALIZABLE" in words, None
    elif words.startswith(("ROLLBACK", "COMMIT", "END")) and " TO " not in words:
        connection.is_repeatable, connection.snapshot_at = False, None
    elif connection.is_repeatable and connection.snapshot_at is None:
        connection.snapshot_at = began


def note_statement(connection: Connection, query: Any, values: Any, began: datetime, count: int | None) -> None:
    """`sources` knows the statement; for those that a cursor does not see as one, such as a COPY."""
    if not sources.is_noting():
        return
    info = connection.info
    at = connection.snapshot_at or began
    sources.note(
        sources.Asked(
            server=f"{info.host}:{info.port}",
            database=texts.visible_line(connection.database),
            role=texts.visible_line(str(connection.pgconn.user, "utf-8", "surrogateescape")),
            sql=texts.visible(query if isinstance(query, str) else query.as_string(connection)),
            values=tuple(
                _shown(sources.kept(one)) for one in (values.values() if isinstance(values, Mapping) else values)
            ),
            at=at,
            last=at,
            rows=count if count is None or count >= 0 else None,
            made=tuple(tuple(map(texts.visible, part)) for part in query.parts) if isinstance(query, Batch) else (),
        )
    )


def _shown(value: Any) -> Any:
    return texts.visible(value) if isinstance(value, str) else value


#: What a server has taken from a role, by the connection's own facts: tried once in a process.
_TAKEN: dict[str, frozenset[str]] = {}


def connect(
    *,
    conninfo: str = "",
    socket: Path | None = None,
    port: int = 5432,
    database: str | None = None,
    user: str | None = None,
    application: str,
    read_only: bool | None = True,
    statement_timeout: float = 60,
    lock_timeout: float = 5,
    settings: Mapping[str, str] | None = None,
    connect_timeout: int = 10,
    password: str | None = None,
) -> Connection:
    """Return an open autocommit connection with dict rows, whose settings were read back.

    Args:
        conninfo: a URL or key=value string (a resolved secret), or empty.
        socket: the folder of a Unix socket, for our own servers.
        application: shows in pg_stat_activity; the run id.
        read_only: default_transaction_read_only; None leaves it as the server gives it to a session.
        statement_timeout, lock_timeout: seconds; 0 means none.
        settings: further settings for the session.
        password: of `user`, where the connection string's is not the one to use.

    Raises:
        PlatformError: the server cannot be reached, or what answers gives no session of the role that was named with the
            settings that were asked for.
    """
    wanted = {
        **PINNED,
        **GUARDED,
        **({} if read_only is None else {"default_transaction_read_only": "on" if read_only else "off"}),
        "statement_timeout": str(int(statement_timeout * 1000)),
        "lock_timeout": str(int(lock_timeout * 1000)),
        **(settings or {}),
    }
    late = {name: wanted.pop(name) for name in TABLES_ONLY if name in wanted}
    given: dict[str, Any] = {
        "host": str(socket) if socket else None,
        "port": port if socket else None,
        "dbname": database,
        "user": user,
        "password": password,
    }
    conninfo_parts(conninfo)
    named = {
        name: rawtext.in_private(value) if isinstance(value, str) else value
        for name, value in given.items()
        if value is not None
    }
    named |= {"application_name": application[:63], "connect_timeout": connect_timeout}
    environment.drop_libpq()  # also in a kernel that somebody else has started
    try:
        connection, sent = _open(conninfo, named, wanted)
    except psycopg.Error as cause:
        raise PlatformError(
            f"The server cannot be reached: {redact.scrubber.text(str(cause).strip())}",
            next="Check the connection named in the params file, and that the server runs.",
            asked_password=cause.pgconn is not None and bool(cause.pgconn.used_password),
        ) from None
    try:
        session = guard.secure(
            lambda text, values: _ask(connection, text, values),
            sent=sent,
            late=late,
            encoding=rawtext.client_encoding(connection.pgconn),
            meant=rawtext.decode(connection.pgconn, connection.pgconn.user),
            database=texts.visible_line(connection.database),
            pid=connection.info.backend_pid,
        )
        if session.pooled:
            _refuse_transaction_pooler(connection, lambda: _open(conninfo, named, sent)[0])
    except BaseException as cause:
        connection.close()
        if isinstance(cause, psycopg.Error):
            raise PlatformError(
                f"The session could not be checked: {redact.scrubber.text(str(cause).strip())}",
                next="Check the connection named in the params file, and that the server runs.",
            ) from None
        raise
    return connection


def _ask(connection: Connection, text: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
    """A statement about the session itself, which is no part of a run's evidence."""
    with psycopg.RawCursor(connection, row_factory=rawtext.named_rows) as cursor:
        cursor.execute(rawtext.encode(connection.pgconn, text), values)
        return cursor.fetchall() if rawtext.column_count(cursor) else []


def _refuse_transaction_pooler(connection: Connection, open_other: Callable[[], Connection]) -> None:
    """A pooler that gives each transaction some backend or other is refused: what was set and read back in one says nothing of the next.

    In session mode a second session can never be given the backend of the first.

    Raises:
        PlatformError: it does.
    """
    ask = "SELECT pg_catalog.pg_backend_pid() AS pid"
    for _ in range(3):
        own = _ask(connection, ask)[0]["pid"]
        with open_other() as other, other.transaction():
            taken = _ask(other, ask)[0]["pid"]
            if own == taken or _ask(connection, ask)[0]["pid"] != own:
                raise PlatformError(
                    "The connection goes through a pooler in transaction mode: each transaction may run in another session of the server, "
                    "without the settings that keep it safe.",
                    next="Name a direct connection in the params file, or the pooler's port for session mode.",
                )


def _open(conninfo: str, named: Mapping[str, Any], wanted: Mapping[str, str]) -> tuple[Connection, dict[str, str]]:
    """Return the open session and the settings that it was opened with: those wanted, and what of the optional ones the server takes.

    The server names the setting that it refuses, in whatever language.
    """
    asked = psycopg.conninfo.conninfo_to_dict(conninfo)
    who = str(
        sorted(
            (key, str(value))
            for key, value in {**asked, **named}.items()
            if key in ("host", "hostaddr", "port", "user", "service")
        )
    )
    taken = _TAKEN.get(who, frozenset(OPTIONAL)) - wanted.keys()
    while True:
        sent = {**{name: value for name, value in OPTIONAL.items() if name in taken}, **wanted}
        options = " ".join(filter(None, [str(asked.get("options") or ""), session_options(sent)]))
        try:
            connection = Connection.connect(
                conninfo,
                autocommit=True,
                row_factory=rawtext.named_rows,
                cursor_factory=_Cursor,
                **{**named, "options": options},
            )
        except psycopg.OperationalError as problem:
            refused = next((name for name in OPTIONAL if name in taken and name in str(problem)), None)
            if refused is None:
                raise
            taken -= REFUSED[refused]
            continue
        _TAKEN[who] = taken
        return connection, sent


def is_accepting(conninfo: str, timeout: int = 5) -> bool:
    """True when a server there accepts connections; whether it would let us in is not asked."""
    try:
        given = psycopg.conninfo.make_conninfo(conninfo, connect_timeout=timeout)
    except psycopg.Error:
        return False  # connecting says what is wrong with it
    return psycopg.pq.PGconn.ping(given.encode()) == psycopg.pq.Ping.OK


def conninfo_parts(conninfo: str) -> dict[str, str]:
    """Return what a connection string says: host, port, user, dbname and the like. It may hold a password.

    What libpq reads as a password is scrubbed from now on, however the string writes it. One that is too short was refused where the
    secret was resolved.

    Raises:
        PlatformError: it cannot be understood.
    """
    try:
        parts = {name: str(value) for name, value in psycopg.conninfo.conninfo_to_dict(conninfo).items()}
    except psycopg.Error as cause:
        # libpq quotes what it stumbled over, which may be one half of a password with a blank in it.
        said = re.sub(r'"[^"]*"', '"…"', redact.scrubber.text(str(cause).strip()))
        raise PlatformError(
            f"The connection string cannot be understood: {said}",
            next="Correct the secret that cluster.connection names.",
        ) from None
    for name, value in parts.items():
        if re.search("password|secret|scram", name) and len(value) >= redact.SHORTEST:
            redact.scrubber.register(name, value)
    hosts = parts.get("host", "").split(",")
    if any("@" in host[1:] for host in hosts):  # one that begins with @ is an abstract Unix socket
        raise PlatformError(
            "The connection string has an @ in its password: libpq takes what follows the first one for the host.",
            next="Write it as %40 in the secret that cluster.connection names.",
        )
    return parts


def rows(
    connection: Connection, query: str | Batch, values: Sequence[Any] = (), *, alone: bool = False
) -> list[dict[str, Any]]:
    """All rows of a query; values are bound as $1, $2 … by the server, which refuses a second statement always where this is `alone`.

    Raises:
        SqlError: what the server said.
    """
    with _RawCursor(connection, row_factory=rawtext.named_rows) as cursor:
        cursor.execute(query, values or None, prepare=alone or None)
        return cursor.fetchall() if rawtext.column_count(cursor) else []


def shared_rows(connection: Connection, query: str, values: Sequence[Any] = (), *columns: str) -> list[dict[str, Any]]:
    """All rows of a query; the names in `columns` come from the shared catalogs, and are the same whatever database they are read in."""
    found = rows(connection, query, values)
    return [row | {name: rawtext.shared(connection.pgconn, row[name]) for name in columns} for row in found]


def one(connection: Connection, query: str | Batch, values: Sequence[Any] = ()) -> dict[str, Any]:
    """The single row of a query.

    Raises:
        NotMeasured: there is none, or more than one.
    """
    found = rows(connection, query, values)
    if len(found) != 1:
        text = query if isinstance(query, str) else query.text
        raise NotMeasured(f"The query returned {len(found)} rows where one was due: {text.strip()[:120]}")
    return found[0]


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A REPEATABLE READ, READ ONLY transaction around the block."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def copy_rows(connection: Connection, schema: str, name: str) -> Iterator[bytes]:
    """Yield each row of a table as COPY prints it, ending with a newline. No statement is planned, so nothing of the table's owner runs.

    Without stored generated columns, which COPY leaves out, and without rows of what inherits from the table.

    Raises:
        SqlError: what the server said; a materialized view is refused before PostgreSQL 18, a view always.
    """
    began = clock.now()
    query = f"COPY {quote(schema)}.{quote(name)} TO STDOUT{rawtext.copy_options(connection.pgconn)}"
    count = 0
    with psycopg.Cursor(connection) as cursor, cursor.copy(rawtext.encode(connection.pgconn, query)) as copy:
        for row in copy:
            count += 1
            yield bytes(row)
    pattern = f"COPY {{1}} TO STDOUT{rawtext.copy_options(connection.pgconn)}"
    note_statement(connection, Batch(pattern, ((f"{quote(schema)}.{quote(name)}",),)), (), began, count)


def quote(name: str) -> str:
    """An SQL identifier, quoted.

    >>> quote('we"ird')
    '"we""ird"'
    """
    return '"' + name.replace('"', '""') + '"'
