"""Sequences of every database are compared, owned or not, and set forward in the promoted copy with their owners' rights."""

from __future__ import annotations

import pytest
from crime import Scene, scene
from runbook.postgres.connect import Connection, connect
from runbook.postgres.tools import read_control
from runbook.recovery.sequencefiles import read_from_files
from runbook.recovery.sequences import SequenceGap, compare_sequences, read_all_sequences, set_forward

pytestmark = [pytest.mark.server, pytest.mark.faults]

MADE = (
    "CREATE ROLE ann",
    "CREATE TABLE tickets (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
    "INSERT INTO tickets SELECT FROM generate_series(1, 100)",
    'CREATE SEQUENCE "od\'d ""one"',
    "CREATE SEQUENCE down INCREMENT -5 MAXVALUE -1 START -1",
    "CREATE SEQUENCE round MAXVALUE 1000 CYCLE",
    "CREATE SEQUENCE small MAXVALUE 100",
    "CREATE SEQUENCE never",
    "CREATE SEQUENCE taken",
    "CREATE SEQUENCE reset",
    "CREATE UNLOGGED SEQUENCE unlogged",
    *(f"SELECT nextval('{name}') FROM generate_series(1, 10)" for name in ("down", "round", "small", "taken", "unlogged")),
    "SELECT nextval('reset') FROM generate_series(1, 500)",
    "ALTER SEQUENCE taken OWNER TO ann",
    "REVOKE ALL ON SEQUENCE taken FROM ann",
)  # fmt: skip


def open_writing(crime: Scene, database: str) -> Connection:
    socket = crime.cluster.socket
    return connect(
        socket=socket, database=database, user="postgres", application="test", read_only=False, statement_timeout=0
    )


def test_what_was_given_out_since_is_found_and_not_given_out_again() -> None:
    with scene(*MADE) as crime:
        crime.cluster.create_database("other", "CREATE SEQUENCE alone", "SELECT nextval('alone')")
        then, missed = read_all_sequences(crime.open)
        assert missed == [] and ("shop", "public", "unlogged") not in then
        use = "SELECT nextval('{}') FROM generate_series(1, 60)"
        crime.run(
            "INSERT INTO tickets SELECT FROM generate_series(1, 20)",
            *(use.format(name) for name in ("down", "never", "round", "taken")),
        )
        crime.run(
            """SELECT nextval('"od''d ""one"')""",
            "ALTER SEQUENCE small MAXVALUE 500",
            use.format("small"),
            "SELECT setval('small', 300)",
        )
        crime.run("ALTER SEQUENCE reset RESTART")
        crime.run("SELECT setval('alone', 9000000000000000000)", database="other")
        now, _ = read_all_sequences(crime.open)
        gaps = {gap.name: gap for gap in compare_sequences(now, then)}
        assert gaps["tickets_id_seq"].words() == (
            'shop: "public"."tickets_id_seq": last value 120 in the damaged cluster, 100 in the copy'
        )
        assert gaps["tickets_id_seq"].feeds == "public.tickets.id"
        assert (gaps["down"].damaged, gaps["down"].restored, gaps["down"].is_rewound) == (-346, -46, True)
        assert (gaps["never"].restored, gaps["never"].is_rewound) == (None, True)
        assert gaps["round"].refused == "it cycles"
        assert gaps["small"].refused == "the copy allows 1 to 100"
        assert (gaps["reset"].is_rewound, gaps["reset"].is_set_back) == (False, True)
        assert gaps["reset"].by_hand == """SELECT pg_catalog.setval('"public"."reset"', 500)"""
        assert gaps["alone"].database == "other"
        # The copy is the same cluster, as it was.
        crime.run("ALTER SEQUENCE small MAXVALUE 500", "SELECT setval('tickets_id_seq', 100), setval('down', -46), setval('taken', 10), setval('small', 10)",
                  """ALTER SEQUENCE "od'd ""one" RESTART""", "ALTER SEQUENCE never RESTART")  # fmt: skip
        crime.run("SELECT setval('alone', 1)", database="other")
        done = {one.title: one for one in set_forward(lambda database: open_writing(crime, database), gaps.values())}
        assert sorted(name for name, one in done.items() if one.problem) == ['shop: "public"."taken"']
        assert "permission denied" in (done['shop: "public"."taken"'].problem or "")
        ahead = {name: state.last_value for (_, _, name), state in read_all_sequences(crime.open)[0].items()}
        expected = {
            "tickets_id_seq": 120,
            "down": -346,
            "never": 60,
            "taken": 10,
            "small": 10,
            "od'd \"one": 1,
            "alone": 9000000000000000000,
        }
        assert {name: ahead[name] for name in expected} == expected
        again = set_forward(lambda database: open_writing(crime, database), [gaps["tickets_id_seq"]])
        assert [(one.value, one.problem) for one in again] == [(120, None)], "safe again"
        crime.run("SELECT setval('tickets_id_seq', 400)")
        assert set_forward(lambda database: open_writing(crime, database), [gaps["tickets_id_seq"]])[0].value == 400


def test_values_of_a_stopped_server_are_read_from_its_files_and_those_of_a_crashed_one_are_not() -> None:
    with scene(*MADE) as crime:
        then, _ = read_all_sequences(crime.open)
        crime.run(
            "INSERT INTO tickets SELECT FROM generate_series(1, 20)",
            "SELECT nextval('never')",
            "ALTER SEQUENCE small RESTART",
        )
        now, _ = read_all_sequences(crime.open)
        cluster = crime.cluster
        cluster.stop()
        found, missed = read_from_files(cluster.data, read_control(cluster.tools, cluster.data), then)
        changed = {key for key, state in found.items() if state.last_value != then[key].last_value}
        assert {name for _, _, name in changed} == {"tickets_id_seq", "never"}
        assert all(found[key].last_value == now[key].last_value for key in found)
        assert set(then) - set(found) == {("shop", "public", "small")}, "it has another file since"
        assert len(missed) == 1 and "shop: public.small (base/" in missed[0]
        cluster.start()
        crime.run("SELECT nextval('never')")
        cluster.stop("immediate")
        found, missed = read_from_files(cluster.data, read_control(cluster.tools, cluster.data), then)
        assert (found, len(missed)) == ({}, 1) and "was not stopped in order (in production)" in missed[0]
        cluster.start()


def test_database_that_lets_nobody_in_and_a_sequence_that_is_gone_are_said() -> None:
    with scene("CREATE SEQUENCE one") as crime:
        crime.cluster.create_database("shut")
        crime.cluster.sql("ALTER DATABASE shut ALLOW_CONNECTIONS false")
        found, missed = read_all_sequences(crime.open)
        assert missed == ["sequences of shut: it accepts no connection"]
        assert list(found) == [("shop", "public", "one")]
        gap = SequenceGap("shop", "public", "two", "postgres", None, 1, 1, 9, 1)
        (done,) = set_forward(lambda database: open_writing(crime, database), [gap])
        assert done.problem == "it is not in the copy"
