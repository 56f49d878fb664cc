"""Steps that must happen once: intent before, result after, and what to do when only the intent is there."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from typing import Any

from runbook.errors import ParamsError, PlatformError
from runbook.redact import scrubber
from runbook.session.journal import Journal
from runbook.session.state import OnceState

_TABLE = "__table__"


def fingerprint(key: object) -> str:
    """A fingerprint of a step's inputs, which must be JSON."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()


def encode_result(result: Any, name: str) -> Any:
    """A step's result as JSON; a pandas table keeps its column types.

    Raises:
        TypeError: the result is neither.
        ParamsError: it holds a secret, which must not be kept.
    """
    if hasattr(result, "to_json") and type(result).__name__ == "DataFrame":
        encoded: Any = {_TABLE: result.to_json(orient="table", date_unit="ns")}
    else:
        encoded = result
    text = json.dumps(encoded, allow_nan=False)
    if scrubber.holds(text):
        raise ParamsError(f"The result of the step '{name}' holds a secret.", next="Return the secret's name instead.")
    return json.loads(text)


def decode_result(encoded: Any) -> Any:
    """What `encode_result` was given (tuples come back as lists)."""
    if isinstance(encoded, dict) and set(encoded) == {_TABLE}:
        import io

        import pandas

        return pandas.read_json(io.StringIO(encoded[_TABLE]), orient="table")
    return encoded


def perform_once(
    journal: Journal,
    run_id: str,
    before: OnceState | None,
    name: str,
    act: Callable[[], Any],
    probe: Callable[[], Any] | None,
    key: str,
) -> tuple[Any, bool]:
    """The step has happened, once.

    Args:
        before: what earlier attempts wrote about it.
        probe: answers "has it already happened?" with its result, or None when it has not.
        key: fingerprint of the inputs; with other inputs it is another act.

    Returns:
        The result, and whether it was there already.

    Raises:
        PlatformError: an earlier attempt began it and did not say how it ended, and there is no probe.
    """
    if before is not None and before.key == key:
        if before.done:
            return decode_result(before.result), True
        found = probe() if probe is not None else None
        if found is not None:
            journal.append("step-result", name=name, key=key, result=encode_result(found, name))
            return found, True
        if probe is None:
            raise PlatformError(
                f"The step '{name}' must happen once; attempt {before.attempt} began it and did not say how it ended.",
                next=shlex.join(["runbook", "redo", run_id, name]),
            )
    journal.append("step-intent", name=name, key=key)
    result = act()
    encoded = encode_result(result, name)
    journal.append("step-result", name=name, key=key, result=encoded)
    # The same value now as after a resume, so that later steps cannot come to depend on the difference.
    return (result if isinstance(encoded, dict) and set(encoded) == {_TABLE} else encoded), False
