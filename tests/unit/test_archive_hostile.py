"""An archive may hold anything: no file in it makes a check wait, lie, hide, or steer the terminal."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import (
    FILES,
    START,
    House,
    a_record,
    copy_home,
    edit,
    fill,
    make_key,
    open_run,
    overwrite,
    resign,
    resum,
)
from homes import at_home
from runbook.archive.records import commit_record
from runbook.archive.sums import read_sums
from runbook.cli.main import run_cli
from runbook.controls.evidence import read_evidence
from runbook.errors import PlatformError
from runbook.gates.signing import sign

FEW = 6


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six signed records, with a review, a witness and a key's successor. Leave it as it is."""
    home = tmp_path_factory.mktemp("filled") / "home"
    home.mkdir()
    fill(home, 1, FEW)
    with at_home(home):
        key = make_key(home / "ann")
        assert run_cli(["keys", "add", "ann@example.org", f"{key}.pub", "--witness"]) == 0
        assert run_cli(["archive", "review", "3", "--key", str(key), "--accept"]) == 0
        assert run_cli(["archive", "witness", "--key", str(key)]) == 0
    return home


@pytest.fixture
def house(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = copy_home(filled, tmp_path / "home")
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    return House(home)


class Exported(House):
    def __init__(self, place: Path) -> None:
        super().__init__(place.parent)
        self.reports = place


def export(to: Path, first: int = 2, until: int = 4) -> Exported:
    begin, end = (f"{START + timedelta(days=30 * number):%Y-%m-%d}" for number in (first, until))
    argv = ["archive", "export", str(to), "--control", "backup-verification", "--from", begin, "--to", end]
    assert run_cli(argv) == 0
    return Exported(to)


# -- names


def renamed(house: House, to: Callable[[str], str]) -> None:
    newest = house.record(FEW)
    newest.rename(newest.with_name(to(newest.name)))


@pytest.mark.parametrize(
    "to",
    [
        lambda name: name.replace("-2026", "-2025"),
        lambda name: name.replace("-billing", "-payroll"),
        lambda name: name.replace("-backup-verification-", "-daily-health-"),
    ],
    ids=["day", "target", "runbook"],
)
def test_newest_record_cannot_be_renamed_to_another_day_target_or_runbook(
    house: House, to: Callable[[str], str]
) -> None:
    renamed(house, to)
    assert house.kinds() >= {"renamed"}
    done = house.stock()
    assert done.returncode == 1 and "was renamed" in done.stdout


def test_newest_record_from_before_records_said_their_name_cannot_be_renamed_either(house: House) -> None:
    newest = house.record(FEW)
    edit(newest / "archived.txt", lambda text: re.sub(r"record .*\n", "", text))
    resum(newest)
    resign(newest, house.key)
    shutil.rmtree(house.reports / "witnesses")
    assert house.kinds() == set() and house.stock().returncode == 0
    renamed(house, lambda name: name.replace("-billing", "-payroll"))
    assert house.kinds() == {"renamed"}
    assert f"{FEW:06d}-20260704T020000Z-backup-verification-payroll was renamed" in house.stock().stdout


def test_newest_record_of_an_export_that_holds_its_manifest_alone_cannot_be_renamed(
    house: House, tmp_path: Path
) -> None:
    exported = export(tmp_path / "q1")
    renamed(exported, lambda name: name.replace("-billing", "-payroll"))
    assert exported.kinds() >= {"renamed"}
    assert "was renamed" in exported.stock().stdout


@pytest.mark.parametrize(
    "to", [lambda name: name + "\n", lambda name: name + "\nOK all is well", lambda name: "٠" + name[1:]]
)
def test_record_whose_name_holds_a_newline_or_foreign_digits_is_none(house: House, to: Callable[[str], str]) -> None:
    renamed(house, to)
    assert "stranger" in house.kinds()
    done = house.stock()
    assert done.returncode == 1
    assert not any(line.startswith("OK") for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", ["..x", ".x", ". ", "a\nb", "...", "-n", "SHA256SUMS\n", "run.json\n", " run.json"])
@pytest.mark.parametrize("place", ["records", "a record"])
def test_nothing_lies_unseen_among_the_records_or_in_one(house: House, name: str, place: str) -> None:
    (house.reports / "records" / name if place == "records" else house.record(4) / name).write_text("x")
    assert house.kinds() & {"stranger", "added"}
    done = house.stock()
    assert done.returncode == 1
    assert re.search(r"stands where record|was added", done.stdout)


@pytest.mark.parametrize("name", ["..x", "READ ME", "reviews/000003-1.json.bak", "witnesses/x", "keys/.hidden"])
def test_what_lies_beside_the_records_and_belongs_to_no_archive_is_listed(
    house: House, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (house.reports / name).parent.mkdir(exist_ok=True)
    (house.reports / name).write_text("PASS, says nobody")
    assert run_cli(["archive", "verify"]) == 0
    assert f"No part of the archive, and proven by nothing: '{name}'" in capsys.readouterr().out
    if "/" not in name:
        assert f"No part of the archive, and proven by nothing: {name}" in house.stock().stdout


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_manifest_is_parted_into_lines_as_sha256sum_parts_it(mark: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        read_sums(f"{'a' * 64}  a{mark}{'b' * 64}  b\n")


# -- exports


def test_genuine_list_of_an_export_excuses_no_payload_that_was_deleted_from_the_archive(
    house: House, tmp_path: Path
) -> None:
    exported = export(tmp_path / "q1")
    copy = Exported(shutil.copytree(house.reports, tmp_path / "copy"))
    for archive in (house, copy):
        for name in ("EXPORT", "EXPORT.sig"):
            shutil.copy2(exported.reports / name, archive.reports / name)
        for name in ("report.html", "executed.ipynb", "run.json", "source.ipynb"):
            (archive.record(5) / name).unlink(missing_ok=True)
        assert "export" in archive.kinds()
        assert archive.stock().returncode == 1
    assert "missing" in house.kinds(), "this home's own archive is no export"


@pytest.mark.parametrize(
    "attack",
    [
        lambda h: shutil.rmtree(h.record(FEW)),
        lambda h: (h.record(5) / "run.json").write_bytes(b"{}"),
        lambda h: edit(h.reports / "EXPORT", lambda text: text.replace(f"of {FEW} records", "of 5 records")),
    ],
    ids=["newest manifest removed", "payload added", "list edited"],
)
def test_export_that_holds_more_or_less_than_was_exported_is_told(
    house: House, tmp_path: Path, attack: Callable[[House], object]
) -> None:
    exported = export(tmp_path / "q1")
    attack(exported)
    assert "export" in exported.kinds()
    assert exported.stock().returncode == 1


def test_no_export_and_no_witness_is_put_into_an_archive(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "way").symlink_to(house.reports / "records")
    copy = shutil.copytree(house.reports, tmp_path / "copy")
    before = sorted(house.reports.rglob("*")) + sorted(copy.rglob("*"))
    begin, end = "2026-01-01", "2027-01-01"
    for place in (house.reports / "records" / "q1", house.reports / "q1.zip", tmp_path / "way" / "q1", copy / "q1"):
        argv = ["archive", "export", str(place), "--control", "backup-verification", "--from", begin, "--to", end]
        assert run_cli(argv) == 2
        assert "where nothing may be put in" in capsys.readouterr().err
    assert run_cli(["archive", "witness", "--out", str(tmp_path / "way")]) == 2
    assert sorted(house.reports.rglob("*")) + sorted(copy.rglob("*")) == before


def test_export_carries_no_file_out_that_a_link_leads_to(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("a secret of other people")
    (house.reports / "witnesses" / "000001.txt").symlink_to(outside)
    (house.record(3) / "report.html").unlink()
    (house.record(3) / "report.html").symlink_to(outside)
    begin, end = "2026-01-01", "2027-01-01"
    argv = ["archive", "export", str(tmp_path / "q1"), "--control", "backup-verification", "--from", begin, "--to", end]
    assert run_cli(argv) == 1
    assert [
        path for path in (tmp_path / "q1").rglob("*") if path.is_file() and b"a secret of" in path.read_bytes()
    ] == []


# -- git


def git(folder: Path, *argv: str) -> str:
    config = [
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@x",
        "-c",
        "core.autocrlf=true",
        "-c",
        "protocol.file.allow=always",
    ]
    config += ["-c", "filter.strip.clean=sed s/html/xhtml/", "-c", "filter.strip.smudge=cat"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *config, *argv], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_archive_that_is_committed_verifies_in_a_clone_that_changes_line_ends(house: House, tmp_path: Path) -> None:
    """Also where the repository has a filter for notebooks, or keywords."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / ".gitattributes").write_text("* text=auto ident\n*.html filter=strip\n*.ipynb filter=strip\n")
    with at_home(house.home):
        open_run(house.home, FEW + 1)
        commit_record({**FILES, "report.html": b"<html>\r\n$Id$\n"}, a_record(FEW + 1))
    shutil.copytree(house.reports, repository / "evidence")
    git(repository, "init", "-q")
    git(repository, "add", "-A", "-f")
    git(repository, "commit", "-q", "-m", "x")
    git(tmp_path, "clone", "-q", str(repository), str(tmp_path / "clone"))
    cloned = Exported(tmp_path / "clone" / "evidence")
    assert cloned.kinds() == set()
    assert cloned.stock().returncode == 0


def test_git_keeps_every_byte_below_reports_in_this_checkout() -> None:
    folder = Path(__file__).parents[2]
    said = git(folder, "check-attr", "text", "ident", "filter", "--", "reports/records/x/report.html", "reports/RUNS")
    assert len(said.splitlines()) == 6 and all(line.endswith(": unset") for line in said.splitlines())


# -- files that never end


PLACES = (
    "RUNS", "allowed_signers", "EXPORT", "keys/000002.txt", "keys/000002.txt.sig", "reviews/000003-1.json",
    "reviews/000003-1.json.sig", "witnesses/000006.txt", "witnesses/000006.txt.sig", "exceptions/x-1.json",
    *(f"record/{name}" for name in (
        "SHA256SUMS", "SHA256SUMS.sig", "TOMBSTONE", "TOMBSTONE.sig", "archived.txt", "run.json", "report.html",
    )),
)  # fmt: skip


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o20644, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


@pytest.mark.parametrize("make", [_pipe, _device, _sparse])
@pytest.mark.parametrize("place", PLACES)
def test_no_pipe_device_or_sparse_file_makes_a_check_wait(
    house: House, place: str, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = house.record(3) / place[7:] if place.startswith("record/") else house.reports / place
    path.parent.mkdir(exist_ok=True)
    if place.startswith("keys/"):
        time.sleep(1)
        assert run_cli(["keys", "rotate", "--reason", "yearly"]) == 0
    path.unlink(missing_ok=True)
    make(path)
    assert run_cli(["archive", "verify", str(house.reports)]) == 1
    assert "BAD" in capsys.readouterr().out
    done = house.stock(seconds=60, SECONDS_A_FILE="1")
    # People's statements are not what verify.sh checks.
    assert done.returncode == (0 if place.split("/")[0] in ("reviews", "witnesses", "exceptions") else 1)


@pytest.mark.parametrize("make", [_pipe, _device, _sparse])
@pytest.mark.parametrize("name", ["EXPORT", "EXPORT.sig", "records/chosen"])
def test_no_file_of_an_export_makes_a_check_wait(
    house: House, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    exported = export(tmp_path / "q1")
    path = exported.record(3) / "report.html" if name == "records/chosen" else exported.reports / name
    path.unlink()
    make(path)
    assert exported.kinds() & {"link", "export"}
    assert exported.stock(seconds=60, SECONDS_A_FILE="1").returncode == 1


# -- the terminal


def test_no_name_and_no_text_of_an_archive_steers_the_terminal(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    steering = "x\x1b[2J\x1b]0;pwned\x07\x9b31m\u202ey"
    (house.record(5) / steering).write_text("")
    (house.reports / "records" / steering).write_text("")
    (house.reports / steering).write_text("")
    open_run(house.home, FEW + 1)
    edit(house.reports / "RUNS", lambda text: text.replace(f"T{FEW + 1:06d}Z", steering))
    edit(house.record(4) / "SHA256SUMS", lambda text: text.replace("report.html", f"report{steering}"))
    overwrite(house.record(2) / "archived.txt", f"archive {steering}\ntime {steering}\nsigner {steering}\nruns 1 1 1\n")
    assert run_cli(["archive", "verify", str(house.reports)]) == 1
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    done = house.stock()
    assert done.returncode == 1 and "BAD" in done.stdout
    assert all(line.isprintable() and line.isascii() for line in (done.stdout + done.stderr).splitlines()), done.stdout


# -- the last line


def test_last_line_says_what_was_proven_and_what_was_not(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["archive", "verify"]) == 0
    (last,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("OK")]
    stock = house.stock().stdout.splitlines()[-1]
    for line in (last, stock):
        assert line.startswith("OK") and f"{FEW} records" in line
        assert "Proven: without the runner's key nothing from the first to the newest" in line
        assert "Not proven: that the newest records are all here, that the key is the runner's, any time." in line
    witness = house.reports / "witnesses" / "000006.txt"
    kept = shutil.copy2(witness, house.home / "kept.txt")
    assert run_cli(["archive", "verify", "--witness", str(kept)]) == 0
    assert "Not proven: that the key is the runner's, any time." in capsys.readouterr().out
    (house.record(3) / "report.html").unlink()
    assert house.stock().stdout.splitlines()[-1].startswith("FAIL")


def test_witness_of_another_shape_or_of_another_file_proves_nothing_to_stock_tools(house: House) -> None:
    for text in ("# nothing\n", f"{'0' * 64}  /dev/zero\n", f"{'0' * 64}  records/../../../../dev/zero/SHA256SUMS\n"):
        (house.home / "w.txt").write_text(text)
        done = house.stock(str(house.reports / "allowed_signers"), str(house.home / "w.txt"), seconds=30)
        assert done.returncode == 1 and "w.txt" in done.stdout, text


def test_line_of_runs_with_digits_that_are_none_is_passed_over(house: House) -> None:
    with (house.reports / "RUNS").open("a") as ledger:
        ledger.write("² 2026-01-01T00:00:00Z a b c d\n" + "9" * 5000 + " 2026-01-01T00:00:00Z a b c d\n")
    assert house.kinds() == set()


# -- further attacks


@pytest.mark.parametrize("make", [_pipe, _device, _sparse])
@pytest.mark.parametrize("name", ["run.json", "SHA256SUMS", "SHA256SUMS.sig", ".names"])
def test_no_pipe_device_or_sparse_file_makes_the_index_the_population_or_the_next_record_wait(
    house: House, name: str, make: Callable[[Path], None]
) -> None:
    path = house.reports / name if name == ".names" else house.record(3) / name
    path.unlink(missing_ok=True)
    make(path)
    edit(house.reports / "allowed_signers", lambda text: text.replace("ssh-ed25519 AAAA", "ssh-ed25519 AAAB", 1))
    run_cli(["archive", "index"])
    assert all(one.doubt is not None for one in read_evidence() if one.number == 3 or name == ".names")
    with contextlib.suppress(PlatformError):  # the key is not the listed one any more
        commit_record(FILES, a_record(FEW + 1))


@pytest.mark.parametrize("name", ["a b", "x[*]?", "-n", "new\nline", "$(touch pwned)`touch pwned`", "..x"])
def test_archive_below_a_folder_of_any_name_is_checked_by_stock_tools(house: House, tmp_path: Path, name: str) -> None:
    copy = Exported(shutil.copytree(house.reports, tmp_path / name / "reports"))
    done = copy.stock()
    assert (done.returncode, done.stderr) == (0, "")
    (copy.record(3) / "report.html").unlink()
    assert copy.stock().returncode == 1
    assert not (tmp_path / "pwned").exists() and not Path("/pwned").exists()


@pytest.mark.parametrize(
    "line",
    ["records/../../../../../dev/zero", "/dev/zero", "records/{3}/../{4}/report.html", "records//report.html", "RUNS"],
)
def test_list_of_an_export_leads_nowhere_else_though_the_runner_has_signed_it(
    house: House, tmp_path: Path, line: str
) -> None:
    exported = export(tmp_path / "q1")
    names = {f"{{{number}}}": house.record(number).name for number in (3, 4)}
    place = exported.reports / "EXPORT"
    edit(
        place,
        lambda text: text + f"{'0' * 64}  " + functools.reduce(lambda t, n: t.replace(*n), names.items(), line) + "\n",
    )
    (exported.reports / "EXPORT.sig").write_text(sign(place.read_bytes(), house.key, "runbook-evidence"))
    assert exported.kinds() & {"export", "altered", "missing"}
    assert exported.stock(seconds=60).returncode == 1


def test_export_says_in_its_last_line_that_not_all_is_here(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported = export(tmp_path / "q1")
    assert "what was not exported" in capsys.readouterr().out
    assert "what was not exported" in exported.stock().stdout.splitlines()[-1]


@pytest.mark.parametrize("make", [_pipe, _device, lambda path: path.mkdir()])
def test_record_that_is_no_folder_and_keys_that_are_no_file_are_told(
    house: House, make: Callable[[Path], None]
) -> None:
    keys = house.home / "their-keys"
    make(keys)
    assert run_cli(["archive", "verify", "--signers", str(keys)]) == 2
    assert house.stock(str(keys), seconds=30).returncode == 1
    make(house.reports / "records" / "000007-20260804T020000Z-backup-verification-billing")
    assert house.kinds() & {"stranger", "sums-missing"}
    assert house.stock(seconds=30).returncode == 1


def test_json_that_is_nested_without_end_is_no_record_and_stops_nothing(house: House) -> None:
    overwrite(house.record(3) / "run.json", b"[" * 200_000)
    assert "altered" in house.kinds()
    assert house.stock().returncode == 1
