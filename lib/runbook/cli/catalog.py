"""`runbook list` and `runbook show`: what there is. Quick: no run, no params file and no kernel is opened."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from runbook import layout
from runbook.session import notebook

_NO_TARGETS = ("contacts", "controls")


def register(app: typer.Typer) -> None:
    app.command("list")(list_runbooks)
    app.command("show")(show_runbook)


def list_runbooks() -> None:
    """List the runbooks and the targets."""
    console = Console()
    found = notebook.find_notebooks()
    table = Table(title="Runbooks", title_justify="left")
    for heading in ("Name", "What it answers or does", "File"):
        table.add_column(heading)
    for name, path in found.items():
        table.add_row(name, notebook.title_of(notebook.read_notebook(path)), layout.short(path))
    console.print(table)
    targets = sorted(path.stem for path in layout.params().glob("*.yaml") if path.stem not in _NO_TARGETS)
    console.print(f"Targets: {', '.join(targets) or 'none: add a params file'}")
    console.print(f"Next: runbook show {next(iter(found), 'RUNBOOK')}", soft_wrap=True)


def show_runbook(runbook: Annotated[str, typer.Argument(help="Its name, number or file.")]) -> None:
    """Show a runbook's parameters, steps and checks."""
    path = notebook.find_notebook(runbook)
    content = notebook.read_notebook(path)
    declared = notebook.read_parameters(content, layout.short(path))
    console = Console()
    console.print(f"[bold]{notebook.title_of(content)}[/bold]\n{layout.short(path)}")
    table = Table(title="Parameters", title_justify="left")
    for heading in ("Name", "Type", "Default", "Unit", "Help"):
        table.add_column(heading)
    for parameter in declared.values():
        table.add_row(
            parameter.name, parameter.type_name, _shown(parameter.default), parameter.unit or "", parameter.help
        )
    console.print(table)
    console.print("Steps")
    for number, step in enumerate(notebook.planned_steps(content), start=1):
        console.print(f"  {number}. {step}", markup=False)
    checks = check_files(content)
    if checks:
        console.print("Checks from files")
        for name in checks:
            console.print(f"  {name}", markup=False)
    if notebook.controls_of(content):
        console.print(f"Controls: {', '.join(notebook.controls_of(content))}")
    console.print(f"Next: runbook run {notebook.slug_of(path)} --target {declared['target'].default}", soft_wrap=True)


def check_files(content: dict[str, Any]) -> list[str]:
    """The check files below the folders that the notebook names: `metadata.runbook.checks`, such as ["verification"]."""
    folders = content.get("metadata", {}).get("runbook", {}).get("checks", [])
    return [layout.short(path) for folder in folders for path in sorted((layout.sql() / str(folder)).rglob("*.sql"))]


def _shown(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
