"""A question's panel in JupyterLab: it files the same answer as `runbook answer`."""

from __future__ import annotations

import ipywidgets

from runbook.errors import RunbookError
from runbook.session.asking import Question, file_answer


class AnswerPanel:
    """The options, a value, a reason, and a button; it says what was filed and which cell to run next."""

    def __init__(self, asked: Question) -> None:
        self._asked = asked
        wide = ipywidgets.Layout(width="36em")
        self.status = ipywidgets.HTML()
        self.option = ipywidgets.Dropdown(options=["", *(asked.options or {})], description="Answer", layout=wide)
        self.value = ipywidgets.Text(description="Value" if asked.options else "Text", layout=wide)
        self.reason = ipywidgets.Text(description="Reason", layout=wide)
        self.button = ipywidgets.Button(description="Record the answer")
        self.button.on_click(lambda _: self.file())
        rows = [self.option] if asked.options else []
        self.box = ipywidgets.VBox([*rows, self.value, self.reason, self.button, self.status])

    def file(self) -> None:
        """The answer is journaled, or the panel says why not."""
        asked = self._asked
        option = str(self.option.value) if asked.options else ""
        try:
            file_answer(asked.folder, asked.name, option, self.value.value.strip(), self.reason.value.strip())
        except RunbookError as cause:
            self.status.value = _escaped(str(cause))
            return
        self.button.disabled = True
        self.status.value = "Recorded. Run this cell again to go on."


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def open_answer_panel(asked: Question) -> AnswerPanel:
    """The panel stands below the cell."""
    from IPython.display import display

    panel = AnswerPanel(asked)
    display(panel.box)  # type: ignore[no-untyped-call]  # IPython is untyped
    return panel
