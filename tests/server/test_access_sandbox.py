"""The whole access audit on the sandbox: from no list to a signed PASS; each planted problem is found once; afterwards it is well again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import homes
import pytest
from runbook.sandbox import problems
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def runbook(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the last line's JSON when it is one."""
    ended = homes.runbook(home, *words)
    last = (ended.stdout.strip().splitlines() or [""])[-1]
    return ended.returncode, json.loads(last) if last.startswith("{") else {"said": ended.stdout + ended.stderr}


def audited(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """An audit's exit code and record."""
    code, said = runbook(home, "run", "access-audit", *words)
    assert said.get("record"), said
    return code, json.loads((home / said["record"] / "run.json").read_text())


def found(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Check and object of every finding."""
    return [(one["id"], one["object"]) for check in record["checks"] for one in check["findings"]]


def test_audit_goes_from_no_list_to_a_signed_pass_and_finds_what_is_planted(live_home: Path) -> None:
    code, record = audited(live_home)
    unknown = [check["id"] for check in record["checks"] if check["status"] == "UNKNOWN"]
    failed = [check for check in record["checks"] if check["status"] == "FAIL"]
    assert (code, unknown, failed) == (4, ["access/approved_list", "access/differences"], [])

    keys = live_home / "var" / "keys"
    assert runbook(live_home, "keys", "make-practice")[0] == 0
    proposed = live_home / record["facts"]["access_list"]["proposed"]
    text = proposed.read_text()
    proposed.write_text(text + "# a line that no audit has written\n")
    code, said = runbook(live_home, "access", "approve", record["run"], "--key", str(keys / "practice-one"))
    assert code == 2 and "it was altered" in said["reason"], said
    proposed.write_text(text)
    code, said = runbook(live_home, "access", "approve", record["run"], "--key", str(keys / "practice-one"))
    assert code == 0, said
    code, record = audited(live_home, "-p", "dry_run", "false")
    assert code == 3, record["reason"]
    gate = "sign-off-the-audit"
    code, said = runbook(live_home, "approve", record["run"], gate, "--key", str(keys / "practice-two"), "--yes")
    assert code == 0, said
    code, said = runbook(live_home, "resume", record["run"])
    assert (code, said["verdict"]) == (0, "PASS"), said
    record = json.loads((live_home / said["record"] / "run.json").read_text())
    assert record["satisfies_controls"] is False, "a sandbox satisfies none"
    assert record["controls"] == ["access-audit"]
    assert any("warnings do not fail this run" in one for one in record["limitations"])

    sandbox = need_sandbox()
    problems.plant(sandbox)
    code, record = audited(live_home)
    assert (code, record["verdict"]) == (1, "FAIL")
    seen = found(record)
    for check, name in problems.PLANTED_ACCESS.items():
        matching = [one for one in seen if one[0] == f"access/{check}" and one[1].endswith(name)]
        assert len(matching) == 1, (check, name, seen)
    differences = [name for check, name in seen if check == "access/differences"]
    assert any("new in roles: practice_admin" in name for name in differences)

    problems.uproot(sandbox)
    code, record = audited(live_home)
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
