"""The contract of a notebook: its shape can be read without running it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from runbook import layout
from runbook.session import notebook as notebooks

NOTEBOOKS = sorted((layout.CHECKOUT / "notebooks").glob("*.ipynb"))
_SQL = re.compile(
    r"\b(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from|create\s+table|alter\s)", re.I | re.S
)


def problems(content: Any) -> list[str]:
    """What is wrong with a notebook's shape."""
    found = [f"{cell['id']}: {problem}" for cell in content.cells for problem in cell_problems(cell)]
    code = [cell for cell in content.cells if cell.cell_type == "code"]
    first = content.cells[0]
    if first.cell_type != "markdown" or not re.match(r"# \d\d · .+", first.source):
        found.append("the first cell has no H1 'NN · what it answers or does'")
    if "parameters" not in code[0].metadata.get("tags", []):
        found.append("the first code cell is not tagged 'parameters'")
    else:
        declared = notebooks.read_parameters(content, "notebook")
        found += [f"parameter {one.name} has no help" for one in declared.values() if not one.help]
        if declared["target"].default != "sandbox":
            found.append("the default target is not the sandbox")
    if "run.conclude()" not in code[-1].source:
        found.append("the last code cell does not conclude")
    headings = re.findall(r"^## (.+)$", "\n".join(c.source for c in content.cells if c.cell_type == "markdown"), re.M)
    steps = notebooks.planned_steps(content)
    if [heading.strip() for heading in headings if heading.strip() != "Conclude"] != steps:
        found.append(f"headings {headings} are not the steps {steps}")
    ids = [cell.get("id") for cell in content.cells]
    if None in ids or len(set(ids)) != len(ids):
        found.append("cell ids are missing or stand twice")
    return found


def cell_problems(cell: Any) -> list[str]:
    if cell.cell_type != "code":
        return ["random id"] if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell["id"]) else []
    found = []
    if cell.outputs or cell.execution_count is not None:
        found.append("has outputs")
    if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell["id"]):
        found.append("random id")
    if len(cell.source.splitlines()) > 15:
        found.append("more than 15 lines")
    if "raises-exception" in cell.metadata.get("tags", []):
        found.append("later cells would run after its failure")
    tree = ast.parse(cell.source)
    if any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in ast.walk(tree)):
        found.append("def or class")
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    if any(_SQL.search(text) for text in texts):
        found.append("SQL")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_keeps_its_contract(path: Path) -> None:
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert problems(content) == []


def test_there_are_notebooks_to_check() -> None:
    assert NOTEBOOKS


def good() -> Any:
    content = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell('target = "sandbox"  # the system', id="parameters")
    parameters.metadata["tags"] = ["parameters"]
    content.cells = [
        nbformat.v4.new_markdown_cell("# 01 · Look", id="title"),
        parameters,
        nbformat.v4.new_markdown_cell("## Look at it", id="look-why"),
        nbformat.v4.new_code_cell('run.step("Look at it", look)', id="look"),
        nbformat.v4.new_code_cell("run.conclude()", id="conclude"),
    ]
    return content


def test_question_is_a_planned_step_under_its_heading() -> None:
    content = good()
    content.cells[4:4] = [
        nbformat.v4.new_markdown_cell("## Choose the way", id="choose-why"),
        nbformat.v4.new_code_cell('way = run.ask("Choose the way", "Which?", WAYS)', id="choose"),
    ]
    assert problems(content) == []
    content.cells[4].source = "## Choose"
    assert any("are not the steps" in problem for problem in problems(content))


@pytest.mark.parametrize(
    ("cell", "change", "says"),
    [
        (0, {"source": "# Look"}, "H1"),
        (1, {"source": "target = 'production'  # x"}, "not the sandbox"),
        (1, {"source": "target = 'sandbox'"}, "no help"),
        (2, {"source": "## Look elsewhere"}, "are not the steps"),
        (3, {"source": "def f(): return 1"}, "def or class"),
        (3, {"source": "x = 'select a from b'"}, "SQL"),
        (3, {"source": "\n".join(["1"] * 16)}, "15 lines"),
        (3, {"execution_count": 1}, "has outputs"),
        (3, {"id": "1f2e3d4c"}, "random id"),
        (3, {"metadata": {"tags": ["raises-exception"]}}, "after its failure"),
        (4, {"source": "1"}, "does not conclude"),
    ],
)
def test_broken_contract_is_seen(cell: int, change: dict[str, Any], says: str) -> None:
    content = good()
    assert problems(content) == []
    content.cells[cell].update(nbformat.from_dict(change))
    assert any(says in problem for problem in problems(content)), problems(content)
