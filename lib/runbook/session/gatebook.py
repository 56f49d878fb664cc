"""The gates' part of the fold: which plan was asked for, who decided what, what has passed, and what was begun on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.model import StepRecord, StepState
from runbook.session.journal import Event

#: What people write about a gate, perhaps hours after an attempt ended.
AFTERWARDS = {"gate-decision", "gate-countersigned", "target-typed", "claim-refused"}


#: Claims by the event that makes them.
_CLAIMS = {
    "gate-passed": "the gate '{title}' has passed",
    "gate-previewed": "the gate '{title}' was previewed",
    "gate-waiting": "the gate '{title}' has approvals and waits",
    "gate-rejected": "the gate '{title}' was rejected",
    "gate-countersigned": "{who} has countersigned the gate '{title}'",
}
#: Without them a gate is as it was: nothing went on because of them.
_GIVES_NO_RIGHT = {"gate-countersigned", "gate-waiting"}


@dataclass(frozen=True)
class GateBook:
    """What is known of a gate over all attempts of the run.

    `plan` is the hash of the plan asked for last, `passed_at` when that plan passed, None when it has not.
    `begun` says that something was done on it since, so that it may be finished when its approvals have expired.
    """

    id: str
    title: str
    plan: str
    needed: int
    opened_at: datetime
    passed_at: datetime | None = None
    begun: bool = False
    typed: bool = False
    journaled: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Glass:
    """A plan that was once passed by break-glass: it stays known, whatever plan was approved afterwards.

    `said` is the operator's record, `countersigns` those of the people who have looked at it since.
    """

    gate: str
    title: str
    plan: str
    needed: int
    said: dict[str, Any]
    next_command: str
    countersigns: tuple[dict[str, Any], ...] = ()

    @property
    def is_open(self) -> bool:
        """True while too few others have countersigned."""
        return len(self.countersigns) < self.needed

    def limitation(self) -> str:
        """What stands at the top of the report."""
        people = ", ".join(one["principal"] for one in self.countersigns)
        then = f"countersigned by {people}" if people else "nobody has countersigned it"
        if people and self.is_open:
            then += f", {self.needed - len(self.countersigns)} more wanted"
        return (
            f"BREAK-GLASS: {self.said['principal']} passed the gate '{self.title}' alone at {self.said['at']}: "
            f"{self.said['comment']}; {then}."
        )


class GateFolding:
    """Handlers of the gates' events; mixed into the fold."""

    attempt: int
    gates: dict[str, dict[str, Any]]
    steps: dict[str, StepRecord]

    def __init__(self) -> None:
        self.book: dict[str, GateBook] = {}
        self.operators: dict[str, None] = {}
        self.glasses: dict[tuple[str, str], Glass] = {}
        #: What the journal says and no signed file bears out, of the whole run.
        self.refused: dict[str, None] = {}
        #: What made it doubtful whose keys count, when somebody countersigned.
        self.signer_limits: dict[str, None] = {}

    def note_operator(self, event: Event) -> None:
        """Whoever worked on the run is one of its operators, under every name that they have or claim."""
        for name in (event.get("operator"), *event.get("operator_names", ())):
            if name:
                self.operators[name] = None

    def begin_what_passed(self) -> None:
        """Something that cannot be taken back is done: on every plan that has passed in this attempt."""
        for name, gate in self.gates.items():
            if gate["state"] == "passed":
                self.book[name] = replace(self.book[name], begun=True)

    def on_gate_opened(self, event: Event, at: datetime) -> None:
        name, plan = event["gate"], event["plan"]
        before = self.book.get(name)
        if before is not None and before.plan == plan:
            self.book[name] = replace(before, needed=event["needed"])
        else:
            self.book[name] = GateBook(name, event["title"], plan, event["needed"], at)
        self.gates[name] = {
            "id": name,
            "title": event["title"],
            "state": "waiting",
            "plan_sha256": plan,
            "plan": event["content"],
            "needed": event["needed"],
            "opened_at": event["at"],
            "replaces_plan": event.get("replaces"),
            "approvals": [],
            "void": [],
        }
        self.steps[event["title"]] = StepRecord(
            name=event["title"], state=StepState.WAITING, started_at=at, attempt=self.attempt
        )

    def on_gate_waiting(self, event: Event, at: datetime) -> None:
        self.gates[event["gate"]].update(
            reason=event["reason"],
            next_command=event["next_command"],
            approvals=event["approvals"],
            void=event["void"],
            wants_target=event["wants_target"],
        )

    def on_gate_passed(self, event: Event, at: datetime) -> None:
        name = event["gate"]
        passed_at = clock.parse(event["passed_at"])
        book = self.book[name] = replace(self.book[name], passed_at=passed_at)
        if event["break_glass"]:
            glass = Glass(name, book.title, book.plan, book.needed, event["break_glass"], event["next_command"])
            self.glasses.setdefault((name, book.plan), glass)
        self.gates[name].update(
            state="passed",
            decided_at=event["passed_at"],
            approvals=event["approvals"],
            void=event["void"],
            break_glass=event["break_glass"],
            reused=event["reused"],
            signers_sha256=event["signers_sha256"],
            target_typed=event["target_typed"],
        )
        self._settle_gate(name, at, StepState.DONE, reused=event["reused"])

    def on_gate_previewed(self, event: Event, at: datetime) -> None:
        self.gates[event["gate"]].update(state="previewed", decided_at=event["at"])
        self._settle_gate(
            event["gate"], at, StepState.NOT_APPLICABLE, reason="a dry run: the plan was shown, nobody is asked"
        )

    def on_gate_rejected(self, event: Event, at: datetime) -> None:
        self.gates[event["gate"]].update(
            state="rejected",
            decided_at=event["at"],
            rejection=event["rejection"],
            reason=event["reason"],
            next_command=event["next_command"],
            void=event["void"],
        )
        self._settle_gate(event["gate"], at, StepState.FAILED, reason=event["reason"], next=event["next_command"])

    def _settle_gate(self, name: str, at: datetime, state: StepState, **more: Any) -> None:
        title = self.gates[name]["title"]
        before = self.steps[title]
        seconds = round((at - before.started_at).total_seconds(), 3) if before.started_at else None
        self.steps[title] = before.model_copy(update={"state": state, "ended_at": at, "seconds": seconds, **more})

    def on_gate_decision(self, event: Event, at: datetime) -> None:
        if event["decision"] != "break-glass":
            return
        self.note_operator(event)
        book = self.book[event["gate"]]
        self.book[event["gate"]] = replace(book, journaled=book.journaled | {event["sha256"]})

    def on_gate_countersigned(self, event: Event, at: datetime) -> None:
        glass = self.glasses[event["gate"], event["plan"]]
        signed = {key: event[key] for key in ("principal", "key", "comment", "file", "record")}
        signed["at"] = event["signed_at"]
        self.glasses[glass.gate, glass.plan] = replace(glass, countersigns=(*glass.countersigns, signed))
        self.signer_limits.update(dict.fromkeys(event.get("limits", ())))

    def on_claim_refused(self, event: Event, at: datetime) -> None:
        """Somebody is said to have decided, and nothing that they signed says so: it gives no right, and is shown."""
        what = _CLAIMS[event["claim"]].format(who=event.get("who") or "somebody", title=event["title"])
        text = f"NOT BORNE OUT: the journal (line {event['n']}) says that {what}, but {event['why']}."
        self.refused[text] = None
        if event["claim"] in _GIVES_NO_RIGHT:
            return
        self.note_unproven(text)
        name = event["gate"]
        if name in self.gates and self.gates[name]["title"] in self.steps:
            self.gates[name].update(state="unproven", reason=text)
            self._settle_gate(name, at, StepState.FAILED, reason=text)

    def refuse_bypassed(self, planned: Iterable[str], questions: Iterable[str]) -> None:
        """A gate or question of the notebook that is done as a mere step was not asked: a line says so, and nobody was."""
        asked = {gate["title"] for gate in self.gates.values()} | set(questions)
        for title in planned:
            step = self.steps.get(title)
            if step is not None and step.state in (StepState.DONE, StepState.NOT_APPLICABLE) and title not in asked:
                text = f"NOT BORNE OUT: the journal says that '{title}' is done, but neither a gate nor a question was opened for it."
                self.refused[text] = None
                self.note_unproven(text)

    def note_unproven(self, text: str) -> None:
        """The attempt went on without a right that it claims: it cannot PASS."""
        raise NotImplementedError

    def on_target_typed(self, event: Event, at: datetime) -> None:
        self.note_operator(event)
        book = self.book[event["gate"]]
        if event["plan"] == book.plan:
            self.book[event["gate"]] = replace(book, typed=True)

    def settled_gates(self) -> tuple[dict[str, Any], ...]:
        """The gates of this attempt, with what was countersigned since."""
        found = []
        for name, gate in self.gates.items():
            glass = self.glasses.get((name, gate["plan_sha256"])) if gate.get("break_glass") else None
            if glass is not None:
                gate = {**gate, "countersigned": list(glass.countersigns), "wants_countersigning": glass.is_open}
            found.append(gate)
        return tuple(found)
