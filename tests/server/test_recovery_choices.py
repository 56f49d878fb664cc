"""What a promotion loses and rewinds besides is in the plan before its gate; what fires at a copy-back is the operator's choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recovering import ANSWERS, Recovering, Said, figure, suffer
from runbook.sandbox.place import Sandbox, need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults, pytest.mark.timeout(600)]

NUMBERS = "SELECT nextval('public.numbers')"
TICKETS = "SELECT nextval(pg_get_serial_sequence('public.tickets', 'id'))"


def execute(sandbox: Sandbox, *statements: str) -> None:
    with sandbox.connect("dealerscope", read_only=False) as connection:
        for statement in statements:
            connection.execute(statement)


def way_plan(said: Said) -> dict[str, Any]:
    return next(gate["plan"] for gate in said.record["gates"] if gate["id"] == "approve-the-way-on")


def sell(sandbox: Sandbox, number: int) -> None:
    execute(
        sandbox, f"INSERT INTO public.tickets (v) SELECT 'a' FROM generate_series(1, {number})", *[NUMBERS] * number
    )


def have_tickets() -> Sandbox:
    """Case 34: 100 tickets before the point and 60 after it; and what a promotion cannot bring back."""
    execute(need_sandbox(), "ALTER SYSTEM SET max_prepared_transactions = 5")
    say = Recovering()
    assert say.say("sandbox", "server", "stop").code == 0 and say.say("sandbox", "server", "start").code == 0
    sandbox = need_sandbox()
    execute(
        sandbox,
        "CREATE TABLE public.tickets (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)",
        "ALTER TABLE public.tickets OWNER TO dealerscope_owner",
        "CREATE SEQUENCE public.numbers",
        "CREATE UNLOGGED TABLE public.cache AS SELECT generate_series(1, 500) AS id",
        "SELECT pg_create_physical_replication_slot('standby_one', true)",
    )
    sell(sandbox, 100)
    execute(sandbox, "BEGIN", "INSERT INTO public.tickets (v) VALUES ('p')", "PREPARE TRANSACTION 'early'")
    suffer()
    sell(sandbox, 60)
    execute(sandbox, "BEGIN", "INSERT INTO public.tickets (v) VALUES ('p')", "PREPARE TRANSACTION 'late'")
    return sandbox


def test_sequences_go_on_after_the_damaged_clusters_and_what_is_lost_is_in_the_plan(live_home: Path) -> None:
    sandbox = have_tickets()
    recovery = Recovering()
    waiting = recovery.go_on(recovery.start(), most=1)
    assert "approve-the-way-on" in waiting.last["next"], waiting.stdout + waiting.stderr
    plan = way_plan(waiting)
    for said in (
        'Unlogged table dealerscope: "public"."cache" (500 rows in the damaged cluster) is empty after a recovery',
        "Prepared transaction early of database dealerscope was prepared at",
        "before the recovery point: it comes back, and holds its locks",
        "Prepared transaction late of database dealerscope was prepared at",
        "after the recovery point: it is lost, and its coordinator will not find it",
        "Replication slot standby_one (physical unused) is lost",
        "Cumulative statistics (pg_stat_*) begin at zero",
        "Rows of others' transactions that are discarded:",
    ):
        assert any(said in line for line in plan["blast_radius"]), (said, plan["blast_radius"])
    facts = plan["facts"]["sequences"]
    assert facts['dealerscope: "public"."tickets_id_seq"'].startswith("last value 162 in the damaged cluster, 1")
    assert facts['dealerscope: "public"."numbers"'].endswith("set forward")
    assert any('Set sequence dealerscope: "public"."numbers"' in one["what"] for one in plan["actions"])
    last = recovery.go_on(waiting)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert (figure(sandbox, TICKETS), figure(sandbox, NUMBERS)) == (163, 161)
    assert any(check["id"] == "recovery-sequences" and check["status"] == "PASS" for check in last.record["checks"])
    limits = last.record["limitations"]
    for said in ("(500 rows in the damaged cluster) is empty", "transaction late", "slot standby_one", "pg_stat_*"):
        assert any(said in line for line in limits), (said, limits)
    assert not any("given out again" in line for line in limits)
    assert figure(sandbox, "SELECT count(*) FROM public.tickets") == 100
    execute(need_sandbox(), "ROLLBACK PREPARED 'early'")


def test_sequences_that_are_kept_are_named_as_giving_numbers_out_again(live_home: Path) -> None:
    sandbox = need_sandbox()
    execute(sandbox, "CREATE SEQUENCE public.numbers", *[NUMBERS] * 100)
    suffer()
    execute(sandbox, *[NUMBERS] * 60)
    recovery = Recovering({**ANSWERS, "sequences": "keep"})
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert way_plan(last)["facts"]["sequences"]['dealerscope: "public"."numbers"'].endswith(
        "numbers are given out again"
    )
    said = 'Numbers that were given out after the point are given out again: dealerscope: "public"."numbers": last value 160 in the damaged'
    assert any(line.startswith(said) for line in last.record["limitations"]), last.record["limitations"]
    assert figure(sandbox, NUMBERS) <= 133


def test_trigger_is_left_out_by_an_answer_and_a_wrong_answer_is_asked_again(live_home: Path) -> None:
    sandbox = need_sandbox()
    execute(
        sandbox,
        "ALTER TABLE public.vehicles ADD COLUMN touched_at timestamptz DEFAULT '2020-01-01'",
        "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.touched_at := clock_timestamp(); RETURN NEW; END$$",
        "CREATE TRIGGER touch BEFORE INSERT ON public.vehicles FOR EACH ROW EXECUTE FUNCTION public.touch()",
    )
    _, truth = suffer()
    query = "SELECT count(*) FROM public.vehicles WHERE touched_at = '2020-01-01'"
    recovery = Recovering({**ANSWERS, "way": "copy-back"})
    waiting = recovery.go_on(recovery.start())
    question = "decide-which-triggers-fire"
    assert waiting.code == 3 and question in waiting.last["next"], waiting.stdout + waiting.stderr
    table = waiting.last["reason"].split("Offered: ")[1].split(";")[0]
    assert recovery.say("answer", recovery.run, question, "leave-out", "--value", "vehicles", "--reason", "r").code == 0
    waiting = recovery.resume()
    assert waiting.code == 3 and question in waiting.last["next"], waiting.stdout + waiting.stderr
    assert "named 'vehicles', which is none of these" in waiting.last["reason"], waiting.last["reason"]
    assert recovery.say("answer", recovery.run, question, "leave-out", "--value", table, "--reason", "r").code == 0
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    plan = way_plan(last)
    assert plan["facts"]["triggers"][table][0].startswith("left out: trigger touch: BEFORE INSERT, for each row")
    assert figure(sandbox, query) >= truth["rows"]["vehicles"]
    assert figure(sandbox, "SELECT tgenabled FROM pg_trigger WHERE tgname = 'touch'") == "O"
    assert not any("not quite as before" in line for line in last.record["limitations"])
