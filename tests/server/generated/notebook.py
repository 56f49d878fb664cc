"""Notebook 03 without a kernel: its own cells, executed here one after the other, on a real cluster.

A kernel, gates that wait and a record take most of a recovery's time, and other tests prove them. Here a run is kept in memory: it
calls each step as the session does, keeps what it receives (checks, limitations, facts), answers questions from the notebook's own
parameters, and passes each gate. So whatever the cells show is what a report would show.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory import Memory
from runbook import clock, layout
from runbook.gates.plan import Plan
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.session.gate import Passage
from runbook.session.questions import Answer

NOTEBOOK = layout.CHECKOUT / "notebooks" / "03_point_in_time_recovery.ipynb"
SEARCH = "Search WAL for the damage"
#: Checks of the restored copy as a whole, which take the time of a verification.
SLOW = (
    "Verify every file against the manifest",
    "Recover to the fence and compare every row",
    "Read the recovered data and check pages and indexes",
    "Ask the recovered data by SQL",
)


class NotebookRun(Memory):
    """What the cells call `run`; with what it was told."""

    def __init__(self, run_id: str, params: Params, answers: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder / "memory.jsonl")
        self.id, self.params, self.dir, self.answered = run_id, params, folder, dict(answers)
        self.target = params.target
        self.checks: list[Check] = []
        self.limits: list[str] = []
        self.facts: dict[str, Any] = {}
        self.plans: dict[str, Plan] = {}
        self.seen: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.given: dict[str, list[Answer]] = {}
        self._cleanups: list[Callable[[], object]] = []

    def step(self, name: str, act: Callable[[], Any], **_: Any) -> Any:
        """The act's result."""
        begun = time.monotonic()
        self.seen[name] = act()
        self.seconds[name] = time.monotonic() - begun
        return self.seen[name]

    def check(self, check: Check | Iterable[Check]) -> None:
        self.checks += [check] if isinstance(check, Check) else list(check)

    def limit(self, text: str, **_: Any) -> None:
        self.limits.append(text)

    def lift_limit(self, text: str) -> None:
        self.limits = [one for one in self.limits if one != text]

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = json.loads(json.dumps(value, default=str))

    def ask(self, title: str, question: str, options: Any = None, *, given: str = "", **_: Any) -> Answer:
        """The answer from the parameters; a question without one is answered as this test was told."""
        value = str(
            given or self.answered.get(title, "") or next(iter(options or {}), "")
        )  # a new question: its first answer
        assert value, f"nobody has answered '{title}': {question}"
        option, _, rest = value.partition(":") if options else ("", "", value)
        answer = Answer(title, option.strip(), rest.strip(), "a test", "a test", clock.stamp(clock.now()))
        self.given.setdefault(title, []).append(answer)
        return answer

    def answers(self, title: str) -> list[Answer]:
        return self.given.get(title, [])

    def gate(self, title: str, plan: Plan, **_: Any) -> Passage:
        self.plans[title] = plan
        return Passage(title, "", "passed", ("a test",), signed_at=clock.now())

    def on_cleanup(self, name: str, undo: Callable[[], object]) -> None:
        self._cleanups.append(undo)

    def clean_up(self) -> None:
        while self._cleanups:
            self._cleanups.pop()()

    def target_facts(self, **_: Any) -> None: ...

    def measure(self, **_: Any) -> None: ...

    def effects(self, what: str | None) -> None: ...

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None: ...

    def conclude(self) -> None: ...


@dataclass
class Recited:
    """How the notebook ended: `error` is what a cell raised, with the step it was in."""

    run: NotebookRun
    error: BaseException | None = None
    step: str = ""
    namespace: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """As the session judges: any FAIL, else anything not known or not run, else PASS."""
        found = {check.status for check in self.run.checks}
        if Status.FAIL in found:
            return "FAIL"
        return "INCOMPLETE" if self.error is not None or Status.UNKNOWN in found else "PASS"


def recite(
    run_id: str,
    params: Params,
    *,
    parameters: Mapping[str, Any],
    answers: Mapping[str, str] | None = None,
    skip: Iterable[str] = SLOW,
    after: Mapping[str, Callable[[dict[str, Any]], None]] | None = None,
) -> Recited:
    """The notebook's cells have run, up to its end or to the first that raised.

    Args:
        parameters: values for the notebook's own parameters.
        answers: by a question's title, where no parameter answers it.
        skip: headings whose cells are left out.
        after: by a heading, what is done with the namespace once its cells have run.
    """
    run = NotebookRun(run_id, params, answers or {}, layout.run(run_id))
    names: dict[str, Any] = {"open_run": lambda *_: run}
    found = Recited(run, namespace=names)
    heading = ""
    try:
        for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                heading = next(iter(re.findall(r"^## (.*)$", source, re.MULTILINE)), heading)
                continue
            if heading in skip:
                names |= {"seen": _nothing(), "manifest": _nothing(), "checks": None, "spots": ()}
                continue
            if "parameters" in cell["metadata"].get("tags", []):
                exec(source, names)  # noqa: S102 - the product's own notebook
                unknown = set(parameters) - set(names)
                assert not unknown, f"the notebook has no parameter {unknown}"
                names |= parameters
                continue
            found.step = heading
            source = source.replace("from runbook.session import open_run\n", "")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, heading or "opening", "exec"), names)  # noqa: S102
            if after and heading in after:
                after[heading](names)
    except Exception as problem:  # noqa: BLE001 - what a cell raises makes the run INCOMPLETE, as in the session
        found.error = problem
    finally:
        run.clean_up()
        if found.error is not None and "recovery" in names:
            names["recovery"].lockdown.lift()
    return found


def _nothing() -> Any:
    from runbook.recovery.course import Seen

    return Seen()
