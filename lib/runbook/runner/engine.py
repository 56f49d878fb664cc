"""`TruthfulEngine`: papermill's engine `runbook`, for `runbook run` and for `papermill --engine runbook`.

papermill loads this module by its entry point while papermill itself is still being imported, also when the engine is
not asked for: so nothing of papermill, and nothing slow, may be imported before the engine is used.
"""

from __future__ import annotations

from typing import Any


class TruthfulEngine:
    """Executes on a private kernel, stamps cells as they run, saves atomically and redacted."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, **kwargs: Any) -> Any:
        """The notebook has been executed as far as it went; see `TruthfulCells.execute_notebook`."""
        from runbook.runner.cells import TruthfulCells

        return TruthfulCells.execute_notebook(nb, kernel_name, **kwargs)

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """The kernel that the notebook names."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """The language that the notebook names."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))
