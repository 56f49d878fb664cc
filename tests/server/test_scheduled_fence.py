"""A backup verification that a scheduler starts has a fence of its own due time, taken once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from controlhouse import a_control
from runbook import clock
from runbook.params import load_params
from runbook.runner.scheduled import _take_fence
from runbook.verification.fencefile import folder_of, list_fences

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_fence_is_taken_once_for_each_due_time(live_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = load_params("sandbox").cluster
    assert cluster is not None
    before = len(list_fences(cluster)[0])
    due_at = clock.now() - timedelta(seconds=1)
    for _ in range(2):
        _take_fence(a_control(), "sandbox", due_at)
    fences = list_fences(cluster)[0]
    assert len(fences) == before + 1 and fences[-1].taken_at >= due_at
    assert capsys.readouterr().err == f"Fence taken: {fences[-1].path.name}\n"
    _take_fence(a_control(runbook="daily-health"), "sandbox", clock.now())
    assert len(list_fences(cluster)[0]) == before + 1
    # One that cannot be had is said, and stops nothing.
    folder_of(cluster).rename(folder_of(cluster).with_name("away"))
    folder_of(cluster).write_text("no folder")
    _take_fence(a_control(), "sandbox", clock.now())
    assert "No fence was taken before the verification: " in capsys.readouterr().err
