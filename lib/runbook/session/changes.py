"""Which run changed a target last, and when it had ended: what reads the target meanwhile says so, though nothing holds it any more."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from runbook import clock, layout
from runbook.errors import ParamsError
from runbook.session.journal import write_atomically


def _path(target: str) -> Path:
    return layout.locks() / f"{target}.changed"


def note_changed(target: str, run_id: str, what: str) -> None:
    """The run changes the target no more: it finished, or undid what it did."""
    content = {"run": run_id, "what": what, "until": clock.stamp(clock.now())}
    write_atomically(_path(target), json.dumps(content).encode() + b"\n")


def changed_words(target: str, run_id: str, since: datetime) -> str | None:
    """What the record of that run says when another one has changed the target after `since`, and ended; None: none is known."""
    try:
        content = json.loads(_path(target).read_bytes())
        other, what, until = str(content["run"]), str(content["what"]), clock.parse(content["until"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ParamsError):
        return "Whether another run changed this target meanwhile is not known: what notes that cannot be read."
    if other == run_id or until <= since:
        return None
    return (
        f"The run {other} changed this target until {clock.stamp(until)} ({what}): what stands here was read meanwhile."
    )
