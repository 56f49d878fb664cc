"""The living server behind a target's data directory: the damaged one during an incident, later the restored one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import NotMeasured, OperatorError, PlatformError
from runbook.outside.commands import OsUser
from runbook.params.loading import resolve_secret
from runbook.params.schema import Cluster
from runbook.postgres.connect import Connection, SqlError, connect, conninfo_parts, is_accepting, one
from runbook.postgres.guard import TABLES_ONLY
from runbook.postgres.osuser import service_user
from runbook.postgres.sqlfiles import load_sql
from runbook.postgres.tools import Tools, find_tools
from runbook.postgres.wal import parse_lsn

#: A commit of ours must not wait for a standby that is gone.
_SESSION = {"synchronous_commit": "local"}


@dataclass(frozen=True)
class LiveFacts:
    """What the server says of itself. `address` is where it sees us (None: a local socket), `role` who we are to it."""

    data_directory: str
    config_file: str
    hba_file: str
    ident_file: str
    version: str
    in_recovery: bool
    system_identifier: str
    timeline: int
    role: str
    is_superuser: bool
    address: str | None
    ssl: bool
    archive_mode: str
    archive_command: str
    archive_library: str
    autovacuum: str
    segment_size: int
    preload_libraries: str
    started_at: datetime
    loaded_at: datetime

    @property
    def archives(self) -> bool:
        """True when finished segments are handed to something."""
        return self.archive_mode in ("on", "always") and bool(self.archive_command or self.archive_library)

    def lasting(self) -> dict[str, Any]:
        """What is worth writing down for a time when the server is down; JSON."""
        return {name: value for name, value in asdict(self).items() if not isinstance(value, datetime)}


@dataclass
class LiveServer:
    """How to reach the server: `cluster.connection` for words, `cluster.data_directory` for files.

    Args:
        application: shows in pg_stat_activity; the run id.
    """

    cluster: Cluster
    application: str

    def conninfo(self) -> str:
        """The resolved connection string.

        Raises:
            OperatorError: params name none.
        """
        if self.cluster.connection is None:
            raise OperatorError(
                "The params file says no way into the running server.",
                next="Name a superuser's connection under cluster.connection (env: or file:).",
            )
        return resolve_secret(self.cluster.connection, "cluster.connection")

    def way_in(self) -> tuple[str | None, str]:
        """Host (None: a local socket) and role of the connection, without asking the server."""
        parts = conninfo_parts(self.conninfo())
        host = parts.get("hostaddr") or parts.get("host")
        return (None if not host or host.startswith(("/", "@")) else host), parts.get("user", self.cluster.superuser)

    def is_up(self) -> bool:
        """True when it accepts connections. A missing secret file counts as down: a stopped sandbox has none.

        Raises:
            OperatorError: params name no connection.
        """
        secret = self.cluster.connection
        if secret is not None and secret.file is not None and not layout.resolve(secret.file).exists():
            return False
        return is_accepting(self.conninfo())

    def connect(
        self,
        database: str | None = None,
        *,
        read_only: bool | None = True,
        statement_timeout: float = 60,
        lock_timeout: float = 5,
        settings: Mapping[str, str] | None = None,
    ) -> Connection:
        """A connection of the operator's; the database of the connection string unless another one is named.

        Raises:
            PlatformError: it cannot be reached, or does not let us in.
            OperatorError: params name no connection.
        """
        return connect(
            conninfo=self.conninfo(),
            database=database,
            application=self.application,
            read_only=read_only,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            settings={**_SESSION, **(settings or {})},
        )

    def connect_reader(
        self,
        database: str | None = None,
        *,
        statement_timeout: float = 60,
        lock_timeout: float = 5,
        settings: Mapping[str, str] | None = None,
    ) -> Connection:
        """Return a read-only connection of the reader, or of `cluster.connection` where params name no reader.

        Raises:
            PlatformError: it cannot be reached, or does not let the role in.
            OperatorError: params name no connection.
        """
        secret = self.cluster.reader
        return connect(
            conninfo=self.conninfo() if secret is None else resolve_secret(secret, "cluster.reader"),
            database=database,
            application=self.application,
            statement_timeout=statement_timeout,
            lock_timeout=lock_timeout,
            settings={**TABLES_ONLY, **(settings or {})},
        )

    def connect_as(self, database: str, role: str, password: str, settings: Mapping[str, str]) -> Connection:
        """Return a connection that may write, of a role that we have made, on the operator's way.

        Raises:
            PlatformError: it cannot be reached, or does not let the role in.
        """
        return connect(
            conninfo=self.conninfo(),
            database=database,
            user=role,
            password=password,
            application=self.application,
            read_only=False,
            statement_timeout=0,
            lock_timeout=30,
            settings={**_SESSION, **settings},
        )

    def facts(self) -> LiveFacts:
        """What it says of itself now.

        Raises:
            PlatformError: it cannot be reached.
        """
        with self.connect() as connection:
            return read_facts(connection)

    # -- its files

    @property
    def data(self) -> Path | None:
        """The data directory, when params name it."""
        return layout.resolve(self.cluster.data_directory) if self.cluster.data_directory else None

    def need_data(self) -> Path:
        """The data directory.

        Raises:
            OperatorError: params do not name it.
        """
        if self.data is None:
            raise OperatorError(
                "The params file does not say where the cluster's files are.",
                next="Name cluster.data_directory in params; a recovery needs it.",
            )
        return self.data

    @property
    def user(self) -> OsUser | None:
        """Who runs it: the owner of its files unless params say."""
        return service_user(self.cluster.os_user, self.data)

    def tools(self) -> Tools:
        """PostgreSQL's programs of the data directory's version.

        Raises:
            OperatorError: there are none, or nothing says which version.
            PlatformError: PG_VERSION cannot be read.
        """
        version = self.need_data() / "PG_VERSION"
        try:
            major = int(version.read_text("utf-8").strip())
        except (OSError, ValueError) as cause:
            raise PlatformError(
                f"{version} does not say which version of PostgreSQL this is: {cause}.",
                next="Run as a user who can read it; a swap that was cut short is finished by resuming its run.",
            ) from cause
        return find_tools(major, self.cluster.bin_directory, self.user)


def read_position(connection: Connection) -> tuple[int, int, int]:
    """Timeline, and the positions up to which WAL was inserted and is on disk."""
    row = one(connection, load_sql("lockdown/read_position").text)
    return int(row["timeline"], 16), parse_lsn(row["insert_lsn"]), parse_lsn(row["flush_lsn"])


def read_facts(connection: Connection) -> LiveFacts:
    """The facts, over a connection that is open.

    Raises:
        NotMeasured: the role may not see them, or the server broke off.
    """
    try:
        row = dict(one(connection, load_sql("lockdown/read_server").text))
        if row["in_recovery"]:
            row["timeline"] = one(connection, load_sql("lockdown/read_replayed_timeline").text)["timeline"]
        else:
            row["timeline"] = read_position(connection)[0]
    except SqlError as cause:
        raise NotMeasured(
            f"The server does not say where its files are: {str(cause).strip().splitlines()[0]}",
            next="Name a superuser's connection under cluster.connection in params.",
        ) from cause
    return LiveFacts(**{field.name: row[field.name] for field in fields(LiveFacts)})
