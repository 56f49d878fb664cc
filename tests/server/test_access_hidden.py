"""Rights that no list of grants shows, and names that want to be misread: each is found once, with an action that mends it, on three majors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from homes import at_home
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.access.audit import AccessAudit
from runbook.inspection.states import Seen
from runbook.inventory.listfile import AccessList, read_list
from runbook.postgres.connect import quote

pytestmark = [pytest.mark.server, pytest.mark.faults]

#: Quotes, a line break, another alphabet, and what YAML would take for something else.
S = 'Ödd "s\n- a: &x'
LONG = "ü" * 31 + "x"
HOSTILE = (
    "yes",
    "null",
    "1e3",
    "- a",
    "#x",
    "~",
    "2026-01-01",
    "{a: b}",
    "a@b",
    "tab\there",
    "nel\x85",
    LONG,
    "“curly”",
    "💾",
    "bell\x07",
)
SECRET = "hunter2hunter2"
q = quote

PLANTED = (
    f"CREATE SCHEMA {q(S)}",
    "CREATE SCHEMA elsewhere",
    'CREATE SCHEMA "open one"',
    "CREATE SCHEMA of_app",
    *(f"CREATE ROLE {q(name)}" for name in HOSTILE),
    "CREATE ROLE anon",
    "CREATE ROLE authenticated",
    "CREATE ROLE app LOGIN VALID UNTIL '2099-01-01'",
    # chains of roles
    'CREATE ROLE "team two"',
    'GRANT "team two" TO anon',
    "CREATE ROLE writers IN ROLE pg_write_all_data",
    "GRANT writers TO anon",
    "CREATE ROLE climbs LOGIN VALID UNTIL '2099-01-01' IN ROLE postgres",
    "CREATE ROLE boss CREATEROLE",
    "CREATE ROLE helper",
    "SET ROLE boss",
    "CREATE ROLE kid",
    "GRANT kid TO helper WITH ADMIN OPTION",
    "RESET ROLE",
    # partitions: through the parent its policies hold, directly each one's own
    f"CREATE TABLE {q(S)}.parent (id int, who name) PARTITION BY LIST (id)",
    f"ALTER TABLE {q(S)}.parent ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY own_rows ON {q(S)}.parent USING (who = current_user)",
    f"GRANT SELECT ON {q(S)}.parent TO anon, app",
    f"CREATE TABLE {q(S)}.direct PARTITION OF {q(S)}.parent FOR VALUES IN (1)",
    f"GRANT SELECT ON {q(S)}.direct TO anon",
    f"CREATE TABLE {q(S)}.through_parent PARTITION OF {q(S)}.parent FOR VALUES IN (2)",
    f"CREATE TABLE {q(S)}.kept PARTITION OF {q(S)}.parent FOR VALUES IN (3)",
    f"ALTER TABLE {q(S)}.kept ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY own_rows ON {q(S)}.kept USING (who = current_user)",
    f"GRANT SELECT ON {q(S)}.kept TO anon",
    f"CREATE TABLE elsewhere.by_name PARTITION OF {q(S)}.parent FOR VALUES IN (4)",
    "GRANT SELECT ON elsewhere.by_name TO app",
    "CREATE TABLE elsewhere.plain (id int)",
    "GRANT SELECT ON elsewhere.plain TO app",
    f"CREATE TABLE {q(S)}.chained (id int)",
    f'GRANT SELECT ON {q(S)}.chained TO "team two"',
    f"CREATE TABLE {q(S)}.cols (id int)",
    f"GRANT SELECT (id) ON {q(S)}.cols TO PUBLIC",
    # views, and what knows no policies
    f"CREATE VIEW {q(S)}.inner_view AS SELECT * FROM {q(S)}.parent",
    f"CREATE VIEW {q(S)}.outer_view AS SELECT * FROM {q(S)}.inner_view",
    f"GRANT SELECT ON {q(S)}.outer_view TO app",
    "CREATE VIEW elsewhere.by_column AS SELECT id FROM elsewhere.plain",
    "GRANT SELECT (id) ON elsewhere.by_column TO app",
    f"CREATE VIEW {q(S)}.invoker_yes WITH (security_invoker = yes) AS SELECT * FROM {q(S)}.parent",
    f"GRANT SELECT ON {q(S)}.invoker_yes TO app",
    f"CREATE MATERIALIZED VIEW {q(S)}.copy_for_anon AS SELECT * FROM {q(S)}.parent",
    f"GRANT SELECT ON {q(S)}.copy_for_anon TO anon",
    f"CREATE MATERIALIZED VIEW {q(S)}.copy_for_app AS SELECT * FROM {q(S)}.parent",
    f"GRANT SELECT ON {q(S)}.copy_for_app TO app",
    "CREATE MATERIALIZED VIEW elsewhere.harmless AS SELECT * FROM elsewhere.plain",
    "GRANT SELECT ON elsewhere.harmless TO app",
    "CREATE FOREIGN DATA WRAPPER dummy",
    "CREATE SERVER \"far away\" FOREIGN DATA WRAPPER dummy OPTIONS (host 'h')",
    "CREATE SERVER near FOREIGN DATA WRAPPER dummy",
    'CREATE FOREIGN TABLE elsewhere.far_table (id int) SERVER "far away"',
    "GRANT SELECT ON elsewhere.far_table TO anon",
    'CREATE FOREIGN TABLE elsewhere.far_for_app (id int) SERVER "far away"',
    "GRANT SELECT ON elsewhere.far_for_app TO app",
    f"CREATE USER MAPPING FOR PUBLIC SERVER \"far away\" OPTIONS (user 'x', password '{SECRET}')",
    f"CREATE USER MAPPING FOR app SERVER \"far away\" OPTIONS (user 'x', password '{SECRET}')",
    "CREATE USER MAPPING FOR app SERVER near OPTIONS (user 'x', password_required 'false')",
    "CREATE USER MAPPING FOR postgres SERVER near OPTIONS (user 'x')",
    # functions with their owner's rights
    'GRANT CREATE ON SCHEMA "open one" TO "team two"',
    "GRANT CREATE ON SCHEMA of_app TO app",
    "CREATE FUNCTION elsewhere.open_path() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, \"open one\", pg_temp AS 'SELECT 1'",
    "CREATE FUNCTION elsewhere.app_path() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = of_app, pg_temp AS 'SELECT 1'",
    "CREATE FUNCTION elsewhere.temp_first() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1'",
    "CREATE FUNCTION elsewhere.good_path() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT 1'",
    "CREATE FUNCTION elsewhere.empty_path() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = '' AS 'SELECT 1'",
    f"CREATE FUNCTION {q(S)}.\"f \"\"x\"() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    *(f"REVOKE EXECUTE ON FUNCTION elsewhere.{name}() FROM PUBLIC" for name in ("open_path", "app_path", "temp_first", "good_path", "empty_path")),
    f'REVOKE EXECUTE ON FUNCTION {q(S)}."f ""x"() FROM PUBLIC',
    'GRANT EXECUTE ON FUNCTION elsewhere.good_path() TO "team two"',
    "GRANT EXECUTE ON FUNCTION elsewhere.empty_path() TO app",
    "CREATE TABLE elsewhere.of_anon (id int)",
    "ALTER TABLE elsewhere.of_anon OWNER TO anon",
    # privileges in advance
    "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app",
    'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "team two"',
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA {q(S)} GRANT USAGE ON SEQUENCES TO PUBLIC",
    # owners
    'CREATE SCHEMA "of two" AUTHORIZATION "team two"',
    f"CREATE TABLE {q(S)}.owner_passes (id int)",
    f"ALTER TABLE {q(S)}.owner_passes ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY p ON {q(S)}.owner_passes USING (id > 0)",
    f"ALTER TABLE {q(S)}.owner_passes OWNER TO app",
    f"CREATE TABLE {q(S)}.forced (id int)",
    f"ALTER TABLE {q(S)}.forced ENABLE ROW LEVEL SECURITY",
    f"CREATE POLICY p ON {q(S)}.forced USING (id > 0)",
    f"ALTER TABLE {q(S)}.forced FORCE ROW LEVEL SECURITY",
    f"ALTER TABLE {q(S)}.forced OWNER TO app",
    # PostgreSQL's own, large objects, servers, parameters
    'GRANT SELECT ON pg_authid TO "team two"',
    "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO anon",
    "GRANT EXECUTE ON FUNCTION now() TO app",
    "SELECT lo_create(4711)",
    "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC",
    "SELECT lo_create(4712)",
    "GRANT SELECT ON LARGE OBJECT 4712 TO app",
    'GRANT USAGE ON FOREIGN SERVER "far away" TO anon',
    "GRANT USAGE ON FOREIGN SERVER near TO app",
    "GRANT CREATE ON DATABASE shop TO anon",
    "GRANT SET ON PARAMETER session_preload_libraries TO app",
    # what brings data in and out
    f"CREATE PUBLICATION {q(LONG)} FOR TABLE {q(S)}.parent",
    f"CREATE SUBSCRIPTION {q('sub ' + S)} CONNECTION 'host=h password={SECRET} dbname=d' PUBLICATION p WITH (connect = false, slot_name = NONE)",
    "CREATE FUNCTION elsewhere.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    'CREATE EVENT TRIGGER "wat ch" ON ddl_command_end EXECUTE FUNCTION elsewhere.watch()',
    f"CREATE POLICY {q(LONG)} ON elsewhere.plain TO {q('- a')}, {q('yes')} USING (true)",
    "DROP POLICY " + q(LONG) + " ON elsewhere.plain",
)  # fmt: skip
SINCE_16 = (
    "CREATE ROLE in_name_only",
    "GRANT pg_write_all_data TO in_name_only WITH INHERIT FALSE, SET FALSE",
    "CREATE ROLE sets_only LOGIN VALID UNTIL '2099-01-01'",
    "GRANT pg_write_all_data TO sets_only WITH INHERIT FALSE, SET TRUE",
)

IN_S = f"{q(S)}."
EXPECTED: dict[str, dict[str, float]] = {
    "superusers": {"climbs in postgres": 1},
    "admin_options": {"helper in kid": 1},
    "row_security_off": {f"{IN_S}direct": 2, f"{IN_S}chained": 2, f"{IN_S}cols": 2, "elsewhere.by_name": 1},
    "views_with_owners_rights": {f"{IN_S}outer_view": 2, "elsewhere.by_column": 1},
    "open_without_policies": {f"{IN_S}copy_for_anon": 2, f"{IN_S}copy_for_app": 1, "elsewhere.far_table": 2},
    "mapped_passwords": {'mapping of PUBLIC on server "far away"': 2, 'mapping of app on server "far away"': 1, "mapping of app on server near": 2},
    "definer_search_path": {f'{IN_S}"f ""x"()': 1},
    "definer_path_writable": {"elsewhere.open_path()": 2, "elsewhere.app_path()": 2, "elsewhere.temp_first()": 1},
    "definer_for_everybody": {"elsewhere.good_path()": 1},
    "default_privileges": {'TABLES made by postgres in any schema to "team two"': 1, f"SEQUENCES made by postgres in schema {q(S)} to PUBLIC": 1},
    "schemas_open_to_everybody": {'"open one"': 1},
    "owned_by_everybody": {"table elsewhere.of_anon": 1, 'schema "of two"': 1},
    "owners_past_policies": {f"{IN_S}owner_passes": 1},
    "open_to_everybody": {'TABLE pg_catalog.pg_authid to "team two"': 1, "ROUTINE pg_catalog.pg_read_file(text) to anon": 1,
        "LARGE OBJECT 4711 to PUBLIC": 1, 'FOREIGN SERVER "far away" to anon': 1},
    "server_open_to_everybody": {"DATABASE shop to anon": 2, "PARAMETER session_preload_libraries to app": 1},
    "open_settings": {},
    "predefined_roles": {"anon in pg_write_all_data": 3, "writers in pg_write_all_data": 2},
}  # fmt: skip
#: Who makes a role has its admin option, from 16 on.
MORE_SINCE_16 = {"predefined_roles": {"sets_only in pg_write_all_data": 2.0}, "admin_options": {"boss in kid": 1.0}}


@pytest.fixture(scope="module", params=[15, 17, 18])
def planted(request: pytest.FixtureRequest) -> Iterator[OwnCluster]:
    with own_cluster(major=request.param) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql(*PLANTED, *(SINCE_16 if request.param >= 16 else ()), database="shop")
        yield cluster


def audit(cluster: OwnCluster, checks: str = "all") -> AccessAudit:
    secret = cluster.home / "way"
    secret.write_text(f"host={cluster.socket} port={PORT} user=postgres dbname=shop\n")
    secret.chmod(0o600)
    params = cluster.params(access={"connection": {"file": secret.name}, "databases": ["shop"], "leavers": []})
    with at_home(cluster.home):
        made = AccessAudit(params, "test-hidden", checks=checks)
        made.arrive()
    return made


def found(cluster: OwnCluster, name: str) -> dict[str, Seen]:
    made = audit(cluster, name)
    with at_home(cluster.home):
        made.check()
    (looked,) = made.looked
    assert looked.unmeasured == [], looked.unmeasured
    assert len({one.object for one in looked.findings}) == len(looked.findings), "each is told once"
    return {one.object: one for one in looked.findings}


def figures(cluster: OwnCluster, name: str) -> dict[str, Any]:
    return {key: one.value for key, one in found(cluster, name).items()}


@pytest.mark.parametrize("name", EXPECTED)
def test_hidden_right_is_found_once_and_its_change_mends_it(planted: OwnCluster, name: str) -> None:
    expected = EXPECTED[name] | (MORE_SINCE_16.get(name, {}) if planted.tools.major >= 16 else {})
    before = found(planted, name)
    assert {key: one.value for key, one in before.items()} == expected
    for key, one in before.items():
        if one.change is None or key == "boss in kid":  # what boss has handed on goes first
            continue
        planted.sql(one.change, database="shop")
        assert key not in found(planted, name), one.change
        if one.undo is not None:
            planted.sql(one.undo, database="shop")
            assert figures(planted, name) == expected, one.undo


def proposed(cluster: OwnCluster) -> tuple[AccessAudit, AccessList, str]:
    made = audit(cluster)
    with at_home(cluster.home):
        made.take()
        text = (cluster.home / made.propose(cluster.home / "proposed", ["olga"])["proposed"]).read_text()
    return made, read_list(text, "x"), text


def test_list_with_hostile_names_means_the_same_when_it_is_read_again(planted: OwnCluster) -> None:
    made, read, text = proposed(planted)
    assert made.inventory.unseen == {}
    assert read.inventory == made.inventory and read.inventory.sha256 == made.inventory.sha256
    assert read.text() == text, "byte for byte"
    for name in HOSTILE:
        assert q(name) in read.server["roles"] or name in read.server["roles"], name
    assert SECRET not in text and SECRET not in repr(made.inventory)
    again, _, _ = proposed(planted)
    assert again.inventory.sha256 == made.inventory.sha256


def test_inventory_holds_what_comes_in_and_goes_out(planted: OwnCluster) -> None:
    made, _, _ = proposed(planted)
    inside = made.inventory.databases["shop"]
    assert inside["publications"][q(LONG)]["tables"] == f"{IN_S}parent"
    assert made.inventory.server["subscriptions"][f"{q('sub ' + S)} in database shop"]["enabled"] == "false"
    assert inside["event_triggers"]['"wat ch"']["function"] == "elsewhere.watch()"
    assert inside["foreign_servers"]['server "far away"']["options"] == "host=h"
    assert inside["user_mapping_options"]['mapping of PUBLIC on server "far away"'] == {"options": "password, user"}
    assert inside["user_mapping_options"]["mapping of app on server near"] == {
        "options": "password_required=false, user"
    }
    assert inside["relations"][f"{IN_S}invoker_yes"]["security_invoker"] == "true"
    assert "function pg_catalog.now() to PUBLIC" not in inside["grants"], "it could call it before"
    assert inside["grants"]["function pg_catalog.now() to app"] == {"privileges": "EXECUTE"}
