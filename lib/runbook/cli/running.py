"""`runbook run`, `resume` and `redo`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from runbook.cli.output import show_outcome
from runbook.errors import ParamsError

_Timeout = Annotated[str | None, typer.Option(help="End the run after this time: 90, '45 s', '30 min', '2 h'.")]


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("resume")(resume)
    app.command("redo")(redo)


_LONGEST_TIMEOUT = 365 * 86400.0
#: A scheduler's clock may run ahead of this one by so much.
_CLOCK_SKEW = timedelta(hours=1)
#: Between name and value of a joined pair: a character that no shell lets through in an argument by accident.
_JOINT = "\x1f"


def join_pairs(argv: list[str]) -> list[str]:
    """`-p NAME VALUE` as two words, since typer has no repeatable option of two values.

    >>> [word.replace(_JOINT, "|") for word in join_pairs(["run", "x", "-p", "rows", "-3", "--target", "a"])]
    ['run', 'x', '-p', 'rows|-3', '--target', 'a']

    Raises:
        ParamsError: a pair has no value.
    """
    joined: list[str] = []
    words = iter(argv)
    for word in words:
        joined.append(word)
        if word in ("-p", "--parameter"):
            pair = [next(words, None), next(words, None)]
            if None in pair:
                raise ParamsError("-p takes a name and a value.", next="runbook run RUNBOOK -p NAME VALUE")
            joined.append(_JOINT.join(str(part) for part in pair))
    return joined


def split_pairs(joined: list[str]) -> list[tuple[str, str]]:
    """Names and values as they were given."""
    return [(name, value) for name, _, value in (pair.partition(_JOINT) for pair in joined)]


def timeout_seconds(text: str | None) -> float | None:
    """Seconds from `90` or `30 min`.

    >>> timeout_seconds("30 min"), timeout_seconds("90"), timeout_seconds(None)
    (1800.0, 90.0, None)
    """
    from runbook.params.schema import seconds_of

    if text is None:
        return None
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else float(str(seconds_of(text)))
    except ValueError as cause:
        raise ParamsError(f"--timeout: {cause}.", next="--timeout '30 min'") from None
    if not 0 < seconds <= _LONGEST_TIMEOUT:
        raise ParamsError("--timeout must be more than nothing and at most 365 d.", next="--timeout '30 min'")
    return seconds


def run(
    runbook: Annotated[str, typer.Argument(help="Its name, number or file.")],
    target: Annotated[str | None, typer.Option(help="The system this is about: a params file.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME VALUE", help="Set a parameter; repeatable.")
    ] = None,
    timeout: _Timeout = None,
    scheduled_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="When this run was due, with its zone.")
    ] = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Step through it in JupyterLab.")] = False,
) -> int:
    """Run a runbook against a target, and archive the record."""
    from runbook import clock
    from runbook.runner.dead import close_dead_runs
    from runbook.runner.execute import execute_run, validate

    seconds = timeout_seconds(timeout)
    due = clock.parse(scheduled_for) if scheduled_for else None
    if due is not None and due > clock.now() + _CLOCK_SKEW:
        raise ParamsError(
            f"--scheduled-for {clock.stamp(due)} is later than now ({clock.stamp(clock.now())}): a run cannot be due before it is.",
            next=f"runbook run {runbook}{f' --target {target}' if target else ''}",
        )
    request = validate(runbook, target, split_pairs(parameter or []))
    close_dead_runs()
    if interactive:
        from runbook.runner.interactive import run_interactively

        return show_outcome(run_interactively(request, timeout=seconds))
    return show_outcome(execute_run(request, timeout=seconds, scheduled_for=due))


def resume(
    run: Annotated[str, typer.Argument(help="The run id, or a part of it that only one run has.")],
    accept_change: Annotated[
        str | None, typer.Option(metavar="REASON", help="Go on though code, params or library changed.")
    ] = None,
    confirm_target: Annotated[
        str | None, typer.Option(metavar="NAME", help="The target's name, typed, when a gate asks for it.")
    ] = None,
    timeout: _Timeout = None,
) -> int:
    """Make another attempt of a run that did not end: what must happen once is not repeated."""
    from runbook.runner.dead import close_dead_runs
    from runbook.runner.resume import resume_run

    close_dead_runs()
    seconds = timeout_seconds(timeout)
    return show_outcome(resume_run(run, accept_change=accept_change, timeout=seconds, confirm_target=confirm_target))


def redo(
    run: Annotated[str, typer.Argument(help="The run id.")],
    step: Annotated[str, typer.Argument(help="The title of a step that must happen once.")],
    accept_change: Annotated[
        str | None, typer.Option(metavar="REASON", help="Go on though code, params or library changed.")
    ] = None,
    timeout: _Timeout = None,
) -> int:
    """Drop the result of a once-only step, and resume the run."""
    from runbook.runner.dead import close_dead_runs
    from runbook.runner.resume import resume_run

    close_dead_runs()
    return show_outcome(resume_run(run, accept_change=accept_change, timeout=timeout_seconds(timeout), redo=step))
