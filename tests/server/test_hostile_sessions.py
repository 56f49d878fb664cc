"""What a session's statements mean is ours to say: not the database owner's, not a login trigger's, not a pooler's."""

from __future__ import annotations

import os
import socket as sockets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from homes import open_folder
from hostile import DATABASE, OWNER, READER, make_reader
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.errors import PlatformError
from runbook.postgres.connect import connect, one, rows
from runbook.postgres.osuser import give

pytestmark = pytest.mark.server
ROLES = ("postgres", READER)

#: What the owner of a database may set for everybody in it, and what each would do to a session that lets it.
QUIETLY_OVERRULED = {
    "standard_conforming_strings": "off",
    "role": OWNER,
    "statement_timeout": "'1ms'",
    "local_preload_libraries": "'no_such_library'",
    "search_path": "public, pg_catalog",
    "client_encoding": "'LATIN1'",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "row_security": "on",
    "constraint_exclusion": "on",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_read_only": "off",
    "lc_numeric": "'C.UTF-8'",
    "datestyle": "'German'",
    "work_mem": "'64kB'",
    "enable_seqscan": "off",
}


@pytest.fixture(
    scope="module", params=[17, pytest.param(15, marks=pytest.mark.faults), pytest.param(18, marks=pytest.mark.faults)]
)
def owned(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster(major=request.param) as cluster:
        cluster.sql(f"CREATE ROLE {OWNER} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        make_reader(cluster, DATABASE)
        yield cluster


@contextmanager
def with_setting(cluster: OwnCluster, name: str, value: str) -> Iterator[None]:
    """Set by the database's owner, who is no superuser."""
    open_ = f"host={cluster.socket} port={PORT} user={OWNER} dbname=postgres"
    run(open_, f"ALTER DATABASE {DATABASE} SET {name} = {value}")
    try:
        yield
    finally:
        run(open_, f"ALTER DATABASE {DATABASE} RESET {name}")


def run(conninfo: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", QUIETLY_OVERRULED)
def test_the_owner_s_settings_do_not_reach_our_sessions(owned: OwnCluster, role: str, name: str) -> None:
    with (
        with_setting(owned, name, QUIETLY_OVERRULED[name]),
        connect(socket=owned.socket, database=DATABASE, user=role, application="test") as connection,
    ):
        seen = one(
            connection,
            r"SELECT current_user::text AS role, session_user::text AS session, '\'::text AS backslash, "
            "pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('statement_timeout') AS timeout, "
            "pg_catalog.current_setting('default_transaction_read_only') AS read_only",
        )
    assert seen == {
        "role": role, "session": role, "backslash": "\\", "path": "pg_catalog, pg_temp", "timeout": "1min", "read_only": "on",
    }  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_an_application_s_own_settings_are_let_be(owned: OwnCluster, role: str) -> None:
    owned.sql(f"ALTER DATABASE {DATABASE} SET app.tenant = '7'")
    with connect(socket=owned.socket, database=DATABASE, user=role, application="test") as connection:
        assert one(connection, "SELECT pg_catalog.current_setting('app.tenant') AS tenant") == {"tenant": "7"}
    owned.sql(f"ALTER DATABASE {DATABASE} RESET app.tenant")


@pytest.mark.parametrize("role", ROLES)
def test_a_setting_that_nobody_has_thought_of_is_refused_by_its_name(owned: OwnCluster, role: str) -> None:
    with with_setting(owned, "synchronize_seqscans", "off"):
        with pytest.raises(PlatformError, match=r"synchronize_seqscans \(database\)") as refused:
            connect(socket=owned.socket, database=DATABASE, user=role, application="test")
        assert "pg_db_role_setting" in (refused.value.next or "")


@contextmanager
def with_login_trigger(cluster: OwnCluster, body: str) -> Iterator[None]:
    """A superuser's trigger that calls a function of the owner's: the owner may replace it at any time."""
    cluster.sql(
        f"SET ROLE {OWNER}",
        f"CREATE FUNCTION public.at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        "RESET ROLE",
        "CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.at_login()",
        "ALTER EVENT TRIGGER at_login ENABLE ALWAYS",
        database=DATABASE,
    )
    try:
        yield
    finally:
        with cluster.connect(DATABASE, options="-c event_triggers=off") as connection:
            connection.execute("DROP EVENT TRIGGER at_login")
            connection.execute("DROP FUNCTION public.at_login()")


SPOILED = (
    "PERFORM pg_catalog.set_config('search_path', 'public', false); "
    "PERFORM pg_catalog.set_config('default_transaction_read_only', 'off', false); "
    "RAISE LOG 'WITNESS login % %', current_user, session_user;"
)


@pytest.mark.parametrize("role", ROLES)
def test_a_login_trigger_neither_runs_as_us_nor_leaves_anything(owned: OwnCluster, role: str) -> None:
    if owned.tools.major < 17:
        assert owned.sql("SELECT count(*) FROM pg_settings WHERE name = 'event_triggers'") == [(0,)]
        return
    owned.sql(f"GRANT CREATE ON SCHEMA public TO {OWNER}", database=DATABASE)
    with with_login_trigger(owned, SPOILED):
        began = owned.log.stat().st_size
        with connect(socket=owned.socket, database=DATABASE, user=role, application="test") as connection:
            found = one(
                connection,
                "SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('default_transaction_read_only') AS ro",
            )
        assert found == {"path": "pg_catalog, pg_temp", "ro": "on"}
        assert b"WITNESS" not in owned.log.read_bytes()[began:]


def test_without_the_grant_a_login_trigger_s_settings_are_reset(owned: OwnCluster) -> None:
    if owned.tools.major < 17:
        assert owned.sql("SELECT count(*) FROM pg_settings WHERE name = 'event_triggers'") == [(0,)]
        return
    owned.sql("CREATE ROLE plain_reader LOGIN", f"GRANT CREATE ON SCHEMA public TO {OWNER}", database=DATABASE)
    with (
        with_login_trigger(owned, SPOILED),
        connect(socket=owned.socket, database=DATABASE, user="plain_reader", application="test") as connection,
    ):
        found = one(
            connection,
            "SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('default_transaction_read_only') AS ro",
        )
    assert found == {"path": "pg_catalog, pg_temp", "ro": "on"}
    owned.sql("DROP ROLE plain_reader")


def test_what_a_login_trigger_prepares_is_dropped(owned: OwnCluster) -> None:
    if owned.tools.major < 17:
        assert owned.sql("SELECT count(*) FROM pg_settings WHERE name = 'event_triggers'") == [(0,)]
        return
    owned.sql("CREATE ROLE temp_reader LOGIN", database=DATABASE)
    with (
        with_login_trigger(owned, "EXECUTE 'PREPARE trap AS SELECT 1'; PERFORM pg_catalog.pg_advisory_lock(7);"),
        connect(socket=owned.socket, database=DATABASE, user="temp_reader", application="test") as connection,
    ):
        left = rows(connection, "SELECT name FROM pg_catalog.pg_prepared_statements")
        locks = rows(
            connection,
            "SELECT 1 AS x FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()",
        )
    assert (left, locks) == ([], [])
    owned.sql("DROP ROLE temp_reader")


def test_no_variable_of_the_environment_leads_a_session_elsewhere(
    owned: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runbook import environment

    monkeypatch.setattr(environment, "_taken", {})
    for name, value in {
        "PGOPTIONS": f"-c role={OWNER} -c search_path=public", "PGHOST": "/nowhere", "PGPORT": "1", "PGUSER": OWNER,
        "PGDATABASE": "elsewhere", "PGSERVICE": "elsewhere", "PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "read-only",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    conninfo = f"host={owned.socket} port={PORT} user=postgres"
    with connect(conninfo=conninfo, database=DATABASE, application="test") as connection:
        found = one(connection, "SELECT current_user::text AS role, pg_catalog.current_setting('search_path') AS path")
    assert found == {"role": "postgres", "path": "pg_catalog, pg_temp"}


# -- poolers


@contextmanager
def pooler(cluster: OwnCluster, **settings: str) -> Iterator[str]:
    """A PgBouncer before the cluster; how to connect through it."""
    with open_folder() as folder:
        with sockets.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        lines = {
            "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "any",
            "logfile": str(folder / "log"), "pidfile": str(folder / "pid"), "default_pool_size": "5", **settings,
        }  # fmt: skip
        ini = folder / "pgbouncer.ini"
        text = "\n".join(f"{name} = {value}" for name, value in lines.items())
        ini.write_text(f"[databases]\n* = host={cluster.socket} port={PORT} user=postgres\n[pgbouncer]\n{text}\n")
        give(folder, cluster.user)
        user = {"user": cluster.user.uid, "group": cluster.user.gid, "extra_groups": []} if cluster.user else {}
        process = subprocess.Popen(
            ["pgbouncer", str(ini)], cwd="/", env={"PATH": os.environ["PATH"]}, stderr=subprocess.DEVNULL, **user
        )  # type: ignore[call-overload]
        try:
            wait_for(port, folder / "log")
            yield f"host=127.0.0.1 port={port} user=postgres dbname={DATABASE}"
        finally:
            process.terminate()
            process.wait(10)


def wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        with sockets.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "PgBouncer did not start"
        time.sleep(0.05)


@pytest.mark.faults
@pytest.mark.parametrize(
    "more", [{}, {"server_round_robin": "1"}, {"default_pool_size": "2"}], ids=["plain", "round-robin", "two"]
)
def test_a_pooler_in_transaction_mode_is_refused(owned: OwnCluster, more: dict[str, str]) -> None:
    with (
        pooler(owned, pool_mode="transaction", ignore_startup_parameters="options", **more) as conninfo,
        pytest.raises(PlatformError, match="pooler in transaction mode"),
    ):
        connect(conninfo=conninfo, application="test")


@pytest.mark.faults
def test_a_pooler_in_session_mode_gets_the_settings_by_statement(owned: OwnCluster) -> None:
    with (
        pooler(owned, pool_mode="session", ignore_startup_parameters="options") as conninfo,
        connect(conninfo=conninfo, application="test") as connection,
    ):
        found = one(
            connection,
            "SELECT pg_catalog.current_setting('search_path') AS path, pg_catalog.current_setting('default_transaction_read_only') AS ro",
        )
    assert found == {"path": "pg_catalog, pg_temp", "ro": "on"}


@pytest.mark.faults
def test_a_pooler_that_refuses_options_says_so(owned: OwnCluster) -> None:
    with (
        pooler(owned, pool_mode="session") as conninfo,
        pytest.raises(PlatformError, match="unsupported startup parameter"),
    ):
        connect(conninfo=conninfo, application="test")
