"""What production had before the restore is no failure of the restore; what nothing proves is not called good."""

from __future__ import annotations

from typing import Any

import pytest
from runbook.model import Check, Severity, Status
from runbook.verification.ownstate import CATALOGS, ROWS, OwnState
from runbook.verification.sqlchecks import CheckFile, load_checks

FOUND: list[dict[str, Any]] = [{"relation": "app.t", "constraint_name": "positive"}]


def file_of(name: str) -> CheckFile:
    return next(file for file in load_checks() if file.name == name)


def failed(name: str) -> Check:
    return Check(id=f"sql/{name}@shop", title="T", status=Status.FAIL, expected="rows = 0", observed="rows = 1", object="shop",
                 severity=Severity.WARNING, reason="rows = 0 does not hold in shop")  # fmt: skip


def judged(own: OwnState, name: str = "constraints_validated") -> Check:
    return own.judge(failed(name), file_of(name), "shop", FOUND)


@pytest.mark.parametrize("name", ["constraints_validated", "indexes_valid", "sequences_ahead"])
@pytest.mark.parametrize("is_by_fence", [True, False])
def test_old_state_passes_by_name_where_the_copy_is_proven(name: str, is_by_fence: bool) -> None:
    own = OwnState(files_are_proven=not is_by_fence)
    if is_by_fence:
        own.note(CATALOGS, "shop", Status.PASS)
        own.note(ROWS, "shop", Status.PASS)
    check = judged(own, name)
    assert check.status is Status.PASS and check.reason is None
    assert "as production has it" in check.observed and "constraint_name = positive" in check.observed
    assert ("its fence" if is_by_fence else "manifest") in check.observed


def test_new_state_fails_where_the_copy_is_not_as_its_fence() -> None:
    own = OwnState(files_are_proven=True)
    own.note(CATALOGS, "shop", Status.FAIL)
    assert judged(own).status is Status.FAIL


def test_state_of_which_nothing_is_known_is_unknown_with_a_next_step() -> None:
    check = judged(OwnState())
    assert check.status is Status.UNKNOWN and "not known" in (check.reason or "") and check.next


def test_fence_of_the_rows_proves_nothing_of_the_catalogs() -> None:
    own = OwnState()
    own.note(ROWS, "shop", Status.PASS)
    own.note(CATALOGS, "shop", Status.UNKNOWN)
    assert judged(own).status is Status.UNKNOWN
    assert judged(own, "sequences_ahead").status is Status.PASS


def test_owner_that_is_gone_fails_however_well_the_copy_is_proven() -> None:
    """Damaged catalogs were copied faithfully: nobody makes such a state on purpose."""
    own = OwnState(files_are_proven=True)
    own.note(CATALOGS, "shop", Status.PASS)
    assert judged(own, "owners_present").status is Status.FAIL


def test_what_the_application_expects_of_its_data_still_fails() -> None:
    own = OwnState(files_are_proven=True)
    own.note(ROWS, "shop", Status.PASS)
    assert judged(own, "orphaned_vehicles").status is Status.FAIL
