"""A relation that nobody can name is UNKNOWN; the restored copy is asked last, and what it names is counted with its table."""

from __future__ import annotations

from dataclasses import replace

from runbook.model import Status
from runbook.recovery.execution import check_names
from runbook.recovery.loss import Loss, TableLoss, Xids
from runbook.recovery.transactions import RelFile, Rows
from test_suspects import VEHICLES, History, book, named

LOST = RelFile(1663, 5, 99999)


def loss_of(*tables: TableLoss) -> Loss:
    by_title = {table.title: table for table in tables}
    return Loss(0, 0, 0, None, None, (), by_title, Xids([]), Xids([]), History().search())


def unnamed(**more: Rows) -> TableLoss:
    return TableLoss(
        f"relation {LOST} (name not known)", None, file=LOST, fates=["dropped by transaction 7 (damage)"], **more
    )


def test_damage_without_a_name_is_unknown_and_says_what_would_resolve_it() -> None:
    found = check_names(loss_of(unnamed()))
    assert found.status is Status.UNKNOWN
    assert "1663/5/99999" in str(found.reason) and "relfilenode" in str(found.next)
    others = TableLoss("relation 1663/5/1 (name not known)", None, file=RelFile(1663, 5, 1), others=Rows(inserted=1))
    assert check_names(loss_of(others)).status is Status.PASS, "no damage"


def test_relation_of_another_line_has_no_name_of_this_one() -> None:
    """After two timelines part, the same number stands for another relation."""
    names = book()
    names.add_missing([named(LOST, 99999, "scratchpad")])
    ahead, parted = replace(loss_of(unnamed()), gate=600), replace(loss_of(unnamed()), gate=100)
    loss = replace(loss_of(unnamed()), gate=500, elsewhere=(ahead, parted))
    loss.name_again(names, [named(LOST, 99999, "orders")])
    assert [list(line.tables) for line in loss.lines] == [
        ["public.scratchpad"],
        ["public.orders"],
        [f"relation {LOST} (name not known)"],
    ]


def test_name_that_only_the_copy_has_joins_its_table() -> None:
    names = book()
    loss = loss_of(
        unnamed(damage=Rows(deleted=3)), TableLoss("public.vehicles", names.table(VEHICLES), damage=Rows(deleted=2))
    )
    loss.name_again(names)
    assert len(loss.unnamed()) == 1
    names.add_missing([named(LOST, 16384, "renamed since"), named(RelFile(1663, 5, 1), 5, "other")])
    loss.name_again(names)
    assert loss.unnamed() == [] and list(loss.tables) == ["public.vehicles"]
    table = loss.tables["public.vehicles"]
    assert (table.damage, table.fates) == (Rows(deleted=5), ["dropped by transaction 7 (damage)"])
    assert check_names(loss).status is Status.PASS
