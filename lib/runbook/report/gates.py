"""The gates of a run as the report tells them: the plan and its hash, who decided what, when, with which key."""

from __future__ import annotations

import dataclasses
from typing import Any

from runbook.report.view import Pair, flattened

#: What each state of a gate means, and the tone it is shown in.
STATES = {
    "passed": ("pass", "PASSED"),
    "previewed": ("info", "PREVIEWED in a dry run: nobody was asked"),
    "waiting": ("waiting", "WAITING for a decision"),
    "rejected": ("fail", "REJECTED"),
    "unproven": ("fail", "NOT BORNE OUT: no signed decision says what the journal says"),
}


@dataclasses.dataclass(frozen=True)
class Said:
    """One person's decision. `expires` is empty where nothing expires."""

    what: str
    who: str
    key: str
    at: str
    expires: str
    comment: str
    file: str


@dataclasses.dataclass(frozen=True)
class GateView:
    """One gate; `rest` are its lines when it is none that this version knows."""

    title: str
    tone: str
    state: str
    about: list[Pair]
    plan_title: str
    actions: list[tuple[str, str]]
    blast_radius: list[str]
    undo: str
    facts: list[Pair]
    said: list[Said]
    void: list[Pair]
    alarm: str
    rest: list[Pair]


def _moment(text: Any) -> str:
    """`2026-01-02T03:04:05.000000Z` as `2026-01-02 03:04:05 UTC`."""
    return f"{str(text)[:19].replace('T', ' ')} UTC" if text else ""


def _signed_at(gate: dict[str, Any]) -> str | None:
    """When the signature that decided was made: of the rejection, the break-glass, or the last approval that was needed; None: nobody signed."""
    alone = gate.get("rejection") or gate.get("break_glass")
    if alone:
        return str(alone["at"]) if alone.get("at") else None
    needed = int(gate.get("needed") or 0)
    times = sorted(str(one["at"]) for one in gate.get("approvals", []) if one.get("at"))
    return times[needed - 1] if 0 < needed <= len(times) else None


def _said(what: str, one: dict[str, Any]) -> Said:
    return Said(
        what, str(one.get("principal", "")), str(one.get("key") or "unsigned"), _moment(one.get("at")),
        _moment(one.get("expires")), str(one.get("comment", "")), str(one.get("file", "")),
    )  # fmt: skip


def gate_view(gate: dict[str, Any]) -> GateView:
    """A gate of run.json for the page."""
    plan, state = gate.get("plan"), gate.get("state")
    if not isinstance(plan, dict) or state not in STATES:
        return GateView("Gate", "unknown", "not known", [], "", [], [], "", [], [], [], "", flattened(gate))
    tone, word = STATES[state]
    said = [_said("approval", one) for one in gate.get("approvals", [])]
    glass, alarm = gate.get("break_glass"), ""
    if glass:
        said.append(_said("BREAK-GLASS", glass))
        said += [_said("countersignature", one) for one in gate.get("countersigned", [])]
        open_yet = gate.get("wants_countersigning")
        tone, word = (
            ("fail", "PASSED BY BREAK-GLASS") if open_yet else ("warning", "PASSED BY BREAK-GLASS, countersigned")
        )
        alarm = f"{glass['principal']} passed this gate alone: {glass['comment']}"
    if gate.get("rejection"):
        said.append(_said("REJECTION", gate["rejection"]))
    about = [
        Pair("Plan hash (SHA-256 of plan.json)", str(gate["plan_sha256"]), mono=True),
        Pair("Approvals needed", f"{gate['needed']}, of others than the operators"),
        Pair("Opened", _moment(gate.get("opened_at"))),
    ]
    signed = _signed_at(gate)
    if signed:
        about.append(Pair("Decided by the signature of", _moment(signed)))
    if gate.get("decided_at"):
        earlier = ", in an earlier attempt, and begun then" if gate.get("reused") else ""
        about.append(Pair("Found by the run", _moment(gate["decided_at"]) + earlier))
    if gate.get("replaces_plan"):
        about.append(Pair("Replaces the plan", str(gate["replaces_plan"]), mono=True))
    if gate.get("reason"):
        about.append(Pair("Why", str(gate["reason"])))
    return GateView(
        title=str(gate["title"]),
        tone=tone,
        state=word,
        about=about,
        plan_title=f"{plan['title']} (target {plan['target']})",
        actions=[(str(one["what"]), str(one.get("undo") or "")) for one in plan["actions"]],
        blast_radius=[str(one) for one in plan["blast_radius"]],
        undo=f"{'Reversible' if plan['reversible'] else 'NOT reversible'}: {plan['undo']}",
        facts=flattened(plan["facts"]) if plan["facts"] else [],
        said=said,
        void=[Pair(str(one["file"]), str(one["why"])) for one in gate.get("void", [])],
        alarm=alarm,
        rest=[],
    )
