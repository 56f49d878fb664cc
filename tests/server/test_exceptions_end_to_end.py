"""A lack of privilege that will stay is covered once by a signed exception: then PASS with limitations, at the top of the report, never silently."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import homes
import pytest
from archivehouse import make_key
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.session import identity

pytestmark = [pytest.mark.server, pytest.mark.faults]

UNTIL = f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}"
SEES_NOTHING = {"daily-health": "connections", "access-audit": "audit_logging"}


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    """A staging system with a role that may watch, one that may nothing, and two people beside the operator."""
    with own_cluster(
        settings={"shared_preload_libraries": "pg_stat_statements", "autovacuum": "on", "fsync": "on"}
    ) as made:
        made.sql("CREATE DATABASE shop", "CREATE EXTENSION pg_stat_statements")
        made.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE SEQUENCE feeds_nothing", "ANALYZE", database="shop")
        made.sql(
            "CREATE ROLE watcher LOGIN VALID UNTIL '2099-01-01' IN ROLE pg_monitor",
            "CREATE ROLE bare LOGIN VALID UNTIL '2099-01-01'",
        )
        made.backup("one")
        for name in ("staging", "production", "controls"):
            (made.home / "params" / f"{name}.yaml").unlink()
        yield made


def runbook(home: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """The command's JSON line, or nothing; it ended with that code."""
    ended = homes.runbook(home, *words)
    assert ended.returncode == code, (words, ended.stdout[-2000:], ended.stderr[-2000:])
    last = (ended.stdout.strip().splitlines() or [""])[-1]
    return json.loads(last) if last.startswith("{") else {}


def record_of(home: Path, said: dict[str, Any]) -> dict[str, Any]:
    return json.loads((home / said["record"] / "run.json").read_text())


@pytest.mark.parametrize("name", ["daily-health", "access-audit"])
@pytest.mark.parametrize("user", ["watcher", "bare"])
def test_what_a_role_will_never_see_is_excepted_once_and_told_ever_after(
    cluster: OwnCluster, user: str, name: str
) -> None:
    home = cluster.home
    way = home / "way"
    way.write_text(f"host={cluster.socket} port={PORT} user={user} dbname=postgres\n")
    way.chmod(0o600)
    cluster.params(
        access={"connection": {"file": "way"}, "leavers": []},
        health={"connection": {"file": "way"}},
        approvals={"operators": {identity.operator(): "olga@x.example"}},
    )
    for person in ("paula", "rita"):
        public = f"{make_key(home / person)}.pub"
        runbook(home, "keys", "add", f"{person}@x.example", public, "--target", "own")
        runbook(home, "keys", "add", f"{person}@x.example", public, "--witness")
    run = ("run", name, "--target", "own", *(("-p", "dry_run", "false") if name == "access-audit" else ()))
    said = runbook(home, *run, code=4)
    if name == "access-audit":
        runbook(home, "access", "approve", said["run"], "--key", str(home / "paula"))
        said = runbook(home, *run, code=4)
    record = record_of(home, said)
    unknown = [check for check in record["checks"] if check["status"] == "UNKNOWN"]
    assert not [check for check in record["checks"] if check["status"] == "FAIL"]
    assert "identifier" not in str([check["reason"] for check in unknown]), "no error of the check's own"
    covered = set()
    for check in unknown:
        command = check["next"].partition("runbook exception ")[2]
        assert command.startswith(f"{name} --finding "), check["next"]
        covered |= set(
            findings_of(check) if "differences" in check["id"] else [check["id"].partition("/")[2].partition("@")[0]]
        )
    assert (SEES_NOTHING[name] in covered) == (user == "bare")
    for finding in sorted(covered):
        runbook(home, "exception", name, "--finding", finding, "--owner", "olga@x.example", "--reason", "it will never see it",
                "--until", UNTIL, "--key", str(home / "paula"), "--target", "own")  # fmt: skip
    if name == "daily-health":
        said = runbook(home, *run)
    else:
        waiting = runbook(home, *run, code=3)
        runbook(home, "approve", waiting["run"], "sign-off-the-audit", "--key", str(home / "rita"), "--yes")
        said = runbook(home, "resume", waiting["run"])
    record = record_of(home, said)
    assert record["verdict"] == "PASS" and ", with " in record["reason"] and "limitations" in record["reason"], record[
        "reason"
    ]
    for finding in covered:
        check = finding.partition("@")[0]
        told = [
            one
            for one in record["limitations"]
            if one.startswith("Excepted until") and f" {check}: not measured: " in one
        ]
        assert told and all("owner olga@x.example, signed by paula@x.example" in one for one in told), (
            finding,
            record["limitations"],
        )
    page = (home / said["record"] / "report.html").read_text()
    assert page.index("Excepted until") < page.index("<table"), "at the top"


def findings_of(check: dict[str, Any]) -> list[str]:
    """The key of each place that a comparison could not see, as the exception names it."""
    return [f"differences@{database}/{kind}" for database, kind in map(place_of, check["findings"])]


def place_of(finding: dict[str, Any]) -> tuple[str, str]:
    database, _, kind = finding["object"].rpartition(": ")
    return database, kind
