"""The inventory and the approved list: what is new, gone or changed is found; a list that nobody else has approved is never trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archivehouse import make_key
from gatehouse import introduce_by_runner
from homes import at_home
from own_cluster import PORT, OwnCluster, own_cluster
from runbook.access.audit import AccessAudit
from runbook.architecture.record import KINDS, ArchitectureRecord
from runbook.archive.accesslists import approve_list, approved_list, list_path
from runbook.errors import OperatorError
from runbook.gates.signers import signer_line, signers_path
from runbook.inventory.items import Inventory
from runbook.inventory.listfile import Approved, read_list
from runbook.model import Check, Status
from runbook.params.schema import Params
from runbook.session import identity

pytestmark = pytest.mark.server

ODD = 'Odd "db'


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    with own_cluster() as made:
        made.sql('CREATE DATABASE "Odd ""db"', "CREATE DATABASE shop", "CREATE ROLE ann LOGIN", 'CREATE ROLE "Te am"')
        made.sql("CREATE ROLE watcher LOGIN IN ROLE pg_monitor")
        made.sql(
            "CREATE TABLE t (id int, secret text)",
            "GRANT SELECT ON t TO ann",
            "GRANT UPDATE (secret) ON t TO ann",
            "CREATE POLICY p ON t USING (id > 1)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            database=ODD,
        )
        yield made


def params_of(cluster: OwnCluster, user: str = "postgres") -> Params:
    secret = cluster.home / f"way-{user}"
    secret.write_text(f"host={cluster.socket} port={PORT} user='{user}' dbname=postgres\n")
    secret.chmod(0o600)
    return cluster.params(
        access={"connection": {"file": secret.name}}, approvals={"operators": {identity.operator(): "olga@x.example"}}
    )


def taken(cluster: OwnCluster, user: str = "postgres") -> AccessAudit:
    params = params_of(cluster, user)
    with at_home(cluster.home):
        made = AccessAudit(params, "run-of-test")
        made.arrive()
        made.take()
    return made


def person(cluster: OwnCluster, name: str) -> Path:
    """Their key, listed as who may approve."""
    key = cluster.home / name
    if not key.exists():
        make_key(key)
        with at_home(cluster.home):
            path = signers_path(params_of(cluster))
        with path.open("a") as file:
            line = signer_line(f"{name}@x.example", key.with_name(f"{name}.pub").read_text(), None, None)
            file.write(line + "\n")
        with at_home(cluster.home):
            introduce_by_runner(line)
    return key


@pytest.fixture
def approved(cluster: OwnCluster) -> Iterator[AccessAudit]:
    """The accesses as they are were approved by Paula; the list is gone afterwards."""
    made = taken(cluster)
    with at_home(cluster.home):
        proposed = made.propose(cluster.home / "proposed", [identity.operator()])
        text = (cluster.home / proposed["proposed"]).read_text()
        approve_list(made.params, text, key=person(cluster, "paula"))
        yield made
        for path in list_path("own").parent.iterdir():
            path.unlink()


def read(cluster: OwnCluster, **given: Any) -> Approved:
    with at_home(cluster.home):
        return approved_list(params_of(cluster), [identity.operator()], **given)


def compared(cluster: OwnCluster, user: str = "postgres") -> tuple[list[tuple[str, str, str | None, str, str]], Check]:
    made = taken(cluster, user)
    (check,) = made.compare(read(cluster))
    return [(str(d.became), d.kind, d.database, d.name, d.said) for d in made.differences], check


def test_same_server_gives_the_same_bytes_and_nothing_differs(cluster: OwnCluster, approved: AccessAudit) -> None:
    again = taken(cluster)
    assert again.inventory.sha256 == approved.inventory.sha256
    found, check = compared(cluster)
    assert (found, check.status) == ([], Status.PASS)


def test_inventory_holds_every_kind_with_quoted_names(cluster: OwnCluster) -> None:
    made = taken(cluster).inventory
    assert made.unseen == {}
    assert '"Te am"' in made.server["roles"] and "ann" in made.server["roles"]
    assert "watcher in pg_monitor by postgres" in made.server["memberships"]
    assert made.server["databases"]['"Odd ""db"']["owner"] == "postgres"
    inside = made.databases[ODD]
    assert inside["grants"]["table public.t to ann"] == {"privileges": "SELECT"}
    assert inside["column_grants"]["column public.t.secret to ann"] == {"privileges": "UPDATE"}
    assert inside["policies"]["p on public.t"]["using"] == "(id > 1)"
    assert inside["definer_functions"]["public.f()"]["owner"] == "postgres"
    assert inside["extensions"]["plpgsql"]["schema"] == "pg_catalog"


CHANGES = {
    "role": (["CREATE ROLE new_one"], ["DROP ROLE new_one"], ("new", "roles", None, "new_one", "createrole: false")),
    "attribute": (["ALTER ROLE ann CREATEDB"], ["ALTER ROLE ann NOCREATEDB"], ("changed", "roles", None, "ann", "createdb: false → true")),
    "membership": (['GRANT "Te am" TO ann'], ['REVOKE "Te am" FROM ann'], ("new", "memberships", None, 'ann in "Te am" by postgres', "admin: false")),
    "lost membership": (["REVOKE pg_monitor FROM watcher"], ["GRANT pg_monitor TO watcher"], ("gone", "memberships", None, "watcher in pg_monitor by postgres", "set: true")),
    "setting": (["ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"], ["ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.3)"], ("changed", "settings", None, "log_statement", "value: none → all")),
    "role setting": (["ALTER ROLE ann SET app.jwt_secret = 'hunter2'"], ["ALTER ROLE ann RESET ALL"], ("new", "role_settings", None, "app.jwt_secret of role ann in database any", "it may be a secret")),
    "system table": (["GRANT SELECT ON pg_authid TO ann"], ["REVOKE SELECT ON pg_authid FROM ann"], ("new", "grants", "postgres", "table pg_catalog.pg_authid to ann", "SELECT")),
    "system function": (["GRANT EXECUTE ON FUNCTION pg_read_file(text) TO ann"], ["REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM ann"], ("new", "grants", "postgres", "function pg_catalog.pg_read_file(text) to ann", "EXECUTE")),
    "database": (["CREATE DATABASE another"], ["DROP DATABASE another"], ("new", "contents", "another", "all", "grants")),
}  # fmt: skip
INSIDE = {
    "grant option": (["GRANT SELECT ON t TO ann WITH GRANT OPTION"], ["REVOKE GRANT OPTION FOR SELECT ON t FROM ann"], ("changed", "grants", ODD, "table public.t to ann", "privileges: SELECT → SELECT*")),
    "lost grant": (["REVOKE SELECT ON t FROM ann"], ["GRANT SELECT ON t TO ann"], ("gone", "grants", ODD, "table public.t to ann", "SELECT")),
    "row security": (["ALTER TABLE t ENABLE ROW LEVEL SECURITY"], ["ALTER TABLE t DISABLE ROW LEVEL SECURITY"], ("changed", "relations", ODD, "public.t", "row_security: off → on")),
    "owner": (["ALTER TABLE t OWNER TO ann"], ["ALTER TABLE t OWNER TO postgres", "GRANT SELECT ON t TO ann", "GRANT UPDATE (secret) ON t TO ann"], ("changed", "relations", ODD, "public.t", "owner: postgres → ann")),
    "policy": (["ALTER POLICY p ON t USING (true)"], ["ALTER POLICY p ON t USING (id > 1)"], ("changed", "policies", ODD, "p on public.t", "using: (id > 1) → true")),
    "body": (["CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 2'"], ["CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"], ("changed", "definer_functions", ODD, "public.f()", "body_md5")),
    "default privileges": (["ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ann"], ["ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM ann"], ("new", "default_privileges", ODD, "tables made by postgres in any schema to ann", "SELECT")),
    "extension": (["CREATE EXTENSION pgstattuple"], ["DROP EXTENSION pgstattuple"], ("new", "extensions", ODD, "pgstattuple", "version")),
}  # fmt: skip


@pytest.mark.parametrize("name", [*CHANGES, *INSIDE])
def test_change_that_nobody_approved_fails_and_its_undo_passes(
    cluster: OwnCluster, approved: AccessAudit, name: str
) -> None:
    change, undo, expected = {**CHANGES, **INSIDE}[name]
    place = ODD if name in INSIDE else "postgres"
    cluster.sql(*change, database=place)
    try:
        found, check = compared(cluster)
    finally:
        cluster.sql(*undo, database=place)
    assert check.status is Status.FAIL
    matching = [one for one in found if one[:4] == expected[:4] and expected[4] in one[4]]
    assert len(matching) == 1, found
    assert "hunter2" not in json.dumps(found)
    assert compared(cluster)[1].status is Status.PASS


def test_rule_of_pg_hba_conf_that_is_added_or_moved_is_found(cluster: OwnCluster, approved: AccessAudit) -> None:
    path = cluster.data / "pg_hba.conf"
    before = path.read_text()
    try:
        path.write_text(before + "host shop ann 10.0.0.0/8 radius radiusservers=127.0.0.1 radiussecrets=hunter2\n")
        found, check = compared(cluster)
    finally:
        path.write_text(before)
    assert check.status is Status.FAIL
    (new,) = [one for one in found if one[0] == "new"]
    assert new[3] == "host shop ann 10.0.0.0 255.0.0.0" and "hunter2" not in json.dumps(found)


def test_secret_of_two_words_in_a_rule_is_not_kept(cluster: OwnCluster) -> None:
    path = cluster.data / "pg_hba.conf"
    before = path.read_text()
    try:
        path.write_text(
            before + 'host shop ann 10.0.0.0/8 radius radiusservers=127.0.0.1 radiussecrets="""correct horse"""\n'
        )
        made = taken(cluster).inventory.server["hba"]
    finally:
        path.write_text(before)
    (facts,) = [facts for facts in made.values() if facts["method"] == "radius"]
    assert "radiussecrets=hidden" in facts["options"] and "horse" not in json.dumps(made)


def test_what_cannot_be_seen_now_is_not_called_unchanged(cluster: OwnCluster, approved: AccessAudit) -> None:
    found, check = compared(cluster, "watcher")
    assert (found, check.status) == ([], Status.UNKNOWN)
    assert "hba" in (check.reason or "") and "permission denied" in (check.reason or "")


def architecture(cluster: OwnCluster, **databases: object) -> ArchitectureRecord:
    """An architecture record that has measured."""
    params = params_of(cluster)
    health = params.health.model_copy(update={"connection": params.access.connection, **databases})
    with at_home(cluster.home):
        record = ArchitectureRecord(params.model_copy(update={"health": health}), "test-architecture")
        record.measure()
    return record


def test_architecture_shows_the_same_differences_as_the_audit_for_what_both_look_at(
    cluster: OwnCluster, approved: AccessAudit
) -> None:
    record = architecture(cluster)
    assert (record.compare_with_list(read(cluster)), record.about_list) == ([], [])
    cluster.sql(*CHANGES["setting"][0], *CHANGES["role"][0])
    cluster.sql(*INSIDE["extension"][0], database=ODD)
    try:
        found, check = compared(cluster)
        record = architecture(cluster)
        rows = record.compare_with_list(read(cluster))
        only_postgres = architecture(cluster, databases=("postgres",)).compare_with_list(read(cluster))
    finally:
        cluster.sql(*CHANGES["setting"][1], *CHANGES["role"][1])
        cluster.sql(*INSIDE["extension"][1], database=ODD)
    assert check.status is Status.FAIL and {one[1] for one in found} == {"settings", "roles", "extensions"}
    shown = [(row["became"], row["kind"], row["database"], row["item"], row["facts"]) for row in rows]
    assert shown == [(one[0], one[1], one[2] or "–", *one[3:]) for one in found if one[1] in KINDS]
    assert record.about_list == [
        f"2 differ from the approved list, the first {shown[0][0]} in {shown[0][1]}: {shown[0][3]}; the access audit judges them "
        "(runbook run access-audit)."
    ]
    assert [row["kind"] for row in only_postgres] == ["settings"], "a database that it does not enter is not gone"


def test_architecture_says_what_it_could_not_compare(cluster: OwnCluster, approved: AccessAudit) -> None:
    params = params_of(cluster, "watcher")
    with at_home(cluster.home):
        record = ArchitectureRecord(params.model_copy(update={"health": params.access}), "test-architecture")
        record.measure()
    record.inventory = Inventory({"server": record.inventory.server["server"]}, {}, {"settings@": "no right"})
    rows = record.compare_with_list(read(cluster))
    assert ("not compared", "settings", "no right") in {(row["became"], row["kind"], row["facts"]) for row in rows}
    assert any("Not compared with the approved list: " in said and "settings" in said for said in record.about_list)


def test_architecture_compares_with_no_list_that_does_not_count(cluster: OwnCluster) -> None:
    record = architecture(cluster)
    assert record.compare_with_list(read(cluster)) == []
    assert "there is no approved list yet" in record.about_list[0]


def test_architecture_compares_with_no_list_that_was_altered_or_is_of_another_system(
    cluster: OwnCluster, approved: AccessAudit
) -> None:
    found, record = read(cluster), architecture(cluster)
    assert found.list is not None
    other = replace(found, list=found.list.model_copy(update={"system_identifier": "7"}))
    assert record.compare_with_list(other) == []
    assert "it is of another system, 7" in record.about_list[0]
    with at_home(cluster.home):
        path = list_path("own")
    path.write_text(path.read_text().replace("login: 'true'", "login: 'false'", 1))
    assert record.compare_with_list(read(cluster)) == []
    assert len(record.about_list) == 1 and "was altered" in record.about_list[0]


def checked(cluster: OwnCluster, found: Approved) -> Status:
    made = taken(cluster)
    (check,) = made.check_list(found)
    (compared_,) = made.compare(found)
    if found.list is None:
        assert compared_.status is Status.UNKNOWN, "nothing is compared with a list that does not count"
    return check.status


def test_no_list_yet_is_unknown_and_says_how_to_make_one(cluster: OwnCluster) -> None:
    made = taken(cluster)
    (check,) = made.check_list(read(cluster))
    assert check.status is Status.UNKNOWN
    assert "no approved list yet" in (check.reason or "") and read(cluster).is_missing
    (compared_,) = made.compare(read(cluster))
    assert compared_.status is Status.UNKNOWN and "runbook access approve" in made.looked[0].next


def test_approved_list_counts(cluster: OwnCluster, approved: AccessAudit) -> None:
    found = read(cluster)
    assert (found.approver, found.number, found.problem) == ("paula@x.example", 1, None)
    assert checked(cluster, found) is Status.PASS


def test_altered_list_is_not_trusted(cluster: OwnCluster, approved: AccessAudit) -> None:
    with at_home(cluster.home):
        path = list_path("own")
    path.write_text(path.read_text().replace("login: 'true'", "login: 'false'", 1))
    found = read(cluster)
    assert found.list is None and "not the list that paula@x.example has approved" in (found.problem or "")
    assert checked(cluster, found) is Status.FAIL


def test_approval_that_was_rewritten_for_an_altered_list_is_not_trusted(
    cluster: OwnCluster, approved: AccessAudit
) -> None:
    from hashlib import sha256

    with at_home(cluster.home):
        path = list_path("own")
    old = sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text() + "# more\n")
    statement = path.with_name("own-1.json")
    statement.write_text(statement.read_text().replace(old, sha256(path.read_bytes()).hexdigest()))
    found = read(cluster)
    assert "its signature does not count" in (found.problem or "") and "rewritten" in (found.problem or "")
    assert checked(cluster, found) is Status.FAIL


def test_list_without_approval_is_not_trusted(cluster: OwnCluster, approved: AccessAudit) -> None:
    with at_home(cluster.home):
        list_path("own").with_name("own-1.json").unlink()
    found = read(cluster)
    assert found.list is None and "unsigned" in (found.problem or "")
    assert checked(cluster, found) is Status.UNKNOWN
    assert checked(cluster, read(cluster, known_number=1)) is Status.FAIL, "an earlier audit saw an approval"


def test_older_list_that_was_put_back_is_not_trusted(cluster: OwnCluster, approved: AccessAudit) -> None:
    found = read(cluster, known_number=2)
    assert found.list is None and "an older one was put back" in (found.problem or "")


def test_operator_cannot_approve_the_own_list_under_no_name(cluster: OwnCluster, approved: AccessAudit) -> None:
    own = person(cluster, "olga")
    with at_home(cluster.home):
        text = list_path("own").read_text()
        with pytest.raises(OperatorError, match="nobody approves their own list"):
            approve_list(params_of(cluster), text, key=own)
        signers = signers_path(params_of(cluster))
    before = signers.read_text()
    other_name = (
        make_key(cluster.home / "second") if not (cluster.home / "second").exists() else cluster.home / "second"
    )
    public = other_name.with_name("second.pub").read_text()
    try:
        with signers.open("a") as file:
            lines = [signer_line(f"{name}@x.example", public, None, None) for name in ("mallory", "olga")]
            file.write("".join(f"{line}\n" for line in lines))
        with at_home(cluster.home):
            for line in lines:
                introduce_by_runner(line)
        with at_home(cluster.home), pytest.raises(OperatorError, match="nobody approves their own list"):
            approve_list(params_of(cluster), text, key=other_name)
    finally:
        signers.write_text(before)


def test_operator_cannot_approve_the_own_list_in_other_letters(cluster: OwnCluster, approved: AccessAudit) -> None:
    own = person(cluster, "OLGA")
    with at_home(cluster.home), pytest.raises(OperatorError, match="nobody approves their own list"):
        approve_list(params_of(cluster), list_path("own").read_text(), key=own)


def test_list_that_the_auditor_of_today_has_approved_is_not_trusted(cluster: OwnCluster) -> None:
    made = taken(cluster)
    with at_home(cluster.home):
        proposed = made.propose(cluster.home / "proposed", ["somebody-else"])
        text = (cluster.home / proposed["proposed"]).read_text()
        assert read_list(text, "x").made_by == ("somebody-else",)
        approve_list(params_of(cluster), text, key=person(cluster, "olga"))
        found = approved_list(params_of(cluster), [identity.operator()])
        try:
            assert found.list is None and "audits against it" in (found.problem or "")
            assert approved_list(params_of(cluster), ["somebody-new"]).problem is None
        finally:
            for path in list_path("own").parent.iterdir():
                path.unlink()


def test_key_that_nobody_listed_cannot_approve(cluster: OwnCluster, approved: AccessAudit) -> None:
    stranger = make_key(cluster.home / "stranger")
    with at_home(cluster.home), pytest.raises(OperatorError, match="is not listed"):
        approve_list(params_of(cluster), list_path("own").read_text(), key=stranger)
