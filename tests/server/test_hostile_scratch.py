"""A hostile database is restored and proven: its owner's code never runs as a superuser in the copy, and cannot make it look better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from homes import at_home
from hostile import DATABASE, OWNER, READER, Log, Witnessed, fill_hostile, make_reader, witnesses_in
from own_cluster import OwnCluster, own_cluster
from proof import Outcome, verify
from runbook.verification.backup import BackupVerification

pytestmark = [pytest.mark.server, pytest.mark.faults]

SHADOW_OF_AMCHECK = (
    f"SET SESSION AUTHORIZATION {OWNER}",
    "CREATE FUNCTION public.bt_index_check(index oid, heapallindexed boolean, checkunique boolean) RETURNS void LANGUAGE plpgsql "
    "AS $$ BEGIN RAISE LOG 'WITNESS amcheck % %', current_user, session_user; END $$",
    "CREATE FUNCTION public.bt_index_check(index oid, heapallindexed boolean) RETURNS void LANGUAGE plpgsql "
    "AS $$ BEGIN RAISE LOG 'WITNESS amcheck % %', current_user, session_user; END $$",
    "CREATE TABLE public.keyed (i integer PRIMARY KEY)",
)


@dataclass
class Proven:
    outcome: Outcome
    witnesses: set[Witnessed] = field(default_factory=set)

    @property
    def superusers(self) -> set[Witnessed]:
        return {one for one in self.witnesses if one.current == "postgres"}


def prove_hostile(cluster: OwnCluster, promote: bool = False) -> Proven:
    """A whole verification, and what the owner's code said of itself in production and in the copy meanwhile."""
    seen: list[BackupVerification] = []
    log = Log(cluster)
    with at_home(cluster.home):
        outcome = verify(cluster.params(), promote=promote, keep=True, before=lambda proof, _: seen.append(proof))
        scratch = seen[-1].scratch
        assert scratch is not None
        found = witnesses_in(scratch.log.read_bytes()) | log.witnesses()
        scratch.remove()
    return Proven(outcome, found)


@pytest.fixture(params=[17, 15, 18])
def hostile(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums", major=request.param) as cluster:
        fill_hostile(cluster)
        yield cluster


def ready(cluster: OwnCluster) -> None:
    cluster.backup("first")
    cluster.fence()
    cluster.switch()


@pytest.mark.parametrize("promote", [False, True], ids=["paused", "promoted"])
def test_a_copy_with_a_reader_lends_no_right(hostile: OwnCluster, promote: bool) -> None:
    make_reader(hostile, DATABASE)
    ready(hostile)
    proven = prove_hostile(hostile, promote)
    assert proven.superusers == set()
    assert proven.outcome.alarms == []
    assert proven.outcome.check(f"fence@{DATABASE}").status == "PASS"
    assert [one for one in proven.outcome.limitations if "hostile.public.computed.g" in one], (
        "what COPY leaves out is named"
    )


def test_a_copy_without_a_reader_lends_no_right_either(hostile: OwnCluster) -> None:
    ready(hostile)
    proven = prove_hostile(hostile)
    assert proven.superusers == set()
    assert proven.outcome.check(f"fence@{DATABASE}").status == "PASS"


def test_a_function_beside_amcheck_s_own_is_not_called(hostile: OwnCluster) -> None:
    hostile.sql(*SHADOW_OF_AMCHECK, database=DATABASE)
    make_reader(hostile, DATABASE)
    ready(hostile)
    proven = prove_hostile(hostile)
    check = proven.outcome.check(f"amcheck@{DATABASE}")
    assert (check.status, "bt_index_check(" in (check.reason or "")) == ("UNKNOWN", True)
    assert "amcheck" not in {one.kind for one in proven.witnesses}


def test_a_lost_row_is_seen_whatever_the_owner_made_of_count(hostile: OwnCluster) -> None:
    make_reader(hostile, DATABASE)
    hostile.backup("first")
    hostile.sql("DELETE FROM public.index_expression WHERE i = 7", database=DATABASE)
    fence = hostile.fence()
    path = fence.path
    body = path.read_text()
    assert '"name": "index_expression", "rows": 19' in " ".join(body.split())
    hostile.switch()
    forge(path)
    proven = prove_hostile(hostile)
    check = proven.outcome.check(f"fence@{DATABASE}")
    assert (check.status, "index_expression" in (check.reason or "")) == ("FAIL", True)
    assert proven.superusers == set()


def forge(path: object) -> None:
    """The fence says that one row more was there, as if it had been lost."""
    import json
    from pathlib import Path

    from runbook.verification import fencefile

    assert isinstance(path, Path)
    body = json.loads(path.read_text())
    body.pop("sha256")
    for database in body["databases"]:
        for relation in database["relations"]:
            if relation["name"] == "index_expression":
                relation["rows"] += 1
    path.write_text(json.dumps({**body, "sha256": fencefile._digest(body)}))


def test_readers_are_found_by_what_they_may_not(hostile: OwnCluster) -> None:
    """A role of the reader's name that is more than a reader does not read."""
    make_reader(hostile, DATABASE)
    hostile.sql(f"ALTER ROLE {READER} SUPERUSER")
    ready(hostile)
    proven = prove_hostile(hostile)
    assert {one.current for one in proven.witnesses} <= {OWNER}
