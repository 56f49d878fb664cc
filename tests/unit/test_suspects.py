"""Suspects are ranked by what they destroyed and how unusual it is; the sentence and the target follow."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from runbook.errors import OperatorError
from runbook.platforms.cluster.window import RecoveryPoint
from runbook.postgres.wal import Commit
from runbook.recovery.activity import bar_arguments, line_arguments, rows_over_time
from runbook.recovery.catalogrows import PG_CLASS
from runbook.recovery.filechanges import classify
from runbook.recovery.forensics import Span, WalSearch
from runbook.recovery.relnames import NameBook, RelationName
from runbook.recovery.suspects import Suspect, propose_target, rank_suspects, target_of
from runbook.recovery.transactions import CatalogStep, ClassRow, FileEvidence, RelFile, Rows, Transaction
from runbook.recovery.walnames import WalNames
from runbook.recovery.walsummary import Summary
from runbook.recovery.waltally import Ended, Key

BEGAN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
VEHICLES, QUEUE, TOAST = RelFile(1663, 5, 16384), RelFile(1663, 5, 16390), RelFile(1663, 5, 16400)


def named(file: RelFile | None, oid: int, name: str, **more: object) -> RelationName:
    facts: dict[str, object] = {
        "database": 5, "database_name": "shop", "schema": "public", "kind": "r", "estimated_rows": 9000.0, "owner_oid": None,
        "root_oid": None, "source": "test", **more,
    }  # fmt: skip
    return RelationName(file=file, oid=oid, name=name, **facts)  # type: ignore[arg-type]


def book() -> NameBook:
    names = NameBook()
    names.add([named(VEHICLES, 16384, "vehicles"), named(QUEUE, 16390, "queue")])
    names.add([named(TOAST, 16400, "pg_toast_16384", schema="pg_toast", kind="t", owner_oid=16384)])
    return names


class History:
    """Commits, one second apart unless told otherwise."""

    def __init__(self) -> None:
        self.summary, self.xid, self.last, self.names = Summary(), 700, None, WalNames()
        self.seconds = 0.0

    def commit(
        self, file: RelFile = VEHICLES, *, wait: float = 1.0, files: FileEvidence | None = None, **rows: int
    ) -> int:
        self.xid += 1
        self.seconds += wait
        at = (BEGAN + timedelta(seconds=self.seconds)).strftime("%Y-%m-%d %H:%M:%S.%f").encode()
        raw = (self.xid, f"0/{self.xid * 0x100:08X}".encode(), at)
        kinds = {"inserted": b"I", "updated": b"U", "deleted": b"D"}
        shape: tuple[tuple[Key, int], ...] = tuple(
            ((kinds[name], str(file).encode()), number) for name, number in rows.items()
        )
        self.summary.take({(at[:19], shape): [Ended(raw, self.last, files)]}, Counter([at[:19]]))
        if files is not None:
            self.names.take(files.catalog, files.created, files.filled)
        self.last = raw
        return self.xid

    def search(self) -> WalSearch:
        summary = self.summary
        spans = tuple(
            Span(datetime.fromtimestamp(at, UTC), summary.width, span.commits, span.relations)
            for at, span in sorted(summary.spans.items())
        )
        return WalSearch(
            start=0, reached=self.xid * 0x100, seconds=0.0, commits=summary.commits, aborted=0, first=None, last=None,
            last_counted=None, relations=summary.relations, spans=spans, transactions=tuple(summary.largest()),
            file_changes=tuple(summary.file_changes), file_changes_seen=summary.file_changes_seen, apart={},
            apart_xids=frozenset(), xids=array("I"), still_running=0, names=self.names, inserts=tuple(summary.inserts()),
        )  # fmt: skip

    def rank(self, names: NameBook | None = None) -> list[Suspect]:
        return rank_suspects(self.search(), names or book())


def class_row(oid: int, file: RelFile, name: str, *, rows: float | None = 9000.0, kind: str = "r") -> ClassRow:
    return ClassRow(5, oid, name, 2200, kind, "p", file, rows, 0, 3)


def given_file(oid: int, old: RelFile, new: RelFile, name: str, *, rows: float | None = 9000.0) -> list[CatalogStep]:
    """pg_class's row as the transaction changed it."""
    return [
        CatalogStep(1, PG_CLASS, 5, "u", class_row(oid, old, name, rows=rows), class_row(oid, new, name, rows=None))
    ]


def truncated(oid: int, old: RelFile, new: RelFile, name: str, *, rows: float | None = 9000.0) -> FileEvidence:
    return FileEvidence(removed=[old], created=[new], catalog=given_file(oid, old, new, name, rows=rows))


def quiet_hour(history: History) -> None:
    for number in range(600):
        history.commit(deleted=number % 2 + 1, wait=6.0)


def test_large_delete_stands_out_and_says_what_is_usual() -> None:
    history = History()
    quiet_hour(history)
    xid = history.commit(deleted=8312)
    suspect = history.rank()[0]
    assert (
        suspect.sentence
        == f"transaction {xid} deleted 8,312 rows of public.vehicles in one commit; a usual one deletes 0–2"
    )
    assert (suspect.kind, suspect.rows, suspect.xids) == ("delete", 8312, {xid})


def test_purge_that_happens_every_night_ranks_below_a_single_smaller_delete() -> None:
    history = History()
    for _ in range(40):
        history.commit(QUEUE, deleted=20_000, wait=60)
        history.commit(VEHICLES, deleted=1, wait=60)
    xid = history.commit(VEHICLES, deleted=3000, wait=60)
    assert history.rank()[0].xids == {xid}


def test_delete_outranks_an_update_of_as_many_rows() -> None:
    history = History()
    update, delete = history.commit(QUEUE, updated=500), history.commit(VEHICLES, deleted=500)
    assert [one.xids for one in history.rank()] == [{delete}, {update}]


def test_single_rows_are_no_suspects() -> None:
    history = History()
    for _ in range(50):
        history.commit(deleted=1, wait=30)
    assert history.rank() == []


def test_truncated_table_of_known_size_outranks_a_delete_of_a_part_of_it() -> None:
    history = History()
    history.commit(VEHICLES, deleted=4000)
    truncate = history.commit(files=truncated(16384, VEHICLES, RelFile(1663, 5, 16500), "vehicles"))
    first, second = history.rank()
    assert (first.xids, first.kind, first.rows) == ({truncate}, "truncate", 9000)
    assert "truncated public.vehicles (about 9,000 rows)" in first.sentence
    assert second.kind == "delete"


def test_staging_table_that_is_truncated_all_the_time_loses_weight() -> None:
    history = History()
    for number in range(4):
        history.commit(
            files=truncated(16390, RelFile(1663, 5, 16390 + number), RelFile(1663, 5, 16391 + number), "queue")
        )
    delete = history.commit(VEHICLES, deleted=5000)
    assert history.rank()[0].xids == {delete}


def test_toast_table_is_not_counted_as_rows() -> None:
    history = History()
    history.commit(TOAST, deleted=5000)
    assert history.rank() == []


def test_many_small_deletes_are_found_against_their_own_usual_rate() -> None:
    history = History()
    for _ in range(100):
        history.commit(deleted=1, wait=30)
    first = history.commit(deleted=1, wait=20)
    for _ in range(399):
        history.commit(deleted=1, wait=0.02)
    for _ in range(50):
        history.commit(deleted=1, wait=30)
    suspect = history.rank()[0]
    assert (suspect.kind, suspect.transactions, suspect.rows) == ("many deletes", 400, 400)
    assert suspect.commit.xid == first and suspect.has_all_xids
    target = propose_target(suspect)
    assert target.last_included is not None and target.last_included.xid == first - 1


def test_steady_deletes_are_no_burst() -> None:
    history = History()
    for _ in range(2000):
        history.commit(deleted=1, wait=0.5)
    assert history.rank() == []


def test_target_stands_behind_the_last_commit_included() -> None:
    history = History()
    before = history.commit(inserted=1)
    xid = history.commit(deleted=500)
    target = propose_target(history.rank()[0])
    assert target.last_included is not None and target.last_included.xid == before
    assert target.gate == target.last_included.lsn + 1
    assert target.first_left_out is not None and target.first_left_out.xid == xid


def test_choosing_nobody_is_refused() -> None:
    with pytest.raises(OperatorError, match="No suspect"):
        propose_target()


def test_point_that_was_asked_for_has_the_same_shape_and_the_end_is_none() -> None:
    commit = Commit(7, 100, BEGAN)
    point = RecoveryPoint("2026-11-23T03:00:00Z", 1, "first", 90, 88, None, commit, BEGAN)
    assert (target_of(point).gate, target_of(point).first_left_out) == (90, commit)
    with pytest.raises(OperatorError, match="end of the archive"):
        target_of(RecoveryPoint("latest", 1, "first", None, 88, commit, None, BEGAN))


def transaction(files: FileEvidence, rows: dict[RelFile, Rows] | None = None) -> Transaction:
    return Transaction(Commit(7, 100, BEGAN), None, rows or {}, files)


def test_dropped_table_keeps_its_name_and_an_index_is_no_table() -> None:
    names = book()
    names.add([named(RelFile(1663, 5, 16392), 16392, "queue_pkey", kind="i", owner_oid=16390)])
    dropped = classify(
        transaction(FileEvidence(removed=[QUEUE, RelFile(1663, 5, 16392)], dropped_oids=[(5, 16392), (5, 16390)])),
        names,
    )
    assert (dropped.dropped, dropped.truncated) == ((QUEUE,), ())


def test_rewrite_is_told_from_a_truncation_by_the_transient_relation_that_made_its_file() -> None:
    new, passing = RelFile(1663, 5, 16500), class_row(16500, RelFile(1663, 5, 16500), "pg_temp_16384")
    steps = [
        CatalogStep(1, PG_CLASS, 5, "i", None, passing),
        CatalogStep(2, PG_CLASS, 5, "u", class_row(16384, VEHICLES, "vehicles"), class_row(16384, new, "vehicles")),
        CatalogStep(3, PG_CLASS, 5, "u", passing, class_row(16500, VEHICLES, "pg_temp_16384")),
        CatalogStep(4, PG_CLASS, 5, "d", class_row(16500, VEHICLES, "pg_temp_16384"), None),
    ]
    found = classify(transaction(FileEvidence(removed=[VEHICLES], created=[new], catalog=steps)), book())
    assert not found and (found.rewritten, found.replaced) == ((VEHICLES,), ((VEHICLES, new),))
    # Cut to nothing after the rewrite, in place: the rows are gone all the same.
    cut = FileEvidence(removed=[VEHICLES], created=[new], catalog=steps, emptied={new})
    assert classify(transaction(cut), book()).truncated == (VEHICLES,)


NEW, OTHER = RelFile(1663, 5, 16500), RelFile(1663, 5, 16501)


def step(at: int, kind: str, old: ClassRow | None, new: ClassRow | None) -> CatalogStep:
    return CatalogStep(at, PG_CLASS, 5, kind, old, new)


def vehicles(file: RelFile = VEHICLES) -> ClassRow:
    return class_row(16384, file, "vehicles")


def passing(file: RelFile) -> ClassRow:
    """The transient relation of a rewrite."""
    return class_row(16500, file, "pg_temp_16384")


REWRITE = [
    step(1, "i", None, passing(NEW)),
    step(2, "u", vehicles(), vehicles(NEW)),
    step(3, "u", passing(NEW), passing(VEHICLES)),
    step(4, "d", passing(VEHICLES), None),
]
#: What is read of each, in which a row of pg_class was not; and what is said of the table.
UNREAD = {
    "truncated, the new row unread": ([step(1, "u", vehicles(), None)], [NEW], {}, "unclear"),
    "truncated, both rows unread": ([step(1, "u", None, None)], [NEW], {}, "unclear"),
    "truncated and then changed, its first row unread": (
        [step(1, "u", None, vehicles(NEW)), step(2, "u", vehicles(NEW), vehicles(NEW))], [NEW], {}, "unclear"),
    "dropped after a change, the delete unread": (
        [step(1, "u", vehicles(), vehicles()), step(2, "d", None, None)], [], {"dropped_oids": [(5, 16384)]}, "dropped"),
    "dropped after a change, its first row unread": (
        [step(1, "u", None, vehicles()), step(2, "d", vehicles(), None)], [], {}, "dropped"),
    "truncated after a rewrite, the last row unread": (
        [*REWRITE, step(5, "u", vehicles(NEW), None)], [NEW, OTHER], {}, "unclear"),
    "truncated after a rewrite, that one's row unread": (
        [REWRITE[0], *REWRITE[2:], step(5, "u", vehicles(NEW), vehicles(OTHER))], [NEW, OTHER], {}, "unclear"),
    "rewritten after a truncation that was not read": (
        [step(1, "u", vehicles(), None), REWRITE[0], step(3, "u", None, vehicles(NEW)), *REWRITE[2:]],
        [OTHER, NEW], {}, "unclear"),
    "rewritten, after a truncation that only the next row shows": (
        [step(1, "u", vehicles(), vehicles()), REWRITE[0], step(3, "u", vehicles(OTHER), vehicles(NEW)),
         step(4, "u", passing(NEW), passing(OTHER))], [OTHER, NEW], {}, "truncated"),
    "rewritten, the transient's insert unread": (REWRITE[1:], [NEW], {"filled": {NEW}}, "rewritten"),
    "rewritten without images, the transient's insert unread": (
        [step(1, "i", None, None), *REWRITE[1:2], step(3, "u", None, passing(VEHICLES)), REWRITE[3]], [NEW], {}, "unclear"),
    "rewritten without images, only the transient's end read": ([REWRITE[1], REWRITE[3]], [NEW], {}, "unclear"),
    "rewritten and then dropped, only the transient's end read": (
        [REWRITE[3], step(5, "d", None, None)], [NEW], {"dropped_oids": [(5, 16384)]}, "dropped"),
    "rewritten, nothing of the transient read": ([REWRITE[1]], [NEW], {"filled": {NEW}}, "unclear"),
    "rewritten, the table's own row unread": ([REWRITE[0], *REWRITE[2:]], [NEW], {"filled": {NEW}}, "unclear"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_row_of_pg_class_that_was_not_read_hides_no_damage_and_makes_none(name: str) -> None:
    steps, created, more, expected = UNREAD[name]
    passed = [NEW if created[-1] == OTHER else OTHER] if len(created) > 1 else []
    evidence = FileEvidence(removed=[VEHICLES, *passed], created=created, catalog=steps, **more)  # type: ignore[arg-type]
    found = classify(transaction(evidence), book())
    said = {kind: getattr(found, kind) for kind in ("dropped", "truncated", "rewritten", "unclear")}
    assert said == {kind: (VEHICLES,) if kind == expected else () for kind in said}


def test_index_whose_rows_were_not_read_to_the_end_is_no_damage() -> None:
    index = class_row(16384, VEHICLES, "vehicles_pkey", kind="i")
    evidence = FileEvidence(removed=[VEHICLES], created=[NEW], catalog=[step(1, "u", index, None)])
    assert not classify(transaction(evidence), book())


def test_file_that_no_catalog_row_explains_is_not_known_and_no_other_table() -> None:
    evidence = truncated(16390, QUEUE, RelFile(1663, 5, 16500), "queue")
    evidence.removed.append(RelFile(1663, 5, 16499))
    evidence.created.append(RelFile(1663, 5, 16501))
    found = classify(transaction(evidence), book())
    assert (found.truncated, found.unclear) == ((QUEUE,), (RelFile(1663, 5, 16499),))
    history = History()
    history.commit(files=evidence)
    (suspect,) = history.rank()
    assert set(suspect.tables) == {"public.queue", "relation 1663/5/16499 (name not known)"} and suspect.unnamed


def test_size_that_an_analyze_wrote_down_afterwards_is_none() -> None:
    names = NameBook()
    names.add([named(RelFile(1663, 5, 16500), 16390, "queue", estimated_rows=0.0)], is_present=True)
    history = History()
    history.commit(files=truncated(16390, QUEUE, RelFile(1663, 5, 16500), "queue", rows=None))
    assert "truncated public.queue (size not known)" in history.rank(names)[0].sentence


def test_partition_is_titled_by_its_own_name() -> None:
    names = NameBook()
    first, second = RelFile(1663, 5, 16601), RelFile(1663, 5, 16602)
    names.add([named(None, 16600, "orders", kind="p")])
    names.add([named(first, 16601, "orders_2023", root_oid=16600), named(second, 16602, "orders_2024", root_oid=16600)])
    history = History()
    history.commit(files=truncated(16601, first, RelFile(1663, 5, 16700), "orders_2023"))
    history.commit(first, deleted=500)
    titles = {one.kind: one.tables for one in history.rank(names)}
    assert titles["truncate"] == titles["delete"] == ("public.orders_2023, a partition of public.orders",)
    assert names.joint_title([first, second]) == "public.orders"
    assert names.partitions_in([first, second]) == " (partitions orders_2023, orders_2024)"


def test_name_that_nobody_knows_is_shown_as_a_file() -> None:
    assert book().title(RelFile(1663, 16384, 24601)) == "relation 1663/16384/24601 (name not known)"


def test_activity_over_time_marks_the_suspects() -> None:
    history = History()
    quiet_hour(history)
    history.commit(deleted=8312)
    history.commit(QUEUE, inserted=4)
    search, names = history.search(), book()
    suspects = rank_suspects(search, names)
    points = rows_over_time(search, names, "deleted")
    assert sum(number for _, number in points) == 8312 + 900 and len(points) == 61
    assert sum(number for _, number in rows_over_time(search, names, "inserted", table="public.queue")) == 4
    assert sum(number for _, number in rows_over_time(search, names, "commits")) == 602
    line = line_arguments(search, names, suspects)
    assert len(line["labels"]) == len(line["values"]) and suspects[0].sentence in line["finding"]
    bars = bar_arguments(search, names, suspects)
    assert len(bars["labels"]) <= 30 and [label for label in bars["labels"] if "suspect 1" in label] == [
        bars["labels"][-1]
    ]
