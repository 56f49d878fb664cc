"""`runbook due` and `runbook exception`: what is due, done, missed or excepted, by records that verify."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook.cli.output import Listing, say
from runbook.errors import OperatorError

if TYPE_CHECKING:
    from runbook.controls.counting import Counted
    from runbook.controls.population import Row


def register(app: typer.Typer) -> None:
    app.command("due")(due)
    app.command("exception")(exception)


def due(
    target: Annotated[list[str] | None, typer.Option(help="Only this target; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All rows as JSON, nothing else.")] = False,
    all_rows: Annotated[bool, typer.Option("--all", help="Every period, not only the last three of each.")] = False,
) -> int:
    """Count what was due, done, missed and excepted, from records that verify. Exit 1 when something is overdue."""
    from runbook import clock
    from runbook.controls.counting import count_controls

    now = clock.now()
    counted = count_controls(now, tuple(target or ()))
    overdue = [row for row in counted.rows if row.is_overdue]
    if as_json:
        print(json.dumps(facts_of(counted, clock.stamp(now)), indent=1))
        return 1 if overdue else 0
    _print(counted, all_rows=all_rows)
    for problem in counted.problems:
        say(f"BAD   {problem}: it excepts nothing")
    states = [str(row.state) for row in counted.rows]
    told = ", ".join(f"{states.count(state)} {state}" for state in ("done", "due", "missed", "excepted"))
    if overdue:
        first = min(overdue, key=lambda row: row.due_at)
        names = ", ".join(f"{row.control} of {row.target} ({row.period})" for row in overdue)
        say(f"OVERDUE: {names}. In all {told}.")
        say(f"Next: {_command(first)}")
        return 1
    say(f"Nothing is overdue: {told}." if counted.rows else "Nothing is due yet: see since: in params/controls.yaml.")
    open_rows = sorted((row for row in counted.rows if row.state == "due"), key=lambda row: row.due_at)
    say(f"Next: {_command(open_rows[0])}" if open_rows else "Next: runbook archive verify")
    return 0


def _command(row: Row) -> str:
    from runbook.controls.counting import find_control
    from runbook.params.controls import load_controls

    if "runbook archive review" in row.said:
        return row.said[row.said.index("runbook archive review") :]
    return f"runbook run {find_control(load_controls(), row.control).runbook} --target {row.target}"


def _print(counted: Counted, *, all_rows: bool) -> None:
    from runbook.controls.population import completeness

    headings = ("Control", "Target", "Period", "Due (UTC)", "Missed after", "State", "Record, or why")
    table = Listing("Controls by records that verify", *headings)
    for count in completeness(counted.rows):
        mine = [row for row in counted.rows if (row.control, row.target) == (count.control, count.target)]
        for row in mine if all_rows else mine[-3:]:
            word = "OVERDUE" if row.is_overdue else f"{row.state}{', late' if row.is_late else ''}"
            told = (row.record or row.said) + (f", accepted by {row.certified_by}" if row.certified_by else "")
            due_at, deadline = f"{row.due_at:%Y-%m-%d %H:%M}", f"{row.deadline:%Y-%m-%d %H:%M}"
            table.add(row.control, row.target, row.period, due_at, deadline, word, told)
    table.show()


def facts_of(counted: Counted, now: str) -> dict[str, Any]:
    """The rows and counts for machines."""
    from runbook.controls.population import completeness

    return {
        "now": now,
        "overdue": sum(row.is_overdue for row in counted.rows),
        "counts": [vars(count) for count in completeness(counted.rows)],
        "rows": [row_facts(row) for row in counted.rows],
        "problems": [str(problem) for problem in counted.problems],
    }


def row_facts(row: Row) -> dict[str, Any]:
    from runbook import clock

    facts: dict[str, Any] = {}
    for name, value in vars(row).items():
        if name == "exception":
            facts[name] = value.model_dump(mode="json", by_alias=True) if value is not None else None
        else:
            facts[name] = clock.stamp(value) if hasattr(value, "tzinfo") else value
    return facts


def exception(
    control: Annotated[str | None, typer.Argument(help="The control; all exceptions are listed without it.")] = None,
    key: Annotated[Path | None, typer.Option(help="The signer's SSH key; not the owner's.")] = None,
    owner: Annotated[str, typer.Option(help="Who answers for it.")] = "",
    reason: Annotated[str, typer.Option(help="Why the control is not kept.")] = "",
    until: Annotated[str | None, typer.Option(metavar="DATE", help="Its last day: 2026-12-31.")] = None,
    target: Annotated[str | None, typer.Option(help="Of this target only.")] = None,
    finding: Annotated[
        str | None,
        typer.Option(
            help="CONTROL is a runbook, and only this finding of it, by its key, or what this check cannot measure; controls stay due."
        ),
    ] = None,
) -> int:
    """Sign that a control is not kept for a time: who answers for it, why, until when. Without a key: list them."""
    from runbook import layout
    from runbook.archive.exceptions import check_exceptions, sign_exception
    from runbook.controls.counting import find_control, read_targets
    from runbook.controls.population import targets_of
    from runbook.params.controls import load_controls
    from runbook.session import identity

    if control is None or key is None:
        problems, good = check_exceptions()
        for one in good:
            if control in (None, one.control):
                say(
                    f"{one.control} of {one.target or 'every target'}{_only(one.finding)}, until {one.expires}: {one.reason} "
                    f"(owner {one.owner}, signed by {one.signer})"
                )
        for problem in problems:
            say(f"BAD   {problem}: it excepts nothing")
        say("Next: runbook exception CONTROL --owner PERSON --reason TEXT --until DATE --key KEY")
        return 1 if problems else 0
    if finding is not None:
        control, known = _runbook_of(control, finding), sorted(read_targets())
    else:
        known = targets_of(find_control(load_controls(), control), read_targets())
    if target is not None and target not in known:
        raise OperatorError(f"{control} is not due of '{target}'.", next=f"Its targets: {', '.join(known) or 'none'}.")
    try:
        last = date.fromisoformat(until or "")
    except ValueError:
        raise OperatorError("An exception ends: --until names its last day.", next="--until 2026-12-31") from None
    worst = _worst(control, [target] if target else known, finding) if finding is not None else None
    path, made = sign_exception(
        control, target, owner=owner, reason=reason, expires=last, key=key.expanduser(), user=identity.operator(),
        finding=finding, worst=worst,
    )  # fmt: skip
    if worst is not None:
        say(f"It covers the finding while it is no worse than now: {worst}.")
    say(
        f"{made.signer} has excepted {control} of {target or 'every target'}{_only(finding)} until {made.expires}: {layout.short(path)}"
    )
    say("Next: runbook due")
    return 0


def _worst(runbook: str, targets: Iterable[str], finding: str) -> Any:
    """How the newest records show it, the worst of all targets; None when none of them does. A check's name is about what it cannot see."""
    from runbook.archive.earlier import earlier_states

    if "/" not in finding:
        return "not measured"
    seen = [states[finding] for target in targets if finding in (states := earlier_states(runbook, target))]
    return max(seen, key=("not measured", "warning", "critical").index, default=None)


def _runbook_of(name: str, finding: str) -> str:
    """The runbook's name; its findings may be excepted, and one of its checks finds this.

    Raises:
        ParamsError: no such runbook, one that proves or changes what no signature can make up for, or no such check.
    """
    from runbook.cli.catalog import check_files
    from runbook.errors import ParamsError
    from runbook.params.loading import nearest
    from runbook.session import notebook

    path = notebook.find_notebook(name)
    content = notebook.read_notebook(path)
    if not content.get("metadata", {}).get("runbook", {}).get("excepts_findings", False):
        raise ParamsError(f"No finding of {name} can be excepted.", next="runbook show daily-health")
    checks = {Path(file).stem.partition("_post_")[0] for file in check_files(content)}
    check = finding.partition("@")[0].partition("/")[0]
    if check in content["metadata"]["runbook"].get("excepts_places", ()):
        if "/" not in finding:
            raise ParamsError(
                f"What {check} cannot see is excepted place by place.",
                next=f"--finding {check}@/KIND, as the run names it",
            )
        return notebook.slug_of(path)
    if check not in checks:
        raise ParamsError(f"{name} has no check '{check}'; {nearest(check, checks)}", next=f"runbook show {name}")
    return notebook.slug_of(path)


def _only(finding: str | None) -> str:
    return f", {finding} alone" if finding is not None else ""
