"""A check file is one statement that runs in psql as it stands, so nothing can be included. What several say alike stays alike."""

from __future__ import annotations

import re

import pytest
from runbook import layout

DROPPING = ("duplicate_indexes", "redundant_indexes", "unused_indexes")
#: What it is to be told apart by: where it begins, and where it ends.
PARTS = {
    "how a dropped index is made again": (r"undone AS \(\n", r"\n\)\nSELECT "),
    "how an index is dropped": (r"       CASE f\.relkind WHEN 'i' THEN format\('DROP INDEX", r" AS change,"),
    "what is attached to an index": (r"  UNION ALL\n  SELECT tree\.root, h\.inhrelid", r"\n\), "),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_several_checks_say_alike_is_mended_in_all_of_them(part: str) -> None:
    begin, end = PARTS[part]
    found = {}
    for name in DROPPING:
        text = (layout.sql() / "health" / f"{name}.sql").read_text()
        match = re.search(f"{begin}.*?{end}", text, re.DOTALL)
        assert match, f"{name}.sql has no {part}"
        found[name] = match[0]
    assert len(set(found.values())) == 1, f"{part} differs between {', '.join(found)}"
