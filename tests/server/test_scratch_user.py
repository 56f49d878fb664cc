"""A superuser of the scratch server runs programs, and they are of no use: no production, no network, nothing of ours to alter."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from own_cluster import OwnCluster, own_cluster, write_script
from proof import prove
from runbook.errors import RecoveryRefused
from runbook.outside.namespaces import Namespaces
from runbook.platforms.cluster import scratchplace
from runbook.platforms.cluster.datafolder import read_in
from runbook.postgres.osuser import give, is_unassigned
from shop import add_mark, fill

pytestmark = [
    pytest.mark.server,
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as another user"),
]


@pytest.fixture(scope="module")
def living() -> Iterator[OwnCluster]:
    """A running production whose archive only its own user reads, as Barman keeps WAL."""
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.backup("first")
        cluster.fence()
        for number in (1, 2, 3):
            add_mark(cluster, number)
            cluster.switch()
        cluster.archive.chmod(0o700)
        for path in cluster.archive.iterdir():
            path.chmod(0o600)
        yield cluster


@pytest.fixture(scope="module")
def listening() -> Iterator[int]:
    """A port of this host that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def run_program(proof: Any, command: str) -> str:
    """What a shell command says that a superuser of the scratch runs in its server."""
    out = proof.scratch.data / "said"
    program = f'cat > /dev/null; exec > {shlex.quote(str(out))} 2>&1; {command}\necho "code $?"'
    with proof.scratch.connect("template1") as connection:
        connection.execute("COPY (SELECT 1) TO PROGRAM '{}'".format(program.replace("'", "''")))
    said = out.read_text(errors="replace")
    out.unlink()
    return str(said)


def first_postmaster(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().split()[0])


def test_programs_of_the_scratch_reach_neither_production_nor_the_network(living: OwnCluster, listening: int) -> None:
    shared = [path for path in Path("/dev/shm").glob("PostgreSQL.*") if path.stat().st_uid == living.data.stat().st_uid]
    run_folder = living.home / "var" / "runs" / "one"
    run_folder.mkdir(parents=True)
    (run_folder / "journal.jsonl").write_text("secret")
    psql = f"{living.tools.path('psql')} -XAt -h {living.socket} -U postgres -d postgres -c 'SELECT 1'"
    production = first_postmaster(living.data)
    first = min(living.archive.iterdir()).name
    attempts = {
        "connect to production": psql,
        "see its socket": f"ls {living.socket}",
        "read its data": f"cat {living.data}/PG_VERSION",
        "list its data": f"ls {living.home}/data",
        "read its archive": f"cat {living.archive}/{first}",
        "write to its archive": f"touch {living.archive}/000000010000000000000099",
        "read its backups": f"ls {living.backups}",
        "read our runs": f"cat {run_folder}/journal.jsonl",
        "see a home": "ls /root /home",
        "reach the network": f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{listening}'",
        "signal production": f"kill -0 {production}",
        "see processes": f"ls /proc/{production} /proc/self",
        "see production's shared memory": f"cat {' '.join(map(str, shared)) or '/dev/shm/none'}",
        "write beside the scratch": "touch /var/tmp/x /usr/x /etc/x",
        "become another": "su -c id",
        "run what it has written": "cp /bin/true @data/true; chmod +x @data/true; @data/true",
    }
    assert subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{listening}"], check=False).returncode == 0

    def look(proof: Any) -> dict[str, str]:
        assert proof.scratch.not_isolated is None, proof.scratch.not_isolated
        return {
            name: run_program(proof, command.replace("@data", str(proof.scratch.data)))
            for name, command in attempts.items()
        }

    seen = prove(living, look=look).seen
    assert {name: said for name, said in seen.items() if said.rstrip().endswith("code 0")} == {}


def test_scratch_runs_as_a_user_who_owns_nothing(living: OwnCluster) -> None:
    def look(proof: Any) -> tuple[set[int], str, set[int]]:
        postmaster = psutil.Process(first_postmaster(proof.scratch.data))
        uids = {process.uids().real for process in [postmaster, *postmaster.children(recursive=True)]}
        owned = {path.stat().st_uid for path in proof.scratch.data.rglob("*") if not path.is_symlink()}
        return uids, run_program(proof, "id -u"), owned

    outcome = prove(living, look=look)
    uids, said, owned = outcome.seen
    assert (outcome.verdict, outcome.alarms, outcome.limitations) == ("PASS", [], [])
    assert len(uids) == 1 and living.data.stat().st_uid not in uids and 0 not in uids
    assert is_unassigned(next(iter(uids)))
    assert said.split()[0] == str(next(iter(uids)))
    assert owned == uids


def test_what_the_scratch_has_started_ends_with_it(living: OwnCluster) -> None:
    """Also a process that has left the server's session and forgotten the run's mark."""
    started: list[psutil.Process] = []

    def look(proof: Any) -> None:
        run_program(proof, "env -i setsid sleep 600 < /dev/null > /dev/null 2>&1 &")
        deadline = time.monotonic() + 10
        while not started and time.monotonic() < deadline:
            mine = [
                one for one in psutil.process_iter(["uids", "name"]) if one.info["uids"].real == proof.scratch.user.uid
            ]
            started.extend(one for one in mine if one.info["name"] == "sleep")

    prove(living, look=look)
    assert len(started) == 1
    assert not started[0].is_running() or started[0].status() == psutil.STATUS_ZOMBIE


def test_links_planted_by_the_scratch_lead_none_of_our_writes_out(living: OwnCluster) -> None:
    """We are root, and write to files of a user who may put a link in their place."""
    victim = living.home / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    seen: dict[str, Any] = {}

    def look(proof: Any) -> None:
        scratch = proof.scratch
        last = proof.resolved.stage.laid[-1]
        seen["of ours"] = run_program(
            proof,
            f"cd {scratch.folder}; rm -f server.log scratch.json; mv wal x; mv data y; ln -s {victim} {scratch.wal}/{last}",
        )
        # As the user who owns the data directory could do it from outside of any namespace.
        pg_wal = scratch.data / "pg_wal"
        for name in (f"{last}.new", "00000002.history"):
            (pg_wal / name).symlink_to(victim / name)
        for name in ("postgresql.conf", "pg_hba.conf.new"):
            (scratch.data / name).unlink(missing_ok=True)
            (scratch.data / name).symlink_to(victim / name)
        proof.replay._whole.clear()
        proof.replay._open_gate(proof.resolved.point.gate)
        scratch.write_configuration({"port": "1"})
        with pytest.raises(RecoveryRefused, match="was altered while its server ran"):
            read_in(scratch.data, "pg_wal", "00000002.history")
        (pg_wal / "00000002.history").unlink()
        pg_wal.rename(scratch.data / "away")
        pg_wal.symlink_to(victim)
        with pytest.raises(RecoveryRefused, match="was altered while its server ran"):
            proof.replay._open_gate(None)
        pg_wal.unlink()
        (scratch.data / "away").rename(pg_wal)

    prove(living, look=look)
    assert seen["of ours"].rstrip().endswith("code 1")
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "lends", "expected"),
    [
        (0o644, True, (True, {0o644}, False)),
        (0o600, True, (True, {0o600}, False)),  # seen as the server's own, in a mount that maps the owner
        (0o600, False, (False, {0o640}, False)),  # a host without such mounts: copied
    ],
)
def test_wal_is_linked_where_the_scratch_can_read_it_and_else_copied(
    living: OwnCluster, monkeypatch: pytest.MonkeyPatch, mode: int, lends: bool, expected: object
) -> None:
    living.archive.chmod(0o755 if mode == 0o644 else 0o700)
    for path in living.archive.iterdir():
        path.chmod(mode)
    before = [(path.name, path.stat().st_mode, path.stat().st_uid) for path in sorted(living.archive.iterdir())]
    if not lends:
        monkeypatch.setattr(scratchplace, "SEGMENT_NAME", re.compile("none"))

    def look(proof: Any) -> tuple[bool, set[int], bool]:
        staged = [proof.scratch.wal / name for name in proof.resolved.stage.laid]
        altered = run_program(
            proof, f"echo x >> {staged[0]} || chmod 666 {staged[0]} || echo x > {living.archive}/planted"
        )
        can_write = altered.rstrip().endswith("code 0")
        return all(path.is_symlink() for path in staged), {path.stat().st_mode & 0o777 for path in staged}, can_write

    outcome = prove(living, look=look)
    assert outcome.alarms == []
    assert outcome.seen == expected
    assert before == [(path.name, path.stat().st_mode, path.stat().st_uid) for path in sorted(living.archive.iterdir())]


def test_wal_is_fetched_as_productions_user_and_read_by_another(living: OwnCluster) -> None:
    command = write_script(living.home / "fetch", f'id -u >> {living.home}/fetched.by; cp {living.archive}/"$1" "$2"')
    given = living.home / "fetched.by"
    given.touch()
    give(given, living.user)
    archive = {"directory": None, "fetch_command": [*command, "%f", "%p"]}
    assert prove(living, living.params(cluster={"wal_archive": archive})).alarms == []
    assert set(given.read_text().split()) == {str(living.data.stat().st_uid)}


def test_without_namespaces_all_works_and_the_report_says_it(
    living: OwnCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Namespaces, "refusal", lambda *given: "not on this host")
    outcome = prove(living)
    assert outcome.alarms == []
    assert len(outcome.limitations) == 1
    assert "ran without namespaces of its own (not on this host)" in outcome.limitations[0]


def test_named_user_runs_the_scratch_and_productions_is_a_limitation(living: OwnCluster) -> None:
    named = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_name in ("games", "man", "mail", "daemon"))
    outcome = prove(
        living,
        living.params(verification={"scratch_user": named}),
        look=lambda proof: psutil.Process(first_postmaster(proof.scratch.data)).username(),
    )
    assert (outcome.seen, outcome.alarms, outcome.limitations) == (named, [], [])
    assert living.user is not None
    outcome = prove(living, living.params(verification={"scratch_user": living.user.name}))
    said = f"The scratch server ran as user {living.user.name}, who owns files of production."
    assert (outcome.alarms, outcome.limitations) == ([], [said])


def test_place_that_is_closed_to_the_scratch_user_is_used_by_productions(living: OwnCluster) -> None:
    """As it was before: a place within the home of production's user."""
    home = living.home / "closed"
    home.mkdir(mode=0o700)
    give(home, living.user)
    outcome = prove(living, living.params(verification={"scratch": str(home / "scratch")}))
    assert outcome.alarms == []
    assert [f"{home} is closed to user" in said for said in outcome.limitations] == [True]


@pytest.mark.parametrize("same_user", [False, True])
def test_socket_that_leads_to_production_is_refused(living: OwnCluster, same_user: bool) -> None:
    """The server's user may put a link to production's socket in the place of its own: we would check, and alter, production."""
    assert living.user is not None and living.socket is not None
    real = living.socket / ".s.PGSQL.5432"

    def look(proof: Any) -> None:
        own = proof.scratch.socket / ".s.PGSQL.5432"
        own.rename(own.with_name("away"))
        own.symlink_to(real)
        for database in ("template1", "shop"):
            with pytest.raises(RecoveryRefused, match="Another server than the copy's answers"):
                proof.scratch.connect(database)
        own.unlink()
        own.with_name("away").rename(own)

    verification = {"scratch_user": living.user.name} if same_user else {}
    assert prove(living, living.params(verification=verification), look=look).alarms == []


def test_pipe_in_place_of_a_file_does_not_keep_the_scratch(living: OwnCluster) -> None:
    held: list[Any] = []

    def look(proof: Any) -> None:
        run_program(proof, f"cd {proof.scratch.data}; rm postmaster.pid; mkfifo postmaster.pid")
        postmaster = psutil.process_iter(["uids"])
        held.extend(one for one in postmaster if one.info["uids"].real == proof.scratch.user.uid)
        held.append(proof.scratch.folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove(living, look=look)
    folder = held.pop()
    assert not folder.exists()
    assert held and [one for one in held if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("major", [15, 18])
def test_other_versions_run_isolated_too(major: int) -> None:
    with own_cluster("--data-checksums", major=major) as cluster:
        fill(cluster)
        cluster.backup("first")
        add_mark(cluster, 1)
        cluster.switch()

        def look(proof: Any) -> tuple[str | None, bool]:
            return proof.scratch.not_isolated, run_program(proof, "ls /proc").rstrip().endswith("code 0")

        outcome = prove(cluster, promote=True, look=look)
        assert (outcome.seen, outcome.limitations) == ((None, False), [])
        assert outcome.check("promoted").status == "PASS"
