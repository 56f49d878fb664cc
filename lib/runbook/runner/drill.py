"""The disaster-recovery drill: an incident amid traffic, the recovery notebook headless with practice approvals, and a score.

The traffic generator knows what it committed, and the incident which transaction it was: the score compares what the recovery
found and announced with that truth.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook import clock, layout
from runbook.errors import OperatorError, PlatformError
from runbook.gates import signers
from runbook.gates.decision import Kind
from runbook.model import Verdict
from runbook.params.loading import nearest
from runbook.runner.closing import read_state
from runbook.runner.execute import Outcome, execute_run, validate
from runbook.runner.resume import resume_run
from runbook.sandbox import cluster, traffic, traffic_process
from runbook.sandbox.incidents import UNDO, apply_incident
from runbook.sandbox.place import Sandbox, find_sandbox
from runbook.session import deciding, lock, opengate

RUNBOOK = "point-in-time-recovery"
TARGET = "sandbox"
#: Incidents that a recovery undoes; --surprise picks one of them.
KINDS = ("delete-vehicles", "drop-table", "bad-update", "truncate")
RATE = 20.0
_SECONDS_AROUND = 3.0
_TRAFFIC_SECONDS = 1800.0
_BACK_SECONDS = 20.0
_ATTEMPTS = 8


@dataclass(frozen=True)
class Mark:
    """One line of the score. `good` is None where there is nothing to compare with."""

    what: str
    expected: str
    seen: str
    good: bool | None


@dataclass(frozen=True)
class Score:
    """How a drill ended."""

    kind: str
    seed: int
    outcome: Outcome
    marks: tuple[Mark, ...]
    seconds: float

    @property
    def is_good(self) -> bool:
        """The recovery passed, and nothing that it said was wrong."""
        return self.outcome.verdict == Verdict.PASS and all(mark.good is not False for mark in self.marks)


def choose_kind(kind: str | None, seed: int) -> str:
    """The incident: the one named, or one that the seed picks.

    Raises:
        OperatorError: a recovery does not undo such an incident.
    """
    if kind is None:
        return random.Random(seed).choice(KINDS)  # noqa: S311 - repeatable, no secret
    if kind not in KINDS:
        raise OperatorError(
            f"'{kind}' is no incident that a drill recovers from; {nearest(kind, KINDS)}",
            next=f"runbook drill --kind {KINDS[0]}, or --surprise",
        )
    return kind


def refuse_unfit() -> None:
    """The sandbox may be damaged: nobody works on it, and what is in it was not damaged before.

    Raises:
        TargetLocked: a run works on it, or has left effects on it.
        OperatorError: it was damaged on the timeline that it is still on, so that the search would have two answers.
    """
    lock.refuse_held(TARGET)
    found, sandbox = cluster.status(), find_sandbox()
    if found is None or sandbox is None:
        return
    before = [
        one for one in sandbox.state.damages if None in (one.timeline, found.timeline) or one.timeline == found.timeline
    ]
    if before:
        raise OperatorError(
            f"The sandbox was damaged before, by {before[-1].kind} at {clock.stamp(before[-1].at)}: a drill needs one that was not, for a "
            "recovery may find that incident instead of its own.",
            next=f"{UNDO} && runbook drill --surprise",
        )


def conduct(sandbox: Sandbox, kind: str, seed: int, *, say: Callable[[str], None], display: bool = True) -> Score:
    """The incident has happened amid traffic, and the recovery has ended; the traffic is stopped again.

    Args:
        say: gets one line a stage.

    Raises:
        OperatorError, TargetLocked, PlatformError.
    """
    began = time.monotonic()
    request = validate(RUNBOOK, TARGET, _parameters(seed))
    traffic_process.start(sandbox, seconds=_TRAFFIC_SECONDS, rate=RATE)
    try:
        time.sleep(_SECONDS_AROUND)
        truth = apply_incident(kind, seed)
        say(f"The incident has happened amid traffic (seed {seed}). The recovery is not told what it was.")
        time.sleep(_SECONDS_AROUND)
        outcome = _decided(execute_run(request, timeout=None, scheduled_for=None, display=display), say, display)
        record = _record(outcome)
        back = _wait_for_service(sandbox, record) if outcome.verdict == Verdict.PASS else None
    finally:
        traffic_process.stop(sandbox)
    marks = score(truth, record, read_traffic(sandbox), back)
    return Score(kind, seed, outcome, marks, time.monotonic() - began)


def _parameters(seed: int) -> list[tuple[str, str]]:
    """What the operator of a drill answers at once."""
    return [
        ("dry_run", "false"),
        ("incident", f"drill {seed}"),
        ("commander", "the drill"),
        ("personal_data", "no"),
        ("suspects", "first"),
        ("rationale", "a drill: the point that the search proposes"),
        ("way", "promote"),
        ("acceptance", "accept"),
    ]


def _decided(outcome: Outcome, say: Callable[[str], None], display: bool) -> Outcome:
    """The run has gone on through its gates; at each the practice people have signed."""
    for _ in range(_ATTEMPTS):
        if outcome.verdict != Verdict.WAITING or outcome.run is None:
            return outcome
        folder = layout.run(outcome.run)
        waiting = [gate for gate in read_state(folder).gates if gate["state"] == "waiting"]
        if not waiting:
            return outcome
        gate = str(waiting[0]["id"])
        missing = 1
        for key in signers.make_practice_keys():
            if missing:
                missing = deciding.decide(opengate.look_at(folder, gate), Kind.APPROVAL, key=key).missing
        say(f"The practice keys have signed '{waiting[0]['title']}'.")
        outcome = resume_run(outcome.run, display=display)
    return outcome


def _record(outcome: Outcome) -> dict[str, Any]:
    """run.json of the last attempt.

    Raises:
        PlatformError: the run left no record.
    """
    if outcome.record is None:
        raise PlatformError(f"The drill's run left no record: {outcome.reason}", next=outcome.next)
    content: dict[str, Any] = json.loads((layout.home() / outcome.record / "run.json").read_text("utf-8"))
    return content


def read_traffic(sandbox: Sandbox) -> list[dict[str, Any]]:
    """What the traffic generator knows: one dict a commit, or a transaction whose end it could not learn (`in_doubt`)."""
    file: Path = traffic.journal_file(sandbox)
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


def _moment(record: dict[str, Any], name: str) -> datetime | None:
    at = record["facts"].get("moments", {}).get(name)
    return clock.parse(at) if at else None


def _wait_for_service(sandbox: Sandbox, record: dict[str, Any]) -> datetime | None:
    """When the application wrote again after production was opened; None when it did not."""
    opened = _moment(record, "open")
    deadline = time.monotonic() + _BACK_SECONDS
    while opened is not None and time.monotonic() < deadline:
        later = [clock.parse(line["committed_at"]) for line in read_traffic(sandbox) if "committed_at" in line]
        back = [at for at in later if at > opened]
        if back:
            return min(back)
        time.sleep(0.2)
    return None


def score(
    truth: dict[str, Any], record: dict[str, Any], commits: list[dict[str, Any]], back: datetime | None
) -> tuple[Mark, ...]:
    """What the recovery found and announced, against what was true. Pure.

    Args:
        truth: of the incident: xid, committed_at, did.
        record: run.json. commits: as `read_traffic`.
        back: when the application wrote again.
    """
    facts = record["facts"]
    found, loss = facts.get("damage", {}), facts.get("loss", {})
    marks = [
        Mark("verdict", "PASS", record["verdict"], record["verdict"] == "PASS"),
        Mark(
            "target found by itself",
            f"just before transaction {truth['xid']}",
            f"just before transaction {found.get('first_left_out', 'none')}",
            str(found.get("first_left_out")) == str(truth["xid"]),
        ),
        Mark(
            "transactions discarded",
            *_discarded(truth, loss, commits, _moment(record, "closed")),
        ),
    ]
    for measure in record["measures"]:
        if measure["name"] in ("rto", "rpo"):
            within = None if measure["budget"] is None else measure["value"] <= measure["budget"]
            allowed = "" if measure["budget"] is None else f"at most {clock.human_seconds(measure['budget'])}"
            marks.append(Mark(measure["title"], allowed, clock.human_seconds(measure["value"]), within))
    said = f"wrote again at {clock.stamp(back)}" if back is not None else "did not write again"
    marks.append(Mark("service back", "the application writes again", said, back is not None))
    return tuple(marks)


def _discarded(
    truth: dict[str, Any], loss: dict[str, Any], commits: list[dict[str, Any]], closed: datetime | None
) -> tuple[str, str, bool]:
    """Expected, seen, and whether they agree: the application's commits between the incident and the lock-down."""
    at = clock.parse(truth["committed_at"])
    known = [
        line
        for line in commits
        if "committed_at" in line and at < clock.parse(line["committed_at"]) and (closed is None or clock.parse(line["committed_at"]) <= closed)
    ]  # fmt: skip
    doubtful = sum(1 for line in commits if line.get("in_doubt"))
    announced = loss.get("transactions", -1)
    expected = f"{len(known)}" + (f" to {len(known) + doubtful} (in doubt at the lock-down)" if doubtful else "")
    return expected, str(announced), len(known) <= announced <= len(known) + doubtful
