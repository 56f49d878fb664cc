"""Hooks: the operator's own commands and HTTP calls, which may fail or hang without stopping a recovery."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from runbook import layout
from runbook.errors import CommandFailed, CommandTimedOut, ParamsError
from runbook.outside import commands, http
from runbook.params.loading import resolve_secret
from runbook.params.schema import Hook
from runbook.redact import scrubber

_KEPT = 4000


@dataclass(frozen=True)
class HookResult:
    """How a hook ended. `what` is its program or address, `said` what it answered, scrubbed."""

    name: str
    what: str
    ok: bool
    said: str
    seconds: float


def describe_hook(hook: Hook) -> str:
    """The hook for people: its command line, or method and address without a query, which may hold a key.

    >>> from runbook.params.schema import Http
    >>> describe_hook(Hook(http=Http(url="https://status.example/api?key=1")))
    'POST https://status.example/api'
    """
    if hook.command is not None:
        return scrubber.text(" ".join(hook.command))
    assert hook.http is not None
    try:
        parts = urlsplit(hook.http.url)
    except ValueError:
        return f"{hook.http.method} an address that is none"
    place = urlunsplit((parts.scheme, parts.netloc.split("@")[-1], parts.path, "", ""))
    return scrubber.text(f"{hook.http.method} {place}")


def fact_variables(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as a command's environment.

    >>> fact_variables({"target": "billing", "incident run": "20250907T143000Z-a1"})
    {'RUNBOOK_TARGET': 'billing', 'RUNBOOK_INCIDENT_RUN': '20250907T143000Z-a1'}
    """
    return {"RUNBOOK_" + re.sub(r"[^A-Z0-9]+", "_", name.upper()): value for name, value in facts.items()}


def hook_argv(words: tuple[str, ...]) -> list[str]:
    """The command as it is started; the word `runbook` at its start is this very program, on no PATH as it may be.

    >>> hook_argv(("runbook", "page", "dba"))[1:]
    ['-m', 'runbook.cli.main', 'page', 'dba']
    """
    if words[0] == "runbook":
        return [sys.executable, "-m", "runbook.cli.main", *words[1:]]
    return [shutil.which(words[0]) or words[0], *words[1:]]


def call_hook(name: str, hook: Hook, facts: Mapping[str, str]) -> HookResult:
    """The hook was called once, and ended by itself or after its time.

    A failing hook raises nothing. What a command started and left running lives on: it gets production's mark instead of the
    run's, so that nobody ends it with the run.

    Args:
        name: as in params, such as 'maintenance_on'.
        facts: RUNBOOK_TARGET and the like for a command; a JSON body for POST, PUT and PATCH.
    """
    what = describe_hook(hook)
    if hook.http is not None:
        try:
            token = resolve_secret(hook.http.token, f"the token of hook {name}") if hook.http.token else None
        except ParamsError as cause:
            return HookResult(name, what, False, scrubber.text(str(cause)), 0.0)
        reply = http.call(hook.http, token, facts=facts, timeout=hook.timeout)
        return HookResult(name, what, reply.ok, reply.said[:_KEPT], reply.seconds)
    assert hook.command is not None
    env = {**layout.PRODUCTION_ENV, "RUNBOOK_HOME": str(layout.home()), **fact_variables(facts)}
    try:
        result = commands.run_and_leave(hook_argv(hook.command), timeout=hook.timeout, env=env)
    except CommandTimedOut as cause:
        return HookResult(name, what, False, scrubber.text(cause.message), hook.timeout)
    except CommandFailed as cause:
        return HookResult(name, what, False, scrubber.text(cause.message), 0.0)
    said = result.said
    if result.code != 0:
        said = f"code {result.code}: {said or 'it said nothing'}"
    return HookResult(name, what, result.code == 0, said, result.seconds)
