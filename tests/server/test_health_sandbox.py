"""The whole runbook on the sandbox: healthy it passes; each planted problem is found once; after the changes it says fixed."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from homes import recorded, runbook
from runbook.sandbox import cluster, companion, idle_process, problems, traffic
from runbook.sandbox.data import run_file
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def run_health(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and run.json."""
    return recorded(home, "daily-health", *words)


def findings(record: dict[str, Any]) -> dict[str, list[str]]:
    """Objects found, by check, without their database."""
    found: dict[str, list[str]] = {}
    for check in record["checks"]:
        for one in check["findings"]:
            found.setdefault(one["id"].removeprefix("health/"), []).append(one["object"].removeprefix("dealerscope: "))
    return found


def apply_changes(home: Path, record: dict[str, Any]) -> list[str]:
    """The ready changes are made, as a person would make them; which checks had one."""
    made = []
    for path in sorted((home / "var" / "runs" / record["run"] / "changes").glob("*.sql")):
        if ".undo." in path.name:
            continue
        lines = path.read_text().splitlines()
        with need_sandbox().connect() as connection:
            for line in lines:
                if not line.startswith("--"):
                    connection.execute(line)  # type: ignore[call-overload]
        made.append(lines[0].removeprefix("-- change for ").partition(":")[0])
    return made


def wait_until_archived(since: float, segment: str) -> None:
    """The archiver, which starts anew with its settings, has delivered the segment."""
    while not (need_sandbox().archive / segment).is_file():
        assert time.monotonic() < since + 90
        with need_sandbox().connect() as connection:  # wakes the postmaster
            connection.execute("SELECT 1")
        time.sleep(0.2)


def test_health_finds_what_is_planted_once_and_says_fixed_after_its_changes(live_home: Path) -> None:
    code, record = run_health(live_home)
    wrong = [(check["id"], check["reason"]) for check in record["checks"] if check["status"] != "PASS"]
    assert (code, record["verdict"], wrong) == (0, "PASS", [])
    own = findings(record)  # a warning of the application's own

    sandbox = need_sandbox()
    planted = problems.plant(sandbox)
    assert problems.plant(sandbox) == planted, "planting twice is planting once"
    assert set(planted) == {*problems.PLANTED, "idle_transactions"}
    assert idle_process.APPLICATION in planted["idle_transactions"]
    with sandbox.connect() as connection:
        segment = run_file(connection, "switch_wal")[0]["segment"]
    assert not (sandbox.archive / segment).exists(), "the archiver fails for real"
    code, record = run_health(live_home)
    assert (code, record["verdict"]) == (1, "FAIL")
    assert findings(record) == {**own, **{check: [name] for check, name in planted.items()}}
    figures = {one["object"]: one["observed"] for check in record["checks"] for one in check["findings"]}
    assert figures["dealerscope: practice.ticket"] == "93 %"

    assert sorted(apply_changes(live_home, record)) == sorted({**own, **planted}), "each with its ready change"
    wait_until_archived(time.monotonic(), segment)
    code, record = run_health(live_home)
    assert findings(record) == {}
    assert (code, record["verdict"]) == (0, "PASS")
    report = max((live_home / "reports").rglob("report.html"), key=lambda path: path.stat().st_mtime).read_text()
    assert len(re.findall(r"<td[^>]*>fixed</td>", report)) == len({**own, **planted})


def test_undoing_what_is_planted_loses_no_wal_and_ends_the_session(live_home: Path) -> None:
    sandbox = need_sandbox()
    archived = {path.name for path in sandbox.archive.iterdir()}
    problems.plant(sandbox)
    process = companion.find_process(sandbox, "idle")
    assert process is not None
    with sandbox.connect() as connection:
        waiting = [run_file(connection, "switch_wal")[0]["segment"]]
        traffic.write_burst(sandbox, 5)
        waiting.append(run_file(connection, "switch_wal")[0]["segment"])
        failed = run_file(connection, "read_archiver")[0]
    assert failed["failed_count"] > 0 and failed["last_failed_time"] > failed["last_archived_time"]
    problems.uproot(sandbox)
    there = {path.name for path in sandbox.archive.iterdir()}
    assert archived | set(waiting) <= there, "every segment written meanwhile is archived"
    assert not process.is_running()
    with sandbox.connect() as connection:
        assert not run_file(connection, "problems/read_archiving")[0]["is_failing"]
        left = connection.execute("SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in%'").fetchone()
    assert left == {"n": 0}
    problems.uproot(sandbox)


def test_sandbox_that_goes_down_takes_the_planted_session_along(live_home: Path) -> None:
    idle_process.start(need_sandbox())
    process = companion.find_process(need_sandbox(), "idle")
    assert process is not None
    cluster.down()
    assert not process.is_running()
    cluster.up("small")


def test_health_refuses_a_check_that_does_not_exist(live_home: Path) -> None:
    ended = runbook(live_home, "run", "daily-health", "-p", "checks", "slow_querys")
    assert ended.returncode == 2 and "did you mean 'slow_queries'" in ended.stdout + ended.stderr


def test_lack_of_privilege_is_excepted_once_by_a_second_person_and_then_a_limitation(live_home: Path) -> None:
    sandbox = need_sandbox()
    with sandbox.connect() as connection:
        connection.execute("CREATE ROLE onlooker LOGIN; GRANT pg_monitor TO onlooker")
    way = live_home / "onlooker"
    way.write_text(sandbox.conninfo(user="onlooker") + "\n")
    way.chmod(0o600)
    params = live_home / "params" / "sandbox.yaml"
    params.write_text(params.read_text().replace("health:\n", f"health:\n  connection: {{file: {way}}}\n", 1))
    code, record = run_health(live_home)
    assert (code, record["verdict"]) == (4, "INCOMPLETE") and "sequence_exhaustion" in record["reason"] + str(record)

    key = live_home / "ann"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    added = runbook(live_home, "keys", "add", "ann@example.org", f"{key}.pub", "--witness")
    assert added.returncode == 0, added.stderr
    words = ["--owner", "olaf@example.org", "--reason", "sequences belong to another team", "--until", "2026-12-31"]
    refused = runbook(live_home, "exception", "backup-verification", "--finding", "amcheck", *words, "--key", str(key))
    assert refused.returncode == 2 and "No finding of backup-verification can be excepted" in refused.stderr
    signed = runbook(
        live_home, "exception", "daily-health", "--finding", "sequence_exhaustion", *words, "--key", str(key)
    )
    assert signed.returncode == 0, signed.stderr
    code, record = run_health(live_home)
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    limits = [one for one in record["limitations"] if "sequences belong to another team" in one]
    assert len(limits) == 1 and "signed by ann@example.org" in limits[0]
    with sandbox.connect() as connection:
        connection.execute("REVOKE pg_monitor FROM onlooker")
    assert run_health(live_home)[0] == 4, "what else cannot be measured is not covered"
