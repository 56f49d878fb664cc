"""Nothing is deleted early, nothing but payloads is ever deleted, and a pruned archive still verifies with stock tools."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, House, a_record, edit, fill, open_run, overwrite, survives
from runbook import clock
from runbook.archive import retention
from runbook.archive.records import commit_record, list_records
from runbook.archive.retention import Fate, choose, plan_pruning, prune
from runbook.cli.main import run_cli
from runbook.errors import OperatorError

RULES = """
retention:
  - {id: audit-logs, title: Audit logs, keep: 365 d, asked_by: the organisation, source: section 7}
  - {id: health, title: Health, keep: 2192 d, asked_by: regulator, source: 45 CFR 164.316, targets: [clinic]}
"""


def write_rules(house: House, text: str) -> None:
    (house.home / "params").mkdir(exist_ok=True)
    (house.home / "params" / "controls.yaml").write_text(text)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    fill(home, 1, 4)
    found = House(home)
    write_rules(found, RULES)
    return found


def in_a_year() -> datetime:
    return clock.now() + timedelta(days=800)


@pytest.fixture
def year_later(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """This machine's clock says so; the archive was filled before."""
    moment = in_a_year()
    monkeypatch.setattr(clock, "now", lambda: moment)
    return moment


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_early_deletion_is_refused_by_name_with_the_rule_that_asks_for_it(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["archive", "prune", "2"]) == 2
    said = capsys.readouterr().err
    assert "must be kept until" in said
    assert "the rule 'audit-logs' (365 d, section 7) asks for it. Nothing was deleted." in said
    assert run_cli(["archive", "prune"]) == 0
    assert "0 payloads" in capsys.readouterr().out
    assert house.kinds() == set()


def test_dry_run_shows_every_record_and_deletes_nothing(
    house: House, capsys: pytest.CaptureFixture[str], year_later: datetime
) -> None:
    assert run_cli(["archive", "prune", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("audit-logs, 365 d") == 4
    assert said.count("delete") >= 4
    assert "4 payloads" in said
    assert "would be deleted. Nothing was." in said
    assert all("report.html" in names(folder) for folder in house.folders)


def test_payload_goes_and_manifest_run_json_and_a_signed_tombstone_stay(
    house: House, capsys: pytest.CaptureFixture[str], year_later: datetime
) -> None:
    assert run_cli(["archive", "prune", "2", "3"]) == 0
    assert "2 payloads" in capsys.readouterr().out
    left = {"SHA256SUMS", "SHA256SUMS.sig", "archived.txt", "run.json", "TOMBSTONE", "TOMBSTONE.sig"}
    assert names(house.record(2)) == left
    assert "report.html" in names(house.record(1))
    stone = (house.record(2) / "TOMBSTONE").read_text()
    assert "# rule audit-logs, 365 d, asked for by the organisation, section 7" in stone
    assert house.kinds() == set()
    done = house.stock()
    assert (done.returncode, done.stdout.count("BAD")) == (0, 0)
    assert [listed.number for listed in list_records()] == [1, 2, 3, 4]


def test_archive_goes_on_after_its_newest_record_was_pruned(house: House) -> None:
    prune(choose(plan_pruning(in_a_year()), []), "olaf", in_a_year())
    fill(house.home, 5, 5)
    assert house.kinds() == set()
    assert house.stock().returncode == 0


def test_longest_rule_that_matches_counts_and_what_no_rule_matches_is_kept(house: House) -> None:
    clinic = a_record(5).target.model_copy(update={"name": "clinic"})
    open_run(house.home, 5)
    commit_record(FILES, a_record(5, target=clinic))
    fates = {line.number: line.fate for line in plan_pruning(in_a_year())}
    assert fates == {**dict.fromkeys(range(1, 5), Fate.DELETE), 5: Fate.KEEP}
    write_rules(house, RULES.replace("source: section 7", "source: section 7, runbooks: [access-audit]"))
    lines = plan_pruning(in_a_year())
    assert {line.fate for line in lines[:4]} == {Fate.NO_RULE}
    with pytest.raises(OperatorError, match="No retention rule matches"):
        choose(lines, [1])


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        (lambda folder: (folder / "TOMBSTONE").unlink(), "missing"),
        (lambda folder: (folder / "TOMBSTONE.sig").unlink(), "tombstone"),
        (lambda folder: edit(folder / "TOMBSTONE", lambda text: text.replace("365 d", "36 d")), "tombstone"),
        (lambda folder: edit(folder / "TOMBSTONE", lambda text: text + "x\n"), "tombstone"),
        (lambda folder: (folder / "report.html").write_text("PASS"), "altered"),
        (lambda folder: (folder / "run.json").unlink(), "missing"),
    ],
)
def test_tampering_with_a_pruned_record_is_told(house: House, attack, kind: str) -> None:
    prune(choose(plan_pruning(in_a_year()), [2]), "olaf", in_a_year())
    attack(house.record(2))
    assert kind in house.kinds()
    assert house.stock().returncode == 1


def test_tombstone_of_another_record_excuses_nothing(house: House) -> None:
    prune(choose(plan_pruning(in_a_year()), [2]), "olaf", in_a_year())
    for name in ("TOMBSTONE", "TOMBSTONE.sig"):
        shutil.copy2(house.record(2) / name, house.record(3) / name)
    (house.record(3) / "report.html").unlink()
    assert "tombstone" in house.kinds()
    assert house.stock().returncode == 1


def test_archive_that_does_not_verify_is_not_pruned(house: House) -> None:
    edit(house.record(4) / "report.html", lambda text: text + " ")
    with pytest.raises(OperatorError, match="deleting would hide it"):
        prune(choose(plan_pruning(in_a_year()), [2]), "olaf", in_a_year())
    assert "report.html" in names(house.record(2))


def test_lines_of_a_plan_made_with_another_clock_delete_nothing_early(house: House) -> None:
    chosen = choose(plan_pruning(in_a_year()), [2])
    with pytest.raises(OperatorError, match="must still be kept"):
        prune(chosen, "olaf", clock.now())
    assert "report.html" in names(house.record(2))


def _prune_and_survive(call: int) -> bool:
    chosen, found = choose(plan_pruning(in_a_year()), [2]), retention.verify_archive()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "verify_archive", lambda: found)  # only what follows is of interest
        return survives(call, lambda: prune(chosen, "olaf", in_a_year()), ("open", "fsync", "rename", "unlink"))


@pytest.mark.faults
def test_crash_at_any_moment_of_a_pruning_is_finished_by_the_next(house: House, tmp_path: Path) -> None:
    whole = shutil.copytree(house.home, tmp_path / "whole")
    call, survived, half = 0, False, 0
    while not survived:
        call += 1
        survived = _prune_and_survive(call)
        kinds = house.kinds()
        assert kinds <= {"half-pruned"}
        assert house.stock().returncode == 0
        half += "TOMBSTONE" in names(house.record(2)) and "report.html" in names(house.record(2))
        prune(choose(plan_pruning(in_a_year()), [2]), "olaf", in_a_year())
        assert house.kinds() == set()
        assert "report.html" not in names(house.record(2))
        shutil.rmtree(house.home)
        shutil.copytree(whole, house.home)
    assert call > 8
    assert half > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "retention:\n  - {id: a, title: t, keep: soon, asked_by: x, source: y}\n",
            "controls.yaml:2: 'retention.0.keep'",
        ),
        (
            "retention:\n  - {id: a, title: t, keep: 1 d, asked_by: x, source: y, runbook: [z]}\n",
            "did you mean 'runbooks'?",
        ),
        ("retention:\n  - {id: a, title: t, keep: 1 d, asked_by: x}\n", "retention.0.source"),
        ("evidense: {}\n", "did you mean 'evidence'?"),
    ],
)
def test_wrong_controls_file_is_refused_with_file_line_and_nearest_name(
    house: House, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rules(house, text)
    assert run_cli(["archive", "prune", "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_pruned_record_whose_file_came_back_from_a_copy_is_still_proven_to_be_the_one(house: House) -> None:
    kept = (house.record(2) / "report.html").read_bytes()
    prune(choose(plan_pruning(in_a_year()), [2]), "olaf", in_a_year())
    (house.record(2) / "report.html").write_bytes(kept)
    assert house.kinds() == set()
    overwrite(house.record(2) / "report.html", kept + b" ")
    assert house.kinds() == {"altered"}
