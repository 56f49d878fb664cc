"""`runbook access …`: the approved list of who may do what."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from runbook import clock, layout
from runbook.archive.accesslists import approve_list, approved_list
from runbook.cli.output import say
from runbook.errors import OperatorError
from runbook.inventory.differences import compare
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import read_list
from runbook.params import load_params
from runbook.runner.closing import read_state
from runbook.session import identity

#: More differences than these are counted, not shown.
_SHOWN = 100

app = typer.Typer(name="access", help="The approved list of who may do what.", no_args_is_help=True)


def _proposal(run: str) -> Path:
    folder = layout.run(run) / "access"
    found = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if len(found) != 1:
        raise OperatorError(f"The run {run} has proposed no list.", next="runbook run access-audit --target NAME")
    return found[0]


@app.command()
def approve(
    run: Annotated[str, typer.Argument(help="The access audit that proposed the list.")],
    key: Annotated[Path, typer.Option(help="Your SSH key; a public one when an agent holds the private half.")],
    comment: Annotated[str, typer.Option(help="What you looked at; it is signed.")] = "",
) -> int:
    """Sign the list that an audit has proposed: from now on audits compare with it. Not by the one who ran it."""
    path = _proposal(run)
    text = path.read_text("utf-8")
    written = read_state(layout.run(run)).facts.get("access_list", {}).get("sha256")
    if written != hashlib.sha256(text.encode()).hexdigest():
        raise OperatorError(
            f"{layout.short(path)} is not the list that the run has written: it was altered.",
            next="runbook run access-audit --target NAME",
        )
    proposed = read_list(text, layout.short(path))
    params = load_params(proposed.target)
    before = approved_list(params, ())
    known = before.list.inventory if before.list is not None else Inventory()
    differences = compare(known, proposed.inventory)
    for one in differences[:_SHOWN]:
        say(f"{one.became:<8}{one.kind} {one.database or ''} {one.name}  {one.said}")
    more = f" ({len(differences) - _SHOWN} of them not shown)" if len(differences) > _SHOWN else ""
    say(
        f"{len(differences)} differences{more} from {'the approved list' if before.list else 'an empty list'}: all in {layout.short(path)}"
    )
    file, made = approve_list(params, text, key=key.expanduser(), comment=comment, user=identity.operator())
    say(
        f"{made.approver} has approved the accesses of {made.target}, number {made.number}: {layout.short(file)}; commit it with the list."
    )
    say(f"Next: runbook run access-audit --target {made.target}")
    return 0


@app.command()
def show(target: Annotated[str, typer.Option("--target", help="The system: a file in params/.")] = "sandbox") -> int:
    """Who has approved the list of a target, and whether that counts. Exit 1 when it does not."""
    found = approved_list(load_params(target), ())
    if found.list is None:
        say(f"{found.where}: {found.problem}.")
        say(f"Next: runbook run access-audit --target {target}")
        return 1
    at = clock.stamp(found.approved_at) if found.approved_at else ""
    say(
        f"{found.where}: {found.list.inventory.count} items, approved by {found.approver} at {at} (number {found.number})."
    )
    say(f"Next: runbook run access-audit --target {target}")
    return 0
