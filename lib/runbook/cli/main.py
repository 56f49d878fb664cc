"""`runbook`: one command, its groups loaded when they are called, so that listing is quick."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer
    from typer._click.exceptions import UsageError

# Everything else is imported where it is used: an import that fails must still end with an exit code and the JSON line.

#: Groups with a module of their own: command, module.
_GROUPS = {
    "sandbox": "runbook.cli.sandbox",
    "fence": "runbook.cli.fence",
    "doctor": "runbook.cli.doctor",
    "keys": "runbook.cli.keys",
    "access": "runbook.cli.access",
    "archive": "runbook.cli.archive",
    "schedule": "runbook.cli.schedule",
    "page": "runbook.cli.page",
}

_HELP = """Executable runbooks for PostgreSQL.

Exit codes: 0 PASS, 1 FAIL, 2 refused before anything started, 3 WAITING for a decision, 4 INCOMPLETE, 5 target locked. The
last line on standard output of run, resume, redo, close, abort, answer, approve, countersign, gates and page is one JSON object.
"""


def build_app(command: str | None) -> typer.Typer:
    """The command line; of the groups only the one that is called is loaded, without a command all are."""
    import importlib
    import importlib.util

    import typer

    from runbook.cli import answers, catalog, drill, due, gates, past, running

    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # it would print local variables
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in (catalog, running, past, gates, answers, drill, due):
        module.register(app)
    for name, place in _GROUPS.items():
        if command in (name, None) and importlib.util.find_spec(place) is not None:
            module = importlib.import_module(place)
            if hasattr(module, "register"):
                module.register(app)
            else:
                app.add_typer(module.app, name=name)
    return app


def command_names(app: typer.Typer) -> list[str]:
    """Every command and group."""
    own = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    return sorted({*own, *(group.name for group in app.registered_groups if group.name), *_GROUPS})


def run_cli(argv: list[str]) -> int:
    """The command has been carried out, or its refusal was printed. Returns the exit code, whatever happens."""
    from runbook.cli import streams

    streams.open_streams()
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BaseException as cause:  # noqa: BLE001 - what failed before or besides the command: an import, a stream, the printing itself
        return _last_resort(cause)
    if code is None:  # it only shows something
        return 4 if streams.is_lost() else 0
    return code


def _last_resort(cause: BaseException) -> int:
    """The exit code and the JSON line for what no other place has caught; without any module of ours that may be broken."""
    stopped = isinstance(cause, KeyboardInterrupt)
    reason = "Stopped before the command had begun." if stopped else f"{type(cause).__name__}: {_message(cause)}"
    line = {"run": None, "verdict": "INCOMPLETE", "reason": reason, "record": None, "next": "runbook doctor"}
    with contextlib.suppress(OSError, ValueError):  # a stream that is none of the system's
        sys.stderr.write(f"INCOMPLETE: {reason}\nNext: runbook doctor\n")
        sys.stdout.write(json.dumps({**line, "exit_code": 4}) + "\n")
        sys.stdout.flush()
    return 4


def _message(cause: BaseException) -> str:
    """The error's words on one line, without a secret as far as those are known."""
    words = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(cause)[:1000])
    redact = sys.modules.get("runbook.redact")
    return str(redact.scrubber.text(words)) if redact is not None and hasattr(redact, "scrubber") else words


def _run(argv: list[str]) -> int | None:
    """The command's exit code; None for one that only shows something."""
    import traceback

    import typer
    from typer._click.exceptions import ClickException, UsageError

    from runbook import disk, environment, layout
    from runbook.cli import output, running
    from runbook.errors import OperatorError, RunbookError, TargetLocked

    environment.drop_libpq()
    gone = _deleted_folder()
    if gone is not None:
        message = f"The folder that this command was given in, {gone}, was deleted: paths cannot be followed from it."
        return output.show_refusal(
            message, f"cd {shlex.quote(str(layout.CHECKOUT))}  # or another folder, then the command again"
        )
    command = next((word for word in argv if not word.startswith("-")), None)
    app = build_app(command)
    if command is not None and command not in command_names(app):
        from runbook.params.loading import nearest

        hint = nearest(command, command_names(app))
        return output.show_refusal(f"There is no command '{command}'; {hint}", "runbook --help")
    try:
        words = running.join_pairs(argv) if command == "run" else argv
        code = app(args=words, standalone_mode=False)
    except UsageError as cause:
        return output.show_refusal(_explain(cause), f"runbook {command or ''} --help".replace("  ", " "))
    except ClickException as cause:
        return output.show_refusal(cause.format_message(), "runbook --help")
    except TargetLocked as cause:
        return output.show_error(cause, "LOCKED", 5)
    except OperatorError as cause:
        return output.show_error(cause, "REFUSED", 2)
    except RunbookError as cause:
        return output.show_error(cause, "INCOMPLETE", 4)
    except (KeyboardInterrupt, typer.Abort):
        return output.show_error(RunbookError("Stopped by Ctrl-C.", next="runbook runs"), "INCOMPLETE", 4)
    except Exception as cause:  # noqa: BLE001 - typed as INCOMPLETE, scrubbed
        if isinstance(cause, OSError) and disk.is_surroundings(cause):
            return output.show_error(disk.refusal(cause), "INCOMPLETE", 4)
        output.warn_lines("".join(traceback.format_exception(cause)))
        return output.show_error(RunbookError(f"A fault of ours: {cause}", next="runbook doctor"), "INCOMPLETE", 4)
    return code if isinstance(code, int) else None


def _deleted_folder() -> str | None:
    """The working directory's name when it was deleted, else None."""
    try:
        os.getcwd()  # noqa: PTH109 - the question is whether this raises
    except FileNotFoundError:
        try:
            return os.readlink("/proc/self/cwd").removesuffix(" (deleted)")  # noqa: PTH115
        except OSError:
            return "whose name is not known"
    return None


def _explain(cause: UsageError) -> str:
    from typer._click.exceptions import NoSuchOption

    message = cause.format_message()
    if isinstance(cause, NoSuchOption) and not cause.possibilities and cause.ctx is not None:
        from runbook.params.loading import nearest

        options = [option for param in cause.ctx.command.params for option in param.opts if option.startswith("-")]
        message = f"{message} {nearest(cause.option_name, options)}"
    return message


def main() -> None:
    """The console script."""
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
