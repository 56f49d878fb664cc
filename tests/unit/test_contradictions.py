"""The search for contradictions finds the kinds that were seen in real reports, and finds none in what is right."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from contradictions import in_record, in_report, in_text
from runbook import clock
from runbook.model import Measure, StepRecord, StepState, Verdict
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.postgres.wal import format_range
from runbook.report.render import render_report
from sample_report import notebook, record
from test_session_fold import CONCLUDED, OPENED, attempt, check, done, started, state_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3049992 rows in 1 relations, hashes equal", "plural of one: 1 relations"),
        ("no commit in WAL 0/22000028 to 0/22000000, 5 s", "WAL that runs backward"),
        ("2025-09-07T14:30:00Z to 2025-09-07T14:29:59Z", "time that runs backward"),
        ("age -4,392 h", "negative: -4,392 h"),
    ],
)
def test_contradiction_in_a_text_is_found(text: str, said: str) -> None:
    assert [one[: len(said)] for one in in_text(text)] == [said]


@pytest.mark.parametrize(
    "text",
    [
        "1 relation",
        "11 rows",
        "step 1 is done",
        "0/3000060 to 0/4000000",
        "transaction 1 was",
        "2025-09-07 to 2025-09-08",
        "at most 1 s",
        "-1",
        "1.1 rows",
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert list(in_text(text)) == []


def test_wal_without_a_record_is_no_interval() -> None:
    assert list(in_text(format_range(0x22000028, 0x22000000))) == []
    assert format_range(0x22000000, 0x22000028) == "WAL 0/22000000 to 0/22000028"


OVER = Measure(name="rpo", title="RPO: from the last commit that is kept", value=909.0, unit="s", budget=900.0)
SAID = "OVER ITS BUDGET: RPO: from the last commit that is kept: 909.0 s, and the budget is 900 s."


def test_measure_over_its_budget_is_listed_first_and_satisfies_no_control() -> None:
    measured = {"event": "measure", "measure": OVER.model_dump(mode="json")}
    state = state_of(attempt(1), check("PASS"), measured, CONCLUDED)
    assert (state.verdict, state.limits, state.reduced_scope) == (Verdict.PASS, (SAID,), True)
    within = {"event": "measure", "measure": {**OVER.model_dump(mode="json"), "value": 900.0}}
    assert state_of(attempt(1), check("PASS"), within, CONCLUDED).limits == ()


def test_pass_stands_beside_no_red_mark_and_nothing_is_said_of_figures_that_are_there() -> None:
    over = record(Verdict.PASS, measures=(OVER,), limitations=(SAID,), satisfies_controls=False)
    page, content = render_report(over, notebook()), json.loads(over.model_dump_json(by_alias=True))
    assert "OVER" in page and in_report(page, content) == [] and in_record(content) == []
    silent = json.loads(record(Verdict.PASS, measures=(OVER,)).model_dump_json(by_alias=True))
    assert in_record(silent) == ["PASS, and rpo is over its budget without a limitation"]
    bare = record(Verdict.PASS, measures=())
    assert in_report(render_report(bare, notebook()), json.loads(bare.model_dump_json(by_alias=True))) == []


def test_dry_run_says_so_in_its_verdict_and_counts_no_step_that_did_nothing() -> None:
    dry = {**OPENED, "parameters": {"dry_run": True}}
    idle = {**done("Swap it in"), "not_applicable": "a dry run changes nothing"}
    events = [attempt(1, "Search", "Swap it in"), started("Search"), done("Search"), started("Swap it in"), idle]
    state = state_of(dry, *events, check("PASS"), CONCLUDED)
    assert state.reason == "DRY RUN, nothing was changed: 1 step ran, 1 not applicable, 1 check passed."
    assert [step.state for step in state.steps] == [StepState.DONE, StepState.NOT_APPLICABLE]
    assert state.steps[1].reason == "a dry run changes nothing"
    assert state_of(dry, *events, check("FAIL"), CONCLUDED).reason.startswith(
        "DRY RUN, nothing was changed: 1 check failed"
    )


def test_report_shows_a_step_that_does_not_apply_as_such() -> None:
    steps = (
        *record().steps[:-1],
        StepRecord(name="Swap it in", state=StepState.NOT_APPLICABLE, reason="a dry run", attempt=1),
    )
    page = render_report(record(Verdict.PASS, steps=steps), notebook())
    assert (
        "not applicable" in page
        and "1 not applicable" in page
        and "Every planned step that applies ran to its end." in page
    )


def test_point_is_the_same_in_every_attempt() -> None:
    at = clock.parse("2026-11-30T02:49:21.000000Z")
    point = RecoveryPoint("find", 1, "b1", 0x3000060, 0x3000058, None, None, at)
    later = RecoveryPoint("0/3000060", 1, "b1", 0x3000060, 0x3000058, None, None, at + timedelta(minutes=2))
    assert point.key == later.key and point.facts() != later.facts()
    assert point.key != RecoveryPoint("find", 1, "b1", 0x3000070, 0x3000068, None, None, at).key
