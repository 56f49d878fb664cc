"""The whole runbook on the sandbox: healthy it passes; each planted problem is found once; after the changes it says fixed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from homes import recorded, runbook
from runbook.sandbox import problems
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def run_health(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and run.json."""
    return recorded(home, "daily-health", *words)


def planted_findings(record: dict[str, Any]) -> dict[str, list[str]]:
    """Objects of the practice schema, by check."""
    found: dict[str, list[str]] = {}
    for check in record["checks"]:
        for one in check["findings"]:
            if "practice." in one["object"]:
                found.setdefault(one["id"].removeprefix("health/"), []).append(one["object"].partition(": ")[2])
    return found


def test_health_finds_what_is_planted_once_and_says_fixed_after_its_changes(live_home: Path) -> None:
    code, record = run_health(live_home)
    wrong = [(check["id"], check["reason"]) for check in record["checks"] if check["status"] != "PASS"]
    assert (code, record["verdict"], wrong) == (0, "PASS", [])

    sandbox = need_sandbox()
    assert problems.plant(sandbox) == problems.plant(sandbox), "planting twice is planting once"
    code, record = run_health(live_home)
    assert (code, record["verdict"]) == (1, "FAIL")
    assert planted_findings(record) == {check: [name] for check, name in problems.PLANTED.items()}
    figures = {one["object"]: one["observed"] for check in record["checks"] for one in check["findings"]}
    assert figures["dealerscope: practice.ticket"] == "93 %"

    folder = live_home / "var" / "runs" / record["run"] / "changes"
    for path in sorted(folder.glob("*.sql")):
        if ".undo." in path.name or "practice" not in path.name:
            continue
        with sandbox.connect() as connection:
            for line in path.read_text().splitlines():
                if not line.startswith("--"):
                    connection.execute(line)  # type: ignore[call-overload]  # as a person would run it
    code, record = run_health(live_home)
    assert planted_findings(record) == {}
    assert (code, record["verdict"]) == (0, "PASS")
    report = (live_home / "reports").rglob("report.html")
    assert "fixed" in max(report, key=lambda path: path.stat().st_mtime).read_text()


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
