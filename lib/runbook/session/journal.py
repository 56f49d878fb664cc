"""The journal of a run: the only truth about it while it lives.

One JSON object a line: `n` (from 1, without gaps), `at` (UTC), `event`, and the event's own fields. Every line is
on disk before `append` returns. Runner and kernel both write; a lock on the file keeps their numbers in one row.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import threading
from pathlib import Path
from typing import Any

from runbook import clock, disk, texts
from runbook.errors import PlatformError
from runbook.redact import scrubber

Event = dict[str, Any]


def scan_events(data: bytes, where: str) -> tuple[list[Event], int]:
    """The events in a journal's bytes, and how many bytes are whole.

    A torn tail (a last line that was being written when the power or the process went) is left out.

    Raises:
        PlatformError: a line before the last is damaged: that is no crash, somebody or the disk changed it.
    """
    events: list[Event] = []
    whole = 0
    lines = data.split(b"\n")
    for index, line in enumerate(lines[:-1]):
        event = _parse(line)
        if event is None or event.get("n") != len(events) + 1:
            if index == len(lines) - 2 and not lines[-1]:
                break
            raise PlatformError(
                f"{where}:{index + 1}: the journal is damaged.",
                next="Restore the file from a backup, or abort the run.",
            )
        events.append(event)
        whole += len(line) + 1
    return events, whole


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(event, dict) and isinstance(event.get("event"), str) and isinstance(event.get("at"), str)
    return event if is_event else None


def read_events(path: Path) -> list[Event]:
    """All whole events of a journal; empty when there is none yet."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    events, whole = scan_events(data, str(path))
    _note_seen(path, data[:whole])
    return events


#: What this process has read of each journal: how many bytes, and their digest. None: those bytes were altered since.
_seen: dict[Path, tuple[int, bytes] | None] = {}


def _note_seen(path: Path, data: bytes) -> None:
    """Journals only grow: while a runner lives, nobody changes or removes a line unseen that it has read."""
    before = _seen.get(path, (0, hashlib.sha256(b"").digest()))
    if before is None:
        return
    size, digest = before
    same = len(data) >= size and hashlib.sha256(data[:size]).digest() == digest
    _seen[path] = (len(data), hashlib.sha256(data).digest()) if same else None


def is_rewritten(path: Path) -> bool:
    """True when lines that this process has read are not in the journal any more as they were."""
    read_events(path)
    return path in _seen and _seen[path] is None


def read_last_event(path: Path) -> Event | None:
    """The last whole event, from the end of the file: cheap with thousands of runs. None when there is no such file: a pipe is none."""
    if not path.is_file():
        return None
    read = 65536
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            while True:  # a line may be long
                file.seek(max(0, size - read))
                for line in reversed(file.read().split(b"\n")[:-1]):
                    event = _parse(line)
                    if event is not None:
                        return event
                if read >= size:
                    return None
                read *= 8
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_first_event(path: Path) -> Event | None:
    """The first event, when it is whole; None when there is no such file: a pipe is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        line = file.readline()
    event = _parse(line) if line.endswith(b"\n") else None
    return event if event is not None and event.get("n") == 1 else None


class Journal:
    """Appends to one run's journal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.Lock()
        self._end = 0
        self._count = 0

    def append(self, event: str, **fields: Any) -> Event:
        """The event is numbered, stamped, scrubbed of secrets, and on disk.

        Raises:
            TypeError: a field is not JSON.
            ValueError: a number is not finite.
        """
        # Before the file is opened: a refusal leaves no trace.
        text = json.dumps({"event": event, **scrubber.value(fields)}, ensure_ascii=False, allow_nan=False)
        body = texts.escaped_json(text).encode()
        with self._thread, disk.naming(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._catch_up(descriptor)
                line = (
                    b'{"n": %d, "at": "%s", ' % (self._count + 1, clock.stamp(clock.now()).encode()) + body[1:] + b"\n"
                )
                write_all(descriptor, line)
                os.fsync(descriptor)
                self._count += 1
                self._end += len(line)
            finally:
                os.close(descriptor)
        entry: Event = json.loads(line)
        return entry

    def events(self) -> list[Event]:
        """All whole events so far, the other process's too."""
        return read_events(self.path)

    def _catch_up(self, descriptor: int) -> None:
        """Count what the other process wrote; drop a torn tail, or the next line would be glued to it."""
        size = os.fstat(descriptor).st_size
        if size == self._end:
            return
        data = os.pread(descriptor, size, 0)
        events, whole = scan_events(data, str(self.path))
        if whole < size:
            os.ftruncate(descriptor, whole)
        self._count, self._end = len(events), whole


def finite(value: Any) -> Any:
    """The structure with the word for each number that JSON does not have.

    >>> finite({"seen": [float("inf"), 1.5]})
    {'seen': ['inf', 1.5]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, (list, tuple)) else value


def write_all(descriptor: int, data: bytes) -> None:
    """All bytes are written: a disk that is nearly full takes a part of them first."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """The file holds exactly these bytes, or what it held before: never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with disk.naming(path), temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk half a file would take room for nothing
        raise
