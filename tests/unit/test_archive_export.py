"""An export holds what was asked for, and verifies alone: with us, and with stock tools where nothing of us is."""

from __future__ import annotations

import csv
import re
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from archivehouse import FILES, START, House, a_record, edit, fill, make_key, open_run
from runbook import clock
from runbook.archive.records import commit_record
from runbook.archive.retention import choose, plan_pruning, prune
from runbook.archive.verify import verify_archive
from runbook.cli.main import run_cli
from runbook.params.controls import RetentionRule


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RUNBOOK_HOME", str(home))
    fill(home, 1, 4)
    open_run(home, 5)
    commit_record(FILES, a_record(5, controls=("access-audit",), reason="=HYPERLINK(<script>)"))
    fill(home, 6, 8)
    return House(home)


def day(number: int) -> str:
    return f"{START + timedelta(days=30 * number):%Y-%m-%d}"


def ask(to: Path, first: int = 2, until: int = 5, control: str = "backup-verification") -> list[str]:
    return ["archive", "export", str(to), "--control", control, "--from", day(first), "--to", day(until)]


class Exported(House):
    def __init__(self, place: Path) -> None:
        super().__init__(place.parent)
        self.reports = place


def test_export_holds_the_chosen_payloads_and_every_manifest_and_verifies_alone(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "for-auditor" / "q1"
    assert run_cli(ask(place)) == 0
    said = capsys.readouterr().out
    assert "3 records chosen" in said
    assert "OK: 8 records" in said
    exported = Exported(place)
    assert [folder.name for folder in exported.folders] == [folder.name for folder in house.folders]
    whole = [number for number in range(1, 9) if (exported.record(number) / "report.html").is_file()]
    assert whole == [2, 3, 4]
    assert not (exported.record(5) / "run.json").exists(), "what was not asked for is not handed on"
    assert exported.kinds() == set()
    done = exported.stock()
    assert (done.returncode, done.stderr, done.stdout.count("BAD")) == (0, "", 0)


def test_export_does_not_hold_a_private_key(house: House, tmp_path: Path) -> None:
    place = tmp_path / "q1"
    assert run_cli(ask(place)) == 0
    assert [path for path in place.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()] == []


def test_zip_holds_the_same(house: House, tmp_path: Path) -> None:
    assert run_cli(ask(tmp_path / "q1.zip")) == 0
    with zipfile.ZipFile(tmp_path / "q1.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    exported = Exported(tmp_path / "unpacked" / "q1")
    assert exported.kinds() == set()
    assert exported.stock().returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("attack", "kind"),
    [
        (lambda h: (h.record(3) / "report.html").unlink(), "missing"),
        (lambda h: edit(h.record(3) / "report.html", lambda text: text + " "), "altered"),
        (lambda h: edit(h.reports / "EXPORT", lambda text: "".join(text.splitlines(True)[:-1])), "export"),
        (lambda h: (h.reports / "EXPORT.sig").unlink(), "export"),
        (lambda h: (h.reports / "EXPORT").unlink(), "missing"),
        (lambda h: (h.record(6) / "archived.txt").unlink(), "missing"),
        (lambda h: (h.record(6) / "extra.txt").write_text("x"), "added"),
    ],
)
def test_tampering_with_an_export_is_told(house: House, tmp_path: Path, attack, kind: str) -> None:
    place = tmp_path / "q1"
    assert run_cli(ask(place)) == 0
    exported = Exported(place)
    attack(exported)
    assert kind in exported.kinds()
    assert exported.stock().returncode == 1


def test_list_of_an_export_put_into_an_archive_excuses_no_missing_file(house: House, tmp_path: Path) -> None:
    (house.reports / "EXPORT").write_text("# export 20260101000000 runner@x\n# chosen 0 of 8 records\n")
    (house.record(3) / "report.html").unlink()
    assert "export" in house.kinds()
    assert house.stock().returncode == 1


def test_index_of_the_chosen_is_static_and_hostile_text_stays_text(house: House, tmp_path: Path) -> None:
    place = tmp_path / "audit"
    assert run_cli(ask(place, 5, 6, "access-audit")) == 0
    page = (place / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert f'href="records/{house.record(5).name}/report.html"' in page
    rows = list(csv.reader((place / "chosen.csv").read_text().splitlines()))
    assert rows[1][-1] == "'=HYPERLINK(<script>)"


def test_pruned_record_is_exported_with_its_tombstone(house: House, tmp_path: Path) -> None:
    rule = RetentionRule(id="r", title="t", keep=86400.0, asked_by="x", source="y")
    moment = clock.now() + timedelta(days=400)
    prune(choose(plan_pruning(moment, [rule]), [3]), "olaf", moment)
    place = tmp_path / "q1"
    assert run_cli(ask(place)) == 0
    exported = Exported(place)
    assert exported.kinds() == set()
    assert exported.stock().returncode == 0
    assert "payload deleted, see TOMBSTONE" in (place / "index.html").read_text()


def test_reviews_and_witnesses_of_the_chosen_go_with_it(house: House, tmp_path: Path) -> None:
    key = make_key(tmp_path / "ann")
    assert run_cli(["keys", "add", "ann@example.org", f"{key}.pub", "--witness"]) == 0
    for number in (3, 6):
        assert run_cli(["archive", "review", str(number), "--key", str(key), "--accept"]) == 0
    assert run_cli(["archive", "witness", "--key", str(key)]) == 0
    place = tmp_path / "q1"
    assert run_cli(ask(place)) == 0
    assert sorted(path.name for path in (place / "reviews").iterdir()) == ["000003-1.json", "000003-1.json.sig"]
    found = verify_archive(place, witnesses=[house.reports / "witnesses" / "000008.txt"])
    assert (found.problems, found.witnessed) == ([], 8)


def test_nothing_chosen_or_something_there_already_is_refused(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(ask(tmp_path / "q1", control="soc-2")) == 2
    assert "Controls in the archive: access-audit, backup-verification." in capsys.readouterr().err
    assert run_cli(ask(tmp_path / "q1", 5, 2)) == 2
    assert run_cli(ask(tmp_path / "home")) == 2
    assert "an export never overwrites" in capsys.readouterr().err


def test_export_of_an_archive_that_does_not_verify_says_so(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(house.record(3) / "report.html", lambda text: text + " ")
    assert run_cli(ask(tmp_path / "q1")) == 1
    assert "[altered]" in capsys.readouterr().out
