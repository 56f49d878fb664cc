"""What WAL and inherited settings may do to a scratch: tablespaces, targets, commands, limits, subtransactions."""

from __future__ import annotations

from typing import Any

import pytest
from own_cluster import OwnCluster, own_cluster
from proof import ask, prove
from runbook import clock
from runbook.errors import RecoveryRefused
from runbook.platforms.cluster.replay import SnapshotMissing
from runbook.postgres.osuser import give
from shop import add_mark, fill

pytestmark = [pytest.mark.server, pytest.mark.faults]
MARKS = ask("SELECT count(*) FROM mark")


def make_tablespace(cluster: OwnCluster, name: str) -> Any:
    folder = cluster.home / "tablespaces" / name
    folder.mkdir(mode=0o700)
    give(folder, cluster.user)
    cluster.sql(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    return folder


def tree(folder: Any) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("knows_data", [True, False])
def test_tablespace_made_after_the_backup_is_refused_and_production_unchanged(knows_data: bool) -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        before = add_mark(cluster, 1)
        folder = make_tablespace(cluster, "later")
        cluster.sql("CREATE TABLE late TABLESPACE later AS SELECT generate_series(1, 2500) AS a", database="shop")
        cluster.sql("CHECKPOINT")
        cluster.switch()
        seen = tree(folder)
        assert len(seen) > 0
        if not knows_data:
            cluster.changed["cluster"] = {"data_directory": None}
        outcome = prove(cluster)
        assert isinstance(outcome.error, RecoveryRefused), outcome.alarms
        assert str(folder) in outcome.said and "new base backup" in outcome.said
        assert tree(folder) == seen and cluster.sql("SELECT count(*) FROM late", database="shop") == [(2500,)]
        early = prove(cluster, recovery_point=before.after, look=MARKS)
        assert early.seen == 1 and [item.split(":")[0] for item in early.alarms] == ["fence"]
        assert tree(folder) == seen


@pytest.mark.parametrize("named", ["by data directory", "by params", "by nothing"])
def test_backup_whose_tablespace_is_the_live_one_is_refused(named: str) -> None:
    """As `cp -a` of a data directory makes it: the link still leads to production."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        folder = make_tablespace(cluster, "apart")
        cluster.sql("CREATE TABLE far TABLESPACE apart AS SELECT generate_series(1, 2500) AS a", database="shop")
        aside = cluster.home / "tablespaces" / "aside"
        backup = cluster.backup("first", f"--tablespace-mapping={folder}={aside}")
        link = next((backup / "pg_tblspc").iterdir())
        link.unlink()
        link.symlink_to(folder)
        cluster.fence()
        cluster.switch()
        if named != "by data directory":
            cluster.changed["cluster"] = {"data_directory": None}
        if named == "by params":
            cluster.changed["cluster"]["tablespaces"] = [str(folder)]
        seen = tree(folder)
        outcome = prove(cluster)
        if named == "by nothing":
            check = outcome.check("tablespaces")
            assert check.status == "UNKNOWN" and str(folder) in (check.reason or "")
        else:
            assert isinstance(outcome.error, RecoveryRefused), outcome.alarms
            assert "live tablespace" in outcome.said and "tablespace-mapping" in outcome.said
        assert tree(folder) == seen


def test_inherited_targets_and_commands_are_ignored() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        tell_tale = cluster.home / "log" / "reached"
        inherited = {
            "restore_command": f"touch {tell_tale}-restore; false",
            "archive_cleanup_command": f"touch {tell_tale}-cleanup",
            "recovery_end_command": f"touch {tell_tale}-end",
            "archive_command": f"touch {tell_tale}-archive",
            "recovery_target_name": "left by an earlier recovery",
            "recovery_target_action": "promote",
            "recovery_target_timeline": "current",
            "recovery_target_inclusive": "off",
            "primary_conninfo": "host=/nowhere user=nobody",
            "primary_slot_name": "gone",
            "synchronous_standby_names": "*",
            "shared_preload_libraries": "no_such_library",
            "hot_standby": "off",
            "listen_addresses": "*",
            "max_connections": "5",
            "statement_timeout": "1ms",
            "default_transaction_read_only": "on",
            "logging_collector": "on",
            "log_directory": "/nowhere",
            "data_directory": "/nowhere",
            "hba_file": "/nowhere",
            "ssl": "on",
            "recovery_prefetch": "off",
            "recovery_min_apply_delay": "1d",
            "ignore_invalid_pages": "on",
            "zero_damaged_pages": "on",
        }
        backup = cluster.backup("first")
        lines = "".join(f"{name} = '{value}'\n" for name, value in inherited.items())
        for name in ("postgresql.auto.conf", "postgresql.conf"):
            with (backup / name).open("a") as conf:
                conf.write(lines)
        (backup / "recovery.signal").touch()
        (backup / "backup_manifest").unlink()
        cluster.fence()
        add_mark(cluster, 1)
        cluster.switch()
        outcome = prove(cluster, look=MARKS, promote=True)
        assert [item.split(":")[0] for item in outcome.alarms] == ["manifest"]
        assert outcome.seen == 1 and outcome.check("promoted").status == "PASS"
        assert [path.name for path in tell_tale.parent.iterdir() if path.name.startswith("reached")] == []


def test_targets_that_the_backup_really_carries_pass() -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        for name, value in (
            ("recovery_target_name", "left by an earlier recovery"),
            ("recovery_target_action", "promote"),
            ("restore_command", "false"),
            ("primary_conninfo", "host=/nowhere"),
            ("synchronous_standby_names", ""),
        ):
            cluster.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        cluster.backup("first")
        cluster.fence()
        add_mark(cluster, 1)
        cluster.switch()
        outcome = prove(cluster, look=MARKS)
        assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 1)


@pytest.mark.parametrize(
    "setting",
    [
        "max_connections",
        "max_worker_processes",
        "max_wal_senders",
        "max_prepared_transactions",
        "max_locks_per_transaction",
    ],
)
def test_limit_raised_after_the_backup_passes(setting: str) -> None:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        cluster.sql(f"ALTER SYSTEM SET {setting} = 200")
        cluster.stop()
        cluster.start()
        add_mark(cluster, 1)
        cluster.switch()
        outcome = prove(cluster, look=MARKS)
        assert (outcome.verdict, outcome.alarms, outcome.seen) == ("PASS", [], 1)


def test_limit_raised_before_the_backup_and_too_low_in_its_files_passes() -> None:
    with own_cluster("--data-checksums", settings={"max_connections": "300"}) as cluster:
        fill(cluster)
        backup = cluster.backup("first")
        with (backup / "postgresql.conf").open("a") as conf:
            conf.write("max_connections = 10\n")
        (backup / "backup_manifest").unlink()
        cluster.fence()
        add_mark(cluster, 1)
        cluster.switch()
        outcome = prove(cluster, look=MARKS)
        assert [item.split(":")[0] for item in outcome.alarms] == ["manifest"] and outcome.seen == 1


@pytest.fixture
def overflowing() -> Any:
    """80 subtransactions are open while the backup is taken and while all WAL up to `open_at` is written."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        with cluster.connect("shop") as held:
            held.execute("BEGIN")
            for number in range(80):
                held.execute(f"SAVEPOINT s{number}")
                held.execute(f"INSERT INTO mark VALUES ({1000 + number})")
            cluster.backup("first")
            cluster.fence()
            one = add_mark(cluster, 1)
            add_mark(cluster, 2)
            cluster.switch()
            open_at = cluster.lsn()
            held.execute("COMMIT")
        cluster.sql("CHECKPOINT")
        add_mark(cluster, 3)
        cluster.switch()
        yield cluster, one, open_at


def test_open_subtransactions_never_promote_unasked(overflowing: Any) -> None:
    cluster, one, open_at = overflowing
    for asked in (clock.stamp(one.after_at), open_at):
        outcome = prove(cluster, recovery_point=asked)
        assert isinstance(outcome.error, SnapshotMissing) and outcome.verdict == "INCOMPLETE", outcome.alarms
        assert "64" in outcome.said and "promote true" in outcome.said


def test_open_subtransactions_are_read_after_promotion_when_asked(overflowing: Any) -> None:
    cluster, one, _ = overflowing
    outcome = prove(cluster, recovery_point=clock.stamp(one.after_at), promote=True, look=MARKS)
    assert outcome.seen == 1, outcome.alarms
    assert outcome.check("promoted").status == "PASS" and outcome.check("read@shop").status == "PASS"
    # The fence lies where a standby has no snapshot: not compared is never a pass.
    assert outcome.verdict == "INCOMPLETE" and outcome.check("fence").status == "UNKNOWN"


def test_point_behind_the_end_of_the_subtransactions_passes(overflowing: Any) -> None:
    cluster, _, _ = overflowing
    outcome = prove(cluster, look=MARKS)
    # The fence stands where a standby has no snapshot, so nothing was compared; all else is as it should be.
    assert [item.split(":")[0] for item in outcome.alarms] == ["fence"] and outcome.seen == 83


def test_damage_is_seen_though_a_role_asks_to_zero_damaged_pages() -> None:
    from shop import PAGE, flip

    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql(
            "ALTER ROLE postgres SET zero_damaged_pages = on", "ALTER DATABASE shop SET ignore_checksum_failure = on"
        )
        path = cluster.data / str(cluster.sql("SELECT pg_relation_filepath('quiet')", database="shop")[0][0])
        cluster.fence()
        cluster.stop()
        flip(path, 5 * PAGE + 7000)
        cluster.start()
        cluster.backup("first", "--no-verify-checksums")
        cluster.switch()
        outcome = prove(cluster)
        assert outcome.check("manifest").status == "PASS"
        assert outcome.check("read@shop").status == "FAIL" and outcome.check("amcheck@shop").status == "FAIL"
