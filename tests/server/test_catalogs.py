"""What a restore must have beside rows: policies, grants, functions, settings. The fence hashes the catalogs; the copy must show the same."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_cluster import OwnCluster, own_cluster
from proof import Outcome, prove
from runbook.postgres.connect import connect
from runbook.verification import content
from runbook.verification.catalogs import read_catalogs
from runbook.verification.fencefile import read_fence
from shop import PAGE, fill, forget_manifest, read_page, write_page

pytestmark = [pytest.mark.server, pytest.mark.faults]

DEFINED = (
    "CREATE ROLE clerk",
    "CREATE ROLE manager IN ROLE clerk",
    "CREATE TABLE secret (id int PRIMARY KEY, who name DEFAULT 'nobody' CHECK (who <> ''))",
    "INSERT INTO secret SELECT g FROM generate_series(1, 30) AS g",
    "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON secret USING (who = current_user)",
    "GRANT SELECT ON secret TO clerk",
    "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'",
    "CREATE TRIGGER checked BEFORE UPDATE ON secret FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "COMMENT ON TABLE secret IS 'who may see it'",
    "ALTER ROLE clerk SET work_mem = '8MB'",
)


@pytest.fixture
def defined() -> Iterator[OwnCluster]:
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql(*DEFINED, "VACUUM FREEZE", database="shop")
        cluster.backup("first")
        cluster.fence()
        cluster.switch()
        yield cluster


def catalog_file(cluster: OwnCluster, name: str) -> Path:
    path = cluster.sql(f"SELECT pg_relation_filepath('pg_catalog.{name}')", database="shop")[0][0]
    return cluster.backups / "first" / str(path)


#: A catalog whose last page is zeroed, and a word of what is named beside it.
ZEROED = {
    "pg_policy": "public.secret",
    "pg_trigger": "public.secret",
    "pg_db_role_setting": "clerk",
    "pg_auth_members": "manager",
    "pg_description": "public.secret",
}


@pytest.mark.parametrize("name", ZEROED)
def test_zeroed_page_of_a_catalog_that_the_manifest_has_hashed_is_found(defined: OwnCluster, name: str) -> None:
    path = catalog_file(defined, name)
    pages = path.stat().st_size // PAGE
    write_page(path, pages - 1, bytes(PAGE))
    forget_manifest(defined.backups / "first")
    outcome = prove(defined)
    assert outcome.check("manifest").status == "PASS"
    shared = name in ("pg_db_role_setting", "pg_auth_members")
    check = outcome.check("catalogs@postgres" if shared else "catalogs@shop")
    assert check.status == "FAIL" and outcome.verdict == "FAIL"
    assert name in (check.reason or "") and ZEROED[name] in (check.reason or ""), check.reason


def test_older_page_of_a_catalog_is_found(defined: OwnCluster) -> None:
    """The page as it was before a policy was widened: whole, with a checksum that is right."""
    path = catalog_file(defined, "pg_policy")
    before = read_page(path, 0)
    defined.sql("ALTER POLICY own ON secret USING (true)", "VACUUM FREEZE pg_policy", "CHECKPOINT", database="shop")
    shutil.rmtree(defined.backups / "first")
    shutil.rmtree(defined.backups / "fences")
    defined.backup("first")
    defined.fence()
    defined.switch()
    write_page(path, 0, before)
    forget_manifest(defined.backups / "first")
    outcome = prove(defined)
    check = outcome.check("catalogs@shop")
    assert check.status == "FAIL" and "pg_policy" in (check.reason or "") and "public.secret" in (check.reason or "")


def test_fence_without_catalogs_stays_usable_with_a_limitation(defined: OwnCluster) -> None:
    from test_fence import edit

    path = next((defined.backups / "fences").glob("*.json"))
    found = json.loads(path.read_text())["databases"]
    edit(path, databases=[{key: value for key, value in item.items() if key != "catalogs"} for item in found])
    outcome = prove(defined)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    assert "catalogs not compared" in outcome.check("fence@shop").observed
    assert any("shop" in said and "catalogs" in said and "runbook fence take" in said for said in outcome.limitations)


def test_fence_of_a_role_that_may_not_read_every_catalog_names_them(defined: OwnCluster) -> None:
    defined.sql("CREATE ROLE stranger LOGIN", "GRANT pg_monitor TO stranger")
    for database in ("postgres", "shop", "template1"):
        defined.sql(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger",
            "GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO stranger",
            "GRANT SELECT ON pg_catalog.pg_largeobject TO stranger",
            database=database,
        )
    defined.sql("ALTER TABLE secret DISABLE ROW LEVEL SECURITY", database="shop")
    secret = defined.home / "connection"
    whole = secret.read_text()
    secret.write_text(whole.replace("user='postgres'", "user='stranger'"))
    defined.sql("ALTER SYSTEM SET archive_timeout = '1s'", "SELECT pg_reload_conf()")
    defined.sql("INSERT INTO mark VALUES (1)", database="shop")
    defined.fence()
    secret.write_text(whole)
    outcome = prove(defined)
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])
    said = " ".join(outcome.limitations)
    assert "pg_authid" in said and "pg_user_mapping" in said and "pg_policy" not in said


CHANGES = (
    "CREATE INDEX ON secret (who)",
    "CREATE TABLE more PARTITION OF parts FOR VALUES FROM (10) TO (20)",
    "ALTER TABLE quiet ADD COLUMN later int DEFAULT 7",
    "CREATE VIEW seen AS SELECT * FROM item",
    "ANALYZE",
    "VACUUM",
    "VACUUM FULL pg_catalog.pg_class",
    "ALTER POLICY own ON secret RENAME TO theirs",
    "DROP FUNCTION twice(int)",
    "REINDEX TABLE item",
    "TRUNCATE mark",
    "GRANT UPDATE ON secret TO manager",
    "CREATE TEMP TABLE fleeting (a int)",
    "ALTER TABLE item RENAME COLUMN name TO title",
    "COMMENT ON TABLE secret IS NULL",
    "DROP TABLE secret CASCADE",
)


@pytest.mark.parametrize("major", [15, 17, 18])
def test_changes_around_the_fence_raise_no_alarm(major: int) -> None:
    with own_cluster("--data-checksums", major=major) as cluster:
        fill(cluster)
        cluster.sql(*DEFINED, "CREATE TABLE parts (a int) PARTITION BY RANGE (a)", database="shop")
        cluster.backup("first")
        for statement in CHANGES[:7]:
            cluster.sql(statement, database="shop")
        cluster.fence()
        for statement in (*CHANGES[7:], "ANALYZE", "VACUUM FREEZE"):
            cluster.sql(statement, database="shop")
        cluster.sql("CREATE ROLE later", "ALTER ROLE clerk RENAME TO clerks")
        cluster.switch()
        assert_catalogs_pass(cluster, prove(cluster))


def assert_catalogs_pass(cluster: OwnCluster, outcome: Outcome) -> None:
    for name in ("postgres", "shop"):
        check = outcome.check(f"catalogs@{name}")
        assert check.status == "PASS", check.reason
    assert (outcome.verdict, outcome.alarms) == ("PASS", [])


def test_maintenance_between_snapshot_and_position_raises_no_alarm() -> None:
    """In-place updates reach WAL before the first commit that the fence's snapshot does not see."""
    with own_cluster("--data-checksums", settings={"vacuum_freeze_min_age": "0"}) as cluster:
        fill(cluster)
        cluster.sql(*DEFINED, "CREATE INDEX gone ON item (id, name)", "DROP INDEX gone", database="shop")
        cluster.sql(
            "CREATE TABLE bare (a int)", "CREATE INDEX bare_a ON bare (a)", "DROP INDEX bare_a", database="shop"
        )
        cluster.backup("first")

        from runbook.verification import fence as fences

        placed = fences._place

        def maintained(*given: object, **more: object) -> object:
            worker = threading.Thread(
                target=lambda: cluster.sql("VACUUM (FREEZE, ANALYZE)", "CREATE INDEX ON bare (a)", database="shop")
            )
            worker.start()
            worker.join()
            return placed(*given, **more)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fences, "_place", maintained)
            taken = cluster.fence()
        assert taken.databases[1].catalogs is not None
        cluster.switch()
        assert_catalogs_pass(cluster, prove(cluster))


def test_secrets_are_not_in_the_fence(defined: OwnCluster) -> None:
    """Two clusters of facts that differ in secrets alone have the same hashes: nobody can try passwords against a fence."""
    statements = (
        "CREATE SUBSCRIPTION away CONNECTION 'host=nowhere password={0}' PUBLICATION p WITH (connect = false, slot_name = NONE)",
        "CREATE FOREIGN DATA WRAPPER nothing_wrapper",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing_wrapper",
        "CREATE USER MAPPING FOR clerk SERVER far OPTIONS (password '{}')",
    )
    md5 = "SET password_encryption = md5"
    defined.sql(md5, "ALTER ROLE clerk PASSWORD 'first'")
    for statement in statements:
        defined.sql(statement.format("first"), database="postgres")
    one = read_fence(defined.fence().path)
    defined.sql(md5, "ALTER ROLE clerk PASSWORD 'second'")
    for statement in (
        "ALTER SUBSCRIPTION away CONNECTION 'host=nowhere password=second'",
        "ALTER USER MAPPING FOR clerk SERVER far OPTIONS (SET password 'second')",
    ):
        defined.sql(statement)
    two = read_fence(defined.fence().path)
    first, second = one.databases[0].catalogs, two.databases[0].catalogs
    assert first is not None and second is not None and first.with_shared
    for name in ("pg_authid", "pg_subscription", "pg_user_mapping"):
        assert first.tables[name] == second.tables[name]
    defined.sql("ALTER ROLE clerk PASSWORD NULL")
    third = read_fence(defined.fence().path).databases[0].catalogs
    assert third is not None and third.tables["pg_authid"] != second.tables["pg_authid"]


@pytest.mark.parametrize("major", [15, 17, 18])
def test_names_in_other_encodings_are_hashed_as_bytes(major: int) -> None:
    """Roles and databases are seen from each database, whatever encoding their names were given in."""
    with own_cluster("--data-checksums", major=major) as cluster:
        for encoding in ("LATIN1", "SQL_ASCII", "EUC_JP"):
            cluster.sql(f"CREATE DATABASE \"{encoding}\" ENCODING '{encoding}' TEMPLATE template0")
        for encoding, statement in (
            ("LATIN1", 'CREATE ROLE "Müller"'.encode("latin-1")),
            ("SQL_ASCII", b'CREATE TABLE "Gr\xf6\xdfe \\ x" ("\xe4" int)'),
            ("SQL_ASCII", b'CREATE ROLE "r\xff\xfe"'),
            ("EUC_JP", 'CREATE TABLE "表" (a int)'.encode("euc-jp")),
        ):
            with cluster.connect(encoding, client_encoding=encoding) as connection:
                connection.execute(statement)
        for name, table in (
            ("postgres", None),
            ("LATIN1", None),
            ("SQL_ASCII", "public.Gr\\xf6\\xdfe \\ x"),
            ("EUC_JP", "public."),
        ):
            with connect(socket=cluster.socket, database=name, user="postgres", application="test") as connection:
                content.prepare(connection)
                found = read_catalogs(connection, with_shared=True)
                again = read_catalogs(connection, with_shared=True)
            titles = [title for title, _ in found.objects.values()]
            assert (found.unread, found) == ({}, again)
            assert "M\\xfcller" in titles and "r\\xff\\xfe" in titles and "SQL_ASCII" in titles
            assert table is None or any(title.startswith(table) for title in titles), titles


def test_fences_taken_amid_changes_of_definitions_are_exact() -> None:
    """Functions, roles, triggers, indexes, grants and comments come and go, and VACUUM runs, while the fence is taken."""
    statements = (
        "CREATE FUNCTION busy_{0}() RETURNS int LANGUAGE sql AS 'SELECT {0}'",
        "CREATE ROLE busy_{0} IN ROLE clerk",
        "GRANT EXECUTE ON FUNCTION busy_{0}() TO busy_{0}",
        "ALTER ROLE busy_{0} SET work_mem = '{0}MB'",
        "COMMENT ON TABLE item IS 'after {0}'",
        "CREATE INDEX busy_{0} ON quiet (id) WHERE id > {0}",
        "CREATE TRIGGER busy_{0} BEFORE UPDATE ON quiet FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "VACUUM quiet",
        "ANALYZE item",
        "DROP OWNED BY busy_{0}",
        "DROP ROLE busy_{0}",
        "DROP FUNCTION busy_{0}",
        "INSERT INTO mark VALUES ({0})",
    )
    with own_cluster("--data-checksums") as cluster:
        fill(cluster)
        cluster.sql(*DEFINED, database="shop")
        cluster.backup("first")
        over = threading.Event()

        def change() -> None:
            number = 1
            while not over.is_set():
                for statement in statements:
                    cluster.sql(statement.format(number), database="shop")
                number += 1

        worker = threading.Thread(target=change)
        worker.start()
        try:
            fences = [cluster.fence() for _ in range(3)]
        finally:
            over.set()
            worker.join()
        cluster.switch()
        kept = cluster.home / "kept"
        (cluster.backups / "fences").rename(kept)
        for fence in fences:
            (cluster.backups / "fences").mkdir()
            shutil.copy2(kept / fence.path.name, cluster.backups / "fences")
            assert_catalogs_pass(cluster, prove(cluster))
            shutil.rmtree(cluster.backups / "fences")
        hashes = {found.tables["pg_proc"].hash for one in fences if (found := one.databases[1].catalogs) is not None}
        assert len(hashes) == len(fences), "definitions have changed between them"
