"""A recovery that is called off: service is restored by what was recorded, and it is proven; or the target stays locked and it is said why."""

from __future__ import annotations

from pathlib import Path

import pytest
from recovering import ANSWERS, Recovering, figure, suffer
from runbook import layout
from runbook.sandbox import cluster
from runbook.sandbox.place import need_sandbox
from runbook.session import lock

pytestmark = [pytest.mark.server, pytest.mark.faults]


def test_recovery_whose_target_cannot_be_moved_is_called_off_and_restores_service(live_home: Path) -> None:
    sandbox, _ = suffer()
    hba = (sandbox.data / "pg_hba.conf").read_bytes()
    recovery = Recovering({**ANSWERS, "way": ""})
    paused = recovery.go_on(recovery.start())
    assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout
    for option, value in (("later", "yesterday"), ("earlier", "0/1000"), ("later", "latest")):
        moved = recovery.say(
            "answer", recovery.run, "choose-the-way-on", option, "--value", value, "--reason", "a guess"
        )
        assert moved.code == 0, moved.stderr
        paused = recovery.resume()
        assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout
        assert "The target is not moved" in paused.last["reason"], paused.last["reason"]
    with pytest.raises(Exception, match="pg_hba"):
        figure(sandbox, "SELECT 1", user="dealerscope_app")
    aborted = recovery.say("abort", recovery.run, "--reason", "a false alarm")
    assert (aborted.code, aborted.last["verdict"]) == (4, "INCOMPLETE"), aborted.stderr
    assert aborted.record["undos"] == {} and "NOT TAKEN BACK" not in aborted.stdout, aborted.stdout
    found = {check["id"]: check for check in aborted.record["checks"]}
    assert found["called-off-answers"]["status"] == "PASS"
    assert found["called-off-entry"]["status"] == "PASS", found["called-off-entry"]
    assert (sandbox.data / "pg_hba.conf").read_bytes() == hba
    assert figure(sandbox, "SHOW autovacuum") == "on"
    assert figure(sandbox, "SELECT 1", user="dealerscope_app") == 1
    assert not recovery.beside.exists(), "the copy takes no room any more"
    assert recovery.say("abort", recovery.run).code == 2, "nothing is left to abort"
    assert recovery.say("run", "backup-verification", "--target", "sandbox").code == 0, "the target is free"


def test_target_stays_locked_until_what_is_left_was_taken_back(live_home: Path) -> None:
    suffer()
    recovery = Recovering()
    first = recovery.start()
    assert first.code == 3, first.stdout
    cluster.down()
    aborted = recovery.say("abort", recovery.run)
    assert aborted.last["next"] == f"runbook abort {recovery.run}", aborted.stdout
    assert "NOT TAKEN BACK: autovacuum is off" in aborted.stdout
    locked = recovery.say("run", "backup-verification", "--target", "sandbox")
    assert (locked.code, locked.last["next"]) == (5, f"runbook abort {recovery.run}")
    assert recovery.say("resume", recovery.run).last["next"] == f"runbook abort {recovery.run}"
    sandbox = cluster.up("small")
    again = recovery.say("abort", recovery.run)
    assert again.record["undos"] == {}, again.stdout
    assert figure(sandbox, "SHOW autovacuum") == "on"
    assert figure(need_sandbox(), "SELECT 1", user="dealerscope_app") == 1
    assert lock.changing("sandbox") is None


def test_what_was_undone_by_hand_is_believed_on_the_operator_s_word_and_says_so(live_home: Path) -> None:
    suffer()
    recovery = Recovering()
    assert recovery.start().code == 3
    cluster.down()
    freed = recovery.say("abort", recovery.run, "--by-hand", "put pg_hba.conf back")
    assert freed.record["undos"] == {}
    assert any("put pg_hba.conf back" in one and "Nothing has proven it" in one for one in freed.record["limitations"])
    assert lock.changing("sandbox") is None


def test_sandbox_is_removed_with_what_a_waiting_recovery_has_left_on_it(live_home: Path) -> None:
    suffer()
    recovery = Recovering()
    assert recovery.start().code == 3
    cluster.down()
    removed = recovery.say("sandbox", "down", "--remove")
    assert removed.code == 0, removed.stderr
    assert f"The run {recovery.run} is ended with its sandbox" in removed.stdout
    assert lock.read_holder("sandbox") is None and not layout.sandbox().exists()
    assert recovery.say("abort", recovery.run).code == 2, "nothing is left to abort"
