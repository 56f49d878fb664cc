"""Hooks fail, hang and half succeed without raising; what they say is kept, their secrets are not."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runbook import layout
from runbook.outside.hooks import call_hook
from runbook.params.schema import Hook, Http, Secret

TOKEN = "sesame-0pen-sesame-1234"
FACTS = {"target": "billing", "incident run": "r1"}


class Station(http.server.ThreadingHTTPServer):
    """A status page that does what a path says, and notes what it was sent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), Answer)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Station

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append({"method": self.command, "token": self.headers.get("Authorization"), "body": body})
        if self.path == "/hang":
            self.server.over.wait(30)
            return
        if self.path == "/drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            while not self.server.over.wait(0.2):
                try:
                    self.wfile.write(b".")
                except OSError:
                    return
            return
        if self.path == "/cut":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            return
        status = int(self.path.strip("/")) if self.path.strip("/").isdigit() else 200
        said = f"you sent {self.headers.get('Authorization')}".encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture
def station() -> Iterator[Station]:
    with Station() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def script(folder: Path, text: str) -> Hook:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return Hook(command=(str(path), "word"), timeout=2.0)


def test_command_gets_facts_and_productions_mark_instead_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(layout.RUN_MARK, "r1")
    result = call_hook("maintenance_on", script(tmp_path, "env; echo $1"), FACTS)
    assert result.ok and result.name == "maintenance_on"
    said = result.said.splitlines()
    assert {"RUNBOOK_TARGET=billing", "RUNBOOK_INCIDENT_RUN=r1", "RUNBOOK_PRODUCTION=1", "word"} <= set(said)
    assert not any(line.startswith(layout.RUN_MARK + "=") for line in said)


def test_failing_command_is_told_with_its_code_and_words(tmp_path: Path) -> None:
    result = call_hook("ha_pause", script(tmp_path, "echo no leader >&2; exit 7"), {})
    assert (result.ok, result.said) == (False, "code 7: no leader")


def test_missing_program_is_a_failed_hook(tmp_path: Path) -> None:
    result = call_hook("ha_pause", Hook(command=(str(tmp_path / "nothing"),)), {})
    assert not result.ok and "is not there" in result.said


def test_hanging_command_ends_at_its_time_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    result = call_hook("ha_pause", script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait"), {})
    assert not result.ok and "2 s" in result.said
    assert time.monotonic() - began < 8
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5  # it was told to end, and may not have had its turn yet
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    result = call_hook("maintenance_on", script(tmp_path, f"setsid sleep 60 & echo $! > {tmp_path}/child; echo on"), {})
    child = int((tmp_path / "child").read_text())
    try:
        assert (result.ok, result.said) == (True, "on")
        assert time.monotonic() - began < 2
    finally:
        os.kill(child, signal.SIGKILL)


def http_hook(url: str, **given: Any) -> Hook:
    return Hook(http=Http(url=url, token=Secret(env="STATUS_TOKEN"), timeout=1.5, **given))


def test_http_hook_sends_token_and_facts_and_keeps_no_token(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    result = call_hook("status_page", http_hook(station.url("/200")), FACTS)
    assert result.ok and result.what == f"POST {station.url('/200')}"
    assert station.seen[0]["token"] == f"Bearer {TOKEN}"
    assert json.loads(station.seen[0]["body"]) == FACTS
    assert TOKEN not in repr(result) and "you sent Bearer «secret STATUS_TOKEN»" in result.said


def test_get_has_no_body(station: Station) -> None:
    assert call_hook("smoke_tests", Hook(http=Http(url=station.url("/200"), method="GET")), FACTS).ok
    assert station.seen == [{"method": "GET", "token": None, "body": b""}]


@pytest.mark.parametrize("path", ["/500", "/404", "/302", "/cut"])
def test_answer_other_than_a_whole_2xx_is_a_failed_hook(station: Station, path: str) -> None:
    result = call_hook("status_page", Hook(http=Http(url=station.url(path))), FACTS)
    assert not result.ok and result.said
    assert len(station.seen) == 1, "a hook is called once, and a redirect is not followed"


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_hanging_server_ends_at_its_time(station: Station, path: str) -> None:
    began = time.monotonic()
    result = call_hook("status_page", Hook(http=Http(url=station.url(path)), timeout=1.0), FACTS)
    assert not result.ok and time.monotonic() - began < 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense", "http://[bad", "http://nowhere.invalid/"])
def test_unreachable_address_is_a_failed_hook(url: str) -> None:
    result = call_hook("status_page", Hook(http=Http(url=url)), FACTS)
    assert not result.ok and result.said


def test_token_that_cannot_be_sent_or_found_is_a_failed_hook_and_is_not_told(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATUS_TOKEN", "bad-token\n" + TOKEN)
    result = call_hook("status_page", http_hook(station.url("/200")), FACTS)
    assert not result.ok and TOKEN not in repr(result)
    monkeypatch.delenv("STATUS_TOKEN")
    result = call_hook("status_page", http_hook(station.url("/200")), FACTS)
    assert not result.ok and "STATUS_TOKEN" in result.said
    assert station.seen == []


def test_endless_output_ends_the_hook_before_it_fills_a_disk() -> None:
    result = call_hook("maintenance_on", Hook(command=("/usr/bin/yes",), timeout=60.0), FACTS)
    assert not result.ok and "printed more than 64 MiB and was stopped" in result.said
