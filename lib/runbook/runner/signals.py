"""Ctrl-C, SIGTERM, a closed terminal and the whole-run timer, as one exception at one place."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, NoReturn, Self

#: Long enough to interrupt the kernel and to save the notebook, short enough for the ten seconds in which all must be gone.
_AGAIN_SECONDS = 2.0
_NAMES = {
    signal.SIGINT: "stopped by Ctrl-C",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP (its terminal was closed)",
}


class Stopped(KeyboardInterrupt):
    """The run is to end now. A KeyboardInterrupt, because asyncio lets nothing else through at once.

    Attributes:
        kind: stopped or timeout.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Signals:
    """While entered, a signal raises `Stopped` in the main thread: once, and only between `arm` and `disarm`.

    One that comes before `arm` is kept for it; one that comes after the first, or after `disarm`, is ignored: what is
    then under way (ending processes, archiving) must not be broken off, and is short.

    Args:
        timeout: seconds for the whole run from `arm` on; None is without end.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._armed = False
        self._stop: Stopped | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (*_NAMES, signal.SIGALRM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def arm(self) -> None:
        """From now on a signal stops the run.

        Raises:
            Stopped: one has come already.
        """
        self._armed = True
        if self._stop is not None:
            raise self._stop
        if self._timeout is not None:
            signal.setitimer(signal.ITIMER_REAL, self._timeout)

    def disarm(self) -> None:
        """From now on no signal stops anything."""
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop is not None:
            if number == signal.SIGALRM and self._armed:
                self._raise(self._stop)
            return
        if number == signal.SIGALRM:
            stop = Stopped("timeout", f"stopped by its timeout of {self._timeout:g} s")
        else:
            stop = Stopped("stopped", _NAMES[signal.Signals(number)])
        self._stop = stop
        if self._armed:
            self._raise(stop)

    @staticmethod
    def _raise(stop: Stopped) -> NoReturn:
        """Raise it now, and again until `disarm`: Python drops an exception that a handler raises inside a finalizer."""
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        raise stop
