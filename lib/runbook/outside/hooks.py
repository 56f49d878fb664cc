"""Hooks: the operator's own commands and HTTP calls, which may fail or hang without stopping a recovery."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from runbook import environment, layout, texts
from runbook.errors import CommandFailed, CommandTimedOut, ParamsError
from runbook.outside import commands, http
from runbook.params.loading import resolve_secret
from runbook.params.schema import Hook
from runbook.params.variables import all_variables
from runbook.redact import scrubber

_KEPT = 4000
#: Characters of a command line in a message.
_SHOWN = 200


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
        return texts.visible_line(texts.cut(scrubber.text(" ".join(hook.command)), _SHOWN))
    assert hook.http is not None
    try:
        parts = urlsplit(hook.http.url)
    except ValueError:
        return f"{hook.http.method} an address that is none"
    place = urlunsplit((parts.scheme, parts.netloc.split("@")[-1], parts.path, "", ""))
    return texts.visible_line(texts.cut(scrubber.text(f"{hook.http.method} {place}"), _SHOWN))


def _short(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: texts.cut(texts.visible(value), texts.LONGEST) for name, value in facts.items()}


def fact_variables(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as a command's environment.

    Each is visible text and cut: Linux takes 128 KiB in one variable, and no NUL.

    >>> fact_variables({"target": "billing", "incident run": "20250907T143000Z-a1"})
    {'RUNBOOK_TARGET': 'billing', 'RUNBOOK_INCIDENT_RUN': '20250907T143000Z-a1'}
    """
    names = {"RUNBOOK_" + re.sub(r"[^A-Z0-9]+", "_", name.upper()): value for name, value in facts.items()}
    return _short(names)


def _variables(name: str, hook: Hook, facts: Mapping[str, str]) -> dict[str, str | None]:
    """The hook's environment besides what every child gets.

    A `runbook` command resolves secrets and scrubs them as this one does, so it gets the variables that params name.

    Raises:
        ParamsError: a variable that the hook names is not set.
    """
    assert hook.command is not None
    own: dict[str, str | None] = {}
    if hook.command[0] == "runbook":
        own = {**environment.for_network(), **{one: environment.value_of(one) for one in all_variables()}}
    named = environment.named(hook.env, f"hooks.{name}")
    return {**own, **named, **layout.PRODUCTION_ENV, "RUNBOOK_HOME": str(layout.home()), **fact_variables(facts)}


def hook_argv(words: tuple[str, ...]) -> list[str]:
    """The command as it is started; the word `runbook` at its start is this very program, on no PATH as it may be.

    >>> hook_argv(("runbook", "page", "dba"))[3:]
    ['-m', 'runbook.cli.main', 'page', 'dba']
    """
    if words[0] == "runbook":
        return environment.python_argv("runbook.cli.main", *words[1:])
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
        reply = http.call(hook.http, token, facts=_short(facts), timeout=hook.timeout)
        return HookResult(name, what, reply.ok, texts.visible(reply.said)[:_KEPT], reply.seconds)
    assert hook.command is not None
    try:
        env = _variables(name, hook, facts)
        result = commands.run_and_leave(hook_argv(hook.command), timeout=hook.timeout, env=env)
    except CommandTimedOut as cause:
        return HookResult(name, what, False, scrubber.text(cause.message), hook.timeout)
    except (CommandFailed, ParamsError) as cause:
        return HookResult(name, what, False, scrubber.text(str(cause)), 0.0)
    said = texts.visible(result.said)
    if result.code != 0:
        said = f"code {result.code}: {said or 'it said nothing'}"
    return HookResult(name, what, result.code == 0, said, result.seconds)
