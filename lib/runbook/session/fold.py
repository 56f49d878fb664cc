"""`fold(events) → RunState`: state, verdict, reason, exit code and next command are functions of the journal alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.errors import ParamsError, PlatformError
from runbook.model import Check, Measure, Status, StepRecord, StepState
from runbook.session import cellbook, gatebook, pagebook, questions
from runbook.session.journal import Event
from runbook.session.state import OnceState, Problem, RunState
from runbook.session.verdict import judge
from runbook.texts import LONGEST, cut

_WORSE = {Status.PASS: 0, Status.UNKNOWN: 1, Status.FAIL: 2}


#: What is written about an attempt by others, perhaps hours after it ended.
_AFTERWARDS = (
    {"attempt-ended", "attempt-closed", "notified", "aborted", "step-redo", "change-accepted"}
    | gatebook.AFTERWARDS
    | questions.AFTERWARDS
    | pagebook.AFTERWARDS
)


class _Folding(gatebook.GateFolding, questions.QuestionFolding, pagebook.PageFolding, cellbook.CellFolding):
    """What is known after the events so far."""

    def __init__(self) -> None:
        gatebook.GateFolding.__init__(self)
        questions.QuestionFolding.__init__(self)
        pagebook.PageFolding.__init__(self)
        cellbook.CellFolding.__init__(self)
        self.request: dict[str, Any] = {}
        self.once: dict[str, OnceState] = {}
        self.records: list[str] = []
        self.scratch: dict[str, None] = {}
        self.effects: str | None = None
        self.way_on: str | None = None
        self.aborted: str | None = None
        self.accepted: list[dict[str, Any]] = []
        self.executed_at: str | None = None
        self.last_at: datetime | None = None
        self.sitting: dict[str, Any] = {}
        self.begin({"attempt": 0, "planned": []}, None)

    def begin(self, sitting: dict[str, Any], at: datetime | None) -> None:
        """A new attempt sees everything anew, but for what must happen once.

        One that `continues` the attempt before (to archive that a person has countersigned it) sees nothing anew.
        """
        self.attempt = int(sitting["attempt"])
        if sitting.get("continues"):
            operator = {name: value for name, value in self.sitting.items() if name.startswith("operator")}
            self.sitting = {**self.sitting, **sitting, "operator": None, **operator}
            self.ended = self.closed = False
            return
        self.sitting = sitting
        self.session: dict[str, Any] | None = None
        self.started_at = at
        self.steps = {
            name: StepRecord(name=name, state=StepState.NOT_RUN, attempt=self.attempt) for name in sitting["planned"]
        }
        self.checks: dict[str, Check] = {}
        self.measures: dict[str, Measure] = {}
        self.limits: dict[str, None] = {}
        self.reduced_scope = False
        self.facts: dict[str, Any] = {}
        self.target_facts: dict[str, Any] = {}
        self.gates: dict[str, dict[str, Any]] = {}
        self.questions: dict[str, dict[str, Any]] = {}
        self.problems: list[Problem] = []
        self.kept: dict[str, None] = {}
        self.concluded = self.ended = self.closed = False
        self.begin_cells(sitting)
        self.note_startup(sitting)

    def take(self, event: Event) -> None:
        name = str(event.get("event"))
        handler = getattr(self, "on_" + name.replace("-", "_"), None)
        if handler is None:
            raise PlatformError(
                f"The journal has an event '{name}' (line {event.get('n')}) that this version does not know.",
                next="Use the version of the library that wrote it.",
            )
        try:
            at = clock.parse(event["at"])
            if name not in _AFTERWARDS and event.get("kind") != "died" and not event.get("afterwards"):
                self.last_at = at
            handler(event, at)
        except (KeyError, TypeError, ValueError, AttributeError, ParamsError) as cause:
            raise PlatformError(
                f"The journal's line {event.get('n')} ('{name}') is none that this library writes: {cause!r}. Somebody or the "
                "disk changed it.",
                next="Restore journal.jsonl from a backup of the run's folder.",
            ) from cause

    def on_run_opened(self, event: Event, at: datetime) -> None:
        self.request = {key: value for key, value in event.items() if key not in ("n", "at", "event")}
        self.note_operator(event)

    def on_run_listed(self, event: Event, at: datetime) -> None:
        self.request["ledger_line"] = event["line"]

    def on_attempt_started(self, event: Event, at: datetime) -> None:
        if not event.get("continues"):
            self.note_operator(event)
        self.begin(event, at)

    def on_session_opened(self, event: Event, at: datetime) -> None:
        self.session = event
        self.records_cells = bool(event.get("records_cells"))
        self.note_startup(event)

    def note_startup(self, event: Event) -> None:
        """What Python executed before the library could have changed anything in it: no fingerprint covers that."""
        for path, digest in event.get("startup", {}).items():
            self.limits[f"Python executed {path} before the library (SHA-256 {digest})."] = None
            self.reduced_scope = True
        for module in event.get("foreign_bytecode", ()):
            self.limits[f"Python has byte code for {module} of the library that is not made from its source."] = None
            self.reduced_scope = True

    def on_notebook_at(self, event: Event, at: datetime) -> None:
        self.executed_at = event["path"]

    def on_cell_started(self, event: Event, at: datetime) -> None:
        self.take_cell_started(event, at, concluded=self.concluded)

    def on_step_started(self, event: Event, at: datetime) -> None:
        name = event["name"]
        self.steps[name] = StepRecord(
            name=name, state=StepState.RUNNING, started_at=at, once=event["once"], attempt=self.attempt
        )

    def _end_step(self, event: Event, at: datetime, state: StepState, **more: Any) -> None:
        before = self.steps[event["name"]]
        self.steps[event["name"]] = before.model_copy(
            update={"state": state, "ended_at": at, "seconds": event["seconds"], **more}
        )

    def on_step_done(self, event: Event, at: datetime) -> None:
        why = event.get("not_applicable")
        state = StepState.NOT_APPLICABLE if why else StepState.DONE
        self._end_step(event, at, state, reused=event["reused"], **({"reason": why} if why else {}))

    def on_step_failed(self, event: Event, at: datetime) -> None:
        self._end_step(event, at, StepState.FAILED, reason=event["message"], next=event.get("next_step"))

    def on_step_intent(self, event: Event, at: datetime) -> None:
        self.once[event["name"]] = OnceState(event["key"], done=False, attempt=self.attempt)
        self.begin_what_passed()

    def on_step_result(self, event: Event, at: datetime) -> None:
        self.once[event["name"]] = OnceState(event["key"], True, event["result"], self.attempt)

    def on_step_redo(self, event: Event, at: datetime) -> None:
        self.once.pop(event["name"], None)
        self.note_operator(event)

    def on_check(self, event: Event, at: datetime) -> None:
        check = Check.model_validate_json(json.dumps(event["check"]))
        before = self.checks.get(check.id)
        # Seen twice in one attempt, the worse counts: a FAIL is not talked away by trying again.
        if before is None or _WORSE[check.status] >= _WORSE[before.status]:
            self.checks[check.id] = check

    def on_measure(self, event: Event, at: datetime) -> None:
        measure = Measure.model_validate(event["measure"])
        self.measures[measure.name] = measure

    def on_limit(self, event: Event, at: datetime) -> None:
        self.limits[event["text"]] = None
        self.reduced_scope = self.reduced_scope or bool(event.get("reduces_scope"))

    def on_limit_lifted(self, event: Event, at: datetime) -> None:
        self.limits.pop(event["text"], None)

    def on_fact(self, event: Event, at: datetime) -> None:
        name, value = event["name"], event["value"]
        self.facts[name] = value
        paths = [str(path) for path in (value if isinstance(value, list) else [value])]
        if name == "scratch":
            self.scratch.update(dict.fromkeys(paths))
        elif name == "scratch_kept":
            self.kept.update(dict.fromkeys(paths))

    def on_notified(self, event: Event, at: datetime) -> None:
        self.facts["notified"] = event["hooks"]
        for hook in event["hooks"]:
            if not hook["ok"]:
                self.limits[f"The hook {hook['hook']} ({hook['what']}) failed: {hook['said']}"] = None

    def on_target_facts(self, event: Event, at: datetime) -> None:
        self.target_facts.update(event["facts"])

    def on_cleanup(self, event: Event, at: datetime) -> None:
        if event.get("error"):
            self.problems.append(
                Problem("cleanup", f"The cleanup '{event['name']}' failed: {event['error']}", event.get("next_step"))
            )

    def on_effects(self, event: Event, at: datetime) -> None:
        self.effects = event["what"] if event["pending"] else None
        self.way_on = event.get("next")
        if event["pending"]:
            self.begin_what_passed()

    def on_problem(self, event: Event, at: datetime) -> None:
        self.problems.append(Problem(event["kind"], event["reason"], event.get("next_step")))
        if event["kind"] == "unproven":
            self.refused[event["reason"]] = None  # it stays true of the run, also where the attempt waits

    def on_change_accepted(self, event: Event, at: datetime) -> None:
        self.accepted.append({key: event[key] for key in ("reason", "what", "now", "operator")})
        self.note_operator(event)

    def note_unproven(self, text: str) -> None:
        self.problems.append(Problem("unproven", text))

    def on_concluded(self, event: Event, at: datetime) -> None:
        self.concluded = True

    def on_attempt_ended(self, event: Event, at: datetime) -> None:
        self.ended = True

    def on_attempt_closed(self, event: Event, at: datetime) -> None:
        if event["attempt"] == self.attempt:
            self.closed = self.ended = True
        self.records.append(event["record"])

    def on_aborted(self, event: Event, at: datetime) -> None:
        self.aborted = event["reason"]
        self.effects = None


def fold(events: Iterable[Event]) -> RunState:
    """The state of a run after these events.

    Raises:
        PlatformError: there is no opening event, or one that this version does not know.
    """
    known = _Folding()
    for event in events:
        known.take(event)
    if not known.request:
        raise PlatformError("The journal does not begin with an opened run.", next="runbook doctor")
    titles = [str(one["title"]) for one in known.questions.values()]
    known.refuse_bypassed(known.sitting.get("planned_gates", ()), titles)
    steps = tuple(_settle(step, known) for step in known.steps.values())
    checks = tuple(known.checks.values())
    gates = known.settled_gates()
    glasses = tuple(known.glasses.values())
    over = [
        measure for measure in known.measures.values() if measure.budget is not None and measure.value > measure.budget
    ]
    limits = (
        *(glass.limitation() for glass in glasses),
        *known.refused,
        *{**known.limits, **known.signer_limits},
        *known.cell_limits(),
        *known.page_limits(),
        *map(_over_budget, over),
    )
    for change in known.accepted:
        limits += (f"Changed during the run ({', '.join(change['what'])}), accepted: {change['reason']}",)
    aborted = known.aborted
    if aborted is not None and known.undos:
        acts = "1 act was" if len(known.undos) == 1 else f"{len(known.undos)} acts were"
        aborted += f". {acts} not taken back; the record says how to"
    judgement = judge(
        request=known.request,
        steps=steps,
        checks=checks,
        gates=gates,
        questions=tuple(known.questions.values()),
        glasses=glasses,
        undos=known.undos,
        problems=tuple(known.problems),
        cells=known.cell_problems(ended=known.ended),
        concluded=known.concluded,
        aborted=aborted,
        way_on=known.way_on,
        limits=limits,
    )
    return RunState(
        request=known.request,
        attempt=known.attempt,
        sitting=known.sitting,
        session=known.session,
        started_at=known.started_at,
        last_at=known.last_at,
        steps=steps,
        checks=checks,
        measures=tuple(known.measures.values()),
        limits=limits,
        reduced_scope=known.reduced_scope or bool(over),
        facts=known.facts,
        target_facts=known.target_facts,
        gates=gates,
        gate_book=dict(known.book),
        glasses=glasses,
        operators=tuple(known.operators),
        questions=dict(known.questions),
        asked=dict(known.asked),
        answers={name: tuple(given) for name, given in known.answers.items()},
        memory=dict(known.memory),
        undos=dict(known.undos),
        pages=tuple(known.pages.values()),
        problems=tuple(known.problems),
        concluded=known.concluded,
        ended=known.ended,
        closed=known.closed,
        records=tuple(known.records),
        aborted=known.aborted,
        once=known.once,
        scratch=tuple(known.scratch),
        kept_scratch=tuple(known.kept),
        effects=known.effects,
        accepted_changes=tuple(known.accepted),
        executed_at=known.executed_at,
        planned_cells=tuple(known.planned_cells),
        executions=tuple(known.executions.values()),
        verdict=judgement.verdict,
        reason=cut(judgement.reason, LONGEST),  # each check keeps its own, whole
        exit_code=judgement.exit_code,
        next_command=judgement.next_command,
    )


def _over_budget(measure: Measure) -> str:
    return f"OVER ITS BUDGET: {measure.title}: {measure.value:,.1f} {measure.unit}, and the budget is {measure.budget:,.0f} {measure.unit}."


def _settle(step: StepRecord, known: _Folding) -> StepRecord:
    """A step that was running when its attempt ended did not succeed."""
    if step.state is not StepState.RUNNING or not (known.ended or known.concluded or known.problems):
        return step
    reason = known.problems[-1].reason if known.problems else "The run ended during this step."
    return step.model_copy(update={"state": StepState.FAILED, "reason": reason})
