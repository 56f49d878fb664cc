"""`runbook runs`, `status`, `close` and `abort`: runs that were, and what to do about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook.cli.output import Listing, say, show_outcome

if TYPE_CHECKING:
    from runbook.session.state import RunState

_RunArgument = Annotated[str, typer.Argument(help="The run id, or a part of it that only one run has.")]


def register(app: typer.Typer) -> None:
    app.command("runs")(runs)
    app.command("status")(status)
    app.command("close")(close)
    app.command("abort")(abort)


def _close_dead() -> None:
    from runbook.runner.dead import close_dead_runs

    for state in close_dead_runs():
        say(f"Found dead and archived: {state.run}: {state.verdict}: {state.reason}")


def standing(state: RunState) -> str:
    """One word for where a run stands: a verdict once its attempt is over, else running or not archived."""
    from runbook.runner.dead import is_alive

    if state.closed:
        return str(state.verdict)
    return "running" if is_alive(state) else f"{state.verdict}, not archived"


def runs(
    all_runs: Annotated[bool, typer.Option("--all", help="Not only the last twenty.")] = False,
) -> None:
    """List the runs that were opened."""
    from runbook import layout
    from runbook.errors import RunbookError
    from runbook.runner.closing import read_state
    from runbook.runner.unopened import never_opened
    from runbook.session.ledger import read_lines
    from runbook.session.request import JOURNAL

    _close_dead()
    lines = read_lines()
    shown = lines if all_runs else lines[-20:]
    headings = ("No", "Opened (UTC)", "Run", "Target", "Operator", "Where it stands", "Record")
    table = Listing(f"{len(shown)} of {len(lines)} runs", *headings)
    last = None
    unopened = {folder.name for folder in never_opened()}
    for line in shown:
        place = layout.run(line.run)
        state, where = None, "its folder is gone"
        try:
            if line.run in unopened:
                where = "never opened"
            elif (place / JOURNAL).is_file():
                state = read_state(place)
                where = standing(state)
        except (RunbookError, OSError):
            state, where = None, "its journal is damaged"
        record = state.records[-1].rpartition("/")[2][:6] if state is not None and state.records else ""
        opened = line.opened[:19].replace("T", " ")
        table.add(str(line.number), opened, line.run, line.target, line.operator, where, record)
        last = line.run
    for run in sorted(unopened - {line.run for line in lines}):
        table.add("", "", run, "", "", "never opened", "")
    table.show()
    if unopened:
        say(f"Never opened, and to be cleared: runbook abort {min(unopened)}")
    say(f"Next: runbook status {last}" if last else "Next: runbook list")


def status(run: Annotated[str | None, typer.Argument(help="The run id; the last run without it.")] = None) -> None:
    """Show where a run stands: also while it runs, and when its kernel is dead."""
    from runbook.errors import ParamsError
    from runbook.runner.closing import read_state
    from runbook.runner.resume import find_run
    from runbook.session.ledger import read_lines

    _close_dead()
    if run is None:
        lines = read_lines()
        if not lines:
            raise ParamsError("No run was ever opened here.", next="runbook list")
        run = lines[-1].run
    folder = find_run(run)
    show_state(folder, read_state(folder))


def show_state(folder: Path, state: RunState) -> None:
    """Verdict or progress, steps, checks that did not pass, record and next command are printed."""
    from runbook import clock
    from runbook.model import Status, StepState
    from runbook.runner.dead import is_alive
    from runbook.runner.progress import progress_text, read_progress
    from runbook.session import identity
    from runbook.session.pagebook import is_broken_off, page_said

    running = not state.closed and is_alive(state)
    say(f"{state.run}  attempt {state.attempt}  target {state.target}  {standing(state)}")
    for number, step in enumerate(state.steps, start=1):
        took = clock.human_seconds(step.seconds) if step.seconds is not None else ""
        how = progress_text(read_progress(folder), step.name) if step.state is StepState.RUNNING and running else ""
        again = " (from an earlier attempt)" if step.reused else ""
        say(f"  {number}/{len(state.steps)} {step.state:8} {step.name} {took}{how}{again}".rstrip())
    for check in state.checks:
        if check.status is not Status.PASS:
            say(f"  {check.status} {check.title}: {check.reason}")
    for asked in state.questions.values():
        if asked["state"] == "waiting":
            say(f"  ASKED {asked['id']}: {asked['text']}")
            for option, meaning in (asked["options"] or {}).items():
                say(f"    {option}{' VALUE' if option in asked['needs_value'] else ''}: {meaning}")
    for page in state.pages:
        if not is_broken_off(page):
            say(f"  PAGED {page['role']} at {page['at']}: {page['outcome']}")
        elif identity.is_alive(page["process"]):
            say(f"  PAGING {page['role']} since {page['at']}")
        else:
            say(f"  PAGED {page_said(page)}")
    for act, undo in state.undos.items():
        say(f"  NOT TAKEN BACK: {act}. Undo: {undo}")
    if state.effects is not None:
        say(f"The target {state.target} stays locked: {state.effects}")
    if running:
        say(f"Next: runbook status {state.run}")
        return
    say(f"{state.verdict}: {state.reason}")
    if state.records:
        say(f"Report: {state.records[-1]}/report.html")
    say(f"Next: {state.next_command if state.closed else f'runbook close {state.run}'}")


def close(
    run: _RunArgument,
    notebook: Annotated[
        Path | None,
        typer.Option(
            help="A file that papermill or a browser has saved: secrets in it are scrubbed; it is no evidence."
        ),
    ] = None,
) -> int:
    """Archive a run that plain papermill or JupyterLab executed."""
    from runbook.errors import OperatorError, ParamsError
    from runbook.params import load_params
    from runbook.runner.closing import clean_up, close_attempt, read_state
    from runbook.runner.dead import is_alive, note_death
    from runbook.runner.execute import outcome_of
    from runbook.runner.resume import find_run
    from runbook.session.credentials import register_secrets

    _close_dead()
    folder = find_run(run)
    state = read_state(folder)
    if not state.closed:
        if is_alive(state) and not state.concluded:
            raise OperatorError(f"The run {state.run} is still at work.", next=f"runbook status {state.run}")
        if notebook is not None and not notebook.is_file():
            raise ParamsError(f"{notebook} is not there.", next=f"runbook close {state.run}")
        register_secrets(load_params(state.target))
        note_death(folder, state)
        clean_up(folder)
        state = close_attempt(folder, notebook)
    return show_outcome(outcome_of(state))


def abort(
    run: _RunArgument,
    reason: Annotated[str | None, typer.Option(help="Why; it stands in the record.")] = None,
    by_hand: Annotated[
        str | None, typer.Option("--by-hand", help="What you have undone by hand; the target is free on your word.")
    ] = None,
) -> int:
    """End a run, take back what it did, archive it as INCOMPLETE, and free its target; or say what is left."""
    from runbook.runner.abort import abort_run, what_became

    outcome = abort_run(run, reason, by_hand)
    for line in what_became(run) if outcome.record else ():
        say(line)
    return show_outcome(outcome)
