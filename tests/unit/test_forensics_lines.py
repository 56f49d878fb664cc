"""pg_waldump's lines, as PostgreSQL 17.10 printed them, become transactions; the columns and the pattern never disagree."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runbook.postgres.wal import parse_lsn
from runbook.recovery.transactions import RelFile, Rows
from runbook.recovery.walcolumns import Block, parse_block, parse_lines
from runbook.recovery.walsummary import MOST_SPANS, OTHERS, Summary, rows_of
from runbook.recovery.waltally import Ended, Tally

DELETE = "desc: DELETE xmax: {xid}, off: {n}, infobits: [KEYS_UPDATED], flags: 0x{flags}, blkref #0: rel {rel} blk 0"
INSERT = "desc: INSERT off: {n}, flags: 0x00, blkref #0: rel {rel} blk 0"
FPW = "desc: INSERT+INIT off: 1, flags: 0x00, blkref #0: rel {rel} blk 7 FPW"
UPDATE = "desc: UPDATE old_xmax: {xid}, old_off: 8, old_infobits: [], flags: 0x00, new_xmax: 0, new_off: 14, blkref #0: rel {rel} blk 2, blkref #1: rel {rel} blk 0"
HOT = "desc: HOT_UPDATE old_xmax: {xid}, old_off: 1, old_infobits: [], flags: 0x60, new_xmax: 0, new_off: 5, blkref #0: rel {rel} blk 1"
LOCK = "desc: LOCK xmax: {xid}, off: 21, infobits: [LOCK_ONLY, EXCL_LOCK], flags: 0x00, blkref #0: rel {rel} blk 16 FPW"
INPLACE = "desc: INPLACE off: 3, blkref #0: rel {rel} blk 1"
CONFIRM = "desc: HEAP_CONFIRM off: 28, blkref #0: rel {rel} blk 0"
MULTI = "desc: MULTI_INSERT ntuples: {n}, flags: 0x02, blkref #0: rel {rel} blk 0 FPW"
PRUNE = "desc: PRUNE_ON_ACCESS , isCatalogRel: F, nplans: 0, nredirected: 0, ndead: 1, nunused: 0, dead: [4], blkref #0: rel {rel} blk 2"
OLD_DELETE = "desc: DELETE off {n} flags 0x{flags} KEYS_UPDATED , blkref #0: rel {rel} blk 0"
OLD_MULTI = "desc: MULTI_INSERT {n} tuples flags 0x02, blkref #0: rel {rel} blk 0"
COMMIT = "desc: COMMIT 2026-11-23 03:31:57.{us:06d} UTC"


class Wal:
    """Lines with positions that go up."""

    def __init__(self, at: int = 0x1504F88) -> None:
        self.at, self.lines = at, list[str]()

    def add(self, rmgr: str, xid: int, desc: str, length: int = 54, **words: object) -> Wal:
        before, self.at = self.at, self.at + 64
        lsn, prev = (f"{place >> 32:X}/{place & 0xFFFFFFFF:08X}" for place in (self.at, before))
        said = desc.format(xid=xid, **{"n": 1, "flags": "00", "rel": "1663/5/16384", "us": 886936, **words})
        self.lines.append(
            f"rmgr: {rmgr:<11} len (rec/tot): {54:6d}/{length:6d}, tx: {xid:10d}, lsn: {lsn}, prev {prev}, {said}"
        )
        return self

    @property
    def block(self) -> bytes:
        return ("\n".join(self.lines) + "\n").encode()


def summed(block: Block) -> tuple[Counter[tuple[int, tuple[bytes, bytes]]], list[tuple[int, bytes, bytes]], bytes]:
    rows: Counter[tuple[int, tuple[bytes, bytes]]] = Counter()
    for xid, key, number in block.rows:
        rows[xid, key] += number
    return rows, block.others, block.position


def take(*wals: Wal, count_from: int = 0, **wanted: object) -> tuple[Summary, Tally]:
    summary = Summary(**wanted)  # type: ignore[arg-type]
    tally = Tally(summary.take, count_from)
    for wal in wals:
        tally.feed(wal.block)
    return summary, tally


def totals(summary: Summary) -> dict[str, Rows]:
    return {str(file): found.rows for file, found in summary.relations.items()}


KINDS = st.sampled_from(
    [("Heap", DELETE), ("Heap", INSERT), ("Heap", FPW), ("Heap", UPDATE), ("Heap", HOT), ("Heap", LOCK), ("Heap", INPLACE),
     ("Heap", CONFIRM), ("Heap2", MULTI), ("Heap2", PRUNE), ("Heap", OLD_DELETE), ("Heap2", OLD_MULTI), ("Transaction", COMMIT),
     ("Transaction", "desc: ABORT 2026-11-23 03:31:57.886936 UTC"), ("Transaction", "desc: PREPARE gid x#0: rel y: 2026-11-23 03:31:57 UTC"),
     ("Storage", "desc: CREATE base/5/16410"), ("Standby", "desc: LOCK xid {xid} db 5 rel 16384 "),
     ("XLOG", "desc: FPI , blkref #0: rel 1663/5/16412 blk 0 FPW"), ("XLOG", "desc: FPI_FOR_HINT , blkref #0: rel {rel} blk 0 FPW"),
     ("XLOG", "desc: CHECKPOINT_REDO wal_level replica"), ("Transaction", "desc: COMMIT_PREPARED 749: 2026-11-23 03:31:58.018437 UTC")]
)  # fmt: skip
LINES = st.lists(
    st.tuples(
        KINDS,
        st.integers(3, 2**32 - 1) | st.integers(700, 704),
        st.sampled_from(["1663/5/16384", "1663/5/16390", "16500/4294967295/4294967295", "1664/0/1262"]),
        st.sampled_from(["00", "08", "10", "18", "1C", "0A", "04"]),
        st.sampled_from([54, 8237, 1_234_567]),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(LINES, st.sampled_from([0x1504F88, 0xFFFFFF00, 0xFFFFFFFF00, 0x7FFF00000000]))
def test_columns_and_pattern_never_disagree(lines: list[tuple[tuple[str, str], int, str, str, int]], at: int) -> None:
    wal = Wal(at)
    for number, ((rmgr, desc), xid, rel, flags, length) in enumerate(lines, 1):
        wal.add(rmgr, xid, desc, length, n=number, rel=rel, flags=flags)
    assert summed(parse_block(wal.block)) == summed(parse_lines(wal.block))


def test_rows_are_counted_by_operation() -> None:
    wal = Wal()
    for desc in (DELETE, DELETE, INSERT, FPW, UPDATE, HOT, LOCK, INPLACE, CONFIRM):
        wal.add("Heap", 743, desc)
    wal.add("Heap2", 743, MULTI, n=11).add("Heap2", 743, PRUNE).add("Transaction", 743, COMMIT)
    summary, tally = take(wal)
    assert totals(summary) == {"1663/5/16384": Rows(inserted=13, updated=2, deleted=2)}
    assert (summary.commits, tally.running, tally.position) == (1, 0, wal.at)


def test_words_of_postgresql_15_count_alike() -> None:
    wal = Wal().add("Heap", 7, OLD_DELETE).add("Heap2", 7, OLD_MULTI, n=9).add("Transaction", 7, COMMIT)
    assert totals(take(wal)[0]) == {"1663/5/16384": Rows(inserted=9, deleted=1)}


def test_speculative_insert_taken_back_and_row_moved_to_a_partition() -> None:
    wal = Wal().add("Heap", 7, INSERT).add("Heap", 7, DELETE, flags="08").add("Heap", 7, DELETE, flags="10")
    assert totals(take(wal.add("Transaction", 7, COMMIT))[0]) == {"1663/5/16384": Rows(moved=1)}


def test_aborted_and_unfinished_transactions_count_nowhere() -> None:
    wal = Wal().add("Heap", 7, DELETE).add("Heap", 8, DELETE).add("Heap", 9, DELETE)
    wal.add("Transaction", 7, "desc: ABORT 2026-11-23 03:31:57.886936 UTC; subxacts: 8")
    summary, tally = take(wal)
    assert (totals(summary), summary.commits, tally.aborted, tally.running) == ({}, 0, 1, 1)


def test_subtransactions_fold_into_their_parent() -> None:
    wal = Wal().add("Heap", 7, DELETE).add("Heap", 8, DELETE).add("Heap", 9, DELETE)
    wal.add("Transaction", 9, "desc: ABORT 2026-11-23 03:31:57.886936 UTC")
    wal.add("Transaction", 7, COMMIT + "; subxacts: 8; inval msgs: catcache 55 relcache 16384")
    summary, tally = take(wal, keeps_xids=True)
    assert totals(summary) == {"1663/5/16384": Rows(deleted=2)}
    assert summary.xids is not None and list(summary.xids) == [7, 8] and tally.running == 0


def test_prepared_transaction_counts_when_it_is_committed() -> None:
    wal = Wal().add("Heap", 749, DELETE).add("Transaction", 749, "desc: PREPARE gid g1: 2026-11-23 03:31:57.993004 UTC")
    later = Wal(wal.at).add("Transaction", 0, "desc: COMMIT_PREPARED 749: 2026-11-23 03:31:58.018437 UTC")
    assert totals(take(wal)[0]) == {}
    summary, _ = take(wal, later)
    assert totals(summary) == {"1663/5/16384": Rows(deleted=1)} and summary.last is not None and summary.last[0] == 749


def test_transaction_that_died_in_a_crash_is_forgotten() -> None:
    running = "desc: RUNNING_XACTS nextXid 760 latestCompletedXid 758 oldestRunningXid 759; 1 xacts: 759"
    wal = Wal().add("Heap", 743, DELETE).add("Heap", 759, DELETE).add("Standby", 0, running)
    _, tally = take(wal)
    assert tally.running == 1 and tally.begun_before == {759}


def test_oldest_running_transaction_is_compared_across_the_wrap() -> None:
    running = "desc: RUNNING_XACTS nextXid 9 latestCompletedXid 8 oldestRunningXid 5"
    wal = Wal().add("Heap", 4294967290, DELETE).add("Heap", 7, DELETE).add("Standby", 0, running)
    assert take(wal)[1].running == 1


def test_commits_before_the_target_are_left_out_but_not_what_straddles_it() -> None:
    early = Wal().add("Heap", 7, DELETE).add("Heap", 8, INSERT).add("Transaction", 7, COMMIT)
    late = Wal(early.at).add("Heap", 8, INSERT).add("Transaction", 8, COMMIT)
    summary, tally = take(early, late, count_from=early.at + 1)
    assert totals(summary) == {"1663/5/16384": Rows(inserted=2)} and (summary.commits, tally.left_out) == (1, 1)


def test_damage_is_kept_apart() -> None:
    wal = Wal()
    for xid in (7, 8, 9):
        wal.add("Heap", xid, DELETE).add("Transaction", xid, COMMIT)
    summary, _ = take(wal, apart=frozenset({8}), keeps_xids=True)
    assert (summary.commits, list(summary.xids or ()), set(summary.apart)) == (2, [7, 9], {8})
    assert summary.apart[8].rows == {RelFile(1663, 5, 16384): Rows(deleted=1)}


def test_evidence_on_files_is_the_transactions_own_and_temporary_tables_are_none() -> None:
    wal = Wal().add("Standby", 7, "desc: LOCK xid 7 db 5 rel 16384 ").add("Storage", 7, "desc: CREATE base/5/16410")
    wal.add("XLOG", 7, "desc: FPI , blkref #0: rel 1663/5/16410 blk 0 FPW, blkref #1: rel 1663/5/16410 blk 1 FPW")
    wal.add("Transaction", 7, COMMIT + "; rels: base/5/16384 base/5/t3_16500; dropped stats: 2/5/16391 1/5/0")
    wal.add("Transaction", 8, COMMIT + "; rels: base/5/t3_16501")
    summary, _ = take(wal)
    assert [one.xid for one in summary.file_changes] == [7]
    files = summary.file_changes[0].files
    assert files is not None and files.first_lock == 0x1504F88 + 64
    assert (files.removed, files.created) == ([RelFile(1663, 5, 16384)], [RelFile(1663, 5, 16410)])
    assert (files.filled, files.locked, files.dropped_oids) == ({RelFile(1663, 5, 16410)}, {(5, 16384)}, [(5, 16391)])


def test_truncate_records_name_relations_and_files_that_were_cut_to_nothing() -> None:
    wal = Wal().add("Standby", 7, "desc: LOCK xid 7 db 5 rel 16384 ")
    wal.add("Heap", 7, "desc: TRUNCATE flags: [CASCADE], nrelids: 2, relids: [16384, 16390]")
    wal.add("Heap", 7, "desc: TRUNCATE nrelids 1 relids 16391")
    wal.add("Storage", 7, "desc: TRUNCATE base/5/16410 to 0 blocks flags 7")
    wal.add("Storage", 7, "desc: TRUNCATE base/5/16411 to 3 blocks flags 7")
    wal.add("Storage", 0, "desc: TRUNCATE base/5/16412 to 0 blocks flags 7").add("Transaction", 7, COMMIT)
    files = take(wal)[0].file_changes[0].files
    assert files is not None and files.emptied == {RelFile(1663, 5, 16410)}
    assert files.truncated_oids == [(5, 16384), (0, 16390), (0, 16391)]


def test_position_with_more_digits_than_the_one_before() -> None:
    wal = Wal(0xFFFFFFFF0).add("Heap", 7, DELETE).add("Transaction", 7, COMMIT)
    assert take(wal)[1].position == parse_lsn(f"{wal.at >> 32:X}/{wal.at & 0xFFFFFFFF:08X}")


def ended(xid: int, second: int, micro: int = 0) -> Ended:
    at = f"2026-11-{23 + second // 86400:02d} {second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micro:06d}".encode()
    return Ended((xid, f"0/{xid:08X}".encode(), at), None)


@pytest.mark.parametrize("hours", [1, 6])
def test_spans_widen_instead_of_growing_in_number_and_totals_stay_exact(hours: int) -> None:
    summary = Summary()
    shape = (((b"D", b"1663/5/16384"), 2),)
    for xid in range(1, hours * 3600 + 1):
        one = ended(xid, xid)
        summary.take({(one.commit[2][:19], shape): [one]}, Counter([one.commit[2][:19]]))
    assert len(summary.spans) <= MOST_SPANS
    assert sum(span.commits for span in summary.spans.values()) == summary.commits == hours * 3600
    assert sum(one.rows.deleted for span in summary.spans.values() for one in span.relations.values()) == hours * 7200
    first = summary.spans[min(summary.spans)].relations[RelFile(1663, 5, 16384)].first
    assert first is not None and first[0] == 1
    assert len(summary.largest()) == 5, "of one relation five are kept, however many there are"


def test_relations_beyond_the_cap_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.recovery.walsummary.MOST_RELATIONS", 3)
    summary = Summary()
    for number in range(10):
        one = ended(number + 1, 0)
        summary.take({(b"2026-11-23 00:00:00", (((b"I", b"1663/5/%d" % (20000 + number)), 1),)): [one]}, Counter())
    assert summary.relations[OTHERS].rows.inserted == 7 and len(summary.relations) == 4


def test_shape_of_a_transaction_is_its_rows() -> None:
    shape = (((b"I", b"1663/5/1"), 5), ((b"S", b"1663/5/1"), 2), ((b"M", b"1663/5/2"), 1))
    assert rows_of(shape) == {RelFile(1663, 5, 1): Rows(inserted=3), RelFile(1663, 5, 2): Rows(moved=1)}
