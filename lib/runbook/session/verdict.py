"""The verdict: any FAIL → FAIL; a waiting gate → WAITING; anything not known or not run → INCOMPLETE; else PASS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runbook.model import EXIT_CODES, Check, Status, StepRecord, StepState, Verdict
from runbook.session.cellbook import CellProblem
from runbook.session.gatebook import Glass
from runbook.session.state import Problem
from runbook.texts import many


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason (one or two sentences) and the exact next command."""

    verdict: Verdict
    reason: str
    next_command: str

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


#: Begins the reason of a verdict on a run that changed nothing.
DRY_RUN = "DRY RUN, nothing was changed: "


def judge(*, request: dict[str, Any], **seen: Any) -> Judgement:
    """The verdict on what an attempt saw, as `_judge` has it; that of a dry run says so first."""
    found = _judge(request=request, **seen)
    if request.get("parameters", {}).get("dry_run") is not True:
        return found
    return replace(found, reason=DRY_RUN + found.reason)


def _judge(
    *,
    request: dict[str, Any],
    steps: Sequence[StepRecord],
    checks: Sequence[Check],
    gates: Sequence[dict[str, Any]],
    questions: Sequence[dict[str, Any]] = (),
    glasses: Sequence[Glass],
    undos: Mapping[str, str],
    problems: Sequence[Problem],
    concluded: bool,
    aborted: str | None,
    way_on: str | None = None,
    limits: Sequence[str] = (),
    cells: Sequence[CellProblem] = (),
) -> Judgement:
    """The verdict on what an attempt saw; `undos` are the acts that were not taken back, with how to. A PASS says how many `limits` it has.

    Args:
        way_on: the command that goes on with what an abort could not take back, where it has said one.
        cells: the code cells that did not end well; empty while the attempt is under way.
    """
    run = str(request["run"])
    again = str(request["command"])
    waits = _what_waits(run, gates, questions) if aborted is None else None
    failed = [check for check in checks if check.status is Status.FAIL]
    if failed:
        said = _count("check failed", "checks failed", failed)
        if waits is not None:  # a person decides what follows from it, in this very run
            return Judgement(Verdict.FAIL, f"{_sentence(said)} {waits.reason}", waits.next_command)
        return Judgement(Verdict.FAIL, said, again)
    if waits is not None:
        return waits
    rejected = [gate for gate in gates if gate.get("state") == "rejected"]
    if rejected and aborted is None:
        return Judgement(Verdict.INCOMPLETE, rejected[0]["reason"], rejected[0]["next_command"])
    glass = next((glass for glass in glasses if glass.is_open), None)
    if glasses:  # conclude() has raised that it was not countersigned; since then it may have been
        cells = [cell for cell in cells if cell.kind != "verdict"]
    reason = _incomplete_reason(steps, checks, undos, problems, concluded, aborted, cells)
    if reason is None and glass is not None:
        reason = f"Break-glass: {glass.said['principal']} passed the gate '{glass.title}' alone, and it is not countersigned yet."
        return Judgement(Verdict.INCOMPLETE, reason, glass.next_command)
    if reason is None:
        return Judgement(Verdict.PASS, _passed(steps, checks, limits), f"runbook status {run}")
    if aborted is not None:
        return Judgement(Verdict.INCOMPLETE, reason, (way_on or f"runbook abort {run}") if undos else again)
    commands = [step.next for step in steps if step.state is StepState.FAILED and step.next]
    own = next((command for command in commands if command.startswith("runbook ")), None)
    return Judgement(Verdict.INCOMPLETE, reason, own or f"runbook resume {run}")


def _what_waits(run: str, gates: Sequence[dict[str, Any]], questions: Sequence[dict[str, Any]]) -> Judgement | None:
    """The gate or the question that wants a decision now."""
    gate = next((one for one in gates if one.get("state") == "waiting"), None)
    if gate is not None:
        reason = gate.get("reason") or f"The gate '{gate['title']}' wants a decision."
        command = gate.get("next_command") or f"runbook approve {run} {gate['id']} --key KEY"
        return Judgement(Verdict.WAITING, reason, command)
    asked = next((one for one in questions if one["state"] == "waiting"), None)
    return Judgement(Verdict.WAITING, asked["reason"], asked["next_command"]) if asked is not None else None


def _count(one: str, many: str, checks: Sequence[Check]) -> str:
    first = checks[0]
    head = f"1 {one}" if len(checks) == 1 else f"{len(checks)} {many}"
    return _with_next(f"{head}: {first.title}: {first.reason}", first.next)


def _with_next(said: str, next_act: str | None) -> str:
    """Two sentences, whether or not the first has its full stop."""
    if not next_act:
        return said
    return f"{said}{'' if said.rstrip().endswith(('.', '!', '?')) else '.'} Next: {next_act}"


def _incomplete_reason(
    steps: Sequence[StepRecord],
    checks: Sequence[Check],
    undos: Mapping[str, str],
    problems: Sequence[Problem],
    concluded: bool,
    aborted: str | None,
    cells: Sequence[CellProblem],
) -> str | None:
    if aborted is not None:
        return f"Aborted: {aborted}"
    reasons = [_with_next(problem.reason, problem.next) for problem in problems]
    broken = [step for step in steps if step.state is StepState.FAILED]
    if broken and all(problem.kind == "died" for problem in problems):  # a kernel that ended after it says nothing more
        step = broken[0]
        reasons.insert(0, _with_next(f"The step '{step.name}' failed: {step.reason}", step.next))
    unknown = [check for check in checks if check.status is Status.UNKNOWN]
    if unknown:
        reasons.append(_count("check is UNKNOWN", "checks are UNKNOWN", unknown))
    left = [
        step
        for step in steps
        if step.state in (StepState.NOT_RUN, StepState.RUNNING, StepState.SKIPPED, StepState.WAITING)
    ]
    if left:
        reasons.append(f"{len(left)} of {len(steps)} steps did not run to their end, first '{left[0].name}'.")
    if not concluded:
        if not broken and all(problem.kind == "died" for problem in problems):  # else the cell's failure has been named
            reasons[:0] = [cell.reason for cell in cells if cell.kind in ("failed", "left")][:1]
        reasons.append("The run did not conclude.")
    if undos:
        act, undo = next(iter(undos.items()))
        acts = "1 act is" if len(undos) == 1 else f"{len(undos)} acts are"
        reasons.append(f"{acts} not taken back, first '{act}'. Undo: {undo}")
    if concluded and not steps and not checks:
        reasons.append("The run did nothing: it has no steps and no checks.")
    if not reasons:  # nothing else explains why a cell did not end well, not even a verdict that it raised
        reasons += [cell.reason for cell in cells if cell.kind != "not-run"] + [
            cell.reason for cell in cells if cell.kind == "not-run"
        ]
    return " ".join(_sentence(reason) for reason in reasons[:3]) if reasons else None


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def _passed(steps: Sequence[StepRecord], checks: Sequence[Check], limits: Sequence[str]) -> str:
    ran = sum(step.state is StepState.DONE for step in steps)
    what = f"{ran} step{'s' if ran != 1 else ''} ran"
    if ran < len(steps):
        what += f", {len(steps) - ran} not applicable"
    if checks:
        what += f", {len(checks)} check{'s' if len(checks) != 1 else ''} passed"
    if limits:
        what += f", with {many(len(limits), 'limitation')}, listed first in the report"
    return what + "."
