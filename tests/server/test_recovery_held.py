"""A transaction that was under way at the point holds its tables as long as the copy is paused: nobody waits for ever, nothing counts as
damage, and the tables are proven once the copy is promoted, before the recovery is accepted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest
from recovering import ANSWERS, Recovering, Said, figure, kill, processes
from runbook.sandbox.backup import archive_tail
from runbook.sandbox.place import Sandbox, need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]


def truncate_amid_commits(sandbox: Sandbox) -> int:
    """Sessions are truncated, and others commit between the lock and the commit; how many sessions there were."""
    with sandbox.connect() as incident, sandbox.connect() as other:
        before = other.execute("SELECT count(*) AS n FROM public.sessions").fetchone()
        incident.execute("BEGIN")
        incident.execute("TRUNCATE public.sessions")
        other.execute("UPDATE public.vehicles SET price = price + 1 WHERE id = (SELECT min(id) FROM public.vehicles)")
        incident.execute("COMMIT")
        other.execute("UPDATE public.vehicles SET price = price - 1 WHERE id = (SELECT min(id) FROM public.vehicles)")
    assert before is not None
    return int(before["n"])


def kill_once_promoted(recovery: Recovering) -> None:
    """An attempt ends at once, with the copy promoted and nothing of what was put off proven."""
    process = recovery.command("resume", recovery.run)
    while "promoted" not in (state := json.loads((recovery.beside / "recovery.json").read_text())):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    kill([psutil.Process(process.pid), *processes(recovery.run)])
    process.communicate(timeout=60)
    assert state["promoted"] and "ready" not in json.loads((recovery.beside / "recovery.json").read_text())


def test_tables_that_are_held_at_the_point_are_proven_after_promotion(live_home: Path) -> None:
    sessions = truncate_amid_commits(need_sandbox())
    recovery = Recovering({**ANSWERS, "way": ""})
    paused = recovery.go_on(recovery.start())
    assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout + paused.stderr
    assert paused.record["facts"]["damage"]["locked"] is True
    seen = {check["id"]: check["status"] for check in paused.record["checks"]}
    assert set(seen.values()) == {"PASS"} and "read@dealerscope" not in seen and "amcheck@dealerscope" not in seen
    said = [one for one in paused.record["limitations"] if one.startswith("NOT CHECKED YET")]
    assert any("public.sessions" in one and "read@dealerscope" in one for one in said), paused.record["limitations"]

    answered = recovery.say("answer", recovery.run, "choose-the-way-on", "promote", "--reason", "seen")
    assert answered.code == 0, answered.stderr
    gate = recovery.resume()
    assert "approve-the-way-on" in gate.last["next"], gate.stdout + gate.stderr
    assert recovery.approve("approve-the-way-on").code == 0
    kill_once_promoted(recovery)
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    proven = {check["id"]: check for check in last.record["checks"]}
    assert {proven[name]["status"] for name in ("read@dealerscope", "amcheck@dealerscope")} == {"PASS"}
    assert '--relation "public"."sessions"' in proven["amcheck@dealerscope"]["source"], (
        "what was read is not read again"
    )
    assert proven["read@dealerscope"]["observed"].startswith("1 not read while paused")
    assert not [one for one in last.record["limitations"] if one.startswith("NOT CHECKED YET")]
    with need_sandbox().connect() as connection:
        after = connection.execute("SELECT count(*) AS n FROM public.sessions").fetchone()
    assert after is not None and after["n"] == sessions


def promote_damaged(recovery: Recovering) -> Said:
    """A table that was held is damaged in the copy while nobody can look at it; the attempt that has promoted it and looked."""
    sandbox = need_sandbox()
    file = figure(sandbox, "SELECT pg_relation_filepath('public.sessions')")
    truncate_amid_commits(sandbox)
    paused = recovery.go_on(recovery.start())
    assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout + paused.stderr
    with (recovery.beside / "data" / file).open("r+b") as heap:
        heap.seek(4000)
        heap.write(b"x" * 64)
    assert recovery.say("answer", recovery.run, "choose-the-way-on", "promote", "--reason", "seen").code == 0
    said = recovery.go_on(recovery.resume())
    assert (said.code, said.last["verdict"]) == (1, "FAIL"), said.stdout + said.stderr
    assert "public.sessions" in said.last["reason"] and "decide-whether-to-swap-it-in" in said.last["next"], said.last
    assert any("NOT TAKEN BACK: the damaged server was stopped" in one for one in said.record["limitations"])
    assert not recovery.aside.exists(), "the damaged cluster has not left its place"
    return said


def test_copy_that_turns_out_damaged_is_not_swapped_in_and_production_is_as_it_was(live_home: Path) -> None:
    recovery = Recovering({**ANSWERS, "way": ""})
    promote_damaged(recovery)
    decided = recovery.say("answer", recovery.run, "decide-whether-to-swap-it-in", "back", "--reason", "damaged")
    assert decided.code == 0, decided.stderr
    last = recovery.resume()
    assert (last.code, last.last["verdict"]) == (1, "FAIL") and last.record["undos"] == {}, last.stdout + last.stderr
    states = {step["state"] for step in last.record["steps"]}
    assert states == {"done", "not applicable"}, "the run has come to its end"
    assert figure(need_sandbox(), "SELECT count(*) FROM public.sessions", user="dealerscope_app") == 0
    assert (recovery.beside / "data" / "PG_VERSION").exists() and not recovery.aside.exists(), "nothing was renamed"
    assert Recovering().say("run", "backup-verification", "--target", "sandbox").code != 5, "the target is free again"


def test_copy_that_turns_out_damaged_is_swapped_in_when_a_person_says_so(live_home: Path) -> None:
    recovery = Recovering({**ANSWERS, "way": ""})
    promote_damaged(recovery)
    decided = recovery.say(
        "answer", recovery.run, "decide-whether-to-swap-it-in", "swap", "--reason", "better than none"
    )
    assert decided.code == 0, decided.stderr
    swapped = recovery.resume()
    assert "accept-the-recovery" in swapped.last["next"], "what was given beforehand is not taken"
    assert (recovery.aside / "PG_VERSION").exists()
    assert recovery.say("answer", recovery.run, "accept-the-recovery", "accept", "--reason", "seen").code == 0
    last = recovery.resume()
    assert (last.code, last.last["verdict"]) == (1, "FAIL") and last.record["undos"] == {}, last.stdout + last.stderr
    assert figure(need_sandbox(), "SHOW default_transaction_read_only", user="dealerscope_app") == "off"


def test_verification_up_to_a_transaction_under_way_is_incomplete_and_calls_nothing_damaged(live_home: Path) -> None:
    sandbox = need_sandbox()
    with sandbox.connect() as under_way, sandbox.connect() as other:
        under_way.execute("BEGIN")
        under_way.execute("TRUNCATE public.sessions")
        other.execute("UPDATE public.vehicles SET price = price + 1 WHERE id = (SELECT min(id) FROM public.vehicles)")
        archive_tail(sandbox)
        said = Recovering().say("run", "backup-verification", "--target", "sandbox")
        under_way.execute("ROLLBACK")
    assert (said.code, said.last["verdict"]) == (4, "INCOMPLETE"), said.stdout + said.stderr
    states = {check["id"]: check for check in said.record["checks"]}
    assert (
        states["read@dealerscope"]["status"] == "UNKNOWN" and "public.sessions" in states["read@dealerscope"]["reason"]
    )
    assert "under way at this point" in states["read@dealerscope"]["next"]
    assert not [check for check in said.record["checks"] if check["status"] == "FAIL"]
