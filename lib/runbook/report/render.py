"""The archived report: one HTML file, derived from run.json first and from the executed notebook second.

No script, no request, the same bytes for the same record and notebook. Everything from the record is escaped by
the template; everything from the notebook has passed `sanitise.clean_notebook`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from runbook.model import RunRecord, StepState
from runbook.report import view
from runbook.report.gates import gate_view
from runbook.report.markdown import slug
from runbook.report.notebook import TEMPLATES, cells_not_run, notebook_html
from runbook.report.tables import SIGNS
from runbook.report.values import amount_text, number_text, text_of, time_text, visible
from runbook.texts import LONGEST, cut

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Sources other than the page itself are refused by the browser, even if something should slip through.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: cut(value, LONGEST) if type(value) is str else value,  # Markup is ours, and whole
    )
    environment.filters.update(
        amount=amount_text, number=number_text, shown=text_of, slug=slug, time=time_text, flattened=view.flattened
    )
    return environment.get_template("page.html.j2")


@functools.cache
def _styles() -> Markup:
    # Our own file; it holds no `<`.
    return Markup((TEMPLATES / "page" / "report.css").read_text("utf-8"))  # noqa: S704


def render_report(record: RunRecord, executed: NotebookNode, statements: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report as one HTML document.

    Args:
        record: what happened; verdict, checks and all facts come from it alone.
        executed: the executed notebook (nbformat 4), already redacted.
        statements: what the run asked of servers, the lines of its statements.jsonl.
    """
    not_run = cells_not_run(executed)
    # Last, and over all of it: whatever came from a database, a log or a person, nothing in the page hides or turns.
    return visible(
        _template().render(
            record=record,
            policy=POLICY,
            styles=_styles(),
            sign=SIGNS,
            meaning=view.meaning(record),
            key_facts=view.key_facts(record),
            account=view.account_rows(record),
            measures=view.measure_rows(record),
            checks=view.checks_by_status(record),
            findings=view.all_findings(record),
            not_run=view.steps_not_run(record),
            cells_not_run=not_run,
            provenance=view.provenance(record, not_run),
            gates=[gate_view(gate) for gate in record.gates],
            facts=view.flattened(record.facts) if record.facts else [],
            parameters=view.flattened(record.parameters) if record.parameters else [],
            done=StepState.DONE,
            statements=view.statements_by_step(statements),
            notebook=Markup(notebook_html(executed)),  # noqa: S704 - cleaned
        )
        + "\n"
    )
