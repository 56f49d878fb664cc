"""Texts with line breaks that a role writes into WAL make no record, and hide none."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_cluster import OwnCluster, own_cluster
from runbook.outside import commands
from runbook.postgres.wal import WalRecord, format_lsn, parse_lsn, parse_record
from runbook.postgres.waldump import read_records, waldump_argv
from runbook.postgres.waltexts import FalseLines

pytestmark = [pytest.mark.server, pytest.mark.faults]

FALSE = "rmgr: {} len (rec/tot):     34/    34, tx:        999, lsn: {}, prev 0/01000028, desc: {}"


def forged(cluster: OwnCluster) -> None:
    """A role without any right writes what looks like commits: ahead of its own place, at it, and far ahead."""
    cluster.sql("CREATE EXTENSION pg_walinspect", "CREATE ROLE guest LOGIN")
    with cluster.connect() as guest:
        guest.execute("SET ROLE guest")
        for text, payload in (
            ("a", "\nrmgr: nothing of the payload is printed as text"),
            ("\n" + FALSE.format("Transaction", "0/01000028", "COMMIT 2020-01-01 00:00:00.000000 UTC"), "x"),
            (
                'b"; payload (1 bytes): 41\n'
                + FALSE.format("Transaction", "7F/00000028", "COMMIT 2099-01-01 00:00:00.000000 UTC"),
                "",
            ),
            ("\n".join([FALSE.format("Heap", "7F/00000028", "DELETE off: 1")] * 300), "y" * 5000),
            ("r\r" + FALSE.format("Heap", "7F/00000028", "DELETE off: 1"), "z"),
        ):
            for transactional in (True, False):
                guest.execute("SELECT pg_logical_emit_message(%s, %s, %s)", [transactional, text, payload])
        guest.execute("BEGIN")
        guest.execute("SELECT pg_current_xact_id()")
        guest.execute(
            "PREPARE TRANSACTION 'x: 2026-01-01\n"
            + FALSE.format("Transaction", "0/01000028", "COMMIT_PREPARED 741")
            + "'"
        )
        name = "x: 2026-01-01\n" + FALSE.format("Transaction", "0/01000028", "COMMIT_PREPARED 741")
        guest.execute(f"COMMIT PREPARED '{name}'")
    cluster.sql("CREATE TABLE after (i int)", "CHECKPOINT")


@pytest.mark.parametrize("major", [15, 17, 18])
def test_lines_that_only_look_like_records_are_left_out(major: int) -> None:
    with own_cluster("--data-checksums", major=major, settings={"max_prepared_transactions": "5"}) as cluster:
        start = str(cluster.sql("SELECT pg_current_wal_insert_lsn()")[0][0])
        forged(cluster)
        end = str(cluster.sql("SELECT pg_current_wal_flush_lsn()")[0][0])
        wanted = cluster.sql(
            f"SELECT start_lsn::text, xid::text, resource_manager FROM pg_get_wal_records_info('{start}', '{end}')"
        )
        folder = Path(cluster.data / "pg_wal")
        found = list(read_records(cluster.tools, folder, 1, parse_lsn(start), parse_lsn(end), rmgrs=(), timeout=60))
        records = [one for one in found if isinstance(one, WalRecord)]
        assert [(format_lsn(one.lsn), str(one.xid), one.rmgr) for one in records] == [
            (format_lsn(parse_lsn(lsn)), xid, rmgr) for lsn, xid, rmgr in wanted
        ]
        genuine = FalseLines(folder, 1)
        argv = waldump_argv(cluster.tools, folder, 1, parse_lsn(start), parse_lsn(end), ["Transaction", "Heap"])
        with commands.lines(argv, timeout=60) as output:
            lines = b"".join(map(genuine.cleaned, output.blocks(4096))).decode().split("\n")
        kept = [one for one in map(parse_record, lines) if one is not None]
        assert [one.lsn for one in kept] == [one.lsn for one in records if one.rmgr in ("Transaction", "Heap")]
