"""What a lock-down wants of a run: a file that keeps its values and undos over attempts, and over kill -9."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from runbook.params.schema import Params
from runbook.recovery.lockdown import LockDown


class Memory:
    """One JSON line for each thing remembered. Every line raises the audit event `test.memory` before it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def _write(self, line: dict[str, Any]) -> None:
        sys.audit("test.memory")
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def remember(self, name: str, value: Any) -> None:
        self._write({"name": name, "value": value})

    def recall(self, name: str, default: Any = None) -> Any:
        found = [line["value"] for line in self._lines() if line.get("name") == name]
        return found[-1] if found else default

    def undo_first(self, act: str, undo: str) -> None:
        self._write({"act": act, "undo": undo})

    def undone(self, act: str) -> None:
        self._write({"act": act, "undo": None})

    @property
    def undos(self) -> dict[str, str]:
        """Acts that are not taken back, and how they are."""
        found: dict[str, str] = {}
        for line in self._lines():
            if "act" in line:
                found.pop(line["act"], None)
                if line["undo"] is not None:
                    found[line["act"]] = line["undo"]
        return found


def lockdown_of(params: Params, memory: Memory, folder: Path, run_id: str = "r1") -> LockDown:
    return LockDown(
        params,
        run_id,
        remember=memory.remember,
        recall=memory.recall,
        undo_first=memory.undo_first,
        undone=memory.undone,
        folder=folder,
    )
