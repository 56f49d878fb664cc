"""`runbook sandbox …`: an embedded production to practise on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, ParamSpec

import typer

from runbook import clock, layout
from runbook.errors import OperatorError, RunbookError
from runbook.model import EXIT_CODES, EXIT_REFUSED, Verdict
from runbook.params import load_params
from runbook.redact import scrubber
from runbook.sandbox import backup as backups
from runbook.sandbox import cluster, problems, traffic_process
from runbook.sandbox.incidents import apply_incident, find_incidents
from runbook.sandbox.place import Sandbox, locked, need_sandbox
from runbook.texts import many
from runbook.verification.fence import take_fence

app = typer.Typer(name="sandbox", help="An embedded production to practise on.", no_args_is_help=True)
traffic_app = typer.Typer(name="traffic", help="What the application writes meanwhile.", no_args_is_help=True)
server_app = typer.Typer(name="server", help="The sandbox's service manager: its server alone.", no_args_is_help=True)
app.add_typer(traffic_app)
app.add_typer(server_app)

P = ParamSpec("P")
#: The sandbox's file in params/.
TARGET = "sandbox"


class SizeName(StrEnum):
    """How large."""

    small = "small"
    medium = "medium"
    large = "large"


def _exits(command: Callable[P, None]) -> Callable[P, None]:
    """Errors become their message and an exit code: 2 refused, 4 something else failed."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except RunbookError as problem:
            typer.echo(scrubber.text(str(problem)), err=True)
            refused = isinstance(problem, OperatorError)
            raise typer.Exit(EXIT_REFUSED if refused else EXIT_CODES[Verdict.INCOMPLETE]) from None

    return run


def take_sandbox_fence(sandbox: Sandbox) -> None:
    """The fence that belongs to the sandbox's newest backup is taken, and said."""
    fence = take_fence(load_params("sandbox"))
    rows = sum(database.rows for database in fence.databases)
    typer.echo(f"Fence {fence.path.name}: {many(rows, 'row')} in {many(len(fence.databases), 'database')}.")


@app.command()
@_exits
def up(
    size: Annotated[SizeName, typer.Option(help="small: seconds; medium: about 1.5 GB; large: --gigabytes.")] = (
        SizeName.small
    ),
    gigabytes: Annotated[float | None, typer.Option(help="The database's size with --size large.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 1,
    traffic: Annotated[bool, typer.Option("--traffic", help="Start the traffic generator too.")] = False,
) -> None:
    """Make the sandbox, or start the one that is there."""
    sandbox = cluster.up(size.value, gigabytes=gigabytes, seed=seed, after_backup=take_sandbox_fence, say=typer.echo)
    typer.echo(f'Connect: psql "$(cat {layout.short(layout.sandbox() / "connection")})"')
    if traffic:
        _start_traffic(sandbox, traffic_process.DEFAULT_SECONDS / 60, traffic_process.DEFAULT_RATE)


@app.command()
@_exits
def status() -> None:
    """How the sandbox is. Exit 0 when it runs, 4 when it does not."""
    found = cluster.status()
    if found is None:
        typer.echo("There is no sandbox. Next: runbook sandbox up")
        raise typer.Exit(EXIT_CODES[Verdict.INCOMPLETE])
    state = "runs" if found.running else "is down"
    typer.echo(f"The sandbox ({found.size}) {state}: {found.folder}")
    if found.running:
        typer.echo(
            f"PostgreSQL {found.version}, {clock.human_bytes(found.data_bytes or 0)}, timeline {found.timeline}, "
            f"checksums {found.checksums}, system identifier {found.system_identifier}"
        )
        last = clock.stamp(found.last_archived_at) if found.last_archived_at else "never"
        typer.echo(f"Archive: {found.archived_segments} segments, last at {last}, {found.archive_failures} failures")
    typer.echo(f"Base backups: {', '.join(found.backups) or 'none'}")
    typer.echo(f"Traffic generator: {'runs' if found.traffic else 'does not run'}")
    if not found.running:
        typer.echo("Next: runbook sandbox up")
        raise typer.Exit(EXIT_CODES[Verdict.INCOMPLETE])


@app.command()
@_exits
def down(
    remove: Annotated[bool, typer.Option("--remove", help="Delete its data, backups and WAL too.")] = False,
) -> None:
    """Stop the sandbox and its traffic."""
    if remove:
        _end_runs()
    typer.echo(cluster.down(remove=remove))


def _end_runs() -> None:
    """A run that has changed the sandbox, or is just doing so, ends with it: nothing is left that its lock would guard."""
    from runbook.runner.abort import abort_run  # late: most commands of the sandbox end no run
    from runbook.session.lock import free_effects, read_holder

    holder = read_holder(TARGET)
    if holder is None:
        return
    run = holder["run"]
    if layout.run(run).is_dir():
        try:
            outcome = abort_run(run, "its sandbox is removed", by_hand="the sandbox is deleted with all its files")
            typer.echo(f"The run {run} is ended with its sandbox: {outcome.verdict}, {outcome.record or 'no record'}.")
        except OperatorError as cause:  # it is over
            typer.echo(scrubber.text(cause.message))
    free_effects(TARGET, run)


@app.command()
@_exits
def backup(label: Annotated[str, typer.Option(help="Kept in the backup's backup_label.")] = "by hand") -> None:
    """Take a base backup, and its fence."""
    with locked():
        sandbox, taken = backups.take_backup(need_sandbox(), label)
        typer.echo(f"Base backup {layout.short(layout.sandbox() / 'backups' / taken.name)}")
        take_sandbox_fence(sandbox)


@app.command()
@_exits
def incident(
    kind: Annotated[str | None, typer.Argument(help="What goes wrong; --list names all kinds.")] = None,
    seed: Annotated[int, typer.Option(help="Picks the place of the damage.")] = 1,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds and do nothing.")] = False,
) -> None:
    """Damage the sandbox, its newest backup or its WAL archive on purpose."""
    kinds = find_incidents()
    if list_kinds:
        for name, found in kinds.items():
            typer.echo(f"{name:<24} {found.SUMMARY}")
        return
    if kind is None:
        raise OperatorError("No kind of incident is named.", next="runbook sandbox incident --list")
    _tell(apply_incident(kind, seed))


@app.command()
@_exits
def plant(
    remove: Annotated[bool, typer.Option("--remove", help="Take them away again.")] = False,
) -> None:
    """Plant problems for the daily look and the access audit to find; archiving stands still until they are removed."""
    with locked():
        if remove:
            problems.uproot(need_sandbox())
            typer.echo("The planted problems are gone.")
            return
        for check, name in {**problems.plant(need_sandbox()), **problems.PLANTED_ACCESS}.items():
            typer.echo(f"{check:<24} {name}")
    typer.echo("Next: runbook run daily-health, or: runbook run access-audit")
    typer.echo("Undo: runbook sandbox plant --remove")


def _tell(truth: dict[str, Any]) -> None:
    typer.echo(truth["did"])
    typer.echo(f"Where: {truth['where']}")
    for name in ("committed_at", "before_lsn"):
        if name in truth:
            typer.echo(f"{name.replace('_', ' ').capitalize()}: {truth[name]}")
    typer.echo(f"Undo: {truth['undo']}")


def _start_traffic(sandbox: Sandbox, minutes: float, rate: float) -> None:
    pid = traffic_process.start(sandbox, seconds=minutes * 60, rate=rate)
    typer.echo(f"Traffic generator runs as process {pid}; it ends by itself. Stop: runbook sandbox traffic stop")


@traffic_app.command("start")
@_exits
def start_traffic(
    minutes: Annotated[float, typer.Option(min=0.05, help="It ends by itself after so long.")] = (
        traffic_process.DEFAULT_SECONDS / 60
    ),
    rate: Annotated[float, typer.Option(min=0.1, help="Transactions a second.")] = traffic_process.DEFAULT_RATE,
) -> None:
    """Start the traffic generator; one that runs is left as it is."""
    _start_traffic(need_sandbox(), minutes, rate)


@traffic_app.command("stop")
@_exits
def stop_traffic() -> None:
    """Stop the traffic generator after its transaction in hand."""
    stopped = traffic_process.stop(need_sandbox())
    typer.echo("The traffic generator has stopped." if stopped else "The traffic generator does not run.")


@server_app.command("start")
@_exits
def start_server() -> None:
    """Start the server that stands in the sandbox's data directory."""
    with locked():
        cluster.start_server(need_sandbox())
    typer.echo("The server runs.")


@server_app.command("stop")
@_exits
def stop_server() -> None:
    """Stop the server; the traffic generator goes on trying."""
    with locked():
        cluster.stop_server(need_sandbox())
    typer.echo("The server is down.")


@server_app.command("status")
@_exits
def server_status() -> None:
    """Exit 0 when the server runs, 4 when it does not."""
    found = cluster.status()
    running = found is not None and found.running
    typer.echo("The server runs." if running else "The server is down.")
    if not running:
        raise typer.Exit(EXIT_CODES[Verdict.INCOMPLETE])
