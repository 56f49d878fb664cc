"""Standard output and error of a command: whatever happens to them, the command ends with its own exit code.

A reader that has gone, a full disk behind a redirection, a stream that was closed at the start: what cannot be written is dropped, and
`lost` says so.
"""

from __future__ import annotations

import io
import os
import select
import sys

#: How long a reader that takes nothing is waited for, where the stream does not wait by itself.
_PATIENCE_SECONDS = 10.0


class _Dropping(io.FileIO):
    """A descriptor; what it does not take is dropped, from then on all."""

    lost = False

    def write(self, data: object, /) -> int:
        """The bytes are written, or dropped."""
        size = memoryview(data).nbytes  # type: ignore[arg-type]  # a buffer, as FileIO takes it
        if self.lost:
            return size
        try:
            written = super().write(data)  # type: ignore[arg-type]
            if written is None:  # a terminal that another program has made non-blocking
                select.select([], [self], [], _PATIENCE_SECONDS)
                written = super().write(data)  # type: ignore[arg-type]
        except (OSError, ValueError):
            written = None
        if written is None:
            self.lost = True
            return size
        return written


_raw: list[_Dropping] = []


def open_streams() -> None:
    """Descriptors 0 to 2 are open, so that no file of a run gets their numbers; both streams take any text and raise nothing."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is not own:  # a test's
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
            continue
        raw = _Dropping(number, "w", closefd=False)
        _raw.append(raw)
        encoding = getattr(own, "encoding", None) or "utf-8"
        line_buffering = raw.isatty() or name == "stderr"
        safe = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering
        )
        setattr(sys, name, safe)
        setattr(sys, f"__{name}__", safe)  # the old one would flush once more at the end


def is_lost() -> bool:
    """True when something that was to be on standard output is not."""
    return any(raw.lost for raw in _raw if raw.fileno() == 1)
