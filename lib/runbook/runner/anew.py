"""A run whose attempt is archived gets another record, when people have done something about it since."""

from __future__ import annotations

from pathlib import Path

from runbook.runner.closing import close_attempt
from runbook.session.journal import Journal
from runbook.session.request import JOURNAL, SOURCE, start_attempt
from runbook.session.state import RunState


def archive_anew(folder: Path, state: RunState) -> RunState:
    """The latest attempt has another record that continues it, with all that was journaled since. The state says where."""
    start_attempt(
        Journal(folder / JOURNAL),
        folder,
        state.attempt + 1,
        by="runbook run",  # so that the next command archives it if this process dies now
        source=str(state.sitting.get("source", SOURCE)),
        like=state.sitting,
        continues=True,
        executed_attempt=state.sitting.get("executed_attempt", state.attempt),
    )
    return close_attempt(folder)
