"""What was executed decides: a code cell that failed, was left or was not reached is no PASS."""

from __future__ import annotations

from typing import Any

import pytest
from runbook.model import Verdict
from runbook.session.cellbook import describe_cells
from runbook.session.fold import fold
from runbook.session.outputs import CUT_NOTE, MOST, CellOutputs
from runbook.session.state import RunState
from test_session_fold import AT, CONCLUDED, DEAD, OPENED, attempt, check

CELLS = describe_cells(
    [
        {"cell_type": "code", "id": name, "source": source}
        for name, source in (("a", "look()"), ("b", "look()"), ("c", "run.conclude()"))
    ]
)
OPEN = {"event": "session-opened", "records_cells": True, "process": {}}
ENDED = {"event": "attempt-ended", "attempt": 1}


def begun(code: str, cell: str | None = None) -> dict[str, Any]:
    return {"event": "cell-started", "cell": cell, "code": code, "count": 1}


def state_of(*events: dict[str, Any], records: bool = True) -> RunState:
    """The run's state; an event `done` belongs to the cell that began before it."""
    said: list[dict[str, Any]] = [OPENED, {**attempt(), "cells": CELLS}, {**OPEN, "records_cells": records}, *events]
    lines, started = [], 0
    for n, event in enumerate(said, start=1):
        started = n if event["event"] == "cell-started" else started
        more = {"started": started} if event["event"] in ("cell-done", "cell-cut") else {}
        lines.append({"n": n, "at": AT.format(n), **event, **more})
    return fold(lines)


def done(status: str = "ok", error: str | None = None) -> dict[str, Any]:
    return {"event": "cell-done", "status": status, "error": error, "seconds": 0.1, "outputs": None}


LOOK, END = [begun("look()"), check("PASS"), done()], [begun("run.conclude()"), CONCLUDED, done()]


@pytest.mark.parametrize(
    ("events", "verdict", "reason"),
    [
        ([*LOOK, *LOOK, *END], Verdict.PASS, "1 check passed."),
        ([*LOOK, *END], Verdict.INCOMPLETE, "Code cell 2 of 3 (look(), id b) was not executed."),
        ([*LOOK, begun("look()"), done("error", "E: x"), *END], Verdict.INCOMPLETE, "Code cell 2 of 3 (look(), id b) failed: E: x"),
        ([*LOOK, begun("look()"), done("aborted"), *END], Verdict.INCOMPLETE, "Code cell 2 of 3 (look(), id b) did not end."),
        ([*LOOK, *END, begun("look()", "b"), done("error", "E: x")], Verdict.INCOMPLETE, "failed after the run had concluded: E: x"),
        ([*LOOK, begun("look()", "b"), done("error", "E: x"), begun("look()", "b"), done(), *END], Verdict.PASS, "passed"),
        ([*LOOK, *LOOK, *END, begun("look()", "a"), done("error", "E: x")], Verdict.PASS, "passed"),  # it had ended well
        ([*LOOK, *LOOK, *END, begun("look()", "a"), done("left")], Verdict.PASS, "passed"),  # it opened another run
        ([*LOOK, *LOOK, *END, begun("scribble()"), done("error", "E: x")], Verdict.PASS, "passed"),  # no cell of the notebook
        ([*LOOK, begun("scribble()"), done("error", "E: x")], Verdict.INCOMPLETE,
         "A cell that is not in the notebook, in the place of code cell 2 of 3 (look(), id b), failed: E: x"),
        ([*LOOK, begun("look()"), check("FAIL", "b"), done("error", "E: x")], Verdict.FAIL, "b is FAIL."),
        ([*LOOK, begun("look()"), done("error", "SystemExit: 0")], Verdict.INCOMPLETE, "failed: SystemExit: 0. The run did not conclude."),
        ([*LOOK, begun("look()"), DEAD], Verdict.INCOMPLETE, "The kernel died."),
        ([*LOOK, begun("other()"), done(), *END], Verdict.PASS, "passed"),  # a changed copy: `conclude()` reports the code
        ([*LOOK, begun("other()"), done("error", "E: x"), *END], Verdict.INCOMPLETE, "id b), failed: E: x"),
        ([*LOOK, *LOOK, begun("more()"), done(), *END], Verdict.PASS, "passed"),  # put in before the last one
    ],
)  # fmt: skip
def test_verdict_counts_each_code_cell(events: list[dict[str, Any]], verdict: Verdict, reason: str) -> None:
    state = state_of(*events, ENDED)
    assert state.verdict is verdict, state.reason
    assert reason in state.reason


def test_conclusion_counts_the_cells_before_it_and_waits_for_those_behind() -> None:
    assert state_of(*LOOK, *LOOK, *END[:2]).verdict is Verdict.PASS
    state = state_of(*LOOK, *END[:2])
    assert (state.verdict, "id b) was not executed" in state.reason) == (Verdict.INCOMPLETE, True)


def test_kernel_that_journals_no_cells_is_judged_by_steps_and_checks_alone() -> None:
    assert state_of(check("PASS"), CONCLUDED, ENDED, records=False).verdict is Verdict.PASS


def test_verdict_that_a_cell_raised_is_no_failure_of_the_cell() -> None:
    unknown = [begun("look()"), check("UNKNOWN"), done()]
    state = state_of(*unknown, *LOOK, begun("run.conclude()"), CONCLUDED, done("error", "RunIncomplete: x"), ENDED)
    assert state.reason == "1 check is UNKNOWN: a: a is UNKNOWN."
    state = state_of(*LOOK, *LOOK, begun("run.conclude()"), CONCLUDED, done("error", "RunFailed: x"), ENDED)
    assert state.verdict is Verdict.INCOMPLETE  # nothing else says why: somebody else raised it


def test_outputs_that_were_cut_limit_the_record() -> None:
    cut = {"event": "cell-cut", "most": "2.0 MiB"}
    state = state_of(begun("look()"), cut, check("PASS"), done(), *LOOK, *END, ENDED)
    assert state.verdict is Verdict.PASS
    assert state.limits == ("Code cell 1 of 3 (look(), id a) wrote more than 2.0 MiB: what followed was not kept.",)


def test_pieces_of_a_stream_are_joined_and_cleared_as_a_notebook_does() -> None:
    outputs = CellOutputs()
    for text in ("a", "b"):
        assert outputs.take("stream", {"name": "stdout", "text": text})
    outputs.take("stream", {"name": "stderr", "text": "c"})
    assert [one["text"] for one in outputs.listed()] == ["ab", "c"]
    outputs.take("clear_output", {"wait": True})
    assert len(outputs.listed()) == 2
    outputs.take("display_data", {"data": {"text/plain": "1"}, "metadata": {}, "transient": {"display_id": "x"}})
    outputs.take("update_display_data", {"data": {"text/plain": "2"}, "metadata": {}, "transient": {"display_id": "x"}})
    assert outputs.listed() == [{"output_type": "display_data", "data": {"text/plain": "2"}, "metadata": {}}]


def test_only_so_much_of_a_cell_is_kept_and_its_error_always() -> None:
    outputs = CellOutputs()
    first = {"name": "stdout", "text": "x" * (MOST + 5)}
    assert outputs.take("stream", first) and len(first["text"]) == MOST and outputs.is_cut
    assert not outputs.take("stream", {"name": "stdout", "text": "y"})
    assert not outputs.take("display_data", {"data": {"text/html": "y"}, "metadata": {}})
    outputs.note({"name": "stderr", "text": CUT_NOTE})
    assert outputs.take("error", {"ename": "E", "evalue": "z" * 10**6, "traceback": ["t" * 10**6] * 1000})
    kept = outputs.listed()
    assert [one["output_type"] for one in kept] == ["stream", "stream", "error"]
    assert len(str(kept[-1])) < 2_000_000


def test_cells_before_the_run_opened_are_no_lack_where_the_client_keeps_no_history() -> None:
    """As under nbval: what ran before is not known, which is a limitation."""
    state = state_of({"event": "cells-unknown", "until": 1}, *LOOK, *END)
    assert state.verdict is Verdict.PASS
    assert any("keeps no history" in str(one) for one in state.limits)
