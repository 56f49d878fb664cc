"""DDL that destroys values is a suspect: a dropped column, a rewrite to another type, a partition emptied; and what was prepared first says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crime import LINEAGE, Scene, scene
from runbook.recovery.identify import name_columns
from runbook.recovery.loss import count_loss
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from runbook.recovery.relnames import NameBook
from runbook.recovery.suspects import Suspect, propose_target, rank_suspects
from undoing import damaged, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE TABLE notes (id int PRIMARY KEY, body text, price numeric(10, 4), extra text)",
    "INSERT INTO notes SELECT g, 'n' || g, g / 7.0, 'e' FROM generate_series(1, 3000) AS g",
    "CREATE TABLE part (id int, day date, v text) PARTITION BY RANGE (day)",
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
    "INSERT INTO part SELECT g, CASE WHEN g % 2 = 0 THEN '2020-05-05' ELSE '2021-05-05' END::date, 'v' FROM generate_series(1, 4000) AS g",
)


@pytest.fixture(scope="module")
def crime() -> Iterator[Scene]:
    with scene(*MADE, settings={"max_prepared_transactions": "5"}) as found:
        yield found


def accuse(crime: Scene, *statements: str, is_up: bool = True) -> tuple[list[Suspect], list[str]]:
    before = crime.run(*statements)
    names: NameBook = crime.names(present=is_up)
    found = crime.search()
    missed = name_columns(found, names, crime.open if is_up else None)
    return [one for one in rank_suspects(found, names, most=50) if one.commit.lsn >= before], missed


def test_dropped_column_is_a_suspect(crime: Scene) -> None:
    found, missed = accuse(crime, "ALTER TABLE notes DROP COLUMN extra")
    assert [one.kind for one in found] == ["drop column"] and missed == []
    assert "dropped column number 4 of public.notes (about 3,000 rows)" in found[0].sentence


def test_column_dropped_in_a_subtransaction_and_of_partitions_is_a_suspect(crime: Scene) -> None:
    found, _ = accuse(crime, "BEGIN; SAVEPOINT a; ALTER TABLE part DROP COLUMN v; RELEASE a; COMMIT")
    assert len(found) == 1 and "dropped column number 3 of public.part (about 4,000 rows)" in found[0].sentence, found


def test_rewrite_to_another_type_is_a_suspect_and_a_rewrite_as_it_was_is_none(crime: Scene) -> None:
    assert accuse(crime, "VACUUM FULL notes", "CLUSTER notes USING notes_pkey")[0] == []
    assert accuse(crime, "ALTER TABLE notes ADD COLUMN added int DEFAULT random() * 9")[0] == []
    assert (
        accuse(
            crime,
            "ALTER TABLE notes ALTER COLUMN body SET STATISTICS 50",
            "ALTER TABLE notes RENAME COLUMN body TO text",
        )[0]
        == []
    )
    found, _ = accuse(crime, "ALTER TABLE notes ALTER COLUMN price TYPE int USING 0")
    assert [one.kind for one in found] == ["alter column"]
    assert "rewrote with another definition of column price public.notes" in found[0].sentence


def test_emptied_partition_is_a_suspect_under_its_own_name(crime: Scene) -> None:
    found, _ = accuse(crime, "TRUNCATE part_1")
    assert (found[0].kind, found[0].rows) == ("truncate", 2000)
    assert found[0].tables == ("public.part_1, a partition of public.part",)


def test_server_that_is_down_leaves_the_columns_unknown_and_says_so(crime: Scene) -> None:
    found, missed = accuse(crime, "ALTER TABLE notes DROP COLUMN text", is_up=False)
    assert found[0].kind == "alter table" and "changed columns or defaults of public.notes" in found[0].sentence
    assert any("not known" in one for one in missed)


def test_damage_that_was_prepared_first_comes_back_as_prepared(crime: Scene) -> None:
    found, _ = accuse(
        crime,
        "BEGIN; DELETE FROM part WHERE id <= 1500; PREPARE TRANSACTION 'both'",
        "SELECT pg_logical_emit_message(true, 'test', 'a commit in between')",
        "COMMIT PREPARED 'both'",
    )
    target = propose_target(found[0])
    assert "it was prepared first (PREPARE TRANSACTION, 0/" in found[0].sentence
    assert found[0].returning(target.gate) == sorted(found[0].xids)
    assert found[0].returning(0) == []


def test_values_of_a_dropped_column_are_in_the_loss_files_and_copy_back_says_what_to_do(tmp_path: object) -> None:
    with damaged(*MADE, damage=("ALTER TABLE notes DROP COLUMN extra",)) as found:
        names, loss = found.crime.names(present=True), found.loss
        assert name_columns(found.crime.search(), names, found.crime.open) == []
        again = count_loss(
            found.crime.cluster.data / "pg_wal",
            LINEAGE,
            found.crime.cluster.tools,
            start=found.crime.start,
            gate=loss.gate,
            end=loss.reached,
            names=names,
            damage=frozenset(one.xid for one in loss.damage),
        )
        assert any("column number 4 dropped" in said for said in again.tables["public.notes"].fates)
        files = LossFiles(tmp_path / "loss", Minimiser({}))  # type: ignore[operator]
        (notes,) = [
            one for one in write_loss_rows(again, files, open_damaged=found.crime.open, open_restored=found.copy.open)
            if one.title == "public.notes"
        ]  # fmt: skip
        assert notes.count("updated_old") == 3000
        found.loss = again
        plan = found.copyback().plan()
        assert "set its values from the loss files" in str(table(plan, "public.notes").problem)
        assert plan.unrepaired
