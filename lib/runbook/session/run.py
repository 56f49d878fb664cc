"""`Run`: what a notebook does its work with. It journals; it prints nothing before the verdict."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from runbook import clock
from runbook.errors import Concluded, NotMeasured, RunbookError, RunFailed, RunIncomplete, RunWaiting, TargetError
from runbook.gates.plan import Plan
from runbook.model import Check, Measure, Severity, Status, StepState, Verdict
from runbook.params.schema import Params
from runbook.redact import scrubber
from runbook.session import lock
from runbook.session.changes import changed_words
from runbook.session.cleanups import Cleanups
from runbook.session.gate import Gate, Passage, pass_gate
from runbook.session.journal import Journal, finite, write_atomically
from runbook.session.notebook import parse_notebook, strange_cells
from runbook.session.once import fingerprint, perform_once
from runbook.session.remembering import Remembering
from runbook.session.request import JOURNAL, PROGRESS, SOURCE
from runbook.session.state import RunState
from runbook.session.statements import StatementBook
from runbook.session.surroundings import executed_cells

Result = TypeVar("Result")

#: How many cells this kernel had executed when it concluded a run: in JupyterLab it may open another one afterwards.
_cells_concluded = 0

_PROGRESS_INTERVAL_SECONDS = 0.2
_ENDINGS: dict[Verdict, type[Concluded]] = {
    Verdict.FAIL: RunFailed,
    Verdict.INCOMPLETE: RunIncomplete,
    Verdict.WAITING: RunWaiting,
}


def slug(title: str) -> str:
    """A title as an id.

    >>> slug("Restore into a scratch cluster")
    'restore-into-a-scratch-cluster'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def shorten_traceback(error: BaseException) -> None:
    """IPython shows the message of an error that was raised on purpose, without frames of the library."""
    if isinstance(error, RunbookError):
        lines = [f"{type(error).__name__}: {line}" if n == 0 else line for n, line in enumerate(str(error).split("\n"))]
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]  # IPython's own hook


class Run(Remembering):
    """One attempt of a run, from its first step to `conclude()`.

    Attributes:
        id: the run id, also the application_name of its database connections.
        dir: its folder under `var/runs`.
        params: the target's params. `parameters`: the notebook's own. `target`: the target's name.
        attempt: which sitting this is, from 1.
    """

    def __init__(
        self,
        run_id: str,
        folder: Path,
        params: Params,
        parameters: Mapping[str, Any],
        before: RunState,
        *,
        on_end: Callable[[], None] = lambda: None,
        archived_by_runner: bool = True,
        interactive: bool = False,
    ) -> None:
        self.id = run_id
        self.dir = folder
        self.params = params
        self.parameters = dict(parameters)
        self.target = params.target
        self.attempt = before.attempt
        self._journal = Journal(folder / JOURNAL)
        self._once = dict(before.once)
        self._statements = StatementBook(folder, before.attempt)
        self._cleanups = Cleanups(self._journal)
        self._step: str | None = None
        self._progress_at = 0.0
        self._on_end = on_end
        self._archived_by_runner = archived_by_runner
        self._interactive = interactive
        self._source = str(before.sitting.get("source", SOURCE))
        self._source_sha256 = before.sitting.get("source_sha256")
        self._planned = list(before.sitting.get("planned", []))
        self._closed_gates: list[str] = list(before.sitting.get("planned_gates", []))
        self._concluded = False
        self._beside: str | None = None
        self._since = clock.now()
        atexit.register(self.run_cleanups)

    def __repr__(self) -> str:
        return f"<run {self.id}, attempt {self.attempt}>"

    def recall(self, name: str, default: Any = None) -> Any:
        """What was remembered last by that name, in any attempt."""
        memory = self.state().memory
        if name in memory:
            self._statements.recalled()
        return memory.get(name, default)

    def step(
        self,
        name: str,
        act: Callable[[], Result],
        *,
        once: bool = False,
        probe: Callable[[], Result | None] | None = None,
        key: object = None,
    ) -> Result:
        """The step has run and is journaled; returns what `act` returned.

        Args:
            name: the step's title, the same as its heading; written as a literal, so that it can be planned.
            act: does the work; it takes no arguments.
            once: it must not happen twice: its result (JSON or a table) is journaled and reused on resume.
            probe: with `once`, answers "has it already happened?" with the result or None.
            key: with `once`, its inputs (JSON); with other inputs it happens anew. Default: the run's parameters.

        Raises:
            TargetError: raised by `act`; journaled as a FAIL check.
            Exception: any other one leaves the run INCOMPLETE. On both, the cleanups run at once.
        """
        self._refuse_after_end()
        self._refuse_behind_gate(name)
        self._journal.append("step-started", name=name, once=once)
        self._step = name
        self._statements.begin_step()
        begun = time.monotonic()
        try:
            if once:
                inputs = fingerprint(self.parameters if key is None else key)
                result, reused = perform_once(self._journal, self.id, self._once.get(name), name, act, probe, inputs)
            else:
                result, reused = act(), False
            self._statements.end_step(name, result, reused=reused)
        except BaseException as cause:
            with contextlib.suppress(OSError):  # a full disk: the step's own cause is told, and the cleanups make room
                self._statements.end_step(name)
            self._fail_step(name, cause, time.monotonic() - begun)
            self.run_cleanups()
            raise
        finally:
            self._step = None
        why = getattr(result, "not_applicable", None)
        more = {"not_applicable": why} if isinstance(why, str) else {}  # a table may have a column of that name
        self._journal.append("step-done", name=name, seconds=round(time.monotonic() - begun, 3), reused=reused, **more)
        return result  # type: ignore[no-any-return]  # a journaled result has the type that `act` gave it

    def gate(self, title: str, plan: Plan, *, typed: str | None = None, needed: int | None = None) -> Passage:
        """The gate has passed: enough people have approved exactly this plan. In a dry run it was previewed.

        Args:
            title: the same as the gate's heading; written as a literal, so that no step after it runs before it.
            plan: what will be done.
            typed: the target's name as the operator typed it ("" when not yet); due in production, wrong nowhere.
            needed: how many others must approve, when that is more than the params say.

        Returns:
            The passage; it is false in a dry run, when the plan must not be carried out.

        Raises:
            RunWaiting: a decision is missing; it is filed by `runbook approve`, and the run goes on by `runbook resume`.
            RunIncomplete: somebody rejected the plan.
        """
        self._refuse_after_end()
        self._refuse_behind_gate(title)
        gate = Gate(self.dir, self.params, slug(title), title, plan, typed, needed)
        if title not in self._closed_gates:
            self._closed_gates.append(title)
        outcome = pass_gate(
            gate,
            dry_run=self.parameters.get("dry_run") is True,
            interactive=self._interactive,
            open_panel=self._open_panel,
        )
        if isinstance(outcome, Passage):
            self._closed_gates.remove(title)
            return outcome
        if not self._interactive:
            self.run_cleanups()
        verdict = RunIncomplete if outcome.rejected else RunWaiting
        error = verdict(outcome.reason, next=outcome.next_command)
        shorten_traceback(error)
        raise error

    def _open_panel(self, gate: Gate) -> None:
        from runbook.session.panel import open_panel  # late: ipywidgets is for JupyterLab alone

        open_panel(gate, self.dir)

    def _refuse_behind_gate(self, name: str) -> None:
        """No step runs before the gates that stand before it, also when cells are run by hand in another order."""
        place = self._planned.index(name) if name in self._planned else len(self._planned)
        for title in self._closed_gates:
            if title != name and (title not in self._planned or self._planned.index(title) < place):
                error = RunWaiting(
                    f"'{name}' stands behind '{title}', which has not passed in this attempt.",
                    next=f"Run the cell of '{title}' first.",
                )
                shorten_traceback(error)
                raise error

    def _fail_step(self, name: str, cause: BaseException, seconds: float) -> None:
        message = cause.message if isinstance(cause, RunbookError) else f"{type(cause).__name__}: {cause}"
        if isinstance(cause, KeyboardInterrupt):
            message = "Interrupted."
        next_step = cause.next if isinstance(cause, RunbookError) else None
        if isinstance(cause, TargetError):
            self.check(
                Check(
                    id=f"step/{slug(name)}",
                    title=name,
                    status=Status.FAIL,
                    expected="the step succeeds",
                    observed=type(cause).__name__,
                    severity=Severity.CRITICAL,
                    reason=message,
                    next=next_step,
                )
            )
        self._journal.append(
            "step-failed",
            name=name,
            seconds=round(seconds, 3),
            error=type(cause).__name__,
            message=message,
            next_step=next_step,
        )
        shorten_traceback(cause)

    def check(self, check: Check | Iterable[Check]) -> None:
        """The check, or each of them, is journaled."""
        for one in [check] if isinstance(check, Check) else check:
            self._journal.append("check", check=finite(one.model_dump(mode="json")))

    def measure(
        self,
        name: str,
        title: str,
        value: float,
        unit: str,
        *,
        budget: float | None = None,
        source: str | None = None,
    ) -> Measure:
        """The figure is journaled, beside its budget where there is one."""
        if not math.isfinite(value) or (budget is not None and not math.isfinite(budget)):
            error = NotMeasured(
                f"The measure '{name}' ({title}) is {value} {unit}, budget {budget}: that is no figure.",
                next="Journal a check with the status UNKNOWN and the reason where there is no figure.",
            )
            shorten_traceback(error)
            raise error
        measure = Measure(name=name, title=title, value=value, unit=unit, budget=budget, source=source)
        self._journal.append("measure", measure=measure.model_dump(mode="json"))
        return measure

    def limit(self, text: str, *, reduces_scope: bool = False) -> None:
        """A limitation stands at the top of the report; one that reduces the scope satisfies no control."""
        self._journal.append("limit", text=text, reduces_scope=reduces_scope)

    def note_changing(self) -> None:
        """A limitation says which other run is changing this target meanwhile, or has; a run that may change it itself has no such other."""
        said = lock.changing_words(self.target, self.id) or changed_words(self.target, self.id, self._since)
        if said is not None and said != self._beside:
            self._beside = said
            self.limit(said)

    def lift_limit(self, text: str) -> None:
        """That limitation of this attempt stands nowhere any more: what it said was not done has been done since."""
        self._journal.append("limit-lifted", text=text)

    def fact(self, name: str, value: Any) -> None:
        """The fact (JSON) stands in run.json. `scratch` names the scratch folders, `scratch_kept` those to keep."""
        self._journal.append("fact", name=name, value=finite(json.loads(json.dumps(value, default=str))))

    def target_facts(self, **facts: str | None) -> None:
        """Which system this is about: system_identifier, server_version, host."""
        known = {"system_identifier", "server_version", "host"}
        if not set(facts) <= known:
            raise TypeError(f"target_facts knows {sorted(known)}")
        self._journal.append("target-facts", facts={name: value and str(value) for name, value in facts.items()})

    def effects(self, what: str | None) -> None:
        """The target stays locked for others until this run is finished or aborted; None: nothing is pending."""
        lock.note_effects(self.target, self.id, what is not None, what or "")
        self._journal.append("effects", pending=what is not None, what=what or "")

    def on_cleanup(self, name: str, undo: Callable[[], object]) -> None:
        """`undo` runs once: at the conclusion, at a failing step, or when the kernel ends; the last one first."""
        self._cleanups.add(name, undo)

    def run_cleanups(self) -> None:
        """Every cleanup has run, the last registered first; one that fails is journaled and stops no other."""
        if self._cleanups.run():
            with contextlib.suppress(OSError):  # nobody may come to a next step, which would file them
                self._statements.file_strays()

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        """`progress.json` says how far this step is: at most five times a second, and always at its end.

        Args:
            unit: bytes, rows or WAL bytes.
        """
        moment = time.monotonic()
        if moment - self._progress_at < _PROGRESS_INTERVAL_SECONDS and done != total:
            return
        self._progress_at = moment
        content = {
            "step": self._step,
            "label": scrubber.text(label),
            "done": done,
            "total": total,
            "unit": unit,
            "at": clock.stamp(clock.now()),
        }
        write_atomically(self.dir / PROGRESS, json.dumps(content).encode(), sync=False)

    @property
    def is_clean(self) -> bool:
        """True while no check and no step has gone wrong so far."""
        state = self.state()
        failed = any(step.state is StepState.FAILED for step in state.steps)
        return not failed and all(check.status is Status.PASS for check in state.checks)

    _slug = staticmethod(slug)
    _shorten = staticmethod(shorten_traceback)

    def _refuse_after_end(self) -> None:
        if self._concluded:
            raise RunIncomplete(
                f"The run {self.id} has concluded; nothing can be added to it.",
                next="Run open_run again for a new one.",
            )

    def conclude(self) -> None:
        """The run has its verdict, in the journal and on the screen.

        Raises:
            RunFailed, RunIncomplete, RunWaiting: the verdict is not PASS.
        """
        self._refuse_after_end()
        self.run_cleanups()
        self._statements.file_strays()
        self._note_strange_cells()
        self.note_changing()
        self._journal.append("concluded")
        self._concluded = True
        atexit.unregister(self.run_cleanups)
        state = self.state()
        self._on_end()
        next_command = state.next_command if self._archived_by_runner else f"runbook close {self.id}"
        if state.verdict is Verdict.PASS:
            print(f"{state.verdict}: {state.reason}\nNext: {next_command}")
            return
        self._raise_verdict(state, next_command)

    def _note_strange_cells(self) -> None:
        """What was executed in this kernel and is in no cell of the run's notebook is a limitation of the record."""
        global _cells_concluded
        cells = executed_cells()
        executed, _cells_concluded = cells[_cells_concluded:], len(cells)
        source = self.dir / self._source
        if not executed or self._source_sha256 is None:
            return
        data = source.read_bytes() if source.is_file() else b""
        if sha256(data).hexdigest() != self._source_sha256:
            text = f"{self._source} was changed during the attempt: what was executed is compared with no notebook."
            self.limit(text, reduces_scope=True)
            return
        strange = strange_cells(executed, parse_notebook(data, str(source)))
        if strange:
            what = "1 executed cell is" if len(strange) == 1 else f"{len(strange)} executed cells are"
            first = " ".join(strange[0].split())[:200]
            self.limit(f"{what} not in the notebook that was asked for; the first: {first}", reduces_scope=True)

    def _raise_verdict(self, state: RunState, next_command: str) -> NoReturn:
        print(f"{state.verdict}: {state.reason}\nNext: {next_command}")
        error = _ENDINGS[state.verdict](f"{state.verdict}: {state.reason}", next=next_command)
        shorten_traceback(error)
        raise error
