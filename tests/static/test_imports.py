"""Imports go down only, in the order that DESIGN names; outside libraries have one door each."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from runbook import layout

LIBRARY = layout.CHECKOUT / "lib" / "runbook"

#: What a package may import beside itself. What is not here may import nothing of ours.
BOTTOM = {"errors", "redact", "clock", "disk", "plain", "layout", "sources", "texts", "environment"}
MODEL = BOTTOM | {"model"}
PARAMS = MODEL | {"params"}
SEAMS = PARAMS | {"postgres", "outside", "gates"}
PLACES = SEAMS | {"sandbox", "platforms"}
#: What two subjects need.
SHARED = {"inspection", "inventory", "retention"}
SUBJECTS = {"recovery", "verification", "migrations", "health", "access", "compliance", "escalation", "architecture"}
HALL = {"report", "archive", "controls", "schedule"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "sources": set(),
    "disk": {"errors"},
    "plain": set(),
    "redact": {"errors"},
    "clock": {"errors"},
    "layout": {"errors"},
    "texts": {"errors", "clock", "layout"},
    "environment": {"errors", "layout"},
    "model": BOTTOM,
    "params": MODEL,
    "postgres": PARAMS | {"outside"},
    "outside": PARAMS,
    "gates": PARAMS | {"outside"},
    "sandbox": PLACES,
    "platforms": PLACES,
    **dict.fromkeys(SHARED, PLACES | SHARED),
    **dict.fromkeys(SUBJECTS, PLACES | SHARED),
    "report": PLACES | SHARED | SUBJECTS,
    "archive": PLACES | SHARED | SUBJECTS,
    "controls": PLACES | {"archive"},
    "schedule": PLACES | SHARED | SUBJECTS | {"controls"},
    "session": PARAMS | {"gates", "outside"},
    "index": PLACES | SHARED | SUBJECTS | HALL,
    "runner": PLACES | SHARED | SUBJECTS | HALL | {"session", "index"},
    "cli": PLACES | SHARED | SUBJECTS | HALL | {"session", "index", "runner"},
}
#: A library that only one module may import, so that its errors and timeouts are handled in one place.
DOORS = {
    "psycopg": {"postgres/connect.py", "postgres/rawtext.py"},
    "postgast": {"postgres/parse.py"},
    "google": {"postgres/parse.py"},
    "httpx": {"outside/http.py"},
    "apprise": {"outside/notify.py"},
    "subprocess": {"outside/commands.py", "runner/kernel.py", "runner/interactive.py"},
}


def modules() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def imports_of(path: Path) -> list[tuple[str, int]]:
    """Every imported module of a file, with its line; imports for types alone are left out."""
    found: list[tuple[str, int]] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.extend((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def package_of(path: Path) -> str:
    parts = path.relative_to(LIBRARY).parts
    return parts[0] if len(parts) > 1 else path.stem


def wrong_imports(path: Path) -> list[tuple[str, str, str]]:
    """What a file imports against the order: its package, the other one, and where."""
    own = package_of(path)
    wrong = []
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[0] == "runbook" and len(parts) > 1 and own != "__init__":
            part = parts[1]
            if part != own and part not in ALLOWED[own]:
                wrong.append((own, part, f"{path.relative_to(LIBRARY)}:{line}: {own} imports {part}"))
        allowed = DOORS.get(parts[0])
        if allowed is not None and str(path.relative_to(LIBRARY)) not in allowed:
            where = f"{path.relative_to(LIBRARY)}:{line}"
            wrong.append((own, parts[0], f"{where}: {parts[0]} is imported by {sorted(allowed)} alone"))
    return wrong


def test_imports_go_down_only_and_through_the_doors() -> None:
    assert [where for path in modules() for _, _, where in wrong_imports(path)] == []


def test_an_import_upwards_or_past_a_door_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "session" / "bad.py"
    module.parent.mkdir()
    module.write_text(
        "import psycopg\ndef f():\n    from runbook.runner import execute\n    from runbook import report\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "LIBRARY", tmp_path)
    assert [(own, other) for own, other, _ in wrong_imports(module)] == [
        ("session", "psycopg"),
        ("session", "runner"),
        ("session", "report"),
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_module_reads_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "split it: one subject a module"


def test_every_package_has_a_place_in_the_order() -> None:
    packages = {package_of(path) for path in modules()} - {"__init__"}
    assert packages <= set(ALLOWED), "a new package needs its place in ALLOWED"
