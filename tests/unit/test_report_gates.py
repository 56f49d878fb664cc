"""The report tells who decided what on which plan, and is loud about break-glass."""

from __future__ import annotations

from typing import Any

import pytest
from runbook.model import Verdict
from runbook.report.render import render_report
from sample_report import notebook, record
from test_report_render import text_of_page

GATE: dict[str, Any] = {
    "id": "approve-the-swap",
    "title": "Approve the swap",
    "state": "passed",
    "plan_sha256": "ab" * 32,
    "plan": {
        "title": "Swap <it> in",
        "target": "billing",
        "actions": [{"what": "Stop the server", "undo": None}, {"what": "Move the data", "undo": "Move it back"}],
        "blast_radius": ["all sessions end"],
        "reversible": False,
        "undo": "The disk is full.",
        "facts": {"lsn": "0/3000028"},
    },
    "needed": 1,
    "opened_at": "2026-11-22T02:14:00.000000Z",
    "decided_at": "2026-11-22T02:20:00.000000Z",
    "approvals": [
        {
            "principal": "ann@x.example",
            "key": "SHA256:abc",
            "at": "2026-11-22T02:19:00.000000Z",
            "expires": "2026-11-22T06:19:00.000000Z",
            "comment": "checked",
            "file": "ann-1.approval.json",
        }
    ],
    "void": [{"file": "bob-1.approval.json", "why": "it expired"}],
}
GLASS = {"principal": "olga@x.example", "key": None, "at": "2026-11-22T02:19:00.000000Z", "comment": "nobody answers"}


def page(**changes: Any) -> str:
    return text_of_page(render_report(record(gates=({**GATE, **changes},)), notebook()))


def test_gate_shows_plan_hash_people_times_keys_and_what_was_void() -> None:
    text = page()
    for part in (
        "Approve the swap PASSED",
        "ab" * 32,
        "Stop the server",
        "Undo: Move it back",
        "all sessions end",
        "NOT reversible: The disk is full.",
        "approval ann@x.example 2026-11-22 02:19:00 UTC 2026-11-22 06:19:00 UTC SHA256:abc checked ann-1.approval.json",
        "bob-1.approval.json it expired",
        "Decided by the signature of 2026-11-22 02:19:00 UTC Found by the run 2026-11-22 02:20:00 UTC",
        "ssh-keygen -Y verify",
    ):
        assert part in text, (part, text[text.index("Gates") :][:2000])


def test_break_glass_is_loud_until_and_after_it_was_countersigned() -> None:
    alone = page(approvals=[], break_glass=GLASS, countersigned=[], wants_countersigning=True)
    assert "PASSED BY BREAK-GLASS Break-glass olga@x.example passed this gate alone: nobody answers" in alone
    assert "BREAK-GLASS olga@x.example 2026-11-22 02:19:00 UTC – unsigned nobody answers" in alone
    signed = page(
        approvals=[], break_glass=GLASS, countersigned=[{**GLASS, "principal": "ann@x.example"}],
        wants_countersigning=False,
    )  # fmt: skip
    assert "PASSED BY BREAK-GLASS, countersigned" in signed and "countersignature ann@x.example" in signed


@pytest.mark.parametrize(
    ("state", "says"), [("waiting", "WAITING for a decision"), ("rejected", "REJECTED"), ("previewed", "PREVIEWED")]
)
def test_gate_that_did_not_pass_says_so(state: str, says: str) -> None:
    text = page(state=state, approvals=[], rejection={**GLASS, "comment": "wrong LSN"} if state == "rejected" else None)
    assert says in text
    assert ("wrong LSN" in text) == (state == "rejected")


def test_waiting_gate_stands_in_the_page_of_a_waiting_run() -> None:
    html = render_report(record(Verdict.WAITING, gates=({**GATE, "state": "waiting"},)), notebook())
    assert 'href="#gates"' in html and "Swap &lt;it&gt; in" in html and "Swap <it> in" not in html
