"""`runbook page`: call whoever is on duty for a role about a run."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("page")(page)


def page(
    role: Annotated[str, typer.Argument(help="Such as dba; params/contacts.yaml names them.")],
    run: Annotated[
        str, typer.Option(envvar="RUNBOOK_RUN", help="The run it is about; a hook knows its own.", show_default=False)
    ] = "",
    message: Annotated[str, typer.Option(help="Your own words, at the top of the message.")] = "",
    anyone: Annotated[
        bool, typer.Option("--anyone", help="Call those who are off duty too, after the others.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show whom and what; send nothing.")] = False,
) -> int:
    """Call who is on duty, with the run's state, what waits, and the next command. Exit 0 when a channel accepted it."""
    from runbook.cli.output import json_line, say, say_lines
    from runbook.errors import ParamsError
    from runbook.model import EXIT_CODES, Status, Verdict
    from runbook.runner.paging import page_role
    from runbook.runner.resume import find_run

    if not run:
        raise ParamsError("Say which run it is about.", next=f"runbook page {role} --run RUN (runbook runs lists them)")
    folder = find_run(run)
    paged = page_role(folder, role, message=message.strip(), anyone=anyone, dry_run=dry_run)
    status_command = f"runbook status {folder.name}"
    if paged.before is not None:
        say(f"{paged.before} Whoever got that one gets this one too, and it says so.")
    if dry_run:
        who = ", ".join(one.name for one in paged.people) or "nobody is on duty"
        say(f"Dry run, nothing is sent. Would be called, in this order: {who}")
        say_lines(f"\n{paged.title}\n\n{paged.body}")
        reason = f"Dry run: {who}."
        json_line(run=folder.name, verdict="DRY", reason=reason, record=paged.record, next=status_command, exit_code=0)
        return 0
    for one in paged.deliveries:
        say(f"{one.went}  {one.person}  {one.channel} ({one.shown}): {one.said}")
    if paged.status is Status.PASS:
        reached = next(one for one in paged.deliveries if one.status is Status.PASS)
        reason = f"A channel of {reached.person} has accepted it; whether a person has read it, nobody knows yet."
        verdict, code, next_command = "PAGED", 0, status_command
    else:
        known = "Nobody was reached." if paged.status is Status.FAIL else "Nobody is known to be reached."
        reason = known if paged.people else f"Nobody is on duty for {role}."
        failed = Verdict.FAIL if paged.status is Status.FAIL else Verdict.INCOMPLETE
        verdict, code = str(failed), EXIT_CODES[failed]
        next_command = f"By hand: {paged.by_hand[0]}"
        say("Do by hand, in this order:")
        for line in paged.by_hand:
            say(f"  {line}")
        if not anyone:
            say(f"Or call those off duty too: runbook page {role} --run {folder.name} --anyone")
    say(f"{verdict}: {reason}")
    say(f"Next: {next_command}")
    json_line(run=folder.name, verdict=verdict, reason=reason, record=paged.record, next=next_command, exit_code=code)
    return code
