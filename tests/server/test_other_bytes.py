"""Names and texts that are not UTF-8: a cluster that PostgreSQL's own tools work on is fenced, verified, audited and looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from homes import at_home, recorded
from own_cluster import OwnCluster, own_cluster
from proof import prove
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.connect import one, quote, rows
from runbook.verification import content

pytestmark = [pytest.mark.server, pytest.mark.faults]

ROLE, DATABASE = b"m\xfcller", b"b\xfcro"


def run_bytes(cluster: OwnCluster, *statements: bytes, database: bytes = b"old") -> None:
    """The statements have run, sent as they are, as psql with PGCLIENTENCODING=SQL_ASCII sends them."""
    conninfo = f"host={cluster.socket} port=5432 user='{cluster.superuser}' client_encoding=SQL_ASCII".encode()
    pgconn = psycopg.pq.PGconn.connect(conninfo + b" dbname='" + database + b"'")
    assert pgconn.status == psycopg.pq.ConnStatus.OK, pgconn.error_message
    for statement in statements:
        result = pgconn.exec_(statement)
        assert result.status in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK), (
            result.error_message
        )
    pgconn.finish()


def fill_bytes(cluster: OwnCluster) -> None:
    """A cluster of UTF8 with databases in other encodings, and names in the bytes of Latin-1 wherever a name can be."""
    own = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    cluster.sql(
        "CREATE EXTENSION amcheck",
        "CREATE EXTENSION pg_stat_statements",
        f"CREATE DATABASE old ENCODING 'SQL_ASCII' {own}",
        f"CREATE DATABASE latin ENCODING 'LATIN1' {own}",
        f"CREATE DATABASE \"dé jà\" ENCODING 'LATIN1' {own}",
    )
    ascii_ = (
        b"CREATE EXTENSION amcheck",
        b'CREATE TABLE "caf\xe9" ("gr\xf6\xdfe" int PRIMARY KEY, "n\xe4me" text)',
        b"INSERT INTO \"caf\xe9\" VALUES (1, 'stra\xdfe'), (2, 'ok')",
        b'CREATE INDEX "ind\xe9x" ON "caf\xe9" ("n\xe4me")',
        b'CREATE SEQUENCE "z\xe4hler" START 9 OWNED BY "caf\xe9"."gr\xf6\xdfe"',
        b"COMMENT ON TABLE \"caf\xe9\" IS 'gr\xfc\xdfe'",
        b'CREATE SCHEMA "sch\xe9ma"',
        b'CREATE TABLE "sch\xe9ma"."\x80\xff" (a int)',
        b"CREATE FUNCTION public.\"pr\xfcf\"(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        b'CREATE TABLE "verm\xe4chtnis" (a int, b text)',
        b'CREATE INDEX ON "verm\xe4chtnis" (public."pr\xfcf"(a))',
        b"INSERT INTO \"verm\xe4chtnis\" VALUES (1, '\xe9')",
    )
    run_bytes(cluster, *ascii_)
    run_bytes(
        cluster,
        b'CREATE ROLE "' + ROLE + b'" LOGIN',
        b'CREATE DATABASE "' + DATABASE + b"\" ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        b'ALTER TABLE "caf\xe9" OWNER TO "' + ROLE + b'"',
        b'SELECT count(*), pg_sleep(0) FROM "caf\xe9" WHERE "n\xe4me" <> \'gr\xfc\xdfe\'',
    )
    run_bytes(cluster, *ascii_, database=DATABASE)
    for name in ("latin", "dé jà"):
        cluster.sql("CREATE EXTENSION amcheck", "CREATE TABLE café (é int PRIMARY KEY, t text)", database=name)
        cluster.sql("INSERT INTO café VALUES (1, 'Ärger')", database=name)


@pytest.fixture(scope="module")
def other_bytes() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums", settings={"shared_preload_libraries": "pg_stat_statements"}) as cluster:
        fill_bytes(cluster)
        yield cluster


def test_names_are_read_as_bytes_and_can_be_used_again(other_bytes: OwnCluster) -> None:
    other_bytes.params()
    with at_home(other_bytes.home):
        live = LiveServer(other_bytes.params().cluster, "test")  # type: ignore[arg-type]
        seen: dict[str, Any] = {}
        for through in ("postgres", "old", "latin", "b\udcfcro", "dé jà"):
            with live.connect(through) as connection:
                seen[through] = content.list_databases(connection)
                table = "caf\udce9" if through in ("old", "b\udcfcro") else "café"
                if through != "postgres":
                    assert rows(connection, f"SELECT count(*) AS n FROM public.{quote(table)}")[0]["n"] > 0
                    found = one(
                        connection,
                        "SELECT relname FROM pg_class WHERE relname = $1 AND relname = ANY ($2::text[])",
                        [table, [table]],
                    )
                    assert found["relname"] == table
                assert connection.database == through
        assert set(map(tuple, seen.values())) == {("b\udcfcro", "dé jà", "latin", "old", "postgres")}


def test_fence_and_verification_pass(other_bytes: OwnCluster) -> None:
    other_bytes.backup("first")
    other_bytes.fence()
    other_bytes.switch()
    for promote in (False, True):
        outcome = prove(other_bytes, promote=promote)
        assert [*outcome.alarms, outcome.verdict] == ["PASS"]
        ids = {check.id for check in outcome.checks}
        assert {"fence@old", "read@latin", "amcheck@b\\xfcro", "fence@dé jà"} <= ids


def test_damage_in_a_database_with_such_names_is_named(other_bytes: OwnCluster) -> None:
    """A name that was read as bytes is found again in what pg_amcheck prints."""
    run_bytes(
        other_bytes,
        b'CREATE TABLE "d\xe4m" (a int); INSERT INTO "d\xe4m" SELECT generate_series(1, 1000); CREATE INDEX "d\xe4m_i" ON "d\xe4m" (a)',
        b"UPDATE pg_index SET indoption = '1' WHERE indexrelid = '\"d\xe4m_i\"'::regclass",
    )
    try:
        other_bytes.backup("second")
        other_bytes.fence()
        other_bytes.switch()
        outcome = prove(other_bytes)
        check = outcome.check("amcheck@old")
        assert (outcome.verdict, str(check.status)) == ("FAIL", "FAIL")
        assert [finding.object for finding in check.findings] == ["old.public.d\\xe4m_i"]
    finally:
        run_bytes(other_bytes, b'DROP TABLE "d\xe4m"')


@pytest.mark.parametrize("runbook", ["daily-health", "access-audit", "backup-verification"])
def test_runbooks_measure_such_a_cluster(other_bytes: OwnCluster, runbook: str) -> None:
    with at_home(other_bytes.home):
        other_bytes.params()
        _, record = recorded(other_bytes.home, runbook, "--target", "own")
    problems = [f"{check['id']}: {check['reason']}" for check in record["checks"] if check["status"] == "UNKNOWN"]
    assert "UnicodeDecodeError" not in str(record) and "invalid byte sequence" not in str(record), problems
    assert record["verdict"] in ("PASS", "FAIL") or runbook == "access-audit", (record["reason"], problems)
    assert "\\udc" not in str(record)
