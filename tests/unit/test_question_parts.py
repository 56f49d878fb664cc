"""Questions, memory and undos are a pure function of the events; of two answers to one asking the first counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gatehouse import GateHouse
from runbook.errors import OperatorError, ParamsError
from runbook.model import StepState, Verdict
from runbook.runner.record import pending, record_of
from runbook.session import asking
from runbook.session.answerpanel import AnswerPanel
from runbook.session.asking import Question, file_answer, split_given
from runbook.session.journal import Journal
from test_session_fold import CONCLUDED, DEAD, attempt, check, done, started, state_of

WAYS = {"swap": "swap it in", "later": "move the point"}


def asked(after: int = 0) -> dict[str, Any]:
    return {
        "event": "question-asked", "question": "way", "title": "Way", "text": "Which?", "options": WAYS,
        "needs_value": ["later"], "after": after, "next_command": "runbook answer r1 way OPTION --reason WHY",
    }  # fmt: skip


def said(option: str, index: int, value: str = "", by: str = "olga") -> dict[str, Any]:
    return {
        "event": "question-answered", "question": "way", "index": index, "option": option, "value": value,
        "reason": "so", "operator": by,
    }  # fmt: skip


def taken(index: int) -> dict[str, Any]:
    return {"event": "question-taken", "question": "way", "state": "answered", "index": index}


PREVIEWED = {"event": "question-taken", "question": "way", "state": "previewed"}
UNDO = {"event": "undo-noted", "act": "closed", "undo": "open it"}
UNDONE = {"event": "undone", "act": "closed"}


@pytest.mark.parametrize(
    ("events", "verdict", "next_command"),
    [
        ([asked()], Verdict.WAITING, "runbook answer r1 way OPTION --reason WHY"),
        ([asked(), said("swap", 0)], Verdict.WAITING, "runbook resume r1"),
        ([asked(), said("swap", 0), taken(0), CONCLUDED], Verdict.PASS, "runbook status r1"),
        ([asked(), PREVIEWED, CONCLUDED], Verdict.PASS, "runbook status r1"),
        ([asked(), said("later", 0), taken(0), asked(1)], Verdict.WAITING, "runbook answer r1 way OPTION --reason WHY"),
        # What follows from a failure is for a person to decide, in this run.
        ([asked(), check("FAIL")], Verdict.FAIL, "runbook answer r1 way OPTION --reason WHY"),
        ([asked(), said("swap", 0), check("FAIL")], Verdict.FAIL, "runbook resume r1"),
        (
            [asked(), check("FAIL"), {"event": "aborted", "reason": "by ann"}],
            Verdict.FAIL,
            "runbook run drill --target sandbox",
        ),
        ([asked(), {"event": "aborted", "reason": "by ann"}], Verdict.INCOMPLETE, "runbook run drill --target sandbox"),
        ([CONCLUDED], Verdict.INCOMPLETE, "runbook resume r1"),  # the planned question was not come to
    ],
)
def test_verdict_follows_from_questions(events: list[dict[str, Any]], verdict: Verdict, next_command: str) -> None:
    state = state_of(attempt(1, "Way"), *events)
    assert (state.verdict, state.next_command) == (verdict, next_command), state.reason


def test_answers_and_askings_outlive_attempts_and_questions_do_not() -> None:
    state = state_of(attempt(1, "Way"), asked(), said("later", 0, "0/7"), attempt(2, "Way"))
    assert state.questions == {} and state.asked["way"]["title"] == "Way"
    assert [(one.option, one.value, one.reason, one.by) for one in state.answers["way"]] == [
        ("later", "0/7", "so", "olga")
    ]
    assert "olga" in state.operators, "whoever answers works on the run, and cannot approve it"


def test_second_answer_to_one_asking_does_not_answer_the_next() -> None:
    state = state_of(attempt(1), asked(), said("later", 0, "0/7"), said("swap", 0, by="omar"), taken(0), asked(1))
    assert [one.option for one in state.answers["way"]] == ["later"]
    assert state.verdict is Verdict.WAITING and state.questions["way"]["state"] == "waiting"


def test_step_says_whether_its_answer_is_an_earlier_attempts() -> None:
    now = state_of(attempt(1, "Way"), asked(), said("swap", 0), taken(0))
    later = state_of(attempt(1, "Way"), asked(), said("swap", 0), attempt(2, "Way"), asked(), taken(0))
    assert [(step.state, step.reused) for step in (*now.steps, *later.steps)] == [
        (StepState.DONE, False),
        (StepState.DONE, True),
    ]


def test_memory_and_undos_are_those_of_all_attempts() -> None:
    kept = [{"event": "remembered", "name": "at", "value": value} for value in (1, {"lsn": "0/1"})]
    state = state_of(attempt(1), *kept, UNDO, DEAD, attempt(2), started("A"), done("A"), CONCLUDED)
    assert (state.memory, state.undos) == ({"at": {"lsn": "0/1"}}, {"closed": "open it"})
    assert pending(state) == ["NOT TAKEN BACK: closed. Undo: open it"]
    assert state_of(attempt(1), UNDO, attempt(2), UNDONE, UNDONE).undos == {}


def test_abort_says_how_many_acts_were_not_taken_back_in_the_end() -> None:
    aborted = {"event": "aborted", "reason": "by ann"}
    assert state_of(attempt(1), UNDO, aborted).reason.startswith("Aborted: by ann. 1 act was not taken back")
    assert "taken back" not in state_of(attempt(1), UNDO, aborted, UNDONE).reason


@pytest.mark.parametrize(
    ("given", "says"),
    [("swop", "did you mean 'swap'"), ("later", "wants a value"), ("later:", "wants a value"), (": x", "valid names")],
)
def test_given_answer_that_is_none_is_refused(given: str, says: str) -> None:
    with pytest.raises(ParamsError, match=says):
        split_given(given, WAYS, ["later"], "Way")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateHouse:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path / "home"))
    return GateHouse.build(tmp_path / "home")


def question(house: GateHouse, options: dict[str, str] | None = None, after: int = 0) -> Question:
    return Question(house.folder, "way", "Way", "Which?", options, ["later"] if options else (), after)


def test_given_answers_once_over_all_attempts_and_never_a_question_asked_again(house: GateHouse) -> None:
    for number in (1, 2):
        house.start(number)
        one = question(house, WAYS)
        found = one.look(one.open(" later:  0/7 "))
        assert found is not None and (found.option, found.value) == ("later", "0/7")
    assert len(house.state.answers["way"]) == 1
    again = question(house, WAYS, after=1)
    assert again.look(again.open("later: 0/7")) is None, "the point was moved once; it is not moved for ever"


def test_blank_parameter_is_no_answer(house: GateHouse) -> None:
    one = question(house)
    assert one.look(one.open("  ")) is None and house.state.verdict is Verdict.WAITING


def test_two_who_answer_at_once_are_told_whose_answer_counts(house: GateHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    question(house, WAYS).open()
    append = Journal.append

    def slower(self: Journal, event: str, **fields: Any) -> Any:
        """Between this one's look and its answer somebody else's answer is filed."""
        monkeypatch.setattr(Journal, "append", append)
        file_answer(house.folder, "way", "swap", "", "first")
        return self.append(event, **fields)

    monkeypatch.setattr(Journal, "append", slower)
    with pytest.raises(OperatorError, match=r"answered already, by .*: swap \(first\)"):
        file_answer(house.folder, "way", "later", "0/7", "second")
    assert [one.reason for one in house.state.answers["way"]] == ["first"]


def test_question_of_an_earlier_attempt_waits_for_nothing_until_it_is_asked_again(house: GateHouse) -> None:
    question(house, WAYS).open()
    house.start(2)
    with pytest.raises(OperatorError, match="this attempt has not come to it"):
        file_answer(house.folder, "way", "swap", "", "")
    with pytest.raises(ParamsError, match="did you mean 'way'"):
        file_answer(house.folder, "ways", "swap", "", "")


def test_answer_of_an_attempt_that_never_asked_again_stays_on_record(house: GateHouse) -> None:
    question(house, WAYS).open()
    file_answer(house.folder, "way", "swap", "", "so")
    house.start(2)
    (kept,) = record_of(house.state).questions
    assert (kept["state"], kept["answers"][0]["option"]) == ("earlier", "swap")


def test_panel_files_the_same_answer_and_says_why_one_is_refused(house: GateHouse) -> None:
    one = question(house, WAYS)
    one.open()
    shown = AnswerPanel(one)
    shown.option.value = "later"
    shown.button.click()
    assert "wants a value" in shown.status.value and not shown.button.disabled and not house.state.answers
    shown.value.value, shown.reason.value = "0/7", "a second look"
    shown.button.click()
    assert shown.button.disabled and "Run this cell again" in shown.status.value
    (filed,) = house.state.answers["way"]
    assert (filed.option, filed.value, filed.reason) == ("later", "0/7", "a second look")


def test_panel_asks_for_a_text_where_there_are_no_options(house: GateHouse) -> None:
    one = question(house)
    one.open()
    shown = AnswerPanel(one)
    assert shown.option not in shown.box.children
    shown.value.value = "password=hunter2hunter2"
    shown.button.click()
    assert "secret" in shown.status.value and not house.state.answers
    shown.value.value = "the ticket"
    shown.button.click()
    assert house.state.answers["way"][0].value == "the ticket"


def test_next_command_pasted_as_it_is_answers_nothing(house: GateHouse) -> None:
    question(house, {"swap": "", "back": ""}).open()
    command = asking.answer_command("R", "way", {"swap": "", "back": ""})
    assert not set("|&;<>$") & set(command), "a shell would make something else of it"
    with pytest.raises(ParamsError, match="no answer"):
        file_answer(house.folder, "way", command.split()[4], "", "")
