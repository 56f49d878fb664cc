"""The kernel journals each execution of a cell: which cell, its code, its order, its outputs without secrets, and what was replied.

A file that a browser or papermill saves may be older than what was executed, may be another run's, or may never be saved at all. So the
kernel itself writes down what it sends. Outputs lie in `outputs/` of the run's folder, one file an execution, and the journal holds each
file's SHA-256; they are removed once they are in the archive.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.errors import RunbookError
from runbook.redact import scrubber
from runbook.session.cellbook import INJECTED, digest_of, place_of
from runbook.session.journal import Journal, finite, read_last_event, write_atomically
from runbook.session.outputs import CUT_NOTE, MOST, CellOutputs, plain_text
from runbook.texts import escaped_json

#: The folder of the outputs in the run's folder.
OUTPUTS = "outputs"


@dataclass
class _Running:
    """An execution that the kernel has not replied to yet. `n` is its line in the journal; None: it could not be journaled."""

    n: int | None
    began: float
    outputs: CellOutputs = field(default_factory=CellOutputs)
    status: str | None = None
    error: str | None = None


class Recorder:
    """Stands between a kernel and its session: notes what is sent, and drops outputs beyond what is kept of one cell."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._send = kernel.session.send
        self._pid = os.getpid()
        self._guard = threading.RLock()
        self._running: dict[str, _Running] = {}
        self._journal: Journal | None = None
        self._folder: Path | None = None
        kernel.session.send = self.send

    def attach(self, journal: Journal, folder: Path, planned: list[dict[str, Any]]) -> None:
        """From now on executions are journaled as this run's: the one under way, and those of the cells that stand before it."""
        with self._guard:
            request = self._kernel.get_parent("shell") or {}
            asked = request.get("header", {}).get("msg_id")
            before = self._running.pop(asked, None)
            if before is not None and before.n is not None and self._journal is not None:
                self._journal.append("cell-done", started=before.n, status="left")
            self._journal, self._folder = journal, folder
            if request.get("header", {}).get("msg_type") != "execute_request":
                return
            code = str(request["content"]["code"])
            self._note_earlier(journal, planned, digest_of(code))
            self._begin(request, self._kernel.execution_count, code)
            if before is not None:
                self._running[asked].outputs = before.outputs

    def _note_earlier(self, journal: Journal, planned: list[dict[str, Any]], current: str) -> None:
        """The cells that were executed before this one opened the run; their outputs were not recorded."""
        history = self._kernel.shell.history_manager
        digests = [one["sha256"] for one in planned]
        place = digests.index(current) if current in digests else len(digests)
        inputs = list(enumerate(history.input_hist_raw))[1:]
        if (
            not inputs or digest_of(inputs[-1][1]) != current
        ):  # a client such as nbval, which has the kernel keep no history
            journal.append("cells-unknown", until=place)
            return
        for count, code in inputs[:-1]:
            found = place_of(planned, None, code, None)
            known = code.startswith(INJECTED) or (found is not None and found < place)
            if not known:
                continue
            raised = getattr(history, "exceptions", {}).get(count)
            wrote = bool(getattr(history, "outputs", {}).get(count))
            line = journal.append("cell-started", cell=None, code=code, count=count)
            journal.append(
                "cell-done",
                started=line["n"],
                status="error" if raised else "ok",
                error=f"{raised.get('ename')}: {raised.get('evalue')}"[:500] if raised else None,
                lost="it was executed before the run was opened; what it wrote was not recorded." if wrote else None,
            )

    def send(self, stream: Any, msg_or_type: Any, *args: Any, **named: Any) -> Any:
        """Send a message as the session does, unless it is output beyond what is kept of its cell."""
        if os.getpid() != self._pid:  # a forked child; its messages reach the client through this process
            return self._send(stream, msg_or_type, *args, **named)
        if isinstance(msg_or_type, str):
            kind = msg_or_type
            content = named.get("content", args[0] if args else None)
            parent = named.get("parent", args[1] if len(args) > 1 else None)
        else:
            kind = str(msg_or_type.get("msg_type") or msg_or_type.get("header", {}).get("msg_type"))
            content, parent = msg_or_type.get("content"), msg_or_type.get("parent_header")
        with self._guard:
            if not self._take(kind, content or {}, parent or {}):
                return None
        return self._send(stream, msg_or_type, *args, **named)

    def _take(self, kind: str, content: dict[str, Any], parent: Mapping[str, Any]) -> bool:
        """Note the message. False: it is not to be sent."""
        if kind == "execute_input":
            self._begin(parent, content.get("execution_count"), str(content["code"]))
            return True
        asked = parent.get("header", parent).get("msg_id")
        running = self._running.get(asked)
        if running is None:
            return True
        if kind == "execute_reply":
            running.status = str(content.get("status"))
            if running.status == "error":
                running.error = f"{content.get('ename')}: {plain_text(str(content.get('evalue')))}"[:500]
        elif kind == "status" and content.get("execution_state") == "idle":
            del self._running[asked]
            self._end(running)
        else:
            was_cut = running.outputs.is_cut
            kept = running.outputs.take(kind, content)
            if running.outputs.is_cut and not was_cut:
                self._say_cut(running, parent)
            return kept
        return True

    def _begin(self, request: Mapping[str, Any], count: int | None, code: str) -> None:
        asked = request.get("header", request).get("msg_id")
        if self._journal is None or asked is None:
            return
        last = read_last_event(self._journal.path)
        if last is None or last["event"] == "attempt-closed":  # the run is in the archive: what follows belongs to none
            self._journal = None
            return
        cell = (request.get("metadata") or {}).get("cellId")
        line = self._append("cell-started", cell=cell, code=code, count=count)
        self._running[asked] = _Running(line["n"] if line is not None else None, time.monotonic())

    def _end(self, running: _Running) -> None:
        """The execution's end is on disk before a client sees that the kernel is idle."""
        if running.n is None or self._journal is None or self._folder is None:
            return
        named: dict[str, str] | None = None
        outputs = running.outputs.listed()
        if outputs:
            data = escaped_json(json.dumps(scrubber.value(finite(outputs)), ensure_ascii=False)).encode()
            name = f"{OUTPUTS}/{running.n:06d}.json"
            try:
                (self._folder / OUTPUTS).mkdir(mode=0o700, exist_ok=True)
                write_atomically(self._folder / name, data)
                named = {"file": name, "sha256": sha256(data).hexdigest()}
            except OSError as cause:
                self._tell(cause)
        self._append(
            "cell-done",
            started=running.n,
            status=running.status or "aborted",
            error=running.error,
            seconds=round(time.monotonic() - running.began, 3),
            outputs=named,
            lost="what it wrote could not be kept on the disk." if outputs and named is None else None,
        )

    def _say_cut(self, running: _Running, parent: Mapping[str, Any]) -> None:
        content = {"name": "stderr", "text": CUT_NOTE}
        running.outputs.note(content)
        self._send(self._kernel.iopub_socket, "stream", content, parent=parent, ident=b"stream.stderr")
        if running.n is not None:
            self._append("cell-cut", started=running.n, most=clock.human_bytes(MOST))

    def _append(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """The journaled event; None when the disk does not take it: the cell then has no end in the journal, and no PASS follows."""
        assert self._journal is not None
        try:
            return self._journal.append(event, **fields)
        except (OSError, RunbookError) as cause:
            self._tell(cause)
            return None

    @staticmethod
    def _tell(cause: Exception) -> None:
        print(scrubber.text(f"runbook: what a cell did could not be journaled: {cause}"), file=sys.__stderr__)


#: The recorder of the kernel that this process is.
_recorder: Recorder | None = None


def record_executions() -> Recorder | None:
    """The recorder of the kernel that this process is, from now on at work; None outside a kernel. Safe twice."""
    global _recorder
    kernelapp = sys.modules.get("ipykernel.kernelapp")
    if kernelapp is None or not kernelapp.IPKernelApp.initialized():
        return None
    kernel = kernelapp.IPKernelApp.instance().kernel
    if _recorder is None or _recorder._kernel is not kernel:
        _recorder = Recorder(kernel)
    return _recorder


def read_outputs(folder: Path, named: Mapping[str, str] | None) -> Iterable[Any] | None:
    """The outputs in a file of the run's folder; None when the file is gone, or is not what the journal says."""
    if named is None:
        return []
    try:
        data = (folder / named["file"]).read_bytes()
    except OSError:
        return None
    if sha256(data).hexdigest() != named["sha256"]:
        return None
    content = json.loads(data)
    assert isinstance(content, list)
    return content
