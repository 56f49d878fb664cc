"""Lost rows copied back into the living production, instead of rewinding everybody: only what the damage took, and never over anything.

One transaction for each owner's tables in a database: all of it or nothing. It says its number before it commits, so that after a crash
`probe` tells what became of it. Rows that meanwhile stand there again, that others have changed since, or whose parents are gone are
conflicts: they are listed with key and reason, and left as they are. Triggers fire, constraints and row-level security hold as for the
application, with the rights of a role that was made for this (`writers`); a row that they refuse is listed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from runbook.postgres.connect import one, rows, shared_rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.account import Counted
from runbook.recovery.copybackplan import NAMELESS, Conflict, CopyBackPlan, TableCopy, refuse_another
from runbook.recovery.copysides import Sides
from runbook.recovery.copysitting import Sitting
from runbook.recovery.copystints import note_done, once_more
from runbook.recovery.deletions import RowFates
from runbook.recovery.largeobjects import LargeObjects
from runbook.recovery.loss import Loss, TableLoss
from runbook.recovery.lossrows import Open
from runbook.recovery.remaking import SchemaDump
from runbook.recovery.sideeffects import unlogged_words
from runbook.recovery.tablecount import count_table, count_unnamed
from runbook.recovery.writers import Writers

#: What became of a transaction: as PostgreSQL says it, in our words.
_STATUS = {"committed": "committed", "aborted": "rolled back", "in progress": "running", None: "unknown"}


class CopyBack:
    """Copies back what the damage took.

    Args:
        loss: with the damage's transactions named.
        open_production: the operator's connection to a database of the living server, by name, that may write; it reads catalogs, and
            makes dropped tables again.
        open_restored: a reader's connection to the copy restored to the target.
        open_reader: a reader's connection to the living server.
        writers: makes the role that writes, and drops it.
        fates: what became of each row, from `deletions.find_deletions` with `Loss.damage_xids`; None: not known.
        dump: pg_dump on the restored copy.
        open_large_objects: a superuser's connection to the restored copy: nobody else may read all large objects.
        leave_out: tables (`TableCopy.key`) and triggers (`copystints.trigger_key`) that do not fire while rows are written.
        progress: called with a table's title, tables done and in total.
    """

    def __init__(
        self,
        loss: Loss,
        open_production: Open,
        open_restored: Open,
        *,
        fates: RowFates | None,
        dump: SchemaDump,
        open_reader: Open,
        writers: Writers,
        open_large_objects: Open | None = None,
        leave_out: Collection[str] = (),
        progress: Callable[[str, int, int], None] = lambda label, done, total: None,
    ) -> None:
        self._open_large_objects = open_large_objects or open_restored
        self._sides = Sides(
            loss, fates, open_production, open_reader, open_restored, writers, dump, progress, frozenset(leave_out)
        )

    def plan(self) -> CopyBackPlan:
        """What would be copied back now. Production's tables are as before: rows are compared in a transaction that is rolled back.

        Raises:
            PlatformError: a server cannot be reached, or a table cannot be read or laid ready.
        """
        plan = CopyBackPlan()
        plan.tables += [objects.plan() for objects in self._large_objects()]
        for number, (database, tables) in enumerate(self._damaged(plan).items()):
            with self._sides.open_restored(database) as copy:
                plan.limits += unlogged_words(database, copy)
            with Sitting(self._sides, database, tables, with_shared=number == 0) as sitting:
                sitting.prepare()
                sitting.stints()
                sitting.add_to(plan)
        return plan

    def apply(
        self,
        plan: CopyBackPlan,
        note_xid: Callable[[str, int], None],
        *,
        done: Collection[str] = (),
    ) -> CopyBackPlan:
        """What the plan says is copied back; what was done, with conflicts that came up since.

        Args:
            plan: as `plan` gave it, and as it was approved.
            note_xid: called with a transaction's name (its database, and a number) and number, once all is done but the COMMIT.
            done: transactions that have happened before (`probe` said committed), by name: they are left alone.

        Raises:
            OperatorError: more would happen than was planned; nothing did in that database.
            PlatformError: a constraint or trigger refused, or a server was lost; the message says what has happened.
        """
        result = CopyBackPlan()
        finished = list(done)
        for objects in self._large_objects():
            report = objects.plan()
            if objects.name not in done:
                refuse_another(_only(plan, report), {report.table: report})
                xid = objects.make_again(note_xid)
                if xid is not None:
                    result.xids[objects.name] = xid
                    finished.append(objects.name)
            result.tables.append(report)
        for number, (database, tables) in enumerate(self._damaged(CopyBackPlan()).items()):
            with Sitting(self._sides, database, tables, finished, with_shared=number == 0) as sitting:
                sitting.prepare()
                every = sitting.stints()
                stints = [stint for stint in every if stint.name not in done]
                for stint in every:
                    if stint.name in done:
                        note_done(stint)
                left = {staged.report.table for stint in stints for staged in stint.tables}
                refuse_another(
                    plan.of(database),
                    {table.table: table for table in sitting.reports if table.table in left or table.problem},
                )
                has_made = False
                for stint in stints:
                    xid = sitting.carry_out(stint, note_xid)
                    if xid is not None:
                        result.xids[stint.name] = xid
                        finished.append(stint.name)
                        has_made = stint.owner is None
                for stint in stints if has_made else ():
                    if stint.owner is not None:
                        with once_more(stint) as again:
                            xid = sitting.carry_out(again, note_xid) if again is not None else None
                            if again is not None and xid is not None:
                                result.xids[again.name] = xid
                                finished.append(again.name)
                sitting.account_for_objects()
                sitting.add_to(result)
        return result

    def count(self, note: Callable[[TableLoss, Conflict], None] = lambda table, row: None) -> list[Counted]:
        """What the damage took of each table, from WAL and by comparing the restored copy with production as it is now; both are only read.

        Args:
            note: called with the table and each row that is not as it was.

        Raises:
            PlatformError: a server was lost, or a catalog cannot be read.
        """
        sides, found = self._sides, [objects.count() for objects in self._large_objects()]
        damaged = self._damaged(CopyBackPlan())
        for number, database in self._touched_databases(damaged):
            tables = damaged.get(database, [])

            def count(table: TableLoss) -> Counted:
                return count_table(
                    sides.loss,
                    table,
                    sides.fates,
                    open_reader=sides.open_reader,
                    open_restored=sides.open_restored,
                    note=lambda row: note(table, row),
                )

            for done, table in enumerate(tables):
                sides.progress(f"counting {table.title}", done, len(tables))
                found.append(count(table))
            known = {table.name.oid for table in tables if table.name is not None}
            found += count_unnamed(
                sides.loss,
                number,
                database,
                known,
                count,
                open_reader=sides.open_reader,
                open_restored=sides.open_restored,
            )
        return found

    def _touched_databases(self, damaged: Collection[str]) -> list[tuple[int, str]]:
        """Databases in which the damage touched a table, or a file that nobody can name."""
        numbers = {file.database for file in self._sides.loss.damage_files}
        with self._sides.open_restored(next(iter(damaged), "postgres")) as connection:
            listed = shared_rows(connection, load_sql("recovery/list_databases").text, (), "name")
        touched = [row for row in listed if row["is_open"] and (row["oid"] in numbers or row["name"] in damaged)]
        return [(row["oid"], row["name"]) for row in touched]

    def probe(self, xids: Mapping[str, int], *, timeout: float = 10) -> dict[str, str]:
        """What became of each transaction: committed, rolled back, running (still, after the time), unknown (too old).

        Args:
            xids: as `note_xid` was given them. One that is not in it was never near its COMMIT: it has rolled back.

        Raises:
            PlatformError: production cannot be reached.
        """
        file = load_sql("recovery/find_transaction_status")
        found: dict[str, str] = {}
        # Any database knows what became of every transaction of the cluster.
        objects = [one_.database for one_ in self._large_objects()]
        somewhere = next(iter([*self._damaged(CopyBackPlan()), *objects]), "postgres")
        for name, xid in xids.items():
            with self._sides.open_production(somewhere) as connection:
                deadline = time.monotonic() + timeout
                while True:
                    status = one(connection, file.text, file.values({"xid": str(xid)}))["status"]
                    if status != "in progress" or time.monotonic() > deadline:
                        break
                    time.sleep(0.1)  # a backend that lost its client ends when it notices
            found[name] = _STATUS[status]
        return found

    def _damaged(self, plan: CopyBackPlan) -> dict[str, list[TableLoss]]:
        """Tables that the damage touched, by database; what cannot be copied back by its nature is in the plan's notes."""
        found: dict[str, list[TableLoss]] = {}
        for one_ in self._sides.loss.damage:
            for number in one_.files.databases if one_.files is not None else ():
                plan.left.append(
                    f"transaction {one_.xid} dropped a whole database ({number}): dump it from the restored copy"
                )
        for title, table in sorted(self._sides.loss.tables.items()):
            if not table.damage and not any("(damage)" in said for said in table.fates):
                continue
            if table.name is None:
                plan.left.append(f"{title}: {NAMELESS}; nothing of it is copied back")
            elif table.name.kind == "m":
                plan.limits.append(f"{title}: a materialized view; REFRESH fills it again")
            elif table.name.is_user_data:
                continue
            else:
                found.setdefault(table.name.database_name, []).append(table)
        for database in self._databases_of_catalogs():
            found.setdefault(database, [])
        return dict(sorted(found.items()))

    def _databases_of_catalogs(self) -> list[str]:
        """Databases in which the damage deleted or changed rows: a catalog's file has any number once it was rewritten, so whether one is
        among them is for `Comparison` to say. A server's own catalogs are looked up from any."""
        loss = self._sides.loss
        numbers = {
            file.database
            for one_ in loss.damage
            for file, changed in one_.rows.items()
            if changed.deleted or changed.updated
        }
        if not numbers:
            return []
        with self._sides.open_production("postgres") as connection:
            query = "SELECT d.oid::bigint AS oid, d.datname::text AS name FROM pg_catalog.pg_database AS d WHERE d.datallowconn"
            names = {row["oid"]: row["name"] for row in rows(connection, query)}
        return [names[number] for number in sorted(numbers) if number in names] or ["postgres"]

    def _large_objects(self) -> list[LargeObjects]:
        """Those that the damage touched, by database."""
        found: dict[str, list[TableLoss]] = {}
        for table in self._sides.loss.tables.values():
            if table.damage and table.name is not None and table.name.is_user_data:
                found.setdefault(table.name.database_name, []).append(table)
        sides = self._sides
        return [
            LargeObjects(name, tables, sides.fates, sides.open_production, self._open_large_objects, sides.progress)
            for name, tables in sorted(found.items())
        ]


def _only(plan: CopyBackPlan, report: TableCopy) -> dict[str, TableCopy]:
    """The plan of that table alone."""
    return {title: table for title, table in plan.of(report.database).items() if title == report.table}
