"""One record dated ahead spoils no archive for good: a signed review settles it, for us and for stock tools."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, House, a_record, edit, fill, make_key, open_run, other_home, resign, resum
from runbook import clock
from runbook.archive import rotation
from runbook.archive.records import commit_record
from runbook.archive.verify import verify_archive
from runbook.cli.main import run_cli
from runbook.errors import PlatformError


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    fill(home, 1, 5)
    return House(home)


def add_ann(house: House) -> Path:
    key = make_key(house.home.parent / "ann")
    assert run_cli(["keys", "add", "ann@example.org", f"{key}.pub", "--witness"]) == 0
    return key


@contextmanager
def clock_at(moment: datetime) -> Iterator[None]:
    """This machine's clock runs on from another moment."""
    ahead = moment - clock.now()
    real = clock.now
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: real() + ahead)
        yield


def archive_runs(house: House, *numbers: int) -> None:
    for number in numbers:
        open_run(house.home, number)
        commit_record(FILES, a_record(number))


@pytest.mark.parametrize("reviewed", [6, 7])
def test_record_dated_ahead_is_settled_by_one_review_of_it_or_of_the_next(house: House, reviewed: int) -> None:
    key = add_ann(house)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    archive_runs(house, 7, 8)
    assert house.kinds() == {"clock"}
    assert "the clock ran backwards" in house.stock().stdout
    assert run_cli(["archive", "review", str(reviewed), "--key", str(key), "--accept", "--comment", "no battery"]) == 0
    found = verify_archive()
    assert found.problems == []
    assert any("Accepted by ann@example.org in a signed review" in note for note in found.notes)
    done = house.stock()
    assert (done.returncode, done.stderr) == (0, "")
    assert "ann@example.org has accepted it in a signed review" in done.stdout


def test_review_that_was_forged_or_rejects_settles_no_time_for_stock_tools_either(house: House, tmp_path: Path) -> None:
    key = add_ann(house)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    archive_runs(house, 7)
    reject = ["--reject", "--action", "a battery", "--owner", "olaf", "--due", "2027-01-01"]
    assert run_cli(["archive", "review", "6", "--key", str(key), *reject]) == 0
    assert house.stock().returncode == 1
    assert run_cli(["archive", "review", "7", "--key", str(key), "--accept"]) == 0
    path = house.reports / "reviews" / "000007-1.json"
    whole = path.read_text()
    for changed in (whole.replace('"no', '"yes'), whole.replace('"record": "000007', '"record": "000006'), whole + " "):
        if changed != whole:
            path.write_text(changed)
            assert house.stock().returncode == 1
            assert house.kinds() >= {"clock"}
    path.write_text(whole)
    assert (house.kinds(), house.stock().returncode) == (set(), 0)


def test_record_dated_ahead_outlives_the_change_of_its_key(house: House) -> None:
    key = add_ann(house)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    time.sleep(1)
    assert run_cli(["keys", "rotate", "--reason", "the clock ran ahead"]) == 0
    archive_runs(house, 7, 8)
    assert house.kinds() == {"clock"}
    assert run_cli(["archive", "review", "6", "--key", str(key), "--accept"]) == 0
    assert (house.kinds(), house.stock().returncode) == (set(), 0)


def test_record_dated_ahead_whose_key_was_ended_already_is_settled_by_its_review(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in archives from before a key's end was set after what it has signed."""
    key = add_ann(house)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    time.sleep(1.1)
    monkeypatch.setattr(rotation, "_end_of", lambda tree, line, now: now)
    assert run_cli(["keys", "rotate", "--reason", "yearly"]) == 0
    assert "key-ended" in house.kinds()
    assert run_cli(["archive", "review", "6", "--key", str(key), "--accept"]) == 0
    assert "key-ended" in house.kinds(), "no later record follows: whoever holds the ended key could have added it"
    assert "no later record follows" in house.stock().stdout
    archive_runs(house, 7)
    found = house.verify()
    assert found.problems == []
    assert len(found.signed) == 7
    assert house.stock().returncode == 0


def test_key_that_began_while_the_clock_ran_ahead_is_replaced_and_the_archive_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = other_home(tmp_path, "young")
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    young = House(home)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(young, 1, 2)
    with pytest.raises(PlatformError, match="before the runner's key began") as refused:
        archive_runs(young, 3)
    assert "runbook keys rotate --reason 'the clock ran ahead'" in str(refused.value.next)
    assert run_cli(["keys", "rotate", "--reason", "the clock ran ahead"]) == 0
    archive_runs(young, 3, 4)
    assert young.kinds() == {"clock"}
    key = add_ann(young)
    assert run_cli(["archive", "review", "2", "--key", str(key), "--accept"]) == 0
    assert (young.kinds(), young.stock().returncode) == (set(), 0)


def test_key_that_was_replaced_signs_nothing_more_though_a_clock_ran_ahead_and_it_has_not_ended(house: House) -> None:
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    stolen = shutil.copy2(house.key, house.home / "stolen")
    assert run_cli(["keys", "rotate", "--reason", "stolen"]) == 0
    archive_runs(house, 7, 8)
    assert house.kinds() == {"clock"}
    newest = house.record(8)
    edit(newest / "run.json", lambda text: text.replace("All checks passed.", "All is well."))
    resum(newest)
    resign(newest, stolen)
    assert house.kinds() == {"clock", "key-ended"}
    assert "had been replaced before" in house.stock().stdout


def test_time_at_which_a_key_began_while_a_clock_ran_ahead_is_bound_by_the_key_before(house: House) -> None:
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    assert run_cli(["keys", "rotate", "--reason", "the clock ran ahead"]) == 0
    archive_runs(house, 7)
    assert house.kinds() == {"clock"}
    assert "begins " in (house.reports / "keys" / "000002.txt").read_text()
    edit(
        house.reports / "allowed_signers",
        lambda text: re.sub(r'valid-after="\d+"', 'valid-after="20200101000000"', text),
    )
    assert "key-not-introduced" in house.kinds()
    assert "does not begin when" in house.stock().stdout


def test_run_at_work_is_no_missing_one_because_the_newest_record_is_dated_ahead(house: House) -> None:
    add_ann(house)
    with clock_at(clock.now() + timedelta(days=400)):
        archive_runs(house, 6)
    open_run(house.home, 7)
    assert house.kinds() == set()
