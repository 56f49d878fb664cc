"""The questions' part of the fold: what an operator was asked, and who answered what, when and why; and what a run remembers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

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


class QuestionFolding:
    """Handlers of questions, of what is remembered, and of undos; mixed into the fold."""

    attempt: int
    steps: dict[str, StepRecord]
    questions: dict[str, dict[str, Any]]

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.memory: dict[str, Any] = {}
        self.undos: dict[str, str] = {}

    def on_question_asked(self, event: Event, at: datetime) -> None:
        name = event["question"]
        self.questions[name] = {
            "id": name,
            "title": event["title"],
            "text": event["text"],
            "options": event["options"],
            "needs_value": event["needs_value"],
            "after": event["after"],
            "state": "waiting",
            "asked_at": event["at"],
            "reason": f"The question '{event['title']}' waits for an answer: {event['text']}",
            "next_command": event["next_command"],
        }
        self.steps[event["title"]] = StepRecord(
            name=event["title"], state=StepState.WAITING, started_at=at, attempt=self.attempt
        )

    def on_question_answered(self, event: Event, at: datetime) -> None:
        answer = Answer(
            event["question"], event["option"], event["value"], event["reason"], event["operator"], event["at"]
        )
        self.answers.setdefault(answer.question, []).append(answer)
        self.note_operator(event)

    def on_question_taken(self, event: Event, at: datetime) -> None:
        """The run goes on with the answer (or, in a dry run, without one)."""
        question = self.questions[event["question"]]
        question["state"] = event["state"]
        if event["state"] == "answered":
            question["answer"] = self.answers[event["question"]][event["index"]].facts()
        title = question["title"]
        self.steps[title] = self.steps[title].model_copy(
            update={"state": StepState.DONE, "ended_at": at, "seconds": 0.0, "reused": event["state"] == "answered"}
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
