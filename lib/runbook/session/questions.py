"""The questions' part of the fold: what an operator was asked, and who answered what, when and why; and what a run remembers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.model import StepRecord, StepState
from runbook.session.journal import Event

#: What people write about a question, perhaps hours after an attempt ended.
AFTERWARDS = {"question-answered"}


@dataclass(frozen=True)
class Answer:
    """What an operator decided. `option` is empty where the text alone is the answer; `value` goes with it."""

    question: str
    option: str
    value: str
    reason: str
    by: str
    at: str

    def facts(self) -> dict[str, str]:
        """For record and report."""
        return asdict(self)

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.option, self.value) if part)
        return said + (f" ({self.reason})" if self.reason else "")


def _waiting(event: Event) -> str:
    wanted = event["needs_value"]
    options = [f"{one} (with a value)" if one in wanted else one for one in event["options"] or ()]
    said = f"The question '{event['title']}' waits for an answer: {event['text']}"
    return said + (f" Answers: {', '.join(options)}." if options else "")


class QuestionFolding:
    """Handlers of questions, of what is remembered, and of undos; mixed into the fold."""

    attempt: int
    request: dict[str, Any]
    started_at: datetime | None
    steps: dict[str, StepRecord]
    questions: dict[str, dict[str, Any]]

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, list[Answer]] = {}
        self.memory: dict[str, Any] = {}
        self.undos: dict[str, str] = {}

    def on_question_asked(self, event: Event, at: datetime) -> None:
        name = event["question"]
        self.asked[name] = self.questions[name] = {
            "id": name,
            "title": event["title"],
            "text": event["text"],
            "options": event["options"],
            "needs_value": event["needs_value"],
            "after": event["after"],
            "state": "waiting",
            "asked_at": event["at"],
            "reason": _waiting(event),
            "next_command": event["next_command"],
        }
        self.steps[event["title"]] = StepRecord(
            name=event["title"], state=StepState.WAITING, started_at=at, attempt=self.attempt
        )

    def on_question_answered(self, event: Event, at: datetime) -> None:
        """The answer counts, unless another one to the same asking was filed first: two must not use up two askings."""
        self.note_operator(event)
        name = event["question"]
        given = self.answers.setdefault(name, [])
        if event.get("index", len(given)) != len(given):
            return
        answer = Answer(name, event["option"], event["value"], event["reason"], event["operator"], event["at"])
        given.append(answer)
        asked = self.questions.get(name)
        if asked is not None and asked["state"] == "waiting":
            asked["reason"] = f"The question '{asked['title']}' was answered by {answer.by}: {answer}."
            asked["next_command"] = f"runbook resume {self.request['run']}"

    def on_question_taken(self, event: Event, at: datetime) -> None:
        """The run goes on with the answer (or, in a dry run, without one)."""
        question = self.questions[event["question"]]
        question["state"] = event["state"]
        reused = False
        if event["state"] == "answered":
            answer = self.answers[event["question"]][event["index"]]
            question["answer"] = answer.facts()
            reused = self.started_at is not None and clock.parse(answer.at) < self.started_at
        title = question["title"]
        asked = event["state"] == "answered"
        update = {
            "state": StepState.DONE if asked else StepState.NOT_APPLICABLE,
            "ended_at": at,
            "seconds": 0.0,
            "reused": reused,
        }
        self.steps[title] = self.steps[title].model_copy(
            update=update if asked else {**update, "reason": "a dry run: nobody is asked"}
        )

    def on_remembered(self, event: Event, at: datetime) -> None:
        self.memory[event["name"]] = event["value"]

    def on_undo_noted(self, event: Event, at: datetime) -> None:
        self.undos[event["act"]] = event["undo"]

    def on_undone(self, event: Event, at: datetime) -> None:
        self.undos.pop(event["act"], None)

    def note_operator(self, event: Event) -> None:
        """Whoever answers works on the run."""
        raise NotImplementedError
