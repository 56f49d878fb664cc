"""The role that writes lost rows back: made for one owner's tables of one database, without rights of its own, and dropped again.

Triggers, defaults and checks of a table run with the rights of whoever writes to it, and a function can always go back to the role that
logged in (`set_config('role', 'none')`). So that role is worth nothing: it is a member of the owner and works as the owner. Where the owner
is, or can become, more than a role with tables, it is no member but has SELECT, INSERT and UPDATE on the tables alone.

The password is random and only in memory; what the statement that makes the role says is its SCRAM verifier.
Source: PostgreSQL 17, "SET ROLE", "Role Membership", "SCRAM-SHA-256 Authentication", RFC 5803.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from runbook import redact
from runbook.errors import OperatorError, PlatformError
from runbook.postgres.connect import Connection, SqlError, literal, one, quote, rows
from runbook.postgres.guard import GUARDED, PINNED
from runbook.postgres.sqlfiles import load_sql

#: The act of a run, as its report names it while it lasts.
WRITER = "a role was made for the copy-back"
_PREFIX = "runbook_copyback_"
_ITERATIONS = 4096
_END_SECONDS = 10.0
#: Settings of the application's that the writer's session does not take: they say who it is, or how our own statements are read.
_OURS = frozenset(
    [
        "role",
        "session_authorization",
        "client_encoding",
        "client_min_messages",
        "local_preload_libraries",
        "session_preload_libraries",
        "statement_timeout",
        "lock_timeout",
        "transaction_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "default_transaction_read_only",
        "synchronous_commit",
        "event_triggers",
        "application_name",
    ]
)


def role_name(run_id: str) -> str:
    """Return the name of the run's role."""
    return _PREFIX + hashlib.sha256(run_id.encode()).hexdigest()[:16]


def scram_verifier(password: str, salt: bytes) -> str:
    """Return what a server keeps of a password; who has only that cannot log in.

    >>> scram_verifier("pencil", b"0123456789abcdef")[:50]
    'SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$nQpbZ7'
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{shown[0]}${shown[1]}:{shown[2]}"


class Door(Protocol):
    """How the role comes in, and how the run notes that there is one."""

    def admit(self, database: str, role: str) -> None:
        """The role may log in to the database, from here."""

    def expel(self, role: str) -> None:
        """It may not any more. Safe twice."""

    def begin(self, undo: str) -> None:
        """Before the role is made: noted, with how it is undone."""

    def end(self) -> None:
        """It is gone."""

    def enter(self, database: str, role: str, password: str, settings: dict[str, str]) -> Connection:
        """Return a session of the role that may write."""


@dataclass(frozen=True)
class Task:
    """What a writer is for. `relations` and `sequences` are quoted, with their schemas; `schemas` too."""

    database: str
    owner: str
    is_powerful: bool
    schemas: tuple[str, ...]
    relations: tuple[str, ...]
    sequences: tuple[str, ...]


@dataclass
class Writer:
    """A session that writes. `role` is whom it works as; None: itself. `settings` are the application's."""

    connection: Connection
    role: str | None
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def work_as(self) -> None:
        """The next statement has the owner's rights, whatever a trigger has set meanwhile; until the transaction ends."""
        self.connection.execute(f"SET LOCAL ROLE {quote(self.role) if self.role else 'NONE'}")

    def take_settings(self) -> None:
        """The rest of the transaction has the application's settings, as far as the role may set them."""
        for name, value in self.settings.items():
            try:
                with self.connection.transaction():
                    rows(self.connection, "SELECT pg_catalog.set_config($1, $2, true)", [name, value])
            except SqlError as problem:
                said = (problem.diag.message_primary or str(problem)).strip()
                self.notes.append(f"the application's setting {name} was not taken: {said}")


@dataclass
class Writers:
    """Makes and drops the role of one run.

    Args:
        operator: opens a superuser's session that may write, by database; None: any.
        application_role: whose settings the writer takes; None: the owner's.
    """

    run_id: str
    operator: Callable[[str | None], Connection]
    door: Door
    application_role: str | None = None

    @property
    def role(self) -> str:
        return role_name(self.run_id)

    @contextmanager
    def writing(self, task: Task) -> Iterator[Writer]:
        """A session for the task. The role is dropped at the end, also of one that failed.

        Raises:
            PlatformError: the role cannot be made, come in, or be dropped.
        """
        self.drop()
        self.door.begin(f"runbook resume {self.run_id}, or by hand: {self._by_hand()}")
        password = secrets.token_urlsafe(32)
        redact.scrubber.register("the copy-back role's password", password)
        failed = True
        try:
            with self.operator(task.database) as operator:
                settings = self._settings(operator, task)
                self._make(operator, task, password)
            self.door.admit(task.database, self.role)
            work_as = None if task.is_powerful else task.owner
            with self.door.enter(task.database, self.role, password, self._at_startup(task)) as connection:
                yield Writer(connection, work_as, settings)
            failed = False
        finally:
            try:
                self.drop()
            except (PlatformError, SqlError):
                if not failed:  # else the first problem is told; the role stays noted
                    raise

    def refuse_unknown_role(self, connection: Connection) -> None:
        """The role whose settings are to be taken is there, so that nobody finds out behind a gate that it is not.

        Raises:
            OperatorError: production has no such role.
        """
        name = self.application_role
        query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = $1) AS found"
        if name is not None and not one(connection, query, [name])["found"]:
            raise OperatorError(
                f"Production has no role {name}, which params name under recovery.application_role.",
                next="Correct the params file, or leave it out: rows are written with the settings of each table's owner then.",
            )

    @staticmethod
    def _at_startup(task: Task) -> dict[str, str]:
        return {"row_security": "on"} | ({} if task.is_powerful else {"role": task.owner})

    def _by_hand(self) -> str:
        role = quote(self.role)
        return f"REASSIGN OWNED BY {role} TO the table's owner, DROP OWNED BY {role} in each database, then DROP ROLE {role}"

    def _settings(self, operator: Connection, task: Task) -> dict[str, str]:
        file = load_sql("recovery/list_application_settings")
        role = self.application_role or task.owner
        names = sorted({*PINNED, *GUARDED} - _OURS - {"row_security"})
        listed = rows(operator, file.text, file.values({"role": role, "names": names}))
        found = {row["name"]: row["value"] for row in listed if row["name"] not in _OURS and row["value"] is not None}
        # The application's own schema, not one that is named as the owner or our role.
        found["search_path"] = (
            found.get("search_path", "").replace('"$user"', quote(role)).replace("$user", quote(role))
        )
        return found

    def _make(self, operator: Connection, task: Task, password: str) -> None:
        role = quote(self.role)
        until = one(operator, "SELECT (pg_catalog.clock_timestamp() + '1 hour')::text AS until")["until"]
        verifier = scram_verifier(password, secrets.token_bytes(16))
        statements = [
            f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT CONNECTION LIMIT 2 "
            f"PASSWORD {literal(verifier).as_string(operator)} VALID UNTIL {literal(until).as_string(operator)}",
        ]
        query = "SELECT pg_catalog.has_database_privilege('public', $1, 'CONNECT') AS connect, pg_catalog.has_database_privilege('public', $1, 'TEMPORARY') AS temporary"
        everyone = one(operator, query, [task.database])
        lacking = [name.upper() for name, has in everyone.items() if not has]
        if lacking:
            statements.append(f"GRANT {', '.join(lacking)} ON DATABASE {quote(task.database)} TO {role}")
        if task.is_powerful:
            statements += [f"GRANT USAGE ON SCHEMA {schema} TO {role}" for schema in task.schemas]
            statements += [f"GRANT SELECT, INSERT, UPDATE ON TABLE {name} TO {role}" for name in task.relations]
            statements += [f"GRANT USAGE, UPDATE ON SEQUENCE {name} TO {role}" for name in task.sequences]
        else:
            # Before 16 a membership is inherited as the member's NOINHERIT says.
            options = " WITH ADMIN FALSE, INHERIT FALSE, SET TRUE" if operator.info.server_version >= 160000 else ""
            statements.append(f"GRANT {quote(task.owner)} TO {role}{options}")
        with operator.transaction():
            for statement in statements:
                operator.execute(operator.encoded(statement))

    # -- its end

    def drop(self) -> None:
        """No role of the run is left: its sessions have ended, its objects are the owner's, its rights are revoked. Safe twice.

        Raises:
            PlatformError: something keeps it.
        """
        with self.operator(None) as connection:
            file = load_sql("recovery/list_role_remains")
            remains = rows(connection, file.text, file.values({"role": self.role}))
            if remains:
                connection.execute(f"ALTER ROLE {quote(self.role)} NOLOGIN PASSWORD NULL".encode())
                self._end_sessions(connection)
                remains = rows(connection, file.text, file.values({"role": self.role}))
                for row in remains:
                    self._clear(row["database"], row["owner"] if row["owns"] else None)
                try:
                    connection.execute(f"DROP ROLE {quote(self.role)}".encode())
                except SqlError as problem:
                    raise self._kept(problem) from problem
        self.door.expel(self.role)
        self.door.end()

    def _end_sessions(self, connection: Connection) -> None:
        file = load_sql("recovery/end_role_sessions")
        deadline = time.monotonic() + _END_SECONDS
        while one(connection, file.text, file.values({"role": self.role}))["sessions"]:
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"A session of the role {self.role} does not end.",
                    next=f"See pg_stat_activity; then: runbook resume {self.run_id}",
                )
            time.sleep(0.05)

    def _clear(self, database: str | None, owner: str | None) -> None:
        """What a trigger has made in this role's name is the owner's; never a superuser's: it may be a function that runs as its owner."""
        if database is None:
            return
        role = quote(self.role)
        with self.operator(database) as connection:
            try:
                if owner is not None:
                    connection.execute(connection.encoded(f"REASSIGN OWNED BY {role} TO {quote(owner)}"))
                file = load_sql("recovery/list_owned_relations")
                kept = rows(connection, file.text, file.values({"role": self.role}))
                if kept:
                    raise PlatformError(
                        f"A trigger has made {kept[0]['name']} in database {database} in the name of the role {self.role}, which cannot log in "
                        "any more. Whose it is to be is yours to say: a superuser must not own what somebody else wrote.",
                        next=f"ALTER {kept[0]['name']} … OWNER TO the application's role, then: runbook resume {self.run_id}",
                    )
                connection.execute(connection.encoded(f"DROP OWNED BY {role}"))
            except SqlError as problem:
                raise self._kept(problem) from problem

    def _kept(self, problem: SqlError) -> PlatformError:
        return PlatformError(
            f"The role {self.role}, made for the copy-back, cannot be dropped: {str(problem).strip()}",
            next=f"See what it owns, then: runbook resume {self.run_id}; by hand: {self._by_hand()}",
        )


def quoted(names: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return (schema, name) as SQL names them.

    >>> quoted([("a", 'b"c')])
    ('"a"."b""c"',)
    """
    return tuple(f"{quote(schema)}.{quote(name)}" for schema, name in names)
