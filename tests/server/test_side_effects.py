"""What a promotion empties or loses, and collations of another version, are read from every database before its gate."""

from __future__ import annotations

from datetime import timedelta

import pytest
from crime import scene
from runbook.recovery.sideeffects import lost_with_server, read_side_effects
from traps import function, witnesses

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_unlogged_relations_and_other_collation_versions_are_named() -> None:
    with scene(
        "CREATE UNLOGGED TABLE cache AS SELECT generate_series(1, 1200) AS id",
        'CREATE UNLOGGED SEQUENCE "my numbers"',
        "CREATE TABLE kept (id int)",
    ) as crime:
        assert read_side_effects(crime.open)[0].collations == []
        with crime.cluster.connect("shop") as connection:
            connection.execute("UPDATE pg_collation SET collversion = '0' WHERE collname = 'pg_c_utf8'")
        found, missed = read_side_effects(crime.open)
        assert missed == []
        assert found.emptied_words() == [
            'Unlogged table shop: "public"."cache" (about 1,200 rows by the last ANALYZE; the damaged server does not answer) is empty after a '
            "recovery: its content is in no WAL",
            'Unlogged sequence shop: "public"."my numbers" (value not known; the damaged server does not answer) is reset after a recovery: its '
            "content is in no WAL",
        ]
        assert [row["object"] for row in found.rows()] == ['shop: "public"."cache"', 'shop: "public"."my numbers"']
        (said,) = found.collation_words()
        assert said.startswith("Database shop: 1 collation has another version here") and "made with 0, here 1" in said


def test_rows_of_unlogged_tables_are_counted_in_the_damaged_cluster_as_the_reader() -> None:
    with scene(
        "CREATE ROLE reading LOGIN",
        'CREATE UNLOGGED TABLE "Cache; one" (id int)',
        'INSERT INTO "Cache; one" SELECT generate_series(1, 500)',
        "CREATE ROLE ann",
        function("half", "int", "int", "$1 / 2"),
        "ALTER FUNCTION half(int) OWNER TO ann",
        "CREATE UNLOGGED TABLE trapped (id int)",
        "CREATE INDEX ON trapped (half(id))",
        "INSERT INTO trapped SELECT generate_series(1, 7)",
        "CREATE UNLOGGED TABLE hidden (id int)",
        "CREATE UNLOGGED SEQUENCE numbers",
        "SELECT nextval('numbers')",
        'GRANT SELECT ON "Cache; one", trapped, numbers TO reading',
    ) as crime:
        before = len(witnesses(crime.cluster.log))
        found, missed = read_side_effects(crime.open, lambda database: crime.open(database, "reading"))
        assert missed == []
        now = {name.rpartition(".")[2]: size for name, _, size in found.emptied}
        assert now['"Cache; one"'] == "500 rows in the damaged cluster"
        assert now['"trapped"'] == "7 rows in the damaged cluster"
        assert len(witnesses(crime.cluster.log)) == before, "nothing of the application has run"
        assert "not counted: permission denied for table hidden" in now['"hidden"']
        assert now['"numbers"'] == "last value 1 in the damaged cluster"


def test_prepared_transactions_slots_and_statistics_are_named_with_what_becomes_of_them() -> None:
    with scene("CREATE TABLE item (id int)") as crime:
        for name in ("early", "near", "late"):
            crime.run("BEGIN", "INSERT INTO item VALUES (1)", f"PREPARE TRANSACTION '{name}'")
        crime.cluster.sql("SELECT pg_create_physical_replication_slot('one')")
        times = dict(crime.cluster.sql("SELECT gid, prepared FROM pg_prepared_xacts"))
        tick = timedelta(microseconds=1)
        with crime.open("postgres") as connection:
            said = lost_with_server(connection, times["near"] - tick, times["near"] + tick)
        assert [line.split(", ", 1)[1].split(":")[0] for line in said[:3]] == [
            "before the recovery point",
            "near the recovery point",
            "after the recovery point",
        ]
        assert said[3].startswith("Replication slot one (physical unused) is lost")
        assert said[4].startswith("Cumulative statistics (pg_stat_*) begin at zero") and len(said) == 5
        assert lost_with_server(None, None, None)[0].startswith(
            "The damaged server does not answer: its prepared transactions"
        )
        crime.run("ROLLBACK PREPARED 'early'", "ROLLBACK PREPARED 'near'", "ROLLBACK PREPARED 'late'")
