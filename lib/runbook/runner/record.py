"""A folded run as the record that is archived: `run.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from runbook import clock
from runbook.model import CheckoutFacts, FileFacts, JournalFacts, Measure, RunRecord, TargetFacts, Verdict
from runbook.session.state import RunState


def satisfies_controls(state: RunState) -> bool:
    """True for a PASS on a real system, in full: sandbox, dry and reduced-scope runs satisfy no control."""
    return (
        state.verdict is Verdict.PASS
        and state.request["environment"] != "sandbox"
        and not state.reduced_scope
        and state.request["parameters"].get("dry_run") is not True
        and bool(state.request["controls"])
    )


def record_of(
    state: RunState,
    limitations: tuple[str, ...] = (),
    *,
    operators: Iterable[str] = (),
    journal: JournalFacts | None = None,
) -> RunRecord:
    """The latest attempt of a run as its record.

    Args:
        operators: names of those who worked on it, besides the users that the journal names.
        journal: the journal as it is archived.
    """
    request = state.request
    checkout = state.sitting.get("checkout", request.get("checkout"))
    began = state.started_at or clock.parse(request["opened"])
    ended = state.last_at or began
    return RunRecord(
        run=state.run,
        attempt=state.attempt,
        runbook=request["runbook"],
        title=request["title"],
        verdict=state.verdict,
        reason=state.reason,
        exit_code=state.exit_code,
        limitations=tuple(pending(state)) + state.limits + limitations,
        target=TargetFacts(
            name=state.target,
            environment=request["environment"],
            platform=request["platform"],
            system_identifier=state.target_facts.get("system_identifier"),
            server_version=state.target_facts.get("server_version"),
            host=state.target_facts.get("host"),
        ),
        started_at=began,
        ended_at=ended,
        seconds=round((ended - began).total_seconds(), 3),
        operator=state.sitting.get("operator", request["operator"]),
        operators=tuple(sorted({*state.operators, *operators})),
        operator_known_by=state.sitting.get("operator_known_by", request.get("operator_known_by", "")),
        operator_claimed=tuple(state.sitting.get("operator_claimed", request.get("operator_claimed", ()))),
        host=request["host"],
        started_by=request["started_by"],
        scheduled_for=_moment(request["scheduled_for"]),
        controls=tuple(request["controls"]),
        satisfies_controls=satisfies_controls(state),
        parameters=request["parameters"],
        params_file=FileFacts(
            path=request["params_file"]["path"],
            sha256=state.sitting.get("params_sha256", request["params_file"]["sha256"]),
        ),
        notebook=FileFacts(
            path=request["notebook"]["path"],
            sha256=state.sitting.get("source_sha256", request["notebook"]["sha256"]),
        ),
        commit=checkout["commit"] if checkout and checkout["commit"] else request["commit"],
        checkout=CheckoutFacts.model_validate_json(json.dumps(checkout)) if checkout else None,
        library_sha256=state.sitting.get("library_sha256", request["library_sha256"]),
        sql_sha256=state.sitting.get("sql_sha256", request.get("sql_sha256")),
        inputs_sha256=state.sitting.get("inputs_sha256"),
        journal=journal,
        tools=request["tools"],
        steps=state.steps,
        checks=state.checks,
        findings=tuple(finding for check in state.checks for finding in check.findings),
        measures=(*state.measures, *_lateness(request)),
        facts={**state.facts, **({"pages": list(state.pages)} if state.pages else {})},
        gates=state.gates,
        questions=_questions(state),
        undos=state.undos,
        previous_record=state.records[-1] if state.records else None,
        ledger_line=request.get("ledger_line"),
        next_command=state.next_command,
    )


def pending(state: RunState) -> list[str]:
    """What the run did to its target and nobody has taken back or accepted: it stands at the top."""
    return [f"NOT TAKEN BACK: {act}. Undo: {undo}" for act, undo in state.undos.items()]


def _questions(state: RunState) -> tuple[dict[str, Any], ...]:
    """Those of this attempt, and every other that was ever answered: a decision is on record also when its run was aborted."""
    earlier = [
        {**asked, "state": "earlier"} for name, asked in state.asked.items()
        if name not in state.questions and state.answers.get(name)
    ]  # fmt: skip
    return tuple(_question(one, state) for one in [*earlier, *state.questions.values()])


def _question(asked: dict[str, Any], state: RunState) -> dict[str, Any]:
    """A question with all its answers, the used-up ones too."""
    kept = {key: asked[key] for key in ("id", "title", "text", "options", "state")}
    return {**kept, "answers": [one.facts() for one in state.answers.get(asked["id"], ())]}


def _lateness(request: dict[str, Any]) -> list[Measure]:
    """How long after its time a scheduled run was opened; less than nothing when it was early."""
    due = _moment(request["scheduled_for"])
    if due is None:
        return []
    late = round((clock.parse(request["opened"]) - due).total_seconds(), 3)
    return [Measure(name="lateness", title="Opened after it was due", value=late, unit="s", source="--scheduled-for")]


def _moment(text: str | None) -> datetime | None:
    return clock.parse(text) if text else None
