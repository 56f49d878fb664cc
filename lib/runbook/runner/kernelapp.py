"""The kernel's own program: ipykernel without its one TCP port.

ipykernel 7 gathers the output of forked children over a loopback TCP port that any local user can reach, even when
all its other sockets are files. Here that pipe is a file in the kernel's private folder as well. To be removed when
ipykernel does so itself under `transport = "ipc"`.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import zmq
from ipykernel import iostream, kernelapp
from zmq.eventloop.zmqstream import ZMQStream

from runbook import environment


def _folder() -> Path:
    """The private folder: that of the connection file, `-f FILE`."""
    return Path(sys.argv[sys.argv.index("-f") + 1]).parent


class PrivateIOPubThread(iostream.IOPubThread):
    """The thread that publishes outputs; its pipe for forked children is a Unix socket."""

    def _setup_pipe_in(self) -> None:
        self._pipe_uuid = os.urandom(16)
        pipe_in = self.socket.context.socket(zmq.PULL)
        pipe_in.linger = 0
        self._pipe_address = f"ipc://{_folder() / 'pipe'}"
        pipe_in.bind(self._pipe_address)
        self._pipe_in = ZMQStream(pipe_in, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> tuple[Any, Any]:
        context = zmq.Context()  # a new one: this is a forked child
        pipe_out = context.socket(zmq.PUSH)
        pipe_out.linger = 3000
        pipe_out.connect(self._pipe_address)
        return context, pipe_out


def main() -> None:
    """Run the kernel to its end.

    It is started with `-P`: a notebook imports from the library, never from the folder that it happens to be started in.
    """
    environment.drop_libpq()
    # Every runbook imports it first; here that happens while the runner still imports papermill.
    importlib.import_module("runbook.session.opening")
    kernelapp.IOPubThread = PrivateIOPubThread  # type: ignore[attr-defined]  # not exported, but looked up there
    kernelapp.IPKernelApp.launch_instance()


if __name__ == "__main__":
    main()
