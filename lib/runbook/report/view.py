"""A run record in the order and words of the report: no HTML here, and nothing that the record does not say."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from runbook.model import Check, Finding, Measure, RunRecord, Severity, Status, StepState, Verdict
from runbook.report.values import amount_text, number_text, text_of, time_text

#: What each verdict means, for a reader who has never seen this project.
MEANING = {
    Verdict.PASS: "Every planned step ran and every check passed.",
    Verdict.FAIL: "At least one check found the target, its backups or its WAL at fault.",
    Verdict.WAITING: "The run stopped at a gate or a question and waits for a human decision.",
    Verdict.INCOMPLETE: "Something did not run or could not be observed: nothing is proven either way.",
}

#: A PASS of a run in which some steps did not apply; and of one that checked nothing, as a dry run may.
_IN_PART = "Every planned step that applies ran, and every check passed."
_UNCHECKED = "Every planned step that applies ran. Nothing was checked, so nothing is proven about the target."

#: Tables of an account on the first screen; those that do not add up come first.
_MOST_ACCOUNTS = 30
_CHECK_ORDER = (Status.FAIL, Status.UNKNOWN, Status.PASS)
_SEVERITY_ORDER = (Severity.CRITICAL, Severity.ERROR, Severity.WARNING, Severity.INFO)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A name and what stands beside it; `mono` for identifiers that are compared letter by letter."""

    name: str
    text: str
    mono: bool = False


@dataclasses.dataclass(frozen=True)
class MeasureRow:
    """A measured figure beside its budget; `share` is the part of the budget used, in percent."""

    title: str
    value: str
    budget: str
    within: bool | None
    share: float | None
    source: str


def span_text(start: datetime, end: datetime, seconds: float) -> str:
    r"""When, in UTC; the date of the end only where it differs.

    >>> from datetime import UTC
    >>> span_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 5, tzinfo=UTC), 55)
    '2026-01-02 03:04:05 to 03:05:00 UTC (55\xa0s)'
    """
    first, last = time_text(start), time_text(end)
    if first[:10] == last[:10]:
        last = last[11:]
    return f"{first.removesuffix(' UTC')} to {last} ({amount_text(seconds, 's').split(' (')[0]})"


def meaning(record: RunRecord) -> str:
    """What the record's verdict means."""
    if record.verdict is not Verdict.PASS:
        return MEANING[record.verdict]
    if not record.checks:
        return _UNCHECKED
    idle = any(step.state is StepState.NOT_APPLICABLE for step in record.steps)
    return _IN_PART if idle else MEANING[record.verdict]


def key_facts(record: RunRecord) -> list[Pair]:
    """Who, when, which system: the first screen."""
    target = record.target
    system = [
        f"system identifier {target.system_identifier}" if target.system_identifier else None,
        f"PostgreSQL {target.server_version.removeprefix('PostgreSQL ')}" if target.server_version else None,
        f"host {target.host}" if target.host else None,
    ]
    known = [part for part in system if part]
    facts = [
        Pair("Target", f"{target.name} ({target.environment} environment, platform {target.platform})"),
        Pair("System", ", ".join(known) or _unasked(record)),
        Pair("When", span_text(record.started_at, record.ended_at, record.seconds)),
        Pair("Who", f"{operator_text(record)} on {record.host}, by {record.started_by}"),
        Pair("Controls", controls_text(record)),
        Pair("Checks", tally(record)),
        Pair("Run", f"{record.run}, attempt {record.attempt}", mono=True),
    ]
    if record.checkout is not None and record.checkout.modified is not False:
        facts.append(Pair("Code", f"commit {record.commit or 'not known'}; {checkout_text(record)}"))
    if record.scheduled_for is not None:
        facts.insert(4, Pair("Scheduled", time_text(record.scheduled_for)))
    return facts


def account_rows(record: RunRecord) -> list[list[str]]:
    """What became of each row that the damage took, for the first screen: the heading first; empty where nothing was copied back."""
    account = record.facts.get("account")
    rows = account.get("rows") if isinstance(account, dict) else None
    if not rows:
        return []
    names = list(rows[0])
    shown = [
        [number_text(row[name]) if isinstance(row[name], int) else text_of(row[name]) for name in names]
        for row in rows[:_MOST_ACCOUNTS]
    ]
    if len(rows) > _MOST_ACCOUNTS:
        shown.append(
            ["…", f"{len(rows) - _MOST_ACCOUNTS:,} more tables, under Facts recorded", *[""] * (len(names) - 2)]
        )
    return [names, *shown]


def operator_text(record: RunRecord) -> str:
    """Who ran it and how that is known; what the environment alone says is labelled claimed."""
    said = [f"by {record.operator_known_by}"] if record.operator_known_by else []
    said += [f"claimed: {', '.join(record.operator_claimed)}"] if record.operator_claimed else []
    return f"{record.operator} ({'; '.join(said)})" if said else record.operator


def _unasked(record: RunRecord) -> str:
    """Why no system is named: some runbooks ask none, others ended before."""
    if record.verdict is Verdict.PASS:
        return "no server was asked"
    return "not observed: the run ended before it was asked"


def controls_text(record: RunRecord) -> str:
    """Which controls the run satisfies; a run that satisfies none says so."""
    listed = ", ".join(record.controls)
    if record.satisfies_controls and listed:
        return f"satisfies {listed}"
    return "satisfies no control" + (f" (written for {listed})" if listed else "")


def tally(record: RunRecord) -> str:
    """How many checks passed, failed, stayed unknown, and how many steps ran."""
    counted = Counter(check.status for check in record.checks)
    ran = sum(step.state is StepState.DONE for step in record.steps)
    idle = sum(step.state is StepState.NOT_APPLICABLE for step in record.steps)
    return (
        f"{counted[Status.PASS]} passed, {counted[Status.FAIL]} failed, {counted[Status.UNKNOWN]} unknown; "
        f"{ran} of {len(record.steps)} steps ran" + (f", {idle} not applicable" if idle else "")
    )


def measure_rows(record: RunRecord) -> list[MeasureRow]:
    """Measures beside their budgets."""
    return [_measure_row(measure) for measure in record.measures]


def _measure_row(measure: Measure) -> MeasureRow:
    budget, share = measure.budget, None
    if budget is not None and budget > 0:
        share = 100 * measure.value / budget
    return MeasureRow(
        measure.title,
        amount_text(measure.value, measure.unit),
        amount_text(budget, measure.unit) if budget is not None else "no budget",
        measure.value <= budget if budget is not None else None,
        share,
        measure.source or "",
    )


def checks_by_status(record: RunRecord) -> dict[str, list[Check]]:
    """FAIL first, then UNKNOWN, then PASS; within each in the order they were taken."""
    return {status.value: [check for check in record.checks if check.status is status] for status in _CHECK_ORDER}


def all_findings(record: RunRecord) -> list[Finding]:
    """Findings of the run and of its checks, each once, the gravest first."""
    found = list(dict.fromkeys([*record.findings, *(f for check in record.checks for f in check.findings)]))
    return sorted(found, key=lambda finding: _SEVERITY_ORDER.index(finding.severity))


def steps_not_run(record: RunRecord) -> list[Any]:
    """Planned steps that did not come to their end."""
    return [step for step in record.steps if step.state not in (StepState.DONE, StepState.NOT_APPLICABLE)]


def flattened(value: Any, name: str = "") -> list[Pair]:
    """A JSON structure as lines of `path.to.name` and value.

    >>> [(pair.name, pair.text) for pair in flattened({"point": {"lsn": "0/3000060", "tli": 1}, "tags": []})]
    [('point.lsn', '0/3000060'), ('point.tli', '1'), ('tags', 'none')]
    """
    if isinstance(value, dict) and value:
        return [pair for key, item in value.items() for pair in flattened(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in value):
        return [pair for index, item in enumerate(value, 1) for pair in flattened(item, f"{name}[{index}]")]
    if value in ({}, [], ()):
        return [Pair(name, "none")]
    # Identifiers and LSNs must stand as they are: only broken numbers are shortened.
    return [Pair(name, number_text(value) if isinstance(value, float) else str_of(value))]


def str_of(value: Any) -> str:
    """A value as text, whole numbers without grouping: they may be identifiers.

    >>> str_of(7234567890123456789), str_of("")
    ('7234567890123456789', '(empty)')
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str_of(item) for item in value)
    return text_of(value) or "(empty)"


def checkout_text(record: RunRecord) -> str:
    """Whether what ran is the commit that the record names."""
    facts = record.checkout
    if facts is None:
        return "not recorded"
    if facts.modified is None:
        return f"not known whether it is as committed: {facts.unknown}"
    elsewhere = f"; not in the checkout: {', '.join(facts.elsewhere)}" if facts.elsewhere else ""
    if not facts.modified:
        return f"as committed{elsewhere}"
    more = facts.differing_files - len(facts.differs)
    named = ", ".join(facts.differs) + (f" and {more} more" if more else "")
    files = "1 file differs" if facts.differing_files == 1 else f"{facts.differing_files} files differ"
    return (
        f"MODIFIED: {files} from the commit ({named}); SHA-256 of the difference {facts.difference_sha256}{elsewhere}"
    )


def provenance(record: RunRecord, cells_not_run: int) -> list[Pair]:
    """What the run was made of, so that it can be repeated and compared."""
    notebook, params = record.notebook, record.params_file
    return [
        Pair("Run", record.run, mono=True),
        Pair("Attempt", str(record.attempt)),
        Pair("Runbook", record.runbook),
        Pair("Notebook", notebook.path),
        Pair("Notebook SHA-256", notebook.sha256, mono=True),
        Pair("Params file", params.path if params else "none"),
        Pair("Params file SHA-256", params.sha256 if params else "none", mono=True),
        Pair("Commit", record.commit or "not in a git checkout", mono=True),
        Pair("Checkout", checkout_text(record)),
        Pair("Library SHA-256", record.library_sha256, mono=True),
        Pair("SQL files SHA-256", record.sql_sha256 or "not recorded", mono=True),
        Pair("Previous record of this run", record.previous_record or "none", mono=True),
        Pair("Line in reports/RUNS", str(record.ledger_line) if record.ledger_line is not None else "none"),
        Pair("Exit code", str(record.exit_code)),
        Pair("Notebook cells not run", str(cells_not_run)),
    ]


#: Statements of one step, and characters of one statement, that a report shows; statements.jsonl has all of them.
_MOST_STATEMENTS, _LONGEST_SQL, _MOST_PARTS = 60, 4_000, 20


@dataclasses.dataclass(frozen=True)
class StepStatements:
    """What one step asked: the lines that are shown, and how many are not."""

    step: str
    lines: list[dict[str, Any]]
    left_out: int


def statements_by_step(lines: Sequence[Mapping[str, Any]]) -> list[StepStatements]:
    """The statements in the order they were asked; a step that was done twice in an attempt stands twice."""
    steps = [
        (attempt, step, list(own))
        for (attempt, step), own in itertools.groupby(lines, lambda line: (line["attempt"], line["step"]))
    ]
    return [
        StepStatements(
            step if attempt == lines[-1]["attempt"] else f"{step} (attempt {attempt})",
            [{**line, "sql": _cut(line["sql"]), "made": _made(line)} for line in own[:_MOST_STATEMENTS]],
            max(0, len(own) - _MOST_STATEMENTS),
        )
        for attempt, step, own in steps
    ]


def _made(line: Mapping[str, Any]) -> str:
    """Of a pattern what stood in it, as far as a report shows it."""
    parts, again = line.get("made") or [], line.get("made_in") or []
    named = [str(part[-1]) for part in parts[:_MOST_PARTS]]
    more = f" and {len(parts) - len(named)} more, all in statements.jsonl" if len(parts) > len(named) else ""
    said = [f"made for {', '.join(named)}{more}"] if named else []
    said += [f"made again for all of statement {number}" for number in again]
    return "; ".join(said)


def _cut(sql: str) -> str:
    text = inspect.cleandoc(sql)
    return text if len(text) <= _LONGEST_SQL else f"{text[:_LONGEST_SQL]} … [{len(text):,} characters]"
