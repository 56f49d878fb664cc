"""The daily look at 5,000 tables, report included: seconds, memory, and what it costs the target.

Usage: `make bench` (TABLES=500 for a quick look). Limits are those that the product promises.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from homes import at_home
from own_cluster import OwnCluster, own_cluster
from runbook.health.daily import DailyHealth

SECONDS, MEBIBYTES = 30.0, 300.0


def fill(cluster: OwnCluster, tables: int) -> None:
    cluster.sql("CREATE EXTENSION pg_stat_statements", "CREATE EXTENSION pgstattuple")
    with cluster.connect() as connection:
        for first in range(0, tables, 100):
            for number in range(first, min(first + 100, tables)):
                connection.execute(
                    f"CREATE TABLE t{number} (id serial PRIMARY KEY, a int, b text);"
                    f"CREATE INDEX ON t{number} (a); INSERT INTO t{number} (a) VALUES (1)"
                )
        connection.execute("ANALYZE")


def blocks(cluster: OwnCluster) -> int:
    return int(cluster.sql("SELECT sum(blks_read + blks_hit)::bigint FROM pg_stat_database")[0][0])


def main() -> int:
    tables = int(os.environ.get("TABLES", "5000"))
    settings = {"shared_preload_libraries": "pg_stat_statements", "fsync": "on", "autovacuum": "on"}
    with own_cluster("--data-checksums", settings={**settings, "max_locks_per_transaction": "256"}) as cluster:
        fill(cluster, tables)
        params = cluster.params(health={"sample": "1 s"})
        before, began = blocks(cluster), time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "runbook.cli.main", "run", "daily-health", "--target", "own"],
            env={**os.environ, "RUNBOOK_HOME": str(cluster.home)},
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - began
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        touched = blocks(cluster) - before
        with at_home(cluster.home):
            look = DailyHealth(params, "bench")
            look.arrive()
            look.check()
        slowest = sorted(look.looked, key=lambda one: -one.seconds)[:3]
    print(
        f"daily health, {tables} tables: {seconds:.1f} s (limit {SECONDS:g}), largest process {memory:.0f} MiB (limit {MEBIBYTES:g})"
    )
    print(f"  exit {ended.returncode}: {ended.stdout.strip().splitlines()[-1][:300]}")
    print(
        f"  on the target: {look.look.load.queries} queries, {look.look.load.seconds:.2f} s, {touched} blocks touched"
    )
    print("  slowest checks: " + ", ".join(f"{one.name} {one.seconds:.2f} s" for one in slowest))
    return 0 if seconds <= SECONDS and memory <= MEBIBYTES and ended.returncode != 2 else 1


if __name__ == "__main__":
    sys.exit(main())
