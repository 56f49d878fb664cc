"""A question stops the run until its operator has answered; answers, memory and undos outlive attempts."""

from __future__ import annotations

import sys

import pytest
from house import CONCLUDE, House, Result, finish

pytestmark = pytest.mark.faults

WAY = (
    'way = run.ask("Choose the way", "How does it go on?", {"swap": "swap it in", "later": "move the point"},\n'
    '              given=point if point != "latest" else "", needs_value=["later"], after=len(run.recall("moves", [])))\n'
    'print("way", way)'
)
WHY = 'why = run.ask("Say why", "Why this point?")'
ACT = 'run.step("Act", lambda: Path("acted").open("a").write(str(way)), once=True)'
SECRET = "postgres://u:hunter2hunter2@h/db"
PATH = "from pathlib import Path"


def answer(house: House, run: str, *words: str) -> Result:
    return house.inside("answer", run, *words)


def test_run_waits_is_answered_and_goes_on(house: House) -> None:
    house.add_notebook("ways", PATH, WAY, WHY, ACT, CONCLUDE)
    first = house.runbook("run", "ways")
    run = first.last["run"]
    assert (first.code, first.last["verdict"]) == (3, "WAITING"), first.stderr
    assert first.last["next"] == f"runbook answer {run} choose-the-way OPTION [--value VALUE] --reason WHY"
    assert "How does it go on? Answers: swap, later (with a value)." in first.last["reason"]
    assert not (house.home / "acted").exists()
    stands = house.inside("status", run).stdout
    assert "ASKED choose-the-way: How does it go on?" in stands and "later VALUE: move the point" in stands
    wrong = answer(house, run, "choose-the-way", "swop")
    assert wrong.code == 2 and "did you mean 'swap'?" in wrong.last["reason"], wrong.stdout
    nearest = answer(house, run, "choose-way", "swap")
    assert nearest.code == 2 and "did you mean 'choose-the-way'?" in nearest.last["reason"]
    pasted = answer(house, run, "choose-the-way", "OPTION", "--reason", "WHY")
    assert pasted.code == 2 and "valid names: later, swap" in pasted.last["reason"]
    bare = answer(house, run, "choose-the-way", "later")
    assert bare.code == 2 and "wants a value" in bare.last["reason"]
    assert answer(house, run, "say-why", "--value", "x").code == 2, "it was not asked yet"
    good = answer(house, run, "choose-the-way", "swap", "--reason", "looks right")
    assert (good.code, good.last["verdict"], good.last["next"]) == (0, "ANSWERED", f"runbook resume {run}")
    stands = house.inside("status", run).stdout
    assert "was answered by" in stands and stands.strip().endswith(f"Next: runbook resume {run}")
    twice = answer(house, run, "choose-the-way", "swap")
    assert twice.code == 2 and "answered already" in twice.last["reason"]
    second = house.runbook("resume", run)
    assert (second.code, second.last["next"]) == (3, f"runbook answer {run} say-why --value TEXT")
    for words in (["--value", SECRET], ["--value", "x", "--reason", SECRET], [SECRET], ["--value", "TEXT"]):
        refused = answer(house, run, "say-why", *words)
        assert refused.code == 2 and "hunter2" not in refused.stdout + refused.stderr, words
    assert "hunter2" not in (house.home / "var" / "runs" / run / "journal.jsonl").read_text()
    assert answer(house, run, "say-why", "--value", "the ticket says so").code == 0
    last = house.runbook("resume", run)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stderr
    assert (house.home / "acted").read_text() == "swap (looks right)"
    said = {asked["id"]: asked["answers"] for asked in house.record(last)["questions"]}
    assert [one["reason"] for one in said["choose-the-way"]] == ["looks right"]
    assert said["say-why"][0]["value"] == "the ticket says so" and said["say-why"][0]["by"]
    page = (house.home / last.last["record"] / "report.html").read_text()
    assert "Decisions of the operator" in page and "the ticket says so" in page


def test_parameter_answers_at_once_and_a_wrong_one_is_refused(house: House) -> None:
    house.add_notebook("ways", PATH, WAY, ACT, CONCLUDE)
    result = house.runbook("run", "ways", "-p", "point", "later: 0/5000")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    (asked,) = house.record(result)["questions"]
    assert (asked["answers"][0]["option"], asked["answers"][0]["value"]) == ("later", "0/5000")
    wrong = house.runbook("run", "ways", "-p", "point", "laiter: 1")
    assert wrong.code == 3 and "What was given is none: 'laiter'" in wrong.last["reason"], wrong.last
    assert answer(house, wrong.last["run"], "choose-the-way", "swap").code == 0, (
        "parameters do not change: a way is left"
    )


def test_used_up_answer_is_asked_again_and_all_are_kept(house: House) -> None:
    move = (
        'if way.option == "later" and len(run.answers("Choose the way")) > len(run.recall("moves", [])):\n'
        '    run.remember("moves", [*run.recall("moves", []), way.value])\n'
        '    way = run.ask("Choose the way", "And now?", {"swap": "", "later": ""}, after=len(run.recall("moves")))'
    )
    house.add_notebook("ways", PATH, WAY, move, ACT, CONCLUDE)
    run = house.runbook("run", "ways").last["run"]
    assert answer(house, run, "choose-the-way", "later", "--value", "0/7").code == 0
    again = house.runbook("resume", run)
    assert again.code == 3 and "And now?" in again.last["reason"], again.last
    assert answer(house, run, "choose-the-way", "swap").code == 0
    last = house.runbook("resume", run)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stderr
    (asked,) = house.record(last)["questions"]
    assert [one["option"] for one in asked["answers"]] == ["later", "swap"]


def test_dry_run_previews_its_questions(house: House) -> None:
    path = house.add_notebook("ways", PATH, WAY, WHY, CONCLUDE)
    path.write_text(path.read_text().replace("keep = False", "dry_run = True  # change nothing\\nkeep = False"))
    result = house.runbook("run", "ways")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    assert {asked["state"] for asked in house.record(result)["questions"]} == {"previewed"}
    assert "`later`: move the point" in str(house.executed(result).cells), "the operator sees what will be asked"
    assert answer(house, result.last["run"], "say-why", "--value", "x").code == 2, "nobody waits for it"
    page = (house.home / result.last["record"] / "report.html").read_text()
    assert "previewed in a dry run" in page


def test_step_behind_an_unanswered_question_does_not_run(house: House) -> None:
    early = 'try:\n    run.step("Act", lambda: Path("acted").open("a").write("x"), once=True)\nexcept Exception as e: print(e)'
    house.add_notebook("ways", PATH + "\nway = 1", WAY, early, CONCLUDE)
    result = house.runbook("run", "ways")
    assert result.code == 3 and not (house.home / "acted").exists()


def test_what_is_remembered_and_not_undone_outlives_a_kill(house: House) -> None:
    die = (
        "import os\n"
        'print("recalled", run.recall("at", "nothing"))\n'
        'if run.attempt == 1:\n    run.undo_first("closed the door", "open it: chmod"); run.remember("at", {"lsn": "0/1"}); os.kill(os.getpid(), 9)\n'
        'if run.attempt == 3: run.undone("closed the door"); run.undone("closed the door")'
    )
    house.add_notebook("ways", PATH, die, 'if run.attempt == 2: raise RuntimeError("again")', CONCLUDE)
    first = house.runbook("run", "ways")
    run = first.last["run"]
    assert first.code == 4
    assert house.record(first)["limitations"][0].startswith("NOT TAKEN BACK: closed the door. Undo: open it: chmod")
    assert "NOT TAKEN BACK: closed the door" in house.inside("status", run).stdout
    second = house.runbook("resume", run)
    assert "recalled {'lsn': '0/1'}" in str(house.executed(second).cells)
    third = house.runbook("resume", run)
    assert (third.code, third.last["verdict"]) == (4, "INCOMPLETE"), "no step, no check: nothing was done"
    assert house.record(third)["undos"] == {} and house.record(second)["undos"] != {}


def test_run_that_leaves_an_act_behind_never_passes(house: House) -> None:
    act = 'run.undo_first("closed the door", "open it: chmod"); run.step("Act", lambda: None)'
    house.add_notebook("ways", PATH, act, 'if run.attempt == 2: run.undone("closed the door")', CONCLUDE)
    left = house.runbook("run", "ways")
    assert (left.code, left.last["verdict"]) == (4, "INCOMPLETE")
    assert "1 act is not taken back, first 'closed the door'. Undo: open it: chmod" in left.last["reason"]
    again = house.runbook("resume", left.last["run"])
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr


def test_abort_names_what_was_not_taken_back(house: House) -> None:
    house.add_notebook("ways", PATH, 'run.undo_first("closed the door", "open it: chmod")', WAY, CONCLUDE)
    run = house.runbook("run", "ways").last["run"]
    aborted = house.runbook("abort", run)
    assert "NOT TAKEN BACK: closed the door. Undo: open it: chmod" in aborted.stdout
    assert "1 act was not taken back" in aborted.last["reason"]
    page = (house.home / aborted.last["record"] / "report.html").read_text()
    assert '<li class="loud">NOT TAKEN BACK: closed the door' in page


def test_abort_counts_what_the_cleanups_took_back(house: House) -> None:
    shut = (
        'import time\nrun.undo_first("closed the door", "open it"); run.undo_first("froze expiry", "thaw it")\n'
        'run.on_cleanup("open", lambda: run.undone("closed the door"))\n'
        'run.step("Wait", lambda: (Path("shut").write_text("x"), time.sleep(60)))'
    )
    house.add_notebook("ways", PATH, shut, CONCLUDE)
    at_work = house.start("run", "ways")
    house.wait_for("shut")
    aborted = house.runbook("abort", house.runs()[0])
    finish(at_work)
    assert "1 act was not taken back" in aborted.last["reason"], aborted.stdout
    assert "froze expiry" in aborted.stdout and "closed the door" not in aborted.stdout


def test_answer_survives_a_kill_between_answer_and_use(house: House) -> None:
    die = "import os\nif run.attempt == 2: os.kill(os.getpid(), 9)"
    house.add_notebook("ways", PATH, WAY, die, ACT, CONCLUDE)
    run = house.runbook("run", "ways").last["run"]
    assert answer(house, run, "choose-the-way", "later", "--value", "0/7", "--reason", "so").code == 0
    killed = house.runbook("resume", run)
    assert killed.code == 4 and not (house.home / "acted").exists()
    last = house.runbook("resume", run)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stderr
    assert (house.home / "acted").read_text() == "later: 0/7 (so)"
    (asked,) = house.record(last)["questions"]
    assert len(asked["answers"]) == 1, "asked once, answered once"


def test_decision_is_on_record_when_the_run_is_aborted_after_it(house: House) -> None:
    house.add_notebook("ways", PATH, WAY, CONCLUDE)
    run = house.runbook("run", "ways").last["run"]
    assert answer(house, run, "choose-the-way", "swap", "--reason", "looks right").code == 0
    aborted = house.runbook("abort", run)
    (asked,) = house.record(aborted)["questions"]
    assert [one["reason"] for one in asked["answers"]] == ["looks right"]
    late = answer(house, run, "choose-the-way", "swap")
    assert late.code == 2 and "was aborted" in late.last["reason"]


def test_plain_papermill_stops_at_the_question(house: House) -> None:
    path = house.add_notebook("ways", PATH, WAY, ACT, CONCLUDE)
    stopped = house.runbook(str(path), "out.ipynb", program=[sys.executable, "-m", "papermill"])
    assert stopped.code != 0 and "RunWaiting" in stopped.stderr
    (run,) = house.runs()
    assert house.runbook("close", run).code == 3
    assert answer(house, run, "choose-the-way", "swap").code == 0
    again = house.runbook("resume", run)
    assert (again.code, again.last["verdict"]) == (0, "PASS"), again.stderr
