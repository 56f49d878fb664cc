"""An answer about triggers or sequences counts for what was offered, and for nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from memory import Memory
from runbook.errors import TargetOutsideWindow
from runbook.model import Status
from runbook.recovery.copybackplan import CopyBackPlan, TableCopy
from runbook.recovery.course import Course, Seen
from runbook.recovery.decisions import SequenceDecision, TriggerDecision, judge_forward
from runbook.recovery.pitr import PointInTimeRecovery
from runbook.recovery.sequences import SequenceGap, SetForward
from runbook.recovery.tabletriggers import Trigger
from runbook.recovery.wayon import WayOn
from test_copyback_left import NOKEY

TOUCH = Trigger(
    "public", "nokey", "ann", False, "touch", "BEFORE", "ROW", True, False, (), False, "O", False, False, False, "public.f", None
)  # fmt: skip
TABLE = "shop: public.nokey"


@dataclass
class Copying:
    """What a decision asks of a copy-back."""

    course: Course
    tables: list[TableCopy]
    forgotten: list[bool] = field(default_factory=list)

    def plan(self) -> CopyBackPlan:
        return CopyBackPlan(self.tables)

    def forget_plan(self) -> None:
        self.forgotten.append(True)


def said(option: str, value: str = "") -> Any:
    return SimpleNamespace(option=option, value=value)


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return Course(Memory(tmp_path / "memory"))


def triggers(course: Course, **table: Any) -> TriggerDecision:
    copy = TableCopy("shop", "public.nokey", NOKEY, insert=1, triggers=(TOUCH,), **table)
    return TriggerDecision(Copying(course, [copy]))  # type: ignore[arg-type]


def test_table_or_trigger_that_was_offered_is_left_out_and_the_plan_made_again(course: Course) -> None:
    decision = triggers(course)
    seen = decision.offer("copy-back")
    assert seen.facts["offered"] == [TABLE, f"{TABLE} trigger touch"]
    assert (decision.given, TABLE in decision.question) == ("", True)
    decision.take(said("leave-out", f"{TABLE} trigger touch; "))
    assert course.noted("triggers left out") == [f"{TABLE} trigger touch"]
    decision.take(said("leave-out", f"{TABLE} trigger touch"))
    decision.take(said("fire"))
    assert course.noted("triggers left out") == [] and len(decision.copying.forgotten) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["public.nokey", f"{TABLE}; other", "", "; ", f"{TABLE} trigger none"])
def test_answer_that_names_what_is_not_offered_is_used_up(course: Course, value: str) -> None:
    decision = triggers(course)
    decision.offer("copy-back")
    assert decision.used_up([said("fire"), said("leave-out", value)]) == 2
    assert decision.used_up([said("leave-out", TABLE)]) == decision.used_up([said("leave-out", "all")]) == 0


def test_answer_that_was_given_when_there_was_nothing_to_decide_is_asked_for_again(course: Course) -> None:
    decision = triggers(course, must_fire="another owner")
    decision.offer("copy-back")
    option, _, value = decision.given.partition(": ")
    assert option == "fire" and decision.used_up([said(option, value)]) == 0
    decision = triggers(course)
    decision.offer("copy-back")
    assert decision.used_up([said(option, value)]) == 1
    course.set_out("copy-back")
    assert decision.used_up([said(option, value)]) == 0, "what is being carried out is not asked again"


def sequences(course: Course, environment: str = "sandbox", **gap: Any) -> SequenceDecision:
    found = SequenceGap("shop", "public", "q", "ann", None, 1, 1, **{"damaged": 120, "restored": 100, **gap})
    course.note("seen/sequences", Seen(facts={"gaps": [found.facts()]}).dump())
    params = SimpleNamespace(environment=environment)
    execution = SimpleNamespace(course=course, recovery=SimpleNamespace(params=params))
    return SequenceDecision(execution, Copying(course, []))  # type: ignore[arg-type]


def test_sequences_are_asked_for_in_production_and_set_forward_elsewhere_unless_told_otherwise(course: Course) -> None:
    assert sequences(course, "production").given("", "promote") == ""
    assert sequences(course).given("", "promote") == "forward"
    assert sequences(course).given("keep", "promote") == "keep"
    for decision in (sequences(course, restored=120), sequences(course, refused="it cycles")):
        assert decision.given("forward", "promote").startswith("keep: no sequence is rewound")
    assert sequences(course).given("forward", "copy-back").startswith("keep: ")


def test_what_is_decided_is_in_the_plan_and_what_is_not_set_forward_is_named(course: Course) -> None:
    decision = sequences(course)
    decision.take(said("keep"))
    assert decision.plan_facts("promote") == {
        'shop: "public"."q"': "last value 120 in the damaged cluster, 100 in the copy: numbers are given out again"
    }
    assert decision.left_by_promotion()[0].startswith(
        "Numbers that were given out after the point are given out again: shop"
    )
    decision.take(said("forward"))
    assert (
        decision.plan_facts("promote")['shop: "public"."q"'].endswith(": set forward")
        and not decision.left_by_promotion()
    )
    refused = sequences(course, refused="it cycles")
    assert refused.forward == [] and refused.left_by_promotion()[0].endswith("(not set forward: it cycles)")
    behind = sequences(course, damaged=3, restored=200)
    assert behind.note_left() == behind.noted_left
    assert behind.noted_left[0].endswith("""SELECT pg_catalog.setval('"public"."q"', 200)""")
    assert sequences(course, damaged=90, restored=100).note_left() == [], "as far as WAL's reserve nothing is claimed"


def test_sequence_that_was_not_set_forward_is_no_pass() -> None:
    done = [SetForward("a", 5, 5, None), SetForward("b", 5, 3, "permission denied")]
    check = judge_forward(done)
    assert (check.status, check.reason) == (Status.UNKNOWN, "b: permission denied")
    assert judge_forward(done[:1]).status is Status.PASS


@pytest.mark.parametrize("option", ["earlier", "later"])
def test_target_that_cannot_be_moved_there_uses_the_answer_up_and_is_asked_again(course: Course, option: str) -> None:
    def refuse(asked: str) -> None:
        raise TargetOutsideWindow(f"{asked} lies behind the archive's end.")

    recovery = PointInTimeRecovery.__new__(PointInTimeRecovery)
    recovery.course, recovery.identification = course, cast(Any, SimpleNamespace(refuse_point=refuse))
    onward = WayOn.__new__(WayOn)
    onward.recovery, onward.course = recovery, course
    asked = onward.uses_up(option, "F/0")
    assert asked == "The target is not moved: F/0 lies behind the archive's end. How does it go on instead?"
    assert (recovery.moves, onward.answers_used) == ([], 1)
    recovery.identification = cast(Any, SimpleNamespace(refuse_point=str))
    assert "The target is moved" in str(onward.uses_up(option, "0/5000"))
    assert (recovery.moves, onward.answers_used) == (["0/5000"], 2)
