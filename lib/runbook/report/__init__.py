"""What a notebook shows: tables and charts that read well in JupyterLab, in a terminal and in the archived report.

matplotlib is imported when the first chart is drawn, so that a notebook without one does not pay for it.
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

        return getattr(charts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
