"""The WAL search against pg_waldump itself, in one run on one machine: ratios, not times; and memory as the WAL grows.

pg_waldump prints the same records to nowhere; the search reads them through a pipe and counts. WAL comes from pgbench's transaction (many small
ones) and from three statements over whole tables. Usage: python -m tests.bench.walsearch (MEGABYTES=600
of each kind).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from runbook.postgres import server
from runbook.postgres.osuser import give, service_user
from runbook.postgres.tools import find_tools
from runbook.postgres.wal import parse_lsn
from runbook.postgres.waldump import waldump_argv
from runbook.recovery.waltally import RMGRS

MEGABYTES = int(os.environ.get("MEGABYTES", "600"))
ROUNDS = 5
CONF = """
listen_addresses = ''
fsync = off
synchronous_commit = off
shared_buffers = 256MB
max_wal_size = 1GB
wal_keep_size = 8GB
autovacuum = off
"""
LOOP = """
DO $do$
DECLARE
    account int; change int;
BEGIN
    FOR turn IN 1..100000 LOOP
        account := random(1, 2000000); change := random(-5000, 5000);
        UPDATE pgbench_accounts SET abalance = abalance + change WHERE aid = account;
        UPDATE pgbench_tellers SET tbalance = tbalance + change WHERE tid = account % 200 + 1;
        UPDATE pgbench_branches SET bbalance = bbalance + change WHERE bid = account % 20 + 1;
        INSERT INTO pgbench_history VALUES (account % 200 + 1, account % 20 + 1, account, change, now());
        COMMIT;
    END LOOP;
END
$do$
"""
SEARCH = """
import resource, sys, time
from pathlib import Path
from runbook.postgres.tools import Tools
from runbook.postgres.wal import Timeline
from runbook.recovery.forensics import search_wal
folder, bin, begin, end = sys.argv[1:]
began = time.monotonic()
found = search_wal(Path(folder), (Timeline(1, 0, None),), Tools(Path(bin), 17), int(begin), int(end))
print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found.commits)
"""


class Bench:
    """A cluster that makes WAL."""

    def __init__(self, folder: Path) -> None:
        self.user = service_user()
        self.tools = find_tools(17, user=self.user)
        self.folder, self.data = folder, folder / "data"
        give(folder, self.user)
        self.socket = server.make_socket_folder(self.user)

    def run(self, program: str, *words: str) -> str:
        identity = {"user": self.user.uid, "group": self.user.gid, "extra_groups": []} if self.user else {}
        argv = [self.tools.path(program), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, cwd="/", **identity).stdout  # type: ignore[call-overload,no-any-return]

    def sql(self, text: str) -> str:
        return self.run("psql", "-h", str(self.socket), "-U", "postgres", "-d", "postgres", "-Atc", text).strip()

    def position(self) -> int:
        return parse_lsn(self.sql("SELECT pg_current_wal_insert_lsn()"))

    def make_small_transactions(self, target: int) -> tuple[int, int]:
        """pgbench's own transaction, in a loop on the server: a client would need ten minutes for as much."""
        begin = self.position()
        while self.position() - begin < target:
            self.sql(LOOP)
        return begin, self.position()

    def make_large_transactions(self, target: int) -> tuple[int, int]:
        begin = self.position()
        while self.position() - begin < target:
            self.sql("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 2 = 0")
            self.sql("DELETE FROM pgbench_history")
            self.sql("INSERT INTO pgbench_history SELECT 1, 1, aid, 0, now() FROM pgbench_accounts")
        return begin, self.position()

    def dump(self, begin: int, end: int) -> float:
        argv = waldump_argv(self.tools, self.data / "pg_wal", 1, begin, end, RMGRS)
        began = time.monotonic()
        subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - began

    def search(self, begin: int, end: int) -> tuple[float, float, int]:
        argv = [sys.executable, "-c", SEARCH, str(self.data / "pg_wal"), str(self.tools.bin), str(begin), str(end)]
        seconds, memory, commits = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
        return float(seconds), float(memory), int(commits)

    def compare(self, name: str, begin: int, end: int) -> None:
        """The best of some rounds, alternating, so that other work on the machine hits both."""
        self.dump(begin, end)
        rounds = [(self.dump(begin, end), self.search(begin, end)) for _ in range(ROUNDS)]
        dumped, searched = min(one[0] for one in rounds), min(one[1][0] for one in rounds)
        half = self.search(begin, begin + (end - begin) // 2)
        whole = rounds[0][1]
        size = (end - begin) / 1e6
        print(f"  {name}: {size:.0f} MB of WAL, {whole[2]} commits")
        print(
            f"    pg_waldump {dumped:6.2f} s ({size / dumped:.0f} MB/s)   search {searched:6.2f} s ({size / searched:.0f} MB/s)"
        )
        print(f"    ratio {dumped / searched:.2f} (wanted: at least 0.5)")
        print(f"    memory {half[1]:.0f} MiB for half of it, {whole[1]:.0f} MiB for all (wanted: flat)")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rb-walsearch-", dir="/var/tmp"))
    folder.chmod(0o755)
    bench = Bench(folder)
    try:
        bench.run("initdb", "-D", str(bench.data), "-U", "postgres", "-A", "trust", "--no-sync", "--data-checksums")
        with (bench.data / "postgresql.conf").open("a") as conf:
            conf.write(CONF + f"unix_socket_directories = '{bench.socket}'\n")
        server.start(bench.tools, bench.data, log=folder / "log", user=bench.user)
        print(f"WAL search, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        bench.run("pgbench", "-h", str(bench.socket), "-U", "postgres", "-i", "-s", "20", "-q", "postgres")
        for name, make in (
            ("many small transactions", bench.make_small_transactions),
            ("few large ones", bench.make_large_transactions),
        ):
            bench.compare(name, *make(MEGABYTES * 1_000_000))
    finally:
        server.stop(bench.tools, bench.data, user=bench.user, mode="immediate")
        shutil.rmtree(bench.socket, ignore_errors=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
