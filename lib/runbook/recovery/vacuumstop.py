"""Autovacuum is kept off a damaged server: dead rows are what a salvage can still read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from runbook.errors import PlatformError
from runbook.model import Check, Severity, Status
from runbook.platforms.cluster.live import LiveServer, read_facts
from runbook.postgres.connect import one, rows
from runbook.postgres.sqlfiles import load_sql

#: What is remembered: {"set": what ALTER SYSTEM had set before, or None}.
KEY = "lockdown autovacuum"
_RELOAD_SECONDS = 10.0


def stop(server: LiveServer, *, before: dict[str, Any] | None, begin: Callable[[dict[str, Any]], object]) -> None:
    """No autovacuum runs or begins (but against wraparound). Safe twice; nothing happens when it was off anyway.

    Args:
        before: what `begin` was given in an earlier attempt: it, and not what we have set since, is to be restored.
        begin: called before anything changes, with what was set before.

    Raises:
        PlatformError: the server cannot be reached.
    """
    with server.connect(read_only=False) as connection:
        if before is None:
            if read_facts(connection).autovacuum == "off":
                return
            found = rows(connection, load_sql("lockdown/read_autovacuum_setting").text)
            before = {"set": found[0]["setting"] if found else None}
        begin(before)
        rows(connection, load_sql("lockdown/stop_autovacuum").text)
        one(connection, load_sql("lockdown/reload").text)
    _wait_for(server, "off")
    with server.connect() as connection:
        rows(connection, load_sql("lockdown/end_autovacuum").text)


def start(server: LiveServer, before: dict[str, Any] | None) -> None:
    """Autovacuum is set as it was before.

    Raises:
        PlatformError: the server cannot be reached.
    """
    was_on = (before or {}).get("set") == "on"
    query = load_sql("lockdown/start_autovacuum") if was_on else load_sql("lockdown/reset_autovacuum")
    with server.connect(read_only=False) as connection:
        rows(connection, query.text)
        one(connection, load_sql("lockdown/reload").text)


def undo_words(before: dict[str, Any]) -> str:
    """How to take it back by hand."""
    word = "SET autovacuum = on" if before.get("set") == "on" else "RESET autovacuum"
    return f"ALTER SYSTEM {word}; SELECT pg_reload_conf();"


def check(server: LiveServer) -> Check:
    """Whether it is off."""
    seen = server.facts().autovacuum
    return Check(
        id="lockdown-autovacuum",
        title="Dead rows are kept for salvage",
        status=Status.PASS if seen == "off" else Status.UNKNOWN,
        expected="autovacuum is off",
        observed=f"autovacuum is {seen}",
        severity=Severity.WARNING,
        reason=None if seen == "off" else "A setting that ALTER SYSTEM does not win over (a command line) keeps it on.",
        next=None if seen == "off" else "Look into pg_settings for its source.",
    )


def _wait_for(server: LiveServer, value: str) -> None:
    """A new connection shows the value, or its time is up: the check says so."""
    deadline = time.monotonic() + _RELOAD_SECONDS
    while time.monotonic() < deadline:
        try:
            if server.facts().autovacuum == value:
                return
        except PlatformError:
            pass
        time.sleep(0.05)
