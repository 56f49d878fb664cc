"""`runbook fence …`: exact figures of the living databases, kept beside the backups."""

from __future__ import annotations

from typing import Annotated

import typer

from runbook import clock, layout
from runbook.cli.output import say
from runbook.clock import human_bytes
from runbook.errors import OperatorError, TargetLocked
from runbook.params import load_params
from runbook.postgres.wal import format_lsn
from runbook.session import lock
from runbook.texts import many
from runbook.verification.content import COPY
from runbook.verification.fence import take_fence
from runbook.verification.fencefile import list_fences

app = typer.Typer(
    name="fence", help="Exact figures of the living databases, to compare a restore with.", no_args_is_help=True
)

Target = Annotated[str, typer.Option("--target", help="The system: a file in params/.")]


@app.command()
def take(
    target: Target = "sandbox",
    jobs: Annotated[int, typer.Option(help="Connections that read at once.", min=1, max=16)] = 1,
    archive_timeout: Annotated[float, typer.Option(help="Seconds to wait until the WAL behind it is archived.")] = 180,
) -> None:
    """Count and hash every table under one snapshot; nothing but schema changes is blocked."""
    other = lock.changing(target)
    if other is not None:
        raise TargetLocked(
            f"The run {other['run']} is changing {target} ({other['effects_what']}): figures of now would be compared with later.",
            next=lock.look_at(other),
            target=target,
            holder=other["run"],
        )
    taken = take_fence(load_params(target), jobs=jobs, archive_timeout=archive_timeout)
    for item in taken.databases:
        size = human_bytes(sum(relation.size_bytes for relation in item.relations))
        say(
            f"{item.database}: {many(item.rows, 'row')} in {many(len(item.relations), 'relation')} ({size}), exact at {format_lsn(item.lsn)}; {item.why}"
        )
        for relation in item.relations:
            if relation.problem:
                say(f"  not recorded: {relation.title}: {relation.problem}")
        copied = [relation.title for relation in item.relations if relation.method == COPY]
        if copied:
            shown = ", ".join(copied[:5]) + (f" and {len(copied) - 5} more" if len(copied) > 5 else "")
            say(f"  read by COPY, since a query's plan would run a function that the application made: {shown}")
    say(f"Fence: {layout.short(taken.path)}")
    say(f"Next: runbook run backup-verification --target {target}")


@app.command("list")
def list_(target: Target = "sandbox") -> None:
    """The fences of a target, oldest first."""
    params = load_params(target)
    if params.cluster is None:
        raise OperatorError(f"Target '{target}' is no cluster.", next="Use a target with platform: cluster.")
    found, wrong = list_fences(params.cluster)
    for fence in found:
        positions = ", ".join(f"{item.database} at {format_lsn(item.lsn)}" for item in fence.databases)
        say(
            f"{clock.stamp(fence.taken_at)}  {sum(item.rows for item in fence.databases)} rows  {positions}  {fence.path.name}"
        )
    for problem in wrong:
        say(f"unusable: {problem}")
    if not found:
        say(f"There is no fence. Next: runbook fence take --target {target}")
