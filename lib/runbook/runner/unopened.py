"""Runs that were never opened: a folder whose journal has no first line, since the disk or the power failed at that moment.

Nothing was done by such a run. It is listed as never opened, and `runbook abort` or `runbook doctor` clears it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from runbook import clock, layout
from runbook.errors import ParamsError, RunbookError
from runbook.runner.closing import close_attempt
from runbook.runner.execute import Outcome, outcome_of
from runbook.session import identity, ledger
from runbook.session.journal import Journal
from runbook.session.lock import read_holders
from runbook.session.request import JOURNAL, REQUEST, SOURCE, is_blank, open_journal, read_request, start_attempt


def is_never_opened(folder: Path) -> bool:
    """True for a run's folder without a first line in its journal, unless a living process is about to write it."""
    if not is_blank(folder):
        return False
    return not any(one.get("run") == folder.name and identity.is_alive(one) for one in read_holders())


def never_opened() -> list[Path]:
    """The folders of such runs, oldest first."""
    root = layout.runs()
    return (
        [folder for folder in sorted(root.iterdir()) if folder.is_dir() and is_never_opened(folder)]
        if root.is_dir()
        else []
    )


def clear_never_opened(folder: Path, reason: str | None = None) -> Outcome:
    """The run has a record when the ledger lists it, and otherwise its folder is gone.

    Raises:
        RunbookError: the record could not be written.
    """
    run, listed = folder.name, any(line.run == folder.name for line in ledger.read_lines())
    said = "It was never opened: its journal had no first line, and nothing was done."
    request = _request(folder) if listed else None
    if request is None and listed:
        raise ParamsError(
            f"The run {run} was never opened, reports/RUNS lists it, and {layout.short(folder / REQUEST)} cannot be read: no record can "
            "be made of it.",
            next=f"rm -r {folder}  # runbook archive verify goes on naming the line of RUNS",
        )
    if request is None:
        shutil.rmtree(folder)
        return Outcome(run, "INCOMPLETE", f"{said} Its folder was removed.", None, "runbook runs", 4)
    open_journal(folder, request)
    journal = Journal(folder / JOURNAL)
    known = (folder / SOURCE).is_file()
    start_attempt(journal, folder, 1, by="runbook abort", like=None if known else {"planned": [], "attempt": 1})
    who = f"by {identity.operator()}" + (f": {reason}" if reason else "")
    journal.append("aborted", reason=f"{who}. {said}", **identity.at_work().facts)
    return outcome_of(close_attempt(folder))


def _request(folder: Path) -> dict[str, object] | None:
    """What was asked for, as far as it was written; a number that JSON does not have is kept as its word."""
    try:
        read_request(folder)
        content = json.loads((folder / REQUEST).read_bytes(), parse_constant=str)
    except (RunbookError, OSError, ValueError):
        return None
    content.setdefault("opened", clock.stamp(clock.now()))
    text = json.dumps(content, indent=1, ensure_ascii=False).encode()
    (folder / REQUEST).write_bytes(text)
    return dict(content)
