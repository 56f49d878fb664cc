"""Large objects that the damage removed are a suspect, are counted in the loss, and come back under their OIDs with owner, grants and comment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crime import Scene, scene
from own_cluster import own_cluster
from runbook.postgres.connect import Connection, connect, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.largeobjects import CHANGED, NO_OWNER, TAKEN, LargeObjects, _Object
from runbook.recovery.lossfiles import LossFiles
from runbook.recovery.lossrows import write_loss_rows
from runbook.recovery.minimising import Minimiser
from undoing import Undoing, damaged, reasons, table

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE ROLE clerk",
    "CREATE ROLE gone",
    "CREATE ROLE reader",
    "GRANT CREATE, USAGE ON SCHEMA public TO clerk",
    "CREATE TABLE items (id int PRIMARY KEY, doc oid)",
    "INSERT INTO items SELECT g, lo_from_bytea(20000 + g, decode(repeat(lpad(to_hex(g), 2, '0'), 500 * g), 'hex')) FROM generate_series(1, 50) AS g",
    "ALTER LARGE OBJECT 20001 OWNER TO clerk",
    "GRANT SELECT ON LARGE OBJECT 20001 TO reader WITH GRANT OPTION",
    "GRANT UPDATE ON LARGE OBJECT 20001 TO PUBLIC",
    "COMMENT ON LARGE OBJECT 20001 IS 'it''s \\ a \"scan\"'",
    "ALTER LARGE OBJECT 20002 OWNER TO gone",
    "SELECT lo_from_bytea(20060, '')",
    "SELECT lo_put(lo_create(20061), 9 << 20, 'behind a hole, in the third part')",
)
CONTENT = "SELECT oid, lomowner::regrole::text, lomacl::text, obj_description(oid, 'pg_largeobject'), md5(lo_get(oid)) FROM pg_largeobject_metadata"


@pytest.fixture(scope="module")
def vacuumed() -> Iterator[Undoing]:
    """All of them but three unlinked; the content of one of these cut off, of another overwritten."""
    damage = (
        "DELETE FROM items WHERE id <= 45",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid <= 20045 OR oid > 20050",
        "SELECT lo_truncate(lo_open(20049, 131072), 10)",
        "SELECT lo_put(20050, 3, 'overwritten')",
    )
    after = (
        "SELECT lo_from_bytea(20003, 'another one')",
        "REASSIGN OWNED BY gone TO clerk",
        "DROP ROLE gone",
        "SELECT lo_unlink(20048)",
    )
    with damaged(*MADE, damage=damage, after=after) as found:
        yield found


def test_large_objects_come_back_as_they_were_and_nothing_over_others(vacuumed: Undoing) -> None:
    wanted = [row for row in vacuumed.then(CONTENT) if row[0] not in (20002, 20003, 20048, 20049, 20050)]
    plan = vacuumed.copyback().plan()
    planned = table(plan, "large objects")
    assert (planned.insert, planned.reasons) == (45, {NO_OWNER: 1, TAKEN: 1, CHANGED: 2})
    assert reasons(plan, "large objects")[("20003",)] == TAKEN
    done = vacuumed.apply(plan)
    assert set(done.xids) == {"shop", "shop (large objects)"}
    now = {row[0]: row for row in vacuumed.sql(CONTENT)}
    assert [now.get(row[0]) for row in wanted] == wanted
    assert vacuumed.values("SELECT lo_get(20003)") == [b"another one"]
    assert 20048 not in now, "what another transaction removed stays removed"
    assert vacuumed.values("SELECT count(*) FROM items") == [50]
    again = table(vacuumed.copyback().plan(), "large objects")
    assert (again.insert, again.present) == (0, 45)


def test_loss_counts_them_and_its_files_say_that_they_do_not_hold_them(vacuumed: Undoing, tmp_path: object) -> None:
    damage = vacuumed.loss.tables["large objects"].damage
    assert damage.deleted == 47
    files = LossFiles(tmp_path / "loss", Minimiser({}))  # type: ignore[operator]
    with_objects = write_loss_rows(
        vacuumed.loss, files, open_damaged=vacuumed.crime.open, open_restored=vacuumed.copy.open
    )
    said = [limit for one in with_objects for limit in one.limits]
    assert any("large objects: not in loss files" in one for one in said), said


@pytest.fixture(scope="module")
def crime() -> Iterator[Scene]:
    with scene(*MADE) as found:
        yield found


def test_removal_of_large_objects_is_the_first_suspect(crime: Scene) -> None:
    crime.run(*["INSERT INTO items VALUES (1000 + 1)", "DELETE FROM items WHERE id = 1001"])
    found = crime.accuse("SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid < 20040")
    assert "deleted 39 large objects" in found[0].sentence or "pages of large objects" in found[0].sentence, found
    assert found[0].rows and "large objects" in found[0].tables


def test_removal_is_seen_after_the_catalogs_were_rewritten(crime: Scene) -> None:
    crime.run("VACUUM FULL pg_largeobject", "VACUUM FULL pg_largeobject_metadata")
    found = crime.accuse(
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid >= 20040", names=crime.names(present=True)
    )
    assert "large objects" in found[0].tables, found


def test_comment_in_the_database_s_own_encoding_comes_back_as_it_was() -> None:
    with own_cluster() as cluster:
        for name in ("before", "after"):
            cluster.sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        cluster.sql(
            "SELECT lo_from_bytea(20001, 'scan')", "COMMENT ON LARGE OBJECT 20001 IS 'Zulässig'", database="before"
        )

        def open_(database: str) -> Connection:
            return connect(socket=cluster.socket, database=database, user="postgres", application="t", read_only=False)

        objects = LargeObjects("after", [], None, open_, lambda _: open_("before"), lambda *seen: None)
        with open_("before") as before:
            (found,) = rows(before, load_sql("recovery/list_large_objects").text)
        objects._lost = [_Object(found["oid"], found["owner"], found["acl"], found["comment"])]
        assert objects.make_again(lambda name, xid: None) is not None
        query = "SELECT obj_description(20001, 'pg_largeobject'), lo_get(20001)"
        assert cluster.sql(query, database="after") == [("Zulässig", b"scan")]
