"""WAL that is whole is read to any end without an error, on either side of where pages and segments meet."""

from __future__ import annotations

import pytest
from own_cluster import own_cluster, position, segments
from runbook.postgres.wal import PAGE, WalRecord, end_of_record, segment_start
from runbook.postgres.waldump import read_records

pytestmark = pytest.mark.server
SIZE = 16 << 20


def test_whole_wal_is_read_to_any_end_without_a_complaint() -> None:
    with own_cluster() as cluster:
        start = position(cluster.lsn())
        # What lies in the reader's buffer when it looks behind its end: rows, no zeros.
        cluster.sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 6) AS x FROM generate_series(1, 3000) AS g")
        for _ in range(2):
            cluster.sql("INSERT INTO t VALUES (0, 'first of its segment')")
            cluster.switch()
        stop = segment_start(segments(cluster)[-1].name, SIZE)[1] + SIZE

        def read(end: int) -> tuple[list[WalRecord], str]:
            *found, said = read_records(cluster.tools, cluster.archive, 1, start, end, rmgrs=(), timeout=60)
            assert isinstance(said, str)
            return [one for one in found if isinstance(one, WalRecord)], said

        every, said = read(stop)
        assert said == "" and len(every) > 3000
        firsts = [one.lsn for one in every if one.lsn % PAGE in (24, 40)]
        newest, oldest = max(one for one in firsts if one % SIZE == 40), min(firsts)
        across = next(one for one in every if one.lsn // PAGE != (one.lsn + one.length) // PAGE)
        for around in (newest, oldest, end_of_record(across.lsn, across.length, SIZE)):
            for end in range(around - 48, around + 72, 4):
                found, said = read(end)
                assert said == "", f"{end:X}: {said}"
                due = {one.lsn for one in every if end_of_record(one.lsn, one.length, SIZE) <= end}
                more = [one for one in found if one.lsn not in due]
                assert due <= {one.lsn for one in found}, f"{end:X}: a whole record is missing"
                # One that begins before the end, or the shortest there is, which says nothing of any row.
                assert len(more) <= 1 and all(one.lsn < end or one.length == 24 for one in more), f"{end:X}"
