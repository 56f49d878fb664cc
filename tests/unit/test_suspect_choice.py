"""A suspect is undone by its transaction, once it was shown; what was repaired since, or is a copy-back of ours, is never proposed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from runbook import clock
from runbook.errors import OperatorError, TargetOutsideWindow, WalDamaged
from runbook.recovery.course import Course, Seen
from runbook.recovery.repairs import mark_repaired, read_copy_backs
from runbook.recovery.suspectchoice import SuspectChoice, given_answer, pick, proposed
from runbook.recovery.suspects import Suspect, rank_suspects
from runbook.recovery.transactions import RelFile
from test_suspects import QUEUE, VEHICLES, History, book, named, truncated


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def remember(self, name: str, value: Any) -> None:
        self.kept[name] = value

    def recall(self, name: str, default: Any = None) -> Any:
        return self.kept.get(name, default)


def ranked(history: History, **more: Any) -> list[Suspect]:
    names = more.pop("names", None) or book()
    found = history.search()
    return mark_repaired(rank_suspects(found, names), found, names, **more)


def choice_of(suspects: list[Suspect], given: str, *, dry_run: bool = False) -> tuple[SuspectChoice, dict[str, Any]]:
    choice = SuspectChoice(Course(Memory()), given, dry_run=dry_run)
    return choice, choice.question(choice.facts(suspects), "find")


def two() -> tuple[list[Suspect], int, int]:
    history = History()
    first, second = history.commit(VEHICLES, deleted=5000), history.commit(QUEUE, deleted=900)
    return ranked(history), first, second


def test_nothing_given_leaves_the_question_open_and_nothing_is_undone() -> None:
    suspects, first, second = two()
    choice, question = choice_of(suspects, "")
    assert question["given"] == "" and list(question["options"]) == [
        str(first),
        str(second),
        "several",
        "point",
        "further",
    ]
    with pytest.raises(OperatorError, match="No suspect was chosen"):
        choice.chosen()
    choice.choose("several", f"{second}, {first}")
    assert {one.number for one in pick(suspects, choice.chosen())} == {first, second}


@pytest.mark.parametrize("given", ["1", "2", "1,2", "99999"])
def test_place_in_the_list_or_a_transaction_that_was_not_found_answers_nothing(given: str) -> None:
    suspects, first, _ = two()
    _, question = choice_of(suspects, given)
    assert question["given"] == "" and "What was given is not taken" in question["text"]
    if given == "1":
        assert f"suspect 1 is transaction {first} now" in question["text"]


def test_transaction_that_is_found_now_is_taken_whatever_its_place() -> None:
    suspects, first, second = two()
    assert choice_of(suspects, f"xid {second}")[1]["given"] == str(second)
    assert choice_of(suspects, f"{second},{first}")[1]["given"] == f"several: {second},{first}"
    assert choice_of(suspects, "first")[1]["given"] == str(first)


def test_point_that_was_given_needs_no_suspect() -> None:
    choice = SuspectChoice(Course(Memory()), "", dry_run=False)
    assert choice.question({}, "0/5000")["given"] == "none"


def test_unnamed_relation_is_never_proposed_nor_taken_unseen() -> None:
    history = History()
    unnamed = history.commit(RelFile(1663, 5, 99999), deleted=9000)
    known = history.commit(QUEUE, deleted=500)
    suspects = ranked(history)
    assert suspects[0].number == unnamed and [one.number for one in proposed(suspects)] == [known]
    given, why = given_answer(suspects, str(unnamed))
    assert given == "" and "a plain base backup from before it" in why


def test_rows_that_were_inserted_again_mark_the_suspect() -> None:
    history = History()
    damage = history.commit(VEHICLES, deleted=5000)
    other = history.commit(QUEUE, deleted=400)
    history.commit(VEHICLES, inserted=3000)
    assert ranked(history)[0].mark == ""
    history.commit(VEHICLES, inserted=1900)
    suspects = ranked(history)
    assert suspects[0].number == damage
    assert (
        suspects[0].mark
        == "may be repaired already: 2 transactions inserted 4,900 rows into public.vehicles afterwards"
    )
    assert [one.number for one in proposed(suspects)] == [other]
    assert "not taken unseen" in given_answer(suspects, str(damage))[1]


def test_rows_inserted_before_the_damage_or_by_it_are_no_repair() -> None:
    history = History()
    history.commit(VEHICLES, inserted=5000)
    history.commit(VEHICLES, deleted=5000, inserted=5000)
    assert [one.mark for one in ranked(history)] == [""]


def test_table_that_is_there_again_under_another_oid_marks_its_drop() -> None:
    history = History()
    evidence = truncated(16390, QUEUE, QUEUE, "queue")
    evidence.created.clear()
    old = evidence.catalog[0].old
    evidence.catalog[0] = evidence.catalog[0]._replace(kind="d", new=None)
    assert old is not None
    history.commit(files=evidence)
    assert ranked(history)[0].mark == ""
    names = book()
    names.add([named(RelFile(1663, 5, 17000), 17000, "queue")], is_present=True)
    assert ranked(history, names=names)[0].mark == "may be repaired already: public.queue is there again"


def journal(
    folder: Path, run: str, xid: int, at: str, *, system: str = "42", damage: int = 0, status: str = "PASS"
) -> None:
    remembered = {
        "recovery/seen/window": {"facts": {"system": {"system_identifier": system}}},
        "recovery/seen/point": {"facts": {"damage": {"xids": [damage]}}},
        "recovery/copy-back transactions": {"shop": xid + (1 << 32)},
        "recovery/copied back": {"checks": [{"status": status}]},
    }
    lines = [
        json.dumps({"event": "remembered", "name": name, "value": value, "at": at})
        for name, value in remembered.items()
    ]
    (folder / run).mkdir()
    (folder / run / "journal.jsonl").write_text("\n".join([*lines, '{"torn']))


def test_copy_back_of_an_earlier_run_is_marked_and_so_is_what_it_repaired(tmp_path: Path) -> None:
    history = History()
    damage, own = history.commit(VEHICLES, updated=8000), history.commit(VEHICLES, updated=8000)
    at = next(one.commit.at for one in ranked(history) if one.number == own)
    journal(tmp_path, "R1", own, clock.stamp(at - timedelta(seconds=2)), damage=damage)
    marks = {one.number: one.mark for one in ranked(history, earlier=read_copy_backs(tmp_path, "R2"), system="42")}
    assert marks == {
        own: "the copy-back of run R1, no damage",
        damage: "repaired already: run R1 has copied its rows back",
    }
    found = ranked(history, earlier=read_copy_backs(tmp_path, "R2"), system="42")
    assert proposed(found) == [] and {one.number: one.is_ours for one in found} == {own: True, damage: False}
    assert read_copy_backs(tmp_path, "R1") == []


@pytest.mark.parametrize(("system", "hours"), [("43", 0), ("42", 5)])
def test_number_of_another_system_or_time_is_no_copy_back(tmp_path: Path, system: str, hours: int) -> None:
    history = History()
    own = history.commit(VEHICLES, updated=8000)
    at = ranked(history)[0].commit.at
    journal(tmp_path, "R1", own, clock.stamp(at + timedelta(hours=hours)), system=system)
    assert [one.mark for one in ranked(history, earlier=read_copy_backs(tmp_path, ""), system="42")] == [""]


STRANGE = [
    ("recovery/copy-back transactions", ["shop"], "2026-11-23T03:00:00Z"),
    ("recovery/copy-back transactions", {"shop": "many"}, "2026-11-23T03:00:00Z"),
    ("recovery/copy-back transactions", {"shop": 1}, "some day"),
    ("recovery/copy-back transactions", {"shop": 1}, "2026-11-23T03:00:00"),
    ("recovery/copy-back transactions", {"shop": float("inf")}, "2026-11-23T03:00:00Z"),
    ("recovery/seen/window", None, "2026-11-23T03:00:00Z"),
    ("recovery/seen/window", {}, "2026-11-23T03:00:00Z"),
    ("recovery/seen/point", {"facts": {"damage": {"xids": [None]}}}, "2026-11-23T03:00:00Z"),
    ("recovery/copied back", {"checks": ["PASS"]}, "2026-11-23T03:00:00Z"),
    ("recovery/copied back", {"checks": [{}]}, "2026-11-23T03:00:00Z"),
]


@pytest.mark.parametrize(("name", "value", "at"), STRANGE)
def test_strange_journal_of_another_run_stops_no_search_and_hides_no_other(
    tmp_path: Path, name: str, value: object, at: str
) -> None:
    journal(tmp_path, "R1", 701, "2026-11-23T03:00:00Z")
    (tmp_path / "R2").mkdir()
    strange = {"event": "remembered", "name": name, "value": value, "at": at}
    (tmp_path / "R2" / "journal.jsonl").write_text(f'[1, "remembered", "recovery/"]\n{json.dumps(strange)}\n')
    (tmp_path / "R3" / "journal.jsonl").mkdir(parents=True)
    (tmp_path / "R4").mkdir()
    (tmp_path / "R4" / "journal.jsonl").write_text('"remembered" "recovery/' + "[" * 100_000)
    assert [one.run for one in read_copy_backs(tmp_path, "R9")] == ["R1"]


def nowhere(value: str) -> object:
    raise TargetOutsideWindow(f"{value} lies before the oldest backup.")


def test_damage_that_the_search_does_not_find_leaves_a_point_by_hand_and_a_wider_search() -> None:
    choice, question = choice_of([], "")
    assert list(question["options"]) == ["point", "further"] and question["given"] == ""
    assert "looks like the damage" in question["text"]
    assert choice.again("further", "7 d", [], nowhere) == "The search now goes back 7 d."
    assert choice.look_back == 7 * 86400 and choice.question(choice.facts([]), "find")["after"] == 1
    said = [choice.again("point", value, [], nowhere) for value in ("yesterday", "0/3000060")]
    assert "yesterday" in str(said[0]) and "oldest backup" in str(said[1]) and choice.by_hand is None
    assert choice.question(choice.facts([]), "find")["after"] == 3, "a wrong answer is asked again, never a dead end"
    assert choice.again("point", "0/3000060", [], str) is None and choice.by_hand == "0/3000060"
    assert choice.again("point", "0/3000060", [], nowhere) is None, "taken once"
    assert choice.question(choice.facts([]), "0/3000060")["after"] == 0


def test_answer_that_names_no_suspect_is_asked_again() -> None:
    suspects, first, _ = two()
    choice, _ = choice_of(suspects, "")
    assert "names no transactions" in str(choice.again("several", "x", suspects, nowhere))
    assert choice.again(str(first), "", suspects, nowhere) is None


def damaged(value: str) -> object:
    raise WalDamaged(f"WAL on the way to {value} is missing.")


@pytest.mark.parametrize("value", ["99999999999 d", "36601 d", f"{'9' * 400} s", "soon"])
def test_span_that_nothing_is_kept_for_is_asked_again(value: str) -> None:
    choice, _ = choice_of([], "")
    assert "look_back" in str(choice.again("further", value, [], str)) and choice.look_back is None


def test_point_behind_a_gap_in_wal_is_asked_again() -> None:
    choice, _ = choice_of([], "")
    assert "is missing" in str(choice.again("point", "0/3000060", [], damaged)) and choice.by_hand is None


def test_search_that_cannot_go_back_so_far_goes_back_as_before_in_this_attempt_and_the_next() -> None:
    memory = Memory()
    asked: list[float | None] = []

    def search(look_back: float | None) -> str:
        asked.append(look_back)
        if look_back == 7 * 86400:
            raise WalDamaged("Segment 3 is missing.")
        return "suspects"

    for _ in range(2):  # the second is an attempt after the first was killed before it was asked again
        choice = SuspectChoice(Course(memory), "", dry_run=False)
        assert choice.searched(search) == ("suspects", "")
        choice.again("further", "2 d", [], nowhere)
        assert choice.searched(search) == ("suspects", "")
        choice.again("further", "7 d", [], nowhere)
        found, said = SuspectChoice(Course(memory), "", dry_run=False).searched(search)
        assert found == "suspects" and "Segment 3 is missing." in said and choice.look_back == 2 * 86400
        assert asked[-1] == 2 * 86400
        seen = choice.said(Seen(facts=choice.facts([], said)), "The search now goes back 7 d.")
        assert "Segment 3 is missing." in choice.question(seen.facts, "find")["text"]


def test_search_falls_back_to_the_first_span_when_what_it_has_read_is_gone_since() -> None:
    choice, _ = choice_of([], "")
    choice.again("further", "7 d", [], nowhere)
    assert choice.searched(str) == (str(7 * 86400.0), "")
    found, said = choice.searched(lambda look_back: damaged("3") if look_back else "suspects")
    assert found == "suspects" and "is missing" in said and choice.look_back is None


def test_search_that_failed_as_it_was_asked_for_at_first_still_fails() -> None:
    choice, _ = choice_of([], "")
    with pytest.raises(WalDamaged):
        choice.searched(lambda look_back: damaged(str(look_back)))
