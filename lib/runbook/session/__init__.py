"""What a notebook calls: a run with steps, checks, measures, facts and a verdict.

`open_run` is loaded on first use, so that a command which only reads journals starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook.session.opening import open_run
    from runbook.session.run import Run

__all__ = ["Run", "open_run"]


def __getattr__(name: str) -> Any:
    if name == "open_run":
        from runbook.session.opening import open_run

        return open_run
    if name == "Run":
        from runbook.session.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
