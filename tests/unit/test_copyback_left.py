"""What a copy-back leaves damaged is said with its reasons, is in a file, and is never a PASS by silence."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from runbook import clock
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.recovery.conflictfile import write_conflicts
from runbook.recovery.copybackplan import NO_KEY, Conflict, CopyBackPlan, TableCopy
from runbook.recovery.loss import TableLoss
from runbook.recovery.plans import plan_way
from runbook.recovery.takenplan import TakenObject, shortened, write_statements
from runbook.recovery.transactions import Rows
from test_suspects import VEHICLES, named

NOKEY = TableLoss("public.nokey", named(VEHICLES, 16384, "nokey"), damage=Rows(updated=3))


def copy(**more: object) -> TableCopy:
    return TableCopy("shop", "public.nokey", NOKEY, **more)  # type: ignore[arg-type]


def test_table_of_which_nothing_comes_back_is_not_repaired() -> None:
    plan = CopyBackPlan([copy(reasons={NO_KEY: 3})])
    assert plan.unrepaired == ["public.nokey: none of the rows that the damage took is back, 3 in conflict"]
    assert plan.conflict_lines() == [f"public.nokey: 3 in conflict, left as they are (3: {NO_KEY})"]
    assert CopyBackPlan([copy(insert=5, reasons={NO_KEY: 3})]).unrepaired == []
    assert CopyBackPlan([copy(present=5)]).unrepaired == []


def test_what_is_not_as_it_was_stands_not_in_a_table_alone() -> None:
    table = copy()
    table.warn("2 rows not quite as before")
    assert CopyBackPlan([table]).warnings == ["public.nokey: 2 rows not quite as before"] and table.notes


def test_damage_without_a_name_and_a_plan_without_a_table_are_not_repaired() -> None:
    said = "relation 1663/5/9 (name not known): nobody knows which table this was; nothing of it is copied back"
    assert CopyBackPlan(left=[said]).unrepaired == [said]
    assert CopyBackPlan().unrepaired == ["nothing that the damage did was found to be copied back"]


def test_every_conflict_is_in_the_file_with_its_key_or_place_and_reason(tmp_path: Path) -> None:
    conflicts = [
        Conflict("public.nokey", {"id": "7", "email": "ann@x.example"}, "(0,1)", 'it\'s "there"'),
        Conflict("public.nokey", {}, "(0,2)", NO_KEY),
    ]
    result = CopyBackPlan([copy(conflicts=conflicts, reasons={NO_KEY: 4})])
    path = write_conflicts(tmp_path / "loss", result, {"*.id": "keep"})
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["reason"] for line in lines] == ['it\'s "there"', NO_KEY, "2 more are counted and not listed"]
    assert lines[0]["key"] == '{"id": "7", "email": "a***"}' and lines[1]["place in the restored copy"] == "(0,2)"
    assert path.stat().st_mode & 0o777 == 0o600


def common_facts() -> dict[str, Any]:
    """What every plan of a way needs."""
    at = clock.parse("2026-11-30T02:49:21.000000Z")
    point = RecoveryPoint("find", 1, "b1", 0x3000060, 0x3000058, None, None, at)
    return {"target": "t", "instance": "h:/d", "point": point, "moves": [], "discarded": "none", "why": "w"}


def test_plan_says_what_is_not_repaired_and_what_a_promotion_empties() -> None:
    common = common_facts()
    back = plan_way("copy-back", copied={}, left=["public.nokey: 3 in conflict"], **common)
    assert "Not repaired: public.nokey: 3 in conflict" in back.blast_radius and back.facts["not repaired"]
    forward = plan_way("promote", copied={}, also_lost=["Unlogged table a is empty"], prepared=[749], **common)
    assert "Unlogged table a is empty" in forward.blast_radius
    assert [one.what for one in forward.actions if "prepared transaction 749" in one.what]
    assert plan_way("promote", copied={}, **common).sha256 != forward.sha256  # type: ignore[arg-type]


def test_plan_names_triggers_and_sequences_with_what_becomes_of_them() -> None:
    common = common_facts() | {"copied": {}}
    triggers = {"shop: public.a": ["left out: trigger x", "fires: trigger y"], "shop: public.b": ["fires: trigger z"]}
    back = plan_way("copy-back", triggers=triggers, **common)
    assert [one.what.split(":")[0] + one.what.split(":")[1] for one in back.actions if "Leave out" in one.what] == [
        "Leave out triggers of shop public.a"
    ]
    assert {"shop: public.a: fires: trigger y", "shop: public.b: fires: trigger z"} <= set(back.blast_radius)
    assert back.facts["triggers"] == triggers
    forward = plan_way("promote", sequences={"shop: s": "1 and 2: set forward"}, forward=["shop: s"], **common)
    kept = plan_way("promote", sequences={"shop: s": "1 and 2: numbers are given out again"}, **common)
    assert [one.what for one in forward.actions if "sequence shop: s" in one.what]
    assert not [one.what for one in kept.actions if "sequence" in one.what] and forward.sha256 != kept.sha256


def test_object_that_is_left_is_not_repaired_and_its_statement_is_shown_as_it_is_or_in_the_file(tmp_path: Path) -> None:
    short = TakenObject(
        "shop", "policy seen on public.t", "gone", "damage", "why", ("CREATE POLICY seen ON public.t;",)
    )
    odd = TakenObject("shop", "view a\nb\x1b[1m", "gone", "mixed", "why", ("CREATE VIEW\n\u202e;",))
    made = TakenObject("shop", "trigger x on public.t", "gone", "damage", "", ())
    unknown = TakenObject("shop", "table public.u", "changed: relacl", "unknown", "whose change is not known", ())
    plan = CopyBackPlan(objects=[short, odd, made, unknown])
    assert plan.unrepaired == [
        "shop: policy seen on public.t (gone): why; to run: CREATE POLICY seen ON public.t;",
        "shop: view a␊b␛[1m (gone): why; its statement is in objects_not_made_again.sql",
    ]
    assert plan.objects_made == ["shop: trigger x on public.t (gone): made again"]
    assert plan.objects_unclear == ["shop: table public.u (changed: relacl): whose change is not known"]
    file = write_statements(tmp_path / "loss", plan.objects)
    assert file is not None and file.stat().st_mode & 0o777 == 0o600
    written = file.read_text("utf-8")
    assert (
        "CREATE POLICY seen ON public.t;" in written
        and "CREATE VIEW\n\u202e;" in written
        and "trigger x" not in written
    )
    assert "-- view a␊b" in written, "a name writes no line of its own"
    assert write_statements(tmp_path, [made]) is None
    assert shortened(["x"] * 150) == [*["x"] * 100, "50 objects more"]
