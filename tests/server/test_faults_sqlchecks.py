"""A check file against a real database: an error, a NULL or an empty answer is UNKNOWN, and every row counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from own_cluster import OwnCluster, own_cluster
from proof import prove
from runbook import layout
from runbook.model import Check
from runbook.postgres.connect import connect
from runbook.verification.sqlchecks import load_checks, run_check
from shop import fill

pytestmark = [pytest.mark.server, pytest.mark.faults]


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as made:
        fill(made)
        yield made


def judge(cluster: OwnCluster, folder: Path, text: str, **given: object) -> Check:
    (folder / "mine.sql").write_text(text)
    check = load_checks(folder)[0]
    with connect(
        socket=cluster.socket, user="postgres", database="shop", application="test", statement_timeout=1
    ) as connection:
        connection.execute("SET search_path = public, pg_catalog")
        return run_check(check, connection, "shop", dict(given))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("-- expect: n = 0\nSELECT 0 AS n", "PASS"),
        ("-- expect: n = 0\nSELECT 1 AS n", "FAIL"),
        ("-- expect: n > 0.5\nSELECT 0.6::float8 AS n", "PASS"),
        ("-- expect: n = 'a''b'\nSELECT 'a''b' AS n", "PASS"),
        ("-- expect: n = true\nSELECT true AS n", "PASS"),
        ("-- expect: n = true\nSELECT false AS n", "FAIL"),
        ("-- expect: rows = 0\nSELECT 1 WHERE false", "PASS"),
        ("-- expect: rows = 0\nSELECT number FROM mark UNION ALL SELECT 5", "FAIL"),
        ("-- expect: rows >= 1\n-- expect: n < 100\nSELECT generate_series(1, 50) AS n", "PASS"),
        ("-- expect: n < 2000\nSELECT generate_series(1, 1999) AS n", "PASS"),
        ("-- expect: n < 2000\nSELECT generate_series(1, 2000) AS n", "FAIL"),
        ("-- expect: n < 100000\nSELECT generate_series(1, 100000) AS n", "FAIL"),
        ("-- expect: n >= :least\nSELECT count(*) AS n FROM quiet", "PASS"),
        ("-- expect: n = 20000\nSELECT count(*) AS n FROM quiet WHERE name <> :'word'", "PASS"),
    ],
)
def test_expectation_holds_for_every_row(cluster: OwnCluster, tmp_path: Path, text: str, status: str) -> None:
    check = judge(cluster, tmp_path, text, least=10, word="none")
    assert check.status == status, check
    assert (check.reason is None) == (status == "PASS")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("-- expect: n = 0\nSELECT n FROM nowhere", "nowhere"),
        ("-- expect: n = 0\nSELECT 1 / (SELECT 0) AS n", "division"),
        ("-- expect: n = 0\nSELECT 0 AS m", "'n'"),
        ("-- expect: n = 0\nSELECT NULL::int AS n", "NULL"),
        ("-- expect: n = 0\nSELECT max(number) AS n FROM mark", "NULL"),
        ("-- expect: n = 0\nSELECT 0 AS n WHERE false", "no row"),
        ("-- expect: n = 0\nSELECT 'abc' AS n", "cannot be compared"),
        ("-- expect: n > 0\nSELECT 'NaN'::float8 AS n", "cannot be compared"),
        ("-- expect: n = true\nSELECT 1 AS n", "cannot be compared"),
        ("-- expect: n = 0\nSELECT pg_sleep(30), 0 AS n", "timeout"),
        ("-- expect: n = 0\nDELETE FROM mark RETURNING 0 AS n", "read-only"),
        ("-- expect: n = 0\nCREATE TABLE t AS SELECT 0 AS n", "read-only"),
        ("-- expect: n > :limit\nSELECT 0 AS n", "limit"),
        ("-- expect: n = 0\nSELECT :value AS n", "value"),
        ("-- expect: n = 0\nSELEC 0 AS n", "syntax"),
    ],
)
def test_no_answer_is_unknown_with_the_reason(cluster: OwnCluster, tmp_path: Path, text: str, word: str) -> None:
    check = judge(cluster, tmp_path, text)
    assert check.status == "UNKNOWN", check
    assert word in (check.reason or "") and "mine.sql" in (check.reason or "") and check.next


def test_a_check_of_ones_own_is_run_on_the_restore_and_can_fail() -> None:
    with own_cluster("--data-checksums") as made:
        own = made.home / "sql"
        own.mkdir()
        for name in ("fence", "shown"):
            (own / name).symlink_to(layout.CHECKOUT / "sql" / name)
        (own / "verification").mkdir()
        (own / "verification" / "marks.sql").write_text(
            "-- purpose: somebody has left a mark\n-- expect: marks >= 5\n-- next: leave one\n"
            "-- database: main\nSELECT count(*) AS marks FROM mark\n"
        )
        fill(made)
        made.backup("first")
        made.fence()
        made.switch()
        outcome = prove(made, made.params(verification={"database": "shop"}))
    check = outcome.check("sql/marks@shop")
    assert (outcome.verdict, check.status, check.next) == ("FAIL", "FAIL", "leave one")
    assert [item.id for item in outcome.checks if item.id.startswith("sql/")] == ["sql/marks@shop"]
