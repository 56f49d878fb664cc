"""A whole recovery on the other major versions: what WAL, control file, catalogs and programs say differs from one to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, service_words
from recovering import ANSWERS, Recovering, Said

pytestmark = [pytest.mark.server, pytest.mark.faults]

MAJORS = (15, 18)
ITEMS = "SELECT count(*), count(*) FILTER (WHERE id <= 2000), count(*) FILTER (WHERE name = 'later') FROM item"


@contextmanager
def damaged(major: int) -> Iterator[OwnCluster]:
    """1500 of 2000 items were deleted, and others went on; RUNBOOK_HOME has the cluster as target `own`."""
    with own_cluster("--data-checksums", major=major) as cluster, at_home(cluster.home):
        cluster.sql("CREATE EXTENSION amcheck")
        cluster.create_database(
            "shop",
            "CREATE TABLE item (id int PRIMARY KEY, name text)",
            "INSERT INTO item SELECT g, 'item ' || g FROM generate_series(1, 2000) AS g",
            "CREATE TABLE note (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, said text)",
            "CREATE TABLE gone (id int PRIMARY KEY, said text)",
            "INSERT INTO gone SELECT g, 'said ' || g FROM generate_series(1, 300) AS g",
        )
        cluster.backup("first")
        cluster.fence()
        cluster.sql("INSERT INTO item VALUES (3000, 'kept')", "INSERT INTO note (said) VALUES ('x')", database="shop")
        with cluster.connect("shop") as damage, damage.transaction():
            damage.execute("DELETE FROM item WHERE id <= 1500")
            damage.execute("DROP TABLE gone")
        cluster.sql(
            "INSERT INTO item VALUES (3001, 'later')", "UPDATE item SET name = 'later' WHERE id = 2000",
            "TRUNCATE note", "CREATE TABLE fresh AS SELECT 1 AS id", database="shop",
        )  # fmt: skip
        cluster.switch()
        cluster.params(cluster={"service": service_words(cluster, cluster.home)}, recovery={"quiet_for": "1 s"})
        params = cluster.home / "params" / "own.yaml"
        params.write_text(json.dumps({**json.loads(params.read_text()), "environment": "sandbox"}))
        yield cluster


def finished(**answers: str) -> Said:
    last = Recovering({**ANSWERS, **answers}, target="own").finish()
    doubts = [check for check in last.record["checks"] if check["status"] != "PASS"]
    assert (doubts, last.code, last.last["verdict"]) == ([], 0, "PASS"), last.stdout + last.stderr
    return last


@pytest.mark.parametrize("major", MAJORS)
def test_recovery_is_swapped_in_on_other_versions(major: int) -> None:
    with damaged(major) as cluster:
        last = finished()
        loss = last.record["facts"]["loss"]["tables"]
        item, note, gone = (loss[f"public.{name}"] for name in ("item", "note", "gone"))
        assert item["damage"]["deleted"] == 1500 and (item["others"]["inserted"], item["others"]["updated"]) == (1, 1)
        assert "truncated" in note["fates"][0] and "dropped" in gone["fates"][0]
        assert cluster.sql(ITEMS, "SELECT to_regclass('fresh')", database="shop") == [(None,)]
        assert cluster.sql(ITEMS, database="shop") == [(2001, 2000, 0)]
        assert cluster.sql("SELECT count(*) FROM note", database="shop") == [(1,)]
        assert cluster.sql("SELECT count(*) FROM gone", database="shop") == [(300,)]
        assert (cluster.archive / "00000002.history").is_file()
        assert len([path for path in cluster.backups.iterdir() if (path / "backup_manifest").is_file()]) == 2
        checked = {check["id"] for check in last.record["checks"]}
        assert {"manifest", "fence@shop", "read@shop", "amcheck@shop", "recovery-loss-files"} <= checked


@pytest.mark.parametrize("major", MAJORS)
def test_lost_rows_are_copied_back_on_other_versions(major: int) -> None:
    with damaged(major) as cluster:
        finished(way="copy-back")
        assert cluster.sql(ITEMS, database="shop") == [(2002, 2000, 2)]
        assert cluster.sql("SELECT count(*) FROM gone", database="shop") == [(300,)]
