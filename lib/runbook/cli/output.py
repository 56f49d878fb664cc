"""What a command leaves on standard output: a few lines for people, and one JSON line where a scheduler reads."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from runbook import texts
from runbook.errors import RunbookError
from runbook.redact import looks_like_secret, scrubber

if TYPE_CHECKING:
    from runbook.runner.execute import Outcome


def clean(text: str) -> str:
    """Return the text as a terminal may have it: no secret, no control character, and no line that begins like one of ours.

    >>> clean("public.t\\x1b[2J\\nPASS: all is well")
    'public.t␛[2J\\n  PASS: all is well'
    """
    return texts.visible(scrubber.text(text)).replace("\n", "\n  ")


def say(text: str) -> None:
    """Print a text for people on standard output; its further lines are indented."""
    print(clean(text))


def say_lines(text: str) -> None:
    """Print lines of ours as they are, such as a text to sign."""
    print(texts.visible(scrubber.text(text)))


def warn(text: str) -> None:
    """Print a text for people on standard error."""
    print(clean(text), file=sys.stderr, flush=True)


def warn_lines(text: str) -> None:
    """Print lines of ours, such as a traceback, on standard error."""
    print(texts.visible(scrubber.text(text)), file=sys.stderr, flush=True)


class Listing:
    """A table on the terminal, whose cells are text and never markup."""

    def __init__(self, title: str, *headings: str) -> None:
        from rich.table import Table

        self._table = Table(title=self._text(title), title_justify="left")
        for heading in headings:
            self._table.add_column(heading, overflow="fold")

    def add(self, *cells: str) -> None:
        """Add a row."""
        self._table.add_row(*(self._text(cell) for cell in cells))

    def show(self, width: int = 200) -> None:
        """Print it; `width` is for what is no terminal."""
        from rich.console import Console

        Console(width=None if Console().is_terminal else width).print(self._table)

    @staticmethod
    def _text(cell: str) -> Any:
        from rich.text import Text

        return Text(texts.visible_line(scrubber.text(cell)))


def json_line(
    *, run: str | None, verdict: str, reason: str, record: str | None, next: str | None, exit_code: int
) -> None:
    """The last line on standard output."""
    content = {
        "run": run,
        "verdict": verdict,
        "reason": texts.visible(texts.cut(reason, texts.LONGEST)),
        "record": record,
        "next": texts.visible(next) if next is not None else None,
        "exit_code": exit_code,
    }
    sys.stderr.flush()
    print(json.dumps(scrubber.value(content)), flush=True)  # ASCII: no locale and no terminal changes it


def show_outcome(outcome: Outcome) -> int:
    """Verdict, reason, report and next command are printed. Returns the exit code."""
    say(f"{outcome.verdict}: {texts.cut(outcome.reason, texts.LONGEST)}")
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
    warn(f"{verdict}: {texts.cut(error.message, texts.LONGEST)}")
    if error.next:
        warn(f"Next: {error.next}")
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
