"""State, verdict, reason and next command are a pure function of the events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runbook.errors import PlatformError
from runbook.model import Status, StepState, Verdict
from runbook.session.fold import fold
from runbook.session.state import RunState

AT = "2026-01-01T00:00:{:02d}.000000Z"
OPENED = {
    "event": "run-opened",
    "run": "r1",
    "runbook": "drill",
    "title": "Drill",
    "target": "sandbox",
    "environment": "sandbox",
    "platform": "cluster",
    "parameters": {},
    "command": "runbook run drill --target sandbox",
    "started_by": "runbook run",
}


def attempt(number: int = 1, *planned: str) -> dict[str, Any]:
    return {"event": "attempt-started", "attempt": number, "by": "runbook run", "planned": list(planned)}


def started(name: str, once: bool = False) -> dict[str, Any]:
    return {"event": "step-started", "name": name, "once": once}


def done(name: str) -> dict[str, Any]:
    return {"event": "step-done", "name": name, "seconds": 1.0, "reused": False}


def failed(name: str, **more: Any) -> dict[str, Any]:
    return {"event": "step-failed", "name": name, "seconds": 1.0, "message": "It broke.", **more}


def check(status: str, id: str = "a") -> dict[str, Any]:
    reason = None if status == "PASS" else f"{id} is {status}."
    body = {"id": id, "title": id, "status": status, "expected": "1", "observed": "2", "reason": reason}
    return {"event": "check", "check": body}


CONCLUDED = {"event": "concluded"}
DEAD = {"event": "problem", "kind": "dead-kernel", "reason": "The kernel died."}
WAITING = {
    "event": "gate-opened",
    "gate": "promote",
    "title": "Promote",
    "plan": "a" * 64,
    "content": {},
    "needed": 1,
    "replaces": None,
}


def state_of(*events: dict[str, Any]) -> RunState:
    return fold({"n": n, "at": AT.format(n), **event} for n, event in enumerate([OPENED, *events], start=1))


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([attempt(1, "A"), started("A"), done("A"), check("PASS"), CONCLUDED], Verdict.PASS),
        ([attempt(1), check("PASS"), CONCLUDED], Verdict.PASS),
        ([attempt(1), CONCLUDED], Verdict.INCOMPLETE),  # it did nothing
        ([attempt(1), check("PASS")], Verdict.INCOMPLETE),  # it did not conclude
        ([attempt(1), check("UNKNOWN"), check("PASS", "b"), CONCLUDED], Verdict.INCOMPLETE),
        ([attempt(1), check("UNKNOWN"), check("FAIL", "b"), CONCLUDED], Verdict.FAIL),
        ([attempt(1), check("FAIL"), DEAD], Verdict.FAIL),
        ([attempt(1, "A"), check("PASS"), CONCLUDED], Verdict.INCOMPLETE),  # A did not run
        ([attempt(1, "A"), started("A"), check("PASS"), CONCLUDED], Verdict.INCOMPLETE),  # A did not end
        ([attempt(1, "A"), started("A"), failed("A"), CONCLUDED], Verdict.INCOMPLETE),
        ([attempt(1), check("PASS"), DEAD, CONCLUDED], Verdict.INCOMPLETE),
        ([attempt(1), WAITING], Verdict.WAITING),
        ([attempt(1), WAITING, check("FAIL")], Verdict.FAIL),
        ([attempt(1), WAITING, {"event": "aborted", "reason": "by ann"}], Verdict.INCOMPLETE),
        ([attempt(1), check("FAIL"), attempt(2), check("PASS"), CONCLUDED], Verdict.PASS),
        ([attempt(1), check("PASS"), CONCLUDED, attempt(2), check("PASS")], Verdict.INCOMPLETE),
        ([], Verdict.INCOMPLETE),
    ],
)
def test_verdict_follows_from_the_events(events: list[dict[str, Any]], verdict: Verdict) -> None:
    state = state_of(*events)
    assert state.verdict is verdict, state.reason
    assert state.exit_code == {"PASS": 0, "FAIL": 1, "WAITING": 3, "INCOMPLETE": 4}[verdict]
    assert state.reason and state.next_command.startswith("runbook ")


@given(st.lists(st.sampled_from(["PASS", "FAIL", "UNKNOWN"]), min_size=1, max_size=6), st.booleans())
def test_pass_means_that_nothing_failed_is_unknown_or_is_open(statuses: list[str], concluded: bool) -> None:
    events = [check(status, f"c{n}") for n, status in enumerate(statuses)]
    state = state_of(attempt(1), *events, *([CONCLUDED] if concluded else []))
    if "FAIL" in statuses:
        assert state.verdict is Verdict.FAIL
    elif "UNKNOWN" in statuses or not concluded:
        assert state.verdict is Verdict.INCOMPLETE
    else:
        assert state.verdict is Verdict.PASS


@given(st.permutations(["PASS", "FAIL", "UNKNOWN"]))
def test_check_seen_again_never_gets_better_within_an_attempt(statuses: list[str]) -> None:
    state = state_of(attempt(1), *(check(status) for status in statuses))
    assert [one.status for one in state.checks] == [Status.FAIL]


def test_step_that_was_running_when_the_kernel_died_failed_by_it() -> None:
    state = state_of(attempt(1, "A", "B"), started("A"), DEAD)
    assert [(step.name, step.state, step.reason) for step in state.steps] == [
        ("A", StepState.FAILED, "The kernel died."),
        ("B", StepState.NOT_RUN, None),
    ]
    assert state.next_command == "runbook resume r1"


def test_failed_step_is_named_before_a_kernel_that_ended_after_it() -> None:
    state = state_of(attempt(1, "A"), started("A"), failed("A"), {**DEAD, "kind": "died"})
    assert state.reason.startswith("The step 'A' failed: ")


def test_result_of_a_once_step_outlives_its_attempt_and_a_redo_drops_it() -> None:
    intent = {"event": "step-intent", "name": "A", "key": "k"}
    result = {"event": "step-result", "name": "A", "key": "k", "result": 7}
    assert state_of(attempt(1), intent, result, attempt(2)).once["A"].result == 7
    assert state_of(attempt(1), intent, attempt(2)).once["A"].done is False
    assert state_of(attempt(1), intent, result, {"event": "step-redo", "name": "A"}, attempt(2)).once == {}


def test_next_command_of_a_stuck_once_step_is_its_redo() -> None:
    state = state_of(attempt(2, "A"), started("A", True), failed("A", next_step="runbook redo r1 A"))
    assert state.next_command == "runbook redo r1 A"


def test_scratch_of_every_attempt_is_known_but_facts_are_the_latest_ones() -> None:
    one = {"event": "fact", "name": "scratch", "value": "/s/1"}
    two = {"event": "fact", "name": "scratch", "value": ["/s/2"]}
    state = state_of(attempt(1), one, attempt(2), two)
    assert state.scratch == ("/s/1", "/s/2")
    assert state.facts == {"scratch": ["/s/2"]}


def test_limitation_that_was_lifted_stands_nowhere_and_holds_again_in_the_next_attempt() -> None:
    limits = [{"event": "limit", "text": text, "reduces_scope": False} for text in ("not yet", "never")]
    lifted = {"event": "limit-lifted", "text": "not yet"}
    events = [attempt(), *limits, lifted]
    assert state_of(*events).limits == ("never",)
    assert state_of(*events, attempt(2), *limits).limits == ("not yet", "never")


def test_effects_stay_until_undone_or_aborted() -> None:
    pending = {"event": "effects", "pending": True, "what": "maintenance is on"}
    undone = {"event": "effects", "pending": False, "what": ""}
    assert state_of(attempt(1), pending, attempt(2)).effects == "maintenance is on"
    assert state_of(attempt(1), pending, undone).effects is None
    assert state_of(attempt(1), pending, {"event": "aborted", "reason": "by ann"}).effects is None


def test_time_of_closing_is_not_the_time_of_the_run() -> None:
    late = {"event": "attempt-closed", "attempt": 1, "record": "reports/records/1"}
    died = {"event": "problem", "kind": "died", "reason": "The runner died."}
    state = state_of(attempt(1), check("PASS"), died, {"event": "attempt-ended", "attempt": 1}, late)
    assert state.last_at is not None and state.last_at.second == 3
    assert state.closed and state.records == ("reports/records/1",)


def test_event_of_a_newer_version_is_refused_not_skipped() -> None:
    with pytest.raises(PlatformError, match="does not know"):
        state_of(attempt(1), {"event": "from-the-future"})


def test_what_python_executed_besides_the_library_s_source_reduces_the_scope() -> None:
    began = {**attempt(1, "A"), "foreign_bytecode": ["clock.py"], "startup": {"/x/sitecustomize.py": "ab"}}
    state = state_of(began, started("A"), done("A"), check("PASS"), CONCLUDED)
    assert (state.verdict, state.reduced_scope) == (Verdict.PASS, True)
    assert state.limits == (
        "Python executed /x/sitecustomize.py before the library (SHA-256 ab).",
        "Python has byte code for clock.py of the library that is not made from its source.",
    )
