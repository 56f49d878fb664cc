"""The times of a recovery: a commit that is later than the lock-down was stamped by a wrong clock, and measures nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from runbook.recovery.postmortem import loss_seconds

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("point", "seconds"), [(-300, 300.0), (0, 0.0), (30, 0.0), (61, None), (200 * 86400, None), (None, None)]
)
def test_loss_is_not_measured_by_a_commit_of_the_future(point: float | None, seconds: float | None) -> None:
    at = NOON + timedelta(seconds=point) if point is not None else None
    assert loss_seconds(at, NOON) == seconds
