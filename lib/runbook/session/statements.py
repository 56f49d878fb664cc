"""`statements.jsonl`: what a run has asked of servers, by step, so that a reader years later knows what a figure comes from."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, sources
from runbook.redact import scrubber
from runbook.sources import Asked, Origin

STATEMENTS = "statements.jsonl"
#: Longer values and lists are counted, not kept: they may be keys of people.
_LONGEST_TEXT, _LONGEST_LIST = 200, 20


def read_statements(folder: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's file; a last one that was being written when its process died is left out."""
    file = folder / STATEMENTS
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]


class StatementBook:
    """Files statements by step, for all attempts of a run in one file."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._file, self._attempt = folder / STATEMENTS, attempt
        self._step = ""
        self._is_in_step = False
        sources.begin(self.file_strays)
        before = read_statements(folder)
        self._count = len(before)
        self._before = {str(line["step"]): _origin(str(line["step"]), before) for line in before}
        if self._file.is_file():  # without the torn tail, which the next line would be glued to
            whole = self._file.read_bytes().rfind(b"\n") + 1
            with self._file.open("r+b") as file:
                file.truncate(whole)

    def begin_step(self) -> None:
        """What is asked from here on is the step's."""
        self.file_strays()
        self._is_in_step = True

    def file_strays(self) -> None:
        """What was asked between two steps stands under a name of its own."""
        if self._is_in_step:
            return
        asked = sources.take()
        if asked:
            self._write(f"after {self._step}" if self._step else "before the first step", asked, None)

    def end_step(self, step: str, result: object = None, *, reused: bool = False) -> None:
        """What the step has asked is on disk. A reused result comes from where it was made."""
        self._step, self._is_in_step = step, False
        asked = sources.take()
        if reused and step in self._before:
            sources.file(self._before[step], result)
        elif asked:
            self._write(step, asked, result)
        else:
            sources.file(Origin(step, clock.now()), result)

    def _write(self, step: str, asked: list[Asked], result: object) -> None:
        begun = self._count
        with self._file.open("ab") as file:
            for one in asked:
                self._count += 1
                file.write(json.dumps(self._line(step, one), ensure_ascii=False).encode() + b"\n")
        at = min(one.at for one in asked)
        sources.file(Origin(step, at, sources.servers_of(asked), begun + 1, self._count), result)

    def _line(self, step: str, one: Asked) -> dict[str, Any]:
        return scrubber.value(  # type: ignore[no-any-return]  # what it is given
            {
                "n": self._count, "attempt": self._attempt, "step": step, "server": one.server, "database": one.database,
                "role": one.role, "snapshot": clock.stamp(one.at), "last_snapshot": clock.stamp(one.last), "times": one.times,
                "rows": one.rows, "sql": one.sql, "values": [_kept(value) for value in one.values],
            }
        )  # fmt: skip


def _kept(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        if len(value) > _LONGEST_LIST:
            return f"<{len(value)} values>"
        return [_kept(one) for one in value]
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"<{len(text)} characters>"


def _origin(step: str, lines: list[dict[str, Any]]) -> Origin:
    """Where a step's statements stand, as its newest attempt that asked any has left them."""
    attempt = max(line["attempt"] for line in lines if line["step"] == step)
    own = [line for line in lines if line["step"] == step and line["attempt"] == attempt]
    servers = dict.fromkeys(f"{line['database']} at {line['server']} as {line['role']}" for line in own)
    at: datetime = min(clock.parse(line["snapshot"]) for line in own)
    return Origin(step, at, tuple(servers), own[0]["n"], own[-1]["n"])
