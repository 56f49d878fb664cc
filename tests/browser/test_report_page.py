"""The archived report in a real browser: offline, accessible, readable at every width and on paper."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from axe_core_python.sync_playwright import Axe
from nbformat import v4 as nb4
from runbook.model import Verdict
from runbook.report.render import render_report
from sample_report import notebook, record

pytestmark = pytest.mark.browser

SHOWN = [Verdict.PASS, Verdict.FAIL, Verdict.INCOMPLETE]

#: Elements whose content is wider than they are, and cannot be reached by scrolling.
CLIPPED = """() => [...document.querySelectorAll('body *')].filter(e => {
  const style = getComputedStyle(e), box = e.getBoundingClientRect();
  if (!box.width || e.closest('.skip, svg')) return false;
  const beyond = box.right > document.documentElement.clientWidth + 1 && !e.closest('.rb-scroll, pre');
  const cut = e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0
    && ['hidden', 'clip'].includes(style.overflowX) && !e.closest('.bar');
  return beyond || cut;
}).map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 60))"""

#: On paper nothing scrolls: every element must fit its box and the page.
OFF_PAPER = """() => [...document.querySelectorAll('body, body *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (!box.width || e.closest('.bar, math')) return false;
  return box.right > document.documentElement.clientWidth + 1
    || (e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1);
}).map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 60))"""


@pytest.mark.parametrize("verdict", SHOWN)
def test_report_from_disk_makes_no_request_runs_no_script_and_breaks_no_policy(open_report, verdict) -> None:
    opened = open_report(verdict)
    assert opened.requests == []
    assert opened.console == []
    assert opened.page.evaluate("document.scripts.length") == 0
    assert opened.page.evaluate("document.querySelectorAll('link, iframe, object, embed, form, base').length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("verdict", SHOWN)
def test_axe_finds_no_violation(open_report, verdict, scheme) -> None:
    page = open_report(verdict, color_scheme=scheme, bypass_csp=True).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    violations = Axe().run(page)["violations"]
    assert [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in violations] == []


@pytest.mark.parametrize("verdict", SHOWN)
@pytest.mark.parametrize("width", [320, 1280])
def test_page_never_scrolls_sideways_and_hides_nothing(open_report, verdict, width) -> None:
    page = open_report(verdict, viewport={"width": width, "height": 700}).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CLIPPED) == []


def test_wide_table_scrolls_inside_a_region_that_keys_can_reach(open_report) -> None:
    page = open_report(Verdict.PASS, viewport={"width": 320, "height": 700}).page
    region = page.locator(".rb-scroll[aria-label='A wide table']")
    region.focus()
    page.keyboard.press("ArrowRight")
    # A condition given as text is evaluated again inside the page, which the report's own policy forbids.
    deadline = time.monotonic() + 10
    while not page.evaluate("document.activeElement.scrollLeft > 0"):
        assert time.monotonic() < deadline, "the keys do not reach it"
        page.wait_for_timeout(20)


@pytest.mark.parametrize("verdict", SHOWN)
def test_paper_holds_all_of_it_code_and_tracebacks_too(open_report, verdict) -> None:
    # A4 less the margins of the style sheet: 182 mm are 688 CSS pixels.
    page = open_report(verdict, viewport={"width": 688, "height": 980}).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(OFF_PAPER) == []
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # Content of a closed fold is laid out, yet skipped in painting: only checkVisibility tells.
    shown = page.evaluate("[...document.querySelectorAll('details pre')].map(e => e.checkVisibility())")
    assert len(shown) >= 9
    assert all(shown)
    assert page.pdf(format="A4")[:5] == b"%PDF-"


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.PASS, ["PASS", "8 checks passed", "Sandbox target: this run satisfies no control."]),
        (Verdict.FAIL, ["FAIL", "Index public.idx_vehicles_vin does not match its table", "auth.sessions could not"]),
        (Verdict.INCOMPLETE, ["INCOMPLETE", "The kernel died (signal 9)", "fsync off"]),
        (Verdict.WAITING, ["WAITING", "waits for one approval", "fsync off"]),
    ],
)
def test_first_screen_says_verdict_why_who_when_which_system_controls_and_limitations(
    open_report, verdict, words
) -> None:
    page = open_report(verdict).page
    always = ["m.okafor on ops2.dealerscope.example", "2026-11-22 02:13:38 to 02:18:03 UTC", "7561234567890123456",
              "PostgreSQL 17.5", "db1.dealerscope.example", "environment", "satisfies no control"]  # fmt: skip
    for word in words + always:
        box = page.get_by_text(word).first.bounding_box()
        assert box is not None, word
        assert box["y"] + box["height"] <= 800, word


def test_verdict_is_readable_without_colour(open_report) -> None:
    page = open_report(Verdict.FAIL).page
    assert page.locator(".verdict .word").inner_text().split() == ["✗", "FAIL"]
    for status in page.locator(".status, .rb-status").all_inner_texts():
        assert status.split()[-1] in {"PASS", "FAIL", "UNKNOWN", "within", "OVER"}


def test_charts_are_drawn_and_describe_themselves(open_report) -> None:
    page = open_report(Verdict.PASS).page
    images = page.evaluate("[...document.images].map(i => ({alt: i.alt, drawn: i.naturalWidth > 100}))")
    assert images == [
        {"alt": "Table sizes. public.auction_data holds 57 % of the restored data.", "drawn": True},
        {
            "alt": "Vehicles by day. No day of the last 14 is empty; weekends hold about 40 % of a weekday.",
            "drawn": True,
        },
    ]


def test_every_link_of_the_page_leads_somewhere(open_report) -> None:
    for verdict in SHOWN:
        page = open_report(verdict).page
        dead = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.hash.slice(1)))"
            ".map(a => a.hash)"
        )
        assert dead == []


def test_hostile_outputs_neither_run_nor_load_nor_cover_the_verdict(open_report, tmp_path: Path) -> None:
    attacks = [
        "<script>document.title='owned'</script>",
        "<img src='https://evil.example/x.png' onerror=\"document.title='owned'\">",
        "<a href=\"javascript:document.title='owned'\" id='main'>click</a>",
        "<link rel='stylesheet' href='https://evil.example/x.css'><style>@import url(https://evil.example/y.css)</style>",
        "<iframe srcdoc=\"<script>parent.document.title='owned'</script>\"></iframe>",
        "<svg onload=\"document.title='owned'\"><script>document.title='owned'</script></svg>",
        "<div style='position:fixed;inset:0;z-index:9' class='verdict top is-pass'>PASS</div>",
        "</div></main></body><meta http-equiv='refresh' content='0;url=https://evil.example'>",
        "<math><mtext></form><form><mglyph><style></math><img src onerror=\"document.title='owned'\">",
        "<details open ontoggle=\"document.title='owned'\">x</details><form action='https://evil.example'><input></form>",
    ]
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' onload=\"top.document.title='owned'\"><script>top.document.title='owned'"
        "</script><image href='https://evil.example/z.png'/><rect width='9' height='9'/></svg>"
    )
    outputs = [nb4.new_output("display_data", {"text/html": attack}) for attack in attacks]
    outputs.append(nb4.new_output("display_data", {"image/svg+xml": svg}))
    outputs.append(nb4.new_output("display_data", {"application/javascript": "document.title='owned'"}))
    outputs.append(
        nb4.new_output("display_data", {"text/markdown": attacks[1] + "\n\n![x](https://evil.example/m.png)"})
    )
    nb = notebook()
    nb.cells.append(nb4.new_markdown_cell("\n\n".join(attacks)))
    nb.cells.append(nb4.new_code_cell("1", outputs=outputs, execution_count=1))
    lie = record(Verdict.FAIL, reason="<script>document.title='owned'</script>", operator="<b onclick=x>dba</b>")
    path = tmp_path / "hostile.html"
    path.write_text(render_report(lie, nb))

    opened = open_report(path, bypass_csp=True)  # the cleaning alone must hold
    opened.page.wait_for_timeout(300)
    assert opened.requests == []
    assert opened.page.title().startswith("FAIL: ")
    assert opened.page.evaluate("document.scripts.length") == 0
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    assert opened.page.evaluate(handlers) == []
    assert opened.page.evaluate("document.querySelectorAll('.notebook [style], .notebook .verdict').length") == 0
    links = opened.page.evaluate("[...document.links].map(a => a.protocol)")
    assert set(links) == {"file:"}
    assert opened.page.locator(".verdict .word").inner_text().split() == ["✗", "FAIL"]
    assert opened.page.locator("main").count() == 1


def test_policy_stops_what_the_cleaning_would_miss(open_report, tmp_path: Path) -> None:
    html = render_report(record(), notebook())
    path = tmp_path / "planted.html"
    path.write_text(
        html.replace(
            "</main>",
            "<script>document.title='owned'</script><img src='https://evil.example/x.png' onerror=\"document.title='owned'\">"
            "<link rel='stylesheet' href='https://evil.example/x.css'></main>",
        )
    )
    opened = open_report(path)
    opened.page.wait_for_timeout(300)
    assert opened.page.title().startswith("PASS: ")
    assert len([line for line in opened.console if "Content Security Policy" in line]) >= 3
