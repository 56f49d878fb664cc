"""The runner's key: made once, never replaced unseen; what an ended key has signed still verifies."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, House, a_record, edit, fill, make_key, open_run, overwrite, resign, resum, survives
from runbook import clock
from runbook.archive.archived import ARCHIVED
from runbook.archive.records import commit_record
from runbook.archive.rotation import rotate
from runbook.archive.sums import sha256, write_sums
from runbook.cli.main import run_cli
from runbook.errors import OperatorError, PlatformError


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    return House(home)


def later(house: House) -> None:
    """A second has passed since the key began, as OpenSSH counts."""
    time.sleep(1.05)


def test_key_is_made_at_first_use_readable_by_its_owner_alone_and_not_in_reports(house: House) -> None:
    fill(house.home, 1, 1)
    assert house.key.stat().st_mode & 0o777 == 0o600
    assert house.key.parent.stat().st_mode & 0o777 == 0o700
    kept = [path for path in house.reports.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert kept == []
    line = (house.reports / "allowed_signers").read_text()
    assert re.fullmatch(
        r'runner@\S+ namespaces="runbook-evidence",valid-after="\d{14}" ssh-ed25519 \S+\n', line
    )  # no Z: OpenSSH before 9.1


def test_key_and_name_from_the_homes_settings_are_used(house: House) -> None:
    key = make_key(house.home / "mine")
    params = house.home / "params"
    params.mkdir()
    (params / "controls.yaml").write_text("evidence: {signing_key: mine, signer: evidence@example.org}\n")
    fill(house.home, 1, 2)
    assert house.kinds() == set()
    assert (house.reports / "allowed_signers").read_text().startswith("evidence@example.org ")
    assert not (house.home / "var" / "keys").exists()
    key.with_name("mine.pub").unlink()
    fill(house.home, 3, 3)
    assert house.kinds() == set()


def test_rotated_key_is_introduced_by_the_old_one_and_old_records_still_verify(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(house.home, 1, 3)
    old = house.key
    later(house)
    assert run_cli(["keys", "rotate", "--reason", "yearly"]) == 0
    assert "The old key has introduced it: reports/keys/000002.txt" in capsys.readouterr().out
    assert not old.exists(), "the private half of an ended key is of use to forgers only"
    fill(house.home, 4, 5)
    found = house.verify()
    assert (found.problems, len(found.keys)) == ([], 2)
    assert house.stock().returncode == 0
    assert len(re.findall(r"SHA256:\S{43}", house.stock().stdout)) == 2


def test_record_signed_with_an_ended_key_is_refused(house: House) -> None:
    fill(house.home, 1, 2)
    old = house.home / "stolen"
    shutil.copy2(house.key, old)
    later(house)
    rotate("stolen, they say")
    later(house)
    fill(house.home, 3, 3)
    resign(house.record(3), old)
    assert "key-ended" in house.kinds()
    assert house.stock().returncode == 1


@pytest.mark.parametrize(
    "attack",
    [
        lambda house: (house.reports / "keys" / "000002.txt").unlink(),
        lambda house: (house.reports / "keys" / "000002.txt.sig").unlink(),
        lambda house: edit(house.reports / "keys" / "000002.txt", lambda text: text.replace("yearly", "weekly")),
        lambda house: edit(house.reports / "keys" / "000002.txt", lambda text: re.sub(r"to \S+", "to SHA256:x", text)),
        lambda house: overwrite(
            house.reports / "keys" / "000002.txt.sig", (house.record(3) / "SHA256SUMS.sig").read_bytes()
        ),
    ],
)
def test_key_whose_introduction_was_tampered_with_is_refused(house: House, attack) -> None:
    fill(house.home, 1, 2)
    later(house)
    rotate("yearly")
    fill(house.home, 3, 3)
    attack(house)
    assert house.kinds() == {"key-not-introduced"}


def test_lost_key_stops_archiving_until_it_is_said_and_somebody_vouches_for_the_next(house: House) -> None:
    fill(house.home, 1, 2)
    house.key.unlink()
    later(house)
    with pytest.raises(PlatformError, match="that key is not on this machine") as refused:
        fill(house.home, 3, 3)
    assert "runbook keys rotate --lost" in (refused.value.next or "")
    assert house.kinds() == set()
    with pytest.raises(PlatformError, match="not on this machine"):
        rotate("yearly")
    done = rotate("disk died", lost=True)
    fill(house.home, 4, 4)
    assert house.kinds() == {"key-not-introduced"}
    first = house.verify().keys[0]
    assert house.kinds(handed_over=[first, done.fingerprint]) == set()


def test_key_that_is_there_is_not_lost(house: House) -> None:
    fill(house.home, 1, 1)
    later(house)
    with pytest.raises(OperatorError, match="is not lost"):
        rotate("lazy", lost=True)


def test_nothing_is_rotated_before_the_first_record(house: House) -> None:
    with pytest.raises(OperatorError, match="No record was ever signed here"):
        rotate("yearly")


def test_copy_of_an_archive_in_another_home_does_not_fork_the_chain(house: House, tmp_path: Path) -> None:
    fill(house.home, 1, 2)
    other = House(tmp_path / "other")
    shutil.copytree(house.reports, other.reports)
    with pytest.raises(PlatformError, match="that key is not on this machine"):
        fill(other.home, 3, 3)
    assert len(other.folders) == 2


@pytest.mark.faults
def test_crash_at_any_moment_of_a_rotation_leaves_a_key_that_signs(house: House, tmp_path: Path) -> None:
    fill(house.home, 1, 1)
    whole = shutil.copytree(house.home, tmp_path / "whole")
    call, survived = 0, False
    while not survived:
        call += 1
        survived = survives(
            call,
            lambda: rotate("yearly", now=clock.now() + timedelta(seconds=2)),
            ("open", "fsync", "rename", "replace", "unlink", "mkdir"),
        )
        lines = (house.reports / "allowed_signers").read_text().splitlines()
        assert len(lines) in (1, 2)
        assert sum("valid-before" not in line for line in lines) == 1
        if len(lines) == 1:
            fill(house.home, 2, 2)
            rotate("again", now=clock.now() + timedelta(seconds=2))
        assert house.kinds() == set()
        shutil.rmtree(house.home)
        shutil.copytree(whole, house.home)
    assert call > 10


def make_unsigned(house: House, count: int) -> None:
    """An archive from before records were signed: files and chain only."""
    fill(house.home, 1, count)
    previous = None
    for folder in house.folders:
        for name in ("SHA256SUMS.sig", ARCHIVED):
            (folder / name).unlink()
        digests = {path.name: sha256(path.read_bytes()) for path in folder.iterdir() if path.name != "SHA256SUMS"}
        overwrite(folder / "SHA256SUMS", write_sums(digests, previous))
        previous = (folder.name, sha256((folder / "SHA256SUMS").read_bytes()))
    (house.reports / "allowed_signers").unlink()
    shutil.rmtree(house.home / "var")


def test_archive_from_before_signing_is_unsigned_which_is_said_and_is_no_pass(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    make_unsigned(house, 3)
    assert run_cli(["archive", "verify"]) == 4
    said = capsys.readouterr().out
    assert "UNSIGNED: none of the 3 records is signed" in said
    assert "BAD" not in said
    done = house.stock()
    assert done.returncode == 1
    assert "no record is signed: nothing proves who made them" in done.stdout
    edit(house.record(2) / "report.html", lambda text: text + " ")
    assert house.kinds() == {"altered"}


def test_first_signed_record_holds_the_unsigned_ones_before_it(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    make_unsigned(house, 3)
    fill(house.home, 4, 5)
    assert run_cli(["archive", "verify"]) == 0
    assert "Unsigned are 000001 to 000003: they were made before" in capsys.readouterr().out
    done = house.stock()
    assert (done.returncode, "5 records, the first 3 not signed" in done.stdout) == (0, True)
    edit(house.record(2) / "report.html", lambda text: text + " ")
    resum(house.record(2))
    assert house.kinds() == {"rewritten"}


def test_signatures_taken_away_from_all_records_are_missed(house: House) -> None:
    fill(house.home, 1, 3)
    keys = (house.reports / "allowed_signers").read_text()
    make_unsigned(House(house.home), 3)
    (house.reports / "allowed_signers").write_text(keys)
    assert house.kinds() == {"unsigned"}


def test_machine_without_ssh_keygen_archives_unsigned_and_signs_once_it_can(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nonexistent")
    fill(house.home, 1, 2)
    monkeypatch.setenv("PATH", path)
    assert run_cli(["archive", "verify"]) == 4
    assert "UNSIGNED" in capsys.readouterr().out
    fill(house.home, 3, 3)
    assert house.kinds() == set()
    assert house.stock().returncode == 0
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PlatformError, match="ssh-keygen"):
        fill(house.home, 4, 4)
    assert len(house.folders) == 3


def _write(home: str, number: int) -> None:
    os.environ["RUNBOOK_HOME"] = home
    commit_record(FILES, a_record(number))


def test_two_first_writers_make_one_key(house: House) -> None:
    for number in range(1, 7):
        open_run(house.home, number)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(str(house.home), number)) for number in range(1, 7)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 6
    assert house.kinds() == set()
    assert len(house.verify().keys) == 1


def test_fingerprint_that_we_print_is_the_one_that_ssh_keygen_prints(house: House) -> None:
    fill(house.home, 1, 1)
    said = subprocess.run(["ssh-keygen", "-lf", f"{house.key}.pub"], capture_output=True, text=True, check=True).stdout
    assert said.split()[1] == house.verify().keys[0]
