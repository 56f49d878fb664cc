"""Python starts with this where it is on the path: every step waits a moment once it is journaled, to be struck inside it.

A kernel gets no PYTHONPATH of the operator's; here it gets this one folder.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbook import environment
from runbook.session.journal import Event, Journal

_append = Journal.append
_for_kernel = environment.for_kernel


def for_kernel(folder: str, run_id: str | None, names: Iterable[str]) -> dict[str, str]:
    return {**_for_kernel(folder, run_id, names), "PYTHONPATH": str(Path(__file__).parent)}


def append(self: Journal, event: str, **fields: Any) -> Event:
    written = _append(self, event, **fields)
    if event == "step-started":
        time.sleep(0.3)
    return written


Journal.append = append  # type: ignore[method-assign]
environment.for_kernel = for_kernel
