"""Runs check files on the living server: read only, each with its timeout and in a connection of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runbook import layout, texts
from runbook.errors import NotMeasured, PlatformError
from runbook.inspection.checkfiles import CheckFile
from runbook.inspection.states import Looked, Seen, State
from runbook.params.schema import Threshold
from runbook.postgres.allowlist import Runner
from runbook.postgres.checksession import Way, check_session
from runbook.postgres.connect import Connection, SqlError, shared_rows
from runbook.postgres.sqlfiles import SqlFile, load_sql

#: Units of ages, in seconds.
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0}
#: Seconds by which two clocks that are kept right may differ.
_SKEW = 60.0
Open = Callable[[str | None], Connection]
_STATEMENTS = "pg_stat_statements"
#: invalid byte sequence; no equivalent in the other encoding.
_OTHER_ENCODING = ("22021", "22P05")


@dataclass(frozen=True)
class Rights:
    """Who we are to the server. `timeline`: that it writes, None on a standby."""

    role: str
    version: str
    version_number: int
    system_identifier: str | None
    roles: frozenset[str]
    timeline: int | None = None


@dataclass
class Load:
    """What the look cost the target."""

    queries: int = 0
    seconds: float = 0.0

    def ask(self, connection: Connection, text: str, values: list[Any], *shared: str) -> list[dict[str, Any]]:
        """Return the statement's rows; `shared` are columns with names of databases."""
        began = time.monotonic()
        try:
            return shared_rows(connection, text, values, *shared)
        finally:
            self.queries += 1
            self.seconds += time.monotonic() - began


@dataclass
class Look:
    """One look at a server.

    Args:
        open_: a read-only connection with a statement timeout to a database, None for the connection string's own.
        overrides: thresholds of the params.
        seconds: after which a check's statement is ended; the connection's statement_timeout.
        given: the values of `-- given:` in check files.
    """

    open_: Open
    overrides: Mapping[str, Threshold]
    seconds: float
    given: Mapping[str, object] = field(default_factory=dict)
    load: Load = field(default_factory=Load)
    has_texts: bool = True

    def rights(self) -> Rights:
        """Who we are; nothing is judged.

        Raises:
            PlatformError: the server cannot be reached.
        """
        with self.open_(None) as connection:
            found = self.load.ask(connection, load_sql("rates/read_rights").text, [])[0]
            return Rights(
                found["role"],
                found["version"],
                connection.info.server_version,
                found["system_identifier"],
                frozenset(found["rights"]),
                found["timeline"],
            )

    def databases(self, named: tuple[str, ...] | None) -> list[dict[str, Any]]:
        """The databases to look at: name, and whether we may enter. One that is named and not there may not be entered."""
        with self.open_(None) as connection:
            found = self.load.ask(connection, load_sql("rates/list_databases").text, [], "name")
        if named is None:
            return found
        known = {form: row for row in found for form in (texts.escaped(row["name"]), row["name"])}
        return [known.get(name, {"name": name, "may": False}) for name in named]

    def run(self, files: list[CheckFile], databases: list[dict[str, Any]], rights: Rights) -> list[Looked]:
        """Every check has been made, or says why not; in the order of their ranks."""
        looked: list[Looked] = []
        waiting = [file for file in files if not file.per_database]
        for row in databases:
            name = str(row["name"])
            try:
                if not row["may"]:
                    raise PlatformError(
                        f"no database {name} that {rights.role} may enter: GRANT CONNECT, or correct the databases in params"
                    )
                with self.open_(name) as connection:
                    extensions = self._extensions(connection)
            except (PlatformError, SqlError) as problem:
                why = _first_line(problem)
                looked += [self._unmeasured(file, name, why) for file in files if file.per_database]
                continue
            # A check of the whole server is made in the first database that has what it needs.
            ready = [file for file in waiting if set(file.extensions) <= set(extensions)]
            waiting = [file for file in waiting if file not in ready]
            looked += [self._look(file, name, extensions, rights) for file in ready]
            looked += [self._look(file, name, extensions, rights) for file in files if file.per_database]
        looked += [self._unmeasured(file, None, _missing(file, {})) for file in waiting]
        return sorted(looked, key=lambda one: (one.rank, one.name, one.database or ""))

    def _extensions(self, connection: Connection) -> dict[str, str]:
        """The extensions of the connection's database, with their schemas."""
        found = self.load.ask(connection, load_sql("rates/list_extensions").text, [])
        return {str(one["name"]): str(one["schema"]) for one in found}

    def _look(
        self,
        file: CheckFile,
        place: str,
        extensions: Mapping[str, str],
        rights: Rights,
    ) -> Looked:
        """The check, made in the database `place`."""
        database = place if file.per_database else None
        lacking = [role for role in file.roles if role not in rights.roles]
        if lacking:
            return self._unmeasured(file, database, f"{rights.role} lacks {', '.join(lacking)}: GRANT pg_monitor TO it")
        if not set(file.extensions) <= set(extensions):
            return self._unmeasured(file, database, _missing(file, extensions))
        began = time.monotonic()
        limits = self.limits(file)
        values = file.sql.values({**self.given, **{name: limit.value for name, limit in limits.items()}})
        try:
            found = self.ask(file.sql, place, values, extensions)
            if found and not {"object", "value"} <= set(found[0]):
                where = layout.short(file.sql.path)
                return self._unmeasured(file, database, f"{where} returns no column 'object' or no column 'value'")
            seen = tuple(judge(file, database, row, limits) for row in found)
        except (SqlError, PlatformError) as problem:
            return self._unmeasured(file, database, _first_line(problem), time.monotonic() - began)
        return self._looked(file, database, seen, time.monotonic() - began)

    def ask(
        self, sql: SqlFile, place: str | None, values: Sequence[Any] = (), schemas: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the rows of a file's statement, asked in a session of its own.

        Args:
            place: the database; None: the connection string's own.
            schemas: those of the extensions there.

        Raises:
            NotMeasured: the statement was not sent, was ended, or has changed its session; with the reason.
            PlatformError: the database cannot be entered.
            SqlError: what the server said.
        """
        text, statement = sql.placed(schemas or {})
        began = time.monotonic()
        try:
            way = Way(lambda: self.open_(place), Runner.PRODUCTION, self.seconds)
            with check_session(way, sql.uses, sql.extensions) as session:
                return session.ask(text, statement, values)
        finally:
            self.load.queries += 1
            self.load.seconds += time.monotonic() - began

    def statements(self, databases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each statement has taken so far, from the first database that can tell.

        Raises:
            NotMeasured: none can.
        """
        why = "no database could be entered"
        for name in (str(row["name"]) for row in databases if row["may"]):
            try:
                with self.open_(name) as connection:
                    schemas = self._extensions(connection)
                if _STATEMENTS in schemas:
                    return self._ask_statements(name, schemas)
                why = f"the extension {_STATEMENTS} is not installed"
            except (PlatformError, SqlError) as problem:
                why = str(problem).strip().splitlines()[0]
        raise NotMeasured(f"Statements cannot be told apart: {why}.", next=f"CREATE EXTENSION {_STATEMENTS}")

    def _ask_statements(self, database: str, schemas: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return what each statement has taken; without texts where one of them cannot be converted, which `has_texts` says from then on."""
        sql = load_sql("rates/read_statements")
        try:
            return self.ask(sql, database, [self.has_texts], schemas)
        except SqlError as problem:
            if problem.sqlstate not in _OTHER_ENCODING or not self.has_texts:
                raise
            self.has_texts = False
            return self._ask_statements(database, schemas)

    def limits(self, file: CheckFile) -> dict[str, Threshold]:
        """The thresholds in force: the file's own unless the params say others."""
        return {name: self.overrides.get(name, own) for name, own in file.thresholds.items()}

    def _unmeasured(self, file: CheckFile, database: str | None, why: str, seconds: float = 0.0) -> Looked:
        seen = Seen(file.name, file.rank, database, "all", State.NOT_MEASURED, None, file.unit, None, why)
        return self._looked(file, database, (seen,), seconds)

    def _looked(self, file: CheckFile, database: str | None, seen: tuple[Seen, ...], seconds: float) -> Looked:
        limits = self.limits(file)
        said = [
            f"{word} from {limits[name].value:g} {file.unit} ({limits[name].source})"
            for word, name in (("warning", file.warning), ("critical", file.critical))
            if name
        ]
        return Looked(
            area=file.area,
            name=file.name,
            title=file.title,
            rank=file.rank,
            database=database,
            expected="; ".join(said) or "none",
            seen=seen,
            seconds=seconds,
            next=file.sql.get("next"),
            source=layout.short(file.sql.path),
            exhausts=file.exhausts,
        )


def _first_line(problem: SqlError | PlatformError) -> str:
    return texts.visible(
        (problem.message if isinstance(problem, PlatformError) else str(problem)).strip().splitlines()[0]
    )


def _missing(file: CheckFile, extensions: Mapping[str, str]) -> str:
    absent = [name for name in file.extensions if name not in extensions]
    return (
        f"the extension {', '.join(absent)} is not installed: CREATE EXTENSION {absent[0]}"
        if absent
        else "no database could be entered"
    )


def judge(file: CheckFile, database: str | None, row: Mapping[str, Any], limits: Mapping[str, Threshold]) -> Seen:
    """What a row means. A row without a figure, or one that is no number, was not measured."""
    value = row.get("value")
    figure = None if value is None or not math.isfinite(float(value)) else float(value)
    why = row.get("unmeasured")
    state, limit = State.OK, None
    if why or figure is None:
        state, why = State.NOT_MEASURED, why or "the check returned no figure for it"
    elif figure * _SECONDS.get(file.unit.partition(" ")[0], 0.0) < -_SKEW:
        state = State.NOT_MEASURED
        why = f"its time lies {-figure:g} {file.unit} after the clock of the server: a clock is or was wrong. {row.get('note') or ''}".strip()
    elif file.any_state is not None:
        state = file.any_state
    else:
        for name, worse in ((file.warning, State.WARNING), (file.critical, State.CRITICAL)):
            if name is None:
                continue
            if limit is None:
                limit = limits[name].value
            if figure >= limits[name].value:
                state, limit = worse, limits[name].value
    return Seen(
        check=file.name,
        rank=file.rank,
        database=database,
        object=str(row["object"]),
        state=state,
        value=figure,
        unit=file.unit,
        limit=limit,
        note=str(why or row.get("note") or ""),
        change=row.get("change") or None,
        undo=row.get("undo") or None,
        run_in=row.get("run_in") or None,
    )
