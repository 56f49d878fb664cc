"""The role that reads tables: doctor finds what it lacks in each database, and the command that it prints gives it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from homes import at_home
from hostile import READER, make_reader
from own_cluster import OwnCluster, own_cluster
from runbook.cli.main import run_cli
from runbook.platforms.cluster.reader import inspect_reader
from runbook.postgres.connect import connect, one

pytestmark = pytest.mark.server


@pytest.fixture(params=[17, pytest.param(15, marks=pytest.mark.faults), pytest.param(18, marks=pytest.mark.faults)])
def cluster(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster(major=request.param) as made:
        made.create_database(
            "shop's", "CREATE TABLE t AS SELECT 1 AS i", 'REVOKE CONNECT ON DATABASE "shop\'s" FROM PUBLIC'
        )
        made.params()
        yield made


def test_what_doctor_prints_makes_the_reader(cluster: OwnCluster, capsys: pytest.CaptureFixture[str]) -> None:
    with at_home(cluster.home):
        for path in (cluster.home / "params").glob("*.yaml"):
            if path.stem not in ("own", "contacts", "controls"):
                path.unlink()
        run_cli(["doctor"])
        for line in capsys.readouterr().out.splitlines():
            if line.startswith("FIX ") and "of its grants" in line:
                command = line.split("Next: ", 1)[1].replace(
                    "psql ", f"{cluster.tools.bin}/psql -v ON_ERROR_STOP=1 ", 1
                )
                subprocess.run(["bash", "-c", command], cwd=cluster.home, check=True, capture_output=True)
        state = inspect_reader(cluster.params().cluster, "test")  # type: ignore[arg-type]
    assert (state.missing, state.unseen) == ({}, {})
    with connect(socket=cluster.socket, database="shop's", user=READER, application="test") as reader:
        assert one(reader, "SELECT count(*) AS n FROM public.t") == {"n": 1}


@pytest.mark.parametrize(
    ("statement", "database", "named"),
    [
        (f"ALTER ROLE {READER} NOBYPASSRLS", "postgres", "BYPASSRLS"),
        (f"ALTER ROLE {READER} CREATEROLE", "postgres", "NOCREATEROLE"),
        (f"ALTER ROLE {READER} SUPERUSER", "postgres", "NOSUPERUSER"),
        (f"REVOKE pg_read_all_data FROM {READER}", "postgres", "pg_read_all_data"),
        (f'REVOKE CONNECT ON DATABASE "shop\'s" FROM {READER}', "shop's", "CONNECT"),
        (
            "REVOKE EXECUTE ON FUNCTION bt_index_check(regclass) FROM PUBLIC, " + READER,
            "shop's",
            "bt_index_check(regclass)",
        ),
    ],
)
def test_what_was_taken_from_the_reader_is_missing_by_name(
    cluster: OwnCluster, statement: str, database: str, named: str
) -> None:
    make_reader(cluster, "shop's")
    cluster.sql(statement, database=database)
    with at_home(cluster.home):
        state = inspect_reader(cluster.params().cluster, "test")  # type: ignore[arg-type]
    shared = "ROLE" in statement or "pg_read_all_data" in statement
    found = state.missing["template1" if shared else database]
    assert [named in text for text in found] == [True]
