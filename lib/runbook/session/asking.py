"""Questions that a run puts to its operator, and how they are answered: by a parameter, by `runbook answer`, or in JupyterLab.

An answer is journaled with who gave it, when and why; the run goes on with it in the next attempt. No signature is asked
for: what has to be approved by others is a gate.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from runbook.errors import OperatorError, ParamsError
from runbook.model import Status
from runbook.params.loading import nearest
from runbook.redact import looks_like_secret, scrubber
from runbook.session import identity
from runbook.session.fold import fold
from runbook.session.journal import Event, Journal, read_events
from runbook.session.questions import Answer
from runbook.session.request import JOURNAL
from runbook.session.state import RunState

#: Words of `answer_command` that are to be replaced.
_PLACEHOLDERS = ("TEXT", "VALUE", "WHY")


class Question:
    """One question of one run.

    Args:
        text: what is asked, one sentence.
        options: what may be answered, each with its meaning; None: free text.
        needs_value: options that say nothing without a value.
        after: so many earlier answers are used up.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        title: str,
        text: str,
        options: Mapping[str, str] | None,
        needs_value: Collection[str] = (),
        after: int = 0,
    ) -> None:
        self.folder, self.name, self.title, self.text = folder, name, title, text
        self.options = dict(options) if options is not None else None
        self.needs_value, self.after = tuple(needs_value), after
        self._journal = Journal(folder / JOURNAL)

    def state(self) -> RunState:
        return fold(read_events(self.folder / JOURNAL))

    def given_in_doubt(self, given: str) -> str:
        """What was given, when every check of this attempt has passed; else nothing, and the question says why."""
        doubts = [check.title for check in self.state().checks if check.status is not Status.PASS]
        if given.strip() and doubts:
            self.text += f" What was given is not taken: {len(doubts)} of the checks did not pass, first '{doubts[0]}'."
            return ""
        return given

    def open(self, given: str = "") -> str:
        """The journal says that an answer is wanted; what was given is returned, when it is one.

        Parameters of a run do not change: a wrong one must leave a way to answer.
        """
        given = given.strip()
        if given:
            try:
                split_given(given, self.options, self.needs_value, self.title)
            except ParamsError as cause:
                given = ""
                self.text += f" What was given is none: {cause.message}"
        self._journal.append(
            "question-asked",
            question=self.name,
            title=self.title,
            text=self.text,
            options=self.options,
            needs_value=list(self.needs_value),
            after=self.after,
            next_command=answer_command(self.folder.name, self.name, self.options, self.needs_value),
        )
        return given

    def look(self, given: str = "") -> Answer | None:
        """The answer that counts, or None. `given` answers at once, when nobody has answered yet."""
        found = self.state().answers.get(self.name, ())
        if len(found) <= self.after and given and not self.after:
            option, value = split_given(given, self.options, self.needs_value, self.title)
            file_answer(self.folder, self.name, option, value, "given as a parameter of the run")
            found = self.state().answers.get(self.name, ())
        if len(found) <= self.after:
            return None
        index = len(found) - 1
        self._journal.append("question-taken", question=self.name, state="answered", index=index)
        return found[index]

    def preview(self) -> None:
        """A dry run goes on without an answer."""
        self._journal.append("question-taken", question=self.name, state="previewed")

    def shown(self) -> str:
        """The question for people, in Markdown."""
        lines = [f"**{self.text}**", ""]
        for option, meaning in (self.options or {}).items():
            lines.append(f"- `{option}`: {meaning}")
        return "\n".join(lines)


def answer_command(run: str, name: str, options: Mapping[str, str] | None, needs_value: Collection[str] = ()) -> str:
    """The command by which the operator answers. Pasted as it is, it answers nothing: a shell would take `swap|back` for a
    pipe, and the first option for the answer.

    >>> answer_command("R", "choose-the-way", {"promote": "…", "later": "…"}, ["later"])
    'runbook answer R choose-the-way OPTION [--value VALUE] --reason WHY'
    >>> answer_command("R", "why", None)
    'runbook answer R why --value TEXT'
    """
    if options is None:
        return f"runbook answer {shlex.quote(run)} {name} --value TEXT"
    value = " [--value VALUE]" if needs_value else ""
    return f"runbook answer {shlex.quote(run)} {name} OPTION{value} --reason WHY"


def split_given(
    given: str, options: Mapping[str, str] | None, needs_value: Collection[str], title: str
) -> tuple[str, str]:
    """Option and value from a parameter: `option`, `option: value`, or a text where no options are.

    >>> split_given("later: 0/5000", {"promote": "", "later": ""}, ["later"], "Way"), split_given("why not", None, [], "Why")
    (('later', '0/5000'), ('', 'why not'))

    Raises:
        ParamsError: it is none of the options, or lacks its value.
    """
    if options is None:
        return "", given.strip()
    option, _, value = (part.strip() for part in given.partition(":"))
    _check(option, value, options, needs_value, title)
    return option, value


def _check(
    option: str, value: str, options: Mapping[str, str] | None, needs_value: Collection[str], title: str
) -> None:
    if options is None:
        if option or not value:
            raise ParamsError(f"The question '{title}' wants a text.", next="Give it with --value TEXT.")
        return
    if option not in options:
        raise ParamsError(
            f"'{option}' is no answer to '{title}'; {nearest(option, list(options))}",
            next="Answer one of " + ", ".join(options) + ".",
        )
    if option in needs_value and not value:
        raise ParamsError(f"The answer '{option}' to '{title}' wants a value.", next="Give it with --value VALUE.")


def file_answer(folder: Path, question: str, option: str, value: str, reason: str) -> RunState:
    """The answer is journaled; the state after it. No lock is taken; of two at once the first counts.

    Raises:
        ParamsError: no such question or answer.
        OperatorError: the run does not wait for it, or the answer holds a secret.
    """
    if any(looks_like_secret(text) or scrubber.holds(text) for text in (question, option, value, reason)):
        raise OperatorError(
            "The answer holds what looks like a secret; it would be kept for good.", next="Answer without it."
        )
    journal = Journal(folder / JOURNAL)
    state = fold(journal.events())
    asked = _waiting_question(state, question)
    _check(option, value, asked["options"], asked["needs_value"], asked["title"])
    if value in _PLACEHOLDERS or reason in _PLACEHOLDERS:
        raise ParamsError("The answer still holds a placeholder.", next="Put your own words for TEXT, VALUE and WHY.")
    index = len(state.answers.get(question, ()))
    mine = journal.append(
        "question-answered",
        question=question,
        index=index,
        option=option,
        value=value,
        reason=reason,
        **identity.at_work().facts,
    )
    events = journal.events()
    after = fold(events)
    if any(_files(one, question, index) and one["n"] < mine["n"] for one in events):
        raise _answered_already(after, question)
    return after


def _files(event: Event, question: str, index: int) -> bool:
    return event["event"] == "question-answered" and (event["question"], event["index"]) == (question, index)


def _waiting_question(state: RunState, question: str) -> dict[str, Any]:
    """The question, which waits for its answer."""
    run = state.run
    if state.aborted is not None:
        raise OperatorError(f"The run {run} was aborted: there is nothing to answer.", next=state.request["command"])
    if question not in state.asked:
        known = list(state.asked)
        hint = nearest(question, known) if known else "it has asked nothing yet."
        raise ParamsError(f"The run {run} has no question '{question}'; {hint}", next=f"runbook status {run}")
    asked = state.questions.get(question)
    if asked is None or asked["state"] != "waiting":
        stands = f"it is {asked['state']}" if asked is not None else "this attempt has not come to it"
        raise OperatorError(
            f"The question '{question}' of run {run} waits for no answer: {stands}.", next=f"runbook status {run}"
        )
    if len(state.answers.get(question, ())) > asked["after"]:
        raise _answered_already(state, question)
    return asked


def _answered_already(state: RunState, question: str) -> OperatorError:
    answer = state.answers[question][-1]
    return OperatorError(
        f"The question '{question}' of run {state.run} has been answered already, by {answer.by}: {answer}.",
        next=f"runbook resume {state.run}",
    )
