"""`reports/RUNS`: one line for every run that was opened, written before the run does anything.

`NNNNNN <utc> <run id> <runbook> <target> <operator>`. A run without a record stands out here.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from runbook import clock, disk, layout
from runbook.session.journal import write_all


@dataclass(frozen=True)
class LedgerLine:
    """One opened run."""

    number: int
    opened: str
    run: str
    runbook: str
    target: str
    operator: str


def append_line(run_id: str, runbook: str, target: str, operator: str) -> int:
    """The run has its line in the ledger, on disk. Returns the line's number."""
    path = layout.ledger()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with disk.naming(path):
            number = _append(descriptor, run_id, runbook, target, operator)
    finally:
        os.close(descriptor)
    disk.sync_folder(path.parent)
    return number


def _append(descriptor: int, run_id: str, runbook: str, target: str, operator: str) -> int:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    size = os.fstat(descriptor).st_size
    try:
        return _append_after(descriptor, os.pread(descriptor, size, 0), run_id, runbook, target, operator)
    except OSError:
        os.ftruncate(descriptor, size)  # on a full disk a part of the line may have been written
        raise


def _append_after(descriptor: int, data: bytes, run_id: str, runbook: str, target: str, operator: str) -> int:
    if data and not data.endswith(b"\n"):
        # A torn line is left for an auditor to see; it just must not swallow this one.
        os.write(descriptor, b"\n")
    number = max((line.number for line in parse_lines(data.decode("utf-8", "replace"))), default=0) + 1
    fields = (f"{number:06d}", clock.stamp(clock.now()), run_id, runbook, target, "_".join(operator.split()))
    write_all(descriptor, (" ".join(fields) + "\n").encode())
    os.fsync(descriptor)
    return number


def parse_lines(text: str) -> list[LedgerLine]:
    """The ledger's whole lines; a torn one is left out.

    >>> parse_lines("000001 2026-01-01T00:00:00.000000Z r1 daily-health sandbox ann\\n000002 2026").pop().run
    'r1'
    """
    lines = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) == 6 and fields[0].isdigit():
            lines.append(LedgerLine(int(fields[0]), *fields[1:]))
    return lines


def read_lines() -> list[LedgerLine]:
    """Every opened run, oldest first."""
    path = layout.ledger()
    return parse_lines(path.read_text("utf-8", "replace")) if path.is_file() else []
