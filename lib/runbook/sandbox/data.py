"""DealerScope's schema and its data, in as many rows as the size asks for; the same seed gives the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runbook.errors import OperatorError
from runbook.platforms.cluster.reader import grants
from runbook.postgres import connect
from runbook.postgres.sqlfiles import load_sql
from runbook.sandbox.place import DATABASE, Sandbox, Size

#: What one vehicle with its bids, sessions and indexes takes on disk, measured on PostgreSQL 17.10.
BYTES_PER_VEHICLE = 890
SMALL_VEHICLES = 12_000
MEDIUM_GIGABYTES = 1.5

ROLES = ("dealerscope_owner", "dealerscope_app", "dealerscope_readonly")
#: Who reads tables, here and in every copy that is restored from here.
READER = "runbook_reader"
EXTENSIONS = ("amcheck", "pg_stat_statements", "pgstattuple")

_SCHEMA = (
    "create_auction_status",
    "create_dealers",
    "create_auctions",
    "create_vehicles",
    "create_auction_data",
    "create_auction_data_partitions",
    "create_users",
    "create_sessions",
    "create_heartbeat",
)
_ROWS = (
    "fill_dealers",
    "fill_auctions",
    "fill_vehicles",
    "fill_users",
    "fill_sessions",
    "fill_auction_data",
    "fill_heartbeat",
)
_KEYS = (
    "add_auctions_keys",
    "add_vehicles_keys",
    "add_auction_data_keys",
    "add_users_keys",
    "add_sessions_keys",
    "index_vehicles_auction",
    "index_vehicles_created",
    "index_auction_data_vehicle",
    "index_sessions_user",
    "grant_application",
    "grant_readonly",
)


@dataclass(frozen=True)
class Volume:
    """How many rows each table gets."""

    vehicles: int

    @property
    def counts(self) -> dict[str, int]:
        """Rows by table, heartbeat and bids apart (bids follow from the vehicles)."""
        return {
            "dealers": max(40, self.vehicles // 100),
            "auctions": max(400, self.vehicles // 60),
            "vehicles": self.vehicles,
            "users": max(400, self.vehicles // 6),
            "sessions": self.vehicles * 2 // 5,
        }


def volume_of(size: Size, gigabytes: float | None) -> tuple[Volume, float]:
    """The rows for a size, and the gigabytes they are meant to take.

    >>> volume_of("small", None)[0].vehicles
    12000

    Raises:
        OperatorError: `large` without gigabytes, or gigabytes with another size.
    """
    if size == "large":
        if gigabytes is None or gigabytes <= 0:
            raise OperatorError(
                "The size large needs to be told how large.", next="runbook sandbox up --size large --gigabytes 10"
            )
    elif gigabytes is not None:
        raise OperatorError("--gigabytes goes with --size large only.", next="runbook sandbox up --size large")
    if size == "small":
        return Volume(SMALL_VEHICLES), SMALL_VEHICLES * BYTES_PER_VEHICLE / 1e9
    wanted = gigabytes if gigabytes is not None else MEDIUM_GIGABYTES
    return Volume(max(SMALL_VEHICLES, int(wanted * 1e9 / BYTES_PER_VEHICLE))), wanted


def run_file(
    connection: connect.Connection, name: str, values: dict[str, object] | None = None
) -> list[dict[str, Any]]:
    """The rows of `sql/sandbox/<name>.sql`."""
    file = load_sql(f"sandbox/{name}")
    return connect.rows(connection, file.text, file.values(values or {}))


def create_roles(sandbox: Sandbox) -> None:
    """The roles, the database and its extensions are there. The application's roles may log in and have no password."""
    with sandbox.connect("postgres") as connection:
        for role in ROLES:
            login = "NOLOGIN" if role == "dealerscope_owner" else "LOGIN"
            connection.execute(connect.compose("CREATE ROLE {} " + login).format(connect.identifier(role)))
        connection.execute(
            connect.compose("CREATE DATABASE {} OWNER {}").format(
                connect.identifier(DATABASE), connect.identifier("dealerscope_owner")
            )
        )
    for database in ("postgres", DATABASE):
        with sandbox.connect(database) as connection:
            for extension in EXTENSIONS:
                connection.execute(
                    connect.compose("CREATE EXTENSION {} SCHEMA public").format(connect.identifier(extension))
                )
    for database in ("template1", "postgres", DATABASE):
        with sandbox.connect(database) as connection:
            for statement in grants(connection, READER):
                connection.execute(statement.encode())


def load(sandbox: Sandbox, volume: Volume) -> None:
    """The schema holds its rows, vacuumed and analyzed.

    It is one transaction: under wal_level = minimal, tables made in the same transaction need no WAL.
    """
    seed = sandbox.state.seed
    values: dict[str, object] = {**volume.counts, "seed_text": f"{seed}-", "seed": (seed % 1999 - 999) / 1000}
    memory = "64MB" if sandbox.state.size == "small" else "512MB"
    settings = {"role": "dealerscope_owner", "maintenance_work_mem": memory}
    with sandbox.connect(settings=settings) as connection, connection.transaction():
        for name in (*_SCHEMA, "seed_random", *_ROWS, *_KEYS):
            run_file(connection, name, values)
    with sandbox.connect() as connection:
        connection.execute("VACUUM (ANALYZE)")
