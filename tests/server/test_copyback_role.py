"""The role that writes rows back has one way in, a password that nobody is told, and an end, also when its run has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from homes import at_home
from memory import Memory, lockdown_of
from own_cluster import OwnCluster, own_cluster
from runbook.errors import PlatformError
from runbook.recovery.copydoor import drop_left, writers_of
from runbook.recovery.lockdown import DOORS, LockDown
from runbook.recovery.writers import WRITER, Task, Writers, role_name
from runbook.runner.closing import clean_up, read_state
from runbook.session.journal import Journal
from runbook.session.request import JOURNAL

pytestmark = [pytest.mark.server, pytest.mark.faults]

ROLE = role_name("r1")
TASK = Task("shop", "owner", False, (), (), ())


@dataclass
class Closed:
    """A cluster that a lock-down has closed."""

    cluster: OwnCluster
    memory: Memory
    lockdown: LockDown

    @property
    def writers(self) -> Writers:
        return writers_of(self.lockdown, self.memory.undo_first, self.memory.undone)

    @property
    def hba(self) -> str:
        return (self.cluster.data / "pg_hba.conf").read_text()

    def why_refused(self, database: str = "shop", password: str | None = None) -> str:
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(host=str(self.cluster.socket), user=ROLE, dbname=database, password=password)
        return str(refused.value)


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster(settings={"log_statement": "all"}) as cluster:
        cluster.create_database(
            "shop", "CREATE ROLE owner", "CREATE TABLE item (id int)", "ALTER TABLE item OWNER TO owner"
        )
        yield cluster


@pytest.fixture
def closed(cluster: OwnCluster, tmp_path: Path) -> Iterator[Closed]:
    with at_home(cluster.home):
        memory = Memory(tmp_path / "memory")
        lockdown = lockdown_of(cluster.params(), memory, tmp_path / "tail")
        lockdown.close()
        try:
            yield Closed(cluster, memory, lockdown)
        finally:
            lockdown.lift()


def test_role_comes_in_with_its_password_to_its_database_alone(closed: Closed) -> None:
    before = closed.hba
    with closed.writers.writing(TASK) as writer:
        row = writer.connection.execute("SELECT current_user::text AS now, session_user::text AS login").fetchone()
        assert row == {"now": "owner", "login": ROLE}
        assert "no password supplied" in closed.why_refused()
        assert "password authentication failed" in closed.why_refused(password="guessed")
        assert "pg_hba.conf rejects" in closed.why_refused("postgres")
        assert closed.memory.undos[WRITER].count(ROLE) == 3
        assert f'local "shop" "{ROLE}" scram-sha-256' in closed.hba
        with pytest.raises(psycopg.Error):
            writer.connection.execute("SET ROLE postgres")
    assert (closed.hba, WRITER in closed.memory.undos) == (before, False)
    assert closed.cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'") == []


def test_database_that_not_everybody_may_enter_is_entered_and_left_as_it_was(closed: Closed) -> None:
    acl = "SELECT datacl::text FROM pg_database WHERE datname = 'shop'"
    closed.cluster.sql("REVOKE ALL ON DATABASE shop FROM PUBLIC", "GRANT TEMPORARY ON DATABASE shop TO owner")
    before = closed.cluster.sql(acl)
    with closed.writers.writing(TASK) as writer:
        writer.connection.execute("CREATE TEMP TABLE mine (n int)")
    assert closed.cluster.sql(acl) == before


def test_password_is_nowhere(closed: Closed) -> None:
    seen: list[str] = []
    enter = type(closed.writers.door).enter
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            type(closed.writers.door),
            "enter",
            lambda door, database, role, password, settings: (
                seen.append(password) or enter(door, database, role, password, settings)
            ),
        )
        with closed.writers.writing(TASK) as writer:
            writer.connection.execute("SELECT 1")
    assert seen and len(seen[0]) > 40
    assert "SCRAM-SHA-256$" in closed.cluster.log.read_text(errors="replace")
    for path in [closed.cluster.log, closed.memory.path]:
        assert seen[0] not in path.read_text(errors="replace")


def test_role_of_a_run_that_was_cut_short_is_found_and_dropped(closed: Closed) -> None:
    before = closed.hba
    writing = closed.writers.writing(TASK)
    writer = writing.__enter__()
    writer.connection.execute("SET ROLE NONE")
    writer.connection.execute("CREATE TEMP TABLE left_there (n int)")
    closed.cluster.sql(
        f"CREATE SCHEMA AUTHORIZATION {ROLE}", f"GRANT ALL ON DATABASE postgres TO {ROLE}", database="shop"
    )
    drop_left(closed.lockdown.params, "r1", closed.memory.recall, closed.memory.undone)
    assert closed.cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'") == []
    assert closed.cluster.sql(
        f"SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = '{ROLE}'", database="shop"
    ) == [("owner",)]
    assert (closed.hba, WRITER in closed.memory.undos) == (before, False)
    with pytest.raises(psycopg.Error):
        writer.connection.execute("SELECT 1")
    drop_left(closed.lockdown.params, "r1", closed.memory.recall, closed.memory.undone)
    writing.__exit__(None, None, None)


def test_what_a_role_made_beside_a_superusers_table_does_not_become_a_superusers(closed: Closed) -> None:
    closed.cluster.sql(
        "CREATE SCHEMA IF NOT EXISTS anyone",
        "GRANT ALL ON SCHEMA anyone TO PUBLIC",
        "CREATE TABLE top (id int)",
        database="shop",
    )
    task = Task("shop", "postgres", True, ('"public"',), ('"public"."top"',), ())
    with closed.writers.writing(task) as writer:
        writer.connection.execute(
            "CREATE FUNCTION anyone.trap() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'"
        )
        writer.connection.execute("INSERT INTO public.top VALUES (1)")
        with pytest.raises(psycopg.Error, match="permission denied"):
            writer.connection.execute("DELETE FROM public.top")
    assert closed.cluster.sql("SELECT FROM pg_proc WHERE proname = 'trap'", database="shop") == []
    with pytest.raises(PlatformError, match=r"anyone\.rows"), closed.writers.writing(task) as writer:
        writer.connection.execute("CREATE TABLE anyone.rows AS SELECT 1 AS n")
    assert closed.cluster.sql(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{ROLE}'") == [(False,)]
    assert WRITER in closed.memory.undos and closed.cluster.sql("SELECT n FROM anyone.rows", database="shop") == [(1,)]
    closed.cluster.sql("ALTER TABLE anyone.rows OWNER TO owner", database="shop")
    closed.writers.drop()
    assert closed.cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'") == []


def test_database_that_this_run_has_not_closed_gets_no_line(closed: Closed) -> None:
    closed.lockdown.lift()
    with pytest.raises(PlatformError, match="not as this run has closed it"), closed.writers.writing(TASK):
        raise AssertionError
    assert closed.cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'") == []


def test_whoever_closes_a_dead_run_drops_its_role(cluster: OwnCluster, tmp_path: Path) -> None:
    journal = Journal(tmp_path / JOURNAL)
    request = {"run": "r1", "runbook": "r", "title": "t", "target": "own", "environment": "test", "platform": "cluster"}
    journal.append("run-opened", **request, parameters={}, command="c", started_by="test")
    journal.append("attempt-started", attempt=1, by="test", planned=[])
    with at_home(cluster.home):
        lockdown = LockDown(
            cluster.params(),
            "r1",
            remember=lambda name, value: journal.append("remembered", name=name, value=value),
            recall=lambda name, default=None: read_state(tmp_path).memory.get(name, default),
            undo_first=lambda act, undo: journal.append("undo-noted", act=act, undo=undo),
            undone=lambda act: journal.append("undone", act=act),
            folder=tmp_path / "tail",
        )
        lockdown.close()
        before = (cluster.data / "pg_hba.conf").read_text()
        writing = writers_of(
            lockdown,
            lambda act, undo: journal.append("undo-noted", act=act, undo=undo),
            lambda act: act in read_state(tmp_path).undos and journal.append("undone", act=act),
        ).writing(TASK)
        writing.__enter__()
        assert WRITER in read_state(tmp_path).undos
        clean_up(tmp_path)
        state = read_state(tmp_path)
        assert (state.problems, WRITER in state.undos, DOORS in state.undos) == ((), False, True)
        assert cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{ROLE}'") == []
        assert (cluster.data / "pg_hba.conf").read_text() == before
        writing.__exit__(None, None, None)
        lockdown.lift()
