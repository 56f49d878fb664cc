"""What backup verification cannot mean is refused before a kernel starts, by the notebook's own preflight."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from house import House
from runbook import layout

NAME = "04_backup_verification.ipynb"


@pytest.fixture
def verification(house: House) -> House:
    (house.home / "notebooks").mkdir(exist_ok=True)
    shutil.copyfile(layout.CHECKOUT / "notebooks" / NAME, house.home / "notebooks" / NAME)
    shutil.copytree(layout.CHECKOUT / "sql", house.home / "sql")
    return house


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("recovery_point", "2025-09-07 14:30:00", "no time zone"),
        ("recovery_point", "2199-01-01T00:00:00Z", "future"),
        ("recovery_point", "yesterday", "not a time"),
        ("checks", "orphaned_vehicle", "did you mean 'orphaned_vehicles'?"),
    ],
)
def test_a_parameter_without_meaning_exits_2_and_starts_nothing(
    verification: House, name: str, value: str, says: str
) -> None:
    result = verification.inside("run", "backup-verification", "-p", name, value)
    assert result.code == 2, result.stderr
    assert says in result.last["reason"]
    assert not (verification.home / "reports" / "RUNS").exists()


def test_a_broken_check_file_is_named_before_anything_starts(verification: House) -> None:
    broken = Path(verification.home / "sql" / "verification" / "new_check.sql")
    broken.write_text("-- purpose: mine\n-- expct: n = 0\nSELECT 0 AS n;\n")
    result = verification.inside("run", "backup-verification")
    assert result.code == 2, result.stderr
    assert "new_check.sql:2" in result.last["reason"] and "did you mean 'expect'?" in result.last["reason"]
