"""A recovery from "approved" to "paused at the target" against copy and replay by hand, in one run on one disk: a ratio, not a time.

By hand: cp -a, recovery with `cp` as restore_command to the same position, paused. Usage: `make bench` (SIZE=small for a quick look, SIZE=large with GIGABYTES).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

from runbook import clock, layout
from runbook.params import load_params

from tests.bench.sandboxed import RUNBOOK, run_in_sandbox
from tests.bench.verification import ByHand, warm

ANSWERS = {
    "dry_run": "false",
    "commander": "bench",
    "personal_data": "no",
    "rationale": "bench",
    "suspects": "first",
    "compare_fence": "false",
}


def by_hand(home: Path, position: str) -> float:
    """Seconds for a copy and a replay to the position, paused there."""
    hand = ByHand(home)
    try:
        began = time.monotonic()
        hand.run("cp", "-a", str(hand.backup), str(hand.scratch))
        (hand.scratch / "recovery.signal").touch()
        with (hand.scratch / "postgresql.auto.conf").open("w") as file:
            file.write(
                f"listen_addresses = ''\nunix_socket_directories = '{hand.folder}'\narchive_mode = off\n"
                f"restore_command = 'cp {hand.archive}/%f %p'\nshared_preload_libraries = ''\n"
                f"recovery_target_lsn = '{position}'\nrecovery_target_inclusive = off\nrecovery_target_action = pause\n"
            )
        argv = [hand.tools.path("pg_ctl"), "-D", str(hand.scratch), "-l", str(hand.folder / "log"), "-t", "3600", "-w"]
        hand.run(*argv, "start")
        while hand.psql("SELECT pg_get_wal_replay_pause_state()").strip() != "paused":
            time.sleep(0.05)
        return time.monotonic() - began
    finally:
        subprocess.run(
            [hand.tools.path("pg_ctl"), "-D", str(hand.scratch), "-m", "immediate", "stop"],
            capture_output=True,
            check=False,
            **({"user": hand.user.uid} if hand.user else {}),
        )  # type: ignore[call-overload]
        shutil.rmtree(hand.folder)


def say(*words: str) -> dict[str, str]:
    """A command's last line."""
    done = subprocess.run(
        [RUNBOOK, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False, cwd=layout.home()
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(home: Path) -> None:
    params = load_params("sandbox")
    assert params.cluster is not None
    subprocess.run([RUNBOOK, "sandbox", "incident", "delete-vehicles"], check=True, stdout=subprocess.DEVNULL)
    sizes = [warm(layout.resolve(str(place)).resolve()) for place in (params.cluster.backup_folder, params.cluster.wal_archive.directory)]  # fmt: skip
    print(f"  base backup {sizes[0] / 1e9:.2f} GB, archived WAL {sizes[1] / 1e9:.2f} GB")
    pairs = [word for name, value in ANSWERS.items() for word in ("-p", name, value)]
    first = say("run", "point-in-time-recovery", "--target", "sandbox", *pairs)
    run = first["run"]
    say("approve", run, "approve-the-recovery", "--key", "var/keys/practice-one", "--yes")
    said = say("resume", run)
    memory = [json.loads(line) for line in (layout.run(run) / "journal.jsonl").read_text().splitlines()]
    moments = {event["name"].rpartition("/")[2]: event["value"] for event in memory if event["event"] == "remembered" and "/at/" in event["name"]}  # fmt: skip
    ours = (clock.parse(moments["paused"]["at"]) - clock.parse(moments["approved"]["at"])).total_seconds()
    record = json.loads((layout.home() / said["record"] / "run.json").read_text())
    search, position = record["facts"]["search"], record["facts"]["recovery_point"]["gate"]
    hand = by_hand(home, position)
    print(f"  from approved to paused: {ours:.2f} s; copy and replay by hand: {hand:.2f} s")
    print(f"  ratio: {ours / hand:.2f} (wanted: at most 1.1)")
    print(f"  WAL search: {search['wal']} at {search['rate']}")
    say("answer", run, "choose-the-way-on", "back", "--reason", "bench")
    say("resume", run)
    say("approve", run, "approve-the-way-on", "--key", "var/keys/practice-one", "--yes")
    back = say("resume", run)
    print(f"  way back: {back['verdict']}: {back['reason']}")
    assert back["verdict"] == "PASS"


def main() -> None:
    run_in_sandbox("Recovery", compare)


if __name__ == "__main__":
    main()
