"""A real Jupyter server as `--interactive` starts it, worked on by its API as a browser does."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
import websocket
from house import House, wait_until


@dataclass
class Lab:
    """A running `runbook run … --interactive` and its server."""

    house: House
    process: subprocess.Popen[str]
    url: str
    token: str
    kernel: str = ""
    socket: Any = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the server's API answers."""
        request = urllib.request.Request(  # noqa: S310 - the test's own server
            f"{self.url}api/{path}", method=method, data=json.dumps(body).encode() if body is not None else None
        )
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            data = answer.read()
        return json.loads(data) if data else None

    def answers(self) -> bool:
        """True once the server answers."""
        try:
            self.call("GET", "status")
        except urllib.error.URLError:
            return False
        return True

    def leave(self) -> None:
        """The browser has gone."""
        self.socket.close()

    def open_notebook(self) -> list[Any]:
        """The cells of the run's notebook, with a kernel at work on it."""
        run = self.house.runs()[-1]
        path = self.house.home / "var" / "runs" / run / "executed-1.ipynb"
        body = {"path": path.name, "name": path.name, "type": "notebook", "kernel": {"name": "python3"}}
        self.kernel = self.call("POST", "sessions", body)["kernel"]["id"]
        address = f"{self.url.replace('http', 'ws')}api/kernels/{self.kernel}/channels?token={self.token}"
        self.socket = websocket.create_connection(address, timeout=60)
        return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    def ask(self, code: str, cell: str) -> str:
        """The cell has been asked for; returns the message's id."""
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "username": "u", "session": "s", "msg_type": "execute_request", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True, "allow_stdin": False}
        message = {
            "header": {**header, "date": ""},
            "parent_header": {},
            "metadata": {"cellId": cell},
            "content": content,
            "channel": "shell",
            "buffers": [],
        }
        self.socket.send(json.dumps(message))
        return asked

    def execute(self, code: str, cell: str) -> str:
        """The cell was executed; returns the status that the kernel replied."""
        asked, status, idle = self.ask(code, cell), "", False
        while not (status and idle):
            message = json.loads(self.socket.recv())
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["header"]["msg_type"] == "execute_reply":
                status = message["content"]["status"]
            idle = idle or message["content"].get("execution_state") == "idle"
        return status

    def shut_down(self) -> None:
        """*File > Shut Down*: nothing was saved."""
        self.leave()
        self.call("POST", "shutdown", {})


def start_lab(house: House, *argv: str) -> Lab:
    """JupyterLab on a new run, without a browser."""
    house.env.update({"DISPLAY": "", "WAYLAND_DISPLAY": ""})
    process = house.start("run", *argv, "--interactive")

    def listening() -> dict[str, Any] | None:
        assert process.poll() is None, process.communicate()
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                folder = child.environ().get("JUPYTER_RUNTIME_DIR")
            except (psutil.Error, OSError):
                continue
            for path in Path(folder).glob("jpserver-*.json") if folder else ():
                try:
                    return dict(json.loads(path.read_text()))
                except ValueError:
                    continue
        return None

    said = wait_until(listening, 120)
    lab = Lab(house, process, said["url"], said["token"])
    wait_until(lab.answers, 60)  # the file is written before the server listens
    return lab


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
