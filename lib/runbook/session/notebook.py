"""A runbook's notebook as a file: where it is, its title, parameters, planned steps and fingerprints.

Read as JSON and by AST; no kernel and no nbformat (whose import is slow) is needed.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import ParamsError

#: What papermill writes at the top of the cell it injects.
INJECTED = "# Parameters"


@dataclass(frozen=True)
class Parameter:
    """One notebook parameter, as its parameters cell declares it. `line` counts within that cell, from 1."""

    name: str
    default: Any
    help: str
    unit: str | None
    line: int

    @property
    def type_name(self) -> str:
        return type(self.default).__name__


def slug_of(path: Path) -> str:
    """A runbook's name from its file.

    >>> slug_of(Path("04_backup_verification.ipynb"))
    'backup-verification'
    """
    return re.sub(r"^\d+_", "", path.stem).replace("_", "-")


def find_notebooks() -> dict[str, Path]:
    """Every runbook by its name, in the order of the files' numbers."""
    return {slug_of(path): path for path in sorted(layout.notebooks().glob("[0-9]*.ipynb"))}


def find_notebook(name: str) -> Path:
    """The notebook of a runbook, by name, by file name or by number.

    Raises:
        ParamsError: there is none; the nearest name is given.
    """
    known = find_notebooks()
    wanted = slug_of(Path(name))
    for slug, path in known.items():
        if name in (slug, path.name, str(path), path.name.split("_")[0]) or wanted == slug:
            return path
    from runbook.params.loading import nearest  # late: pydantic is not needed to list runbooks

    hint = nearest(name, known) if known else "there is none at all."
    raise ParamsError(
        f"There is no runbook '{name}' in {layout.short(layout.notebooks())}; {hint}",
        next="runbook list",
    )


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook's JSON.

    Raises:
        ParamsError: not a notebook.
    """
    return parse_notebook(path.read_bytes(), layout.short(path))


def only_reads(content: Mapping[str, Any]) -> bool:
    """True for a runbook that changes nothing on its target (`metadata.runbook.only_reads`): it runs beside one that does."""
    return content.get("metadata", {}).get("runbook", {}).get("only_reads") is True


def parse_notebook(data: bytes, where: str) -> dict[str, Any]:
    """The notebook's JSON in these bytes.

    Raises:
        ParamsError: not a notebook.
    """
    try:
        content = json.loads(data)
        content["cells"][0]["cell_type"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as cause:
        raise ParamsError(f"{where} is not a notebook: {cause}.", next="runbook list") from cause
    assert isinstance(content, dict)
    return content


def source_of(cell: dict[str, Any]) -> str:
    """A cell's text, which nbformat keeps as one string or as lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def code_cells(content: dict[str, Any]) -> list[str]:
    return [source_of(cell) for cell in content["cells"] if cell["cell_type"] == "code"]


def strange_cells(executed: Iterable[str], content: dict[str, Any]) -> list[str]:
    """The executed cells that the notebook does not hold, but for the parameters that papermill puts in.

    >>> notebook = {"cells": [{"cell_type": "code", "source": "run.conclude()"}]}
    >>> strange_cells(["# Parameters\\nrows = 3\\n", "run.conclude()\\n", "run.conclude = print", "  "], notebook)
    ['run.conclude = print']
    """
    known = {source.strip() for source in code_cells(content)}
    return [cell for cell in executed if cell.strip() and cell.strip() not in known and not _is_injected(cell)]


def _is_injected(source: str) -> bool:
    tree = parse_cell(source) if source.startswith(INJECTED) and "\n%" not in source and "\n!" not in source else None
    if tree is None or not all(isinstance(node, ast.Assign) for node in tree.body):
        return False
    given = assigned_literals(source)
    return len(given) == len(tree.body) and all(value is not None for _, value, _ in given)


def hash_code(content: dict[str, Any]) -> str:
    """A fingerprint of the code cells and their tags; prose may change, what is done may not."""
    cells = [
        [source_of(cell), sorted(cell.get("metadata", {}).get("tags", []))]
        for cell in content["cells"]
        if cell["cell_type"] == "code"
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def title_of(content: dict[str, Any]) -> str:
    """The first H1, or an empty string."""
    for cell in content["cells"]:
        if cell["cell_type"] == "markdown":
            match = re.search(r"^# (.+)$", source_of(cell), re.MULTILINE)
            if match:
                return match[1].strip()
    return ""


def controls_of(content: dict[str, Any]) -> list[str]:
    """The controls that a PASS of this runbook satisfies: `metadata.runbook.controls`."""
    return [str(control) for control in content.get("metadata", {}).get("runbook", {}).get("controls", [])]


def parse_cell(source: str) -> ast.Module | None:
    """A code cell's syntax tree, IPython's magics left out; None when it does not parse."""
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n"))
    try:
        return ast.parse(plain)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def planned_steps(content: dict[str, Any]) -> list[str]:
    """The steps, questions and gates that the notebook means to come to, in order: the literals in `run.step("…"`, `run.ask("…"`,
    `run.gate("…"`."""
    return _planned(content, ("step", "ask", "gate"))


def planned_gates(content: dict[str, Any]) -> list[str]:
    """The questions and gates among them: no step behind one runs before it."""
    return _planned(content, ("ask", "gate"))


def _planned(content: dict[str, Any], methods: tuple[str, ...]) -> list[str]:
    steps: list[tuple[int, int, int, str]] = []
    for index, source in enumerate(code_cells(content)):
        tree = parse_cell(source)
        for node in ast.walk(tree) if tree is not None else ():
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in methods
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "run"
                and node.args
                and isinstance(node.args[0], ast.Constant)
                and isinstance(node.args[0].value, str)
            ):
                steps.append((index, node.lineno, node.col_offset, node.args[0].value))
    return list(dict.fromkeys(name for *_, name in sorted(steps)))


def assigned_literals(source: str) -> list[tuple[str, Any, int]]:
    """The `name = literal` lines of a cell: name, value, line."""
    tree = parse_cell(source)
    found: list[tuple[str, Any, int]] = []
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, value = node.target.id, node.value
        else:
            continue
        try:
            found.append((name, ast.literal_eval(value), node.lineno))
        except ValueError:
            found.append((name, None, node.lineno))
    return found


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


def split_help(comment: str) -> tuple[str, str | None]:
    """Help and unit from a parameter's comment: the unit is the word after the last comma.

    >>> split_help("longest wait for the replay, seconds")
    ('longest wait for the replay', 'seconds')
    >>> split_help("latest, an aware time, or '24 hours ago'")
    ("latest, an aware time, or '24 hours ago'", None)
    """
    text, comma, unit = comment.rpartition(",")
    unit = unit.strip()
    if comma and re.fullmatch(r"(?!or |and )[A-Za-z/%]+( [A-Za-z/%]+)?", unit):
        return text.strip(), unit
    return comment, None


def read_parameters(content: dict[str, Any], where: str) -> dict[str, Parameter]:
    """The parameters that a notebook declares, by name.

    Raises:
        ParamsError: no parameters cell, a default that is no literal, or no `target`.
    """
    tagged = [
        (number, source_of(cell))
        for number, cell in enumerate(content["cells"], start=1)
        if cell["cell_type"] == "code" and "parameters" in cell.get("metadata", {}).get("tags", [])
    ]
    if not tagged:
        raise ParamsError(f"{where} has no cell with the tag 'parameters'.", next="Tag its first code cell.")
    if len(tagged) > 1:  # papermill puts the given values behind the first one; a later one would set them back
        numbers = " and ".join(str(number) for number, _ in tagged)
        raise ParamsError(
            f"{where} has {len(tagged)} cells with the tag 'parameters' (cells {numbers}): given values would be set back.",
            next="Put all parameters into the first of them, and take the tag off the others.",
        )
    source = tagged[0][1]
    comments = _comments(source)
    declared: dict[str, Parameter] = {}
    for name, default, line in assigned_literals(source):
        if default is None:
            raise ParamsError(
                f"{where}, parameters cell, line {line}: the default of '{name}' is no literal with a type.",
                next='Write a literal: "text", 1, 1.5, True.',
            )
        declared[name] = Parameter(name, default, *split_help(comments.get(line, "")), line)
    if "target" not in declared:
        raise ParamsError(
            f"{where}: the parameters cell has no 'target'.",
            next='Add target = "sandbox"  # the system this is about, name of a params file',
        )
    return declared
