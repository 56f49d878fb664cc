"""The index pages after a run: built again while that is cheap, and never a reason for a run to fail."""

from __future__ import annotations

import sys

from runbook import clock, layout
from runbook.archive.tree import Tree
from runbook.controls.counting import Counted, count_controls
from runbook.controls.population import Row, State
from runbook.index.build import Built, build_index
from runbook.index.population import Control, Due, Excepted
from runbook.params.controls import load_controls
from runbook.redact import scrubber
from runbook.texts import visible

#: With more records than this a run does not wait for the pages: what counts for a control is verified, signature by signature.
#: `runbook archive index` builds them, from a scheduler for example.
CHEAP_RECORDS = 200


def index_archive() -> Built:
    """The index pages are up to date, with what was due where the home has controls.

    Raises:
        OperatorError, PlatformError: as `build_index`.
        ParamsError: a params file is wrong.
    """
    if not (layout.params() / "controls.yaml").exists():
        return build_index()
    now = clock.now()
    counted = count_controls(now)
    return build_index([_shown(one.id, one.title, one.references, counted) for one in load_controls().controls], now)


def _shown(control: str, title: str, references: dict[str, str], counted: Counted) -> Control:
    return Control(
        control,
        title,
        tuple(_due(row) for row in counted.rows if row.control == control),
        tuple(
            Excepted(one.owner, one.reason, one.expires, one.target or "")
            for one in counted.exceptions
            if one.control == control
        ),
        references,
    )


def _due(row: Row) -> Due:
    made_up = row.state is State.MISSED and not row.is_overdue
    remark = " ".join(["late." if row.is_late else "", row.said, "done since." if made_up else ""]).strip()
    return Due(row.target, row.begin.date(), row.end.date(), row.due_at, str(row.state), row.record, remark, made_up)


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
    print(visible(scrubber.text(f"NOTE: {problem}\nNext: runbook archive index")), file=sys.stderr, flush=True)
