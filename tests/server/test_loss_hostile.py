"""Loss files of tables whose owner waits for the one who reads them: nothing of the owner's runs, and the files say what is lost."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crime import Scene
from restored import Restored
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossreport import TableRows
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from traps import READ, witnesses
from undoing import damaged

pytestmark = [pytest.mark.server, pytest.mark.faults]

DAMAGE = (
    "DELETE FROM coloured WHERE n <= 2",
    "UPDATE coloured SET words = 'x' WHERE n = 3",
    "DELETE FROM graded WHERE n <= 4",
    "DELETE FROM indexed WHERE id <= 5",
    "DELETE FROM keyless WHERE b = 1",
)
AFTER = (
    "INSERT INTO coloured VALUES ('blue', 1)",
    "UPDATE graded SET pair = ROW(0, 'new'::text)::pair WHERE n = 10",
    "INSERT INTO graded VALUES ('a', 99)",
    "UPDATE indexed SET n = 0 WHERE id = 10",
    "INSERT INTO keyless VALUES ('fresh', 7)",
)


@dataclass
class Read:
    """Loss files written as superuser, with what the two logs say since."""

    found: dict[str, TableRows]
    folder: Path
    ran: list[str]

    def rows(self, table: str, operation: str) -> list[dict[str, str]]:
        file = self.found[f"public.{table}"].file
        assert file is not None
        with (self.folder / file).open(encoding="utf-8", newline="") as opened:
            return [row for row in csv.DictReader(opened) if row["_operation"] == operation]


def ran(crime: Scene, copy: Restored) -> list[str]:
    return [*witnesses(crime.cluster.log), *witnesses(copy.log)]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    with damaged(*READ, damage=DAMAGE, after=AFTER) as at:
        folder = tmp_path_factory.mktemp("loss")
        before = len(ran(at.crime, at.copy))
        found = write_loss_rows(
            at.loss,
            LossFiles(folder, Minimiser({})),
            open_damaged=at.crime.open,
            open_restored=at.copy.open,
            deleted_by_others=at.fates,
        )
        yield Read({table.title: table for table in found}, folder, ran(at.crime, at.copy)[before:])


def test_nothing_of_the_owner_runs_even_for_a_superuser(read: Read) -> None:
    assert read.ran == []


def test_rows_are_told_all_the_same(read: Read) -> None:
    assert [table.problem for table in read.found.values()] == [None] * 4
    assert sorted(row["n"] for row in read.rows("graded", "deleted")) == ["1", "2", "3", "4"]
    assert [(row["pair"], row["grades"]) for row in read.rows("graded", "updated_new")] == [("(0,new)", "{a,b}")]
    assert [row["pair"] for row in read.rows("graded", "updated_old")] == ["(10,x)"]
    assert [row["n"] for row in read.rows("graded", "inserted")] == ["99"]
    assert sorted(row["id"] for row in read.rows("indexed", "deleted")) == ["1", "2", "3", "4", "5"]
    assert [row["n"] for row in read.rows("indexed", "updated_new")] == ["0"]
    assert len(read.rows("keyless", "deleted")) == 6
    assert [(row["a"], row["b"]) for row in read.rows("keyless", "inserted")] == [("fresh", "7")]


def test_writer_is_known_where_only_the_key_is_not_to_be_compared(read: Read) -> None:
    found = {
        operation: sorted((row["c"], row["n"], row["_by"]) for row in read.rows("coloured", operation))
        for operation in ("deleted", "updated_old", "updated_new", "inserted")
    }
    assert found == {
        "deleted": [("red", "1", "damage"), ("red", "2", "damage")],
        "updated_old": [("red", "3", "damage")],
        "updated_new": [("red", "3", "damage")],
        "inserted": [("blue", "1", "other")],
    }


def test_what_was_read_by_copy_says_so(read: Read) -> None:
    assert any("fold" in note and "COPY" in note for note in read.found["public.indexed"].notes)
    assert not any("COPY" in note for note in read.found["public.graded"].notes if "far" not in note)
