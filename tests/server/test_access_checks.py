"""The access audit: each planted problem is found with its figure, its healthy twin is not, and what is not seen is never ok."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from homes import at_home
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.access.audit import AccessAudit
from runbook.inspection.states import Looked, Seen, State
from runbook.model import Check, Status

pytestmark = pytest.mark.server

PLANTED = (
    "CREATE EXTENSION pg_stat_statements",
    'CREATE SCHEMA "Odd ""schema"',
    # roles: too strong ones with names that need quotes, and weak twins
    'CREATE ROLE "Too ""strong" SUPERUSER LOGIN VALID UNTIL \'2099-01-01\'',
    "CREATE ROLE passes_by BYPASSRLS",
    "CREATE ROLE makes_roles CREATEROLE",
    "CREATE ROLE copies REPLICATION",
    "CREATE ROLE plain LOGIN VALID UNTIL '2099-01-01'",
    "CREATE ROLE endless LOGIN",
    "CREATE ROLE ended LOGIN VALID UNTIL '2020-01-01'",
    "CREATE ROLE ended_and_closed NOLOGIN VALID UNTIL '2020-01-01'",
    "CREATE ROLE team",
    "GRANT pg_read_server_files TO team",
    "CREATE ROLE reads_files LOGIN VALID UNTIL '2099-01-01' IN ROLE team",
    "CREATE ROLE writes_all LOGIN VALID UNTIL '2099-01-01' IN ROLE pg_write_all_data",
    "CREATE ROLE watcher LOGIN VALID UNTIL '2099-01-01' IN ROLE pg_monitor",
    "CREATE ROLE nobody_at_all LOGIN VALID UNTIL '2099-01-01'",
    "GRANT team TO plain WITH ADMIN OPTION",
    # passwords: the old hash, and the new one
    "CREATE ROLE old_hash NOLOGIN PASSWORD 'md5aaaabbbbccccddddaaaabbbbccccdddd'",
    "CREATE ROLE new_hash NOLOGIN PASSWORD 'a long enough one'",
    # functions with their owner's rights
    'CREATE FUNCTION "Odd ""schema"."Fn ""x"(a int) RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT a $$',
    "CREATE FUNCTION pinned() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1'",
    "REVOKE EXECUTE ON FUNCTION pinned() FROM PUBLIC",
    "CREATE FUNCTION as_caller() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    # row-level security
    'CREATE TABLE "Odd ""schema"."Open ""table" (id int)',
    'GRANT SELECT ON "Odd ""schema"."Open ""table" TO PUBLIC',
    "CREATE TABLE by_name (id int)",
    "GRANT SELECT (id) ON by_name TO plain",
    "CREATE TABLE own_alone (id int)",
    "CREATE TABLE guarded (id int, who name)",
    "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    "GRANT ALL ON guarded TO plain",
    "CREATE POLICY own_rows ON guarded USING (who = current_user)",
    "CREATE TABLE forgotten (id int)",
    "ALTER TABLE forgotten ENABLE ROW LEVEL SECURITY",
    "CREATE TABLE in_vain (id int)",
    'CREATE POLICY "Pol ""icy" ON in_vain USING (id > 0)',
    "CREATE TABLE wide (id int)",
    "ALTER TABLE wide ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY anybody ON wide FOR UPDATE USING (true)",
    "CREATE POLICY named ON wide FOR INSERT TO plain WITH CHECK (true)",
    "CREATE POLICY readers ON wide FOR SELECT USING (true)",
    # views
    "CREATE VIEW past_policies AS SELECT * FROM guarded",
    "GRANT SELECT ON past_policies TO plain",
    "CREATE VIEW of_owner AS SELECT * FROM own_alone",
    "GRANT SELECT ON of_owner TO plain",
    "CREATE VIEW of_reader WITH (security_invoker = true) AS SELECT * FROM guarded",
    "GRANT SELECT ON of_reader TO plain",
    "CREATE VIEW not_granted AS SELECT * FROM guarded",
    # privileges that are handed on, or given in advance
    'GRANT SELECT, INSERT ON by_name TO "makes_roles" WITH GRANT OPTION',
    'ALTER DEFAULT PRIVILEGES IN SCHEMA "Odd ""schema" GRANT SELECT ON TABLES TO PUBLIC',
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO plain",
    "ALTER DEFAULT PRIVILEGES FOR ROLE plain GRANT USAGE ON SEQUENCES TO PUBLIC",
    'GRANT CREATE ON SCHEMA "Odd ""schema" TO PUBLIC',
)
HBA = (
    "local all all trust",
    "host all all 127.0.0.1/32 trust",
    "hostssl shop plain 10.0.0.0/8 scram-sha-256",
    "host shop plain 10.0.0.0/8 password",
    "hostssl shop endless 10.1.0.0/16 md5",
    "hostssl all all 0.0.0.0/0 scram-sha-256",
    "host shop plain 10.2.0.0/16 scram-sha-256",
    "host shop plain 10.3.0.0/16 reject",
)


@pytest.fixture(scope="module")
def planted() -> Iterator[OwnCluster]:
    settings = {"shared_preload_libraries": "pg_stat_statements", "password_encryption": "scram-sha-256"}
    with own_cluster(settings=settings) as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql(*PLANTED, database="shop")
        (cluster.data / "pg_hba.conf").write_text("\n".join(HBA) + "\n")
        cluster.sql("SELECT pg_reload_conf()")
        yield cluster


def audit(
    cluster: OwnCluster,
    user: str = "postgres",
    checks: str = "all",
    excepted: dict[str, Any] | None = None,
    **given: Any,
) -> AccessAudit:
    """An audit that has arrived, as that role."""
    secret = cluster.home / f"way-{user}"
    secret.write_text(f"host={cluster.socket} port={PORT} user='{user}' dbname=shop\n")
    secret.chmod(0o600)
    params = cluster.params(access={"connection": {"file": secret.name}, "databases": ["shop"], **given})
    with at_home(cluster.home):
        made = AccessAudit(params, "test-access", checks=checks, excepted=excepted)
        made.arrive()
    return made


def looked(cluster: OwnCluster, name: str, **given: Any) -> Looked:
    made = audit(cluster, checks=name, **given)
    with at_home(cluster.home):
        checks = made.check()
    assert len(checks) == len(made.looked) == 1
    return made.looked[0]


def findings(cluster: OwnCluster, name: str, **given: Any) -> dict[str, Seen]:
    found = looked(cluster, name, **given)
    assert found.unmeasured == [], found.unmeasured
    return {one.object: one for one in found.findings}


def checked(made: AccessAudit, cluster: OwnCluster) -> dict[str, Check]:
    with at_home(cluster.home):
        return {check.id: check for check in made.check()}


#: By check: what is found, with its figure. Every other object of the planted database is a healthy twin.
EXPECTED: dict[str, dict[str, float]] = {
    "superusers": {'"Too ""strong"': 1},
    "row_security_bypass": {"passes_by": 1},
    "role_makers": {"makes_roles": 1},
    "replication_roles": {"copies": 1},
    "logins_without_end": {"endless": 1, "postgres": 1},
    "predefined_roles": {"reads_files in pg_read_server_files": 3, "team in pg_read_server_files": 3, "plain in pg_read_server_files": 3, "writes_all in pg_write_all_data": 2},
    "admin_options": {"plain in team": 1},
    "grant_options": {"TABLE public.by_name to makes_roles": 2},
    "password_hashes": {"old_hash": 1},
    "hba_trust": {},
    "hba_trust_local": {"local all all trust": 1, "host all all 127.0.0.1 255.255.255.255 trust": 1},
    "hba_password": {"host shop plain 10.0.0.0 255.0.0.0 password": 1},
    "hba_md5": {"hostssl shop endless 10.1.0.0 255.255.0.0 md5": 1},
    "hba_any_address": {"hostssl all all 0.0.0.0 0.0.0.0 scram-sha-256": 1},
    "hba_without_tls": {"host shop plain 10.0.0.0 255.0.0.0 password": 1, "host shop plain 10.2.0.0 255.255.0.0 scram-sha-256": 1},
    "hba_errors": {f"pg_hba.conf line {n}: hostssl record cannot match because SSL is disabled": 1 for n in (3, 5, 6)},
    "hba_ident": {},
    "definer_path_writable": {"public.pinned()": 1},
    **{name: {} for name in ("open_to_everybody", "server_open_to_everybody", "owned_by_everybody", "owners_past_policies", "open_without_policies",
                             "open_settings", "mapped_passwords")},
    "definer_search_path": {'"Odd ""schema"."Fn ""x"(a integer)': 1},
    "definer_for_everybody": {'"Odd ""schema"."Fn ""x"(a integer)': 1},
    "row_security_off": {'"Odd ""schema"."Open ""table"': 2, "public.by_name": 1},
    "row_security_without_policy": {"public.forgotten": 1},
    "policy_without_row_security": {"public.in_vain": 1},
    "policies_open_for_writes": {"anybody on public.wide": 2, "named on public.wide": 1},
    "views_with_owners_rights": {"public.past_policies": 2, "public.of_owner": 1},
    "default_privileges": {'TABLES made by postgres in schema "Odd ""schema" to PUBLIC': 1,
        "SEQUENCES made by plain in any schema to PUBLIC": 1,
    },
    "schemas_open_to_everybody": {'"Odd ""schema"': 1},
    "audit_logging": {"log_connections": 1, "log_disconnections": 1, "log_statement": 1, "log_line_prefix": 1, "shared_preload_libraries": 1},
    "way_in": {"ssl": 1},
    "outdated_extensions": {},
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_planted_problem_is_found_with_its_figure_and_its_healthy_twin_is_not(planted: OwnCluster, name: str) -> None:
    assert {key: one.value for key, one in findings(planted, name).items()} == EXPECTED[name]


def test_role_whose_time_is_over_is_found_while_it_can_log_in(planted: OwnCluster) -> None:
    found = findings(planted, "logins_past_end")
    assert list(found) == ["ended"]
    assert (found["ended"].value or 0) > 365
    assert found["ended"].change == "ALTER ROLE ended NOLOGIN;"


def test_setting_that_keeps_passwords_badly_is_critical() -> None:
    with own_cluster(settings={"password_encryption": "md5"}) as cluster:
        cluster.sql("CREATE DATABASE shop")
        assert findings(cluster, "way_in")["password_encryption"].state is State.CRITICAL


def test_dormant_role_is_told_only_when_statements_were_counted_long_enough(planted: OwnCluster) -> None:
    young = looked(planted, "dormant_roles")
    assert young.findings == [] and young.state is State.NOT_MEASURED
    assert "of 90 days only" in young.unmeasured[0].note
    with planted.connect("shop") as connection:
        connection.execute("SET SESSION AUTHORIZATION plain")
        connection.execute("SELECT 1")
    found = findings(planted, "dormant_roles", thresholds={"dormant_role_days": {"value": 0, "source": "this test"}})
    assert "nobody_at_all" in found and "plain" not in found


def test_outdated_extension_is_found() -> None:
    with own_cluster() as cluster:
        cluster.sql("CREATE DATABASE shop")
        cluster.sql("CREATE EXTENSION pg_stat_statements VERSION '1.9'", database="shop")
        found = findings(cluster, "outdated_extensions")
        assert "1.9 is installed" in found["pg_stat_statements"].note


def test_as_pg_monitor_hashes_and_rules_are_not_measured_and_all_else_is(planted: OwnCluster) -> None:
    found = checked(audit(planted, "watcher"), planted)
    unknown = {name for name, check in found.items() if check.status is Status.UNKNOWN}
    rules = {
        f"access/hba_{name}"
        for name in ("trust", "trust_local", "password", "ident", "md5", "any_address", "without_tls", "errors")
    }
    assert unknown == rules | {"access/password_hashes", "access/dormant_roles", "access/mapped_passwords@shop"}
    assert "permission denied" in (found["access/password_hashes"].reason or "")


def test_a_role_without_rights_calls_nothing_ok_that_it_cannot_see(planted: OwnCluster) -> None:
    found = checked(audit(planted, "nobody_at_all"), planted)
    for name in ("password_hashes", "hba_trust", "audit_logging", "dormant_roles"):
        assert found[f"access/{name}"].status is Status.UNKNOWN, name
    assert found["access/superusers"].status is Status.FAIL, "the catalog of roles is open to all"


class Signed:
    """An exception as the audit sees it."""

    owner, reason, signer, expires = "olaf", "the vendor needs it", "ann", "2099-01-01"

    def __init__(self, worst: str | None = None) -> None:
        self.worst = worst


def test_exception_covers_its_finding_alone_and_is_told(planted: OwnCluster) -> None:
    made = audit(planted, checks="superusers,row_security_bypass", excepted={'superusers@/"Too ""strong"': Signed()})
    found = checked(made, planted)
    assert found["access/superusers"].status is Status.PASS
    assert found["access/row_security_bypass"].status is Status.FAIL
    assert ["olaf" in said and "2099" in said for said in made.accepted] == [True]


def test_exception_covers_no_worse_than_what_was_signed(planted: OwnCluster) -> None:
    key = "row_security_off@shop/public.by_name"
    others = {'row_security_off@shop/"Odd ""schema"."Open ""table"': Signed("critical")}
    for state, left in (("not measured", 1), ("warning", 0), ("critical", 0)):
        made = audit(planted, checks="row_security_off", excepted={key: Signed(state), **others})
        checked(made, planted)
        assert len(made.looked[0].findings) == left, state
    planted.sql("GRANT SELECT ON by_name TO PUBLIC", database="shop")
    try:
        made = audit(planted, checks="row_security_off", excepted={key: Signed("warning"), **others})
        assert checked(made, planted)["access/row_security_off@shop"].status is Status.FAIL, (
            "it is open to everybody now"
        )
    finally:
        planted.sql("REVOKE SELECT ON by_name FROM PUBLIC", database="shop")


def test_missing_privilege_can_be_excepted(planted: OwnCluster) -> None:
    made = audit(planted, "watcher", checks="password_hashes", excepted={"password_hashes@/all": Signed()})
    assert checked(made, planted)["access/password_hashes"].status is Status.PASS
    assert len(made.accepted) == 1 and "permission denied" in made.accepted[0]


@pytest.mark.parametrize(
    ("leavers", "status"),
    [
        (None, Status.UNKNOWN),
        ([], Status.PASS),
        ([{"person": "Ann", "left": "2026-01-31", "roles": ["dropped", "ended_and_closed"]}], Status.PASS),
        ([{"person": "Ann", "left": "2026-01-31", "roles": ['Too "strong']}], Status.FAIL),
        ([{"person": "Ann", "left": "2026-01-31", "roles": ["ended"]}], Status.FAIL),
        ([{"person": "Ann", "left": "2026-01-31", "roles": ["Plain"]}], Status.UNKNOWN),
        ([{"person": "hash, OLD", "left": "2026-01-31", "roles": ["dropped"]}], Status.PASS),
        ([{"person": "All at-nobody", "left": "2026-01-31", "roles": ["dropped"]}], Status.UNKNOWN),
    ],
)
def test_role_of_a_person_who_has_left_fails_while_it_can_log_in(
    planted: OwnCluster, leavers: list[dict[str, Any]] | None, status: Status
) -> None:
    made = audit(planted, leavers=leavers)
    with at_home(planted.home):
        made.take()
        (check,) = made.check_leavers()
    assert check.status is status


def test_nothing_is_written_and_each_check_is_one_query(planted: OwnCluster) -> None:
    before = planted.sql("SELECT count(*) FROM pg_class", database="shop")
    made = audit(planted)
    found = checked(made, planted)
    assert made.look.load.queries <= len(found) + 4
    assert planted.sql("SELECT count(*) FROM pg_class", database="shop") == before


@pytest.mark.parametrize("major", [15, 18])
def test_other_major_versions_are_audited_whole(major: int) -> None:
    with own_cluster(major=major) as cluster:
        cluster.sql(
            "CREATE DATABASE shop",
            "CREATE ROLE team",
            "CREATE ROLE ann LOGIN IN ROLE team",
            "CREATE ROLE bob SUPERUSER",
        )
        made = audit(cluster)
        found = checked(made, cluster)
        with at_home(cluster.home):
            made.take()
        assert made.inventory.unseen == {}
        assert any(name.startswith("ann in team") for name in made.inventory.server["memberships"])
        assert found["access/superusers"].status is Status.FAIL
        unknown = {name for name, check in found.items() if check.status is Status.UNKNOWN}
        assert unknown == {"access/dormant_roles"}, "it wants pg_stat_statements"


MORE_HBA = """\
local all all peer
include more/first.conf
host all "a, b" 10.0.0.0 255.0.0.0 ident
host "/^db\\d" "/^ann" 0.0.0.0 128.0.0.0 scram-sha-256
host samerole +team 127.0.0.0 255.0.0.0 scram-sha-256
host all all all trust
local all all nonsense
"""


@pytest.mark.parametrize("major", [17, 18])
def test_rules_in_included_files_with_regexes_and_groups_are_found_where_they_stand(major: int) -> None:
    with own_cluster(major=major) as cluster:
        cluster.sql("CREATE DATABASE shop")
        (cluster.data / "more").mkdir()
        (cluster.data / "more" / "first.conf").write_text("# nothing\nhost all eve 0.0.0.0/0 md5\n")
        (cluster.data / "pg_hba.conf").write_text("local all all trust\n" + MORE_HBA)
        for path in (cluster.data / "more", cluster.data / "more" / "first.conf"):
            path.chmod(0o755)
        assert {key: one.note for key, one in findings(cluster, "hba_md5").items()} == {
            "host all eve 0.0.0.0 0.0.0.0 md5": "first.conf line 2: it takes SCRAM passwords as well"
        }
        assert list(findings(cluster, "hba_ident")) == ['host all "a, b" 10.0.0.0 255.0.0.0 ident']
        assert set(findings(cluster, "hba_any_address")) == {
            "host all eve 0.0.0.0 0.0.0.0 md5",
            "host /^db\\d /^ann 0.0.0.0 128.0.0.0 scram-sha-256",
            "host all all all trust",
        }
        assert "host samerole +team 127.0.0.0 255.0.0.0 scram-sha-256" not in findings(cluster, "hba_without_tls")
        assert set(findings(cluster, "hba_errors")) == {'pg_hba.conf line 8: invalid authentication method "nonsense"'}
