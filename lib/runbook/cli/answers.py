"""`runbook answer`: the operator's answer to a question that a run waits for."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("answer")(answer)


def answer(
    run: Annotated[str, typer.Argument(help="The run id, or a part of it that only one run has.")],
    question: Annotated[str, typer.Argument(help="The question, as `runbook status` names it.")],
    option: Annotated[str, typer.Argument(help="One of its options; left out where a text is asked for.")] = "",
    value: Annotated[str, typer.Option(help="What goes with the option, or the text.")] = "",
    reason: Annotated[str, typer.Option(help="Why; it stands in the record.")] = "",
) -> int:
    """Answer a question of a run; `runbook resume` goes on with it."""
    from runbook.cli.output import json_line, say
    from runbook.params import load_params
    from runbook.runner.closing import read_state
    from runbook.runner.resume import find_run
    from runbook.session.asking import file_answer
    from runbook.session.credentials import register_all_secrets, register_secrets

    folder = find_run(run)
    register_all_secrets()
    register_secrets(load_params(read_state(folder).target))
    state = file_answer(folder, question, option, value.strip(), reason.strip())
    said = f"Recorded for '{state.questions[question]['title']}': {state.answers[question][-1]}."
    next_command = f"runbook resume {state.run}"
    say(said)
    say(f"Next: {next_command}")
    json_line(run=state.run, verdict="ANSWERED", reason=said, record=None, next=next_command, exit_code=0)
    return 0
