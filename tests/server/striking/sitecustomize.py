"""Python starts with this where it is on the path: every step waits a moment once it is journaled, to be struck inside it."""

import time
from typing import Any

from runbook.session.journal import Event, Journal

_append = Journal.append


def append(self: Journal, event: str, **fields: Any) -> Event:
    written = _append(self, event, **fields)
    if event == "step-started":
        time.sleep(0.3)
    return written


Journal.append = append  # type: ignore[method-assign]
