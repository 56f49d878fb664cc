"""What a recovery discards is counted to the transaction and the row, and its rows lie in files, personal data masked."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crime import LINEAGE, Scene, scene
from restored import Restored, restored
from runbook.errors import PlatformError
from runbook.recovery.deletions import find_deletions
from runbook.recovery.loss import Loss, count_loss
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossreport import TableRows, tell
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from runbook.recovery.suspects import Suspect, propose_target, rank_suspects

pytestmark = pytest.mark.server

CUSTOMERS = 2000
NOTE = 'a "quoted", two\nlines; ünïcode'


@dataclass
class Aftermath:
    """Damage was done while others worked; `copy` is restored to just before it."""

    crime: Scene
    suspect: Suspect
    loss: Loss
    copy: Restored

    def write(self, folder: Path, rules: dict[str, str] | None = None) -> dict[str, TableRows]:
        places = find_deletions(
            self.crime.cluster.data / "pg_wal",
            LINEAGE,
            self.crime.cluster.tools,
            self.crime.start,
            self.loss.reached,
            self.loss.xids,
            self.loss.damage_xids,
            files=self.loss.damage_files,
        )
        files = LossFiles(folder, Minimiser(rules))
        found = write_loss_rows(
            self.loss, files, open_damaged=self.crime.open, open_restored=self.copy.open, deleted_by_others=places
        )
        return {table.title: table for table in found}


def count(crime: Scene, suspect: Suspect) -> Loss:
    return count_loss(
        crime.cluster.data / "pg_wal",
        LINEAGE,
        crime.cluster.tools,
        start=crime.start,
        gate=propose_target(suspect).gate,
        end=crime.position(),
        names=crime.names(),
        damage=suspect.xids,
    )


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    """Transactions that straddle the target, subtransactions, cascades, tables without a key, with a new column, dropped, new."""
    with scene(
        "CREATE TABLE customer (id int PRIMARY KEY, email text, note text)",
        f"INSERT INTO customer SELECT g, 'a' || g || '@x', 'n' FROM generate_series(1, {CUSTOMERS}) AS g",
        'CREATE TABLE "Order Lines" ("Line No" int, customer int REFERENCES customer ON DELETE CASCADE, PRIMARY KEY ("Line No", customer))',
        f'INSERT INTO "Order Lines" SELECT g, g % {CUSTOMERS} + 1 FROM generate_series(1, 4000) AS g',
        "CREATE TABLE keyless (a int, b text)",
        "INSERT INTO keyless SELECT g % 50, 'same' FROM generate_series(1, 200) AS g",
        "CREATE TABLE quiet (id int PRIMARY KEY)",
        "CREATE TABLE part (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')",
        "INSERT INTO part SELECT g, '2020-01-01' FROM generate_series(1, 100) AS g",
        "CREATE TABLE log (id int PRIMARY KEY, x text)",
        "INSERT INTO log SELECT g, 'x' FROM generate_series(1, 300) AS g",
    ) as crime:
        late = crime.cluster.connect("shop")
        late.execute("BEGIN")
        late.execute("INSERT INTO customer VALUES (9001, 'late@x', NULL)")
        crime.run("INSERT INTO customer VALUES (9000, 'kept@x', '')", "DELETE FROM log WHERE id = 300")
        crime.run("DELETE FROM customer WHERE id BETWEEN 101 AND 1100")
        late.execute("COMMIT")
        late.close()
        with crime.cluster.connect("shop") as other:
            for statement in (
                "INSERT INTO customer VALUES (9002, '', NULL)",
                "UPDATE customer SET email = 'new@x' WHERE id = 5",
                "UPDATE customer SET email = email WHERE id = 6",
                "DELETE FROM customer WHERE id IN (1500, 1501)",
                "INSERT INTO keyless VALUES (7, 'same'), (7, 'same'), (8, 'other')",
                "DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 9)",
                "UPDATE part SET day = '2021-06-01' WHERE id = 1",
                "CREATE TABLE fresh (id int PRIMARY KEY, x text)",
                "INSERT INTO fresh VALUES (1, 'new')",
                "ALTER TABLE log ADD y int DEFAULT 3",
                "UPDATE log SET x = 'z' WHERE id = 1",
                "BEGIN",
                "SAVEPOINT a",
                "INSERT INTO quiet VALUES (1)",
                "RELEASE a",
                "SAVEPOINT b",
                "INSERT INTO quiet VALUES (2)",
                "ROLLBACK TO b",
                "COMMIT",
                "BEGIN",
                "INSERT INTO quiet VALUES (77)",
                "ROLLBACK",
            ):
                other.execute(statement)
            other.execute("INSERT INTO customer VALUES (9003, 'n@x', %s)", [NOTE])
        crime.cluster.sql("VACUUM FREEZE", database="shop")
        crime.cluster.switch()
        suspect = rank_suspects(crime.search(), crime.names())[0]
        loss = count(crime, suspect)
        cluster = crime.cluster
        with restored(cluster.tools, cluster.user, crime.backup, cluster.archive, loss.gate) as copy:
            yield Aftermath(crime, suspect, loss, copy)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_operation(rows: list[dict[str, str]], column: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row["_operation"], row["_by"]), []).append(row[column])
    return {key: sorted(values) for key, values in found.items()}


def test_transactions_are_counted_by_table_and_the_damage_apart(aftermath: Aftermath) -> None:
    loss = aftermath.loss
    assert aftermath.suspect.rows == 1000 + 2000
    assert {one.xid for one in loss.damage} == set(aftermath.suspect.xids)
    customer = loss.tables["public.customer"]
    assert (customer.others.inserted, customer.others.updated, customer.others.deleted) == (3, 2, 2)
    assert (customer.damage.inserted, customer.damage.updated, customer.damage.deleted) == (0, 0, 1000)
    lines = loss.tables['public."Order Lines"']
    assert (lines.others.deleted, lines.damage.deleted) == (4, 2000)
    assert loss.tables["public.quiet"].others.inserted == 1, "a rolled-back subtransaction counts nowhere"
    assert loss.first is not None and loss.first.lsn > loss.gate
    assert loss.last is not None and loss.last.lsn > loss.first.lsn


def test_transaction_that_began_before_the_target_is_discarded_whole(aftermath: Aftermath, tmp_path: Path) -> None:
    aftermath.write(tmp_path, {"*.email": "keep"})
    found = read(tmp_path / "shop.public.customer.csv")
    assert [row["_operation"] for row in found if row["id"] == "9001"] == ["inserted"]
    assert [row for row in found if row["id"] == "9000"] == [], "it committed before the target"


def test_rows_are_had_by_operation_and_by_whose_they_are(aftermath: Aftermath, tmp_path: Path) -> None:
    found = aftermath.write(tmp_path)
    rows = by_operation(read(tmp_path / "shop.public.customer.csv"), "id")
    assert rows["inserted", "other"] == ["9001", "9002", "9003"]
    assert rows["updated_old", "other"] == rows["updated_new", "other"] == ["5"], (
        "an update without a change is no loss"
    )
    assert rows["deleted", "other"] == ["1500", "1501"]
    assert rows["deleted", "damage"] == sorted(str(number) for number in range(101, 1101))
    assert len(rows) == 5
    lines = found['public."Order Lines"']
    assert [table.title for table in found.values() if table.problem] == []
    assert (lines.count("deleted", "damage"), lines.count("deleted", "other")) == (2000, 4)


def test_moved_row_of_a_partitioned_table_is_deleted_and_inserted_by_key(aftermath: Aftermath, tmp_path: Path) -> None:
    aftermath.write(tmp_path)
    rows = by_operation(read(tmp_path / "shop.public.part.csv"), "day")
    assert rows == {("deleted", "other"): ["2020-01-01"], ("inserted", "other"): ["2021-06-01"]}


def test_table_without_a_key_is_compared_by_content(aftermath: Aftermath, tmp_path: Path) -> None:
    found = aftermath.write(tmp_path)["public.keyless"]
    rows = by_operation(read(tmp_path / "shop.public.keyless.csv"), "a")
    assert rows == {("deleted", "other"): ["9"], ("inserted", "other"): ["7", "7", "8"]}
    assert any("no key" in note for note in found.notes)


def test_new_table_new_column_and_new_rows_are_in(aftermath: Aftermath, tmp_path: Path) -> None:
    found = aftermath.write(tmp_path)
    assert found["public.fresh"].count("inserted", "other") == 1, "made after the backup: WAL names it"
    log = read(tmp_path / "shop.public.log.csv")
    assert [(row["_operation"], row["x"], row["y"]) for row in log] == [
        ("updated_old", "x", ""),
        ("updated_new", "z", "3"),
    ]


def test_null_and_empty_and_awkward_text_stay_apart(aftermath: Aftermath, tmp_path: Path) -> None:
    aftermath.write(tmp_path, {"customer.email": "keep"})
    text = (tmp_path / "shop.public.customer.csv").read_text(encoding="utf-8")
    assert '"9002","",\n' in text, "an empty e-mail and a note that is NULL"
    assert next(row for row in read(tmp_path / "shop.public.customer.csv") if row["id"] == "9003")["note"] == NOTE
    with aftermath.crime.cluster.connect() as connection:
        connection.execute(
            "CREATE TEMP TABLE back (operation text, whose text, xid text, id int, email text, note text)"
        )
        with connection.cursor().copy("COPY back FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(text)
        found = connection.execute("SELECT email, note FROM back WHERE id IN (9002, 9003) ORDER BY id").fetchall()
    assert found == [("", None), ("n@x", NOTE)]


def test_personal_data_is_masked_unless_params_say_otherwise(aftermath: Aftermath, tmp_path: Path) -> None:
    for rules, seen in (
        ({}, "n***"), ({"customer.email": "keep"}, "n@x"), ({"*.email": "hash"}, "hmac:"), ({"public.customer.email": "drop"}, None),
    ):  # fmt: skip
        aftermath.write(tmp_path, dict(rules))
        row = next(row for row in read(tmp_path / "shop.public.customer.csv") if row["id"] == "9003")
        if seen is None:
            assert "email" not in row
        elif seen == "n***":
            assert row["email"] == "***", "three letters tell too much"
        else:
            assert row["email"].startswith(seen)
        if seen != "n@x":
            assert "late@x" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_manifest_tells_what_each_file_holds(aftermath: Aftermath, tmp_path: Path) -> None:
    aftermath.write(tmp_path, {"*.emial": "keep"})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rules that met no column"] == ["*.emial"]
    listed = {entry["file"]: entry for entry in manifest["files"] if entry["file"]}
    assert set(listed) == {path.name for path in tmp_path.glob("*.csv")}
    for name, entry in listed.items():
        content = (tmp_path / name).read_bytes()
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (
            entry["rows"] == len(read(tmp_path / name)) == sum(sum(whose.values()) for whose in entry["found"].values())
        )
    assert listed["shop.public.customer.csv"]["columns"]["email"] == "mask"
    assert oct((tmp_path / "manifest.json").stat().st_mode & 0o777) == "0o600"
    assert manifest["loss"]["transactions"] == aftermath.loss.transactions


def test_without_a_restored_copy_the_written_rows_are_had_and_the_rest_is_said(
    aftermath: Aftermath, tmp_path: Path
) -> None:
    found = write_loss_rows(
        aftermath.loss, LossFiles(tmp_path, Minimiser()), open_damaged=aftermath.crime.open, open_restored=None
    )
    rows = by_operation(read(tmp_path / "shop.public.customer.csv"), "id")
    assert rows == {("written", "other"): ["5", "6", "9001", "9002", "9003"]}
    customer = next(table for table in found if table.title == "public.customer")
    assert any("no restored copy" in note for note in customer.notes)


def test_deletions_are_unknown_when_nobody_looked_whose_they_are(aftermath: Aftermath, tmp_path: Path) -> None:
    write_loss_rows(
        aftermath.loss,
        LossFiles(tmp_path, Minimiser()),
        open_damaged=aftermath.crime.open,
        open_restored=aftermath.copy.open,
    )
    rows = by_operation(read(tmp_path / "shop.public.customer.csv"), "id")
    assert len(rows["deleted", "unknown"]) == 1002 and ("deleted", "damage") not in rows


def test_unreachable_damaged_server_is_no_loss_of_everything(aftermath: Aftermath, tmp_path: Path) -> None:
    found = write_loss_rows(
        aftermath.loss, LossFiles(tmp_path, Minimiser()), open_damaged=None, open_restored=aftermath.copy.open
    )
    assert all(table.operations == {} and table.notes for table in found)
    assert list(tmp_path.glob("*.csv")) == []


@pytest.mark.faults
def test_lock_is_told_of_the_server_that_keeps_it(tmp_path: Path) -> None:
    """The copy gives its locks up with its promotion; who holds one on the damaged server must be found."""
    with scene(
        "CREATE TABLE held (id int PRIMARY KEY)",
        "INSERT INTO held SELECT generate_series(1, 100)",
        "CREATE TABLE item (id int PRIMARY KEY)",
        "INSERT INTO item SELECT generate_series(1, 500)",
    ) as crime:
        with crime.cluster.connect("shop") as under_way:
            under_way.execute("BEGIN")
            under_way.execute("TRUNCATE held")
            crime.run("INSERT INTO item VALUES (501)", "DELETE FROM item")
            under_way.execute("COMMIT")
        crime.cluster.switch()
        suspect = next(one for one in rank_suspects(crime.search(), crime.names()) if one.rows == 501)
        loss, cluster = count(crime, suspect), crime.cluster

        def write() -> dict[str, TableRows]:
            files = LossFiles(tmp_path, Minimiser())
            found = write_loss_rows(loss, files, open_damaged=crime.open, open_restored=copy.open)
            return {one.title: one for one in found}

        with restored(cluster.tools, cluster.user, crime.backup, cluster.archive, loss.gate) as copy:
            once = write()
            with cluster.connect("shop") as somebody:
                somebody.execute("BEGIN")
                somebody.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
                again = write()
    held, item = once["public.held"], again["public.item"]
    assert held.is_held and "In the restored copy" in (held.problem or ""), held
    assert once["public.item"].count("deleted") == 501
    assert not item.is_held and "on the damaged server" in (item.problem or ""), item
    told = tell([*once.values()], tmp_path)
    assert told.checks == [] and told.facts["limits"] == [held.problem] and told.facts["open"] == []
    told = tell([*again.values()], tmp_path)
    assert [(check.status, check.reason) for check in told.checks] == [("UNKNOWN", item.problem)]


def test_folder_that_cannot_be_written_says_what_to_do(aftermath: Aftermath, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(PlatformError, match="cannot be written"):
        aftermath.write(blocked / "loss")


@pytest.mark.timeout(90)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_disk_that_fills_is_said(aftermath: Aftermath, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(PlatformError, match="cannot be written"):
            aftermath.write(small / "loss")
    finally:
        subprocess.run(["umount", str(small)], check=True)
