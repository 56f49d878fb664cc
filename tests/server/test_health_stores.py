"""The daily look and what lies in the stores: an old base backup and WAL that is not archived are found; what is not seen is never ok."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from homes import at_home
from own_cluster import OwnCluster, own_cluster, segments, write_script
from runbook import clock
from runbook.health.daily import DailyHealth
from runbook.inspection.states import Looked, Seen, State
from runbook.params.schema import Params

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def made() -> Iterator[OwnCluster]:
    with own_cluster() as cluster:
        cluster.switch()
        cluster.backup("first")
        cluster.switch()
        yield cluster


@pytest.fixture
def cluster(made: OwnCluster, tmp_path: Path) -> Iterator[OwnCluster]:
    """The cluster, whose stores are put back afterwards."""
    for name in ("backups", "archive"):
        shutil.copytree(made.home / name, tmp_path / name)
    yield made
    for name in ("backups", "archive"):
        shutil.rmtree(made.home / name)
        shutil.copytree(tmp_path / name, made.home / name)
        shutil.chown(made.home / name, made.user.name if made.user else None)


def look(own: OwnCluster, check: str, params: Params | None = None, /, **changed: Any) -> Looked:
    changed["health"] = {"connection": {"file": "connection"}, **changed.get("health", {})}
    params = params or own.params(**changed)
    with at_home(own.home):
        health = DailyHealth(params, "test-stores", checks=check)
        health.arrive()
        health.check()
    (looked,) = health.looked
    return looked


def the_one(looked: Looked) -> Seen:
    (seen,) = looked.seen
    return seen


def threshold(name: str) -> dict[str, dict[str, object]]:
    return {name: {"value": 0, "source": "this test"}}


def date_back(backup: Path, days: float) -> None:
    """The backup's label says that it was begun so long ago."""
    label = backup / "backup_label"
    when = clock.now() - timedelta(days=days)
    label.write_text(re.sub("START TIME: .*", f"START TIME: {when:%Y-%m-%d %H:%M:%S} UTC", label.read_text()))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def write_wal(cluster: OwnCluster) -> None:
    cluster.sql("SELECT pg_logical_emit_message(true, 'test', 'a commit')")


def test_old_backup_is_found_with_its_age_and_a_newer_one_beside_it_is_none(cluster: OwnCluster) -> None:
    assert the_one(look(cluster, "backup_age")).state is State.OK
    date_back(cluster.backups / "first", 2)
    found = the_one(look(cluster, "backup_age"))
    assert (found.state, round(found.value or 0)) == (State.WARNING, 48) and "first, begun at" in found.note
    date_back(cluster.backups / "first", 9)
    found = the_one(look(cluster, "backup_age"))
    assert (found.state, round(found.value or 0), found.limit) == (State.CRITICAL, 216, 192)
    cluster.backup("second")
    found = the_one(look(cluster, "backup_age"))
    assert found.state is State.OK and "second" in found.note
    warned = look(cluster, "backup_age", health={"thresholds": threshold("backup_age_warning_hours")})
    assert the_one(warned).state is State.WARNING and "from 0 h (this test)" in warned.expected


def test_backup_that_was_cut_short_is_no_backup(cluster: OwnCluster) -> None:
    date_back(cluster.backups / "first", 9)
    shutil.copytree(cluster.backups / "first", cluster.backups / "second")
    (cluster.backups / "second" / "backup_manifest").unlink()
    date_back(cluster.backups / "second", 0)
    found = the_one(look(cluster, "backup_age"))
    assert found.state is State.CRITICAL and "first, begun at" in found.note


def test_backup_of_another_system_is_no_backup(cluster: OwnCluster) -> None:
    manifest = cluster.backups / "first" / "backup_manifest"
    manifest.write_text(re.sub(r'("System-Identifier": )\d+', r"\g<1>7000000000000000000", manifest.read_text()))
    found = the_one(look(cluster, "backup_age"))
    assert found.state is State.OK and "there is none; the system was made at" in found.note, "it is minutes old"
    later = look(cluster, "backup_age", health={"thresholds": threshold("backup_age_critical_hours")})
    assert the_one(later).state is State.CRITICAL


def test_stores_that_cannot_be_looked_at_are_not_measured(cluster: OwnCluster) -> None:
    for name in ("backups", "archive"):
        (cluster.home / name).rename(cluster.home / f"{name}.away")
    try:
        for check in ("backup_age", "archived_wal_age"):
            assert the_one(look(cluster, check)).state is State.NOT_MEASURED
    finally:
        for name in ("backups", "archive"):
            (cluster.home / f"{name}.away").rename(cluster.home / name)
    (cluster.backups / "first" / "backup_label").unlink()
    (cluster.backups / "first" / "backup_manifest").unlink()
    seen = the_one(look(cluster, "backup_age"))
    assert seen.state is State.NOT_MEASURED and "says when it was taken" in seen.note


def test_params_that_name_no_place_are_not_measured(cluster: OwnCluster) -> None:
    params = cluster.params(health={"connection": {"file": "connection"}}).model_copy(update={"cluster": None})
    for check in ("backup_age", "archived_wal_age"):
        seen = the_one(look(cluster, check, params))
        assert seen.state is State.NOT_MEASURED and "params name no place" in seen.note


def test_wal_that_is_older_than_the_rpo_and_not_archived_is_critical(cluster: OwnCluster) -> None:
    cluster.switch()
    write_wal(cluster)
    assert the_one(look(cluster, "archived_wal_age")).state is State.OK
    age(segments(cluster)[-1], 2 * 86400)
    looked = look(cluster, "archived_wal_age")
    found = the_one(looked)
    assert (found.state, round((found.value or 0) / 60)) == (State.CRITICAL, 2880)
    assert (
        looked.expected == "critical from 86400 s (budgets.rpo: this test)" and "archive_timeout is 0 s" in found.note
    )


def test_idle_server_is_well_and_a_lacking_segment_is_told_all_the_same(cluster: OwnCluster) -> None:
    cluster.switch()
    write_wal(cluster)
    for path in segments(cluster):
        age(path, 2 * 86400)
    cluster.sql("ALTER SYSTEM SET archive_timeout = '1h'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)")
    try:
        found = the_one(look(cluster, "archived_wal_age"))
        assert (found.state, found.value) == (State.OK, 3600), "the server closes its segment within that time"
        segments(cluster)[-1].unlink()
        found = the_one(look(cluster, "archived_wal_age"))
        assert (found.state, round((found.value or 0) / 60)) == (State.CRITICAL, 2880)
        for path in segments(cluster):
            path.unlink()
        found = the_one(look(cluster, "archived_wal_age"))
        assert found.state is State.OK and "holds no segment of this server; the system was made at" in found.note
        found = the_one(look(cluster, "archived_wal_age", budgets={"rpo": "1 s"}))
        assert found.state is State.CRITICAL
    finally:
        cluster.sql("ALTER SYSTEM RESET archive_timeout", "SELECT pg_reload_conf()")


def test_archive_behind_a_command_is_measured_by_its_list_or_not_at_all(cluster: OwnCluster) -> None:
    fetch = {"directory": None, "fetch_command": ["cp", f"{cluster.archive}/%f", "%p"]}
    plain = the_one(look(cluster, "archived_wal_age", cluster={"wal_archive": {k: v for k, v in fetch.items() if v}}))
    assert plain.state is State.NOT_MEASURED and "list_command" in plain.note
    listed = {
        "fetch_command": fetch["fetch_command"],
        "list_command": write_script(cluster.home / "list-wal", f"ls {cluster.archive}"),
    }
    cluster.switch()
    write_wal(cluster)
    found = the_one(look(cluster, "archived_wal_age", cluster={"wal_archive": listed}))
    assert found.state is State.OK and found.value is not None and 0 < found.value < 60, "the server knows when"


def test_timeline_that_the_server_has_not_reached_is_found(cluster: OwnCluster) -> None:
    """A restored copy that was promoted with production's archive_command leaves it; `latest` would follow it."""
    assert look(cluster, "later_timelines").seen == ()
    (cluster.archive / "0000000B.history").write_text("1\t0/3000000\tno recovery target specified\n")
    shutil.copy(segments(cluster)[-1], cluster.archive / "0000000B0000000000000003")
    found = the_one(look(cluster, "later_timelines"))
    assert (found.state, found.value) == (State.WARNING, 1) and "timeline 11: 0000000B.history, 2 files" in found.note
    assert "0000000B" not in the_one(look(cluster, "archived_wal_age")).note


def test_wal_of_a_past_timeline_says_nothing_of_what_is_written_now(cluster: OwnCluster) -> None:
    cluster.switch()
    further = cluster.archive / f"{segments(cluster)[-1].name[:16]}000000F0"
    shutil.copy(segments(cluster)[-1], further)  # what a recovery has left behind
    assert the_one(look(cluster, "archived_wal_age")).state is State.OK
    cluster.sql("ALTER SYSTEM SET archive_command = 'false'")
    cluster.stop()
    (cluster.data / "standby.signal").touch()
    cluster.start()
    cluster.run("pg_ctl", "-D", str(cluster.data), "-w", "promote")
    write_wal(cluster)
    age(further, 2 * 86400)
    found = the_one(look(cluster, "archived_wal_age"))
    assert found.state is State.CRITICAL and "of the timeline 2" in found.note, found
    cluster.sql("ALTER SYSTEM RESET archive_command", "SELECT pg_reload_conf()")


def test_wal_of_a_timeline_that_the_server_has_not_reached_is_anothers(cluster: OwnCluster) -> None:
    cluster.switch()
    write_wal(cluster)
    own = segments(cluster)[-1]
    age(own, 2 * 86400)
    reached = int(own.name[:8], 16)
    stray = cluster.archive / f"{reached + 7:08X}00000000000000F0"
    shutil.copy(own, stray)
    os.utime(stray)
    found = the_one(look(cluster, "archived_wal_age"))
    assert found.state is State.CRITICAL and own.name in found.note, found
    for path in segments(cluster)[:-1]:
        path.unlink()
    alone = the_one(look(cluster, "archived_wal_age", budgets={"rpo": "1 s"}))
    assert alone.state is State.CRITICAL and "no segment of this server" in alone.note


def test_standby_counts_wal_of_timelines_alone_that_a_history_leads_to(cluster: OwnCluster) -> None:
    cluster.switch()
    last = segments(cluster)[-1]
    stray = cluster.archive / f"{int(last.name[:8], 16) + 7:08X}00000000000000F0"
    shutil.copy(last, stray)
    (cluster.archive / f"{last.name[:8]}.history").touch()  # as a promotion archives it; the first timeline needs none
    cluster.stop()
    (cluster.data / "standby.signal").touch()
    cluster.start()
    try:
        assert last.name in the_one(look(cluster, "archived_wal_age")).note
        (cluster.archive / f"{stray.name[:8]}.history").touch()
        assert stray.name in the_one(look(cluster, "archived_wal_age")).note
    finally:
        cluster.stop()
        (cluster.data / "standby.signal").unlink()
        cluster.start()


def test_backup_and_segment_of_the_future_are_not_measured_with_both_clocks(cluster: OwnCluster) -> None:
    """A server whose clock ran ahead has taken the newest backup and archived the newest segment."""
    cluster.switch()
    write_wal(cluster)
    date_back(cluster.backups / "first", -200)
    age(segments(cluster)[-1], -200 * 86400)
    ahead = clock.now() + timedelta(days=200)
    for check, what in (("backup_age", "first"), ("archived_wal_age", segments(cluster)[-1].name)):
        seen = the_one(look(cluster, check))
        assert seen.state is State.NOT_MEASURED, seen
        assert what in seen.note and f"{ahead:%Y-%m}" in seen.note and f"{clock.now():%Y-%m-%d}" in seen.note
        assert "a clock is or was wrong" in seen.note
    age(segments(cluster)[-1], -20)  # two clocks that are kept right are never quite the same
    found = the_one(look(cluster, "archived_wal_age"))
    assert (found.state, found.value) == (State.OK, 0)


def test_list_without_any_segment_is_not_measured(cluster: OwnCluster) -> None:
    for script in ("exit 0", "echo no such bucket", "head -c 3000 /dev/urandom | tr -d '\\n'"):
        archive = {
            "fetch_command": ["cp", f"{cluster.archive}/%f", "%p"],
            "list_command": write_script(cluster.home / "list-wal", script),
        }
        seen = the_one(look(cluster, "archived_wal_age", cluster={"wal_archive": archive}))
        assert seen.state is State.NOT_MEASURED and "list" in seen.note, seen


def test_listed_segment_that_cannot_be_fetched_is_not_counted(cluster: OwnCluster) -> None:
    archive = {
        "fetch_command": ["cp", f"{cluster.archive}/%f", "%p"],
        "list_command": write_script(cluster.home / "list-wal", f"ls {cluster.archive}; echo {1:08X}{0:08X}{240:08X}"),
    }
    seen = the_one(look(cluster, "archived_wal_age", cluster={"wal_archive": archive}))
    assert seen.state is State.NOT_MEASURED and "cannot be fetched" in seen.note


def test_time_that_nobody_knows_is_not_measured(cluster: OwnCluster) -> None:
    """The newest listed segment is not the one that the server archived last: nothing says when it was archived."""
    cluster.switch()
    cluster.switch()
    cluster.switch()
    cluster.switch()
    kept = "| head -n -3"  # the newest three are not there
    archive = {
        "fetch_command": ["cp", f"{cluster.archive}/%f", "%p"],
        "list_command": write_script(
            cluster.home / "list-wal", f"ls {cluster.archive} | grep -E '^[0-9A-F]{{24}}$' {kept}"
        ),
    }
    seen = the_one(look(cluster, "archived_wal_age", cluster={"wal_archive": archive}))
    assert seen.state is State.NOT_MEASURED and "nothing tells since when" in seen.note, seen
