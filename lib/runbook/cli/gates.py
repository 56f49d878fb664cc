"""`runbook approve`, `countersign` and `gates`: people decide. No target is locked and no kernel is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook import texts
from runbook.cli.output import json_line, say
from runbook.redact import scrubber

if TYPE_CHECKING:
    from runbook.gates.rules import Judged
    from runbook.session.deciding import Decided
    from runbook.session.gatebook import Glass
    from runbook.session.opengate import OpenGate

_Run = Annotated[str, typer.Argument(help="The run id, or a part of it that only one run has.")]
_Gate = Annotated[str, typer.Argument(help="The gate's id, as `runbook gates` lists it.")]
_Key = Annotated[
    Path | None,
    typer.Option(help="Your SSH key file; a public one when ssh-agent or a token holds the private half."),
]
_As = Annotated[str | None, typer.Option("--as", metavar="PRINCIPAL", help="Who you are, when the key is not enough.")]
_Comment = Annotated[str, typer.Option(help="What you want to have on record.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]


def register(app: typer.Typer) -> None:
    app.command("approve")(approve)
    app.command("countersign")(countersign)
    app.command("gates")(gates)


def approve(
    run: _Run,
    gate: _Gate,
    key: _Key = None,
    principal: _As = None,
    comment: _Comment = "",
    reject: Annotated[bool, typer.Option("--reject", help="Sign that the plan must not be carried out.")] = False,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="Nobody is awake: the operator passes the gate alone, on record.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; due with --reject and --break-glass.")] = None,
    prepare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what --as PRINCIPAL is to sign elsewhere.")
    ] = None,
    signed: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File what was signed; FILE.sig beside it.")
    ] = None,
    yes: _Yes = False,
) -> int:
    """Sign the plan that a gate shows, or reject it."""
    from runbook.errors import OperatorError
    from runbook.gates.decision import Kind
    from runbook.session import detached
    from runbook.session.deciding import decide

    if reject and break_glass:
        raise OperatorError("--reject and --break-glass exclude each other.", next="Give one of them.")
    kind = Kind.REJECTION if reject else Kind.BREAK_GLASS if break_glass else Kind.APPROVAL
    if kind is not Kind.APPROVAL and not (reason or "").strip():
        raise OperatorError(f"A {kind} wants a reason.", next='--reason "…"')
    if kind is not Kind.BREAK_GLASS and key is None and prepare is None and signed is None:
        raise OperatorError("A decision is signed with your own SSH key.", next="--key ~/.ssh/id_ed25519")
    opened = _look(run, gate)
    show_plan(opened)
    said = " ".join(text for text in (reason, comment) if text)
    if prepare is not None:
        finger = detached.prepare(opened, kind, prepare.expanduser().absolute(), principal, said)
        return _end(
            opened,
            "PREPARED",
            f"{prepare} is to be signed by {principal} with the key {finger}: "
            f"ssh-keygen -Y sign -n runbook-approval -f KEY {prepare}",
            f"runbook approve {opened.state.run} {opened.book.id} --signed {prepare}",
        )
    if signed is not None:
        decided = detached.take_signed(opened, signed.expanduser().absolute())
        return _tell(opened, decided)
    again = f"runbook approve {opened.state.run} {opened.book.id}" + (f" --key {key}" if key else "")
    _ask(
        yes,
        {Kind.APPROVAL: "Approve", Kind.REJECTION: "Reject"}.get(kind, "Break the glass for") + " this plan?",
        again,
    )
    return _tell(opened, decide(opened, kind, key=_absolute(key), principal=principal, comment=said))


def _tell(opened: OpenGate, decided: Decided) -> int:
    """What was filed, and who comes next."""
    from runbook.gates.decision import Kind

    kind = decided.decision.decision
    by = decided.decision.principal
    done = {Kind.APPROVAL: "APPROVED", Kind.REJECTION: "REJECTED", Kind.BREAK_GLASS: "BREAK-GLASS"}[kind]
    with_key = f" with the key {decided.decision.key}" if decided.decision.key else ", unsigned"
    text = f"{by}{with_key}: plan {opened.book.plan[:12]}… of the gate '{opened.book.id}'."
    if kind is Kind.APPROVAL:
        text += f" {opened.book.needed - decided.missing} of {opened.book.needed} approvals are there."
    elif kind is Kind.BREAK_GLASS:
        text += " The run can go on, and is no PASS until somebody else has countersigned."
    command = f"runbook resume {opened.state.run}"
    if kind is Kind.APPROVAL and decided.missing:
        from runbook.session.gate import approve_command

        command = approve_command(opened.state.run, opened.book.id, opened.params, opened.judged())
    return _end(opened, done, text, command)


def countersign(
    run: _Run, gate: _Gate, key: _Key = None, principal: _As = None, comment: _Comment = "", yes: _Yes = False
) -> int:
    """Sign, as a second person, what an operator did alone by break-glass."""
    from runbook.errors import OperatorError
    from runbook.model import Verdict
    from runbook.runner.countersigning import countersign_run

    if key is None:
        raise OperatorError("A countersignature is signed with your own SSH key.", next="--key ~/.ssh/id_ed25519")
    opened = _look(run, gate, glass=True)
    show_plan(opened)
    if opened.state.records:
        say(f"What was done: {opened.state.records[-1]}/report.html")
    again = f"runbook countersign {opened.state.run} {opened.book.id} --key {key}"
    _ask(yes, "Countersign what was done?", again)
    decided, state = countersign_run(opened, key=_absolute(key) or key, principal=principal, comment=comment)
    text = f"{decided.decision.principal} with the key {decided.decision.key}: the break-glass of '{opened.book.id}'."
    if decided.missing:
        text += f" {decided.missing} more of {opened.book.needed} are missing."
    text += f" The run says {state.verdict}: {state.reason}"
    command = state.next_command if state.verdict is not Verdict.PASS else f"runbook status {state.run}"
    return _end(opened, "COUNTERSIGNED", text, command, record=state.records[-1] if state.closed else None)


def gates(
    run: Annotated[str | None, typer.Argument(help="A run; default: all whose gates wait.")] = None,
) -> int:
    """List the gates that wait for a decision, or those of one run with their plans."""
    from runbook.runner.resume import find_run

    folders = [find_run(run)] if run is not None else _folders_with_gates()
    shown = waiting = 0
    command = "runbook runs"
    for folder in folders:
        for opened in _gates_of(folder):
            if run is None and not _waits(opened):
                continue
            command = _show_gate(opened, whole=run is not None) or command
            shown += 1
            waiting += _waits(opened)
    reason = f"{waiting} gate{'s wait' if waiting != 1 else ' waits'} for a decision."
    say(reason if shown else "No gate waits for a decision.")
    say(f"Next: {command}")
    name = folders[0].name if run is not None else None
    json_line(
        run=name,
        verdict="WAITING" if waiting else "NONE WAITING",
        reason=reason,
        record=None,
        next=command,
        exit_code=0,
    )
    return 0


def _look(run: str, gate: str, *, glass: bool = False) -> OpenGate:
    from runbook.runner.dead import close_dead_runs
    from runbook.runner.resume import find_run
    from runbook.session.credentials import register_secrets
    from runbook.session.opengate import look_at, look_at_glass

    close_dead_runs()
    opened = (look_at_glass if glass else look_at)(find_run(run), gate)
    register_secrets(opened.params)
    return opened


def _absolute(key: Path | None) -> Path | None:
    """The key file, from where the command was given, else from the home (as the commands that we print name it)."""
    from runbook import layout

    if key is None:
        return None
    here = key.expanduser().absolute()
    return here if here.exists() else layout.resolve(key)


def _ask(yes: bool, question: str, again: str) -> None:
    from runbook.errors import OperatorError

    if yes:
        return
    if not sys.stdin.isatty():
        raise OperatorError("There is no terminal to ask at.", next=f"{again} --yes")
    if not typer.confirm(question):
        raise OperatorError("Nothing was signed.", next=again)


def _end(opened: OpenGate, verdict: str, reason: str, command: str, record: str | None = None) -> int:
    say(f"{verdict}: {reason}")
    say(f"Next: {command}")
    json_line(run=opened.state.run, verdict=verdict, reason=reason, record=record, next=command, exit_code=0)
    return 0


def show_plan(opened: OpenGate) -> None:
    """What will be done, what it affects, how it is taken back, and the hash that is signed."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    plan, state = opened.plan, opened.state

    def line(text: str, style: str = "") -> Text:
        return Text(texts.visible_line(scrubber.text(text)), style=style)

    lines = [line(f"Target {plan.target} ({opened.params.environment}), run {state.run}", style="bold")]
    lines += [line(f"asked for by {', '.join(state.operators)}, needs {opened.book.needed} other(s)"), Text("")]
    for number, action in enumerate(plan.actions, start=1):
        undo = f"  (undo: {action.undo})" if action.undo else ""
        lines.append(line(f"{number:2}. {action.what}{undo}"))
    lines += [Text(""), Text("Blast radius", style="bold"), *(line(f"  {one}") for one in plan.blast_radius)]
    word, style = ("Reversible", "green") if plan.reversible else ("NOT reversible", "bold red")
    lines.append(Text.assemble((word, style), line(f": {plan.undo}")))
    for name, value in sorted(plan.facts.items()):
        lines.append(line(f"  {name} = {value}"))
    lines += [Text(""), Text(f"SHA-256 {opened.book.plan}")]
    console = Console(width=None if Console().is_terminal else 120)
    console.print(Panel(Group(*lines), title=line(plan.title), title_align="left", expand=False))


def _folders_with_gates() -> list[Path]:
    from runbook import layout
    from runbook.session.request import JOURNAL

    root = layout.runs()
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [folder for folder in found if (folder / "gates").is_dir() and (folder / JOURNAL).is_file()]


def _gates_of(folder: Path) -> list[OpenGate]:
    from runbook.errors import OperatorError, RunbookError
    from runbook.runner.closing import read_state
    from runbook.session.opengate import look_at

    opened = []
    try:
        book = read_state(folder).gate_book
    except RunbookError as cause:  # one damaged run hides no gate of another
        say(f"{folder.name}: {cause.message}")
        return []
    for gate in book:
        try:
            opened.append(look_at(folder, gate))
        except OperatorError as cause:
            say(f"{folder.name} {gate}: {cause.message}")
    return opened


def _waits(opened: OpenGate) -> bool:
    """True while a decision is wanted: by the gate, or by its break-glass."""
    if opened.state.aborted is not None:
        return False
    return opened.stands == "waiting" or any(glass.is_open for glass in _glasses(opened))


def _glasses(opened: OpenGate) -> list[Glass]:
    return [glass for glass in opened.state.glasses if glass.gate == opened.book.id]


def _show_gate(opened: OpenGate, *, whole: bool) -> str | None:
    """The gate is printed. Returns the next command when it waits."""
    from runbook.session.gate import approve_command

    state, book = opened.state, opened.book
    if whole:
        show_plan(opened)
    judged = opened.judged() if opened.stands == "waiting" else None
    here = len(judged.approvals) if judged is not None else 0
    how = f", {here} of {book.needed} approvals" if judged is not None else ""
    say(f"{state.run}  {book.id}  {opened.stands}{how}  plan {book.plan[:12]}…  {book.title}")
    if judged is not None:
        _show_decisions(judged)
    for glass in _glasses(opened):
        say(f"  {glass.limitation()}")
    if not _waits(opened):
        return None
    if judged is None:
        command = approve_command(state.run, book.id, opened.params, word="countersign")
    elif judged.is_enough(book.needed):
        command = f"runbook resume {state.run}"
    else:
        command = approve_command(state.run, book.id, opened.params, judged)
    say(f"  Next: {command}")
    return command


def _show_decisions(judged: Judged) -> None:
    from runbook.gates.rules import decision_of

    for one in map(decision_of, (*judged.approvals, *judged.rejections)):
        say(f"  {one.decision} by {one.principal} with the key {one.key}, expires {one.expires:%Y-%m-%d %H:%M:%SZ}")
    for void in judged.void:
        say(f"  void: {void.file}: {void.why}")
