"""The executed notebook as a part of the report: nbconvert with a template of ours, cleaned as a whole at the end."""

from __future__ import annotations

import functools
from html import escape
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from runbook.clock import human_seconds
from runbook.report.markdown import HeadingAddresses, markdown_html
from runbook.report.outputs import output_html
from runbook.report.sanitise import clean_notebook

TEMPLATES = Path(__file__).parent / "templates"

#: State of a cell → the words shown, and whether they are to stand out.
_STATES = {
    "done": ("done", False),
    "failed": ("FAILED", True),
    "interrupted": ("INTERRUPTED", True),
    "not run": ("NOT RUN", True),
}


def cell_state(cell: NotebookNode) -> tuple[str, bool]:
    """The words for a cell's state, and whether it is bad.

    The runner's stamp decides. Without it (a notebook from elsewhere) a cell with an error failed, and one without
    an execution count did not run: tools that stamp it `completed` are not believed.
    """
    state = cell.metadata.get("runbook", {}).get("state")
    if state not in _STATES:
        if any(output.output_type == "error" for output in cell.outputs):
            state = "failed"
        else:
            state = "done" if cell.get("execution_count") is not None else "not run"
    return _STATES[state]


def cells_not_run(nb: NotebookNode) -> int:
    """How many code cells with anything in them did not run."""
    return sum(
        cell.cell_type == "code" and bool(cell.source.strip()) and cell_state(cell)[0] == "NOT RUN" for cell in nb.cells
    )


def notebook_html(executed: NotebookNode) -> str:
    """Safe HTML of an executed notebook: every step with its outputs, its code folded away.

    Same notebook, same versions → same bytes.
    """
    body, _ = _Page().exporter().from_notebook_node(executed)
    return clean_notebook(body)


class _Page:
    """What rendering remembers from cell to cell: addresses given, and the step it is in."""

    def __init__(self) -> None:
        self._addresses = HeadingAddresses()
        self._step = "before the first step"
        self._cell = 0

    def exporter(self) -> Any:
        from nbconvert.exporters.templateexporter import TemplateExporter
        from traitlets.config import Config

        # TemplateExporter and not HTMLExporter: the latter brings IPython's lexers, parses the page once more and
        # numbers pictures as "No description has been provided".
        config = Config({"TemplateExporter": {"extra_template_basedirs": [str(TEMPLATES)]}})
        untyped: Any = TemplateExporter
        exporter = untyped(config=config, template_name="notebook", template_file="index.html.j2")
        exporter.register_filter("markdown_cell", self._markdown_cell)
        exporter.register_filter("code_cell", self._code_cell)
        return exporter

    def _markdown_cell(self, cell: NotebookNode) -> str:
        for line in cell.source.splitlines():
            if line.startswith("#"):
                self._step = line.lstrip("# ").strip()
        html = self._addresses.add(markdown_html(cell.source, cell.get("attachments")))
        return f'<div class="markdown">{html}</div>'

    def _code_cell(self, cell: NotebookNode) -> str:
        if not cell.source.strip() and not cell.outputs:
            return ""
        self._cell += 1
        words, is_bad = cell_state(cell)
        seconds = cell.metadata.get("runbook", {}).get("seconds")
        took = f'<span class="took">{human_seconds(seconds)}</span>' if isinstance(seconds, (int, float)) else ""
        lines = len(cell.source.strip().splitlines())
        outputs = "".join(output_html(output, self._step) for output in cell.outputs)
        return (
            f'<div class="cell{" cell-bad" if is_bad else ""}" id="cell-{self._cell}"><div class="cell-head">'
            f'<span class="state state-{"bad" if is_bad else "ok"}">{words}</span>{took}</div>'
            f'<details class="code"><summary>Code, {lines} {"line" if lines == 1 else "lines"}'
            f"</summary>{highlighted(cell.source)}</details>{outputs}</div>"
        )


@functools.cache
def _highlighter() -> tuple[Any, Any]:
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    return PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)


def highlighted(source: str) -> str:
    """Python source with a class on each token."""
    from pygments import highlight

    lexer, formatter = _highlighter()
    code = highlight(source.strip("\n"), lexer, formatter) if source.strip() else escape(source)
    return f'<pre class="highlight" role="group" tabindex="0" aria-label="Code">{code}</pre>'
