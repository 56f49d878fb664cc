"""`runbook schedule …`: files for cron, systemd and Kubernetes, and what they start."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from runbook import layout
from runbook.cli.output import say, show_outcome
from runbook.errors import OperatorError

app = typer.Typer(name="schedule", help="What is due, started by a scheduler: export, run.", no_args_is_help=True)


class Format(StrEnum):
    CRON = "cron"
    SYSTEMD = "systemd"
    KUBERNETES = "kubernetes"


@app.command()
def export(
    form: Annotated[Format, typer.Option("--format", help="Which scheduler.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the files.")],
    user: Annotated[str | None, typer.Option(help="Who runs it: cron and systemd. Default: you.")] = None,
    image: Annotated[str | None, typer.Option(help="The image with this checkout: Kubernetes.")] = None,
) -> int:
    """Write ready files: right zone, one at a time, a deadline, retry on exit 5 only, resume on 4."""
    from runbook.controls.counting import read_targets
    from runbook.params.controls import load_controls
    from runbook.schedule.cron import cron_files
    from runbook.schedule.jobs import Place, plan_jobs
    from runbook.schedule.kubernetes import kubernetes_files
    from runbook.schedule.systemd import systemd_files
    from runbook.session import identity, notebook

    runbooks = [notebook.slug_of(path) for path in sorted(layout.notebooks().glob("*.ipynb"))]
    plan = plan_jobs(load_controls().controls, read_targets(), runbooks)
    for reason in plan.left_out:
        say(f"Left out: {reason}")
    if not plan.jobs:
        raise OperatorError(
            "Nothing is there to schedule.", next="Name targets and controls in params/ (runbook due shows them)."
        )
    if form is Format.KUBERNETES:
        if not image:
            raise OperatorError("Kubernetes needs an image.", next="--image registry.example.org/runbook:1.0")
        files = kubernetes_files(plan.jobs, image)
    else:
        program = Path(sys.executable).with_name("runbook")
        place = Place(str(program), str(layout.home()), user or identity.operator())
        files = cron_files(plan.jobs, place) if form is Format.CRON else systemd_files(plan.jobs, place)
    folder = out.expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OperatorError(f"{folder} is there already: an export never overwrites.", next="Name another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
        say(f"Written: {layout.short(folder / name)}")
    say("Next: read the first lines of each file: they say where it goes")
    return 0


@app.command()
def run(
    control: Annotated[str, typer.Argument(help="The control, as in params/controls.yaml.")],
    target: Annotated[str, typer.Option(help="Of which target.")],
    wait: Annotated[bool, typer.Option("--wait", help="Try a locked target again until the deadline.")] = False,
    only_on_day: Annotated[
        bool, typer.Option("--only-on-day", help="Do nothing on another day than the due one.")
    ] = False,
) -> int:
    """Run what is due, once for each due time; what broke off is resumed. Exit codes are those of `runbook run`."""
    from runbook.controls.counting import find_control, read_targets
    from runbook.controls.population import targets_of
    from runbook.params.controls import load_controls
    from runbook.runner.scheduled import refuse_other_target, run_scheduled

    found = find_control(load_controls(), control)
    refuse_other_target(found, target, targets_of(found, read_targets()))
    return show_outcome(run_scheduled(found, target, wait=wait, only_on_day=only_on_day))
