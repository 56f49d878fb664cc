"""What must be undone when a run ends, however it ends: each once, the last one first."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from runbook.errors import RunbookError
from runbook.session.journal import Journal


class Cleanups:
    """The cleanups of one attempt.

    Args:
        journal: told of each.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[str, Callable[[], object]]] = []
        self._pid = os.getpid()

    def add(self, name: str, undo: Callable[[], object]) -> None:
        """`undo` runs once."""
        self._waiting.append((name, undo))

    def run(self) -> bool:
        """Each has run, the last one first; one that fails is journaled and stops no other. False in a forked child, which must not
        undo what its parent still uses."""
        if os.getpid() != self._pid:
            return False
        while self._waiting:
            name, undo = self._waiting.pop()
            begun = time.monotonic()
            error = next_step = None
            try:
                undo()
            except Exception as cause:  # noqa: BLE001 - journaled, makes the run INCOMPLETE; the others must still run
                error = cause.message if isinstance(cause, RunbookError) else f"{type(cause).__name__}: {cause}"
                next_step = cause.next if isinstance(cause, RunbookError) else None
            seconds = round(time.monotonic() - begun, 3)
            self._journal.append("cleanup", name=name, seconds=seconds, error=error, next_step=next_step)
        return True
