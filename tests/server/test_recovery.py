"""A recovery from its first question to its last check, on a real damaged production; and every way on from the pause."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from origins import check_origins
from recovering import ANSWERS, Recovering, figure, suffer
from runbook import layout
from runbook.sandbox.place import need_sandbox

pytestmark = [pytest.mark.server, pytest.mark.faults]

VEHICLES = "SELECT count(*) FROM public.vehicles"


def test_recovery_is_waited_for_approved_and_swapped_in(live_home: Path) -> None:
    sandbox, truth = suffer()
    damaged = figure(sandbox, VEHICLES)
    recovery = Recovering()
    first = recovery.start()
    assert (first.code, first.last["verdict"]) == (3, "WAITING"), first.stderr
    assert figure(sandbox, VEHICLES) == damaged, "production's data is as it was"
    with pytest.raises(Exception, match="pg_hba"):
        figure(sandbox, VEHICLES, user="dealerscope_app")
    other = recovery.say("run", "backup-verification", "--target", "sandbox")
    assert (other.code, other.last["verdict"]) == (5, "LOCKED"), "a second run does not enter a locked-down cluster"
    assert any("the database is closed" in limit for limit in first.record["limitations"])
    last = recovery.go_on(first)
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    facts = last.record["facts"]
    assert str(facts["damage"]["first_left_out"]) == truth["xid"]
    discarded = facts["loss"]["tables"]["public.vehicles"]["others"]["inserted"]
    assert (
        figure(sandbox, VEHICLES)
        == damaged + facts["loss"]["tables"]["public.vehicles"]["damage"]["deleted"] - discarded
    )
    assert figure(sandbox, "SHOW default_transaction_read_only", user="dealerscope_app") == "off"
    assert (recovery.aside / "PG_VERSION").exists(), "the damaged cluster is kept"
    assert last.record["undos"] == {} and not [one for one in last.record["limitations"] if "NOT TAKEN BACK" in one]
    assert (sandbox.archive / "00000002.history").is_file()
    assert figure(sandbox, "SHOW archive_library") == "basic_archive"
    assert figure(sandbox, "SHOW autovacuum") == "on"
    assert {measure["name"] for measure in last.record["measures"]} == {"rto", "rpo"}
    assert figure(sandbox, "SHOW synchronous_standby_names") == "" and not [
        one for one in last.record["limitations"] if "is held at" in one
    ], "nothing is held that production did not have"
    assert (layout.run(recovery.run) / "postmortem.md").read_text().startswith("# Post-mortem")
    assert "After the recovery point" in str(check_origins(layout.home() / last.last["record"]))
    verified = recovery.say("run", "backup-verification", "--target", "sandbox")
    assert (verified.code, verified.last["verdict"]) == (0, "PASS"), verified.stdout
    assert (
        "timeline 2" in str(json.dumps(verified.record["facts"]))
        or verified.record["facts"]["recovery_point"]["timeline"] == 2
    )


def test_loss_files_are_written_once_for_a_copy_and_again_when_one_is_gone(live_home: Path) -> None:
    suffer()
    recovery = Recovering({**ANSWERS, "way": ""})
    paused = recovery.go_on(recovery.start())
    assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout + paused.stderr
    folder = layout.run(recovery.run) / "loss"

    def written() -> tuple[dict[str, int], int]:
        noted = [one for one in recovery.journal() if one.get("name") == "recovery/copy/loss files" and one["value"]]
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}, len(noted)

    first = written()
    assert first[1] == 1 and "dealerscope.public.vehicles.csv" in first[0]
    again = recovery.resume()
    said = [[one for one in record["checks"] if "loss-files" in one["id"]] for record in (paused.record, again.record)]
    assert written() == first and said[0] == said[1] != []
    (folder / "dealerscope.public.vehicles.csv").unlink()
    assert recovery.resume().code == 3
    files, times = written()
    assert times == 2 and files.keys() == first[0].keys()
    assert recovery.say("answer", recovery.run, "choose-the-way-on", "back", "--reason", "seen").code == 0
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr


@pytest.mark.faults
def test_way_back_before_the_swap_leaves_production_as_it_was(live_home: Path) -> None:
    sandbox, _ = suffer("truncate")
    hba = (sandbox.data / "pg_hba.conf").read_bytes()
    rows = figure(sandbox, VEHICLES)
    recovery = Recovering({**ANSWERS, "way": "back"})
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert (sandbox.data / "pg_hba.conf").read_bytes() == hba
    assert figure(sandbox, VEHICLES, user="dealerscope_app") == rows
    assert not recovery.beside.exists() and not recovery.aside.exists()
    assert not (sandbox.archive / "00000002.history").exists()
    assert Recovering().say("run", "backup-verification", "--target", "sandbox").code == 0, "the target is free again"


@pytest.mark.faults
def test_way_back_after_the_swap_puts_the_damaged_cluster_in_its_place(live_home: Path) -> None:
    sandbox, _ = suffer()
    damaged = figure(sandbox, VEHICLES)
    recovery = Recovering({**ANSWERS, "acceptance": "back"})
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(sandbox, VEHICLES, user="dealerscope_app") == damaged
    assert (recovery.beside / "data" / "PG_VERSION").exists(), "the restored copy is kept too"
    assert not (sandbox.archive / "00000002.history").exists(), "its history never reached the archive"
    assert figure(sandbox, "SHOW archive_library") == "basic_archive"


@pytest.mark.faults
def test_lost_rows_are_copied_back_and_nothing_else_is_rewound(live_home: Path) -> None:
    sandbox, truth = suffer()
    before = figure(sandbox, VEHICLES), figure(sandbox, "SELECT count(*) FROM public.sessions")
    recovery = Recovering({**ANSWERS, "way": "copy-back"})
    last = recovery.finish()
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr
    assert figure(sandbox, VEHICLES) == before[0] + truth["rows"]["vehicles"]
    assert figure(sandbox, "SELECT count(*) FROM public.sessions") == before[1], "what others wrote since stays"
    lost = figure(sandbox, f"SELECT count(*) FROM public.vehicles WHERE year = {truth['year']}")
    assert lost >= truth["rows"]["vehicles"]
    assert figure(sandbox, VEHICLES, user="dealerscope_app") and not recovery.beside.exists()


@pytest.mark.faults
@pytest.mark.timeout(600)  # nine attempts and two restores
def test_wrong_target_is_moved_later_without_a_new_restore_and_earlier_with_one(live_home: Path) -> None:
    _, truth = suffer()
    first = str(truth["before_lsn"])
    recovery = Recovering({**ANSWERS, "way": "", "recovery_point": first})
    paused = recovery.go_on(recovery.start())
    assert paused.code == 3 and "choose-the-way-on" in paused.last["next"], paused.stdout + paused.stderr

    def copied_at() -> str:
        return str(json.loads((recovery.beside / "recovery.json").read_text())["copied at"])

    begun, later = copied_at(), paused.record["facts"]["loss"]["last"]["lsn"]
    for option, point, is_kept in (("later", later, True), ("earlier", first, False)):
        answered = recovery.say("answer", recovery.run, "choose-the-way-on", option, "--value", point, "--reason", "no")
        assert answered.code == 0, answered.stderr
        moved = recovery.resume()
        assert "The target is moved" in moved.last["reason"], moved.stdout + moved.stderr
        moved = recovery.go_on(recovery.resume())
        assert "choose-the-way-on" in moved.last["next"], moved.stdout + moved.stderr
        assert moved.record["facts"]["recovery_point"]["asked"] == point
        assert (copied_at() == begun) is is_kept
    assert recovery.say("answer", recovery.run, "choose-the-way-on", "back", "--reason", "enough").code == 0
    last = recovery.go_on(recovery.resume())
    assert (last.code, last.last["verdict"]) == (0, "PASS"), last.stdout + last.stderr


def test_target_outside_the_window_is_refused_with_the_nearest_points(live_home: Path) -> None:
    suffer("truncate")
    recovery = Recovering({**ANSWERS, "recovery_point": "2001-01-01T00:00:00Z"})
    said = recovery.start()
    assert (said.code, said.last["verdict"]) == (1, "FAIL"), said.stdout + said.stderr
    assert "oldest 0/" in said.last["reason"] and "newest 0/" in said.last["reason"]
    assert need_sandbox().state.socket is not None
