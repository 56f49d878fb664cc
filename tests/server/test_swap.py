"""The swap and the way back survive kill -9 between any two renames; production starts with today's configuration, and only for reading."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from besides import Besides, digest, killed
from homes import at_home
from memory import Memory
from own_cluster import OwnCluster, own_cluster
from runbook import layout
from runbook.errors import PlatformError, RecoveryRefused
from runbook.postgres import server
from runbook.postgres.osuser import give
from runbook.recovery.plans import swaps_of
from runbook.recovery.planted import check_planted
from runbook.recovery.wayon import STOPPED, WayOn
from shop import Mark, add_mark, fill

pytestmark = [pytest.mark.server, pytest.mark.faults]

RUN = "run-1"


class Scene:
    """A cluster with a tablespace, WAL behind a link and configuration in pieces; its copy is promoted and stopped just before `wrong`."""

    def __init__(self, cluster: OwnCluster) -> None:
        self.cluster = cluster
        self.place = self.own_folder("tablespaces/fast")
        cluster.sql(f"CREATE TABLESPACE fast LOCATION '{self.place}'")
        fill(cluster)
        cluster.sql("CREATE TABLE far TABLESPACE fast AS SELECT 1 AS id", database="shop")
        self.write("conf.d/old.conf", "work_mem = '5MB'\n")
        self.write("postgresql.conf", (cluster.data / "postgresql.conf").read_text() + "include_dir = 'conf.d'\n")
        cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'gone'", "ALTER ROLE postgres PASSWORD 'past'")
        cluster.backup("first", "-Ft")
        cluster.sql("ALTER SYSTEM RESET ALL")
        # What people have changed since: a door, a file in a folder, a setting.
        (cluster.data / "conf.d" / "old.conf").unlink()
        self.write("conf.d/new.conf", "work_mem = '7MB'\n")
        self.write("pg_hba.conf", (cluster.data / "pg_hba.conf").read_text() + "# today's\n")
        cluster.sql("ALTER SYSTEM SET maintenance_work_mem = '77MB'", "SELECT pg_reload_conf()")
        self.right: Mark = add_mark(cluster, 1)
        self.wrong: Mark = add_mark(cluster, 2)
        cluster.sql("INSERT INTO far VALUES (2)", database="shop")
        cluster.switch()
        self.link_wal()
        self.one = Besides(cluster.params(), RUN)
        _, self.timeline = self.one.promote(self.wrong.before)
        server.stop(cluster.tools, cluster.data, user=cluster.user)
        self.before = self.state()

    def own_folder(self, name: str) -> Path:
        folder = self.cluster.home / name
        folder.mkdir(mode=0o700)
        give(folder, self.cluster.user)
        return folder

    def write(self, name: str, text: str) -> None:
        path = self.cluster.data / name
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
            give(path.parent, self.cluster.user)
        path.write_text(text)
        give(path, self.cluster.user)

    def link_wal(self) -> None:
        server.stop(self.cluster.tools, self.cluster.data, user=self.cluster.user)
        (self.cluster.data / "pg_wal").rename(self.cluster.home / "wal")
        (self.cluster.data / "pg_wal").symlink_to(self.cluster.home / "wal")
        self.start()

    def start(self, *words: str) -> None:
        self.stop()
        self.cluster.run(
            "pg_ctl", "-D", str(self.cluster.data), "-l", str(self.cluster.log), "-w", "-o", " ".join(words), "start"
        )

    def stop(self) -> None:
        if server.is_running(self.cluster.tools, self.cluster.data, user=self.cluster.user):
            server.stop(self.cluster.tools, self.cluster.data, user=self.cluster.user)

    def state(self) -> dict[str, dict[str, str]]:
        """All files of the stopped cluster, by place."""
        return {str(place): digest(place) for place in (self.cluster.data, self.cluster.home / "wal", self.place)}

    def marks(self) -> list[int]:
        return [row[0] for row in self.cluster.sql("SELECT number FROM mark ORDER BY 1", database="shop")]

    def far(self) -> list[int]:
        return [row[0] for row in self.cluster.sql("SELECT id FROM far ORDER BY 1", database="shop")]

    def shown(self, name: str) -> str:
        return str(self.cluster.sql(f"SHOW {name}")[0][0])

    def to_production(self) -> None:
        self.one.swap().forward()
        self.one.handover().configure()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with own_cluster("--data-checksums", settings={"wal_keep_size": "64MB"}) as cluster, at_home(cluster.home):
        yield Scene(cluster)


@pytest.mark.parametrize("ends", ["each rename", "half"])
def test_kill_9_between_any_two_renames_is_finished_by_the_next_call(scene: Scene, ends: str) -> None:
    swap = scene.one.swap()
    # The data directory and one tablespace, aside and into place.
    assert len(swap.moves()) == 4
    for act, at_the_end in (("forward", "after"), ("back", "before")):
        if ends == "half":
            killed(scene.cluster.home, "half", RUN, moment=act)
        else:
            for _ in range(3):
                # One more rename is done in each attempt, and the next one kills it.
                killed(scene.cluster.home, act, RUN, moment="1")
                assert scene.one.swap().state() in ("half", at_the_end)
        getattr(scene.one.swap(), act)()
        assert scene.one.swap().state() == at_the_end
        if act == "forward":
            scene.one.handover().configure()
            scene.start()
            assert (scene.marks(), scene.far()) == ([1], [1])
            assert str(scene.cluster.sql("SELECT timeline_id FROM pg_control_checkpoint()")[0][0]) == str(
                scene.timeline
            )
            scene.stop()
    assert scene.state() == scene.before
    scene.start()
    assert (scene.marks(), scene.far()) == ([1, 2], [1, 2])
    scene.stop()
    # The copy is whole, too, and may be swapped in again.
    scene.to_production()
    scene.start()
    assert (scene.marks(), scene.far()) == ([1], [1])


def test_swap_is_refused_while_a_server_runs_and_nothing_has_moved(scene: Scene) -> None:
    scene.start()
    with pytest.raises(PlatformError, match="A server runs on"):
        scene.one.swap().forward()
    assert scene.one.swap().state() == "before"
    assert scene.marks() == [1, 2]


def test_production_has_todays_configuration_and_holds_what_reaches_out(scene: Scene) -> None:
    scene.to_production()
    scene.start()
    assert scene.shown("work_mem") == "7MB"
    assert scene.shown("maintenance_work_mem") == "77MB"
    assert scene.shown("synchronous_standby_names") == ""
    assert scene.shown("archive_command") == ""
    assert "# today's" in (scene.cluster.data / "pg_hba.conf").read_text()
    assert not (scene.cluster.data / "conf.d" / "old.conf").exists()
    assert list(scene.one.open().folder.rglob("old.conf"))  # kept, not read
    archived = {path.name for path in scene.cluster.archive.iterdir()}
    scene.cluster.sql("SELECT pg_switch_wal()")
    handover = scene.one.handover()
    assert handover.who_may_write() == []
    handover.open_for_writing()
    wait(lambda: scene.shown("default_transaction_read_only") == "off")
    assert scene.shown("archive_command") == ""
    assert {path.name for path in scene.cluster.archive.iterdir()} == archived
    handover.release_archiving()
    assert handover.prove_history(scene.timeline, 30).status.name == "PASS"
    assert scene.shown("synchronous_standby_names") == ""


@pytest.mark.parametrize("where", ["nowhere", "postgresql.conf", "ALTER SYSTEM"])
def test_setting_stays_held_only_where_production_has_it(scene: Scene, where: str) -> None:
    if where == "postgresql.conf":
        conf = scene.cluster.data / "postgresql.conf"
        scene.write("postgresql.conf", conf.read_text() + "synchronous_standby_names = 'ANY 1 (a, \"b c\")'\n")
    elif where == "ALTER SYSTEM":
        auto = scene.cluster.data / "postgresql.auto.conf"
        scene.write("postgresql.auto.conf", auto.read_text() + "synchronous_standby_names = 'ANY 1 (a, \"b c\")'\n")
    scene.to_production()
    scene.start()
    handover = scene.one.handover()
    expected = {} if where == "nowhere" else {"synchronous_standby_names": 'ANY 1 (a, "b c")'}
    assert handover.decide_held() == expected
    handover.open_for_writing()
    handover.release_archiving()
    assert handover.decide_held() == expected and set(handover.for_people()) == set(expected)
    text = (scene.cluster.data / "postgresql.auto.conf").read_text()
    assert ("synchronous_standby_names = ''" in text) == bool(expected) and "cron." not in text
    assert scene.shown("synchronous_standby_names") == ""


@pytest.mark.parametrize(
    ("loosened", "who"),
    [
        ("ALTER ROLE app SET default_transaction_read_only = off", "app"),
        ("ALTER ROLE app IN DATABASE shop SET default_transaction_read_only = 'no'", "app in shop"),
        ("ALTER DATABASE shop SET default_transaction_read_only = false", "all roles in shop"),
        ("-c", "every session"),
    ],
)
def test_who_may_write_before_acceptance_is_named(scene: Scene, loosened: str, who: str) -> None:
    scene.to_production()
    if loosened == "-c":
        scene.start("-c", "default_transaction_read_only=off")
    else:
        scene.start()
        with scene.cluster.connect(options="-c default_transaction_read_only=off") as connection:
            connection.execute("CREATE ROLE app LOGIN")
            connection.execute(loosened)
    assert scene.one.handover().who_may_write() == [who]


def test_damaged_cluster_set_aside_archives_nothing_and_takes_no_write(scene: Scene) -> None:
    scene.to_production()
    aside, cluster = scene.one.swap().aside, scene.cluster
    archived = {path.name for path in cluster.archive.iterdir()}
    server.start(cluster.tools, aside, log=cluster.log, user=cluster.user)
    try:
        assert (scene.marks(), scene.far()) == ([1, 2], [1, 2])
        assert scene.shown("default_transaction_read_only") == "on"
        assert scene.shown("listen_addresses") == ""
        with cluster.connect(options="-c default_transaction_read_only=off") as connection:
            connection.execute("CREATE TABLE late (id int)")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        assert scene.shown("archive_command") == ""
    finally:
        server.stop(cluster.tools, aside, user=cluster.user)
    assert {path.name for path in cluster.archive.iterdir()} == archived


def wait(done: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def planted_in(scene: Scene) -> dict[str, Callable[[Path, Path], object]]:
    """What a program of the copy may leave in its files, by kind."""
    outside = scene.cluster.home / "outside"
    outside.write_text("theirs")
    outside.chmod(0o600)
    return {
        "a symbolic link": lambda data, place: (data / "base" / "evil").symlink_to(outside),
        "a link in place of a folder": lambda data, place: (data / "pg_stat" / "in").symlink_to(scene.cluster.home),
        "hard links": lambda data, place: (data / "global" / "evil").hardlink_to(outside),
        "a pipe": lambda data, place: os.mkfifo(data / "pg_xact" / "evil"),
        "a tablespace elsewhere": lambda data, place: (data / "pg_tblspc" / "99999").symlink_to(scene.cluster.home),
        "a link in a tablespace": lambda data, place: (place / "evil").symlink_to(outside),
        "a second version": lambda data, place: place.with_name("PG_99_1").mkdir(),
    }


def test_copy_with_planted_files_is_not_swapped_in_and_nothing_has_moved(scene: Scene) -> None:
    data = scene.one.open().data
    place = next((data.parent / "tablespaces").glob("*/PG_*"))
    for kind, plant in planted_in(scene).items():
        before = {path for top in (data, place.parent) for path in top.rglob("*")}
        plant(data, place)
        made = [path for top in (data, place.parent) for path in top.rglob("*") if path not in before]
        with pytest.raises(RecoveryRefused, match="is not swapped in: it holds") as caught:
            scene.one.swap().forward()
        assert caught.value.next is not None and caught.value.next.startswith(f"runbook abort {RUN};"), kind
        assert scene.one.swap().state() == "before"
        for path in made:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    assert (scene.cluster.home / "outside").read_text() == "theirs"
    assert scene.state() == scene.before
    scene.to_production()
    scene.start()
    assert scene.marks() == [1]


def test_swap_that_is_refused_leaves_the_stop_of_the_damaged_server_to_be_taken_back(
    scene: Scene, tmp_path: Path
) -> None:
    beside = scene.one.open()
    (beside.data / "base" / "evil").symlink_to(tmp_path)
    memory = Memory(tmp_path / "memory")
    memory.undo_first(STOPPED, "start it")
    onward = WayOn.__new__(WayOn)  # of a whole recovery only the swap is looked at
    onward.cluster, onward.run = scene.one.cluster, cast(Any, memory)
    cast(Any, memory).id = RUN
    onward.execution = cast(Any, SimpleNamespace(beside=beside))
    onward.recovery = cast(Any, SimpleNamespace(user=scene.one.user))
    with pytest.raises(RecoveryRefused, match="is not swapped in"):
        onward._swap_in()
    assert memory.undos == {STOPPED: "start it"}
    doubts = [check_planted(onward.swap().find_planted())]
    assert list(swaps_of(doubts)) == ["back"] and list(swaps_of([])) == ["swap", "back"]


def test_no_configuration_of_the_copy_is_read_in_production(scene: Scene) -> None:
    """Not by a file that production includes if it exists, nor by one that it names, nor by a script that archives."""
    conf = scene.cluster.data / "postgresql.conf"
    named = f"hba_file = '{scene.cluster.data}/my_hba'\ninclude_if_exists = '{scene.cluster.data}/late.conf'\n"
    named += f"include_if_exists = 'sub/more.conf'\narchive_cleanup_command = '{scene.cluster.data}/bin/clean.sh %r'\n"
    conf.write_text(conf.read_text() + named)
    scene.write("my_hba", "local all all trust\n")
    scene.write("bin/clean.sh", "#!/bin/sh\n# production's\n")
    data = scene.one.open().data
    for name in (
        "late.conf",
        "sub/more.conf",
        "conf.d/more.conf",
        "my_hba",
        "bin/clean.sh",
        "pg_ident.conf",
        "server.key",
    ):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("work_mem = '66MB' # evil\n")
    (data / "postgresql.auto.conf").write_text("work_mem = '66MB' # evil\n")
    for folder in ("sub", "conf.d", "bin"):
        give(data / folder, scene.cluster.user)
    scene.to_production()
    stays = [path for path in scene.cluster.data.rglob("*") if path.is_file() and b"evil" in path.read_bytes()]
    assert stays == []
    assert "# production's" in (scene.cluster.data / "bin" / "clean.sh").read_text()
    scene.start()
    assert scene.shown("work_mem") == "7MB"
    assert scene.shown("hba_file") == str(scene.cluster.data / "my_hba")


def test_what_a_program_of_the_copy_has_started_ends_before_the_swap(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as production's user, and could alter files between the look at them and the rename."""
    monkeypatch.setenv(layout.RUN_MARK, RUN)
    copy = scene.one.run_promoted(scene.wrong.before)
    with copy.connect("template1") as connection:
        connection.execute("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; env -i setsid sleep 600 > /dev/null 2>&1 &'")
    own = Path("/proc/self/ns/mnt").stat().st_ino
    inside = [
        process
        for process in psutil.process_iter(["name", "uids"])
        if process.info["name"] == "sleep" and Path(f"/proc/{process.pid}/ns/mnt").stat().st_ino != own
    ]
    assert len(inside) == 1
    copy.stop()
    assert not inside[0].is_running() or inside[0].status() == psutil.STATUS_ZOMBIE
