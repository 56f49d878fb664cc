"""What is declared is never called measured; what is left open, or kept too short, is told."""

from __future__ import annotations

from typing import Any

import pytest
from runbook.architecture.declared import check_cross_region, check_declared, check_declared_retention, rows
from runbook.model import Status
from runbook.params.schema import Params

WHOLE = {
    "provider": "a",
    "location": "b",
    "instance_type": "c",
    "pooler": "none: one session an instance",
    "backup_method": "d",
    "backup_frequency": "e",
    "cross_region_export": "eu-west-1, nightly",
}


def params(environment: str = "production", **declared: Any) -> Params:
    content = {
        "target": "billing",
        "environment": environment,
        "platform": "supabase",
        "supabase": {"project_ref": "a" * 20, "access_token": {"env": "TOKEN"}},
        "budgets": {"rto": 60.0, "rpo": 60.0, "source": "x"},
        "retention": {"backups": "30 d", "transaction_logs": "90 d", "audit_logs": "365 d", "source": "section 7"},
        "architecture": {**WHOLE, **declared},
    }
    return Params.model_validate(content)


def test_whole_declaration_passes_and_is_labelled() -> None:
    checks = check_declared(params())
    assert {check.status for check in checks} == {Status.PASS}
    assert all("declared, not measured" in check.observed for check in checks)
    assert {row["known"] for row in rows(params().architecture)} == {"declared, not measured"}


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, Status.UNKNOWN),
        ("[To be documented based on actual deployment]", Status.FAIL),
        ("TBD", Status.FAIL),
        (" ", Status.FAIL),
    ],
)
def test_what_is_left_open_is_no_fact(value: str | None, status: Status) -> None:
    (check,) = [check for check in check_declared(params(instance_type=value)) if check.status is not Status.PASS]
    assert (check.id, check.status) == ("declared-instance-type", status)
    assert "params/billing.yaml" in (check.next or "")


def test_seven_days_of_a_plan_fail_thirty_with_the_action() -> None:
    (check,) = check_declared_retention(params(backup_retention="7 d"))
    assert check.status is Status.FAIL
    assert "7 d" in (check.reason or "") and "30 d" in (check.reason or "") and "section 7" in (check.reason or "")
    assert "plan that keeps 30 d" in (check.next or "")
    assert [one.status for one in check_declared_retention(params(backup_retention="30 d"))] == [Status.PASS]
    assert check_declared_retention(params()) == []


@pytest.mark.parametrize(
    ("environment", "value", "status"),
    [
        ("production", "eu-west-1, nightly", Status.PASS),
        ("production", "none", Status.FAIL),
        ("staging", "none: rebuilt from production", Status.PASS),
        ("production", None, Status.UNKNOWN),
        ("production", "[To be documented]", Status.UNKNOWN),
    ],
)
def test_production_without_a_copy_elsewhere_fails(environment: str, value: str | None, status: Status) -> None:
    assert check_cross_region(params(environment, cross_region_export=value)).status is status
