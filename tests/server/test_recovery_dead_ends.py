"""Where the search does not find the damage the recovery goes on all the same, by an answer in the same run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from recovering import ANSWERS, Recovering, figure
from runbook.sandbox.backup import take_backup
from runbook.sandbox.place import locked, need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]

QUESTION = "choose-the-suspects-to-undo"


def test_damage_that_the_search_does_not_find_is_recovered_by_a_point_given_in_the_same_run(live_home: Path) -> None:
    sandbox = need_sandbox()
    point = str(figure(sandbox, "SELECT pg_current_wal_lsn()"))
    with sandbox.connect() as connection:
        connection.execute("CREATE TABLE public.made_by_mistake (n int)")
        connection.execute("INSERT INTO public.made_by_mistake VALUES (1)")
    recovery = Recovering({name: value for name, value in ANSWERS.items() if name not in ("suspects", "rationale")})
    waits = recovery.start()
    assert waits.code == 3 and QUESTION in waits.last["next"], waits.stdout
    assert "looks like the damage" in waits.last["reason"]
    further = recovery.say("answer", recovery.run, QUESTION, "further", "--value", "7 d", "--reason", "not found")
    assert further.code == 0, further.stderr
    again = recovery.resume()
    assert again.code == 3 and "goes back 7 d" in again.last["reason"], again.stdout
    for option, value in (("point", "F/0"), ("point", "latest"), ("further", "99999999999 d")):
        wrong = recovery.say("answer", recovery.run, QUESTION, option, "--value", value, "--reason", "a guess")
        assert wrong.code == 0, wrong.stderr
        again = recovery.resume()
        assert again.code == 3 and QUESTION in again.last["next"], again.stdout
    taken = recovery.say("answer", recovery.run, QUESTION, "point", "--value", point, "--reason", "before the mistake")
    assert taken.code == 0, taken.stderr
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(need_sandbox(), "SELECT to_regclass('public.made_by_mistake') IS NULL") is True


def test_search_further_back_over_a_gap_in_wal_is_asked_again_and_blocks_nothing(live_home: Path) -> None:
    sandbox = need_sandbox()
    gap = str(figure(sandbox, "SELECT pg_walfile_name(pg_switch_wal())"))
    figure(sandbox, "SELECT txid_current()")
    last = str(figure(sandbox, "SELECT pg_walfile_name(pg_switch_wal())"))
    wait_for(sandbox.archive / last)
    with locked():
        sandbox, _ = take_backup(sandbox, "behind the gap")
    (sandbox.archive / gap).unlink()
    first = {name: value for name, value in ANSWERS.items() if name not in ("suspects", "rationale")}
    recovery = Recovering({**first, "look_back": "0 s"})
    waits = recovery.start()
    assert waits.code == 3 and QUESTION in waits.last["next"], waits.stdout
    further = recovery.say("answer", recovery.run, QUESTION, "further", "--value", "7 d", "--reason", "not found")
    assert further.code == 0, further.stderr
    again = recovery.resume()
    assert again.code == 3 and QUESTION in again.last["next"], again.stdout
    assert "cannot go back so far" in again.last["reason"] and gap in again.last["reason"], again.last["reason"]
    assert recovery.resume().code == 3


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} was not archived"
        time.sleep(0.1)
