"""After a run the index pages tell of it; when they cannot be built, the run ends as it would have."""

from __future__ import annotations

import re

from house import CONCLUDE, FAILING, PASSING, House


def test_first_page_tells_of_the_run_that_has_just_ended_and_links_to_its_report(house: House) -> None:
    house.add_notebook("bad", FAILING, CONCLUDE)
    result = house.runbook("run", "bad")
    page = (house.home / "reports" / "index.html").read_text()
    assert "2 rows in table x." in page
    (link,) = set(re.findall(r'href="(records/[^"]+)"', page))
    assert f"reports/{link}" == f"{result.last['record']}/report.html"
    assert (house.home / "reports" / link).is_file()


def test_pages_that_cannot_be_built_fail_no_run_and_are_told_on_standard_error(house: House) -> None:
    house.add_notebook("fine", PASSING, CONCLUDE)
    (house.home / "reports").mkdir()
    (house.home / "reports" / "index").write_text("in the way")
    result = house.runbook("run", "fine")
    assert (result.code, result.last["verdict"]) == (0, "PASS"), result.stderr
    assert "NOTE: The index pages could not be built" in result.stderr
    assert "Next: runbook archive index" in result.stderr
    assert (house.home / result.last["record"] / "report.html").is_file()
