"""Files are UTF-8 whatever the locale: whoever opens one as text says so."""

from __future__ import annotations

import ast

import pytest
from runbook import layout

LIBRARY = layout.CHECKOUT / "lib" / "runbook"
#: These open no text file by themselves, or say UTF-8 by default.
_OTHERS = {"os", "tarfile", "gzip", "webbrowser"}


def _mode(call: ast.Call, place: int) -> str | None:
    """The mode of an `open`; None when it is none that opens a file."""
    given = [word.value for word in call.keywords if word.arg == "mode"] or call.args[place : place + 1]
    if not given:
        return "r"
    mode = given[0]
    if isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) <= set("rwaxbt+"):
        return mode.value
    return None


def unsaid(tree: ast.Module) -> list[int]:
    """The lines that open a text file and do not say in which encoding."""
    managed = {item.context_expr for node in ast.walk(tree) if isinstance(node, ast.With) for item in node.items}
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if any(word.arg == "encoding" for word in call.keywords):
            continue
        name, owner = "", ""
        if isinstance(call.func, ast.Attribute):
            name, owner = call.func.attr, ast.unparse(call.func.value)
        elif isinstance(call.func, ast.Name):
            name = call.func.id
        if name == "read_text":
            wrong = not call.args
        elif name == "write_text":
            wrong = len(call.args) < 2
        elif name == "fdopen" or (name == "open" and not owner):
            mode = _mode(call, 1)
            wrong = mode is not None and "b" not in mode
        elif name == "open" and owner not in _OTHERS:
            mode = _mode(call, 0)
            opens = bool(call.args or call.keywords) or call in managed
            wrong = opens and mode is not None and "b" not in mode
        else:
            wrong = False
        if wrong:
            found.append(call.lineno)
    return sorted(found)


def test_text_files_are_opened_as_utf8() -> None:
    found = [
        f"{path.relative_to(LIBRARY)}:{line}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for line in unsaid(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "path.read_text()",
        "path.read_text(errors='replace')",
        "path.write_text(text)",
        "open(path)",
        "open(path, 'w')",
        "os.fdopen(handle, 'w')",
        "path.open('a')",
        "with path.open() as file: pass",
    ],
)
def test_an_encoding_that_is_not_said_is_seen(line: str) -> None:
    assert unsaid(ast.parse(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "path.read_text('utf-8')",
        "path.open('rb')",
        "gate.open()",
        "path.open('a', encoding='utf-8')",
        "os.open(path, 3)",
    ],
)
def test_what_says_it_is_taken(line: str) -> None:
    assert unsaid(ast.parse(line)) == []
