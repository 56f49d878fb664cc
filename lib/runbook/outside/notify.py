"""Messages to people: the only module that imports apprise, and it does so in a process of its own.

A server may drip a byte a second for ever, and apprise's services limit each read, not the whole: a process can be ended. It gets
the address on its standard input, never in argv or environment, and what it says is scrubbed before anybody sees it.

apprise 2.3.0, BSD-2-Clause: https://github.com/caronc/apprise
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runbook import environment, texts
from runbook.errors import CommandFailed, CommandTimedOut
from runbook.outside import commands
from runbook.redact import scrubber

#: How long the process may take to start on a busy machine, beside the time that the message has.
_START_SECONDS = 5.0
_KEPT = 600
#: The connection was never there: nothing went out.
_NEVER_OPENED = re.compile(
    r"refused|connect timeout|NewConnectionError|unreachable|Name or service not known", re.IGNORECASE
)
#: It ended before the answer: the message may have been taken.
_CUT_OFF = re.compile(r"timed out|reset by peer|without response|unexpectedly closed|broken pipe", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """How a message ended. `ok`: the channel has accepted it, which does not say that a person has read it; None: nobody can tell,
    it may have gone out. `said`: its answer, or why there was none, scrubbed."""

    ok: bool | None
    said: str
    seconds: float


def send(address: str, title: str, body: str, *, timeout: float) -> Sent:
    """The message was handed to the channel once. Never raises for what the other side does; not safe twice: it rings twice.

    Args:
        address: an apprise URL, registered with the scrubber.
        timeout: seconds for the whole delivery.
    """
    began = time.monotonic()
    # A line break in a title would end the header of a mail.
    text = {
        "title": texts.visible_line(texts.cut(title, 200)),
        "body": texts.visible(texts.cut(body, 4 * texts.LONGEST)),
    }
    try:
        answer = _ask({"address": address, **text, "timeout": timeout}, timeout)
    except CommandTimedOut:
        return Sent(None, f"no answer within {timeout:g} s", time.monotonic() - began)
    except CommandFailed as cause:
        return Sent(False, scrubber.text(cause.message), time.monotonic() - began)
    said = scrubber.text(str(answer["said"]))[:_KEPT]
    return Sent(answer["ok"], said, float(answer["seconds"]))


def address_problems(addresses: Sequence[str]) -> list[str | None]:
    """What is wrong with each address, as far as can be seen without calling it; None when nothing is.

    Raises:
        CommandFailed, CommandTimedOut: apprise could not be asked.
    """
    if not addresses:
        return []
    answer = _ask({"addresses": list(addresses)}, 2 * _START_SECONDS)
    return [None if one is None else scrubber.text(str(one)) for one in answer["problems"]]


def _ask(order: dict[str, Any], timeout: float) -> dict[str, Any]:
    """What our own process answers."""
    argv = environment.python_argv("runbook.outside.notify")
    stdin = json.dumps(order).encode("ascii")
    # The service has its own limit within; the process is ended when that does not hold.
    result = commands.run(
        argv, timeout=timeout + _START_SECONDS, stdin=stdin, check=False, env=environment.for_network()
    )
    lines = result.stdout.strip().splitlines()
    if result.code != 0 or not lines:
        raise CommandFailed(f"apprise ended with code {result.code}: {result.said or 'it said nothing'}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


# -- what follows runs in the process of its own ------------------------------------------------------------


def _service(address: str) -> Any:
    import apprise

    # A redirect is no delivery: it leads to a log-in page, which answers 200.
    asset = apprise.AppriseAsset(app_id="runbook", app_desc="Executable runbooks", http_redirects=False)
    return apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)


def _problem(address: str) -> str | None:
    service = _service(address)
    if service is None:
        return "apprise does not understand the address"
    secured = str(getattr(service, "secure_mode", "ssl" if service.secure else "insecure"))
    is_here = service.host in ("127.0.0.1", "localhost", "::1")
    if service.password and secured == "insecure" and not is_here:
        return "it would send its password without TLS"
    return None


def _deliver(order: dict[str, Any]) -> dict[str, Any]:
    import apprise

    service = _service(order["address"])
    if service is None:
        return {"ok": False, "said": "apprise does not understand the address", "seconds": 0.0}
    service.socket_connect_timeout = service.socket_read_timeout = float(order["timeout"])
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    pager = apprise.Apprise()
    pager.add(service)
    began = time.monotonic()
    result = pager.notify(body=order["body"], title=order["title"], body_format="text", log_level=logging.DEBUG)
    seconds = round(time.monotonic() - began, 3)
    if result:
        return {"ok": True, "said": f"accepted by {service.service_name}", "seconds": seconds}
    # The reason of a failed mail is said at level DEBUG alone.
    said = [
        one.message
        for one in result.logs()
        if one.level in ("WARNING", "ERROR", "CRITICAL") or one.message.startswith("Socket Exception")
    ]
    told = " ".join(said)
    ok = None if _CUT_OFF.search(told) and not _NEVER_OPENED.search(told) else False
    return {"ok": ok, "said": told or f"{service.service_name} gave no reason", "seconds": seconds}


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    if "addresses" in order:
        return {"problems": [_problem(address) for address in order["addresses"]]}
    return _deliver(order)


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))), flush=True)
