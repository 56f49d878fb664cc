"""An earlier recovery left its target in postgresql.auto.conf, and the newest backup carries it."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox import backup, traffic
from runbook.sandbox.place import Sandbox

NAME = "inherited-target"
SUMMARY = "take a new backup whose postgresql.auto.conf names a recovery target"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    with sandbox.connect() as connection:
        connection.execute("ALTER SYSTEM SET recovery_target_name = 'left by an earlier recovery'")
        connection.execute("ALTER SYSTEM SET recovery_target_action = 'promote'")
    sandbox, taken = backup.take_backup(sandbox, "inherited-target")
    traffic.write_burst(sandbox, 10)
    backup.archive_tail(sandbox)
    return {
        "did": f"Left a recovery target in postgresql.auto.conf and took backup {taken.name}.",
        "where": str(taken / "postgresql.auto.conf"),
        "backup": taken.name,
    }
