"""The architecture record on a real cluster: what is measured, what a role without rights does not see, what has changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from homes import at_home, recorded, runbook
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.architecture.record import ArchitectureRecord
from runbook.model import Status

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as made:
        made.sql(
            'CREATE DATABASE "Odd ""db"',
            "CREATE ROLE nobody_at_all LOGIN",
            "CREATE ROLE watcher LOGIN IN ROLE pg_monitor",
        )
        yield made


def measured(cluster: OwnCluster, user: str = "postgres") -> tuple[ArchitectureRecord, list[dict[str, str]]]:
    secret = cluster.home / f"way-{user}"
    secret.write_text(f"host={cluster.socket} port={PORT} user='{user}' dbname=postgres\n")
    secret.chmod(0o600)
    record = ArchitectureRecord(cluster.params(health={"connection": {"file": secret.name}}), "test-architecture")
    with at_home(cluster.home):
        return record, record.measure()


def test_size_version_and_extensions_are_measured(cluster: OwnCluster) -> None:
    record, rows = measured(cluster, "watcher")
    assert {check.status for check in record.check_measured()} == {Status.PASS}
    size = cluster.sql("SELECT pg_database_size('Odd \"db')")[0][0]
    (row,) = [row for row in rows if row["kind"] == "sizes" and row["item"] == '"Odd ""db"']
    assert f"bytes: {size}" in row["facts"]
    version = cluster.sql("SHOW server_version")[0][0]
    assert any(row["kind"] == "server" and f"version: {version}" in row["facts"] for row in rows)
    assert any(row["kind"] == "extensions" and row["item"] == "plpgsql" for row in rows)


def test_role_without_rights_measures_no_replicas_instead_of_none(cluster: OwnCluster) -> None:
    record, _ = measured(cluster, "nobody_at_all")
    unknown = {check.id for check in record.check_measured() if check.status is Status.UNKNOWN}
    assert unknown == {"measured-replicas", "measured-archiving", "measured-settings"}


def test_change_since_the_earlier_record_is_told_once_and_sizes_are_none(cluster: OwnCluster) -> None:
    earlier = json.loads(json.dumps(measured(cluster)[0].remember()))
    assert measured(cluster)[0].compare(earlier) == []
    cluster.sql("CREATE TABLE big AS SELECT generate_series(1, 100000)", "CREATE EXTENSION pgstattuple")
    try:
        rows = measured(cluster)[0].compare(earlier)
    finally:
        cluster.sql("DROP TABLE big", "DROP EXTENSION pgstattuple")
    assert [(row["became"], row["kind"], row["database"], row["item"]) for row in rows] == [
        ("new", "extensions", "postgres", "pgstattuple")
    ]


def about_list(record: dict[str, Any]) -> list[str]:
    return [one for one in record["limitations"] if "approved list" in one]


@pytest.mark.faults
def test_record_is_held_against_the_list_that_a_second_person_has_approved(damaged_home: Path) -> None:
    code, record = recorded(damaged_home, "architecture")
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert len(about_list(record)) == 1 and "there is no approved list yet" in about_list(record)[0]
    _, audit = recorded(damaged_home, "access-audit")
    assert runbook(damaged_home, "keys", "make-practice").returncode == 0
    key = damaged_home / "var" / "keys" / "practice-one"
    adopted = runbook(damaged_home, "access", "approve", audit["run"], "--key", str(key))
    assert adopted.returncode == 0, adopted.stderr
    code, record = recorded(damaged_home, "architecture")
    assert (code, about_list(record)) == (0, [])
    path = damaged_home / "params" / "access" / "sandbox.yaml"
    path.write_text(path.read_text().replace("value: none", "value: all", 1))
    code, record = recorded(damaged_home, "architecture")
    assert code == 0 and "was altered" in about_list(record)[0], "the access audit fails; here nothing is compared"


@pytest.mark.faults
def test_sandbox_is_documented_and_seven_days_of_a_plan_fail_it(damaged_home: Path) -> None:
    code, record = recorded(damaged_home, "architecture")
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    path = damaged_home / "params" / "sandbox.yaml"
    content = yaml.safe_load(path.read_text())
    content["architecture"] |= {"backup_retention": "7 d"}
    path.write_text(yaml.safe_dump(content))
    code, record = recorded(damaged_home, "architecture")
    assert (code, record["verdict"]) == (1, "FAIL")
    assert "Backups are kept for 7 d, and 30 d are asked for" in record["reason"]
    newest = max((damaged_home / "reports").rglob("report.html"), key=lambda one: one.stat().st_mtime)
    assert "backup_retention" in newest.read_text(), "the change since the record before"
