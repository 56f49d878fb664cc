"""Progress on the terminal: which step, how long, how far. On standard error; plain lines when that is no terminal."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

from runbook import clock
from runbook.errors import PlatformError
from runbook.model import StepRecord, StepState
from runbook.session.fold import fold
from runbook.session.journal import read_events
from runbook.session.request import JOURNAL, PROGRESS
from runbook.session.state import RunState
from runbook.texts import visible_line

_INTERVAL_SECONDS = 0.25


def read_progress(folder: Path) -> dict[str, Any] | None:
    """What the running step last said about how far it is; None when it said nothing (the file is disposable)."""
    try:
        content = json.loads((folder / PROGRESS).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def amount(value: float, unit: str) -> str:
    """A quantity for people.

    >>> amount(16777216, "WAL bytes"), amount(1200, "rows")
    ('16.0 MiB WAL', '1,200 rows')
    """
    if unit.endswith("bytes"):
        return (clock.human_bytes(value) + " " + unit.removesuffix("bytes")).strip()
    return f"{value:,.0f} {unit}"


def progress_text(progress: dict[str, Any] | None, step: str) -> str:
    """How far the step is, or nothing when it says nothing."""
    if progress is None or progress.get("step") != step:
        return ""
    done, total, unit = progress["done"], progress["total"], progress["unit"]
    if not total:
        return f"{progress['label']} {amount(done, unit)}"
    return f"{progress['label']} {amount(done, unit)} of {amount(total, unit)} ({100 * done / total:.0f} %)"


def step_text(state: RunState, step: StepRecord) -> str:
    """`step 2/7 Restore`."""
    number = [one.name for one in state.steps].index(step.name) + 1
    return f"step {number}/{len(state.steps)} {step.name}"


class Display:
    """Shows a run's progress while entered; reads its journal, and never stands in its way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)
        self._size = -1
        self._state: RunState | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(2)

    def _look(self) -> RunState | None:
        """The state, folded anew only when the journal has grown."""
        size = (self._folder / JOURNAL).stat().st_size
        if size != self._size:
            try:
                self._state = fold(read_events(self._folder / JOURNAL))
            except PlatformError:
                return self._state  # the runner itself reports a damaged journal
            self._size = size
        return self._state

    def _show(self) -> None:
        if sys.stderr.isatty():
            self._show_live()
        else:
            self._show_lines()

    def _show_lines(self) -> None:
        """One line when a step begins, and one when it ends."""
        shown: set[tuple[str, StepState]] = set()
        last = False
        while not last:
            last = self._end.wait(_INTERVAL_SECONDS)
            state = self._look()
            for step in state.steps if state is not None else ():
                if step.state is StepState.NOT_RUN or (step.name, step.state) in shown:
                    continue
                shown.add((step.name, step.state))
                assert state is not None
                took = f" {clock.human_seconds(step.seconds)}" if step.seconds is not None else ""
                print(visible_line(f"{step_text(state, step)}: {step.state}{took}"), file=sys.stderr, flush=True)

    def _show_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        began = time.monotonic()
        with Live(console=Console(stderr=True), refresh_per_second=4, transient=False) as live:
            while not self._end.wait(_INTERVAL_SECONDS):
                live.update(self._picture(time.monotonic() - began))
            live.update(self._picture(time.monotonic() - began))

    def _picture(self, elapsed: float) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        state = self._look()
        head = Text(f"{self._folder.name}  {clock.human_seconds(elapsed)}", style="bold")
        lines: list[Any] = [head]
        for step in state.steps if state is not None else ():
            assert state is not None
            if step.state is StepState.RUNNING:
                ran = (clock.now() - step.started_at).total_seconds() if step.started_at else 0.0
                progress = read_progress(self._folder)
                said = progress_text(progress, step.name)
                lines.append(
                    Text(visible_line(f"▶ {step_text(state, step)}  {clock.human_seconds(ran)}  {said}"), style="cyan")
                )
                if progress is not None and said and progress["total"]:
                    lines.append(ProgressBar(total=progress["total"], completed=progress["done"], width=60))
            elif step.state is not StepState.NOT_RUN:
                marks = {StepState.DONE: ("✔", "green"), StepState.NOT_APPLICABLE: ("–", "dim")}
                mark, style = marks.get(step.state, ("✘", "red"))
                lines.append(
                    Text(visible_line(f"{mark} {step_text(state, step)}  {step.seconds or 0:.1f} s"), style=style)
                )
        return Group(*lines)
