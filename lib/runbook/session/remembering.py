"""What `Run` keeps beyond an attempt: values, undos, and the answers of its operator."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from runbook.errors import ParamsError, RunWaiting
from runbook.redact import scrubber
from runbook.session.asking import Question
from runbook.session.fold import fold
from runbook.session.gate import show_text
from runbook.session.journal import Journal
from runbook.session.questions import Answer
from runbook.session.state import RunState


class Remembering:
    """A part of `Run`: all of it is in the journal, so that nothing depends on a kernel that lives."""

    dir: Path
    parameters: dict[str, Any]
    _journal: Journal
    _closed_gates: list[str]
    _interactive: bool

    def state(self) -> RunState:
        """The run as its journal says now."""
        return fold(self._journal.events())

    def remember(self, name: str, value: Any) -> None:
        """The JSON value outlives this attempt.

        Raises:
            TypeError: the value is no JSON.
            ParamsError: it holds a secret.
        """
        text = json.dumps(value, allow_nan=False)
        if scrubber.holds(text):
            raise ParamsError(f"What was to be remembered as '{name}' holds a secret.", next="Keep its name instead.")
        self._journal.append("remembered", name=name, value=json.loads(text))

    def recall(self, name: str, default: Any = None) -> Any:
        """What was remembered last by that name, in any attempt."""
        return self.state().memory.get(name, default)

    def undo_first(self, act: str, undo: str) -> None:
        """Before an act: the journal says how it is taken back. Until `undone` says so, it stands in every report."""
        self._journal.append("undo-noted", act=act, undo=undo)

    def undone(self, act: str) -> None:
        """The act was taken back, or accepted for good. Safe twice."""
        if act in self.state().undos:
            self._journal.append("undone", act=act)

    def ask(
        self,
        title: str,
        question: str,
        options: Mapping[str, str] | None = None,
        *,
        given: str = "",
        needs_value: Collection[str] = (),
        after: int = 0,
        decides: bool = False,
    ) -> Answer | None:
        """What the operator decides here, journaled with who, when and why.

        Args:
            title: the same as the question's heading; written as a literal, so that no step after it runs before it.
            question: one sentence.
            options: what may be answered, with its meaning; None: a text.
            given: a notebook parameter that answers at once: `option`, `option: value`, or a text.
            needs_value: options that want a value.
            after: so many earlier answers are used up: the question is asked again.
            decides: the data's fate hangs on it: `given` counts only when every check so far has passed; else a person looks first.

        Returns:
            The answer; None in a dry run that nobody has answered.

        Raises:
            RunWaiting: nobody has answered, or what was given is no answer; `runbook answer` does, and `runbook resume` goes on.
        """
        self._refuse_after_end()
        self._refuse_behind_gate(title)
        asked = Question(self.dir, self._slug(title), title, question, options, needs_value, after)
        if title not in self._closed_gates:
            self._closed_gates.append(title)
        answer = asked.look(asked.open(asked.given_in_doubt(given) if decides else given))
        if answer is not None:
            self._closed_gates.remove(title)
            return answer
        if self.parameters.get("dry_run") is True:
            asked.preview()
            show_text(f"{asked.shown()}\n\nA dry run: the question was previewed, and nobody is asked.\n")
            self._closed_gates.remove(title)
            return None
        raise self._waiting(asked)

    def _waiting(self, asked: Question) -> RunWaiting:
        state = asked.state().questions[asked.name]
        show_text(f"{asked.shown()}\n\nNext: `{state['next_command']}`\n")
        if self._interactive:
            from runbook.session.answerpanel import open_answer_panel  # late: ipywidgets is for JupyterLab alone

            open_answer_panel(asked)
        else:
            self.run_cleanups()
        error = RunWaiting(state["reason"], next=state["next_command"])
        self._shorten(error)
        return error

    def answers(self, title: str) -> list[Answer]:
        """All answers to that question so far, over all attempts."""
        return list(self.state().answers.get(self._slug(title), ()))

    # -- what Run has

    def _refuse_after_end(self) -> None:
        raise NotImplementedError

    def _refuse_behind_gate(self, name: str) -> None:
        raise NotImplementedError

    def run_cleanups(self) -> None:
        """As in `Run`."""
        raise NotImplementedError

    @staticmethod
    def _slug(title: str) -> str:
        raise NotImplementedError

    @staticmethod
    def _shorten(error: BaseException) -> None:
        raise NotImplementedError
