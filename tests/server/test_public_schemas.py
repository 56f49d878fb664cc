"""Incidents on the schemas of public applications, through notebook 03 as people run it: exact, or named.

RUNBOOK_PUBLIC_SCHEMAS names a folder that has a folder for each application with its SQL files; they are not part of this project.
The incidents choose their objects by the catalog, so they fit any schema: its most referenced table, one with triggers, a type.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from generated.cluster import Damage, Played
from generated.said import Said
from generated.snapshots import take_snapshot
from generated.transactions import Work
from generated.truth import differences, differences_promoted
from homes import at_home
from own_cluster import OwnCluster, own_cluster, service_words
from publicschemas import INCIDENTS, fill, load
from recovering import ANSWERS, Recovering
from recovering import Said as Ended
from runbook import layout

pytestmark = [pytest.mark.server, pytest.mark.public, pytest.mark.timeout(3600)]

FOLDER = os.environ.get("RUNBOOK_PUBLIC_SCHEMAS")
APPLICATIONS = sorted(path.name for path in Path(FOLDER).iterdir() if path.is_dir()) if FOLDER else []
#: Good transactions ahead of the damage and after it.
GOOD = (
    "CREATE TABLE IF NOT EXISTS public.runbook_work (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x text)",
    "INSERT INTO public.runbook_work (x) VALUES ('a')",
)


@pytest.fixture(scope="module", params=APPLICATIONS)
def application(request: pytest.FixtureRequest) -> Iterator[tuple[str, OwnCluster]]:
    """A cluster with the application's database, filled."""
    with own_cluster(
        "--data-checksums", settings={"wal_keep_size": "64MB", "max_locks_per_transaction": "512"}
    ) as cluster:
        cluster.sql("CREATE EXTENSION amcheck")
        wrong = load(cluster, request.param, Path(str(FOLDER)) / request.param)
        counted = fill(cluster, request.param, 40)
        print(
            f"{request.param}: {counted['filled']} tables filled, {counted['empty']} left empty, {len(wrong)} statements left out"
        )
        assert counted["filled"] >= 300
        cluster.params(cluster={"service": service_words(cluster, cluster.home)}, recovery={"quiet_for": "1 s"})
        params = cluster.home / "params" / "own.yaml"
        params.write_text(json.dumps({**json.loads(params.read_text()), "environment": "sandbox"}))
        yield request.param, cluster


def suffer(cluster: OwnCluster, database: str, statements: list[str]) -> Played:
    """The damage amid good transactions, after a base backup."""
    played = Played(database)
    cluster.backup(f"before-{cluster.sql('SELECT txid_current()')[0][0]}")
    cluster.sql(*GOOD, database=database)
    before, point = take_snapshot(lambda: cluster.connect(database)), cluster.lsn()
    with cluster.connect(database) as connection, connection.transaction():
        for statement in statements:
            connection.execute(statement)
        row = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
    played.damages = [
        Damage(
            row[0], before, take_snapshot(lambda: cluster.connect(database)), Work(statements, is_damage=True), point
        )
    ]
    for _ in range(5):
        cluster.sql(*GOOD[1:], database=database)
        played.others += 1
    played.final = take_snapshot(lambda: cluster.connect(database))
    cluster.switch()
    return played


def said_by(ended: Ended, run: str) -> Said:
    """What the record says, as `Said` reads it."""
    record = ended.record
    folder = layout.run(run)
    checks = [
        SimpleNamespace(**{"status": "", "title": "", "reason": "", "observed": "", "next": "", **one})
        for one in record["checks"]
    ]
    plans = [SimpleNamespace(blast_radius=_texts(one), facts={}) for one in record.get("gates", [])]
    known = SimpleNamespace(
        limits=record["limitations"],
        checks=checks,
        seen={},
        facts=record["facts"],
        plans=dict(enumerate(plans)),
        dir=folder,
    )
    return Said.of(SimpleNamespace(run=known, error=None, step=""))  # type: ignore[arg-type]


def _answered(recovery: Recovering, ended: Ended) -> Ended:
    """What is not back is left as it is; the run goes on to its end."""
    question = "decide-on-the-rows-that-are-not-back"
    if ended.code == 3 and question in str(ended.last["next"]):
        answered = recovery.say("answer", recovery.run, question, "leave", "--reason", "a test")
        assert answered.code == 0, answered.stderr
        return recovery.go_on(recovery.resume())
    return ended


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("incident", INCIDENTS)
def test_incident_ends_exact_or_named(application: tuple[str, OwnCluster], incident: str) -> None:
    database, cluster = application
    way = "promote" if incident.startswith("promote") else "copy-back"
    with at_home(cluster.home):
        statements = INCIDENTS[incident](cluster, database)
        print("\n".join(statements))
        played = suffer(cluster, database, statements)
        recovery = Recovering({**ANSWERS, "way": way}, target="own", timeout=900)
        try:
            ended = recovery.finish()
            ended = _answered(recovery, ended)
        finally:  # one that waits, or was cut short, would lock the target for the next incident
            recovery.say("abort", recovery.run, "--reason", "a test") if recovery.run else None
        now = take_snapshot(lambda: cluster.connect(database))
        said = said_by(ended, recovery.run)
        found = (differences_promoted if way == "promote" else differences)(played, now, said)
        verdict = ended.last["verdict"]
        for one in found:
            print(f"{verdict}: {one}")
        unnamed = [str(one) for one in found if not one.is_named]
        assert (verdict in ("PASS", "INCOMPLETE", "FAIL"), unnamed) == (True, []), "\n".join(
            [verdict, str(ended.last), *unnamed]
        )
