"""Every way to tamper with an archive has its own message, from us and from stock tools where this project is not."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import (
    COUNT,
    FILES,
    House,
    a_record,
    copy_home,
    edit,
    fill,
    make_key,
    open_run,
    other_home,
    overwrite,
    relink,
    resign,
    resum,
)
from homes import at_home
from runbook import clock
from runbook.archive import records as records_module
from runbook.archive.records import commit_record
from runbook.cli.main import run_cli


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty signed records. Leave it as it is."""
    home = tmp_path_factory.mktemp("filled") / "home"
    home.mkdir()
    fill(home)
    return home


@pytest.fixture
def house(filled: Path, tmp_path: Path) -> House:
    return House(copy_home(filled, tmp_path / "home"))


def test_untouched_archive_verifies_and_says_what_it_cannot_prove(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["archive", "verify", str(house.reports)]) == 0
    said = capsys.readouterr().out
    assert f"OK: {COUNT} records, {COUNT} of them signed" in said
    assert "the newest records are not provable" in said
    assert re.search(r"Signed with SHA256:\S{43}: compare with the fingerprint", said)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_stock_tools_verify_it_without_this_project_and_without_python(house: House, shell: str) -> None:
    done = house.stock(shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{COUNT} records, the first 0 not signed; the others signed with SHA256:" in done.stdout
    assert "the newest records are not provable" in done.stdout


def test_verify_sh_reads_in_one_sitting_and_calls_two_tools_only(house: House) -> None:
    lines = (house.reports / "verify.sh").read_text().splitlines()
    assert len(lines) <= 430
    code = "\n".join(line for line in lines if not line.startswith("#"))
    for tool in ("head", "cut", "sed", "awk", "grep", "cat", "cmp", "ls", "find", "python", "date", "sort", "tr", "wc"):
        assert not re.search(rf"(^|[;(|&] *|do |then ){tool} ", code), tool


def drop(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def swap_numbers(house: House) -> None:
    one, two = house.record(8), house.record(9)
    parked = one.rename(one.with_name("parked"))
    two.rename(two.with_name("000008" + two.name[6:]))
    parked.rename(parked.with_name("000009" + one.name[6:]))


def edited_and_summed(house: House) -> None:
    edit(house.record(7) / "run.json", lambda text: text.replace("PASS", "FAIL"))
    resum(house.record(7))


def edited_summed_and_rechained(house: House) -> None:
    """All that can be done without the key."""
    edit(house.record(7) / "run.json", lambda text: text.replace("PASS", "FAIL"))
    resum(house.record(7))
    for number in range(8, COUNT + 1):
        relink(house.record(number), house.record(number - 1))


def linked_report(house: House) -> None:
    report = house.record(5) / "report.html"
    report.rename(house.home / "elsewhere.html")
    report.symlink_to(house.home / "elsewhere.html")


def linked(house: House, path: Path) -> None:
    path.rename(house.home / "elsewhere")
    path.symlink_to(house.home / "elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linked_folder(house: House) -> None:
    folder = house.record(5)
    moved = folder.rename(house.home / folder.name)
    folder.symlink_to(moved)


def replaced_key(house: House) -> None:
    """Everything is signed anew with a key of one's own; allowed_signers names it instead."""
    key = make_key(house.home / "mine")
    public = key.with_name("mine.pub").read_text().split()[1]
    edit(house.reports / "allowed_signers", lambda text: re.sub(r"ssh-ed25519 \S+", f"ssh-ed25519 {public}", text))
    resign(house.record(COUNT), key)


def key_added(house: House) -> None:
    """The newest record is rewritten and signed with a key that was put beside the runner's."""
    key = make_key(house.home / "mine")
    line = (house.reports / "allowed_signers").read_text().strip()
    public = key.with_name("mine.pub").read_text().split()[1]
    ended = line.replace(" ssh-ed25519", ',valid-before="20991231" ssh-ed25519')
    mine = re.sub(r"ssh-ed25519 \S+", f"ssh-ed25519 {public}", line)
    (house.reports / "allowed_signers").write_text(f"{ended}\n{mine}\n")
    edit(house.record(COUNT) / "run.json", lambda text: text.replace("PASS", "FAIL"))
    resum(house.record(COUNT))
    resign(house.record(COUNT), key)


def foreign_key_signs(house: House) -> None:
    resign(house.record(COUNT), make_key(house.home / "mine"))


def approval_passed_off_as_evidence(house: House) -> None:
    resign(house.record(COUNT), house.key, namespace="runbook-approval")


def from_another_archive(house: House) -> None:
    other = other_home(house.home.parent)
    fill(other, 1, COUNT + 1)
    folder = House(other).record(COUNT + 1)
    shutil.copytree(folder, house.reports / "records" / folder.name)
    open_run(house.home, COUNT + 1)


def last_from_another_archive(house: House) -> None:
    other = other_home(house.home.parent)
    fill(other, 1, COUNT)
    folder = House(other).record(COUNT)
    drop(house.record(COUNT))
    shutil.copytree(folder, house.reports / "records" / folder.name)


def clock_set_back(house: House) -> None:
    with at_home(house.home), pytest.MonkeyPatch.context() as patch:
        past = clock.now() - timedelta(hours=1)
        patch.setattr(records_module.clock, "now", lambda: past)
        patch.setattr(records_module, "signing_key", lambda tree, now: _key_without_a_beginning(house))
        open_run(house.home, COUNT + 1)
        commit_record(FILES, a_record(COUNT + 1))
    edit(house.reports / "allowed_signers", lambda text: re.sub(r'valid-after="\d+"', 'valid-after="20260101"', text))


def _key_without_a_beginning(house: House) -> records_module.RunnerKey:
    return records_module.RunnerKey(house.key, _signer(house), "", None)


def _signer(house: House) -> str:
    return (house.reports / "allowed_signers").read_text().split()[0]


def thrown_away(house: House) -> None:
    """A failing run was opened two days ago; later ones were archived, it was not."""
    before = (house.reports / "RUNS").read_text()
    open_run(house.home, COUNT + 1, clock.now() - timedelta(days=2))
    assert (house.reports / "RUNS").read_text() != before
    fill(house.home, COUNT + 2, COUNT + 2)


def thrown_away_and_struck_out(house: House) -> None:
    thrown_away(house)
    edit(
        house.reports / "RUNS",
        lambda text: "".join(one for one in text.splitlines(True) if not one.startswith("000021")),
    )


Attack = Callable[[House], object]
#: name → attack, the kinds that must be told, and what stock tools say (None: they cannot see it, or wait for ever).
ATTACKS: dict[str, tuple[Attack, set[str], str | None]] = {
    "report edited": (lambda h: edit(h.record(5) / "report.html", lambda t: t + " "), {"altered"}, "report.html: FAILED"),
    "run.json back-dated": (
        lambda h: edit(h.record(5) / "run.json", lambda t: t.replace("2026-", "2025-")), {"altered"}, "run.json: FAILED",
    ),
    "notebook swapped": (
        lambda h: overwrite(h.record(5) / "executed.ipynb", b"[]"), {"altered"}, "executed.ipynb: FAILED",
    ),
    "time of archiving edited": (
        lambda h: edit(h.record(5) / "archived.txt", lambda t: t.replace("time 20", "time 19")), {"altered"},
        "archived.txt: FAILED",
    ),
    "report and its sums edited": (edited_and_summed, {"signature-other", "rewritten"}, "incorrect signature"),
    "report, sums and the chain edited": (edited_summed_and_rechained, {"signature-other"}, "incorrect signature"),
    "record removed in the middle": (lambda h: drop(h.record(9)), {"gap"}, "stands where record 9 is due"),
    "first record removed": (lambda h: drop(h.record(1)), {"gap"}, "stands where record 1 is due"),
    "records reordered": (swap_numbers, {"reordered"}, "the chain is cut, reordered"),
    "record renumbered": (
        lambda h: h.record(20).rename(h.record(20).with_name("000021" + h.record(20).name[6:])), {"gap"},
        "stands where record 20 is due",
    ),
    "record doubled": (
        lambda h: shutil.copytree(h.record(9), h.record(9).with_name(h.record(9).name + "-x")), {"double"},
        "stands where record 10 is due",
    ),
    "file removed": (lambda h: drop(h.record(5) / "source.ipynb"), {"missing"}, "source.ipynb is missing"),
    "file added": (lambda h: (h.record(5) / "extra.txt").write_text("x"), {"added"}, "extra.txt was added"),
    "hidden file added": (lambda h: (h.record(5) / ".extra").write_text("x"), {"added"}, ".extra was added"),
    "file of two names added": (
        lambda h: (h.record(5) / "report.html run.json").write_text("x"), {"added"}, "was added",
    ),
    "folder added to a record": (lambda h: (h.record(5) / "more").mkdir(), {"added"}, "more was added"),
    "name in capitals added": (lambda h: (h.record(5) / "Report.html").write_text("x"), {"case"}, "Report.html was added"),
    "file moved to capitals": (
        lambda h: (h.record(5) / "report.html").rename(h.record(5) / "REPORT.HTML"), {"case", "missing"}, "is missing",
    ),
    "folder in capitals": (
        lambda h: h.record(5).rename(h.record(5).with_name(h.record(5).name.upper())), {"stranger", "gap"}, "the chain is cut",
    ),
    "something among the records": (
        lambda h: (h.reports / "records" / "zzz").mkdir(), {"stranger"}, "zzz stands where record 21 is due",
    ),
    "file replaced by a link": (linked_report, {"link"}, "is a symbolic link"),
    "RUNS replaced by a link": (lambda h: linked(h, h.reports / "RUNS"), {"link"}, "is a symbolic link"),
    "all records behind a link": (lambda h: linked(h, h.reports / "records"), {"link"}, "is a symbolic link"),
    "report replaced by a pipe": (lambda h: piped(h.record(5) / "report.html"), {"link"}, None),
    "signature replaced by a pipe": (lambda h: piped(h.record(5) / "SHA256SUMS.sig"), {"link"}, None),
    "record replaced by a link": (linked_folder, {"stranger", "gap"}, "or a link"),
    "sums removed": (lambda h: drop(h.record(5) / "SHA256SUMS"), {"sums-missing"}, "SHA256SUMS"),
    "sums no sums": (lambda h: overwrite(h.record(5) / "SHA256SUMS", "hello\n"), {"sums-unreadable"}, "SHA256SUMS"),
    "signature truncated": (
        lambda h: edit(h.record(5) / "SHA256SUMS.sig", lambda t: t[:100]), {"signature-broken"}, "SHA256SUMS.sig:",
    ),
    "signature emptied": (lambda h: overwrite(h.record(5) / "SHA256SUMS.sig", b""), {"signature-broken"}, "SHA256SUMS.sig:"),
    "signature removed": (lambda h: drop(h.record(5) / "SHA256SUMS.sig"), {"signature-missing"}, "SHA256SUMS.sig:"),
    "signature of another record": (
        lambda h: overwrite(h.record(5) / "SHA256SUMS.sig", (h.record(6) / "SHA256SUMS.sig").read_bytes()),
        {"signature-other"}, "incorrect signature",
    ),
    "signed with a key that nobody knows": (foreign_key_signs, {"key-unknown"}, "SHA256SUMS.sig:"),
    "signed for another purpose": (approval_passed_off_as_evidence, {"signature-purpose"}, "SHA256SUMS.sig:"),
    "key replaced": (replaced_key, {"key-unknown"}, "SHA256SUMS.sig:"),
    "key added": (key_added, {"key-not-introduced"}, None),
    "allowed_signers removed": (lambda h: drop(h.reports / "allowed_signers"), {"key-unknown"}, "SHA256SUMS.sig:"),
    "record of another archive put at the end": (from_another_archive, {"foreign", "key-unknown"}, "is of another archive"),
    "newest record from another archive": (last_from_another_archive, {"foreign", "rewritten"}, "is of another archive"),
    "clock set back": (clock_set_back, {"clock"}, "the clock ran backwards"),
    "line of RUNS edited": (
        lambda h: edit(h.reports / "RUNS", lambda t: t.replace("billing dba", "billing eve", 1)), {"runs-rewritten"},
        "RUNS, lines 1 to 1, is not what it was",
    ),
    "line of RUNS removed in the middle": (
        lambda h: edit(h.reports / "RUNS", lambda t: "".join(t.splitlines(True)[:9] + t.splitlines(True)[10:])),
        {"runs-rewritten"}, "RUNS, lines 1 to 10, is not what it was",
    ),
    "end of RUNS removed": (
        lambda h: edit(h.reports / "RUNS", lambda t: "".join(t.splitlines(True)[:15])), {"runs-cut"},
        "RUNS, lines 1 to 16, is not what it was",
    ),
    "RUNS removed": (lambda h: drop(h.reports / "RUNS"), {"runs-cut"}, "RUNS, lines 1 to 1, is not what it was"),
    "failing run thrown away": (thrown_away, {"run-missing"}, None),
    "failing run thrown away and struck from RUNS": (thrown_away_and_struck_out, {"runs-cut"}, "RUNS, lines 1 to 22"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_told_by_its_name_and_fails_both_ways(
    house: House, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attack, kinds, stock = ATTACKS[name]
    attack(house)
    told = house.kinds()
    assert kinds <= told, told
    assert run_cli(["archive", "verify", str(house.reports)]) == 1
    said = capsys.readouterr().out
    assert all(f"[{kind}]" in said for kind in kinds)
    if stock is not None:
        done = house.stock()
        assert done.returncode == 1
        assert stock in done.stdout


def test_every_message_is_of_one_attack_alone() -> None:
    """No two of these look the same to a reader: kinds that come alone are told apart."""
    told = [frozenset(kinds) for _, kinds, _ in ATTACKS.values()]
    assert len(set(told)) >= 20


def test_one_changed_byte_anywhere_in_a_record_is_found(house: House) -> None:
    for path in sorted(house.record(11).iterdir()):
        whole = path.read_bytes()
        ends = {at for at, byte in enumerate(whole) if byte == 10} if path.suffix == ".sig" else set()
        for place in {0, len(whole) // 2, len(whole) - 1} | ends:
            changed = bytes([whole[place] ^ 1])
            overwrite(path, whole[:place] + changed + whole[place + 1 :])
            assert house.kinds(), f"{path.name}, byte {place}"
            assert house.stock().returncode == 1, f"{path.name}, byte {place}"
        overwrite(path, whole)
    assert house.kinds() == set()


def test_replaced_key_is_found_by_the_fingerprint_that_was_handed_over(house: House) -> None:
    """Somebody has written a whole new archive, signed throughout: only what came on another way tells."""
    (key,) = house.verify().keys
    forged = other_home(house.home.parent, "forged")
    fill(forged)
    assert House(forged).kinds() == set()
    assert House(forged).kinds(handed_over=[key]) == {"key-unknown"}
    assert house.kinds(handed_over=[key]) == set()
    elsewhere = house.reports / "allowed_signers"
    assert "key-unknown" in House(forged).kinds(signers=elsewhere)
    assert House(forged).stock(str(elsewhere)).returncode == 1
    assert house.stock(str(elsewhere)).returncode == 0


def test_run_at_work_is_a_note_and_no_problem(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    open_run(house.home, COUNT + 1)
    assert run_cli(["archive", "verify", str(house.reports)]) == 0
    assert "has no record: it is at work, or was thrown away" in capsys.readouterr().out


def test_torn_line_at_the_end_of_runs_is_no_problem(house: House) -> None:
    with (house.reports / "RUNS").open("a") as ledger:
        ledger.write("000021 2026-")
    with at_home(house.home):
        commit_record(FILES, a_record(COUNT + 1, ledger_line=None))
    assert house.kinds() == set()
    with (house.reports / "RUNS").open("a") as ledger:
        ledger.write("\n")
    open_run(house.home, COUNT + 2)
    assert house.kinds() == set()
    assert house.stock().returncode == 0


def test_name_that_would_steer_the_terminal_is_shown_without_its_power(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (house.record(5) / "x\x1b[2Jy").write_text("")
    assert run_cli(["archive", "verify", str(house.reports)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_folder_without_an_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["archive", "verify", str(tmp_path)]) == 2
    assert "There is no archive in" in capsys.readouterr().err
