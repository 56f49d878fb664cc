"""What a notebook shows: tables and charts that read well in JupyterLab, in a terminal and in the archived report.

matplotlib is imported by notebooks that draw a chart only, and beside their other work: it takes a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook.report.tables import Table, checks_table, table

if TYPE_CHECKING:
    from runbook.report.charts import Chart, bar_chart, line_chart

__all__ = ["Chart", "Table", "bar_chart", "checks_table", "line_chart", "table"]


def __getattr__(name: str) -> Any:
    if name in ("Chart", "bar_chart", "line_chart"):
        from runbook.report import charts

        charts.load_beside()
        return getattr(charts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
