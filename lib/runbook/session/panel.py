"""The gate's panel in JupyterLab: it writes the same records as `runbook approve`, and watches for theirs.

A cell cannot wait for a widget (ipywidgets #3145): the cell ends, the panel lives on, and says when to run the cell
again. An approval still needs a signature, so that the panel asks for a key and never for a click alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import ipywidgets

from runbook.errors import RunbookError
from runbook.gates.decision import Kind
from runbook.session import deciding, opengate
from runbook.session.gate import Gate, Passage, Stop, approve_command

_POLL_SECONDS = 2.0
#: A forgotten panel must not poll for ever.
_POLLS = 4 * 3600 / _POLL_SECONDS


class Panel:
    """Plan, status, the command for the second person, and the buttons."""

    def __init__(self, gate: Gate, folder: Path) -> None:
        self._gate, self._folder = gate, folder
        wide = ipywidgets.Layout(width="36em")
        self.status = ipywidgets.HTML()
        self.key = ipywidgets.Text(description="Key file", placeholder="~/.ssh/id_ed25519", layout=wide)
        self.comment = ipywidgets.Text(description="Comment", layout=wide)
        self.approve = ipywidgets.Button(description="Sign the approval")
        self.reject = ipywidgets.Button(description="Sign a rejection")
        self.name = ipywidgets.Text(description="Target", placeholder="type the target's name", layout=wide)
        self.confirm = ipywidgets.Button(description="Confirm the target")
        self.approve.on_click(lambda _: self.decide(Kind.APPROVAL))
        self.reject.on_click(lambda _: self.decide(Kind.REJECTION))
        self.confirm.on_click(lambda _: self.type_target())
        rows = [self.status, self.key, self.comment, ipywidgets.HBox([self.approve, self.reject])]
        if gate.typed is not None and gate.typed != gate.params.target:
            rows += [ipywidgets.HBox([self.name, self.confirm])]
        self.box = ipywidgets.VBox(rows)
        self.over = False
        self.task: asyncio.Task[None] | None = None  # a task that nobody holds may be collected
        self._seen: tuple[str, ...] | None = None

    def decide(self, kind: Kind) -> None:
        """The person at the keyboard has signed, or the panel says why that does not count."""
        try:
            key = Path(self.key.value).expanduser().absolute() if self.key.value.strip() else None
            opened = opengate.look_at(self._folder, self._gate.name)
            deciding.decide(opened, kind, key=key, comment=self.comment.value)
        except RunbookError as cause:
            self._say(str(cause), good=False)
            return
        self.refresh()

    def type_target(self) -> None:
        """The name that was typed is journaled when it is the target's."""
        try:
            deciding.type_target(self._folder, self._gate.name, self.name.value)
        except RunbookError as cause:
            self._say(str(cause), good=False)
            return
        self.refresh()

    def refresh(self) -> None:
        """The status is that of the decisions on the disk."""
        self._seen = self._files()
        found = self._gate.look(journal=False)  # what passes is journaled when the cell runs again
        if isinstance(found, Passage):
            self._end("The gate has passed. Run its cell again to go on.", good=True)
        elif found.rejected:
            self._end(found.reason, good=False)
        else:
            self._say(self._waiting(found), good=None)

    def _waiting(self, stop: Stop) -> str:
        run = self._folder.name
        command = approve_command(run, self._gate.name, self._gate.params)
        return f"{stop.reason}\nThe second person, in a terminal: {command}"

    def _end(self, text: str, *, good: bool) -> None:
        self._say(text, good=good)
        self.over = True
        for button in (self.approve, self.reject, self.confirm):
            button.disabled = True

    def _say(self, text: str, *, good: bool | None) -> None:
        from html import escape

        sign = {True: "✓", False: "✗", None: "…"}[good]
        self.status.value = f"<pre style='white-space:pre-wrap'>{sign} {escape(text)}</pre>"

    async def watch(self) -> None:
        """The status follows what others file, until the gate is decided."""
        polls = 0
        while not self.over and polls < _POLLS:
            await asyncio.sleep(_POLL_SECONDS)
            polls += 1
            if self._files() != self._seen:
                self.refresh()

    def _files(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._gate.files.path.iterdir()))


def open_panel(gate: Gate, folder: Path) -> Panel:
    """The panel is shown below the cell, and watches."""
    from IPython.display import Markdown, display

    panel = Panel(gate, folder)
    panel.refresh()
    display(Markdown(gate.plan.markdown()), panel.box)  # type: ignore[no-untyped-call]  # IPython is untyped
    panel.task = asyncio.get_event_loop().create_task(panel.watch())
    return panel
