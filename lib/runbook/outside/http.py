"""HTTP calls: the only module that imports httpx. A token travels in a header and nowhere else."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from runbook.params.schema import Http
from runbook.redact import scrubber

_BODY_KEPT = 4000
_WITH_BODY = ("POST", "PUT", "PATCH")


@dataclass(frozen=True)
class Reply:
    """How a call ended. `status` is None when no answer came; `said` is the answer's beginning, or why there was none."""

    ok: bool
    status: int | None
    said: str
    seconds: float


def call(
    http: Http, token: str | None, *, facts: Mapping[str, str] | None = None, timeout: float | None = None
) -> Reply:
    """The call was made once; `ok` when the answer's status is 2xx. A redirect is not followed: it is no answer.

    Never raises for what the other side does: an unreachable host, a refused certificate, a status of 500, and an answer that
    does not end in time are all replies that are not ok.

    Args:
        token: sent as bearer token; it must be registered with the scrubber (`resolve_secret` does).
        facts: sent as a JSON object with POST, PUT and PATCH.
        timeout: seconds for the whole call, when shorter than its own.
    """
    limit = min(http.timeout, timeout or http.timeout)
    began = time.monotonic()
    # httpx limits each read, not the whole: a server that drips a byte a second would hold us for ever.
    answers: queue.SimpleQueue[tuple[bool, int | None, str]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_attempt(http, token, facts, limit)), daemon=True).start()
    try:
        ok, status, said = answers.get(timeout=limit)
    except queue.Empty:
        ok, status, said = False, None, f"no whole answer within {limit:.0f} s"
    return Reply(ok, status, scrubber.text(said), time.monotonic() - began)


def _attempt(
    http: Http, token: str | None, facts: Mapping[str, str] | None, limit: float
) -> tuple[bool, int | None, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = dict(facts) if facts is not None and http.method in _WITH_BODY else None
    try:
        with (
            httpx.Client(timeout=limit, follow_redirects=False) as client,
            client.stream(http.method, http.url, headers=headers, json=body) as answer,
        ):
            held = b""
            for part in answer.iter_bytes():
                held += part
                if len(held) >= _BODY_KEPT:
                    break
            text = held[:_BODY_KEPT].decode(answer.encoding or "utf-8", "replace").strip()
            said = f"{answer.status_code} {answer.reason_phrase}".strip() + (f": {text}" if text else "")
            return answer.is_success, answer.status_code, said
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError) as problem:
        # ValueError: a URL or a token that cannot be sent; LookupError: an encoding that nobody knows.
        return False, None, f"{type(problem).__name__}: {problem}"
