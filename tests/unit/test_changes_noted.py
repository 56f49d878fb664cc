"""A change of the target that began and ended while another run read it is known to that one, and to none that began later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from homes import at_home
from runbook import clock, layout
from runbook.session import lock
from runbook.session.changes import changed_words


@pytest.mark.parametrize("content", ["", "[]", "null", '{"run": "r1"}', '{"run": "r1", "what": "x", "until": "some day"}', '{"run": "r1", "what": "x", "until": 5}'])  # fmt: skip
def test_note_that_cannot_be_read_is_said(tmp_path: Path, content: str) -> None:
    with at_home(tmp_path):
        layout.locks().mkdir(parents=True)
        assert changed_words("db", "r9", clock.now()) is None
        (layout.locks() / "db.changed").write_text(content)
        assert "not known" in (changed_words("db", "r9", clock.now()) or "")


def test_change_that_ended_is_told_to_whom_it_concerns(tmp_path: Path) -> None:
    with at_home(tmp_path):
        before = clock.now() - timedelta(seconds=1)
        held = lock.TargetLock("db", "r1")
        held.acquire()
        lock.note_effects("db", "r1", False, "")
        assert changed_words("db", "r2", before) is None, "nothing was changed"
        lock.note_effects("db", "r1", True, "the database is locked down")
        assert changed_words("db", "r2", before) is None, "the lock itself says so"
        lock.note_effects("db", "r1", False, "")
        held.release()
        said = changed_words("db", "r2", before) or ""
        assert "run r1 changed this target until" in said and "the database is locked down" in said
        assert changed_words("db", "r1", before) is None
        assert changed_words("db", "r2", clock.now() + timedelta(seconds=1)) is None
