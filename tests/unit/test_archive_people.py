"""Witnesses find what the archive cannot: the newest records removed, or all of it rewritten. Reviews stand beside records."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, House, a_record, edit, fill, make_key, open_run, resign, resum
from runbook import clock
from runbook.archive import records as records_module
from runbook.archive.keys import REVIEW
from runbook.archive.records import commit_record
from runbook.archive.review import Review
from runbook.archive.statements import file_statement
from runbook.archive.verify import verify_archive
from runbook.cli.main import run_cli
from runbook.controls.evidence import read_evidence
from runbook.gates import signing
from runbook.plain import sha256_of_file


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    fill(home, 1, 5)
    return House(home)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A place that whoever holds the archive cannot reach."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def add_ann(house: House, person: str = "ann@example.org") -> Path:
    key = make_key(house.home.parent / "ann")
    assert run_cli(["keys", "add", person, f"{key}.pub", "--witness"]) == 0
    return key


def test_witness_is_added_in_a_home_without_any_target(house: House) -> None:
    (house.home / "params").mkdir()
    add_ann(house)
    assert "ann@example.org" in (house.reports / "allowed_signers").read_text()


def bear_witness(elsewhere: Path, *more: str) -> Path:
    assert run_cli(["archive", "witness", "--out", str(elsewhere), *more]) == 0
    return next(path for path in sorted(elsewhere.iterdir()) if path.suffix == ".txt")


def test_witness_proves_that_nothing_up_to_it_is_gone(
    house: House, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = bear_witness(elsewhere)
    fill(house.home, 6, 7)
    capsys.readouterr()
    assert run_cli(["archive", "verify", "--witness", str(kept)]) == 0
    said = capsys.readouterr().out
    assert "not countersigned" in said
    assert "nothing up to 000005 was removed or rewritten" in said
    assert "Records after 000005 are newer than the witness" in said
    assert house.stock(str(house.reports / "allowed_signers"), str(kept)).returncode == 0


def test_stock_sha256sum_checks_a_witness_in_one_command(house: House, elsewhere: Path) -> None:
    kept = bear_witness(elsewhere)
    argv = ["sha256sum", "-c", "--strict", "--quiet", str(kept)]
    assert subprocess.run(argv, cwd=house.reports).returncode == 0


def forget(house: House, *numbers: int) -> None:
    """The newest records are gone, and so is what RUNS and the archive's own witnesses know of them."""
    for number in numbers:
        shutil.rmtree(house.record(number))
    edit(house.reports / "RUNS", lambda text: "".join(text.splitlines(True)[: min(numbers) - 1]))
    shutil.rmtree(house.reports / "witnesses", ignore_errors=True)


def test_newest_record_deleted_is_seen_by_a_witness_only(house: House, elsewhere: Path) -> None:
    kept = bear_witness(elsewhere)
    forget(house, 5)
    assert house.kinds() == set()
    assert house.stock().returncode == 0
    assert house.kinds(witnesses=[kept]) == {"witness-removed"}
    (problem,) = house.verify(witnesses=[kept]).problems
    assert "the archive ends at 000004: the newest records were removed" in problem.text
    done = house.stock(str(house.reports / "allowed_signers"), str(kept))
    assert done.returncode == 1
    assert "saw another record" in done.stdout


def test_newest_record_deleted_and_another_put_in_its_place_is_seen_by_a_witness_only(
    house: House, elsewhere: Path
) -> None:
    kept = bear_witness(elsewhere)
    forget(house, 4, 5)
    fill(house.home, 4, 6)
    assert house.kinds() == set()
    assert house.kinds(witnesses=[kept]) == {"witness-rewritten"}


def test_chain_rewritten_with_the_stolen_key_is_seen_by_a_witness_only(
    house: House, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = bear_witness(elsewhere)
    edit(house.record(5) / "run.json", lambda text: text.replace('"PASS"', '"FAIL"'))
    resum(house.record(5))
    resign(house.record(5), house.key)
    shutil.rmtree(house.reports / "witnesses")
    assert house.kinds() == set()
    assert run_cli(["archive", "verify", "--witness", str(kept)]) == 1
    assert "the archive was rewritten, by whoever has the runner's key" in capsys.readouterr().out
    assert house.stock(str(house.reports / "allowed_signers"), str(kept)).returncode == 1


def test_witness_of_another_archive_is_told(house: House, elsewhere: Path, tmp_path: Path, monkeypatch) -> None:
    kept = bear_witness(elsewhere)
    other = tmp_path / "other"
    other.mkdir()
    fill(other, 1, 5)
    assert House(other).kinds(witnesses=[kept]) == {"witness-foreign"}


def test_countersigned_witness_names_its_person_and_is_checked_by_stock_tools(
    house: House, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = add_ann(house)
    kept = bear_witness(elsewhere, "--key", str(key))
    capsys.readouterr()
    assert run_cli(["archive", "verify", "--witness", str(kept)]) == 0
    assert "countersigned by ann@example.org" in capsys.readouterr().out
    argv = [
        "ssh-keygen", "-Y", "verify", "-f", str(house.reports / "allowed_signers"), "-I", "ann@example.org",
        "-n", "runbook-witness", "-s", f"{kept}.sig",
    ]  # fmt: skip
    with kept.open() as text:
        assert subprocess.run(argv, stdin=text, capture_output=True).returncode == 0
    edit(kept, lambda text: text.replace(" by ", " by  "))
    assert house.kinds(witnesses=[kept]) == {"witness-signature"}


def test_runner_cannot_witness_itself(house: House, elsewhere: Path) -> None:
    kept = bear_witness(elsewhere)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-n", "runbook-witness", "-f", str(house.key), str(kept)]
    subprocess.run(argv, check=True, capture_output=True)
    (problem,) = house.verify(witnesses=[kept]).problems
    assert (problem.kind, "which is not for runbook-witness" in problem.text) == ("witness-signature", True)


def test_unlisted_key_and_the_operator_do_not_witness(
    house: House, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = make_key(house.home.parent / "stranger")
    assert run_cli(["archive", "witness", "--key", str(stranger)]) == 2
    assert "runbook keys add PERSON PUBKEYFILE --witness" in capsys.readouterr().err
    key = add_ann(house, "dba")
    assert run_cli(["archive", "witness", "--key", str(key)]) == 2
    assert "dba is the operator" in capsys.readouterr().err


def test_archive_that_does_not_verify_has_no_witness(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    edit(house.record(2) / "report.html", lambda text: text + " ")
    assert run_cli(["archive", "witness"]) == 2
    assert "a witness would vouch for something that is not proven" in capsys.readouterr().err


def test_witness_that_lies_in_the_archive_must_not_contradict_it(house: House) -> None:
    assert run_cli(["archive", "witness"]) == 0
    edit(house.reports / "witnesses" / "000005.txt", lambda text: text.replace("record 00", "record 01"))
    assert house.kinds() == {"witness-removed"}
    (house.reports / "witnesses" / "000005.txt").write_text("hello")
    assert house.kinds() == {"witness-signature"}


def test_review_is_signed_and_stands_beside_the_record_which_stays_as_it_was(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    key = add_ann(house)
    before = {path.name: path.read_bytes() for path in house.record(3).iterdir()}
    argv = ["archive", "review", "3", "--key", str(key), "--reject", "--comment", "RTO was measured on a small copy"]
    assert run_cli(argv) == 2
    assert "A rejection says what will be done about it" in capsys.readouterr().err
    assert run_cli([*argv, "--action", "measure anew", "--owner", "olaf", "--due", "2026-12-31"]) == 0
    assert run_cli(["archive", "review", "3", "--key", str(key), "--accept"]) == 0
    assert {path.name: path.read_bytes() for path in house.record(3).iterdir()} == before
    said = json.loads((house.reports / "reviews" / "000003-1.json").read_text())
    assert (said["reviewer"], said["accepted"], said["verdict"]) == ("ann@example.org", False, "PASS")
    assert said["action"] == {"what": "measure anew", "owner": "olaf", "due": "2026-12-31"}
    assert house.kinds() == set()
    capsys.readouterr()
    assert run_cli(["archive", "review", "3"]) == 0
    shown = capsys.readouterr().out
    assert "ann@example.org  rejected" in shown
    assert "to do: measure anew, olaf, until 2026-12-31" in shown


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (lambda path: edit(path, lambda said: said.replace("false", "true")), "is not over these bytes"),
        (lambda path: path.with_name(path.name + ".sig").unlink(), "the signature was removed"),
        (lambda path: path.write_text("{}"), "is no review"),
        (lambda path: _rename(path, "000004-1.json"), "which is not here"),
    ],
)
def test_review_that_was_tampered_with_is_told(house: House, attack, text: str) -> None:
    key = add_ann(house)
    argv = [
        "archive",
        "review",
        "3",
        "--key",
        str(key),
        "--reject",
        "--action",
        "a",
        "--owner",
        "o",
        "--due",
        "2026-12-31",
    ]
    assert run_cli(argv) == 0
    attack(house.reports / "reviews" / "000003-1.json")
    assert house.kinds() == {"review"}
    assert text in str(house.verify().problems[0])


def _rename(path: Path, name: str) -> None:
    path.with_name(path.name + ".sig").rename(path.with_name(name + ".sig"))
    path.rename(path.with_name(name))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"reviewer": "dba"}, "is by dba, an operator of"),
        ({"reviewer": "D.B.A"}, "is by D.B.A, an operator of"),
        ({"verdict": "FAIL"}, "says that the record's verdict is FAIL, but it is PASS"),
        ({"accepted": False}, "says nothing of what will be done about it"),
    ],
)
def test_review_made_by_hand_counts_no_more_than_one_by_the_command(
    house: House, tmp_path: Path, said: dict[str, object], why: str
) -> None:
    key = make_key(tmp_path / "hand")
    person = str(said.get("reviewer", "ann@example.org"))
    assert run_cli(["keys", "add", person, f"{key}.pub", "--witness"]) == 0
    folder = house.record(3)
    made = Review(**{  # type: ignore[arg-type]
        "record": folder.name, "record_sums": sha256_of_file(folder / "SHA256SUMS"), "verdict": "PASS", "accepted": True,
        "reviewer": person, "key": signing.fingerprint_of(key), "at": clock.now(), **said,
    })  # fmt: skip
    file_statement(house.reports / "reviews", "000003", made, key, REVIEW)
    (problem,) = house.verify().problems
    assert (problem.kind, why in problem.text) == ("review", True), problem
    assert next(one for one in read_evidence() if one.number == 3).review is None, "judged again where it is read"


def test_review_of_an_altered_record_is_refused(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    key = add_ann(house)
    edit(house.record(3) / "report.html", lambda text: text + " ")
    assert run_cli(["archive", "review", "3", "--key", str(key), "--accept"]) == 2
    assert "is not as it was archived" in capsys.readouterr().err


def test_clock_that_ran_backwards_fails_until_a_person_has_signed_that_they_accept_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_ann(house)
    edit(house.reports / "allowed_signers", lambda text: re.sub(r'valid-after="\d+"', 'valid-after="20200101"', text))
    past = clock.now().replace(year=clock.now().year - 1)
    with monkeypatch.context() as patch:
        patch.setattr(records_module.clock, "now", lambda: past)
        open_run(house.home, 6)
        commit_record(FILES, a_record(6))
    assert house.kinds() == {"clock"}
    assert run_cli(["archive", "review", "6", "--key", str(key), "--accept", "--comment", "no battery"]) == 0
    found = verify_archive()
    assert found.problems == []
    assert any("Accepted by ann@example.org in a signed review" in note for note in found.notes)


def test_small_step_of_the_clock_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.now
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(records_module.clock, "now", lambda: real().replace(microsecond=0) - timedelta(seconds=1))
        open_run(house.home, 6)
        commit_record(FILES, a_record(6))
    assert time.monotonic() - began < 10
    assert house.kinds() == set()
