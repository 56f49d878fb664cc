"""The kernel process of a run: started before anything slow is imported, reached over Unix sockets only.

Sockets and connection file lie in a private folder with a short path (`disk.make_folder`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook import environment, layout
from runbook.disk import make_folder
from runbook.redact import scrubber

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

_PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
_TAIL = 2000


def kernel_argv(connection_file: Path) -> list[str]:
    """The kernel's command line; no history of what was executed is kept in the user's profile."""
    return environment.python_argv(
        "runbook.runner.kernelapp", "-f", str(connection_file), "--HistoryManager.hist_file=:memory:"
    )


class _Tail:
    """The end of what a process writes into a pipe. The rest is kept nowhere: it may hold secrets, and may have no end."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._kept = b""
        self._thread = threading.Thread(target=self._drain, name="kernel output", daemon=True)

    def begin(self) -> None:
        """The process has been started: it alone writes."""
        os.close(self.writing)
        self._thread.start()

    def _drain(self) -> None:
        while data := os.read(self._reading, 65536):
            self._kept = (self._kept + data)[-_TAIL:]
        os.close(self._reading)

    def read(self) -> bytes:
        """What was written last; all of it once the process and its children have ended."""
        self._thread.join(0.2)
        return self._kept

    def end(self) -> None:
        """Nothing is kept any more."""
        self._kept = b""


class Kernel:
    """A started kernel process. It ends by itself when this process dies.

    Args:
        run_id: the run that it works on; None when no run is open yet.
        names: the environment variables that params name; of all others it gets what `environment` lists.
    """

    def __init__(self, run_id: str | None, names: Iterable[str]) -> None:
        self.folder = make_folder()
        self.connection_file = self.folder / "k.json"
        self._connection: dict[str, Any] = {
            "transport": "ipc",
            "ip": str(self.folder / "k"),
            "key": secrets.token_hex(32),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **{name: number for number, name in enumerate(_PORTS, start=1)},
        }
        descriptor = os.open(self.connection_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self._connection, file)
        #: Cells whose outputs this process has cut, since their kernel had not opened the run.
        self.cut_cells = 0
        #: Called once, before the kernel is interrupted: what it journals from then on is a consequence.
        self.before_interrupt: Callable[[], None] = lambda: None
        self._interrupted = False
        self._words = _Tail()
        self.process = subprocess.Popen(
            kernel_argv(self.connection_file),
            env={
                **environment.for_kernel(str(self.folder), run_id, names),
                "JPY_PARENT_PID": str(os.getpid()),
                "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            },
            cwd=layout.home(),
            stdin=subprocess.DEVNULL,
            stdout=self._words.writing,
            stderr=self._words.writing,
            start_new_session=True,
        )
        self._words.begin()

    def manager(self) -> AsyncKernelManager:
        """This kernel as nbclient wants it."""
        from jupyter_client.manager import AsyncKernelManager
        from jupyter_client.provisioning.local_provisioner import LocalProvisioner

        manager = AsyncKernelManager(connection_file=str(self.connection_file), kernel_name="python3")
        manager.load_connection_info(self._connection)  # type: ignore[arg-type]  # a plain dict of the same keys
        provisioner = LocalProvisioner(parent=manager, kernel_id=self.folder.name, kernel_spec=manager.kernel_spec)
        provisioner.process = self.process
        provisioner.pid = provisioner.pgid = self.process.pid
        manager.provisioner = provisioner
        return manager

    def interrupt(self) -> None:
        """The running cell gets a KeyboardInterrupt: one, since a second would break off what the first one cleans up."""
        if not self._interrupted:
            self._interrupted = True
            self.before_interrupt()
            self._signal(signal.SIGINT)

    def ask_to_end(self) -> None:
        """The kernel ends when its cell has ended; its cleanups run."""
        if self.process.poll() is not None:
            return
        import zmq
        from jupyter_client.session import Session

        context = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.linger = 500
        socket.connect(f"ipc://{self._connection['ip']}-{self._connection['control_port']}")
        session = Session(key=self._connection["key"].encode())
        session.send(socket, session.msg("shutdown_request", {"restart": False}))
        socket.close()
        context.term()

    def wait(self, seconds: float) -> bool:
        """True when the kernel has ended within that time."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.process.poll() is not None

    def end(self, grace_seconds: float) -> None:
        """The kernel and what shares its process group are gone, and so is its folder. Safe twice."""
        if not self.wait(grace_seconds):
            self._signal(signal.SIGTERM)
            self.wait(0.5)
        self._signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._words.end()

    def last_words(self) -> str:
        """The end of what the kernel wrote past the notebook (a crash report of an extension), scrubbed."""
        return scrubber.text(self._words.read().decode("utf-8", "replace")).strip()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return  # the whole group has ended already, which is what a signal to it is for
