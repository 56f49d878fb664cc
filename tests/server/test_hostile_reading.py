"""Nothing that a database's owner wrote runs when production is read for a fence, and it cannot blind what is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from homes import at_home
from hostile import DATABASE, OWNER, PLANNED, READER, Log, fill_hostile, make_reader
from own_cluster import OwnCluster, own_cluster
from runbook.postgres import closure
from runbook.postgres.connect import connect, rows
from runbook.verification import content
from runbook.verification.fencefile import Fence

pytestmark = pytest.mark.server


@pytest.fixture(
    scope="module", params=[17, pytest.param(15, marks=pytest.mark.faults), pytest.param(18, marks=pytest.mark.faults)]
)
def hostile(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums", major=request.param) as cluster:
        fill_hostile(cluster)
        make_reader(cluster, DATABASE)
        yield cluster


def figures(fence: Fence) -> dict[str, content.Content]:
    return {item.title: item for one in fence.databases if one.database == DATABASE for item in one.relations}


@pytest.mark.parametrize("role", ["reader", "superuser"])
def test_a_fence_runs_nothing_that_the_owner_wrote(hostile: OwnCluster, role: str) -> None:
    changed = dict(hostile.changed["cluster"])
    if role == "superuser":
        hostile.changed["cluster"] = {key: value for key, value in changed.items() if key != "reader"}
    log = Log(hostile)
    try:
        found = figures(hostile.fence())
    finally:
        hostile.changed["cluster"] = changed
    assert log.witnesses() == set()
    assert {name for name, item in found.items() if item.problem} == set()
    assert {name.removeprefix("public.") for name, item in found.items() if item.method == content.COPY} >= set(PLANNED)


def test_a_constant_cast_does_not_blind_the_fence(hostile: OwnCluster) -> None:
    before = figures(hostile.fence())
    hostile.sql(
        "UPDATE public.fees SET amount = amount + 1",
        "UPDATE public.enum_cast SET v = 'blue'",
        "UPDATE public.composite_cast SET v = ROW(3, 4)",
        "UPDATE public.index_expression SET i = i + 1",
        "UPDATE public.row_security SET i = i + 1",
        database=DATABASE,
    )
    after = figures(hostile.fence())
    differ = {name.removeprefix("public.") for name in before if before[name].hash != after[name].hash}
    assert differ == {"fees", "enum_cast", "composite_cast", "index_expression", "row_security"}
    assert {name: item.rows for name, item in before.items()} == {name: item.rows for name, item in after.items()}


def test_a_template_that_an_owner_has_made_is_read_as_any_database(hostile: OwnCluster) -> None:
    hostile.sql("CREATE DATABASE set_aside TEMPLATE template0", "ALTER DATABASE set_aside IS_TEMPLATE true")
    hostile.sql("CREATE TABLE public.kept AS SELECT 1 AS i", database="set_aside")
    found = {one.database: [item.title for item in one.relations] for one in hostile.fence().databases}
    assert "public.kept" in found["set_aside"]
    assert not {"template0", "template1"} & set(found)


def test_the_owner_s_functions_are_found_wherever_planning_reaches_them(hostile: OwnCluster) -> None:
    with (
        at_home(hostile.home),
        connect(socket=hostile.socket, database=DATABASE, user=READER, application="test") as connection,
    ):
        reached = closure.untrusted(connection)
        names = {
            row["oid"]: row["name"]
            for row in rows(connection, "SELECT oid::bigint AS oid, relname::text AS name FROM pg_catalog.pg_class")
        }
    found = {names[oid] for oid in reached}
    assert found >= {*PLANNED, "domain_check", "range_difference", "parted", "parted_one", "seen"}
    assert found.isdisjoint({"enum_cast", "composite_cast", "fees", "kept"}), (
        "printing by output functions reaches nothing there"
    )


def test_an_honest_schema_is_queried_as_before(hostile: OwnCluster) -> None:
    hostile.create_database(
        "honest",
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE EXTENSION IF NOT EXISTS citext",
        "CREATE EXTENSION IF NOT EXISTS btree_gist",
        "CREATE TABLE t (id bigint PRIMARY KEY, name citext CHECK (length(name::text) < 100), at timestamptz DEFAULT now())",
        "CREATE INDEX ON t (lower(name::text))",
        "CREATE INDEX ON t USING gin ((name::text) gin_trgm_ops)",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    with connect(socket=hostile.socket, database="honest", user=READER, application="test") as connection:
        assert closure.untrusted(connection) == {}


def test_an_index_made_while_a_fence_is_taken_is_reported(hostile: OwnCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from runbook.errors import PlatformError
    from runbook.verification import fence

    hostile.sql(
        "CREATE TABLE IF NOT EXISTS public.late (i integer)",
        f"ALTER TABLE public.late OWNER TO {OWNER}",
        database=DATABASE,
    )
    read = content.read_contents

    def read_and_be_surprised(*given: object) -> list[content.Content]:
        found = read(*given)  # type: ignore[arg-type]
        if all(item.name != "late" for item in found):
            return found
        hostile.sql("CREATE INDEX IF NOT EXISTS late_index ON public.late ((i + public.fold(20)))", database=DATABASE)
        return found

    monkeypatch.setattr(fence.content, "read_contents", read_and_be_surprised)
    with pytest.raises(PlatformError, match=r"public\.late of database hostile came to call public\.fold"):
        hostile.fence()
    hostile.sql("DROP TABLE public.late", database=DATABASE)
