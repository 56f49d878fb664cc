"""The contents of a restored cluster: read from end to end, page by page, row by row, and asked by SQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from runbook import texts
from runbook.errors import NotMeasured, PlatformError, RecoveryFailed, RunbookError
from runbook.model import Check
from runbook.platforms.cluster.scratch import Scratch
from runbook.postgres import causes
from runbook.postgres.allowlist import Runner
from runbook.postgres.checksession import Way
from runbook.postgres.connect import Connection, SqlError, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.verification import catalogs, content, integrity, otherindexes
from runbook.verification.ownstate import OwnState
from runbook.verification.sqlchecks import CheckFile, check_id, run_check

Progress = Callable[[str, float, float, str], None]
_READERS = 2
_AMCHECK_JOBS = 2


@dataclass
class Contents:
    """The databases of a scratch.

    `again`: the command that verifies once more on a promoted scratch. `unread` names what a server in recovery cannot read, `left_out` columns
    that COPY left out. `computed_indexes` names indexes whose expression calls a function of the application, `own` what is known to be production's own state.
    """

    scratch: Scratch
    progress: Progress
    timeout: float
    wanted: tuple[str, ...] | None = None
    again: str | None = None
    unread: list[str] = field(default_factory=list)
    without_amcheck: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    not_compared: list[str] = field(default_factory=list)
    unchecked_indexes: set[str] = field(default_factory=set)
    computed_indexes: set[str] = field(default_factory=set)
    own: OwnState = field(default_factory=OwnState)
    seconds: dict[str, float] = field(default_factory=dict)

    def databases(self) -> list[str]:
        """Databases that accept connections and are no templates, narrowed to those params name.

        Raises:
            NotMeasured: one that params name is not there, or there is none at all.
        """
        with self.scratch.connect("template1") as connection:
            found = content.list_databases(connection, self.wanted)
        missing = set(self.wanted or ()) - {*found, *map(texts.escaped, found)}
        if missing or not found:
            raise NotMeasured(
                f"The restored cluster has no database {', '.join(sorted(missing)) or 'that accepts connections'}.",
                next="Correct cluster.databases in the params file.",
            )
        return found

    def all_databases(self) -> list[str]:
        """Databases that accept connections and are no templates."""
        with self.scratch.connect("template1") as connection:
            return content.list_databases(connection)

    def read(
        self,
        database: str,
        wanted: Callable[[content.Relation], bool],
        methods: Mapping[str, str] | None = None,
    ) -> tuple[list[content.Content], list[content.SequencePosition]]:
        """Return rows and hash of each wanted relation, and where each sequence stands.

        Args:
            methods: how a relation (by its title) was read when the figures were taken that these are compared with. A query is
                possible for all where the reader reads, since this copy reaches nothing but itself; a superuser plans on no relation
                that reaches a function of its owner's.

        Raises:
            NotMeasured: the database cannot be entered or its catalogs cannot be read here, which says nothing against them.
            RecoveryFailed: they are damaged.
        """
        try:
            return self._read(database, wanted, methods)
        except (SqlError, PlatformError) as problem:
            raise self._not_read(database, problem) from problem

    def _read(
        self, database: str, wanted: Callable[[content.Relation], bool], methods: Mapping[str, str] | None
    ) -> tuple[list[content.Content], list[content.SequencePosition]]:
        in_recovery = not self.scratch.promoted
        self._settle()
        with ExitStack() as stack:
            connections: list[Connection] = []
            reader = self.scratch.reader
            for _ in range(_READERS):
                connection = stack.enter_context(self.scratch.connect_as(reader, database))
                content.prepare(connection)
                connections.append(connection)
            relations = [
                self._by_method(item, methods or {}) for item in content.list_relations(connections[0]) if wanted(item)
            ]
            self.left_out |= {
                f"{database}.{item.title}.{name}" for item in relations if item.untrusted for name in item.generated
            }
            open_to_us, closed = content.readable(relations, in_recovery=in_recovery)
            self.unread = sorted({*self.unread, *(f"{database}.{item.title}" for item in closed)})
            found = content.read_contents(
                connections, open_to_us, lambda done, total: self.progress(f"Reading {database}", done, total, "bytes")
            )
            return found, content.read_sequences(connections[0], in_recovery=in_recovery)

    def read_catalogs(self, database: str, *, with_shared: bool) -> catalogs.Catalogs:
        """Return the catalogs as the copy has them now.

        Raises:
            RecoveryFailed: nothing says which there are.
        """
        try:
            with self.scratch.connect(database) as connection:
                content.prepare(connection)
                return catalogs.read_catalogs(connection, with_shared=with_shared)
        except (SqlError, PlatformError) as problem:
            raise self._not_read(database, problem) from problem

    @staticmethod
    def _not_read(database: str, problem: SqlError | PlatformError) -> RunbookError:
        """Return what it means that a database's catalogs cannot be read: damage, or something that this host lacks."""
        words = causes.words_of(problem)
        if isinstance(problem, NotMeasured):
            return problem
        if causes.is_damage(words):
            return RecoveryFailed(
                f"The catalogs of database {database} cannot be read: {words}",
                next="Do not trust this backup: take a new one, and look at the catalogs of production.",
            )
        return NotMeasured(f"Database {database} cannot be read here: {words}", next=causes.next_step(words))

    def _by_method(self, relation: content.Relation, methods: Mapping[str, str]) -> content.Relation:
        method = methods.get(relation.title)
        if method == content.COPY and relation.untrusted is None:
            return replace(relation, untrusted="none here: as the fence was taken")
        if method == content.BY_COLUMN:
            relation = replace(relation, by_column=True)
        # A materialized view can be read by COPY from PostgreSQL 18 on only; where no figures are compared, a query reads it as well.
        is_free = method in (content.QUERY, content.BY_COLUMN) or (method is None and relation.kind == "m")
        if is_free and relation.untrusted is not None and self.scratch.reader is not None:
            return replace(relation, untrusted=None)
        return relation

    def _settle(self) -> None:
        """Rows may be marked as committed: in recovery only those behind the last restartpoint are, and each scan of each
        index's check would look the others' transactions up anew. A fifth of all checks' time, for half a second."""
        with self.scratch.connect("template1") as connection:
            connection.execute("CHECKPOINT")

    def check(self) -> list[Check]:
        """Every relation and sequence read to its end, with pg_amcheck of every database beside it."""
        began = time.monotonic()
        names = self.databases()
        self._settle()
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(self.amcheck, names, parent=False)
            checks = [self._check_read(name) for name in names]
            self.seconds["read"] = time.monotonic() - began
            checks += self.check_other_indexes()
            checks += beside.result()
        return checks

    def check_again(self, checks: list[Check]) -> list[Check]:
        """What these checks of a paused copy could not look at, looked at now: of a database no more than the relations that they name.

        Args:
            checks: as `check` has made them; of other checks nothing is looked at.
        """
        found = []
        by_shown = {texts.escaped(name): name for name in self.all_databases()}
        for check in checks:
            kind, _, shown = check.id.partition("@")
            database = by_shown.get(shown, shown)
            if kind not in ("read", "amcheck"):
                continue
            names = integrity.relations_not_seen(check)
            relations = self._relations_named(database, names) if names is not None else []
            if kind == "read":
                again = self._check_read(database, names if relations else None)
            else:
                again = integrity.check_amcheck(
                    self.scratch, database, jobs=_AMCHECK_JOBS, timeout=self.timeout, relations=relations
                )
            if relations:
                rest = f"{len(relations)} not read while paused, now: {again.observed}"
                again = again.model_copy(update={"observed": rest})
            found.append(again)
        return found

    def _relations_named(self, database: str, names: frozenset[str]) -> list[tuple[str, str]]:
        """Schema and name of each of these relations; none when one of them is not found, for then all have to be looked at.

        Args:
            names: as `content` or as pg_amcheck names them. With dots in them they may fit more than one relation: all that fit.
        """
        with self.scratch.connect(database) as connection:
            found = rows(
                connection,
                "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_catalog.pg_class AS c "
                "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
                "WHERE concat_ws('.', n.nspname, c.relname) = ANY ($1::text[]) ORDER BY 1, 2",
                [sorted(names)],
            )
        relations = [(row["schema"], row["name"]) for row in found]
        return relations if names == {f"{schema}.{name}" for schema, name in relations} else []

    def _check_read(self, database: str, names: frozenset[str] | None = None) -> Check:
        began = time.monotonic()
        try:
            contents, sequences = self.read(database, lambda relation: names is None or relation.title in names)
        except RunbookError as problem:
            return integrity.check_not_entered(database, problem, time.monotonic() - began)
        failures = [(item.title, item.problem) for item in contents if item.problem]
        failures += [(item.title, item.problem) for item in sequences if item.problem]
        count = len(contents) + len(sequences)
        total = sum(item.rows or 0 for item in contents)
        return integrity.check_read(database, failures, time.monotonic() - began, count, total)

    def amcheck(self, names: list[str], *, parent: bool) -> list[Check]:
        """pg_amcheck of each database."""
        began = time.monotonic()
        checks = [
            integrity.check_amcheck(
                self.scratch, name, jobs=_AMCHECK_JOBS, timeout=self.timeout, parent=parent, again=self.again
            )
            for name in names
        ]
        self.seconds["pg_amcheck"] = time.monotonic() - began
        if not parent:
            self.without_amcheck = [
                name for name, check in zip(names, checks, strict=True) if check.observed == integrity.NOT_INSTALLED
            ]
        return checks

    def check_parents(self) -> list[Check]:
        """pg_amcheck with all that a promoted scratch allows. It stands for the plain check where that was not possible."""
        names = self.databases()
        checks = self.amcheck(names, parent=True)
        return checks + [
            check.model_copy(update={"id": texts.escaped(f"amcheck@{name}")})
            for name, check in zip(names, checks, strict=True)
            if name in self.without_amcheck
        ]

    def check_sql(
        self,
        files: Iterable[CheckFile],
        main: str | None,
        given: dict[str, object],
        only: Collection[str] | None = None,
    ) -> list[Check]:
        """Each check file against each database that it is for.

        Args:
            only: ids of the checks that are wanted; None: all.

        Raises:
            NotMeasured: the main database is not there.
        """
        names = self.databases()
        if main is not None and main not in [*names, *map(texts.escaped, names)]:
            raise NotMeasured(
                f"The database {main} is not in the restored cluster.",
                next="Correct verification.database in the params file.",
            )
        asked = [
            (file, database)
            for database in names
            for file in files
            if (not file.is_for_main or main is None or main in (database, texts.escaped(database)))
            and (only is None or texts.escaped(check_id(file, database)) in only)
        ]
        ways = {database: self.way_to(database) for database in names}
        # Each check has a session of its own, so that no two share anything.
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(lambda one: self._run(one[0], one[1], ways[one[1]], given), asked))

    def _run(self, file: CheckFile, database: str, way: Way, given: dict[str, object]) -> Check:
        found: list[dict[str, object]] = []
        return self.own.judge(run_check(file, way, database, given, found), file, database, found)

    def way_to(self, database: str) -> Way:
        """How check files come to their sessions: as the reader, or as the superuser of a copy that has none."""
        reader = self.scratch.reader
        return Way(
            lambda: self.scratch.connect_as(reader, database, statement_timeout=self.timeout),
            Runner.SUPERUSER if reader is None else Runner.READER,
            self.timeout,
        )

    def closed_databases(self) -> list[str]:
        """Databases that nobody can look into, each with the reason, for a limitation."""
        with self.scratch.connect("template1") as connection:
            found = rows(connection, load_sql("fence/list_closed_databases").text)
        return [f"{row['name']} ({row['why']})" for row in found]

    def check_other_indexes(self) -> list[Check]:
        """Indexes of other kinds than btree, which pg_amcheck does not look into; what could not be asked stays as a limitation."""
        began, checks = time.monotonic(), []
        for name in self.databases():
            try:
                with self.scratch.connect(name) as connection:
                    computed = rows(connection, load_sql("integrity/list_function_indexes").text)
                self.computed_indexes |= {f"{name}.{row['title']}" for row in computed}
                seen = otherindexes.check_other_indexes(self.scratch, name)
            except (SqlError, PlatformError) as problem:
                self.unchecked_indexes.add(f"those of database {name} ({causes.words_of(problem)})")
                continue
            self.unchecked_indexes |= {f"{name}.{one}" for one in seen.missed}
            check = seen.check()
            checks += [check] if check is not None else []
        self.seconds["other indexes"] = time.monotonic() - began
        return checks
