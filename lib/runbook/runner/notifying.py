"""Hooks of a run's end: a run that waits, fails or finishes tells the surroundings; whether they listened changes no verdict.

Called before the attempt is archived, so that the record says who was told and which hook failed. A dead-man's switch listens to
`on_finish`: it is called at every end, whatever the verdict, and its silence means that nothing ran.
"""

from __future__ import annotations

from runbook.errors import ParamsError
from runbook.model import Verdict
from runbook.outside.hooks import call_hook
from runbook.params import load_params
from runbook.params.schema import Hook, Hooks
from runbook.session.journal import Journal
from runbook.session.state import RunState

#: A stopped run must be gone within ten seconds.
_STOPPED_SECONDS = 2.0


def hooks_for(verdict: Verdict, hooks: Hooks) -> dict[str, Hook]:
    """Name → hook of those that the verdict calls, in order."""
    special = {Verdict.WAITING: ("on_waiting", hooks.on_waiting), Verdict.FAIL: ("on_fail", hooks.on_fail)}
    named = [special.get(verdict, ("", None)), ("on_finish", hooks.on_finish)]
    return {name: hook for name, hook in named if hook is not None}


def notify(journal: Journal, state: RunState) -> None:
    """The hooks of the attempt's end were called once, and the journal says how that went. Raises nothing.

    A crash before the journal says so may call them again: they must be safe twice.
    """
    if "notified" in state.facts:
        return
    try:
        hooks = hooks_for(state.verdict, load_params(state.target).hooks)
    except ParamsError as cause:
        nobody = {"hook": "on_finish", "what": "params", "ok": False, "said": cause.message}
        journal.append("notified", hooks=[nobody])
        return
    if not hooks:
        return
    stopped = any(problem.kind == "stopped" for problem in state.problems)
    facts = {
        "run": state.run,
        "attempt": str(state.attempt),
        "runbook": str(state.request["runbook"]),
        "target": state.target,
        "environment": str(state.request["environment"]),
        "verdict": str(state.verdict),
        "exit code": str(state.exit_code),
        "reason": state.reason,
        "next": state.next_command,
    }
    told = []
    for name, hook in hooks.items():
        limit = min(hook.timeout, _STOPPED_SECONDS) if stopped else hook.timeout
        result = call_hook(name, hook.model_copy(update={"timeout": limit}), facts)
        told.append({"hook": name, "what": result.what, "ok": result.ok, "said": result.said[:500]})
    journal.append("notified", hooks=told)
