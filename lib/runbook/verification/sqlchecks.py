"""Check files: `sql/verification/*.sql`. A DBA adds a check by adding a file.

`-- expect: <column> <op> <value>` holds for every row returned; `rows` stands for the number of rows. Operators: = != < <= > >=.
A value is a number, 'text', true, false, or :name (a threshold from params). NULL, no row where a column is expected, an
error or a missing column is UNKNOWN with the reason.
"""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from runbook import layout
from runbook.errors import ParamsError, PlatformError
from runbook.model import Check, Finding, Severity, Status
from runbook.params.loading import nearest
from runbook.postgres import causes
from runbook.postgres.causes import Cause
from runbook.postgres.checksession import Way, check_session
from runbook.postgres.connect import SqlError
from runbook.postgres.sqlfiles import SqlFile, parse_sql, require_read_only
from runbook.texts import many
from runbook.verification import maxima

FOLDER = "verification"
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_EXPECT = re.compile(r"^([a-z_][a-z0-9_]*)\s*(<=|>=|!=|=|<|>)\s*(.+)$")
_MOST_FINDINGS = 20


@dataclass(frozen=True)
class Expectation:
    """One expectation; `value` is a Decimal, str or bool, or a name when `is_variable`."""

    column: str
    op: str
    value: Decimal | str | bool
    is_variable: bool = False

    def resolved(self, given: dict[str, Any], where: str) -> Expectation:
        """With its variable's value.

        Raises:
            ParamsError: nobody gives it.
        """
        if not self.is_variable:
            return self
        if self.value not in given:
            raise ParamsError(
                f"{where}: the expectation wants :{self.value}; {nearest(str(self.value), given)}",
                next=f"Add {self.value} under verification.thresholds in the params file.",
            )
        return Expectation(self.column, self.op, Decimal(str(given[str(self.value)])))

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return f"{self.column} {self.op} {str(self.value).lower()}"
        shown = f"{self.value.normalize():f}" if isinstance(self.value, Decimal) else str(self.value)
        return f"{self.column} {self.op} {shown}"

    def in_unit(self, unit: str) -> str:
        """With the unit of the columns; `rows` are counted without one."""
        return str(self) if self.column == "rows" or not unit else f"{self} {unit}"


def parse_expectation(text: str, where: str) -> Expectation:
    """An expectation from its line.

    >>> str(parse_expectation("orphaned_vehicles = 0", "x.sql"))
    'orphaned_vehicles = 0'

    Raises:
        ParamsError: it is not of the form `column op value`.
    """
    match = _EXPECT.match(text.strip())
    if match is None:
        raise ParamsError(
            f"{where}: the expectation '{text}' cannot be understood.",
            next="Write it as: -- expect: column_name = 0   (operators = != < <= > >=; 'rows' is the number of rows).",
        )
    column, op, raw = match[1], match[2], match[3].strip()
    if raw.startswith(":"):
        return Expectation(column, op, raw[1:].strip("'"), is_variable=True)
    if raw.lower() in ("true", "false"):
        return Expectation(column, op, raw.lower() == "true")
    if re.fullmatch(r"'(?:[^']|'')*'", raw):
        return Expectation(column, op, raw[1:-1].replace("''", "'"))
    try:
        return Expectation(column, op, Decimal(raw))
    except ArithmeticError:
        raise ParamsError(
            f"{where}: '{raw}' is no number, 'text', true, false or :name.", next="Correct the expectation."
        ) from None


@dataclass(frozen=True)
class CheckFile:
    """A check as its file describes it."""

    name: str
    sql: SqlFile
    expectations: tuple[Expectation, ...]
    severity: Severity
    suite: str | None
    is_for_main: bool

    @property
    def title(self) -> str:
        return self.sql.get("purpose", self.name.replace("_", " "))


def load_checks(folder: Path | None = None) -> list[CheckFile]:
    """Every check file, all problems named at once.

    Raises:
        ParamsError: files that are broken, each with its name and line.
    """
    found: list[CheckFile] = []
    problems: list[str] = []
    for path in sorted((folder or layout.sql() / FOLDER).glob("*.sql")):
        try:
            found.append(_load(path))
        except ParamsError as problem:
            problems.append(problem.message)
    if problems:
        raise ParamsError("\n".join(problems), next="Correct or remove the file; no check runs while one is broken.")
    return found


def _load(path: Path) -> CheckFile:
    sql = parse_sql(path)
    require_read_only(sql)
    where = layout.short(path)
    if sql.extensions:
        raise ParamsError(
            f"{where}: ':extension.object' is for checks of a living server; name the schema, and the header's 'uses'."
        )
    lines = sql.header.get("expect", ())
    if not lines:
        raise ParamsError(f"{where}: the check has no expectation.", next="Add a line: -- expect: column_name = 0")
    word = sql.get("severity", "error")
    if word not in {item.value for item in Severity}:
        raise ParamsError(f"{where}: unknown severity '{word}'; {nearest(word, [item.value for item in Severity])}")
    if sql.get("database", "all") not in ("all", "main"):
        raise ParamsError(f"{where}: database is 'all' or 'main', not '{sql.get('database')}'.")
    return CheckFile(
        name=path.stem,
        sql=sql,
        expectations=tuple(parse_expectation(line, where) for line in lines),
        severity=Severity(word),
        suite=sql.get("suite") or None,
        is_for_main=sql.get("database", "all") == "main" or bool(sql.get("suite")),
    )


def select_checks(
    checks: Iterable[CheckFile], suites: Iterable[str], wanted: str, skip: Iterable[str]
) -> list[CheckFile]:
    """The checks of the general kind and of the suites, narrowed to those asked for.

    Args:
        wanted: 'all', or names separated by commas.
        skip: names that params leave out.

    Raises:
        ParamsError: a name or suite that does not exist.
    """
    every = list(checks)
    names = {check.name for check in every}
    suite_names = {check.suite for check in every if check.suite}
    for suite in suites:
        if suite not in suite_names:
            raise ParamsError(
                f"There is no suite '{suite}' in {layout.short(layout.sql() / FOLDER)}; {nearest(suite, suite_names)}"
            )
    asked = None if wanted.strip() in ("all", "") else {word.strip() for word in wanted.split(",") if word.strip()}
    for name in [*(asked or ()), *skip]:
        if name not in names:
            raise ParamsError(
                f"There is no check '{name}'; {nearest(name, names)}", next="runbook show backup-verification"
            )
    return [
        check
        for check in every
        if (check.suite is None or check.suite in set(suites))
        and (asked is None or check.name in asked)
        and check.name not in set(skip)
    ]


def check_id(check: CheckFile, database: str) -> str:
    """What the check is called where it runs."""
    return f"sql/{check.name}@{database}"


def ask_check(check: CheckFile, way: Way, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the check's statement, asked in a session of its own.

    Raises:
        NotMeasured: the statement was not sent, was ended, or has changed its session; with the reason.
        ParamsError: a variable that nobody gives.
        PlatformError, SqlError: the database cannot be entered; what the server said.
    """
    values = check.sql.values(given)
    with check_session(way, check.sql.uses) as session:
        found = session.ask(check.sql.text, check.sql.statement, values)
        return maxima.above(session, found, check.sql) if check.sql.get("maximum") else found


def run_check(
    check: CheckFile, way: Way, database: str, given: dict[str, Any], kept: list[dict[str, Any]] | None = None
) -> Check:
    """The check's expectation against what the database holds.

    Args:
        kept: gets the rows of the check's statement.
    """
    began = time.monotonic()
    where = layout.short(check.sql.path)
    expectations: list[Expectation] = []

    def result(
        status: Status, observed: str, reason: str | None, findings: tuple[Finding, ...] = (), step: str | None = None
    ) -> Check:
        return Check(
            id=check_id(check, database),
            title=check.title[:1].upper() + check.title[1:],
            status=status,
            expected="; ".join(item.in_unit(check.sql.get("unit")) for item in expectations or check.expectations),
            observed=observed,
            object=database,
            severity=check.severity,
            reason=reason,
            next=(check.sql.get("next") or None)
            if status is Status.FAIL
            else None
            if status is Status.PASS
            else step or f"Read {where}.",
            source=where,
            seconds=time.monotonic() - began,
            findings=findings,
        )

    try:
        expectations = [item.resolved(given, where) for item in check.expectations]
        found = ask_check(check, way, given)
        if kept is not None:
            kept += found
    except (SqlError, ParamsError, PlatformError) as problem:
        words = causes.words_of(problem)
        cause = causes.cause_of(words)
        step = causes.next_step(words) if cause.is_host or cause in (Cause.HELD, Cause.LIMIT, Cause.DAMAGE) else None
        return result(Status.UNKNOWN, "no answer", f"{where} in database {database}: {words}", (), step)
    return _judge(expectations, found, where, database, result, check)


def _judge(
    expectations: list[Expectation],
    found: list[dict[str, Any]],
    where: str,
    database: str,
    result: Callable[..., Check],
    check: CheckFile,
) -> Check:
    broken: list[Finding] = []
    for expectation in expectations:
        if expectation.column == "rows":
            if not _holds(expectation, len(found)):
                broken.append(_finding(check, expectation, database, str(len(found)), found[:3]))
                broken += [
                    _finding(check, expectation, database, show_row(row), [row]) for row in found[:_MOST_FINDINGS]
                ]
            continue
        if not found:
            if any(item.column == "rows" for item in expectations):
                continue
            return result(
                Status.UNKNOWN,
                "no row",
                f"{where} returned no row in {database}, and a value of {expectation.column} is due.",
            )
        for row in found:
            if expectation.column not in row:
                return result(
                    Status.UNKNOWN,
                    show_row(row),
                    f"{where} returns no column '{expectation.column}'; {nearest(expectation.column, row)}",
                )
            if row[expectation.column] is None:
                return result(
                    Status.UNKNOWN, show_row(row), f"{where} returned NULL for {expectation.column} in {database}."
                )
            try:
                holds = _holds(expectation, row[expectation.column])
            except (TypeError, ArithmeticError):
                return result(
                    Status.UNKNOWN,
                    show_row(row),
                    f"{where}: {row[expectation.column]!r} cannot be compared with {expectation.value}.",
                )
            if not holds and len(broken) < _MOST_FINDINGS:
                broken.append(_finding(check, expectation, database, str(row[expectation.column]), [row]))
    observed = _observed(expectations, found, check.sql.get("unit"))
    if not broken:
        return result(Status.PASS, observed, None)
    reason = f"{broken[0].expected} does not hold in {database}: {broken[0].message}"
    return result(Status.FAIL, observed, reason, tuple(broken[:_MOST_FINDINGS]))


def _holds(expectation: Expectation, value: Any) -> bool:
    wanted = expectation.value
    if isinstance(wanted, Decimal) and not isinstance(value, bool):
        value = Decimal(str(value))
    elif isinstance(wanted, str):
        value = str(value)
    elif isinstance(wanted, bool) and not isinstance(value, bool):
        raise TypeError("a truth value is due")
    return _OPERATORS[expectation.op](value, wanted)


def _finding(
    check: CheckFile, expectation: Expectation, database: str, observed: str, some: list[dict[str, Any]]
) -> Finding:
    return Finding(
        id=f"sql/{check.name}",
        object=database,
        severity=check.severity,
        observed=observed,
        expected=str(expectation),
        unit=check.sql.get("unit") or None,
        message="; ".join(show_row(row) for row in some) or f"{expectation.column} is {observed}",
        next=check.sql.get("next") or None,
    )


def show_row(row: Mapping[str, Any]) -> str:
    """Return a row of a check's statement in words."""
    return ", ".join(f"{name} = {value}" for name, value in row.items())


def _observed(expectations: list[Expectation], found: list[dict[str, Any]], unit: str) -> str:
    columns = dict.fromkeys(item.column for item in expectations if item.column != "rows")
    shown = []
    for column in columns:
        values = [row[column] for row in found if row.get(column) is not None]
        if len(values) == 1:
            shown.append(f"{column} = {values[0]} {unit}".rstrip())
        elif values:
            shown.append(
                f"{column} from {min(values)} to {max(values)} {unit}".rstrip() + f" in {many(len(values), 'row')}"
            )
    return "; ".join(shown) or f"rows = {len(found)}"
