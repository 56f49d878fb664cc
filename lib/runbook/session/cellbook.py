"""Which code cells of the notebook an attempt has executed, and how each of them ended: folded from what the kernel journals."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

#: A cell with this tag may fail without stopping the notebook.
ALLOWS_FAILURE = "raises-exception"
#: The tag of the cell whose values people change; `open_run` compares what they set.
PARAMETERS = "parameters"
#: How the cell begins in which papermill, and we, put the values that were given.
INJECTED = "# Parameters"
#: What `conclude()`, a gate and a question raise: the verdict itself, and no failure of the cell.
_VERDICTS = frozenset({"RunFailed", "RunIncomplete", "RunWaiting"})


def digest_of(source: str) -> str:
    """The SHA-256 of a cell's code, without blank lines around it.

    >>> digest_of("run.conclude()\\n") == digest_of("run.conclude()")
    True
    """
    return sha256(source.strip().encode("utf-8", "surrogatepass")).hexdigest()


def describe_cells(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The code cells of a notebook as an attempt names them in the journal; empty ones are never executed.

    >>> describe_cells([{"cell_type": "code", "id": "a", "source": "x = 1\\ny = 2"}])[0]["first"]
    'x = 1'
    """
    described = []
    for cell in cells:
        source = cell.get("source", "")
        text = source if isinstance(source, str) else "".join(source)
        if cell.get("cell_type") != "code" or not text.strip():
            continue
        tags = [str(tag) for tag in cell.get("metadata", {}).get("tags", [])]
        first = text.strip().split("\n")[0][:100]
        one: dict[str, Any] = {"id": cell.get("id"), "sha256": digest_of(text), "first": first, "tags": tags}
        if PARAMETERS in tags:
            one["names"] = sorted(assigned_names(text))
        described.append(one)
    return described


def assigned_names(code: str) -> set[str]:
    r"""Return the names that code sets which does nothing else, as a cell of parameters does; empty for other code.

    >>> sorted(assigned_names("target = 'billing'  # the system\ndry_run: bool = False")), assigned_names("x = 1\nprint(x)")
    (['dry_run', 'target'], set())
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for one in body:
        targets = one.targets if isinstance(one, ast.Assign) else [one.target] if isinstance(one, ast.AnnAssign) else []
        if not targets or not all(isinstance(target, ast.Name) for target in targets):
            return set()
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@dataclass(frozen=True)
class Execution:
    """One execution of a cell by the kernel.

    Attributes:
        n: the number of its first line in the journal.
        place: its index among the notebook's code cells; None when the notebook has no such cell.
        status: ok, error or aborted, as the kernel replied; None while there is no reply.
        late: it began after the run had concluded.
        outputs: the file in the run's folder with its outputs, and that file's SHA-256; None when it has none.
    """

    n: int
    cell: str | None
    code: str
    count: int | None
    place: int | None
    began: datetime
    late: bool = False
    status: str | None = None
    error: str | None = None
    seconds: float | None = None
    outputs: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CellProblem:
    """A code cell that did not end well. `kind`: failed, left (no reply), not-run, or verdict (it raised the run's own verdict)."""

    kind: str
    reason: str


def place_of(planned: Sequence[Mapping[str, Any]], cell: str | None, code: str, after: int | None) -> int | None:
    """The index of the cell that was executed.

    Args:
        planned: the notebook's code cells.
        cell: the id that the client sent; nbclient sends none.
        after: the index of the cell that was executed before; of equal cells the next one is meant.

    >>> cells = describe_cells([{"cell_type": "code", "id": name, "source": "look()"} for name in "ab"])
    >>> place_of(cells, None, "look()", None), place_of(cells, None, "look()", 0), place_of(cells, "a", "other()", 1)
    (0, 1, 0)
    """
    digest = digest_of(code)
    equal = [index for index, one in enumerate(planned) if one["sha256"] == digest]
    named = [index for index, one in enumerate(planned) if cell is not None and one["id"] == cell]
    if named and (named[0] in equal or not equal):
        return named[0]
    following = [index for index in equal if after is None or index > after]
    is_injected = code.startswith(INJECTED)
    changed = (
        []
        if equal or is_injected
        else [n for n, one in enumerate(planned) if assigned_names(code) & set(one.get("names", ()))]
    )
    return next(iter([*following, *equal, *changed]), None)


class CellFolding:
    """The part of the fold that knows what was executed."""

    def __init__(self) -> None:
        self.begin_cells({})

    def begin_cells(self, sitting: Mapping[str, Any]) -> None:
        """A new attempt has executed nothing."""
        self.planned_cells: list[dict[str, Any]] = list(sitting.get("cells", ()))
        self.executions: dict[int, Execution] = {}
        self.records_cells = False
        self._last_place: int | None = None
        self._changed: set[int] = set()
        self._cut: dict[str, None] = {}
        self._unknown_until = 0

    def take_cell_started(self, event: Mapping[str, Any], at: datetime, *, concluded: bool) -> None:
        """The kernel has begun to execute a cell."""
        n, cell, code = int(event["n"]), event.get("cell"), str(event["code"])
        place = place_of(self.planned_cells, cell, code, self._last_place)
        following = self._last_place + 1 if self._last_place is not None else 0
        # Other code where a client names no ids: a changed copy of the notebook, which `conclude()` reports as a limitation.
        changed = place is None and cell is None and not code.startswith(INJECTED)
        if changed and following < len(self.planned_cells):
            place = following
            self._changed.add(n)
        elif place is not None:  # the cell itself: what seemed to stand in its place was put in before it
            for other in [one for one in self._changed if self.executions[one].place == place]:
                self.executions[other] = replace(self.executions[other], place=None)
                self._changed.discard(other)
        self._last_place = place if place is not None else self._last_place
        self.executions[n] = Execution(n, cell, code, event.get("count"), place, at, concluded)

    def on_cell_done(self, event: Mapping[str, Any], at: datetime) -> None:
        """The kernel has replied. An execution that opened another run belongs to that run."""
        before = self.executions.get(int(event["started"]))
        if before is None:
            return
        if event["status"] == "left":
            del self.executions[before.n]
            self._changed.discard(before.n)
            return
        self.executions[before.n] = replace(
            before,
            status=event["status"],
            error=event.get("error"),
            seconds=event.get("seconds"),
            outputs=event.get("outputs"),
        )
        if event.get("lost"):
            self._cut[f"{self._name(before.place)}: {event['lost']}"] = None

    def on_cells_unknown(self, event: Mapping[str, Any], at: datetime) -> None:
        """Which cells were executed before the run opened is not known: the client has the kernel keep no history."""
        self._unknown_until = int(event["until"])
        self._last_place = self._unknown_until - 1 if self._unknown_until else None
        self._cut[
            "The client keeps no history: whether the cells before the run was opened were executed is not recorded."
        ] = None

    def on_cell_cut(self, event: Mapping[str, Any], at: datetime) -> None:
        """A cell has written more than is kept; this is journaled at once, since such a cell may never end."""
        before = self.executions.get(int(event["started"]))
        place = before.place if before is not None else None
        self._cut[f"{self._name(place)} wrote more than {event['most']}: what followed was not kept."] = None

    def cell_limits(self) -> list[str]:
        """What limits the proof: failures that are allowed, outputs that are not whole."""
        allowed = [
            f"{self._name(index)} has the tag {ALLOWS_FAILURE}: its failure does not stop the notebook."
            for index, one in enumerate(self.planned_cells)
            if ALLOWS_FAILURE in one["tags"]
        ]
        return [*allowed, *self._cut]

    def cell_problems(self, *, ended: bool) -> list[CellProblem]:
        """The cells that did not end well, in the notebook's order; none when the kernel has journaled no executions.

        Args:
            ended: the attempt is over; before that, the cells up to the one that is executed are judged.
        """
        if not self.records_cells:
            return []
        found = []
        for index in range(len(self.planned_cells) if ended else self._last_place or 0):
            last = self._last_of(index)
            name = self._name(index)
            if last is not None and last.n in self._changed:
                name = f"A cell that is not in the notebook, in the place of {name[0].lower()}{name[1:]},"
            if last is None and index < self._unknown_until:
                continue
            if last is None:
                found.append(CellProblem("not-run", f"{self._name(index)} was not executed."))
            elif last.status == "error" and str(last.error).partition(":")[0] in _VERDICTS:
                found.append(CellProblem("verdict", f"{name} raised {last.error}."))
            elif last.status != "ok":
                when = " after the run had concluded" if last.late else ""
                kind = "failed" if last.status == "error" else "left"
                said = f"failed{when}: {last.error}" if kind == "failed" else f"did not end{when}"
                found.append(CellProblem(kind, f"{name} {said}"))
        return found

    def _last_of(self, index: int) -> Execution | None:
        """The execution that counts: the last one, but a cell that had ended well is not judged again after the conclusion."""
        last: Execution | None = None
        for one in self.executions.values():
            if one.place == index and not (one.late and last is not None and last.status == "ok"):
                last = one
        return last

    def _name(self, place: int | None) -> str:
        if place is None:
            return "A cell that is not in the notebook"
        cell = self.planned_cells[place]
        named = f", id {cell['id']}" if cell["id"] else ""
        return f"Code cell {place + 1} of {len(self.planned_cells)} ({cell['first']}{named})"
