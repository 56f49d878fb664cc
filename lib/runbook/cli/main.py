"""`runbook`: one command, its groups loaded when they are called, so that listing is quick."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback

import typer
from typer._click.exceptions import ClickException, NoSuchOption, UsageError

from runbook.cli import answers, catalog, drill, due, gates, output, past, running
from runbook.errors import OperatorError, RunbookError, TargetLocked
from runbook.redact import scrubber

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
    """The command has been carried out, or its refusal was printed. Returns the exit code."""
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
    except BrokenPipeError:
        # The reader of our output has gone (`runbook runs | head`): nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 4
    except Exception as cause:  # noqa: BLE001 - a fault of ours: shown whole, scrubbed, and typed as INCOMPLETE
        print(scrubber.text("".join(traceback.format_exception(cause))), file=sys.stderr)
        return output.show_error(RunbookError(f"A fault of ours: {cause}", next="runbook doctor"), "INCOMPLETE", 4)
    return code if isinstance(code, int) else 0


def _explain(cause: UsageError) -> str:
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
