"""One running cluster for many scenarios: each has a database and a base backup of its own, is recovered twice, and leaves nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from generated.furniture import OWNER, READER
from generated.notebook import SEARCH, SLOW, Recited, recite
from generated.scenarios import Scenario
from generated.snapshots import Snapshot, take_snapshot
from generated.transactions import Work
from homes import at_home
from own_cluster import OwnCluster, own_cluster, service_words
from runbook.postgres.connect import quote
from runbook.postgres.osuser import give
from runbook.recovery.suspects import Suspect


@dataclass
class Damage:
    """One damaging transaction as it happened, with the database right before and right after it. `point` lies just before it."""

    xid: int
    before: Snapshot
    after: Snapshot
    work: Work
    point: str

    @property
    def size(self) -> int:
        """How many rows it took, at least; a lost table counts as many."""
        lost = 0
        for title, then in self.before.tables.items():
            now = self.after.tables.get(title)
            lost += (
                1000
                if now is None
                else len(then.rows) - len(set(then.rows) & set(now.rows))
                if then.columns == now.columns
                else 1000
            )
        return lost


#: What is not back is left as it is, which a report must say; a promotion sets no sequence.
_DECISIONS = {
    "Decide on the rows that are not back": "leave",
    "Decide which triggers fire": "fire",
    "Decide what becomes of the sequences": "keep",
}


class NotSuspected(Exception):
    """None of the damage is among the suspects that an operator is shown."""


@dataclass
class Played:
    """A scenario that has happened in a database. `others` counts commits of others that wrote since the point.

    `damages` are those that are undone: damage that is too small to be suspected counts as others' work from then on (`spared`).
    """

    database: str
    damages: list[Damage] = field(default_factory=list)
    spared: list[Damage] = field(default_factory=list)
    final: Snapshot | None = None
    others: int = 0

    @property
    def at_point(self) -> Snapshot:
        return self.damages[0].before

    def choose(self, xids: set[int]) -> None:
        """Those of the damages are undone, the others are not."""
        self.spared = [one for one in self.damages if one.xid & 0xFFFFFFFF not in xids]
        self.damages = [one for one in self.damages if one.xid & 0xFFFFFFFF in xids]


@dataclass
class GeneratedCluster:
    """The cluster, with the number of runs so far."""

    cluster: OwnCluster
    runs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def connect(self, database: str) -> psycopg.Connection[Any]:
        connection = self.cluster.connect(database)
        connection.execute("SET lock_timeout = '1s'; SET statement_timeout = '20s'; SET client_min_messages = error")
        return connection

    def snapshot(self, database: str) -> Snapshot:
        return take_snapshot(lambda: self.cluster.connect(database))

    @contextmanager
    def took(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - begun

    # -- what happens --------------------------------------------------------------------------------------

    @contextmanager
    def played(self, scenario: Scenario, database: str = "shop") -> Iterator[Played]:
        """The scenario has happened, and its WAL is archived. The database and its backup are gone afterwards."""
        found = Played(database)
        self.cluster.sql(f"CREATE DATABASE {quote(database)}")
        backup = None
        try:
            with self.took("play"), self.connect(database) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
                for statement in scenario.made:
                    _run_alone(connection, statement)
                for work in scenario.early:
                    self._perform(connection, work)
            with self.took("backup"):
                backup = self.cluster.backup(f"{database}-{self.runs}")
            with self.took("play"), self.connect(database) as connection:
                for statement in scenario.late:
                    _run_alone(connection, statement)
                connection.execute("SELECT pg_logical_emit_message(true, 'test', 'a commit that is kept')")
                self._play(connection, scenario, found)
            self.cluster.switch()
            yield found
        finally:
            self._forget(database)
            if backup is not None:
                shutil.rmtree(backup, ignore_errors=True)

    def _play(self, connection: psycopg.Connection[Any], scenario: Scenario, found: Played) -> None:
        for work in scenario.course:
            if not work.is_damage:
                found.others += self._perform(connection, work) is not None and bool(found.damages)
                continue
            if work.prepared and self._prepare(connection, work, found):
                continue
            for one in (work, *work.instead):
                before, point = self.snapshot(found.database), self.cluster.lsn()
                xid = self._perform(connection, one)
                if xid is not None:
                    found.damages.append(Damage(xid, before, self.snapshot(found.database), one, point))
                    work.statements, work.prepared = one.statements, False  # as it was done
                    break
        found.final = self.snapshot(found.database)

    def _prepare(self, connection: psycopg.Connection[Any], work: Work, found: Played) -> bool:
        """Prepared, and committed after what others do meanwhile; False where it cannot be, or where its locks let nobody read."""
        connection.execute("BEGIN")
        try:
            for statement in work.statements:
                connection.execute(statement)
            xid = _xid(connection)
            connection.execute("PREPARE TRANSACTION 'generated'")
        except psycopg.Error:
            connection.execute("ROLLBACK")
            return False
        if xid is None:
            connection.execute("ROLLBACK PREPARED 'generated'")
            return False
        for other in work.meanwhile:
            found.others += self._perform(connection, other) is not None and bool(found.damages)
        try:
            before = take_snapshot(lambda: self.connect(found.database))
        except psycopg.Error:
            connection.execute("ROLLBACK PREPARED 'generated'")
            return False
        point = self.cluster.lsn()
        connection.execute("COMMIT PREPARED 'generated'")
        found.damages.append(Damage(xid, before, self.snapshot(found.database), work, point))
        return True

    def _perform(self, connection: psycopg.Connection[Any], work: Work) -> int | None:
        """Done, without what the server refuses; its number, None where nothing was written."""
        if work.is_alone:
            for statement in work.statements:
                _run_alone(connection, statement)
            return None
        while any(not _is_marker(one) for one in work.statements):
            connection.execute("BEGIN")
            refused = next((n for n, one in enumerate(work.statements) if not _succeeds(connection, one)), None)
            if refused is None:
                xid = _xid(connection)
                if _succeeds(connection, "COMMIT"):
                    return xid
                refused = max(
                    n for n, one in enumerate(work.statements) if not _is_marker(one)
                )  # a deferred constraint
            connection.execute("ROLLBACK")
            _leave_out(work.statements, refused)
        return None

    def _forget(self, database: str) -> None:
        for (gid,) in self.cluster.sql("SELECT gid FROM pg_prepared_xacts"):
            self.cluster.sql(f"ROLLBACK PREPARED '{gid}'", database=database)
        self.cluster.sql(f"DROP DATABASE IF EXISTS {quote(database)} WITH (FORCE)")

    # -- how it is recovered -------------------------------------------------------------------------------

    def recover(self, played: Played, way: str, *, find: bool = True, skip: tuple[str, ...] = SLOW) -> Recited:
        """The notebook has run for this damage: found in WAL by the transactions' numbers, or given by its position."""
        self.runs += 1
        wanted = {damage.xid & 0xFFFFFFFF for damage in played.damages}

        def choose(names: dict[str, Any]) -> None:
            suspects = names["recovery"].evidence.suspects
            chosen = [one for one in suspects if {xid & 0xFFFFFFFF for xid in one.xids} & wanted]
            if not chosen:
                raise NotSuspected("; ".join(one.sentence for one in suspects) or "nothing is suspected")
            choose_suspects(names, chosen)
            played.choose({xid & 0xFFFFFFFF for one in chosen for xid in one.xids})

        parameters = {
            "target": "own", "dry_run": False, "commander": "Ada", "personal_data": "no", "rationale": "a test", "way": way,
            "acceptance": "accept", "compare_fence": False, "recovery_point": "find" if find else played.damages[0].point,
        }  # fmt: skip
        with at_home(self.cluster.home), self.took(way):
            return recite(
                f"gen-{self.runs}",
                self.cluster.params(),
                parameters=parameters,
                answers={
                    "Choose the way on": way,
                    "Accept the recovery": "accept",
                    "Decide whether to swap it in": "swap",
                },
                skip=skip,
                after={SEARCH: choose} if find else {},
            )

    def tidy(self) -> None:
        """What recoveries leave beside the cluster is gone."""
        for pattern in ("data.damaged-*", "data.recovery-*", "backups/*"):
            for path in self.cluster.home.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.cluster.home / "var", ignore_errors=True)
        (self.cluster.home / "var").mkdir(exist_ok=True)


@contextmanager
def generated_cluster() -> Iterator[GeneratedCluster]:
    """A cluster with roles, archive, and params that let it be stopped and swapped."""
    with own_cluster(settings={"wal_keep_size": "64MB", "checkpoint_timeout": "1h"}) as cluster:
        cluster.sql(f"CREATE ROLE {OWNER}", f"CREATE ROLE {READER}", "CREATE EXTENSION amcheck")
        cluster.changed = {
            "cluster": {"service": service_words(cluster, cluster.home)},
            "recovery": {"quiet_for": "0.1 s"},
        }
        give(cluster.home / "start", cluster.user)
        yield GeneratedCluster(cluster)


def _succeeds(connection: psycopg.Connection[Any], statement: str) -> bool:
    """False where the server refuses it: the generator does not know all rules of SQL."""
    try:
        connection.execute(statement)
    except psycopg.Error:
        if connection.closed:
            raise
        return False
    return True


def _run_alone(connection: psycopg.Connection[Any], statement: str) -> None:
    """One statement, or nothing."""
    _succeeds(connection, statement)


def choose_suspects(names: dict[str, Any], chosen: list[Suspect]) -> None:
    """Those are undone, as an operator answers who has read the table."""
    suspects = names["recovery"].evidence.suspects
    if hasattr(names["recovery"], "suspects"):
        numbers = ",".join(str(one.number) for one in chosen)
        names["run"].answered["Choose the suspects to undo"] = numbers if len(chosen) == 1 else f"several: {numbers}"
    else:
        names["recovery"]._chosen = ",".join(str(suspects.index(one) + 1) for one in chosen)


def _xid(connection: psycopg.Connection[Any]) -> int | None:
    row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text::bigint").fetchone()
    return row[0] if row else None


def _is_marker(statement: str) -> bool:
    return statement.startswith(("SAVEPOINT", "ROLLBACK TO", "RELEASE"))


def _leave_out(statements: list[str], number: int) -> None:
    """That statement is gone; with a mark of a subtransaction its fellows go, too."""
    gone = statements.pop(number)
    if _is_marker(gone):
        name = gone.split()[-1]
        statements[:] = [one for one in statements if not (_is_marker(one) and one.endswith(f" {name}"))]
