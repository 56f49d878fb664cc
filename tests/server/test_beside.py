"""A copy restored beside production stands at its point, touches nothing of production, and survives kill -9 at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from besides import Besides, digest, killed, values
from homes import at_home
from own_cluster import OwnCluster, own_cluster
from runbook.errors import OperatorError, RecoveryFailed, RecoveryRefused, ScratchFull
from runbook.params.schema import Params
from runbook.platforms.cluster.beside import Beside, folder_beside
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres import server
from runbook.postgres.osuser import give
from shop import Mark, add_mark, fill

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: What would reach out, hang or stop a copy if it were inherited.
REACHES_OUT = {
    "synchronous_standby_names": "nobody",
    "restore_command": "false",
    "recovery_end_command": "touch {home}/ended",
    "archive_cleanup_command": "touch {home}/cleaned",
    "recovery_target_time": "2001-01-01 00:00:00+00",
    "primary_conninfo": "host=127.0.0.1 port=9",
    "cron.launch_active_jobs": "on",
}


class Living:
    """A running cluster with a backup, marks in its WAL and configuration that reaches out. Tests take a run id each."""

    def __init__(self, cluster: OwnCluster, marks: list[Mark]) -> None:
        self.cluster, self.marks = cluster, marks
        self._runs = 0

    def run(self, **changed: dict[str, Any]) -> Besides:
        self._runs += 1
        return Besides(self.params(**changed), f"run-{self._runs}")

    def params(self, **changed: dict[str, Any]) -> Params:
        return self.cluster.params(**changed)

    def again(self, before: Besides) -> Besides:
        """The next attempt of the same run."""
        return Besides(self.params(), before.run_id)


@contextmanager
def living() -> Iterator[Living]:
    with own_cluster("--data-checksums", settings={"wal_keep_size": "64MB"}) as cluster, at_home(cluster.home):
        fill(cluster)
        with (cluster.data / "postgresql.auto.conf").open("a") as conf:
            for name, value in REACHES_OUT.items():
                conf.write(f"{name} = '{value.format(home=cluster.home)}'\n")
        cluster.backup("first")
        (cluster.data / "postgresql.auto.conf").write_text("")
        marks = []
        for number in (1, 2, 3):
            marks.append(add_mark(cluster, number))
            cluster.sql("UPDATE item SET name = name || 'x' WHERE id % 2 = 0", database="shop")
            cluster.switch()
        yield Living(cluster, marks)


@pytest.fixture(scope="module")
def shared() -> Iterator[Living]:
    with living() as one:
        yield one


@pytest.fixture
def scene(shared: Living) -> Iterator[Living]:
    """The shared cluster; every copy that a test leaves is gone afterwards."""
    try:
        yield shared
    finally:
        for folder in shared.cluster.home.glob("data.recovery-*"):
            data = folder / "data"
            if data.is_dir():
                server.stop(shared.cluster.tools, data, user=shared.cluster.user, mode="immediate")
            shutil.rmtree(folder)


def settings_of(beside: Beside, *names: str) -> dict[str, str]:
    return {name: str(values(beside, f"SHOW {name}")[0]) for name in names}


def test_copy_stands_paused_at_its_point_and_production_is_untouched(scene: Living) -> None:
    cluster = scene.cluster
    cluster.sql("CHECKPOINT")
    kept = {name: digest(cluster.home / name) for name in ("archive", "backups")}
    base = digest(cluster.data / "base")
    beside, _, resolved = scene.run().stand_at(scene.marks[1].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]
    assert values(beside, "SELECT pg_is_in_recovery()") == [True]
    assert values(beside, "SELECT pg_last_wal_replay_lsn()::text") == [
        f"{resolved.point.reached >> 32:X}/{resolved.point.reached & 0xFFFFFFFF:X}"
    ]
    assert cluster.sql("SELECT count(*) FROM mark", database="shop") == [(3,)], "production goes on"
    assert {name: digest(cluster.home / name) for name in kept} == kept
    assert digest(cluster.data / "base") == base


def test_inherited_settings_do_nothing(scene: Living) -> None:
    one = scene.run()
    beside, replay, resolved = one.stand_at(scene.marks[1].before)
    beside.promote(replay, resolved.point.reached)
    assert settings_of(beside, *REACHES_OUT.keys() - {"cron.launch_active_jobs"}) == dict.fromkeys(
        REACHES_OUT.keys() - {"cron.launch_active_jobs"}, ""
    )
    with beside.connect("shop", read_only=False) as connection:
        connection.execute("INSERT INTO public.mark VALUES (100)")  # would hang on synchronous_standby_names
    assert not (scene.cluster.home / "ended").exists() and not (scene.cluster.home / "cleaned").exists()
    assert (beside.folder / "restored-config" / "postgresql.auto.conf").read_text().count("recovery_end_command") == 1


def test_copy_is_durable_and_its_archiving_is_held(scene: Living) -> None:
    beside, _, _ = scene.run().stand_at("latest")
    assert settings_of(
        beside, "fsync", "full_page_writes", "synchronous_commit", "archive_mode", "archive_command", "archive_library", "listen_addresses"
    ) == {
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "archive_mode": "on",
        "archive_command": "", "archive_library": "", "listen_addresses": "",
    }  # fmt: skip


def test_promoted_copy_is_looked_at_by_a_later_attempt_too(scene: Living) -> None:
    one = scene.run()
    beside, replay, resolved = one.stand_at(scene.marks[1].before)
    beside.promote(replay, resolved.point.reached)
    beside.stop()  # as the clean-up of an attempt does; its socket is gone with it
    beside.start_promoted()
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]
    outlived = one.open()  # an attempt after one that was killed: the server runs still
    outlived.start_promoted()
    assert values(outlived, "SELECT number FROM mark ORDER BY 1") == [1]
    outlived.stop()
    later = one.open()
    later.start_promoted()
    assert values(later, "SELECT number FROM mark ORDER BY 1") == [1]


def test_point_moves_later_without_a_new_restore_and_earlier_is_refused(scene: Living) -> None:
    one = scene.run()
    beside, _, _ = one.stand_at(scene.marks[1].before)
    inode = (beside.data / "PG_VERSION").stat().st_ino
    beside.stop()
    later, _, _ = scene.again(one).stand_at(scene.marks[2].before)
    assert values(later, "SELECT number FROM mark ORDER BY 1") == [1, 2]
    assert (later.data / "PG_VERSION").stat().st_ino == inode
    later.stop()
    with pytest.raises(RecoveryFailed, match=r"past the point"):
        scene.again(one).stand_at(scene.marks[1].before)
    anew = scene.again(one)
    copy = anew.open()
    copy.stop()
    copy.begin_anew(anew.select(scene.marks[1].before).backups[0])
    earlier, _, _ = anew.stand_at(scene.marks[1].before)
    assert values(earlier, "SELECT number FROM mark ORDER BY 1") == [1]


def test_point_moves_later_while_the_copy_runs(scene: Living) -> None:
    one = scene.run()
    beside, replay, _ = one.stand_at(scene.marks[1].before)
    pid = (beside.data / "postmaster.pid").read_text().split()[0]
    resolved = Besides(scene.params(), one.run_id).restore(scene.marks[2].before)[1]
    replay.stage = resolved.stage
    replay.go_to(resolved.point.gate, resolved.point.reached)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1, 2]
    assert (beside.data / "postmaster.pid").read_text().split()[0] == pid, "no restart"


def test_kill_while_copying_begins_anew_and_ends_at_the_same_point(scene: Living) -> None:
    one = scene.run()
    killed(scene.cluster.home, "copy", one.run_id, scene.marks[1].before, "0.4")
    assert one.open().is_copied is False
    beside, _, _ = scene.again(one).stand_at(scene.marks[1].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]


@pytest.mark.parametrize("moment", ["copied", "started"])
def test_kill_before_it_is_written_down_does_it_again(scene: Living, moment: str) -> None:
    one = scene.run()
    killed(scene.cluster.home, "configure", one.run_id, scene.marks[1].before, moment)
    beside, _, _ = scene.again(one).stand_at(scene.marks[1].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]


def test_kill_while_replaying_goes_on_without_a_new_restore(scene: Living) -> None:
    one = scene.run()
    killed(scene.cluster.home, "replay", one.run_id, scene.marks[2].before)
    inode = (one.folder / "data" / "PG_VERSION").stat().st_ino
    assert (one.folder / "data" / "postmaster.pid").exists(), "its server runs on: nobody has ended it"
    beside, _, _ = scene.again(one).stand_at(scene.marks[2].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1, 2]
    assert (beside.data / "PG_VERSION").stat().st_ino == inode


def kill_server(data: Path) -> None:
    """kill -9 of the postmaster and all that it started."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)


def test_kill_of_postgres_at_the_pause_goes_on(scene: Living) -> None:
    one = scene.run()
    beside, _, _ = one.stand_at(scene.marks[1].before)
    kill_server(beside.data)
    beside, _, _ = scene.again(one).stand_at(scene.marks[2].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1, 2]


def begin_promotion(beside: Beside) -> None:
    (beside.data / "promote").touch()
    give(beside.data / "promote", beside.user)
    os.kill(int((beside.data / "postmaster.pid").read_text().split()[0]), signal.SIGUSR1)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.5])
def test_kill_of_postgres_while_promoting_ends_on_one_timeline_of_its_own(scene: Living, delay: float) -> None:
    one = scene.run()
    beside, _, _ = one.stand_at(scene.marks[1].before)
    begin_promotion(beside)
    time.sleep(delay)
    kill_server(beside.data)
    beside, timeline = scene.again(one).promote(scene.marks[1].before)
    assert timeline > 1
    _, same = scene.again(one).promote(scene.marks[1].before)
    assert same == timeline, "it is promoted once"
    again = scene.again(one).run_promoted(scene.marks[1].before)
    assert values(again, "SELECT number FROM mark ORDER BY 1") == [1]
    with again.connect("shop", read_only=False) as connection:
        connection.execute("INSERT INTO public.mark VALUES (100)")
        connection.execute("SELECT pg_switch_wal()")
    written = {
        path.name[:8] for path in (again.data / "pg_wal").iterdir() if len(path.name) == 24 and not path.is_symlink()
    }
    assert written <= {f"{number:08X}" for number in range(2, timeline + 1)}, "nothing more on the old timeline"


def test_copy_whose_signal_file_is_gone_does_not_go_on_on_the_old_timeline(scene: Living) -> None:
    """A promotion removes it a moment before its timeline has begun; a server killed there would start as the old timeline's owner."""
    one = scene.run()
    beside, _, _ = one.stand_at(scene.marks[1].before)
    kill_server(beside.data)
    (beside.data / "standby.signal").unlink()
    beside, replay, resolved = scene.again(one).stand_at(scene.marks[1].before)
    assert values(beside, "SELECT pg_is_in_recovery()") == [True]
    assert beside.promote(replay, resolved.point.reached) == 2


def test_kill_before_a_promotion_is_written_down_finds_it_done(scene: Living) -> None:
    one = scene.run()
    killed(scene.cluster.home, "promoted", one.run_id, scene.marks[1].before)
    beside, timeline = scene.again(one).promote(scene.marks[1].before)
    assert timeline == 2 and beside.noted("timeline") == 2
    assert sorted(path.name for path in (beside.data / "pg_wal").glob("*.history")) == ["00000002.history"]


def test_promoted_copy_needs_no_archive_and_changes_nothing_in_it(scene: Living) -> None:
    archive = digest(scene.cluster.archive)
    one = scene.run()
    beside, _ = one.promote(scene.marks[1].before)
    assert [path for path in beside.data.rglob("*") if path.is_symlink()] == []
    beside = scene.again(one).run_promoted(scene.marks[1].before)
    with beside.connect("shop", read_only=False) as connection:
        for _ in range(3):
            connection.execute("UPDATE public.item SET name = name || 'y'")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
    assert digest(scene.cluster.archive) == archive
    ready = sorted(path.name for path in (beside.data / "pg_wal" / "archive_status").glob("*.ready"))
    assert "00000002.history.ready" in ready, "it waits until archiving is released"


def test_promoted_copy_is_not_restored_anew(scene: Living) -> None:
    one = scene.run()
    beside, _ = one.promote(scene.marks[1].before)
    with pytest.raises(RecoveryRefused, match="promoted"):
        beside.begin_anew(one.select(scene.marks[1].before).backups[0])


def test_promotion_takes_a_timeline_that_the_archive_does_not_have(scene: Living) -> None:
    """Two earlier recoveries left timelines 2 and 3 in the archive; their histories must be seen, or 2 is taken once more."""
    archive = scene.cluster.archive
    fork = scene.marks[1].before
    made = [archive / "00000002.history", archive / "00000003.history"]
    try:
        for number, path in enumerate(made, 2):
            path.write_text(f"1\t{fork}\tan earlier recovery\n" if number == 2 else f"1\t{fork}\tanother\n")
            give(path, scene.cluster.user)
        one = scene.run()
        selection_timeline = "1"
        beside, timeline = _promote_on(one, scene.marks[2].before, selection_timeline)
        assert timeline == 4
        assert (beside.data / "pg_wal" / "00000004.history").read_text().startswith("1\t")
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _promote_on(one: Besides, point: str, timeline: str) -> tuple[Beside, int]:
    plain = one.select

    def select(asked: str) -> Any:
        found = plain(asked)
        found.asked_timeline = timeline
        return found

    one.select = select  # type: ignore[method-assign]
    return one.promote(point)


def test_subscriptions_and_prepared_transactions_of_the_past_are_written_down(scene: Living) -> None:
    cluster = scene.cluster
    cluster.sql(
        "CREATE SUBSCRIPTION old CONNECTION 'host=127.0.0.1 port=9' PUBLICATION p WITH (connect = false)",
        database="shop",
    )
    with cluster.connect("shop") as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO mark VALUES (50)")
        connection.execute("PREPARE TRANSACTION 'pending'")
    cluster.switch()
    try:
        beside, _ = scene.run().promote("latest")
        assert beside.noted("subscriptions") == ["old in shop"] and beside.noted("prepared") == ["pending in shop"]
    finally:
        cluster.sql("ROLLBACK PREPARED 'pending'", database="shop")
        cluster.sql(
            "ALTER SUBSCRIPTION old DISABLE",
            "ALTER SUBSCRIPTION old SET (slot_name = NONE)",
            "DROP SUBSCRIPTION old",
            database="shop",
        )
        cluster.switch()


def test_folder_of_another_run_is_refused(scene: Living) -> None:
    one = scene.run()
    one.open()
    other = Besides(scene.params(), "run-other")
    one.folder.rename(other.folder)
    with pytest.raises(OperatorError, match=one.run_id):
        other.open()


def test_scratch_reaper_does_not_know_the_copy(scene: Living) -> None:
    beside, _, _ = scene.run().stand_at(scene.marks[1].before)
    assert not (beside.folder / "scratch.json").exists() and isinstance(beside, Scratch)


def test_tablespace_created_behind_the_backup_is_refused(scene: Living) -> None:
    """Replay links the original path, whatever stands in the copy's own folders: production's files would be written to."""
    cluster = scene.cluster
    place = cluster.home / "tablespaces" / "late"
    place.mkdir(mode=0o700)
    give(place, cluster.user)
    cluster.sql(f"CREATE TABLESPACE late LOCATION '{place}'")
    cluster.sql("CREATE TABLE far TABLESPACE late AS SELECT 1 AS id", database="shop")
    mark = add_mark(cluster, 60)
    cluster.switch()
    before = digest(place)
    with pytest.raises(RecoveryRefused, match=str(place)):
        scene.run().stand_at(mark.after)
    assert digest(place) == before
    beside, _, _ = scene.run().stand_at(scene.marks[1].before)
    assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_disk_that_fills_is_said_and_the_run_goes_on_when_there_is_room(scene: Living) -> None:
    place = scene.cluster.home / "small"
    place.mkdir(mode=0o755)
    one = scene.run(recovery={"location": str(place)})
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "tmpfs", str(place)], check=True)
    try:
        give(place, scene.cluster.user)
        ballast = place / "ballast"

        def fill_up(done: int, total: int) -> None:
            if not ballast.exists():
                free = shutil.disk_usage(place).free
                ballast.write_bytes(bytes(max(free - (4 << 20), 0)))

        one.on_copy = fill_up
        with pytest.raises(ScratchFull, match="full"):
            one.restore(scene.marks[1].before)
        ballast.unlink()
        again = Besides(one.params, one.run_id)
        beside, _, _ = again.stand_at(scene.marks[1].before)
        assert values(beside, "SELECT number FROM mark ORDER BY 1") == [1]
        with pytest.raises(OperatorError, match="another file system"):
            again.swap().refuse_impossible()
        beside.remove()
        assert not again.folder.exists()
    finally:
        data = folder_beside(scene.cluster.data, str(place), one.run_id) / "data"
        if data.is_dir():
            server.stop(scene.cluster.tools, data, user=scene.cluster.user, mode="immediate")
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_room_is_asked_before_copying(scene: Living) -> None:
    place = scene.cluster.home / "tiny"
    place.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(place)], check=True)
    try:
        give(place, scene.cluster.user)
        with pytest.raises(ScratchFull, match="MiB free"):
            scene.run(recovery={"location": str(place)}).restore(scene.marks[1].before)
    finally:
        subprocess.run(["umount", str(place)], check=True)
