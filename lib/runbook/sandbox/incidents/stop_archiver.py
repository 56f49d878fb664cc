"""The archive cannot be written: WAL piles up and the recovery point stands still."""

from __future__ import annotations

import random
import time
from typing import Any

from runbook.errors import PlatformError
from runbook.sandbox import traffic
from runbook.sandbox.data import run_file
from runbook.sandbox.place import Sandbox

NAME = "stop-archiver"
SUMMARY = "make the WAL archive unwritable"
_PATIENCE = 30.0


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    with sandbox.connect() as connection:
        before = run_file(connection, "read_archiver")[0]["failed_count"]
        sandbox.archive.chmod(0o500)
        traffic.write_burst(sandbox, 10)
        segment = run_file(connection, "switch_wal")[0]["segment"]
        deadline = time.monotonic() + _PATIENCE
        while run_file(connection, "read_archiver")[0]["failed_count"] == before:
            if time.monotonic() > deadline:
                raise PlatformError("The archiver has not failed yet.", next=f"Read {sandbox.log}.")
            time.sleep(0.1)
    return {
        "did": f"Made the archive unwritable (mode 0500); {segment} waits.",
        "where": str(sandbox.archive),
        "segment": segment,
        "undo": f"chmod 700 {sandbox.archive}",
    }
