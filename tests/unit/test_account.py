"""The account of a copy-back adds up, or says where it does not; what is named and not back is decided by a person."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from runbook.model import Status
from runbook.recovery.account import (
    LATER,
    LEAVE,
    REFUSE,
    Account,
    Counted,
    build_account,
    dump_counts,
    judge_account,
    load_counts,
    needs_answer,
)
from runbook.recovery.conflictfile import write_conflicts
from runbook.recovery.copybackplan import CHANGED, NO_KEY, SAME_CONTENT, Conflict, CopyBackPlan, TableCopy
from runbook.recovery.course import Course
from runbook.recovery.largeobjects import LargeObjects
from runbook.recovery.loss import TableLoss
from runbook.recovery.postmortem import draft
from runbook.recovery.takenplan import DAMAGE, UNKNOWN, TakenObject
from runbook.recovery.transactions import Rows
from test_suspects import VEHICLES, named

LOSS = TableLoss("public.nokey", named(VEHICLES, 16384, "nokey"), damage=Rows(updated=10))


def unused(database: str) -> Any:
    """Both sides answer alike: nothing of them is asked."""
    return nullcontext()


class Nothing:
    """Remembers nothing."""

    def remember(self, name: str, value: object) -> None:
        raise AssertionError(name)

    def recall(self, name: str, default: object = None) -> object:
        return default


def counted(**numbers: object) -> Counted:
    return Counted("shop", "public.nokey", **numbers)  # type: ignore[arg-type]


def account(after: Counted, before: Counted | None = None, **more: object) -> Account:
    result = CopyBackPlan([TableCopy("shop", "public.nokey", LOSS, **more)])  # type: ignore[arg-type]
    was = before or counted(wal=after.wal, later=after.later, left=after.wal)
    return build_account([was], [after], result)


def test_all_back_needs_no_decision_and_passes() -> None:
    found = account(counted(wal=10, as_before=10))
    assert (found.problems(), found.decisions()) == ([], [])
    check = judge_account(found.facts(), LEAVE)
    assert (check.status, check.reason) == (Status.PASS, None)


def test_rows_in_conflict_are_a_decision_and_fail_without_it() -> None:
    found = account(counted(wal=10, left=10), reasons={NO_KEY: 10})
    assert found.decisions() == [f"public.nokey: 10 in conflict (10: {NO_KEY})"]
    refused, left = judge_account(found.facts(), REFUSE), judge_account(found.facts(), LEAVE)
    assert (refused.status, left.status) == (Status.FAIL, Status.PASS)
    assert refused.next and "in conflict" in str(refused.reason) and "decision of the operator" in str(left.reason)
    assert judge_account(found.facts(), "").status is Status.FAIL, "no answer is no decision"
    assert needs_answer(found.facts()) == found.decisions()


@pytest.mark.parametrize(
    ("after", "before", "words"),
    [
        (counted(wal=10, as_before=8, left=2), None, "2 rows not back, and no reason is known"),
        (counted(wal=10, as_before=10, unexplained=3), None, "3 rows of the restored copy not in production"),
        (counted(wal=10, as_before=9), None, "WAL says 10 rows, comparing the restored copy with production says 9"),
        (counted(wal=10, as_before=10), counted(wal=10, left=9), "(before anything was copied back)"),
        (counted(wal=10, as_before=10), counted(wal=11, left=11), "WAL said 11 rows when this was planned, and 10 afterwards"),
        (counted(wal=10, as_before=10), counted(wal=10, left=10, by_triggers=2), "2 rows changed after WAL was read"),
        (counted(problem="lock timeout"), None, "could not be counted: lock timeout"),
    ],
)  # fmt: skip
def test_what_does_not_add_up_fails_whatever_is_decided(after: Counted, before: Counted | None, words: str) -> None:
    found = account(after, before)
    assert [said for said in found.problems() if words in said], found.problems()
    check = judge_account(found.facts(), LEAVE)
    assert check.status is Status.FAIL and check.reason and check.next
    assert found.rows()[0]["adds up"] == "no"


def test_changed_since_by_others_is_left_without_a_decision() -> None:
    keyed = account(counted(wal=10, as_before=8, by_others=2), reasons={CHANGED: 2})
    keyless = account(counted(wal=10, as_before=8, left=2), reasons={CHANGED: 2, SAME_CONTENT: 1})
    for found in (keyed, keyless):
        assert (found.problems(), found.decisions()) == ([], [])
        assert found.rows()[0]["changed since by others"] == 2


def test_later_rows_altered_rows_and_tables_left_alone_are_decisions() -> None:
    found = account(counted(wal=10, as_before=7, altered=3, later=4, columns={"updated_at": 3}))
    assert found.problems() == []
    assert found.decisions() == [
        f"public.nokey: 4 not brought back ({LATER})",
        "public.nokey: 3 back but altered: updated_at in 3",
    ]
    alone = account(counted(wal=10, left=10), problem="rule r rewrites what is written to it")
    assert alone.decisions() == ["public.nokey: 10 not brought back (rule r rewrites what is written to it)"]
    assert alone.problems() == []


def test_rows_that_a_trigger_changed_beside_the_damage_are_a_decision() -> None:
    found = account(counted(wal=10, as_before=10, by_triggers=3))
    assert found.problems() == []
    assert found.decisions() == [
        "public.nokey: 3 rows that the damage did not touch changed by triggers of the copy-back"
    ]
    assert "3 more changed by triggers" in found.rows()[0]["notes"]


def test_damage_without_a_name_and_an_empty_account_do_not_add_up() -> None:
    said = "relation 1663/5/9 (name not known): nobody knows which table this was; nothing of it is copied back"
    assert build_account([], [], CopyBackPlan(left=[said])).problems() == [said]
    assert build_account([], [], CopyBackPlan()).problems() == ["nothing that the damage took was found"]


def test_counts_of_before_outlive_an_attempt_and_may_lack() -> None:
    one = counted(wal=3, left=3, columns={"a": 1})
    assert load_counts(dump_counts([one])) == [one]
    found = build_account(None, [counted(wal=10, as_before=10)], CopyBackPlan())
    assert found.problems() == ["public.nokey: its rows were not counted before the copy-back"]
    assert found.rows()[0]["taken (compared)"] is None


def test_plan_that_would_restore_nothing_says_why() -> None:
    def plan(**more: object) -> CopyBackPlan:
        return CopyBackPlan([TableCopy("shop", "public.nokey", LOSS, **more)])  # type: ignore[arg-type]

    assert plan(insert=1).why_empty is None and plan(set_back=1).why_empty is None
    assert plan(is_made_again=True).why_empty is None, "an empty table is made again"
    assert "10 in conflict" in str(plan(reasons={NO_KEY: 10}).why_empty)
    assert plan(present=7).why_empty == "all 7 rows that the damage took are in production as they were"
    assert plan(insert=1, problem="left alone").why_empty == "public.nokey: left alone"
    assert CopyBackPlan().why_empty == "nothing that the damage did was found to be copied back"


def test_rows_that_nothing_brought_back_are_in_the_file_with_key_or_place(tmp_path: Path) -> None:
    other = TableLoss("public.people", named(VEHICLES, 16385, "people"))
    more = [
        (LOSS, Conflict("public.nokey", {"email": "ann@x"}, "(0,1)", "left alone")),
        (other, Conflict("public.people", {"code": "secret"}, "", "left alone")),
        (LOSS, Conflict("public.nokey", {}, "(3,4)", LATER)),
    ]
    path = write_conflicts(
        tmp_path, CopyBackPlan([TableCopy("shop", "public.nokey", LOSS)]), {"people.code": "drop"}, more
    )
    assert path.read_text().splitlines()[1:] == [
        '"shop","public.nokey","{""email"": ""a***""}","(0,1)","left alone"',
        '"shop","public.people",,,"left alone"',
        f'"shop","public.nokey",,"(3,4)","{LATER}"',
    ]


def test_post_mortem_has_the_account_and_what_is_not_back() -> None:
    found = account(counted(wal=10, as_before=7, left=3), reasons={NO_KEY: 3})
    text = draft(
        Course(Nothing()), run="r", target="t", incident="", commander="", decisions=[], facts={}, owners={}, account=found.facts()
    )  # fmt: skip
    assert (
        "## Account of the damage" in text
        and f"- Not back as it was: public.nokey: 3 in conflict (3: {NO_KEY})." in text
    )
    assert "| shop | public.nokey | 10 | 10 | 7 | 0 | 0 | 3 | 0 | yes |" in text


def test_plan_that_makes_only_objects_again_is_a_plan_and_adds_up() -> None:
    made = TakenObject("shop", "policy p on table public.t", "gone", DAMAGE, "")
    result = CopyBackPlan(objects=[made])
    assert result.why_empty is None
    found = build_account([], [], result)
    assert (found.problems(), found.decisions()) == ([], [])
    left = replace(made, why="it would run app.f as superuser")
    found = build_account([], [], CopyBackPlan(objects=[left]))
    assert found.problems() == [] and found.decisions() == [left.words], "an object that is left is a decision"
    assert CopyBackPlan(objects=[left]).why_empty is not None


def test_object_of_which_nobody_knows_who_changed_it_is_a_decision() -> None:
    made = TakenObject("shop", "view public.v", "gone", DAMAGE, "")
    unknown = TakenObject(
        "shop", "view public.w", "gone", UNKNOWN, "whose change that is, is not known; it is left as it is"
    )
    found = build_account([], [], CopyBackPlan(objects=[made, unknown]))
    assert (found.problems(), found.decisions()) == ([], [unknown.words])
    assert judge_account(found.facts(), "").status is Status.FAIL
    assert CopyBackPlan(objects=[unknown]).why_empty == unknown.words


def test_large_objects_that_were_not_followed_are_not_counted() -> None:
    pages = TableLoss("large objects", named(VEHICLES, 16384, "nokey"), damage=Rows(deleted=3))
    objects = LargeObjects("shop", [pages], None, unused, unused, lambda label, done, total: None)
    found = objects.count()
    assert found.problem is not None and "not followed" in found.problem
    assert found.disagreement is not None
