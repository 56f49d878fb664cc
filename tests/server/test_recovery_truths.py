"""What a recovery's record says of itself: a dry run, times after a resume, what comes back prepared, what a promotion empties, a fence at the end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from contradictions import in_archive
from recovering import ANSWERS, Recovering, figure, suffer
from runbook import clock, layout
from runbook.sandbox import backup, traffic
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_dry_run_says_so_and_what_it_did_not_look_at(live_home: Path) -> None:
    suffer()
    last = Recovering({**ANSWERS, "dry_run": "true"}).start()
    record = last.record
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert last.last["reason"].startswith("DRY RUN, nothing was changed: "), last.last["reason"]
    states = {step["name"]: step["state"] for step in record["steps"]}
    assert states["Swap it in"] == states["Close the database"] == states["Approve the recovery"] == "not applicable"
    assert states["Search WAL for the damage"] == "done"
    assert any("was not searched; production writes at" in said for said in record["limitations"]), record[
        "limitations"
    ]
    assert not record["satisfies_controls"] and in_archive(layout.records()) == []


@pytest.mark.timeout(600)
def test_each_fact_keeps_its_time_and_what_comes_back_is_said(live_home: Path) -> None:
    sandbox = need_sandbox()
    with sandbox.connect("dealerscope", read_only=False) as connection:
        connection.execute("CREATE UNLOGGED TABLE public.cache AS SELECT generate_series(1, 1200) AS id")
    sandbox, _ = suffer()
    recovery = Recovering()
    first = recovery.start()
    assert first.code == 3 and recovery.approve("approve-the-recovery").code == 0
    time.sleep(6)
    second = recovery.resume()
    assert second.code == 3 and "approve-the-way-on" in second.last["next"], second.stdout + second.stderr
    assert recovery.resume().code == 3, "another look changes nothing"
    plan = next(gate["plan"] for gate in recovery.resume().record["gates"] if gate["id"] == "approve-the-way-on")
    assert any('public"."cache' in said and "is empty after a recovery" in said for said in plan["blast_radius"]), plan
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    record = last.record
    moments = {name: clock.parse(at) for name, at in record["facts"]["moments"].items()}
    gates = {gate["id"]: gate for gate in record["gates"]}
    signed = clock.parse(gates["approve-the-recovery"]["approvals"][0]["at"])
    assert moments["approved"] == signed
    assert moments["chosen"] == clock.parse(gates["approve-the-way-on"]["approvals"][0]["at"])
    paused = [one for one in recovery.journal() if one.get("name") == "recovery/at/paused"]
    checked = [one for one in recovery.journal() if one.get("name") == "recovery/at/checked"]
    assert (len(paused), len(checked)) == (1, 1), "written once, in the attempt in which it happened"
    assert (moments["checked"] - moments["paused"]).total_seconds() > 1
    assert any("cache" in said and "is empty after a recovery" in said for said in record["limitations"])
    assert figure(sandbox, "SELECT count(*) FROM public.cache") == 0
    assert "\n".join(in_archive(layout.records())) == ""


@pytest.mark.timeout(600)
def test_damage_that_was_prepared_is_rolled_back_in_the_copy(live_home: Path) -> None:
    sandbox = need_sandbox()
    with sandbox.connect("dealerscope", read_only=False) as connection:
        connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    say = Recovering()
    assert say.say("sandbox", "server", "stop").code == 0 and say.say("sandbox", "server", "start").code == 0
    sandbox = need_sandbox()
    before = figure(sandbox, "SELECT count(*) FROM public.sessions")
    with sandbox.connect("dealerscope", read_only=False) as connection:
        for statement in ("BEGIN", "DELETE FROM public.sessions", "PREPARE TRANSACTION 'both'"):
            connection.execute(statement)
    traffic.write_burst(sandbox, 1)
    with sandbox.connect("dealerscope", read_only=False) as connection:
        connection.execute("COMMIT PREPARED 'both'")
    backup.archive_tail(sandbox)
    recovery = Recovering()
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert any(
        "both in dealerscope was the damage itself; it was rolled back" in one for one in last.record["limitations"]
    )
    plan = next(gate["plan"] for gate in last.record["gates"] if gate["id"] == "approve-the-way-on")
    assert any("Roll back prepared transaction" in action["what"] for action in plan["actions"])
    assert figure(sandbox, "SELECT count(*) FROM pg_prepared_xacts") == 0
    assert figure(sandbox, "SELECT count(*) FROM public.sessions") >= before


def test_idle_sandbox_is_verified_and_a_backup_has_its_fence(live_home: Path) -> None:
    params = layout.params() / "sandbox.yaml"
    params.write_text(params.read_text().replace("heartbeat_max_age_seconds: 900", "heartbeat_max_age_seconds: 2"))
    sandbox = need_sandbox()
    traffic.write_burst(sandbox, 3)
    time.sleep(4)
    say = Recovering()
    taken = say.say("sandbox", "backup")
    assert taken.code == 0 and "Fence " in taken.stdout, taken.stdout + taken.stderr
    with sandbox.connect("postgres", read_only=False) as connection:
        connection.execute("CREATE TABLE public.later_than_the_application (a int)")
    backup.archive_tail(sandbox)
    verified = say.say("run", "backup-verification", "--target", "sandbox")
    assert (verified.code, verified.last["verdict"]) == (0, "PASS"), verified.stdout + verified.stderr
    with sandbox.connect("dealerscope", read_only=False) as connection:
        connection.execute("UPDATE public.heartbeat SET beat_at = beat_at - interval '1 hour'")
    backup.archive_tail(sandbox)
    stale = say.say("run", "backup-verification", "--target", "sandbox", "-p", "checks", "heartbeat_fresh")
    assert (stale.code, stale.last["verdict"]) == (1, "FAIL"), stale.stdout + stale.stderr
    assert "\n".join(in_archive(layout.records())) == ""
