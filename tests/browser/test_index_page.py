"""The index pages in a real browser: offline, accessible, readable at every width and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_core_python.sync_playwright import Axe
from homes import at_home
from indexhouse import AS_OF, fill_many, hostile_records, monthly_control
from runbook.index.build import build_index
from test_report_page import CLIPPED, OFF_PAPER

pytestmark = pytest.mark.browser

#: A page of every kind.
PAGES = (
    "index.html",
    "index/control-backup-verification.html",
    "index/control-annual-disaster-recovery-test.html",
    "index/runbook-backup-verification.html",
    "index/target-billing.html",
    "index/target-hostile.html",
    "index/month-2024-01.html",
    "index/runbook-backup-verification.2025-03.html",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of an archive with months, targets, failures, exceptions and hostile texts."""
    home = tmp_path_factory.mktemp("indexed")
    with at_home(home):
        fill_many(home, 620)
        hostile_records(home, 621)
        (home / "reports" / "VERIFY.md").write_text("how to check")
        build_index([monthly_control(home)], AS_OF)
    return home / "reports"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of an archive without a record."""
    home = tmp_path_factory.mktemp("empty")
    with at_home(home):
        build_index()
    return home / "reports"


@pytest.mark.parametrize("name", PAGES)
def test_page_makes_no_request_runs_no_script_and_breaks_no_policy(open_report, archive, name) -> None:
    opened = open_report(archive / name)
    assert opened.requests == []
    assert opened.console == []
    assert opened.page.evaluate("document.scripts.length") == 0
    assert opened.page.evaluate("document.querySelectorAll('link, iframe, object, embed, form, base, img').length") == 0
    assert "owned" not in opened.page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_violation(open_report, archive, name, scheme) -> None:
    page = open_report(archive / name, color_scheme=scheme, bypass_csp=True).page
    violations = Axe().run(page)["violations"]
    assert [(v["id"], [node["html"][:160] for node in v["nodes"][:3]]) for v in violations] == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 1280])
def test_page_never_scrolls_sideways_and_hides_nothing(open_report, archive, name, width) -> None:
    page = open_report(archive / name, viewport={"width": width, "height": 700}).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CLIPPED) == []


@pytest.mark.parametrize("name", PAGES)
def test_paper_holds_all_of_it(open_report, archive, name) -> None:
    page = open_report(archive / name, viewport={"width": 688, "height": 980}).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(OFF_PAPER) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_first_screen_says_what_is_overdue_failed_and_green_and_since_when(open_report, archive) -> None:
    page = open_report(archive / "index.html").page
    tiles = page.locator(".tiles li")
    assert [tile.split()[1] for tile in tiles.all_inner_texts()] == ["overdue", "not", "green"]
    for tile in tiles.all():
        box = tile.bounding_box()
        assert box is not None and box["y"] + box["height"] <= 400


def test_trend_is_drawn_and_its_picture_says_what_it_finds(open_report, archive) -> None:
    page = open_report(archive / "index" / "control-backup-verification.html").page
    pictures = page.get_by_role("img")
    assert pictures.count() >= 4
    for picture in pictures.all():
        box, label = picture.bounding_box(), picture.get_attribute("aria-label")
        assert box is not None and box["height"] > 40
        title, _, finding = str(label).partition(". ")
        assert len(finding) > 40
        assert page.get_by_text(finding).count() == 1, title


def test_a_reader_comes_from_the_first_page_to_a_report_and_back(open_report, archive) -> None:
    page = open_report(archive / "index.html").page
    page.get_by_role("link", name="Monthly backup verification").last.click()
    assert page.locator("h1").inner_text() == "Monthly backup verification"
    page.locator("#records ~ div a").first.click()
    assert page.url.endswith("/report.html")
    page.go_back()
    page.get_by_role("link", name="Evidence").click()
    assert page.url.endswith("/index.html")


def test_page_of_an_empty_archive_is_whole(open_report, empty) -> None:
    opened = open_report(empty / "index.html", bypass_csp=True)
    assert opened.requests == [] and opened.console == []
    assert Axe().run(opened.page)["violations"] == []
