"""Where the search does not find the damage the recovery goes on all the same, by an answer in the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from recovering import ANSWERS, Recovering, figure
from runbook.sandbox.place import need_sandbox

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
    wrong = recovery.say("answer", recovery.run, QUESTION, "point", "--value", "F/0", "--reason", "a guess")
    assert wrong.code == 0, wrong.stderr
    again = recovery.resume()
    assert again.code == 3 and QUESTION in again.last["next"], again.stdout
    taken = recovery.say("answer", recovery.run, QUESTION, "point", "--value", point, "--reason", "before the mistake")
    assert taken.code == 0, taken.stderr
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(need_sandbox(), "SELECT to_regclass('public.made_by_mistake') IS NULL") is True
