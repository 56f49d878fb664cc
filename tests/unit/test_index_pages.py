"""The index pages say what the records say, never more, and the same bytes for the same records."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from archivehouse import House, a_record, fill, open_run, overwrite
from homes import at_home
from indexhouse import AS_OF, HOSTILE, fill_many, hostile_records, measures, monthly_control, plain_record, put_record
from runbook.archive.records import commit_record
from runbook.archive.tree import Tree
from runbook.archive.verify import verify_archive
from runbook.cli.main import run_cli
from runbook.errors import OperatorError
from runbook.index.build import build_index, files_of
from runbook.index.population import Control, Due
from runbook.index.rows import UNREADABLE, read_rows
from runbook.index.standing import standings
from runbook.model import TargetFacts, Verdict


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "home"
    (made / "reports").mkdir(parents=True)
    monkeypatch.setenv("RUNBOOK_HOME", str(made))
    return made


def built(home: Path) -> dict[str, bytes]:
    """Every file that the index wrote."""
    root = home / "reports"
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "index").iterdir()}
    return {"index.html": (root / "index.html").read_bytes(), **found}


def words(page: bytes) -> str:
    """What a reader sees."""
    bare = re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page.decode(), flags=re.DOTALL))
    return re.sub(r"\s+", " ", unescape(bare))


def section(page: bytes, name: str) -> str:
    """The words of the section with that heading."""
    found = re.search(rf'<section aria-labelledby="{name}">.*?</section>', page.decode(), re.DOTALL)
    assert found is not None, name
    return words(found[0].encode())


def rows_of(home: Path) -> list:
    return read_rows(Tree(home / "reports"))


def test_first_page_says_first_what_is_overdue_what_failed_what_is_green_and_since_when(home: Path) -> None:
    fill_many(home, 120)
    build_index([monthly_control(home)], AS_OF)
    page = (home / "reports" / "index.html").read_bytes()
    top = words(page[: page.index(b"</header>")])
    assert "2 overdue The oldest was due on 2026-03-05." in top
    assert re.search(r"\d not passed The oldest stands since \d{4}-\d\d-\d\d\.", top)
    assert re.search(r"\d green The longest since \d{4}-\d\d-\d\d\.", top)
    assert "120 records, up to 000120" in top
    assert "✗ missed Monthly backup verification billing 2026-03-01 to 2026-03-31" in section(page, "overdue")
    places = [page.index(f' id="{name}"'.encode()) for name in ("overdue", "failed", "green", "newest")]
    assert places == sorted(places)


def test_without_a_list_of_what_is_due_the_pages_say_that_it_is_not_known(home: Path) -> None:
    fill_many(home, 12)
    build_index()
    page = (home / "reports" / "index.html").read_bytes()
    assert "? overdue Not known: nobody counted what is due." in words(page)
    assert "is-pass" not in page.decode().partition('<div class="top-in">')[0].rpartition("<header")[2]
    control = (home / "reports" / "index" / "control-backup-verification.html").read_bytes()
    assert "What was due for this control is not known: its completeness is not shown." in words(control)


def test_practice_alone_makes_no_archive_green(home: Path) -> None:
    def tone() -> str:
        build_index([], AS_OF)
        top = (home / "reports" / "index.html").read_text().partition('<div class="top-in">')[0]
        return re.findall(r"is-(\w+)", top)[-1]

    practice = TargetFacts(name="sandbox", environment="sandbox", platform="cluster")
    put_record(home, 1, plain_record(1, 2, target=practice, satisfies_controls=False, verdict=Verdict.PASS))
    assert tone() == "unknown"
    put_record(home, 2, plain_record(2, 2, verdict=Verdict.PASS))
    assert tone() == "pass"


def test_control_page_shows_population_completeness_exceptions_trend_and_records(home: Path) -> None:
    fill_many(home, 120)
    build_index([monthly_control(home)], AS_OF)
    page = (home / "reports" / "index" / "control-backup-verification.html").read_bytes()
    said = section(page, "population")
    assert "20 of 23 periods that are over were done, 1 missed, 1 unproven, 1 excepted, 1 not yet over." in said
    assert "holds ann@example.org crm 2026-06-30 the host is replaced in May" in said
    assert "expired bob@example.org shop 2025-05-31" in said
    assert "SOC 2 A1.2, A1.3" in words(page)
    for svg in re.findall(r"<svg .*?</svg>", page.decode(), re.DOTALL):
        label = re.search(r'aria-label="([^"]+)"', svg)
        assert 'role="img"' in svg and label is not None
        finding = unescape(label[1]).partition(". ")[2]
        assert finding in section(page, "trend")  # also beside the picture
    assert re.search(r"RTO of billing RTO: last .*, median .*, worst .* on 20\d\d-\d\d-\d\d, in \d+ records\. "
                     r"The budget is 20 min: \d+ of \d+ over their budget\.", section(page, "trend"))  # fmt: skip
    links = re.findall(r'href="\.\./(records/[^"]+)"', page.decode())
    assert links and all((home / "reports" / link).is_file() for link in links)


def test_a_period_called_done_without_a_record_that_satisfies_it_is_unproven_and_overdue(home: Path) -> None:
    fill_many(home, 5)
    name = rows_of(home)[0].name
    due = (date(2026, 1, 1), date(2026, 1, 31), datetime(2026, 2, 5, tzinfo=UTC), "done")
    one = Control(
        "other", "Another control", (Due("crm", *due, name), Due("crm", *due, "000099-gone"), Due("crm", *due))
    )
    build_index([one], AS_OF)
    said = section((home / "reports" / "index" / "control-other.html").read_bytes(), "population")
    assert "0 of 3 periods that are over were done, 3 unproven." in said
    assert "the record does not satisfy this control" in said and said.count("no such record is in the archive") == 2
    assert "3 overdue" in words((home / "reports" / "index.html").read_bytes())


def test_an_unknown_state_of_what_is_due_is_refused() -> None:
    with pytest.raises(ValueError, match="'finished' is no state"):
        Due("crm", date(2026, 1, 1), date(2026, 1, 31), datetime(2026, 2, 5, tzinfo=UTC), "finished")


def test_same_records_give_the_same_bytes_in_any_home_process_and_time(home: Path, tmp_path: Path) -> None:
    fill_many(home, 60)
    control = monthly_control(home)
    build_index([control], AS_OF)
    first = built(home)
    build_index([control], AS_OF)
    assert built(home) == first
    other = tmp_path / "copy"
    shutil.copytree(home, other)
    code = (
        "import sys; from pathlib import Path; from indexhouse import *; from runbook.index.build import build_index;"
        "build_index([monthly_control(Path(sys.argv[1]))], AS_OF)"
    )
    environment = {**os.environ, "RUNBOOK_HOME": str(other), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C",
                   "PYTHONPATH": str(Path(__file__).parents[1])}  # fmt: skip
    shutil.rmtree(other / "reports" / "index")
    subprocess.run([sys.executable, "-c", code, str(other)], env=environment, check=True, cwd="/")
    assert built(other) == first


def test_pages_of_an_earlier_archive_go_and_reports_keep_their_bytes(home: Path) -> None:
    folder = put_record(home, 1, plain_record(1, 2), report=b"an old look")
    put_record(home, 2, plain_record(5, 6))
    build_index()
    assert (home / "reports" / "index" / "runbook-point-in-time-recovery.html").is_file()
    shutil.rmtree(home / "reports" / "records" / rows_of(home)[1].name)
    build_index()
    assert not (home / "reports" / "index" / "runbook-point-in-time-recovery.html").exists()
    assert (folder / "report.html").read_bytes() == b"an old look"


def test_csv_and_json_hold_the_rows_of_the_page(home: Path) -> None:
    fill_many(home, 40)
    build_index([monthly_control(home)], AS_OF)
    folder = home / "reports" / "index"
    on_crm = [row for row in rows_of(home) if row.target == "crm"]
    for name, count in {"records": 40, "target-crm": len(on_crm), "control-annual-disaster-recovery-test": 8}.items():
        listed = json.loads((folder / f"{name}.json").read_bytes())
        with (folder / f"{name}.csv").open(newline="") as file:
            sheet = list(csv.DictReader(file))
        assert len(listed) == len(sheet) == count
        assert [one["record"] for one in listed] == [one["record"] for one in sheet]
    listed = json.loads((folder / "records.json").read_bytes())
    assert [one["verdict"] for one in listed] == [row.verdict for row in rows_of(home)]
    due = json.loads((folder / "control-backup-verification.due.json").read_bytes())
    assert [one["state"] for one in due].count("missed") == 1


def test_a_dry_pass_does_not_hide_a_failure_and_proves_nothing_by_itself(home: Path) -> None:
    billing = TargetFacts(name="billing", environment="production", platform="cluster")
    put_record(home, 1, a_record(1, verdict=Verdict.FAIL, satisfies_controls=False, reason="damaged", target=billing))
    put_record(home, 2, a_record(2, satisfies_controls=False, target=billing))
    put_record(home, 3, a_record(3, satisfies_controls=False, target=TargetFacts(name="crm", environment="production", platform="cluster")))  # fmt: skip
    build_index()
    page = (home / "reports" / "index.html").read_bytes()
    assert "✗ FAIL backup-verification billing production no PASS since 2026-02-04, 1 run" in section(page, "failed")
    assert "1 later PASS in part (dry run or reduced scope): not counted" in section(page, "failed")
    assert "! PASS, in part backup-verification crm" in section(page, "failed")
    assert section(page, "green").strip() == "Green Nothing."


def test_a_run_counts_by_its_last_attempt_and_a_streak_by_its_first_run(home: Path) -> None:
    put_record(home, 1, a_record(1, verdict=Verdict.FAIL, satisfies_controls=False))
    put_record(home, 2, a_record(2))
    put_record(home, 3, a_record(3, verdict=Verdict.WAITING, satisfies_controls=False))
    again = a_record(3).started_at + timedelta(hours=1)
    put_record(home, 4, a_record(3, attempt=2, started_at=again, ended_at=again))
    (one,) = standings(rows_of(home))
    assert (one.is_green, one.since.number, one.in_a_row, one.last_pass.number, one.total) == (True, 2, 2, 4, 4)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: overwrite(f / "run.json", (f / "run.json").read_text().replace('"FAIL"', '"PASS"')), "it was altered"),
        (lambda f: overwrite(f / "run.json", "{"), "it was altered"),
        (lambda f: (f / "run.json").unlink(), "It cannot be read"),
        (lambda f: (f / "SHA256SUMS").unlink(), "It cannot be read"),
        (lambda f: f.rename(f.with_name(f.name.replace("billing", "crm"))), "is that of another record"),
    ],
    ids=["verdict edited", "torn", "gone", "no sums", "renamed"],
)  # fmt: skip
def test_a_record_that_cannot_be_believed_is_no_pass_and_stands_at_the_top(
    home: Path, damage, said: str, capsys
) -> None:
    put_record(home, 1, a_record(1))
    damage(put_record(home, 2, a_record(2, verdict=Verdict.FAIL, satisfies_controls=False)))
    assert run_cli(["archive", "index"]) == 1
    assert "1 records cannot be believed" in capsys.readouterr().out
    page = (home / "reports" / "index.html").read_bytes()
    assert "1 not passed Records that cannot be believed." in words(page)
    assert said in section(page, "failed")
    assert [row.verdict for row in rows_of(home)] == ["PASS", UNREADABLE]


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"verdict": "PASS"}', "[" * 100_000, '{"verdict": ["PASS"]}', '{"verdict":"GREEN"}']
)
def test_a_run_json_of_any_other_shape_is_unreadable_and_stops_nothing(home: Path, content: str) -> None:
    from runbook.archive.sums import sha256, write_sums

    folder = put_record(home, 1, a_record(1))
    (folder / "run.json").write_text(content)
    (folder / "SHA256SUMS").write_bytes(write_sums({"run.json": sha256(content.encode())}, None))
    assert build_index().unreadable == 1


def test_hostile_texts_come_out_as_text_on_every_page_and_in_every_file(home: Path) -> None:
    fill_many(home, 3)
    hostile_records(home, 4)
    evil = HOSTILE[0]
    from runbook.index.population import Excepted

    control = Control(evil, evil, (Due(HOSTILE[2], date(2026, 1, 1), date(2026, 1, 31), AS_OF, "missed", HOSTILE[1], HOSTILE[3]),),
                      (Excepted(evil, HOSTILE[3], date(2027, 1, 1), evil),), {evil: evil})  # fmt: skip
    build_index([control], AS_OF)
    for name, content in built(home).items():
        text = content.decode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text), name
        assert len(content) < 100_000, name
        if name.endswith(".html"):
            assert "<script" not in text and "<img" not in text and text.count("<style") == 1, name
            assert text.count("</main>") == 1, name
    front = words(built(home)["index.html"])
    assert "safe[U+202E]gnitset[U+2066] mirror" in front
    assert "␛[31mred␛[0m␍PASS␀␇" in front
    assert "{{ 7 * 7 }}" in front
    sheet = built(home)["index/records.csv"].decode()
    assert ",'=HYPERLINK" in sheet.replace('"', "") and ",=HYPERLINK" not in sheet.replace('"', "")


def test_pages_are_split_by_month_and_by_size_and_lose_no_record(home: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(1, 901):
        put_record(home, number, plain_record(number, 900, started_at=start + timedelta(minutes=number), ended_at=start + timedelta(minutes=number)))  # fmt: skip
    build_index()
    files = built(home)
    parts = sorted(name for name in files if name.startswith("index/month-2026-01.part"))
    assert len(parts) == 3
    seen = [number for name in parts for number in re.findall(r"records/(\d{6})-", files[name].decode())]
    assert sorted(seen) == [f"{number:06d}" for number in range(1, 901)]
    assert all(f'href="{Path(name).name}"' in files["index/month-2026-01.html"].decode() for name in parts)
    for kind in ("runbook-backup-verification", "control-backup-verification"):
        seen = [n for name in files if name.startswith(f"index/{kind}.2026") for n in re.findall(r"records/(\d{6})-", files[name].decode())]  # fmt: skip
        assert len(seen) == len(set(seen)) == 720


def test_every_link_of_every_page_leads_to_a_file(home: Path) -> None:
    fill(home, 1, 3)  # a whole archive, with VERIFY.md
    build_index([monthly_control_of_three()], AS_OF)
    root = home / "reports"
    for name, content in built(home).items():
        if name.endswith(".html"):
            for link in re.findall(r'href="([^"#]+)"', content.decode()):
                assert ((root / name).parent / link).resolve().is_file(), f"{name}: {link}"


def monthly_control_of_three() -> Control:
    row = Due("billing", date(2026, 1, 1), date(2026, 1, 31), datetime(2026, 2, 5, tzinfo=UTC), "missed")
    return Control("backup-verification", "Monthly backup verification", (row,))


def test_archive_verifies_with_its_index_and_an_export_keeps_its_own(home: Path, tmp_path: Path) -> None:
    fill(home, 1, 3)
    build_index()
    assert verify_archive().problems == []
    assert House(home).stock().returncode == 0
    assert run_cli(["archive", "export", str(tmp_path / "x"), "--control", "backup-verification", "--from", "2026-01-01", "--to", "2027-01-01"]) == 0  # fmt: skip
    assert not (tmp_path / "x" / "index").exists()
    (home / "reports" / "EXPORT").write_text("x")
    with pytest.raises(OperatorError, match="export"):
        build_index()


def test_pruned_record_keeps_its_row_and_says_that_no_report_is_kept(home: Path) -> None:
    folder = put_record(home, 1, a_record(1))
    (folder / "report.html").unlink()
    build_index()
    page = built(home)["index.html"].decode()
    assert "no report is kept" in page and "report.html" not in page


def test_a_link_in_place_of_a_page_is_replaced_and_not_followed(home: Path, tmp_path: Path) -> None:
    put_record(home, 1, a_record(1))
    build_index()
    page = home / "reports" / "index.html"
    kept = tmp_path / "elsewhere"
    kept.write_bytes(page.read_bytes())
    page.unlink()
    page.symlink_to(kept)
    build_index()
    assert not page.is_symlink() and page.is_file()


def test_pages_that_cannot_be_written_are_an_error_that_says_what_next(home: Path, capsys) -> None:
    put_record(home, 1, a_record(1))
    (home / "reports" / "index").write_text("in the way")
    assert run_cli(["archive", "index"]) != 0
    assert "runbook archive index" in capsys.readouterr().err


def test_empty_archive_has_a_first_page_that_is_not_green(home: Path) -> None:
    build_index()
    text = words(built(home)["index.html"])
    assert "0 green Nothing has passed yet." in text and "No run was archived yet." in text


def test_figures_over_budget_say_so_in_words(home: Path) -> None:
    put_record(home, 1, a_record(1, measures=measures(1500, 3)))
    build_index()
    assert "25 min over budget 3 s yes" in words(built(home)["index.html"]).replace("\u00a0", " ")


def test_files_are_named_without_the_home(home: Path) -> None:
    put_record(home, 1, a_record(1))
    for name, content in files_of(rows_of(home), (), None):
        assert str(home).encode() not in content and not name.startswith("/")


def test_a_commit_between_reads_is_seen_by_the_next_build(home: Path) -> None:
    with at_home(home):
        open_run(home, 1)
        commit_record({"report.html": b"x"}, a_record(1))
        assert build_index().records == 1
        open_run(home, 2)
        commit_record({"report.html": b"x"}, a_record(2))
        assert build_index().records == 2
