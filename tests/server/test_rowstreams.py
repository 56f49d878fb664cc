"""Streams of rows that are left in the middle hold nobody up: a server that dies, a reader that breaks off, a disk that fills."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from own_cluster import OwnCluster, own_cluster
from runbook.postgres.connect import Connection, SqlError, connect
from runbook.recovery.rowstreams import copy_rows

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]

MANY = "SELECT g, repeat('x', 200) FROM generate_series(1, 200000) AS g"


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as cluster:
        yield cluster


def open_to(cluster: OwnCluster) -> Connection:
    return connect(socket=cluster.socket, database="postgres", user="postgres", application="test", statement_timeout=0)


def test_reader_that_breaks_off_leaves_at_once(cluster: OwnCluster, capfd: pytest.CaptureFixture[str]) -> None:
    kept = []
    with pytest.raises(RuntimeError, match="no room"), open_to(cluster) as one, open_to(cluster) as other:
        for connection in (one, other):
            connection.execute("BEGIN")
            stream = copy_rows(connection, MANY)
            assert next(stream)[0] == "1"
            kept.append(stream)  # as a traceback keeps it
        raise RuntimeError("no room")
    kept.clear()
    assert capfd.readouterr().err == ""


def test_server_that_dies_under_two_streams_is_told_at_once(
    cluster: OwnCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SqlError) as told, open_to(cluster) as one, open_to(cluster) as other:
        first, second = copy_rows(one, MANY), copy_rows(other, MANY)
        next(first), next(second)
        cluster.sql(f"SELECT pg_terminate_backend({other.info.backend_pid})")
        for _ in second:
            pass
    assert told.value.__traceback__ is not None
    del told, first, second
    assert capfd.readouterr().err == ""


def test_stream_read_to_its_end_leaves_its_connection_usable(cluster: OwnCluster) -> None:
    with open_to(cluster) as one:
        assert len(list(copy_rows(one, "SELECT 1 UNION ALL SELECT 2"))) == 2
        assert one.execute("SELECT 3 AS n").fetchone() == {"n": 3}
    assert one.closed
