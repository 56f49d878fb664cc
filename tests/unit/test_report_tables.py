"""Tables escape every value, align numbers, and say a status in words."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from runbook.model import Measure
from runbook.report import checks_table, table
from sample_report import FAILED, PASSED, UNKNOWN


@dataclasses.dataclass
class Backup:
    label: str
    size_bytes: int


def test_every_value_heading_and_caption_is_escaped() -> None:
    html = table([{"<b>": "<script>alert('x')</script>"}], caption='a "quoted" <caption>').to_html()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    assert '<th scope="col">&lt;b&gt;</th>' in html
    assert "<caption>a &quot;quoted&quot; &lt;caption&gt;</caption>" in html


def test_rows_may_be_dicts_dataclasses_and_models() -> None:
    measure = Measure(name="rto", title="Recovery time", value=12.5, unit="s")
    shown = table([{"label": "a", "size_bytes": 1}, Backup("b", 2)], caption="Backups")
    assert [[cell.text for cell in row] for row in shown.rows] == [["a", "1"], ["b", "2"]]
    assert shown.columns == ("Label", "Size bytes")
    assert table([measure], ["title", "value"], caption="M").rows[0][1].text == "12.5"


def test_other_rows_are_refused() -> None:
    with pytest.raises(TypeError, match="a dict, a dataclass or a model, not int"):
        table([3], caption="x")


def test_misspelt_column_is_refused_instead_of_standing_empty() -> None:
    with pytest.raises(KeyError, match="no row has the column 'lable'; they have: label, size_bytes"):
        table([Backup("b", 2)], ["lable"], caption="x")


def test_numbers_stand_right_aligned_and_gaps_do_not_change_that() -> None:
    html = table([{"name": "a", "rows": 1234567}, {"name": "b", "rows": None}], caption="Rows").to_html()
    assert '<th scope="col" class="rb-num">Rows</th>' in html
    assert '<td class="rb-num">1\u202f234\u202f567</td>' in html
    assert '<td class="rb-num">–</td>' in html
    assert '<th scope="col">Name</th>' in html


def test_wide_table_scrolls_in_a_region_that_keys_can_focus() -> None:
    assert '<div class="rb-scroll" role="group" tabindex="0" aria-label="Rows">' in table([], caption="Rows").to_html()


def test_table_without_rows_says_so() -> None:
    shown = table([], ["name"], caption="Gaps")
    assert '<td colspan="1">No rows.</td>' in shown.to_html()
    assert str(shown).splitlines() == ["Gaps", "Name", "----", "No rows."]


def test_terminal_gets_aligned_text() -> None:
    shown = table([Backup("short", 5), Backup("a longer one", 1000)], caption="Backups")
    assert str(shown).splitlines() == [
        "Backups",
        "Label         Size bytes",
        "------------  ----------",
        "short                  5",
        "a longer one       1\u202f000",
    ]
    assert shown._repr_mimebundle_()["text/plain"] == str(shown)


def test_times_are_shown_in_utc_and_secret_looking_bytes_never_as_repr() -> None:
    shown = table([{"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "raw": b"ab\xff"}], caption="x")
    assert [cell.text for cell in shown.rows[0]] == ["2026-01-02 03:04:05 UTC", "ab\\xff"]


def test_checks_show_status_word_and_sign_expected_beside_observed_reason_and_next() -> None:
    shown = checks_table([*PASSED[:1], *FAILED, *UNKNOWN])
    assert shown.columns == ("Status", "Check", "Expected", "Observed", "Object", "Reason and next")
    html = shown.to_html()
    assert '<span class="rb-status rb-fail"><span aria-hidden="true">✗</span> FAIL</span>' in html
    assert "<td>0 damaged indexes</td><td>1 damaged indexes</td><td>public.idx_vehicles_vin</td>" in html
    assert "offsets 3 and 9).<br>Next: Reindex it on production" in html
    assert "UNKNOWN" in str(shown)


def test_passed_checks_alone_need_no_reason_column() -> None:
    assert "Reason and next" not in checks_table(PASSED).columns
    assert len(checks_table(PASSED[0]).rows) == 1


def test_importing_table_loads_neither_matplotlib_nor_pandas_nor_nbconvert() -> None:
    code = (
        "import sys; from runbook.report import table; print(table([{'a': 1}], caption='t')); "
        "print(sorted({'matplotlib', 'pandas', 'nbconvert', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
