"""The traffic generator: one process of its own that writes for a while, through restarts of the server.

A lock that it holds keeps it single.
"""

from __future__ import annotations

import argparse
import fcntl
import random
import signal
import sys
import time
from types import FrameType

import psutil

from runbook import clock
from runbook.errors import RunbookError
from runbook.postgres.connect import SqlError
from runbook.sandbox import companion
from runbook.sandbox.place import Sandbox, find_sandbox
from runbook.sandbox.traffic import Doubt, Writer

HEARTBEAT_SECONDS = 1.0
DEFAULT_SECONDS = 3600.0
DEFAULT_RATE = 5.0


_NAME = "traffic"


def find_process(sandbox: Sandbox) -> psutil.Process | None:
    """The running generator; None when there is none."""
    return companion.find_process(sandbox, _NAME)


def is_running(sandbox: Sandbox) -> bool:
    return find_process(sandbox) is not None


def start(sandbox: Sandbox, *, seconds: float = DEFAULT_SECONDS, rate: float = DEFAULT_RATE) -> int:
    """The generator runs for that long; if one runs already, it is left as it is.

    Args:
        rate: transactions a second, heartbeats apart.

    Returns:
        Its process id.

    Raises:
        PlatformError: it did not begin to write.
    """
    arguments = [f"--seconds={seconds}", f"--rate={rate}"]
    return companion.start_process(sandbox, _NAME, "runbook.sandbox.traffic_process", arguments)


def stop(sandbox: Sandbox) -> bool:
    """The generator has ended, after its transaction in hand; False when there was none."""
    return companion.stop_process(sandbox, _NAME)


class _Generator:
    def __init__(self, seconds: float, rate: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = 1 / rate
        self._rng = random.Random()  # noqa: S311 - data, no secret
        self._stopped = False

    def request_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopped = True

    @property
    def _goes_on(self) -> bool:
        return not self._stopped and time.monotonic() < self._deadline

    def run(self) -> None:
        """Write until told to stop, or the time is up, or the sandbox is gone."""
        doubt: Doubt | None = None
        while self._goes_on:
            sandbox = find_sandbox()
            if sandbox is None:
                return
            writer: Writer | None = None
            try:
                writer = Writer(sandbox, self._rng)
                if doubt is not None:
                    writer.settle(doubt)
                    doubt = None
                self._write(writer)
            except (SqlError, RunbookError) as problem:
                # The server restarts, or an incident took a table: the application tries again.
                print(f"{clock.stamp(clock.now())} {str(problem).strip()}", flush=True)
                time.sleep(0.5)
            finally:
                if writer is not None:
                    doubt = writer.in_doubt or doubt
                    writer.close()

    def _write(self, writer: Writer) -> None:
        next_beat = time.monotonic()
        while self._goes_on:
            if time.monotonic() >= next_beat:
                writer.write(heartbeat=True)
                next_beat += HEARTBEAT_SECONDS
            writer.write()
            time.sleep(self._pause)


def main() -> None:
    """The process: `python -m runbook.sandbox.traffic_process`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True)
    given = parser.parse_args()
    sandbox = find_sandbox()
    if sandbox is None:
        sys.exit("There is no sandbox.")
    with (sandbox.folder / "traffic.lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("Another traffic generator runs.")
        generator = _Generator(given.seconds, given.rate)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, generator.request_stop)
        companion.note_this_process(sandbox, _NAME)
        generator.run()


if __name__ == "__main__":
    main()
