"""`statements.jsonl`: what a run has asked of servers, by step, so that a reader years later knows what a figure comes from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, sources
from runbook.redact import scrubber
from runbook.sources import Asked, Origin

STATEMENTS = "statements.jsonl"


def read_statements(folder: Path, attempt: int | None = None) -> list[dict[str, Any]]:
    """All lines of a run's file that can be read; one that was being written when its process or the power went is left out.

    Args:
        attempt: only its lines, as its record holds them; those of earlier attempts stand in their own records.
    """
    file = folder / STATEMENTS
    if not file.is_file():
        return []
    found = [line for text in file.read_bytes().split(b"\n")[:-1] if (line := _parse(text)) is not None]
    return [line for line in found if attempt is None or line["attempt"] == attempt]


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


class StatementBook:
    """Files statements by step, for all attempts of a run in one file."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._file, self._attempt = folder / STATEMENTS, attempt
        self._step = ""
        self._is_in_step = False
        self._has_recalled = False
        #: Of each pattern the lines of this attempt, with the parts that they list.
        self._made: dict[str, list[tuple[int, frozenset[tuple[str, ...]]]]] = {}
        before = read_statements(folder)
        self._count = before[-1]["n"] if before else 0
        earlier = _origins(before)
        self._before = {origin.step: origin for origin in earlier}
        sources.begin(self.file_strays, earlier)
        if self._file.is_file():  # without the torn tail, which the next line would be glued to
            whole = self._file.read_bytes().rfind(b"\n") + 1
            with self._file.open("r+b") as file:
                file.truncate(whole)

    def recalled(self) -> None:
        """The step has been told what an earlier attempt remembered: its result may come from there."""
        self._has_recalled = self._attempt > 1

    def begin_step(self) -> None:
        """What is asked from here on is the step's."""
        self.file_strays()
        self._is_in_step, self._has_recalled = True, False

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
        if asked:  # also where a probe has found the result
            self._before[step] = self._write(step, asked, result)
        elif reused and step in self._before:
            sources.file(self._before[step], result)
        else:
            now = clock.now()
            sources.file(Origin(step, now, now), result, is_own=not self._has_recalled)

    def _write(self, step: str, asked: list[Asked], result: object) -> Origin:
        lines = [self._line(step, number, one) for number, one in enumerate(asked, self._count + 1)]
        data = b"".join(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for line in lines)
        with self._file.open("ab", buffering=0) as file:
            whole = file.tell()
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(whole)  # no half of a line: the next one would be glued to it
                raise
        first, self._count = self._count + 1, self._count + len(lines)
        at, until = min(one.at for one in asked), max(one.last for one in asked)
        origin = Origin(step, at, until, sources.servers_of(asked), first, self._count)
        sources.file(origin, result, is_own=not self._has_recalled)
        return origin

    def _line(self, step: str, number: int, one: Asked) -> dict[str, Any]:
        return scrubber.value(  # type: ignore[no-any-return]  # what it is given
            {
                "n": number, "attempt": self._attempt, "step": step, "server": one.server, "database": one.database,
                "role": one.role, "snapshot": clock.stamp(one.at), "last_snapshot": clock.stamp(one.last), "times": one.times,
                "rows": one.rows, "sql": one.sql, "values": [sources.kept(value) for value in one.values], **self._parts(number, one),
            }
        )  # fmt: skip

    def _parts(self, number: int, one: Asked) -> dict[str, Any]:
        """Of a pattern what stood in it, statement by statement; parts that earlier lines of this attempt list, all of them, by their numbers."""
        if not one.made:
            return {}
        left, again = dict.fromkeys(one.made), []
        known = self._made.setdefault(one.sql, [])
        for line, parts in known:
            if parts and parts <= left.keys():
                again.append(line)
                left = {part: None for part in left if part not in parts}
        known.append((number, frozenset(left)))
        return {"made": [list(part) for part in left], "made_in": again}


def _origins(lines: Iterable[dict[str, Any]]) -> list[Origin]:
    """Where each step's statements stand, in the order they were asked; a step that was done twice has two."""
    found = []
    for (_, step), group in itertools.groupby(lines, lambda line: (line["attempt"], str(line["step"]))):
        own = list(group)
        servers = dict.fromkeys(f"{line['database']} at {line['server']} as {line['role']}" for line in own)
        at: datetime = min(clock.parse(line["snapshot"]) for line in own)
        until: datetime = max(clock.parse(line["last_snapshot"]) for line in own)
        found.append(Origin(step, at, until, tuple(servers), own[0]["n"], own[-1]["n"]))
    return found
