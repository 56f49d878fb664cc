"""Which damage a recovery undoes: shown first, chosen by its transaction; named though no old backup has it; marked once it was repaired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recovering import ANSWERS, Recovering, Said, figure
from runbook.sandbox.place import Sandbox, need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]

NOTES = "SELECT count(*) FROM public.notes"
UNASKED = {name: value for name, value in ANSWERS.items() if name != "suspects"}


def run_sql(sandbox: Sandbox, *statements: str) -> None:
    with sandbox.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def damage(recovery: Recovering) -> Sandbox:
    """A table that is newer than the oldest backup is dropped, with its rows in a newer backup and in a fence."""
    sandbox = need_sandbox()
    run_sql(
        sandbox,
        "CREATE TABLE public.notes (id int PRIMARY KEY, body text)",
        "INSERT INTO public.notes SELECT i, 'n' || i FROM generate_series(1, 1200) AS i",
    )
    for words in (("sandbox", "backup"), ("fence", "take", "--target", "sandbox")):
        said = recovery.say(*words)
        assert said.code == 0, said.stderr
    run_sql(need_sandbox(), "DROP TABLE public.notes CASCADE")
    return need_sandbox()


def question(said: Said) -> dict[str, Any]:
    (found,) = [one for one in said.record["questions"] if one["id"] == "choose-the-suspects-to-undo"]
    return found


@pytest.mark.timeout(600)
def test_dropped_table_newer_than_the_oldest_backup_comes_back_and_is_no_suspect_any_more(live_home: Path) -> None:
    recovery = Recovering({**UNASKED, "way": "copy-back", "suspects": "1"})
    sandbox = damage(recovery)
    first = recovery.start()
    assert (first.code, first.last["verdict"]) == (3, "WAITING"), first.stderr
    asked = question(first)
    assert "What was given is not taken" in asked["text"] and "gate" not in str(first.record["gates"])
    number = next(iter(asked["options"]))
    assert asked["options"][number] == f"transaction {number} dropped public.notes (1,200 rows)"
    answered = recovery.say("answer", recovery.run, asked["id"], number, "--reason", "seen")
    assert answered.code == 0, answered.stderr
    waiting = recovery.resume()
    (gate,) = [one for one in waiting.record["gates"] if one["state"] == "waiting"]
    assert f"transaction {number}, committed" in str(gate) and "public.notes" in str(gate)
    last = recovery.go_on(waiting)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(sandbox, NOTES) == 1200

    again = Recovering({**UNASKED, "suspects": number})
    asked = question(again.start())
    assert f"repaired already: run {recovery.run} has copied its rows back" in asked["options"][number]
    assert f"Transaction {number} is not taken unseen" in asked["text"]
