"""A verification of thousands of relations against the same by hand, in one run on one machine: ratios, not times.

By hand: pg_basebackup's copy, recovery with `cp` as restore_command, pg_amcheck --heapallindexed. Usage: `make bench` (RELATIONS=520 ROWS=50000 for
a quick look; PAIRS=3 repeats each measurement, interleaved).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hostile import make_reader
from largeschema import applications
from own_cluster import OwnCluster, own_cluster
from runbook.postgres import server
from runbook.postgres.osuser import give

RELATIONS, ROWS = int(os.environ.get("RELATIONS", "2288")), int(os.environ.get("ROWS", "415000"))
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "max_locks_per_transaction": "512",
    "shared_buffers": "512MB",
    "max_wal_size": "2GB",
}


def fill(cluster: OwnCluster) -> None:
    """The database is there, backed up in the middle of its life, with a fence and WAL after it."""
    cluster.sql("CREATE EXTENSION amcheck")
    cluster.create_database("big")
    for statements in applications(RELATIONS, ROWS):
        with cluster.connect("big") as connection, connection.transaction():
            for statement in statements:
                connection.execute(statement)
    cluster.sql("VACUUM ANALYZE", database="big")
    make_reader(cluster, "big")
    cluster.backup("first")
    cluster.sql("UPDATE app_0.t0 SET note = 'after the backup'", database="big")
    cluster.fence()
    cluster.switch()


def by_hand(cluster: OwnCluster) -> dict[str, float]:
    """Seconds of each part."""
    parts: dict[str, float] = {}
    folder = Path(tempfile.mkdtemp(prefix="rb-hand-", dir=cluster.home.parent))
    folder.chmod(0o755)
    give(folder, cluster.user)
    data = folder / "data"
    socket = server.make_socket_folder(cluster.user)

    def timed(label: str, began: float) -> None:
        parts[label] = time.monotonic() - began

    try:
        began = time.monotonic()
        cluster.backup("copy", into=data)
        timed("pg_basebackup", began)
        shutil.rmtree(data)
        subprocess.run(["cp", "-a", str(cluster.backups / "first"), str(data)], check=True)
        (data / "recovery.signal").touch()
        give(data / "recovery.signal", cluster.user)
        with (data / "postgresql.auto.conf").open("a") as conf:
            conf.write(
                f"unix_socket_directories = '{socket}'\nlisten_addresses = ''\narchive_mode = off\nshared_preload_libraries = ''\n"
                f"restore_command = 'cp {cluster.archive}/%f %p'\n"
            )
        began = time.monotonic()
        server.start(cluster.tools, data, log=folder / "log", user=cluster.user)
        copy = OwnCluster(folder, cluster.tools, cluster.user, socket=socket)
        while copy.sql("SELECT pg_is_in_recovery()")[0][0]:
            time.sleep(0.05)
        timed("replay", began)
        began = time.monotonic()
        cluster.run("pg_amcheck", "-h", str(socket), "-U", "postgres", "--heapallindexed", "-d", "big", timeout=3600)
        timed("pg_amcheck", began)
    finally:
        server.stop(cluster.tools, data, user=cluster.user, mode="immediate")
        shutil.rmtree(folder)
        shutil.rmtree(socket, ignore_errors=True)
    return parts


def verify(cluster: OwnCluster) -> tuple[float, Path]:
    """Wall seconds of `runbook run`, and its record."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "runbook.cli.main", "run", "backup-verification", "--target", "own"],
        env={**os.environ, "RUNBOOK_HOME": str(cluster.home)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    )  # fmt: skip
    wall = time.monotonic() - began
    said = json.loads(done.stdout.splitlines()[-1])
    print(f"    runbook run: {said['verdict']} in {wall:.1f} s; {said['reason'][:200]}")
    return wall, cluster.home / said["record"]


def main() -> int:
    with own_cluster("--data-checksums", settings=SETTINGS) as cluster:
        began = time.monotonic()
        fill(cluster)
        cluster.params()
        print(f"{RELATIONS} relations with {ROWS} rows, made in {time.monotonic() - began:.0f} s")
        ratios, walls = [], []
        for _ in range(int(os.environ.get("PAIRS", "1"))):
            parts = by_hand(cluster)
            hand = sum(parts.values())
            print(
                f"  by hand: {hand:.1f} s ("
                + ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
                + ")"
            )
            wall, record = verify(cluster)
            walls.append(wall)
            ratios.append(wall / hand)
        facts = json.loads((record / "run.json").read_text())
        size = sum(path.stat().st_size for path in record.iterdir())
    for step in facts["steps"]:
        if step["seconds"] and step["seconds"] >= 0.5:
            print(f"      {step['name']:50} {step['seconds']:7.2f} s")
    print(f"  seconds: {statistics.median(walls):.1f} (wanted: at most 35)")
    print(f"  ratio to the same by hand: {statistics.median(ratios):.2f} (wanted: at most 1.2)")
    print(f"  record: {size / 1e6:.2f} MB (wanted: at most 1.5)")
    return 0 if facts["verdict"] == "PASS" else 1


if __name__ == "__main__":
    sys.exit(main())
