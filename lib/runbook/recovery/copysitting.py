"""One database copied back: production read by the reader, the restored copy beside it, and a writer for each owner's tables.

Each writer's transaction is all of it or nothing, and is kept by a name of its own: the database's, and a number where there are more.
Dropped tables are made again by the operator, after the rows of the others, where nothing that a lesser role has made runs by that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

from runbook.errors import PlatformError
from runbook.postgres import closure
from runbook.postgres.causes import is_lock_timeout
from runbook.postgres.connect import SqlError, one, rows
from runbook.postgres.sqlfiles import load_sql
from runbook.recovery.catalogdiff import Comparison
from runbook.recovery.copybackplan import KEPT_OUT, NOT_SET_BACK, CopyBackPlan, TableCopy
from runbook.recovery.copysides import Sides
from runbook.recovery.copystage import Staged
from runbook.recovery.copystints import (
    Stint,
    find_stints,
    note_missing,
    note_rights,
    note_sequences,
    note_triggers,
    note_written_beside,
    task_of,
)
from runbook.recovery.copywrite import Writing, context_words
from runbook.recovery.eventtriggers import why_not_defined
from runbook.recovery.ledger import Ledger
from runbook.recovery.loss import COLUMNS, TableLoss
from runbook.recovery.lossrows import is_superuser
from runbook.recovery.lostrows import Relation, is_emptied, lost_rows, read_tree
from runbook.recovery.orphans import Orphans
from runbook.recovery.relnames import RelationName
from runbook.recovery.remaking import Remaking, family, find_relations
from runbook.recovery.schemaarchive import SchemaArchive
from runbook.recovery.tablelinks import read_foreign_keys, read_unique_keys
from runbook.recovery.tableshape import TableShape, find_shape
from runbook.recovery.takenobjects import TakenObjects
from runbook.recovery.takenplan import TakenObject
from runbook.recovery.writers import Writer
from runbook.texts import many


class Sitting:
    """One database, while it is looked at and written to. Left in the middle of a transaction, that has not happened."""

    def __init__(
        self,
        sides: Sides,
        database: str,
        tables: list[TableLoss],
        finished: Collection[str] = (),
        *,
        with_shared: bool = False,
    ) -> None:
        self._of, self._database, self._tables = sides, database, tables
        self._with_shared = with_shared
        self._finished = list(finished)
        self.reports: list[TableCopy] = []
        self._objects: list[TakenObject] = []
        self._staged: list[Staged] = []
        self._rights: dict[int, dict[str, Any]] = {}
        self._stack = ExitStack()
        self._doing = "the database was opened"
        self._is_committing = False

    def __enter__(self) -> Sitting:
        with ExitStack() as stack:
            self.production = stack.enter_context(self._of.open_production(self._database))
            self.reader = stack.enter_context(self._of.open_reader(self._database))
            self.restored = stack.enter_context(self._of.open_restored(self._database))
            self._ledger = Ledger()
            stack.callback(self._ledger.close)
            self.production.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            self._begin_reading()
            self.restored.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for connection in (self.production, self.restored):
                rows(connection, load_sql("recovery/lift_time_limits").text)
            self._untrusted = closure.untrusted(self.reader)
            self._untrusted_then = {} if not is_superuser(self.restored) else closure.untrusted(self.restored)
            encoding = one(self.reader, "SELECT pg_catalog.current_setting('server_encoding') AS name")["name"]
            self._encoding = str(encoding)
            self._remaking = Remaking(self._database, self._of.dump, self.production, self.restored, self._untrusted)
            self._taken = self._compare_catalogs(stack.enter_context(SchemaArchive(self._of.dump, self._database)))
            self._stack = stack.pop_all()
        return self

    def _compare_catalogs(self, archive: SchemaArchive) -> TakenObjects:
        loss = self._of.loss
        files = frozenset((file.database, file.number) for file in loss.damage_files)
        comparison = Comparison(
            self.restored,
            self.production,
            self._of.fates,
            files,
            loss.damage_xids,
            loss.xids,
            with_shared=self._with_shared,
        )
        return TakenObjects(self._database, comparison, archive, self.production, self.restored, self._untrusted)

    def _begin_reading(self) -> None:
        """A transaction for what the reader looks at now: its locks are let go before anybody writes."""
        if self.reader.info.transaction_status.name != "IDLE":
            self.reader.execute("ROLLBACK")
        self.reader.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
        rows(self.reader, load_sql("recovery/lift_time_limits").text)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        is_of_copy = self.restored.has_failed
        for connection in (self.production, self.reader, self.restored):
            with suppress(SqlError):  # a connection that is lost has rolled back by itself
                connection.execute("ROLLBACK")
        self._stack.close()
        if isinstance(error, SqlError):
            raise self._failed(error, is_of_copy) from None

    def _failed(self, problem: SqlError, is_of_copy: bool) -> PlatformError:
        """In the server's words but for its details, which hold the rows' values."""
        said = (problem.diag.message_primary or str(problem)).strip()
        where = f" ({problem.diag.constraint_name})" if problem.diag.constraint_name else ""
        where += context_words(problem.diag.context)
        notes = "".join(f", {note}" for note in getattr(problem, "__notes__", ()))
        before = f" Copied back before it: {', '.join(self._finished)}." if self._finished else ""
        if self._is_committing:
            return PlatformError(
                f"Whether the rows were copied back into database {self._database} is not known: {said}.{before}",
                next="Resume: the transaction's number tells what became of it.",
            )
        next_ = "Remove what it says, and copy back again; or work through the loss files by hand."
        if is_lock_timeout(problem):
            next_ = (
                "A transaction that was under way at the point holds this lock in the restored copy: take another point."
                if is_of_copy
                else "Somebody holds this lock in production (pg_locks tells who): end that, and try again."
            )
        return PlatformError(
            f"Nothing more was copied back into database {self._database}, its transaction was rolled back: "
            f"{said}{where}, while {self._doing}{notes}.{before}",
            next=next_,
        )

    def add_to(self, plan: CopyBackPlan) -> None:
        """The plan has this database's tables."""
        plan.tables += self.reports
        plan.objects += self._objects
        plan.notes += [*self._remaking.notes, *self._taken.notes]

    def account_for_objects(self) -> None:
        """The catalogs are compared again, now that all is done; what is missing still is known.

        Raises:
            SqlError: a catalog cannot be read.
        """
        self._doing = "the catalogs were compared again"
        if self.production.info.transaction_status.name != "IDLE":
            self.production.execute("ROLLBACK")  # what was made to look at it, and is not kept
        self.production.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
        self._objects = self._taken.account()

    # -- what would be done

    def prepare(self) -> None:
        """All lost rows are laid ready, and what speaks against each of them is known.

        Raises:
            OperatorError: params name a role that is not there.
        """
        self._of.writers.refuse_unknown_role(self.production)
        self._doing = "the catalogs were compared"
        self._taken.look()
        parts = [part for table in self._tables for part in self._parts_of(table)]
        self._objects = self._taken.planned()
        self._doing = "dropped tables were made again"
        self._taken.make_early()
        refused = self._remaking.make_what_goes()
        for report, _, relations, _ in parts:
            if report.is_made_again and relations[0].oid in refused:
                report.problem = f"it is not made again: production refused: {refused[relations[0].oid]}"
        parts = [part for part in parts if part[0].problem is None]
        for number, (report, then, relations, name) in enumerate(parts):
            self._of.progress(report.table, number, len(parts))
            self._doing = f"{report.table} was laid ready"
            self._lay(number, report, then, relations, name)
        self._doing = "parents of the rows were looked for"
        Orphans(self.reader, self._ledger, self._staged, self._untrusted).find()
        for staged in self._staged:
            staged.fill_report()
            note_missing(staged)

    def _report(self, table: TableLoss, title: str | None = None) -> TableCopy:
        report = TableCopy(self._database, title or table.title, table)
        self.reports.append(report)
        return report

    def _parts_of(self, table: TableLoss) -> list[tuple[TableCopy, TableShape, list[Relation], RelationName]]:
        """The table as it stands in production, and those of its parts that must be made again."""
        assert table.name is not None
        name = table.name
        then = find_shape(self.restored, name, self._untrusted_then)
        if then is None:
            self._report(table).problem = "it is not in the restored copy: it was made after the recovery target"
            return []
        tree = read_tree(self.restored, then.oid, name.database)
        here = find_relations(self.production, [(part.oid, part.schema, part.name) for part in tree])
        gone = [part for part in tree if part.oid not in here]
        self._taken.tables.update(part.oid for part in gone)
        ours = [part for part in gone if self._was_dropped(part, tree, name.database)]
        if ours:
            refused = self._remaking.why_not(ours, tree[0])
            if refused is None:
                self._remaking.relations += ours
            else:
                title = table.title if tree[0] in ours else f"{table.title}, partition {ours[0].name}"
                self._report(table, title).problem = f"it is not made again: {refused}"
        found = []
        root = tree[0]
        if root in gone and root not in ours:
            self._report(table).problem = "another transaction has dropped it since"
            return []
        kept = [part for part in tree if part not in gone]
        is_touched = bool(table.damage) or any(is_emptied(part, self._of.loss) for part in kept)
        if root not in gone and (is_touched or not ours):
            report = self._report(table)
            if len(gone) > len(ours):
                report.warn("partitions that another transaction has dropped since are left alone")
            found.append((report, then, kept, name))
        ours = [part for part in ours if part in self._remaking.relations]
        dropped = {part.oid for part in ours}
        for top in (part for part in ours if part.parent_oid not in dropped):
            report = self._report(table, table.title if top == root else f"{table.title}, partition {top.name}")
            report.is_made_again = True
            named = replace(name, oid=top.oid, schema=top.schema, name=top.name, kind=top.kind)
            shape = find_shape(self.restored, named, self._untrusted_then)
            assert shape is not None
            found.append((report, shape, family(top, ours), named))
        return found

    def _was_dropped(self, part: Relation, tree: list[Relation], database: int) -> bool:
        """By the damage: its number or its file, or those of a part of it, are in the damage's commits."""
        numbers = {oid for one_ in self._of.loss.damage if one_.files is not None for oid in one_.files.dropped_oids}
        return any(
            (below.oid == part.oid and (database, below.oid) in numbers) or is_emptied(below, self._of.loss)
            for below in family(part, tree)
        )

    def _lay(
        self, number: int, report: TableCopy, then: TableShape, relations: list[Relation], name: RelationName
    ) -> None:
        # What is made again is seen by its own transaction alone, and reaches nothing that a lesser role has made.
        source = self.production if report.is_made_again else self.reader
        now = find_shape(source, name, {} if report.is_made_again else self._untrusted)
        if now is None:
            report.problem = "it is no ordinary table in production: a view or a temporary one has its name"
            return
        # The keys of a table that is made again come with its indexes, after its rows.
        links = (
            read_foreign_keys(self.restored, then.oid)
            if report.is_made_again
            else read_foreign_keys(self.reader, now.oid)
        )
        root = (name.schema, name.name) if report.is_made_again else None
        uniques = read_unique_keys(source, now.oid)
        staged = Staged(
            self._ledger, self.reader, number, report, then, now, uniques, links, root, encoding=self._encoding
        )
        self._note_limits(staged, relations)
        if report.problem:
            return
        loss, fates = self._of.loss, self._of.fates
        found = lost_rows(
            self.restored, relations, staged.columns, loss, report.loss, fates, is_made_again=report.is_made_again
        )
        if any(re.fullmatch(rf"{re.escape(self._database)}( \(\d+\))?", name) for name in self._finished):
            staged.others = loss.xids
        if staged.key is None and not report.is_made_again and now.untrusted is None:
            staged.places_there = self._places_there(now, relations)
        staged.lay(row for row in found if row.what != "o" or staged.key is None)
        staged.find_conflicts(loss.damage_xids, self.restored)
        self._staged.append(staged)

    def _places_there(self, now: TableShape, relations: list[Relation]) -> dict[str, str]:
        """Where the rows that were changed lie in production: known as long as the table has one file, and still the same."""
        files = {relation.file for relation in relations if relation.file is not None}
        here = (
            {part.file for part in read_tree(self.reader, now.oid, relations[0].file[0])}
            if relations[0].file
            else set()
        )
        if self._of.fates is None or len(files) != 1 or here != files:
            return {}
        return self._of.fates.places_now(next(iter(files)))

    def _note_limits(self, staged: Staged, relations: list[Relation]) -> None:
        report, loss = staged.report, self._of.loss
        if staged.then.untrusted is not None:
            report.problem = f"planning on it in the restored copy would run {staged.then.untrusted} as superuser: the copy has no reader"
            return
        report.problem = why_not_defined(self.production)
        if report.problem is not None:
            return
        if not report.is_made_again:
            self._rights[staged.number] = note_rights(staged, self.reader, self._database)
            note_triggers(staged, self.reader, self._rights[staged.number], self._of.leave_out)
            note_sequences(staged, self.restored, self.reader)
        acting = load_sql("recovery/list_write_rules")
        for row in rows(self.production, acting.text, acting.values({"oid": staged.now.oid})):
            report.problem = f"rule {row['name']} rewrites what is written to it; disable it, then plan again"
            return
        emptied = any(is_emptied(relation, loss) for relation in relations)
        damage = report.loss.damage
        columns = [said for said in report.loss.fates if said.startswith(COLUMNS) and "(damage)" in said]
        if columns:
            report.problem = f"{columns[0]}: make the column as it was, then set its values from the loss files"
        elif self._of.fates is None and not emptied and (damage.deleted or damage.updated or damage.moved):
            report.problem = "which rows the damage deleted or changed was not followed through WAL"
        elif (
            any("(damage)" in said for said in report.loss.fates)
            and not emptied
            and not report.is_made_again
            and not damage
        ):
            report.problem = "its file was rewritten between the recovery target and the damage: whose rows are missing cannot be told"
        if staged.key is None and not report.is_made_again:
            report.notes.append("no key identifies a row: rows are counted by their content")
        lacking = [column for column in staged.then.columns if column not in staged.now.columns]
        if lacking:
            report.warn(f"columns that are gone since are left out: {', '.join(lacking)}")
        if damage.inserted:
            report.warn(f"{many(damage.inserted, 'row')} that the damage inserted: left where they are")

    # -- doing it

    def stints(self) -> list[Stint]:
        """Who writes what, in which order; tables of several owners that need each other have it as their problem."""
        is_making_again = bool(self._remaking.relations) or self._taken.is_work
        return find_stints(self._database, self._staged, self._rights, is_making_again)

    def carry_out(self, stint: Stint, note_xid: Callable[[str, int], None]) -> int | None:
        """The stint's rows are in production; the number of its transaction, None when there was nothing to do.

        Raises:
            SqlError, PlatformError: it was rolled back, or nobody knows.
        """
        if stint.owner is not None and not any(
            staged.ledger.count(staged.number, "what <> 'o' AND reason IS NULL") for staged in stint.tables
        ):
            return None
        with self._writing(stint) as writer:
            if stint.owner is not None:
                self._doing = "the writer's transaction was begun"
                writer.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            titles = ", ".join(staged.report.table for staged in stint.tables)
            self._doing = f"rows of {titles} were written"
            self._begin_reading()
            writing = Writing(writer, self._of.loss.damage_xids, self.restored, self.reader)
            writing.write(stint.groups)
            if stint.owner is None:
                self._doing = "dropped tables were completed"
                self._remaking.finish()
                self._doing = "what else the damage took was made again"
                self._taken.make()
            else:
                writer.work_as()
                note_written_beside(stint, self._staged, writer.connection)
            self.reader.execute("ROLLBACK")
            xid = int(one(writer.connection, "SELECT pg_catalog.pg_current_xact_id()::text AS xid")["xid"])
            note_xid(stint.name, xid)
            self._is_committing = True
            self._doing = f"transaction {xid} was committed"
            writer.connection.execute("COMMIT")
            self._is_committing = False
            self._finished.append(stint.name)
        self._doing = f"{titles} was looked at again"
        self._begin_reading()
        for staged in stint.tables:
            if not staged.report.is_made_again:
                staged.recount(KEPT_OUT, NOT_SET_BACK, writing.ours)
            staged.fill_report()
        return xid

    @contextmanager
    def _writing(self, stint: Stint) -> Iterator[Writer]:
        """Who writes it: the operator what is made again, else a role that was made for it."""
        if stint.owner is None:
            yield Writer(self.production, None)
            return
        task = task_of(self._database, stint, self.reader)
        self._doing = "a role for the copy-back was made"
        self.reader.execute("ROLLBACK")
        with self._of.writers.writing(task) as writer:
            yield writer
