"""A closed pg_hba.conf lets in the operator and nobody else, is judged before it is read, and opens as the very same file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from homes import at_home
from memory import Memory, lockdown_of
from own_cluster import OwnCluster, own_cluster
from runbook import layout
from runbook.errors import OperatorError, PlatformError
from runbook.model import Status
from runbook.params.schema import Secret
from runbook.platforms.cluster import doors
from runbook.platforms.cluster.doors import Doors
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres import server
from runbook.postgres.osuser import give
from runbook.recovery.lockdown import DOORS

pytestmark = pytest.mark.server


class House:
    """A cluster with an application role, reachable by socket and by TCP, whose pg_hba.conf is to be played with."""

    def __init__(self, cluster: OwnCluster, port: int) -> None:
        self.cluster, self.port = cluster, port
        self.hba = cluster.data / "pg_hba.conf"
        self.plain = self.hba.read_bytes()
        self.params = cluster.params()
        assert self.params.cluster is not None
        self.live = LiveServer(self.params.cluster, "r1")
        self.doors = Doors(self.hba, "r1")

    def write(self, text: str, *, reload: bool = True) -> bytes:
        self.hba.write_text(text)
        if reload:
            self.reload()
        return self.hba.read_bytes()

    def reload(self) -> None:
        self.cluster.run("pg_ctl", "-D", str(self.cluster.data), "reload")
        # A connection that is accepted later than the signal is judged by the new file.
        subprocess.run(["sleep", "0.3"], check=True)

    def can_enter(self, role: str, database: str = "postgres", *, tcp: bool = False) -> bool:
        where: dict[str, Any] = (
            {"host": "127.0.0.1", "port": self.port} if tcp else {"host": str(self.cluster.socket), "port": self.port}
        )
        try:
            psycopg.connect(user=role, dbname=database, connect_timeout=5, **where).close()
        except psycopg.OperationalError:
            return False
        return True

    def leftovers(self) -> list[str]:
        return sorted(
            path.name for path in self.cluster.data.iterdir() if path.name.startswith("pg_hba") and path != self.hba
        )


@pytest.fixture(scope="module")
def built() -> Iterator[House]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with own_cluster(settings={"listen_addresses": "127.0.0.1", "port": str(port)}) as cluster:
        (cluster.home / "connection").write_text(f"host={cluster.socket} port={port} user=postgres dbname=postgres\n")
        house = House(cluster, port)
        with at_home(cluster.home), house.live.connect(read_only=False) as connection:
            for statement in (
                "CREATE ROLE app LOGIN",
                "CREATE ROLE dba",
                "GRANT dba TO postgres",
                "CREATE DATABASE shop",
            ):
                connection.execute(statement)
        yield house


@pytest.fixture
def house(built: House) -> Iterator[House]:
    with at_home(built.cluster.home):
        yield built
    for path in [
        *built.cluster.data.glob("pg_hba.conf.*"),
        built.cluster.data / "more.conf",
        built.cluster.data / "roles",
    ]:
        path.unlink(missing_ok=True)
    built.hba.unlink()
    built.hba.write_bytes(built.plain)
    give(built.hba, built.cluster.user)
    (built.cluster.home / "connection").write_text(
        f"host={built.cluster.socket} port={built.port} user=postgres dbname=postgres\n"
    )
    built.reload()


MIXED = """\
# who comes in
local   all         app                       trust   # the application
local   shop,postgres  "postgres"             trust
local   all         all                       trust
include_if_exists   more.conf
host    all         all     127.0.0.1 255.255.255.255   trust
host    replication all     127.0.0.1/32      trust
"""


def test_closed_database_refuses_all_others_and_lets_us_in(house: House) -> None:
    before = house.write(MIXED)
    facts = house.hba.stat()
    assert house.can_enter("app") and house.can_enter("app", tcp=True)
    for _ in range(2):
        closed = doors.close(house.live, "r1")
        assert closed.left_out == () and house.doors.is_closed()
    for tcp in (False, True):
        assert not house.can_enter("app", tcp=tcp)
        assert not house.can_enter("app", "shop", tcp=tcp)
    assert not house.can_enter("postgres", tcp=True), "our way is the socket"
    for database in ("postgres", "shop"):
        house.live.connect(database).close()
    for _ in range(2):
        opened = doors.open_again(house.live, house.hba, "r1")
        assert opened.in_force and opened.problems == ()
        after = house.hba.stat()
        assert house.hba.read_bytes() == before
        assert (after.st_ino, after.st_mtime_ns, after.st_mode, after.st_uid) == (
            facts.st_ino, facts.st_mtime_ns, facts.st_mode, facts.st_uid,
        )  # fmt: skip
    assert house.leftovers() == []
    assert house.can_enter("app") and house.can_enter("app", tcp=True)


def test_our_way_over_tcp_survives_and_the_socket_is_closed(house: House) -> None:
    (house.cluster.home / "connection").write_text(f"host=127.0.0.1 port={house.port} user=postgres dbname=postgres\n")
    house.write(MIXED)
    closed = doors.close(house.live, "r1")
    assert 'host all "postgres" 127.0.0.1/32 trust' in closed.lines
    assert not house.can_enter("postgres") and not house.can_enter("app", tcp=True)
    house.live.connect("shop").close()


def test_our_way_through_an_included_file_and_a_group_survives(house: House) -> None:
    for name, text in (("roles", "app\n+dba\n"), ("more.conf", "local all @roles trust\n")):
        (house.cluster.data / name).write_text(text)
        give(house.cluster.data / name, house.cluster.user)
    house.write("host all all all trust\ninclude more.conf\nlocal all app trust\n")
    closed = doors.close(house.live, "r1")
    assert closed.lines == ('local all "postgres" trust',)
    assert not house.can_enter("app") and not house.can_enter("app", tcp=True)
    (house.cluster.data / "more.conf").write_text("local all all trust\n")
    house.reload()
    assert not house.can_enter("app"), "a closed file includes nothing"


def test_lines_with_errors_are_left_out_and_said_and_lifting_says_that_they_are_not_in_force(house: House) -> None:
    house.reload()
    before = house.write("local all all trust\nlocal all all trsut\nhost all all 300.1.1.1/8 trust\n", reload=False)
    closed = doors.close(house.live, "r1")
    assert [said.rsplit("/", 1)[1].split(": ")[0] for said in closed.left_out] == ["pg_hba.conf:2", "pg_hba.conf:3"]
    assert not house.can_enter("app")
    assert doors.close(house.live, "r1").left_out == closed.left_out
    opened = doors.open_again(house.live, house.hba, "r1")
    assert house.hba.read_bytes() == before
    assert not opened.in_force and "pg_hba.conf:2" in opened.problems[0]
    assert not house.can_enter("app"), "the server keeps the closed rules, as was said"


def test_closing_that_would_shut_us_out_changes_nothing(house: House) -> None:
    before = house.write("local all postgres reject\nlocal all app trust\n", reload=False)
    with pytest.raises(OperatorError, match="shut us out"):
        doors.close(house.live, "r1")
    assert house.hba.read_bytes() == before and house.leftovers() == []


def test_closing_that_shuts_us_out_after_all_is_taken_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another database of ours would be open: only coming in again shows that this one is not."""
    monkeypatch.setattr(doors, "_RELOAD_SECONDS", 1.0)
    before = house.write("local postgres postgres reject\nlocal all all trust\n", reload=False)
    with pytest.raises(PlatformError, match="did not come in again"):
        doors.close(house.live, "r1")
    assert house.hba.read_bytes() == before and house.leftovers() == []
    assert house.can_enter("app"), "the original is in force"


def test_file_that_the_server_refuses_is_never_read_by_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(MIXED)
    monkeypatch.setattr(doors, "REFUSALS", ("local all all rejct",))
    loaded = house.live.facts().loaded_at
    with pytest.raises(PlatformError, match="would refuse"):
        doors.close(house.live, "r1")
    assert house.leftovers() == [] and house.can_enter("app")
    assert house.hba.read_text() == MIXED and house.live.facts().loaded_at >= loaded


def test_role_without_superuser_is_refused(house: House) -> None:
    (house.cluster.home / "connection").write_text(
        f"host={house.cluster.socket} port={house.port} user=app dbname=postgres\n"
    )
    with pytest.raises((OperatorError, PlatformError)) as caught:
        doors.close(house.live, "r1")
    assert "superuser" in str(caught.value) and house.leftovers() == []


def test_server_that_died_is_closed_by_its_files_and_starts_closed(house: House, tmp_path: Path) -> None:
    before = house.write(MIXED)
    memory = Memory(tmp_path / "memory")
    lockdown = lockdown_of(house.params, memory, tmp_path / "tail")
    server.stop(house.cluster.tools, house.cluster.data, user=house.cluster.user, mode="immediate")
    try:
        done = lockdown.close()
    finally:
        server.start(house.cluster.tools, house.cluster.data, log=house.cluster.log, user=house.cluster.user)
    assert [check.status for check in done.checks] == [Status.PASS]
    assert not house.can_enter("app") and not house.can_enter("app", tcp=True) and house.can_enter("postgres")
    assert DOORS in memory.undos and str(house.doors.before) in memory.undos[DOORS]
    assert [check.status for check in lockdown.lift().checks] == [Status.PASS]
    assert house.hba.read_bytes() == before and memory.undos == {} and house.can_enter("app")


CHILD = """\
import os, signal, sys
from pathlib import Path
from memory import Memory, lockdown_of
from runbook.params import load_params

acts, at, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
lockdown = lockdown_of(load_params("own"), Memory(folder / "memory"), folder / "tail")
seen = 0

def look(event, words):
    global seen
    mine = event == "test.memory" or (event in ("os.link", "os.rename", "os.remove") and "pg_hba" in str(words))
    if mine:
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(look)
getattr(lockdown, acts)()
"""


@pytest.mark.parametrize("act", ["close", "close, then lifted at once", "lift"])
@pytest.mark.faults
def test_kill_9_between_any_two_acts_leaves_what_the_next_call_finishes(house: House, tmp_path: Path, act: str) -> None:
    before = house.write(MIXED)
    deaths = 0
    while True:
        folder = tmp_path / str(deaths)
        folder.mkdir()
        memory = Memory(folder / "memory")
        lockdown = lockdown_of(house.params, memory, folder / "tail")
        if act == "lift":
            lockdown.close()
        here = Path(__file__).parent
        path = os.pathsep.join(str(place) for place in (here, here.parent, layout.CHECKOUT / "lib"))
        child = subprocess.run(
            [sys.executable, "-c", CHILD, act.split(",")[0], str(deaths + 1), str(folder)],
            env={**os.environ, "PYTHONPATH": path},
        )
        if act == "close":
            assert all(check.status is Status.PASS for check in lockdown.close().checks)
            assert house.doors.is_closed() and not house.can_enter("app") and house.can_enter("postgres")
            assert len(memory.undos) == 1, "autovacuum was off before; the door is what is to be undone"
        assert all(check.status is Status.PASS for check in lockdown.lift().checks)
        assert house.hba.read_bytes() == before and house.leftovers() == [] and memory.undos == {}
        assert house.can_enter("app")
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        deaths += 1
    assert deaths >= (3 if act == "lift" else 5)


def test_reader_of_tables_is_let_in_beside_us_and_nobody_else(house: House) -> None:
    house.write(MIXED)
    with house.live.connect(read_only=False) as connection:
        connection.execute("CREATE ROLE reading LOGIN")
    (house.cluster.home / "reader").write_text(f"host=127.0.0.1 port={house.port} user=reading dbname=postgres\n")
    (house.cluster.home / "reader").chmod(0o600)
    cluster = house.live.cluster.model_copy(update={"reader": Secret(file=str(house.cluster.home / "reader"))})
    live = LiveServer(cluster, "r1")
    for _ in range(2):
        doors.close(live, "r1")
    assert house.can_enter("reading", tcp=True) and live.connect_reader().info.user == "reading"
    assert not house.can_enter("reading"), "its way is the network"
    assert not house.can_enter("app", tcp=True)
    doors.open_again(live, house.hba, "r1")
    assert house.can_enter("app", tcp=True)


def test_further_line_comes_first_and_goes_again(house: House) -> None:
    house.write(MIXED)
    doors.close(house.live, "r1")
    line = "local shop app trust"
    for _ in range(2):
        doors.let_in(house.live, house.hba, "r1", line)
    assert house.doors.is_closed() and house.can_enter("app", "shop") and not house.can_enter("app")
    with pytest.raises(PlatformError, match="would refuse a line"):
        doors.let_in(house.live, house.hba, "r1", "local shop app nonsense")
    assert house.can_enter("app", "shop")
    doors.shut_out(house.live, house.hba, "r1", lambda one: one == line)
    assert house.doors.is_closed() and not house.can_enter("app", "shop")
    doors.open_again(house.live, house.hba, "r1")
    doors.shut_out(house.live, house.hba, "r1", lambda one: one == line)
    assert house.hba.read_text() == MIXED
