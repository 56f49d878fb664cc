"""The label in a scratch folder: whose it is and until when, for whoever finds it after a crash."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

from runbook import clock

LABEL = "scratch.json"
_KEEP_HOURS = 24


def write_label(folder: Path, **facts: str | None) -> None:
    """Write the label, with this process and the time at which the scratch may be removed by others."""
    now = clock.now()
    label = {
        **facts,
        "pid": os.getpid(),
        "created": clock.stamp(now),
        "expires": clock.stamp(now + timedelta(hours=_KEEP_HOURS)),
    }
    (folder / LABEL).write_text(json.dumps(label, indent=1) + "\n", "utf-8")
    (folder / LABEL).chmod(0o600)


def keep(folder: Path) -> None:
    """Write down that nobody removes the scratch before it expires."""
    label = json.loads((folder / LABEL).read_text("utf-8"))
    (folder / LABEL).write_text(json.dumps({**label, "keep": True}, indent=1) + "\n", "utf-8")
