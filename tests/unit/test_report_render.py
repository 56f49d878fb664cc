"""The report says what run.json says, in the order an auditor reads, and the same bytes each time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4 as nb4
from runbook.model import StepRecord, StepState, Verdict
from runbook.report import table
from runbook.report.notebook import cell_state, cells_not_run
from runbook.report.outputs import LONGEST_TEXT, output_html, text_html
from runbook.report.render import POLICY, render_report
from sample_report import notebook, record


def text_of_page(html: str) -> str:
    """What a reader sees, without markup and styles."""
    bare = re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return re.sub(r"[ \n]+", " ", bare)


def test_same_record_and_notebook_give_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; from sample_report import *; from runbook.report.render import render_report;"
        "sys.stdout.write(render_report(record(Verdict.FAIL), notebook(Verdict.FAIL)))"
    )
    tests = str(Path(__file__).parent.parent)
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": tests, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert other == render_report(record(Verdict.FAIL), notebook(Verdict.FAIL))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_page_has_language_title_main_policy_and_no_script(verdict: Verdict) -> None:
    html = render_report(record(verdict), notebook(verdict))
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY.replace(chr(39), "&#39;")}">' in html
    assert f"<title>{verdict.value}: 04 · Can the newest backup" in html
    assert html.count("<main ") == html.count("<h1>") == html.count("</main>") == 1
    assert "<script" not in html


def test_verdict_comes_first_and_the_rest_in_the_order_an_auditor_reads() -> None:
    html = render_report(record(Verdict.FAIL), notebook(Verdict.FAIL))
    ids = ["verdict", "limitations", "measures", "checks", "checks-fail", "checks-unknown", "checks-pass", "findings",
           "not-run", "steps", "facts", "parameters", "tools", "provenance", "notebook", "step-choose-the-backup"]  # fmt: skip
    places = [html.index(f' id="{name}"') for name in ids]
    assert places == sorted(places)


def test_failed_check_shows_expected_beside_observed_reason_and_next() -> None:
    text = text_of_page(render_report(record(Verdict.FAIL), notebook()))
    assert "Expected 0 damaged indexes Observed 1 damaged indexes Reason Index public.idx_vehicles_vin" in text
    assert "Next Reindex it on production, take a new backup, and verify that one." in text


def test_measure_over_its_budget_says_over_and_one_without_budget_says_so() -> None:
    text = text_of_page(render_report(record(Verdict.FAIL), notebook()))
    assert "10 min 12 s (612\u00a0s) 5 min (300\u00a0s) ✗ OVER 204 % of it" in text
    assert "3 min 36 s (216.4\u00a0s) 30 min (1\u202f800\u00a0s) ✓ within 12 % of it" in text
    assert "1.5 GiB (1\u202f610\u202f612\u202f736\u00a0bytes) no budget no budget to compare with" in text


def test_account_of_a_copy_back_stands_beside_the_verdict_and_says_what_it_leaves_out() -> None:
    rows = [{"database": "shop", "table": f"public.<t{n}>", "taken (WAL)": 1200, "adds up": "yes"} for n in range(35)]
    html = render_report(record(facts={"account": {"rows": rows, "problems": [], "needs a decision": []}}), notebook())
    places = [html.index(f' id="{name}"') for name in ("verdict", "account", "limitations")]
    assert places == sorted(places)
    text = text_of_page(html)
    assert "database table taken (WAL) adds up shop public.&lt;t0&gt; 1\u202f200 yes" in text
    assert "5 more tables, under Facts recorded" in text
    assert 'id="account"' not in render_report(record(), notebook())


def test_run_that_satisfies_no_control_says_so_and_one_that_does_names_them() -> None:
    assert "satisfies no control (written for SOC 2 A1.2" in text_of_page(render_report(record(), notebook()))
    real = record(satisfies_controls=True)
    assert "satisfies SOC 2 A1.2, SOC 2 A1.3, ISO 27001 A.8.13" in text_of_page(render_report(real, notebook()))


def test_incomplete_run_names_what_did_not_run_in_record_and_notebook() -> None:
    nb = notebook(Verdict.INCOMPLETE)
    text = text_of_page(render_report(record(Verdict.INCOMPLETE), nb))
    assert cells_not_run(nb) == 2
    assert "FAILED Run the SQL checks : the kernel died (signal 9) in this step Next runbook doctor" in text
    assert "NOT RUN Measure RTO and RPO NOT RUN Clean up" in text
    assert "2 code cells did not run." in text
    assert "INTERRUPTED 9.8 s" in text


def test_cells_that_did_not_run_are_named_even_when_the_record_knows_nothing_of_it() -> None:
    text = text_of_page(render_report(record(Verdict.PASS), notebook(Verdict.INCOMPLETE)))
    assert "Every planned step ran to its end. Yet 2 code cells of the notebook did not run." in text


def test_pass_that_checked_nothing_does_not_say_that_every_check_passed() -> None:
    idle = StepRecord(name="Swap it in", state=StepState.NOT_APPLICABLE, reason="a dry run changes nothing")
    text = text_of_page(render_report(record(steps=(*record().steps, idle), checks=()), notebook()))
    assert "Nothing was checked, so nothing is proven about the target." in text and "every check passed" not in text
    text = text_of_page(render_report(record(steps=(*record().steps, idle)), notebook()))
    assert "Every planned step that applies ran, and every check passed." in text


def test_skipped_step_shows_its_reason() -> None:
    steps = (*record().steps, StepRecord(name="Promote", state=StepState.SKIPPED, reason="not asked for"))
    assert "SKIPPED Promote : not asked for" in text_of_page(render_report(record(steps=steps), notebook()))


@pytest.mark.parametrize(
    ("metadata", "count", "outputs", "words"),
    [
        ({"runbook": {"state": "done", "seconds": 1.0}}, 1, [], "done"),
        ({"runbook": {"state": "not run"}, "papermill": {"status": "completed"}}, None, [], "NOT RUN"),
        ({"runbook": {"state": "failed"}}, 1, [], "FAILED"),
        ({"runbook": {"state": "interrupted"}}, 1, [], "INTERRUPTED"),
        ({"papermill": {"status": "completed"}}, None, [], "NOT RUN"),
        ({}, 4, [], "done"),
        ({}, 4, [nb4.new_output("error", ename="E", evalue="", traceback=[])], "FAILED"),
    ],
)
def test_cell_state_is_the_runners_stamp_and_never_a_false_completed(metadata, count, outputs, words: str) -> None:
    cell = nb4.new_code_cell("1", metadata=metadata, execution_count=count, outputs=outputs)
    assert cell_state(cell)[0] == words


def test_everything_from_the_record_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    hostile = record(reason=evil, operator=evil, title=evil, limitations=(evil,), parameters={evil: evil}, tools={evil: evil},
                     facts={evil: [{evil: evil}]}, gates=({evil: evil},), next_command=evil)  # fmt: skip
    html = render_report(hostile, notebook())
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 12


#: Each would hide, turn or redraw the text around it.
_TRICKS = ("\r", "\0", "\x07", "\x1b[31m", "\u202e", "\u200b", "\u2066", "\ufeff", "\x85")


def test_nothing_hides_or_turns_in_a_report() -> None:
    evil = "".join(f"{trick}{number}" for number, trick in enumerate(_TRICKS))
    shown = "␍0␀1␇2␛[31m3[U+202E]4[U+200B]5[U+2066]6[U+FEFF]7[U+0085]8"
    outputs = [
        nb4.new_output(
            "display_data", {"text/html": table([{evil: evil, "b": evil.encode()}], caption=evil)._repr_html_()}
        ),
        nb4.new_output("stream", name="stdout", text=evil),
        nb4.new_output("error", ename="E", evalue=evil, traceback=[evil]),
    ]
    nb = nb4.new_notebook(
        cells=[nb4.new_markdown_cell(evil), nb4.new_code_cell(f"# {evil}", execution_count=1, outputs=outputs)]
    )
    hostile = record(reason=evil, operator=evil, title=evil, limitations=(evil,), parameters={evil: evil}, tools={evil: evil},
                     facts={evil: [{evil: evil}]}, next_command=evil)  # fmt: skip
    line = {"n": 1, "attempt": 1, "step": evil, "server": evil, "database": evil, "role": evil, "snapshot": "2026", "last_snapshot": "2026",
            "times": 1, "rows": 1, "sql": evil, "values": [evil]}  # fmt: skip
    html = render_report(hostile, nb, [line])
    assert {trick for trick in _TRICKS if trick[0] in html} == set()
    assert html.count(shown) >= 18, html.count(shown)
    assert html.count("<h1>") == 1


def test_error_is_readable_text_without_terminal_colours() -> None:
    output = nb4.new_output(
        "error", ename="BackupDamaged", evalue="base/16384 differs\nNext: take <another> backup",
        traceback=["\x1b[0;31mBackupDamaged\x1b[0m", "\x1b[1;32m      1\x1b[0m verify()"],
    )  # fmt: skip
    html = output_html(output, "Verify")
    assert "\x1b" not in html
    assert "<p>base/16384 differs<br>Next: take &lt;another&gt; backup</p>" in html
    assert "BackupDamaged\n      1 verify()" in html


def test_long_output_is_cut_and_says_so() -> None:
    html = text_html("x" * (LONGEST_TEXT + 5), "Output")
    assert "[cut after 100,000 of 100,005 characters; executed.ipynb has all of it]" in html
    assert html.count("x") < LONGEST_TEXT + 100


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"text/html": "<b>rich</b>", "text/plain": "poor"}, "<b>rich</b>"),
        ({"text/markdown": "*rich*", "text/plain": "poor"}, "<em>rich</em>"),
        ({"text/latex": "$x^2$", "text/plain": "poor"}, "<msup><mi>x</mi><mn>2</mn></msup>"),
        ({"application/javascript": "alert(1)", "text/plain": "poor"}, ">poor</pre>"),
        ({"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "Button()"}, ">Button()</pre>"),
        ({"application/javascript": "alert(1)"}, "[an output of type application/javascript is in executed.ipynb only]"),
        ({"image/png": "iVBORw0K\n", "text/plain": "<Figure>"}, 'alt="Picture in the step «Sizes»" src="data:image/png;base64,iVBORw0K"'),
        ({"image/svg+xml": "<svg", "text/plain": "x"}, "[an SVG that cannot be read is in executed.ipynb only]"),
    ],
)  # fmt: skip
def test_output_is_shown_in_its_richest_safe_form(data, shown: str) -> None:
    assert shown in output_html(nb4.new_output("display_data", data), "Sizes")


def test_notebook_with_odd_markdown_still_renders() -> None:
    cells = [
        nb4.new_markdown_cell("![lost](attachment:gone.png) $\\frac{$ \\begin{nonsense} x \\end{nonsense}"),
        nb4.new_markdown_cell("## Same\n\n## Same"),
        nb4.new_raw_cell("<script>alert(1)</script>"),
        nb4.new_code_cell("def broken(:", execution_count=1),
    ]
    html = render_report(record(), nb4.new_notebook(cells=cells))
    assert "[picture not kept: lost]" in html
    assert html.count('id="step-same"') == 1
    assert "<script" not in html


def test_templates_are_packaged_with_the_library() -> None:
    import tomllib

    root = Path(__file__).parent.parent.parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "runbook.report"
    ]
    package = root / "lib" / "runbook" / "report"
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert {path for path in (package / "templates").rglob("*") if path.is_file()} == shipped
    assert len(shipped) == 9
