"""The index pages after a run: built again while that is cheap, and never a reason for a run to fail."""

from __future__ import annotations

import sys

from runbook.archive.tree import Tree
from runbook.index.build import Built, build_index
from runbook.redact import scrubber

#: With more records than this a run does not wait for the pages; `runbook archive index` builds them, from a scheduler for example.
CHEAP_RECORDS = 1000


def index_archive() -> Built:
    """The index pages are up to date.

    Raises:
        OperatorError, PlatformError: as `build_index`.
    """
    return build_index()


def refresh_index() -> None:
    """The index pages are up to date, or standard error says why not; the first page itself names the newest record it knows."""
    try:
        count = len(Tree.own().folders())
        if count <= CHEAP_RECORDS:
            index_archive()
            return
        problem = f"The index pages were left as they are: building them from {count} records takes seconds."
    except Exception as cause:  # noqa: BLE001 - the record is archived: whatever the pages lack, the run has ended
        problem = f"The index pages could not be built: {cause}"
    print(scrubber.text(f"NOTE: {problem}\nNext: runbook archive index"), file=sys.stderr, flush=True)
