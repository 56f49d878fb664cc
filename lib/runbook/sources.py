"""What the rows of a table come from: the statements this run has asked of servers, and the steps that asked them.

Connections note each statement, a run files them by step, and a table reads its origin here. Nothing is guessed: a table that was
not what a step returned names the newest step that had asked, and says that it was worked out from there; and so does one of a
step that may have given what an earlier attempt, or another step, had found.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_ATTRIBUTES = ("rows", "checks")
_LONGEST_TEXT = 200


@dataclass
class Asked:
    """A statement that returned rows, with all its repetitions within one step.

    `at` is the snapshot of the first answer and `last` that of the last, by this machine's clock; `rows` is the number of rows of
    the last, None where the driver could not count them (COPY). `made`: of a pattern (`postgres.batch`), the parts of each statement that
    was made of it.
    """

    server: str
    database: str
    role: str
    sql: str
    values: tuple[Any, ...]
    at: datetime
    last: datetime
    rows: int | None
    times: int = 1
    made: tuple[tuple[str, ...], ...] = ()

    @property
    def _key(self) -> tuple[str, ...]:
        return self.server, self.database, self.role, self.sql, repr(self.values)


@dataclass(frozen=True)
class Origin:
    """A step, and the numbers of its statements in `statements.jsonl`; none: it asked no server.

    `at` and `until` are the snapshots of its first and its last answer.
    """

    step: str
    at: datetime
    until: datetime
    servers: tuple[str, ...] = ()
    first: int = 0
    last: int = 0


_guard = threading.Lock()
_asked: dict[tuple[str, ...], Asked] = {}
#: The object is kept beside its origin: its id would be given to another one otherwise. Last: whether it is that step's own for sure.
_filed: dict[int, tuple[object, Origin, bool]] = {}
_steps: list[Origin] = []
_file_strays: Callable[[], object] | None = None
_last_of_earlier = 0


def is_noting() -> bool:
    """True within a run; other processes, such as the sandbox's traffic, would only collect for ever."""
    return _file_strays is not None


def note(asked: Asked) -> None:
    """The statement waits to be filed. The same one again only counts: a wait that polls stays one line."""
    with _guard:
        known = _asked.setdefault(asked._key, asked)
        if known is not asked:
            known.times += 1
            known.last, known.rows = asked.last, asked.rows
            known.made += asked.made


def end() -> None:
    """No run in this process any more: nothing is noted, and tables say nothing of where they come from."""
    global _file_strays
    _file_strays = None
    take()
    _filed.clear()
    _steps.clear()


def take() -> list[Asked]:
    """What was noted since it was taken last, in the order it was first asked."""
    with _guard:
        taken = list(_asked.values())
        _asked.clear()
    return taken


def begin(file_strays: Callable[[], object], earlier: Iterable[Origin] = ()) -> None:
    """A new run in this process: what was asked before is not its own.

    Args:
        file_strays: files what was asked outside of a step.
        earlier: what earlier attempts of this run have asked; what they found may be told again.
    """
    global _file_strays, _last_of_earlier
    end()
    _file_strays = file_strays
    _steps.extend(earlier)
    _last_of_earlier = max((one.last for one in _steps), default=0)


def last_of_earlier_attempts() -> int:
    """The number of the last statement that an earlier attempt of this run has asked; 0: there is none."""
    return _last_of_earlier if is_noting() else 0


def file(origin: Origin, result: object = None, *, is_own: bool = True) -> None:
    """The step has ended; its result, and the rows and checks that this holds, come from it.

    Args:
        is_own: nothing of the result was found by an earlier attempt.
    """
    _steps.append(origin)
    parts = [getattr(result, name, None) for name in _ATTRIBUTES]
    if isinstance(result, dict):
        parts += result.values()
    elif isinstance(result, tuple):
        parts += result
    for part in {id(one): one for one in (result, *parts)}.values():
        if isinstance(part, (list, tuple, dict)) and part:
            _filed[id(part)] = (part, origin, is_own and id(part) not in _filed)


def origin_of(rows: object) -> tuple[Origin | None, list[Origin]]:
    """The step whose result the rows are (else the last that ended), and the steps, up to that, that had asked a server."""
    if _file_strays is not None:
        _file_strays()
    own = _filed.get(id(rows))
    if own is None:
        return (_steps[-1] if _steps else None), [one for one in _steps if one.first]
    last = max(number for number, one in enumerate(_steps) if one is own[1])
    return own[1], [one for one in _steps[: last + 1] if one.first]


def is_result(rows: object) -> bool:
    """True for what a step returned, and for the rows and checks in it, when no other step had them before."""
    found = _filed.get(id(rows))
    return found is not None and found[2]


def kept(value: Any) -> Any:
    """A statement's value as it may be kept for years: lists and long texts are counted, they may be keys of people.

    >>> kept(["ada@example.org"]), kept("x" * 201), kept(5), kept(float("nan"))
    ('<1 value>', '<201 characters>', 5, 'nan')
    """
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return f"<{len(value)} value{'s' if len(value) != 1 else ''}>"
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"<{len(text)} characters>"


def servers_of(asked: Iterable[Asked]) -> tuple[str, ...]:
    """Each server and database once, in the order they were asked."""
    return tuple(dict.fromkeys(f"{one.database} at {one.server} as {one.role}" for one in asked))
