"""`runbook drill`: the annual disaster-recovery test, on the sandbox."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("drill")(drill)


def drill(
    kind: Annotated[str | None, typer.Option(help="delete-vehicles, drop-table, bad-update or truncate.")] = None,
    surprise: Annotated[bool, typer.Option("--surprise", help="The seed picks the incident; nobody is told.")] = False,
    seed: Annotated[int | None, typer.Option(help="Picks incident and place; without it, by the clock.")] = None,
) -> int:
    """Damage the sandbox amid traffic, recover it headless, and score what the recovery found against the truth."""
    import time

    from runbook.cli.output import Listing, json_line, say
    from runbook.cli.sandbox import take_sandbox_fence
    from runbook.clock import human_seconds
    from runbook.errors import OperatorError
    from runbook.model import EXIT_CODES, Verdict
    from runbook.runner.dead import close_dead_runs
    from runbook.runner.drill import choose_kind, conduct, refuse_unfit
    from runbook.sandbox import cluster

    if surprise and kind is not None:
        raise OperatorError("A surprise is not named.", next="runbook drill --surprise, or --kind KIND")
    number = seed if seed is not None else int(time.time())
    chosen = choose_kind(kind, number)
    close_dead_runs()
    refuse_unfit()
    sandbox = cluster.up("small", after_backup=take_sandbox_fence, say=say)
    found = conduct(sandbox, chosen, number, say=say)
    title = f"Drill: {found.kind}, seed {found.seed}, {human_seconds(found.seconds)}"
    table = Listing(title, "What", "Expected", "Seen", "")
    for mark in found.marks:
        table.add(mark.what, mark.expected, mark.seen, {True: "yes", False: "NO", None: ""}[mark.good])
    table.show(160)
    wrong = [mark.what for mark in found.marks if mark.good is False]
    code = found.outcome.exit_code if not wrong or found.outcome.exit_code else EXIT_CODES[Verdict.FAIL]
    verdict = found.outcome.verdict if not wrong or found.outcome.exit_code else str(Verdict.FAIL)
    reason = found.outcome.reason if not wrong else f"Not as expected: {', '.join(wrong)}. {found.outcome.reason}"
    say(f"{verdict}: {reason}")
    if found.outcome.record:
        say(f"Report: {found.outcome.record}/report.html")
    json_line(
        run=found.outcome.run,
        verdict=verdict,
        reason=reason,
        record=found.outcome.record,
        next=found.outcome.next,
        exit_code=code,
    )
    return code
