"""Schemas of thousands of relations: no catalog query of ours grows faster than the catalogs, and no run leaves thousands of statements behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hostile import READER, make_reader
from largeschema import application
from own_cluster import OwnCluster, own_cluster
from runbook import layout
from runbook.inspection.checkfiles import load_files
from runbook.postgres.connect import Connection, SqlError, connect, rows
from runbook.postgres.sqlfiles import SqlFile, load_sql
from runbook.verification import content

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: So many applications there are when the queries are measured.
SIZES = (8, 16)
#: From one size to the next the work doubles, where it grows with the relations; where it grows with their square it is three times as much and
#: more (four times, but for the relations of initdb).
MOST_GROWTH = 2.4
AREAS = ("access", "architecture", "closure", "fence", "health", "integrity", "inventory", "lockdown", "rates", "reader",
         "recovery", "shown", "timelines", "trust", "verification")  # fmt: skip
#: Those that change the server, or read what only a certain application has.
LEFT_OUT = ("end_", "start_", "stop_", "reset_", "set_sequence", "reload", "switch_wal", "lift_", "list_jobs", "critical_volumes", "daily_volume",
            "heartbeat_fresh", "orphaned_vehicles", "sessions_have_users", "forbid_views", "_post_")  # fmt: skip
TABLE = "SELECT c.oid::bigint AS oid FROM pg_class AS c WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 ORDER BY c.oid"
NAMES = (
    "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p') AND c.oid >= 16384 ORDER BY c.oid"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    settings = {"shared_preload_libraries": "pg_stat_statements", "max_locks_per_transaction": "256"}
    with own_cluster("--data-checksums", settings=settings) as made:
        made.create_database("big", "CREATE EXTENSION pg_stat_statements", "CREATE EXTENSION pgstattuple")
        yield made


def files() -> list[str]:
    found = [f"{area}/{path.stem}" for area in AREAS for path in sorted((layout.sql() / area).glob("*.sql"))]
    return [name for name in found if not any(word in name for word in LEFT_OUT)]


def given(connection: Connection) -> dict[str, Any]:
    """A value for each variable, all relations where a file takes a list of them."""
    oids = [row["oid"] for row in rows(connection, TABLE)]
    names = rows(connection, NAMES)
    known: dict[str, Any] = {name: one.value for area in ("health", "access") for file in load_files(area) for name, one in file.thresholds.items()}  # fmt: skip
    return known | {
        "oid": oids[0], "oids": oids, "schemas": [row["schema"] for row in names], "names": [row["name"] for row in names],
        "schema": "app_0", "name": "t0", "role": "postgres", "reader_role": "runbook_reader", "xid": "700", "places": [], "most": 10,
        "application": "test", "segment": None, "segment_at": None, "segments_unseen": None, "backup_at": None, "backup_label": None,
        "backup_unseen": None, "later_timelines": None, "later_named": None, "statements_before": None, "statements_at": None,
        "statement_texts": True, "required_extensions": "{}", "required_roles": "{}",
        "is_shared": False, "classes": [1259] * len(oids), "objects": oids,
    }  # fmt: skip


def positional(name: str, known: dict[str, Any]) -> list[Any]:
    """The values of a file whose parameters have no names."""
    return {
        "fence/list_catalogs": [True],
        "rates/quote_names": [known["names"]],
        "reader/find_reader": ["runbook_reader"],
        "reader/list_grants": ["runbook_reader"],
        "reader/read_since": ["runbook_reader"],
        "trust/find_named": [known["schemas"], known["names"]],
        "trust/find_relations": [known["schemas"][:50], known["names"][:50]],  # one statement names no more
        "trust/find_used": [["public.f(int)"]],
        "trust/list_casts": [known["oids"], [], [], True, None],
        "trust/list_descendants": [known["oids"]],
        "trust/list_refused": [["count"], [], ["="], ["random"], []],
    }.get(name, [])


def work(plan: dict[str, Any]) -> float:
    """Rows that the nodes of a plan have touched: what they gave on, and what they looked at and left out."""
    touched = plan.get("Actual Rows", 0) + sum(
        value for key, value in plan.items() if key.startswith("Rows Removed by")
    )
    return float(touched * plan.get("Actual Loops", 0)) + sum(map(work, plan.get("Plans", ())))


def measure(connection: Connection, name: str, known: dict[str, Any]) -> float:
    file: SqlFile = load_sql(name)
    text = file.placed(dict.fromkeys(file.extensions, "public"))[0] if file.extensions else file.text
    values = file.values(known) if file.variables else positional(name, known)
    try:
        found = rows(connection, f"EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) {text}", values)
    except SqlError as problem:
        raise AssertionError(f"{name}: {problem}") from problem
    return work(found[0]["QUERY PLAN"][0]["Plan"])


def test_no_catalog_query_grows_with_the_square_of_the_relations(cluster: OwnCluster) -> None:
    """Measured by the rows that the nodes of the plans touch, not by a clock; in the sessions that ask them, so those of a fence and of
    a restored copy without index scans."""
    seen: dict[str, list[float]] = {}
    made = 0
    for size in SIZES:
        for number in range(made, size):
            with cluster.connect("big") as connection, connection.transaction():
                for statement in application(f"app_{number}", 2):
                    connection.execute(statement)
        made = size
        cluster.sql("VACUUM ANALYZE", database="big")
        with connect(socket=cluster.socket, user="postgres", database="big", application="test") as connection:
            known = given(connection)
            for name in files():
                seen.setdefault(name, []).append(measure(connection, name, known))
            content.prepare(connection)
            for name in files():
                if name.split("/")[0] in ("closure", "fence", "integrity"):
                    seen.setdefault(f"{name} without index scans", []).append(measure(connection, name, known))
    tables = SIZES[-1] * 50
    growth = {
        name: most / max(least, 1.0)
        for name, (least, most) in seen.items()
        if most > tables  # less is no growth with the relations at all
    }
    assert {
        "fence/list_relations without index scans",
        "closure/list_untrusted",
        "verification/sequences_ahead",
    } <= growth.keys()
    assert {name: (grown, seen[name]) for name, grown in growth.items() if grown > MOST_GROWTH} == {}


def entries(cluster: OwnCluster, role: str) -> list[str]:
    """The texts that pg_stat_statements holds of a role's statements."""
    query = (
        "SELECT s.query FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid "
        f"WHERE r.rolname = '{role}' ORDER BY 1"
    )
    return [row[0] for row in cluster.sql(query, database="big")]


@pytest.mark.parametrize("role", ["postgres", "granted", "plain"])
def test_fence_displaces_no_statement_of_the_application(role: str) -> None:
    """With the right to set pg_stat_statements.track nothing of ours is counted; without it there are few texts, however many tables."""
    settings = {
        "shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "200", "max_locks_per_transaction": "256",
    }  # fmt: skip
    with own_cluster(settings=settings) as made:
        made.create_database(
            "big",
            "CREATE EXTENSION pg_stat_statements",
            "CREATE ROLE application LOGIN",
            "GRANT pg_monitor TO application",
        )
        with made.connect("big") as connection:
            for number in range(4):
                for statement in application(f"app_{number}", 2):
                    connection.execute(statement)
        if role != "postgres":
            make_reader(made, "big")
            if role == "plain":
                made.sql(f"REVOKE SET ON PARAMETER pg_stat_statements.track FROM {READER}")
        made.sql("SELECT pg_stat_statements_reset()", database="big")
        own = 60 if role != "plain" else 20
        with made.connect("big") as connection:
            connection.execute("SET SESSION AUTHORIZATION application")
            for number in range(1, own + 1):
                connection.execute(f"SELECT {', '.join('1' for _ in range(number))}")
        before = entries(made, "application")
        assert len([text for text in before if text.startswith("SELECT $1")]) == own
        made.backup("first")
        made.fence()
        assert entries(made, "application") == before, "none of the application's was displaced"
        reads = [
            text
            for text in entries(made, READER if role != "postgres" else "postgres")
            if "hash_record_extended" in text
        ]
        assert len(reads) <= (10 if role == "plain" else 0), "208 tables were read"
