"""What a command leaves on standard output: a few lines for people, and one JSON line where a scheduler reads."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from runbook.errors import RunbookError
from runbook.redact import looks_like_secret, scrubber

if TYPE_CHECKING:
    from runbook.runner.execute import Outcome


def say(text: str) -> None:
    """A line for people on standard output, scrubbed."""
    print(scrubber.text(text))


def json_line(
    *, run: str | None, verdict: str, reason: str, record: str | None, next: str | None, exit_code: int
) -> None:
    """The last line on standard output."""
    content = {
        "run": run,
        "verdict": verdict,
        "reason": reason,
        "record": record,
        "next": next,
        "exit_code": exit_code,
    }
    sys.stderr.flush()
    print(json.dumps(scrubber.value(content), ensure_ascii=False), flush=True)


def show_outcome(outcome: Outcome) -> int:
    """Verdict, reason, report and next command are printed. Returns the exit code."""
    say(f"{outcome.verdict}: {outcome.reason}")
    if outcome.record:
        say(f"Report: {outcome.record}/report.html")
    say(f"Next: {outcome.next}")
    json_line(
        run=outcome.run,
        verdict=outcome.verdict,
        reason=outcome.reason,
        record=outcome.record,
        next=outcome.next,
        exit_code=outcome.exit_code,
    )
    return outcome.exit_code


def show_error(error: RunbookError, verdict: str, exit_code: int, run: str | None = None) -> int:
    """An error is on standard error for people, and in the JSON line for machines. Returns the exit code."""
    from runbook.session.credentials import register_all_secrets

    register_all_secrets()  # what was given in a wrong place may be a secret that no run has resolved yet
    print(scrubber.text(f"{verdict}: {error}"), file=sys.stderr, flush=True)
    json_line(
        run=run, verdict=verdict, reason=error.message, record=None, next=error.next or "runbook --help",
        exit_code=exit_code,
    )  # fmt: skip
    return exit_code


def show_refusal(message: str, next: str) -> int:
    """A command line that cannot be carried out; a pasted secret in it is not repeated."""
    shown = "The command line has something in it that looks like a secret." if looks_like_secret(message) else message
    from runbook.model import EXIT_REFUSED

    return show_error(RunbookError(shown, next=next), "REFUSED", EXIT_REFUSED)
