"""Hooks around a lock-down fail, hang or half succeed, and the database is closed all the same; tokens are left nowhere."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from homes import at_home
from memory import Memory, lockdown_of
from own_cluster import OwnCluster, own_cluster, service_words, write_script
from runbook.errors import CommandFailed, OperatorError, PlatformError
from runbook.model import Status
from runbook.platforms.cluster import service
from runbook.platforms.cluster.live import LiveServer
from runbook.postgres.osuser import give
from runbook.recovery.lockdown import DOORS, EXPIRY, HA, MAINTENANCE, Done

pytestmark = pytest.mark.server
TOKEN = "canary-bearer-9f86d081"


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as cluster:
        yield cluster


@pytest.fixture
def place(cluster: OwnCluster, tmp_path: Path) -> Iterator[Path]:
    with at_home(cluster.home):
        yield tmp_path


def note(folder: Path, name: str, after: str = "") -> list[str]:
    """A hook that notes its call, with the target that it was told."""
    return write_script(
        folder / name, f'echo "{name} $RUNBOOK_TARGET $RUNBOOK_INCIDENT_RUN" >> {folder}/calls\n{after}'
    )


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def states(done: Done) -> dict[str, Status]:
    return {check.id: check.status for check in done.checks}


def test_hooks_are_called_once_and_taken_back_in_reverse_order(cluster: OwnCluster, place: Path) -> None:
    names = ("maintenance_on", "ha_pause", "expiry_freeze", "expiry_thaw", "ha_resume", "maintenance_off")
    params = cluster.params(hooks={name: {"command": note(place, name)} for name in names})
    memory = Memory(place / "memory")
    for _ in range(2):  # a second attempt of the same run
        lockdown = lockdown_of(params, memory, place / "tail")
        found = states(lockdown.maintenance()) | states(lockdown.freeze()) | states(lockdown.close())
        assert set(found.values()) == {Status.PASS}
    assert list(memory.undos) == [MAINTENANCE, HA, EXPIRY, DOORS]
    assert str(place / "maintenance_off") in memory.undos[MAINTENANCE]
    assert set(states(lockdown.lift()).values()) == {Status.PASS} and memory.undos == {}
    assert lockdown.lift().checks == []
    assert calls(place) == [f"{name} own r1" for name in names]


def test_missing_hooks_are_said_and_are_no_checks(cluster: OwnCluster, place: Path) -> None:
    lockdown = lockdown_of(cluster.params(), Memory(place / "memory"), place / "tail")
    done = lockdown.freeze()
    assert done.checks == [] and [row["state"] for row in done.rows] == ["not in params"] * 2


@pytest.mark.parametrize("ends", ["exit 3", "sleep 600"])
def test_failed_hook_is_unknown_and_the_database_is_closed_all_the_same(
    cluster: OwnCluster, place: Path, ends: str
) -> None:
    hooks = {
        "maintenance_on": {"command": note(place, "maintenance_on", f"echo half done; {ends}"), "timeout": "1 s"},
        "maintenance_off": {"command": note(place, "maintenance_off")},
    }
    memory = Memory(place / "memory")
    lockdown = lockdown_of(cluster.params(hooks=hooks), memory, place / "tail")
    assert states(lockdown.maintenance()) == {"lockdown-maintenance-on": Status.UNKNOWN}
    assert set(states(lockdown.close()).values()) == {Status.PASS}
    assert MAINTENANCE in memory.undos, "half of it may have happened: it is taken back too"
    lockdown.maintenance()
    assert set(states(lockdown.lift()).values()) == {Status.PASS}
    assert [line.split()[0] for line in calls(place)] == ["maintenance_on", "maintenance_on", "maintenance_off"]


def test_ha_manager_that_is_not_paused_stops_the_run_after_the_database_is_closed(
    cluster: OwnCluster, place: Path
) -> None:
    script = note(place, "ha_pause", f"test -e {place}/reachable")
    params = cluster.params(hooks={"ha_pause": {"command": script}})
    lockdown = lockdown_of(params, Memory(place / "memory"), place / "tail")
    assert states(lockdown.freeze()) == {"lockdown-ha-pause": Status.UNKNOWN}
    with pytest.raises(PlatformError, match="not paused"):
        lockdown.close()
    assert (cluster.data / "pg_hba.conf.before-r1").exists(), "closed"
    (place / "reachable").touch()
    assert states(lockdown.freeze()) == {"lockdown-ha-pause": Status.PASS}
    lockdown.close()
    done = lockdown.lift()
    assert states(done)["lockdown-lifted-ha"] is Status.UNKNOWN, "params name no ha_resume"
    assert not (cluster.data / "pg_hba.conf.before-r1").exists()


def test_hook_that_cannot_be_taken_back_stays_noted(cluster: OwnCluster, place: Path) -> None:
    hooks = {
        "expiry_freeze": {"command": note(place, "expiry_freeze")},
        "expiry_thaw": {"command": note(place, "expiry_thaw", f"test -e {place}/reachable")},
    }
    memory = Memory(place / "memory")
    lockdown = lockdown_of(cluster.params(hooks=hooks), memory, place / "tail")
    lockdown.freeze()
    assert states(lockdown.lift()) == {"lockdown-lifted-expiry": Status.UNKNOWN} and list(memory.undos) == [EXPIRY]
    (place / "reachable").touch()
    assert states(lockdown.lift()) == {"lockdown-lifted-expiry": Status.PASS} and memory.undos == {}


def test_bearer_token_is_sent_and_stands_nowhere_in_what_is_left(
    cluster: OwnCluster, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    class Page(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(self.headers["Authorization"])
            self.send_response(503 if len(seen) == 1 else 200)
            self.end_headers()
            self.wfile.write(f"your token {self.headers['Authorization']}".encode())

    monkeypatch.setenv("OWN_STATUS_TOKEN", TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page:
        thread = threading.Thread(target=page.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            url = f"http://127.0.0.1:{page.server_address[1]}/incidents"
            hooks = {"maintenance_on": {"http": {"url": url, "token": {"env": "OWN_STATUS_TOKEN"}}}}
            memory = Memory(place / "memory")
            lockdown = lockdown_of(cluster.params(hooks=hooks), memory, place / "tail")
            first, second = lockdown.maintenance(), lockdown.maintenance()
        finally:
            page.shutdown()
            thread.join()
    assert seen == [f"Bearer {TOKEN}"] * 2
    assert [states(done)["lockdown-maintenance-on"] for done in (first, second)] == [Status.UNKNOWN, Status.PASS]
    assert TOKEN not in repr((first, second)) + memory.path.read_text()
    assert "secret OWN_STATUS_TOKEN" in memory.path.read_text()
    for path in [*place.rglob("*"), *cluster.home.rglob("*")]:
        assert path.is_dir() or path.is_symlink() or TOKEN.encode() not in path.read_bytes(), path


# -- the service manager


def test_service_starts_and_stops_production_which_is_no_child_of_the_run(
    cluster: OwnCluster, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_RUN", "r1")
    params = cluster.params(cluster={"service": service_words(cluster, place)}).cluster
    assert params is not None and service.is_running(params)
    socket = cluster.socket
    for _ in range(2):
        service.stop(params)
        assert not service.is_running(params) and not LiveServer(params, "r1").is_up()
    assert socket is not None
    socket.mkdir(exist_ok=True)
    give(socket, cluster.user)
    began = time.monotonic()
    for _ in range(2):
        service.start(params)
        assert service.is_running(params) and LiveServer(params, "r1").is_up()
    assert time.monotonic() - began < 20, "a server that keeps the command's output open is not waited for"
    environment = (place / "environment").read_text()
    assert "RUNBOOK_PRODUCTION=1" in environment and "RUNBOOK_RUN=" not in environment


def test_service_that_fails_or_lies_or_is_missing_is_said(cluster: OwnCluster, place: Path) -> None:
    def params(**words: Any) -> Any:
        return cluster.params(cluster={"service": words}).cluster

    with pytest.raises(OperatorError, match="how to stop the server") as caught:
        service.stop(params())
    assert "cluster.service.stop" in str(caught.value)
    with pytest.raises(CommandFailed, match="code 5: no such unit"):
        service.stop(params(stop=write_script(place / "bad", "echo no such unit >&2; exit 5")))
    with pytest.raises(PlatformError, match="still runs"):
        service.stop(params(stop=["true"]), timeout=1)
    assert cluster.sql("SELECT 1") == [(1,)]


def test_word_runbook_is_this_program(place: Path) -> None:
    said = subprocess.run(service.service_argv(("runbook", "--help")), capture_output=True, text=True, check=True)
    assert "sandbox" in said.stdout
