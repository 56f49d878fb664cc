"""max_connections was raised after the newest backup: the backup's own settings are too low to replay the WAL."""

from __future__ import annotations

import random
from typing import Any

from runbook.sandbox import backup, cluster, traffic
from runbook.sandbox.change import read_figure
from runbook.sandbox.place import Sandbox

NAME = "raise-max-connections"
SUMMARY = "raise max_connections and restart, after the newest backup"


def apply(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    old = read_figure(sandbox, "read_max_connections", "connections")
    new = old + rng.randint(20, 60)
    with sandbox.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET max_connections = {new:d}")
    sandbox = cluster.start_server(cluster.stop_server(sandbox))
    traffic.write_burst(sandbox, 5)
    backup.archive_tail(sandbox)
    return {
        "did": f"Raised max_connections from {old} to {new} and restarted.",
        "where": str(sandbox.data / "postgresql.auto.conf"),
        "from": old,
        "to": new,
    }
