"""A backup of a hostile owner's database: check files on the restored, paused copy, as its reader and without one."""

from __future__ import annotations

import pytest
from own_cluster import OwnCluster, own_cluster
from proof import prove
from runbook import layout
from runbook.verification.backup import BackupVerification
from test_hostile_checks import DATABASE, HOSTILE, OWNER, PREPARED

pytestmark = [pytest.mark.server, pytest.mark.faults]

CHECKS = {
    "honest": "-- expect: n = 3\nSELECT count(*) AS n FROM public.vehicles",
    "orphans": "-- expect: orphaned_vehicles = 0\nSELECT count(*) AS orphaned_vehicles FROM public.vehicles AS v "
    "LEFT JOIN public.auctions AS a ON a.id = v.auction_id WHERE a.id IS NULL",
    "planned": "-- expect: n = 3\nSELECT count(*) AS n FROM public.planned WHERE i > 0",
    "text_runs": "-- expect: n = 0\nSELECT count(*) AS n FROM query_to_xml('SELECT public.of_anything()', true, false, '') AS x",
    "who": "-- expect: who = 'runbook_reader'\nSELECT current_user AS who",
}  # fmt: skip


def own_sql(cluster: OwnCluster) -> None:
    (cluster.home / "sql" / "verification").mkdir(parents=True)
    for path in (layout.CHECKOUT / "sql").iterdir():
        if path.name != "verification":
            (cluster.home / "sql" / path.name).symlink_to(path)
    for name, text in CHECKS.items():
        (cluster.home / "sql" / "verification" / f"{name}.sql").write_text(f"-- database: main\n{text}\n")
    shipped = layout.CHECKOUT / "sql" / "verification" / "sequences_ahead.sql"
    (cluster.home / "sql" / "verification" / shipped.name).write_text(shipped.read_text())


@pytest.mark.parametrize("has_reader", [True, False])
def test_hostile_owner_runs_nothing_as_superuser_and_shapes_no_answer(has_reader: bool) -> None:

    def before(proof: BackupVerification, step: str) -> None:
        if step in ("check_sql", "measure") and proof.scratch is not None:
            found = [line for line in proof.scratch.log.read_text().splitlines() if "WITNESS" in line]
            seen[step] = found

    seen: dict[str, list[str]] = {}
    with own_cluster("--data-checksums") as made:
        own_sql(made)
        made.sql(f"CREATE ROLE {OWNER} LOGIN", f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        if has_reader:
            made.sql("CREATE ROLE runbook_reader LOGIN BYPASSRLS IN ROLE pg_read_all_data, pg_monitor")
        made.sql("CREATE EXTENSION amcheck", *PREPARED, *HOSTILE, database=DATABASE)
        made.sql(
            f"SET SESSION AUTHORIZATION {OWNER}",
            "CREATE TABLE public.fed (id serial)",
            "INSERT INTO public.fed VALUES (7)",
            "CREATE MATERIALIZED VIEW public.kept AS SELECT i FROM public.planned",
            "CREATE INDEX ON public.kept ((i + public.fold(9)))",
            database=DATABASE,
        )
        made.backup("first")
        made.fence()
        made.switch()
        outcome = prove(made, made.params(verification={"database": DATABASE}), before=before)
    assert outcome.error is None
    found = {
        check.id.split("@")[0]: check
        for check in outcome.checks
        if check.id.startswith("sql/") and check.object == DATABASE
    }
    assert outcome.check(f"read@{DATABASE}").status == ("PASS" if has_reader else "UNKNOWN")
    states = {name: str(check.status) for name, check in found.items()}
    assert states == {
        "sql/honest": "PASS",
        "sql/orphans": "FAIL",
        "sql/planned": "PASS" if has_reader else "UNKNOWN",
        "sql/text_runs": "UNKNOWN",
        "sql/who": "PASS" if has_reader else "FAIL",
        "sql/sequences_ahead": "PASS",  # production is behind, too
    }, found
    assert "column_maximum = 7" in found["sql/sequences_ahead"].observed
    ran = set(seen["measure"]) - set(seen["check_sql"])
    assert {line.split()[-1] for line in ran} == ({"runbook_reader"} if has_reader else set())
