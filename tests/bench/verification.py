"""Backup verification against the same proof by hand, in one run on one machine: ratios, not times.

By hand: pg_verifybackup, cp -a, recovery with `cp` as restore_command, pg_amcheck --heapallindexed, count and hash of every
table, one command after the other. Caches are warm for both. Usage: `make bench` (SIZE=small for a quick look, SIZE=large with GIGABYTES;
PAIRS=5 repeats each measurement, interleaved, and prints medians with their spread).
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from runbook import layout
from runbook.params import load_params
from runbook.platforms.cluster.backups import describe_all
from runbook.postgres.osuser import service_user
from runbook.postgres.tools import find_tools

from tests.bench.sandboxed import RUNBOOK, run_in_sandbox

HASH = "SELECT count(*), sum(hashtextextended((r.*)::text, 0)) FROM ONLY %s AS r"


def timed(label: str, work: Callable[[], object], parts: dict[str, float]) -> None:
    began = time.monotonic()
    work()
    parts[label] = time.monotonic() - began
    print(f"    {label:34} {parts[label]:7.2f} s")


class ByHand:
    """The proof as a DBA types it."""

    def __init__(self, home: Path) -> None:
        params = load_params("sandbox")
        assert params.cluster is not None and params.cluster.wal_archive.directory is not None
        backups, _ = describe_all(layout.resolve(params.cluster.backup_folder))
        self.backup = backups[-1].path.resolve()
        self.user = service_user(None, self.backup)
        self.tools = find_tools(17, None, self.user)
        self.archive = layout.resolve(params.cluster.wal_archive.directory).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="rb-hand-", dir=home))
        self.scratch = self.folder / "data"
        if self.user is not None:
            os.chown(self.folder, self.user.uid, self.user.gid)

    def run(self, *argv: str) -> str:
        identity = {"user": self.user.uid, "group": self.user.gid, "extra_groups": []} if self.user else {}
        done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd="/", **identity)  # type: ignore[call-overload]
        return str(done.stdout)

    def psql(self, query: str) -> str:
        return self.run(
            self.tools.path("psql"), "-h", str(self.folder), "-U", "postgres", "-d", "dealerscope", "-Atc", query
        )

    def recover(self) -> None:
        (self.scratch / "recovery.signal").touch()
        with (self.scratch / "postgresql.auto.conf").open("w") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\narchive_mode = off\n"
                f"restore_command = 'cp {self.archive}/%f %p'\nshared_preload_libraries = ''\n"
            )
        self.run(
            self.tools.path("pg_ctl"),
            "-D",
            str(self.scratch),
            "-l",
            str(self.folder / "log"),
            "-t",
            "3600",
            "-w",
            "start",
        )
        while self.psql("SELECT pg_is_in_recovery()").strip() == "t":
            time.sleep(0.05)

    def hash_all(self) -> None:
        tables = self.psql(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'"
        )
        for name in tables.split("\n"):
            if name:
                self.psql("SET enable_indexonlyscan = off; " + HASH % name)

    def prove(self) -> dict[str, float]:
        parts: dict[str, float] = {}
        wanted = ["-h", str(self.folder), "-U", "postgres"]
        try:
            timed(
                "pg_verifybackup",
                lambda: self.run(self.tools.path("pg_verifybackup"), "-w", str(self.archive), str(self.backup)),
                parts,
            )
            timed("cp -a", lambda: self.run("cp", "-a", str(self.backup), str(self.scratch)), parts)
            timed("recover, restore_command = cp", self.recover, parts)
            timed(
                "pg_amcheck --heapallindexed",
                lambda: self.run(
                    self.tools.path("pg_amcheck"), *wanted, "--heapallindexed", "-d", "dealerscope", "-d", "postgres"
                ),
                parts,
            )
            timed("count and hash of every table", self.hash_all, parts)
        finally:
            subprocess.run(
                [self.tools.path("pg_ctl"), "-D", str(self.scratch), "-m", "immediate", "stop"],
                capture_output=True,
                check=False,
                **({"user": self.user.uid} if self.user else {}),
            )  # type: ignore[call-overload]
            shutil.rmtree(self.folder)
        return parts


class Memory(threading.Thread):
    """The peak of resident memory of the Python processes below this one, in MiB: the runner and its kernel."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.going = root, 0.0, True

    def run(self) -> None:
        while self.going:
            total = 0
            try:
                for process in [psutil.Process(self.root), *psutil.Process(self.root).children(recursive=True)]:
                    if "python" in process.name():
                        facts = process.memory_full_info()
                        total += facts.pss
            except psutil.Error:
                continue
            self.peak = max(self.peak, total / (1 << 20))
            time.sleep(0.2)


def verify(*wanted: str) -> tuple[float, dict[str, object], float]:
    """Wall seconds of `runbook run`, its run.json, and the peak of Python's memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(
        [RUNBOOK, "run", "backup-verification", *wanted], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    memory = Memory(process.pid)
    memory.start()
    out, _ = process.communicate()
    wall = time.monotonic() - began
    memory.going = False
    said = json.loads(out.splitlines()[-1])
    print(f"    runbook run: {said['verdict']} in {wall:.2f} s; {said['reason'][:100]}")
    return wall, json.loads((layout.home() / said["record"] / "run.json").read_text()), memory.peak


def steps_seconds(record: dict[str, object]) -> float:
    steps = record["steps"]
    assert isinstance(steps, list)
    return float(sum(step["seconds"] or 0 for step in steps))


def disk_limits(folder: Path) -> None:
    block = os.urandom(1 << 20)
    path = folder / "disk-limit"
    began = time.monotonic()
    with path.open("wb") as file:
        for _ in range(1024):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.monotonic() - began
    path.unlink()
    print(f"  disk: writes 1 GiB with fsync at {1024 / seconds:.0f} MiB/s")


def warm(folder: Path) -> int:
    """Everything below the folder is in the page cache; bytes read."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    total += len(chunk)
    return total


def spread(figures: list[float]) -> str:
    """The median, with the least and the most where there are several."""
    middle = f"{statistics.median(figures):.2f}"
    return middle if len(figures) == 1 else f"{middle} ({min(figures):.2f} to {max(figures):.2f}, {len(figures)} pairs)"


def main() -> None:
    run_in_sandbox("Verification", compare)


def compare(home: Path) -> None:
    params = load_params("sandbox")
    assert params.cluster is not None
    backups = layout.resolve(params.cluster.backup_folder)
    fences = (backups / "fences").resolve()
    subprocess.run([RUNBOOK, "fence", "take", "--jobs", "2"], check=True, stdout=subprocess.DEVNULL)
    sizes = warm(backups.resolve()), warm(layout.resolve(str(params.cluster.wal_archive.directory)).resolve())
    print(f"  base backup {sizes[0] / 1e9:.2f} GB, archived WAL {sizes[1] / 1e9:.2f} GB")
    disk_limits(home)
    proofs, stops, peaks = [], [], []
    for _ in range(int(os.environ.get("PAIRS", "1"))):
        print("  by hand, one command after the other:")
        hand = sum(ByHand(home).prove().values())
        print(f"    total {hand:.2f} s")
        print("  verification without a fence (INCOMPLETE by design):")
        aside = fences.with_name("fences-aside.part")
        fences.rename(aside)
        without, _, memory = verify()
        aside.rename(fences)
        print("  verification with the fence:")
        with_fence, record, memory_fenced = verify()
        proofs.append(without / hand)
        stops.append((with_fence - without) / hand)
        peaks += [memory, memory_fenced]
    for step in record["steps"]:  # type: ignore[attr-defined]
        print(f"      {step['name']:50} {step['seconds']:7.2f} s")
    print(f"  ratio without the fence's stop: {spread(proofs)} (wanted: at most 0.65)")
    print(f"  the fence's stop costs:         {spread(stops)} (wanted: at most 0.15)")
    print(f"  Python's memory, runner and kernel together: {max(peaks):.0f} MiB (wanted: at most 300)")
    if os.geteuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    wall, record, _ = verify()
    print(f"  beyond the database work, cold caches: {wall - steps_seconds(record):.2f} s (wanted: at most 6)")


if __name__ == "__main__":
    main()
