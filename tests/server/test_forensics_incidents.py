"""The sandbox's incidents under traffic: found first, and the loss equals what the traffic generator knows, to transaction and row."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from restored import restored
from runbook import clock
from runbook.params import load_params
from runbook.platforms.cluster.backups import describe_all
from runbook.platforms.cluster.walarchive import WalArchive
from runbook.platforms.cluster.walstage import Stage
from runbook.postgres.connect import one
from runbook.postgres.wal import Timeline
from runbook.recovery.catalogfiles import read_backup_names
from runbook.recovery.forensics import search_wal
from runbook.recovery.loss import count_loss
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from runbook.recovery.relnames import NameBook, read_names
from runbook.recovery.suspects import propose_target, rank_suspects
from runbook.sandbox import backup, traffic, traffic_process
from runbook.sandbox.incidents import apply_incident
from runbook.sandbox.place import Sandbox, need_sandbox

pytestmark = pytest.mark.server

LINEAGE = (Timeline(1, 0, None),)
#: The incident counts its rows a moment before it strikes; the traffic may add some in between.
COUNTED_EARLIER = 10
TABLES = ("vehicles", "auction_data", "sessions", "heartbeat")


def suffer(kind: str, seed: int) -> tuple[Sandbox, dict[str, Any]]:
    """The incident happens amid traffic; all WAL is archived and nobody writes any more."""
    sandbox = need_sandbox()
    traffic_process.start(sandbox, rate=100)
    time.sleep(1)
    truth = apply_incident(kind, seed)
    time.sleep(1)
    traffic_process.stop(sandbox)
    backup.archive_tail(sandbox)
    return sandbox, truth


def journal_behind(sandbox: Sandbox, truth: dict[str, Any]) -> dict[int, dict[str, int]]:
    """What the traffic generator knows to have committed behind the incident: rows by table, by xid."""
    lines = [json.loads(line) for line in traffic.journal_file(sandbox).read_text().splitlines()]
    at = clock.parse(truth["committed_at"])
    return {int(line["xid"]): line["tables"] for line in lines if clock.parse(line["committed_at"]) > at}


@pytest.mark.parametrize("kind", ["delete-vehicles", "drop-table", "bad-update", "truncate"])
def test_incident_is_found_and_its_loss_is_exact(live_home: Path, tmp_path: Path, kind: str) -> None:
    sandbox, truth = suffer(kind, seed=3)
    known = journal_behind(sandbox, truth)
    # Without its table the application only gives signs of life.
    assert len(known) >= (1 if kind == "drop-table" else 20), "the traffic went on after the incident"
    cluster = load_params("sandbox").cluster
    assert cluster is not None
    first = describe_all(sandbox.backups)[0][-1]
    stage = Stage(WalArchive(cluster.wal_archive, sandbox.user), tmp_path / "wal", LINEAGE, first.start, 16 << 20)
    (tmp_path / "wal").mkdir()
    names = NameBook()
    names.add(read_backup_names(first.path, 17))
    names.add(
        read_names(lambda name: sandbox.connect(name, read_only=True), "postgres", "the damaged server"),
        is_present=True,
    )

    found = search_wal(stage, LINEAGE, sandbox.tools, first.start, None)
    suspect = rank_suspects(found, names)[0]
    assert suspect.xids == {int(truth["xid"])}
    assert all(f"public.{table}" in suspect.sentence for table in truth.get("rows", {"vehicles": 0}))
    if kind == "delete-vehicles":
        assert 0 <= (suspect.rows or 0) - sum(truth["rows"].values()) <= COUNTED_EARLIER

    target = propose_target(suspect)
    loss = count_loss(
        stage, LINEAGE, sandbox.tools, start=first.start, gate=target.gate, end=None, names=names, damage=suspect.xids
    )  # fmt: skip
    assert {xid for xid in known if xid in loss.xids} == set(known)
    assert (loss.transactions, len(loss.xids)) == (len(known), len(known))
    expected = Counter[str]()
    for tables in known.values():
        expected.update(tables)
    counted = {name: loss.tables.get(f"public.{name}") for name in TABLES}
    rows = {name: table.others.inserted + table.others.updated if table else 0 for name, table in counted.items()}
    assert rows == {name: expected[name] for name in TABLES}

    with restored(sandbox.tools, sandbox.user, first.path, sandbox.archive, loss.gate) as copy:
        files = LossFiles(tmp_path / "loss", Minimiser())
        written = write_loss_rows(
            loss, files, open_damaged=lambda name: sandbox.connect(name, read_only=True), open_restored=copy.open
        )
        if not target.is_locked:
            with copy.open("dealerscope") as connection:
                at_the_point = {
                    name: one(connection, f"SELECT count(*) AS n FROM public.{name}")["n"]
                    for name in truth.get("rows", {})
                }
    had = {table.title.removeprefix("public."): table for table in written}
    if target.is_locked:  # another transaction committed between the incident's lock and its commit
        assert all("after promotion" in had[name].problem for name in truth["rows"])
        return
    assert [table.problem for table in written if table.problem] == []
    for name in ("vehicles", "auction_data", "sessions"):
        if kind == "drop-table" and name == "auction_data":
            continue
        assert (had[name].count("inserted", "other") if name in had else 0) == expected[name]
    assert had["heartbeat"].count("updated_new", "other") == had["heartbeat"].count("updated_old", "other") == 1
    for name, lost in truth.get("rows", {}).items():
        assert 0 <= had[name].count("deleted", "damage") - lost <= COUNTED_EARLIER
        if kind == "delete-vehicles":
            assert had[name].count("deleted", "damage") == loss.tables[f"public.{name}"].damage.deleted
        else:
            assert had[name].count("deleted", "damage") == at_the_point[name]
    if kind == "bad-update":
        assert had["vehicles"].count("updated_old", "damage") == loss.tables["public.vehicles"].damage.updated > 0
