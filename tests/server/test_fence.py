"""The fence: exact under load, refused when it cannot serve, and it sees every row that differs."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster
from proof import prove
from runbook.errors import OperatorError, PlatformError, RunbookError
from runbook.postgres.wal import WalRecord, format_lsn, parse_commit, parse_lsn
from runbook.postgres.waldump import read_records
from runbook.verification.fence import take_fence
from runbook.verification.fencefile import Fence
from shop import Shop, add_mark, fill, forget_manifest, write_page

pytest_plugins = ("shop_fixtures",)
pytestmark = [pytest.mark.server, pytest.mark.faults]


def fence_file(shop: Shop) -> Path:
    return next((shop.cluster.backups / "fences").glob("*.json"))


def edit(path: Path, **changed: Any) -> None:
    """The fence with other facts and a digest that fits them, as if it had been taken so."""
    from runbook.verification import fencefile

    body = json.loads(path.read_text())
    body.pop("sha256")
    body |= changed
    path.write_text(json.dumps({**body, "sha256": fencefile._digest(body)}))


def databases(path: Path) -> Any:
    return json.loads(path.read_text())["databases"]


def assert_unknown(shop: Shop, *words: str, **asked: str) -> None:
    outcome = prove(shop.cluster, **asked)
    check = outcome.check("fence")
    assert (outcome.verdict, check.status) == ("INCOMPLETE", "UNKNOWN"), outcome.alarms
    for word in words:
        assert word in (check.reason or ""), check.reason
    assert "runbook fence take" in (check.next or "")


def test_missing_fence_is_unknown(shop: Shop) -> None:
    shutil.rmtree(shop.cluster.backups / "fences")
    assert_unknown(shop, "no fence has been taken")


def test_edited_fence_is_unknown(shop: Shop) -> None:
    path = fence_file(shop)
    text = path.read_text()
    rows = databases(path)[-1]["relations"][0]["rows"]
    assert f'"rows": {rows}' in text
    path.write_text(text.replace(f'"rows": {rows}', f'"rows": {rows + 1}', 1))
    assert_unknown(shop, path.name, "sha256")


@pytest.mark.parametrize("left", [0, 200])
def test_torn_fence_is_unknown(shop: Shop, left: int) -> None:
    path = fence_file(shop)
    path.write_bytes(path.read_bytes()[:left])
    assert_unknown(shop, path.name)


def test_fence_of_another_system_is_unknown(shop: Shop) -> None:
    edit(fence_file(shop), system_identifier="7000000000000000000")
    assert_unknown(shop, "another system")


def test_fence_of_other_settings_is_unknown(shop: Shop) -> None:
    edit(fence_file(shop), settings={"timezone": "CET"})
    assert_unknown(shop, "other settings")


def test_fence_of_another_timeline_is_unknown(shop: Shop) -> None:
    path = fence_file(shop)
    edit(path, databases=[{**item, "timeline": 2} for item in databases(path)])
    assert_unknown(shop, "timeline")


def test_fence_before_the_backup_is_unknown(shop: Shop) -> None:
    path = fence_file(shop)
    edit(path, databases=[{**item, "lsn": "0/1000028"} for item in databases(path)])
    assert_unknown(shop, "before the backup")


def test_fence_behind_the_point_is_unknown(shop: Shop) -> None:
    path = fence_file(shop)
    edit(path, databases=[{**item, "lsn": shop.mark(3).after} for item in databases(path)])
    assert_unknown(shop, "behind the point", recovery_point=shop.mark(2).after)


def test_fence_without_one_of_the_databases_is_unknown_for_it(shop: Shop) -> None:
    path = fence_file(shop)
    edit(path, databases=[item for item in databases(path) if item["database"] != "postgres"])
    outcome = prove(shop.cluster)
    assert outcome.check("fence@shop").status == "PASS"
    assert outcome.check("fence@postgres").status == "UNKNOWN" and outcome.verdict == "INCOMPLETE"


def test_fence_with_a_database_that_is_gone_never_passes(shop: Shop) -> None:
    path = fence_file(shop)
    found = databases(path)
    edit(path, databases=[*found, {**found[0], "database": "vanished"}])
    outcome = prove(shop.cluster)
    assert outcome.verdict == "FAIL" and "vanished" in outcome.said


def test_row_more_or_less_or_changed_is_seen(shop: Shop) -> None:
    path = fence_file(shop)
    original = databases(path)
    for name, change, word in (
        ("quiet", lambda item: {"rows": item["rows"] + 1}, "missing"),
        ("quiet", lambda item: {"rows": item["rows"] - 1}, "too many"),
        ("item", lambda item: {"hash": str(int(item["hash"]) + 1)}, "contents differ"),
    ):
        changed = [
            {
                **base,
                "relations": [{**item, **(change(item) if item["name"] == name else {})} for item in base["relations"]],
            }
            for base in original
        ]
        edit(path, databases=changed)
        outcome = prove(shop.cluster)
        check = outcome.check("fence@shop")
        assert check.status == "FAIL" and name in (check.reason or "") and word in (check.reason or ""), check


def test_sequence_behind_and_missing_is_seen(shop: Shop) -> None:
    path = fence_file(shop)
    original = databases(path)
    for change in ({"value": 10**6}, {"name": "no_such_sequence"}):
        edit(
            path,
            databases=[{**base, "sequences": [{**item, **change} for item in base["sequences"]]} for base in original],
        )
        outcome = prove(shop.cluster)
        assert outcome.check("fence@shop").status == "FAIL" and "sequence" in outcome.said


def test_page_lost_after_the_fence_is_seen_by_nothing_else(shop: Shop) -> None:
    """The heap of a table that WAL does not rewrite, zeroed in a backup whose manifest agrees."""
    write_page(shop.file("quiet"), 7, bytes(8192))
    forget_manifest(shop.backup)
    outcome = prove(shop.cluster)
    check = outcome.check("fence@shop")
    assert check.status == "FAIL" and "public.quiet" in (check.reason or "")
    finding = check.findings[0]
    assert int(finding.expected) - int(finding.observed) > 50


def test_tables_dropped_truncated_and_made_after_the_fence_pass_and_before_it_too() -> None:
    statements = (
        "DROP TABLE item",
        "TRUNCATE quiet",
        "CREATE TABLE fresh AS SELECT generate_series(1, 100) AS id",
        "ALTER TABLE mark ADD COLUMN more int DEFAULT 5",
        "CREATE MATERIALIZED VIEW seen AS SELECT * FROM fresh",
    )
    for order in ("backup, change, fence", "backup, fence, change", "backup, change, fence, change"):
        with own_cluster("--data-checksums") as cluster:
            fill(cluster)
            cluster.backup("first")
            if order.startswith("backup, change"):
                cluster.sql(*statements, database="shop")
            cluster.fence()
            if order == "backup, fence, change":
                cluster.sql(*statements, database="shop")
            if order.endswith("fence, change"):
                cluster.sql("DROP TABLE IF EXISTS fresh CASCADE", "TRUNCATE mark", "VACUUM FULL quiet", database="shop")
            cluster.switch()
            outcome = prove(cluster)
            assert (outcome.verdict, outcome.alarms) == ("PASS", []), order


@contextmanager
def load(cluster: OwnCluster, clients: int = 4) -> Iterator[None]:
    """pgbench at full speed, and a session that cannot stop making subtransactions and aborting."""
    argv = [
        cluster.tools.path("pgbench"), "-n", "-h", str(cluster.socket), "-U", cluster.superuser, "-c", str(clients),
        "-j", "2", "-T", "120", "-N", "shop",
    ]  # fmt: skip
    script = cluster.home / "log" / "odd.sql"
    script.write_text(
        "BEGIN;\nINSERT INTO mark VALUES (1);\nSAVEPOINT a;\nINSERT INTO mark VALUES (2);\nROLLBACK TO a;\nSAVEPOINT b;\n"
        "INSERT INTO mark VALUES (3);\nCOMMIT;\nBEGIN;\nDELETE FROM mark WHERE number = 3;\nROLLBACK;\n"
    )
    odd = [*argv[:-7], "1", "-j", "1", "-T", "120", "-f", str(script), "shop"]
    user = cluster.user.name if cluster.user else None
    running = [
        subprocess.Popen(words, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for words in (argv, odd)
    ]
    try:
        time.sleep(0.5)
        assert all(process.poll() is None for process in running)
        yield
        assert all(process.poll() is None for process in running), "the load ended too early to prove anything"
    finally:
        for process in running:
            process.terminate()
            process.wait()


@pytest.fixture
def pgbench() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums", settings={"synchronous_commit": "off", "max_wal_size": "1GB"}) as cluster:
        fill(cluster)
        cluster.run("pgbench", "-i", "-q", "-h", str(cluster.socket), "-U", "postgres", "shop")
        cluster.backup("first")
        yield cluster


def test_fences_taken_at_full_speed_are_exact(pgbench: OwnCluster) -> None:
    fences: list[Fence] = []
    with load(pgbench):
        for _ in range(4):
            fences.append(pgbench.fence())
    pgbench.switch()
    kept = pgbench.home / "kept"
    (pgbench.backups / "fences").rename(kept)
    for fence in fences:
        folder = pgbench.backups / "fences"
        folder.mkdir()
        shutil.copy2(kept / fence.path.name, folder)
        outcome = prove(pgbench)
        assert (outcome.verdict, outcome.alarms) == ("PASS", []), fence.path.name
        shutil.rmtree(folder)
    seen = {next(item.rows for item in fence.databases if item.database == "shop") for fence in fences}
    assert len(seen) == len(fences), "the load has written between them"


def test_fence_a_few_commits_off_under_load_is_seen(pgbench: OwnCluster) -> None:
    """The same proof, shown to fail: the fence's position moved behind some more commits."""
    with load(pgbench, clients=2):
        fence = pgbench.fence()
        pgbench.sql("SELECT pg_sleep(0.3)")
    pgbench.switch()
    body = json.loads(fence.path.read_text())
    late = next(item for item in body["databases"] if item["database"] == "shop")
    start = parse_lsn(late["lsn"])
    records = read_records(
        pgbench.tools, pgbench.archive, 1, start, start + (1 << 20), rmgrs=("Transaction",), timeout=60
    )
    commits = [item.lsn for item in records if isinstance(item, WalRecord) and parse_commit(item) is not None]
    assert commits[0] == start and len(commits) > 9
    late["lsn"] = format_lsn(commits[9])
    edit(fence.path, databases=body["databases"])
    outcome = prove(pgbench)
    check = outcome.check("fence@shop")
    assert (outcome.verdict, check.status) == ("FAIL", "FAIL") and "pgbench_" in outcome.said


def test_fence_by_a_role_that_may_only_read_is_exact() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("CREATE ROLE reader LOGIN", "GRANT pg_read_all_data, pg_monitor TO reader")
        cluster.backup("first")
        secret = cluster.home / "connection"
        secret.write_text(secret.read_text().replace("user='postgres'", "user='reader'"))
        cluster.sql("ALTER SYSTEM SET archive_timeout = '1s'", "SELECT pg_reload_conf()")
        cluster.sql("INSERT INTO mark VALUES (1)", database="shop")
        cluster.fence()
        add_mark(cluster, 2)
        cluster.switch()
        outcome = prove(cluster)
        assert (outcome.verdict, outcome.alarms) == ("PASS", [])


def test_fence_by_a_role_that_may_not_read_says_which_table(shop: Shop) -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("CREATE ROLE stranger LOGIN")
        secret = cluster.home / "connection"
        secret.write_text(secret.read_text().replace("user='postgres'", "user='stranger'"))
        with pytest.raises(RunbookError) as problem:
            cluster.fence()
        assert "permission denied" in str(problem.value) and problem.value.next


def test_fence_waits_for_the_archive_and_says_when_it_is_stuck() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql("ALTER SYSTEM SET archive_command = 'false'", "SELECT pg_reload_conf()")
        with at_home(cluster.home), pytest.raises(PlatformError, match="was not archived"):
            take_fence(cluster.params(), archive_timeout=2)
        assert list((cluster.backups / "fences").glob("*")) == []


def test_fence_without_a_connection_is_refused() -> None:
    with own_cluster(start=False) as cluster, at_home(cluster.home), pytest.raises(OperatorError, match="connection"):
        take_fence(cluster.params(cluster={"connection": None}))


def test_fence_with_a_prepared_transaction_pending_is_exact() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.sql("BEGIN", "INSERT INTO mark VALUES (7)", "PREPARE TRANSACTION 'pending'", database="shop")
        cluster.fence()
        cluster.sql("COMMIT PREPARED 'pending'", database="shop")
        cluster.switch()
        outcome = prove(cluster)
        assert (outcome.verdict, outcome.alarms) == ("PASS", [])


def test_fence_on_an_idle_server_is_exact() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        outcome = prove(cluster)
        assert (outcome.verdict, outcome.alarms) == ("PASS", [])
