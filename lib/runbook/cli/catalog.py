"""`runbook list` and `runbook show`: what there is. Quick: no run, no params file and no kernel is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runbook import layout
from runbook.cli.output import Listing, say
from runbook.errors import ParamsError
from runbook.session import notebook

#: Of what is no terminal.
_WIDTH = 120
_NO_TARGETS = ("contacts", "controls")


def register(app: typer.Typer) -> None:
    app.command("list")(list_runbooks)
    app.command("show")(show_runbook)


def list_runbooks() -> None:
    """List the runbooks and the targets."""
    found = notebook.find_notebooks()
    table = Listing("Runbooks", "Name", "What it answers or does", "File")
    for name, path in found.items():
        table.add(name, _title(path), layout.short(path))
    table.show(_WIDTH)
    targets = sorted(path.stem for path in layout.params().glob("*.yaml") if path.stem not in _NO_TARGETS)
    say(f"Targets: {', '.join(targets) or 'none: add a params file'}")
    say(f"Next: runbook show {next(iter(found), 'RUNBOOK')}")


def _title(path: Path) -> str:
    """One notebook that is broken must not hide the others."""
    try:
        return notebook.title_of(notebook.read_notebook(path))
    except ParamsError as cause:
        return cause.message


def show_runbook(runbook: Annotated[str, typer.Argument(help="Its name, number or file.")]) -> None:
    """Show a runbook's parameters, steps and checks."""
    path = notebook.find_notebook(runbook)
    content = notebook.read_notebook(path)
    declared = notebook.read_parameters(content, layout.short(path))
    say(notebook.title_of(content))
    say(layout.short(path))
    table = Listing("Parameters", "Name", "Type", "Default", "Unit", "Help")
    for parameter in declared.values():
        table.add(parameter.name, parameter.type_name, _shown(parameter.default), parameter.unit or "", parameter.help)
    table.show(_WIDTH)
    say("Steps")
    for number, step in enumerate(notebook.planned_steps(content), start=1):
        say(f"  {number}. {step}")
    checks = check_files(content)
    if checks:
        say("Checks from files")
        for name in checks:
            say(f"  {name}")
    if notebook.controls_of(content):
        say(f"Controls: {', '.join(notebook.controls_of(content))}")
    say(f"Next: runbook run {notebook.slug_of(path)} --target {declared['target'].default}")


def check_files(content: dict[str, Any]) -> list[str]:
    """The check files below the folders that the notebook names: `metadata.runbook.checks`, such as ["verification"]."""
    folders = content.get("metadata", {}).get("runbook", {}).get("checks", [])
    return [layout.short(path) for folder in folders for path in sorted((layout.sql() / str(folder)).rglob("*.sql"))]


def _shown(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
