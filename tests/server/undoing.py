"""Damage done on a cluster while others work on, a copy restored to just before it, and copying back between the two."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from crime import LINEAGE, Scene, scene
from restored import Restored, restored
from runbook.postgres.connect import Connection, connect
from runbook.recovery.account import Account, build_account, dump_counts, load_counts
from runbook.recovery.copyback import CopyBack
from runbook.recovery.copybackplan import Conflict, CopyBackPlan, TableCopy
from runbook.recovery.deletions import RowFates, find_deletions
from runbook.recovery.forensics import search_wal
from runbook.recovery.identify import name_columns
from runbook.recovery.loss import Loss, TableLoss, count_loss
from runbook.recovery.relnames import read_names
from runbook.recovery.remaking import SchemaDump
from runbook.recovery.writers import Writers


class OpenDoor:
    """Everybody comes in to a test's cluster; what was noted of the role is kept."""

    def __init__(self, crime: Scene) -> None:
        self.crime, self.undos = crime, list[str]()

    def admit(self, database: str, role: str) -> None:
        assert self.crime.cluster.sql(f"SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'") == [(False,)]

    def expel(self, role: str) -> None:
        assert self.crime.cluster.sql(f"SELECT FROM pg_roles WHERE rolname = '{role}'") == []

    def begin(self, undo: str) -> None:
        self.undos.append(undo)

    def end(self) -> None:
        self.undos.clear()

    def enter(self, database: str, role: str, password: str, settings: dict[str, str]) -> Connection:
        return connect(
            socket=self.crime.cluster.socket,
            database=database,
            user=role,
            password=password,
            application="test",
            read_only=False,
            statement_timeout=0,
            settings=settings,
        )


@dataclass
class Undoing:
    """What `damaged` left. `production` is the living, damaged cluster."""

    crime: Scene
    copy: Restored
    loss: Loss
    fates: RowFates | None
    application_role: str | None = None
    #: Who reads tables, on both sides.
    reader: str | None = None
    #: Tables and triggers that do not fire while rows are written.
    leave_out: Sequence[str] = ()

    def open_operator(self, database: str | None) -> Connection:
        return connect(
            socket=self.crime.cluster.socket,
            database=database,
            user="postgres",
            application="test",
            read_only=False,
            statement_timeout=0,
        )

    def copyback(self, open_production: Callable[[str | None], Connection] | None = None) -> CopyBack:
        cluster = self.crime.cluster
        operator = open_production or self.open_operator
        env = {"PGHOST": str(self.copy.socket), "PGPORT": "5432", "PGUSER": self.copy.superuser}
        return CopyBack(
            self.loss,
            operator,
            lambda database: self.copy.open(database, self.reader),
            fates=self.fates,
            open_reader=lambda database: self.crime.open(database, self.reader or "postgres"),
            writers=Writers("test", operator, OpenDoor(self.crime), self.application_role),
            dump=SchemaDump(cluster.tools, env, cluster.user),
            leave_out=self.leave_out,
        )

    def sql(self, *statements: str, database: str = "shop") -> list[tuple[Any, ...]]:
        return self.crime.cluster.sql(*statements, database=database)

    def values(self, query: str) -> list[Any]:
        """The first column."""
        return [row[0] for row in self.sql(query)]

    def then(self, query: str) -> list[tuple[Any, ...]]:
        """The same query on the restored copy, as plain tuples."""
        with self.copy.open("shop") as connection:
            connection.execute("SET search_path TO public")
            return [tuple(row.values()) for row in connection.execute(query).fetchall()]  # type: ignore[call-overload]

    def account(self) -> tuple[Account, list[tuple[TableLoss, Conflict]]]:
        """Planned, counted, copied back, counted again; the account, and the rows that the second count did not find as they were."""
        plan, before = self.copyback().plan(), self.copyback().count()
        result, rows = self.apply(plan), list[tuple[TableLoss, Conflict]]()
        after = self.copyback().count(lambda table, row: rows.append((table, row)))
        return build_account(load_counts(json.loads(json.dumps(dump_counts(before)))), after, result), rows

    def apply(self, plan: CopyBackPlan | None = None, copyback: CopyBack | None = None) -> CopyBackPlan:
        """Planned and copied back; its transaction has committed by its own number."""
        copyback = copyback or self.copyback()
        noted: dict[str, int] = {}
        done = copyback.apply(plan or copyback.plan(), noted.__setitem__)
        assert done.xids == noted
        assert copyback.probe(noted) == dict.fromkeys(noted, "committed")
        return done


def table(plan: CopyBackPlan, title: str) -> TableCopy:
    """The one of that title."""
    return next(one for one in plan.tables if one.table == title)


def reasons(plan: CopyBackPlan, title: str) -> dict[tuple[str | None, ...], str]:
    """Listed conflicts by their keys' values."""
    return {tuple(one.key.values()): one.reason for one in table(plan, title).conflicts}


@contextmanager
def damaged(
    *made: str,
    damage: Sequence[str | Sequence[str]],
    before: Sequence[str] = (),
    between: Sequence[str] = (),
    after: Sequence[str] = (),
    databases: Sequence[str] = (),
    major: int = 17,
) -> Iterator[Undoing]:
    """The damage was done, one transaction for each list of statements.

    Args:
        made: statements that make the database shop, ahead of the backup.
        before, between, after: what others did before the damage, between its first two transactions, and after it.
        databases: further ones, in which the same was made and the damage was done.
    """
    with scene(*made, major=major) as crime:
        cluster = crime.cluster
        for name in databases:
            cluster.create_database(name, *made)
        backup = cluster.backup("second") if databases else crime.backup
        crime.run(*before, "SELECT pg_logical_emit_message(true, 'test', 'a commit that is kept')")
        several = [one for one in damage if not isinstance(one, str)] or [
            [one for one in damage if isinstance(one, str)]
        ]
        xids: list[int] = []
        for number, statements in enumerate(several):
            for name in ("shop", *databases):
                with cluster.connect(name) as connection:
                    connection.execute("BEGIN")
                    for statement in statements:
                        connection.execute(statement)
                    found = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
                    assert found is not None
                    xids.append(found[0])
                    connection.execute("COMMIT")
            if number == 0:
                crime.run(*between)
        crime.run(*after)
        cluster.switch()
        source, end = cluster.data / "pg_wal", crime.position()
        apart = frozenset(xids)
        start = crime.start
        found_in = search_wal(source, LINEAGE, cluster.tools, start, end, apart=apart)
        first = min(found_in.apart.values(), key=lambda one: one.commit.lsn)
        assert first.before is not None
        gate = first.before.lsn + 1
        with restored(cluster.tools, cluster.user, backup, cluster.archive, gate) as copy:
            names = crime.names()
            names.add(read_names(copy.open, "postgres", "the restored copy"))
            assert name_columns(search_wal(source, LINEAGE, cluster.tools, start, end), names, crime.open) == []
            loss = count_loss(
                source, LINEAGE, cluster.tools, start=start, gate=gate, end=end, names=names, damage=apart
            )
            fates = find_deletions(
                source,
                LINEAGE,
                cluster.tools,
                start,
                loss.reached,
                loss.xids,
                loss.damage_xids,
                files=loss.damage_files,
            )
            yield Undoing(crime, copy, loss, fates)
